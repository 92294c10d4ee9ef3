/* SPDX-License-Identifier: MIT */

#include "disk.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "base/endian.h"

#define FUZZ_HEADER      8
#define FUZZ_PATCH       8
#define FUZZ_FROM_END    (UINT32_C(1) << 31)
#define FUZZ_SECTOR_SIZE 512

bool fuzz_disk_init(struct fuzz_disk *d, const uint8_t *data, size_t bytes)
{
    static const int sector_sizes[] = {0, 512, 4096};

    if (bytes < FUZZ_HEADER) {
        return false;
    }
    *d = (struct fuzz_disk){
        .size = (int64_t)load_le32(data) * FUZZ_SECTOR_SIZE + data[4],
        .sector_size = sector_sizes[data[5] % 3],
        .flags = data[6],
        .bad_read = data[7],
        .patches = data + FUZZ_HEADER,
        .patch_bytes = bytes - FUZZ_HEADER,
    };
    return true;
}

/* Copies what [@offset, @offset + @bytes) and a patch have in common. */
static void overlay(uint8_t *buf, int64_t offset, int64_t bytes, int64_t at,
                    const uint8_t *patch, int64_t patch_bytes)
{
    int64_t from = max_i64(offset, at);
    int64_t to = min_i64(offset + bytes, at + patch_bytes);

    if (from < to) {
        memcpy(buf + (from - offset), patch + (from - at), (size_t)(to - from));
    }
}

static int64_t patch_offset(const struct fuzz_disk *d, const uint8_t *patch)
{
    uint32_t sector = load_le32(patch);
    int64_t sectors = d->size / FUZZ_SECTOR_SIZE;
    int64_t lba = sector;

    if (sector & FUZZ_FROM_END) {
        lba = sectors - (int64_t)(sector & ~FUZZ_FROM_END);
    }
    return lba * FUZZ_SECTOR_SIZE + load_le16(patch + 4);
}

bool fuzz_disk_next(const struct fuzz_disk *d, struct fuzz_patch *p)
{
    const uint8_t *at = p->next ? p->next : d->patches;
    int64_t left = d->patches + d->patch_bytes - at;

    if (left <= FUZZ_PATCH) {
        return false;
    }
    p->offset = patch_offset(d, at);
    p->bytes = at + FUZZ_PATCH;
    p->n = min_i64(load_le16(at + 6), left - FUZZ_PATCH);
    p->next = p->bytes + p->n;
    return true;
}

void fuzz_disk_peek(const struct fuzz_disk *d, int64_t offset, void *buf,
                    int64_t bytes)
{
    struct fuzz_patch p = {.next = NULL};

    assert(bytes > 0 && range_ok(offset, bytes, d->size));
    memset(buf, 0, (size_t)bytes);
    while (fuzz_disk_next(d, &p)) {
        overlay(buf, offset, bytes, p.offset, p.bytes, p.n);
    }
    for (int i = 0; i < d->n_fixes; i++) {
        overlay(buf, offset, bytes, d->fix[i].offset, d->fix[i].bytes, 4);
    }
}

int fuzz_disk_read(void *disk, int64_t offset, void *buf, int64_t bytes)
{
    struct fuzz_disk *d = disk;

    fuzz_disk_peek(d, offset, buf, bytes);
    return ++d->n_reads == d->bad_read ? -EIO : 0;
}

void fuzz_disk_fix_le32(struct fuzz_disk *d, int64_t offset, uint32_t value)
{
    assert(d->n_fixes < FUZZ_MAX_FIXES);
    d->fix[d->n_fixes].offset = offset;
    store_le32(d->fix[d->n_fixes].bytes, value);
    d->n_fixes++;
}
