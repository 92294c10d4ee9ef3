/* SPDX-License-Identifier: MIT */
/*
 * fuzz-gpt: any disk as a partition table.  Checksums would keep a fuzzer out
 * of most of the code, so flags of the input make them right.
 */
#include <string.h>

#include "base/align.h"
#include "base/endian.h"
#include "disk.h"
#include "fuzz.h"
#include "part/crc32.h"

enum {
    FIX_HEADERS = 1 << 0,
    FIX_ENTRIES = 1 << 1,
};

static void fix_entries(struct fuzz_disk *d, uint8_t *header, int64_t at,
                        int sector_size)
{
    static uint8_t entries[64 * 1024];
    uint64_t lba = load_le64(header + 72);
    uint64_t bytes = (uint64_t)load_le32(header + 80) * load_le32(header + 84);
    uint32_t crc;

    if (bytes == 0 || bytes > sizeof(entries) ||
        lba >= (uint64_t)(d->size / sector_size) ||
        !range_ok((int64_t)lba * sector_size, (int64_t)bytes, d->size)) {
        return;
    }
    fuzz_disk_peek(d, (int64_t)lba * sector_size, entries, (int64_t)bytes);
    crc = crc32_of(entries, (size_t)bytes);
    store_le32(header + 88, crc);
    fuzz_disk_fix_le32(d, at + 88, crc);
}

static void fix_header(struct fuzz_disk *d, uint8_t *header, int64_t at,
                       int sector_size)
{
    uint32_t bytes = load_le32(header + 12);

    if (bytes < 92 || bytes > (uint32_t)sector_size) {
        return;
    }
    store_le32(header + 16, 0);
    fuzz_disk_fix_le32(d, at + 16, crc32_of(header, bytes));
}

static void fix_copy(struct fuzz_disk *d, int64_t at, int sector_size)
{
    static uint8_t header[4096];

    if (at <= 0 || !range_ok(at, sector_size, d->size)) {
        return;
    }
    fuzz_disk_peek(d, at, header, sector_size);
    if (memcmp(header, "EFI PART", 8) != 0) {
        return;
    }
    if (d->flags & FIX_ENTRIES) {
        fix_entries(d, header, at, sector_size);
    }
    if (d->flags & FIX_HEADERS) {
        fix_header(d, header, at, sector_size);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const int sector_sizes[] = {512, 4096};
    struct fuzz_disk d;

    if (!fuzz_disk_init(&d, data, bytes)) {
        return 0;
    }
    for (int i = 0; i < 2; i++) {
        int size = sector_sizes[i];

        fix_copy(&d, size, size);
        fix_copy(&d, align_down(d.size, size) - size, size);
    }
    fuzz_part_table(&d, fuzz_disk_read);
    return 0;
}
