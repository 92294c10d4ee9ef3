/* SPDX-License-Identifier: MIT */

#include "view/identify.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/cleanup.h"
#include "base/endian.h"

/*
 * What libblkid looks at: nearly all superblocks lie in the first 256 KiB;
 * those of RAID members, and the copies that ZFS keeps, in the last 512 KiB.
 */
#define HEAD_BYTES  (1 * MiB)
#define TAIL_BYTES  (512 * KiB)
#define LABEL_BYTES (64 * KiB) /* at most, of an identify_label_range() */
#define CHUNK_BYTES (256 * KiB)
#define BOOT_BYTES  512

void identity_clear(struct identity *id)
{
    g_free(id->type);
    g_free(id->label);
    g_free(id->uuid);
    *id = (struct identity){0};
}

/* -- Labels far from the start ------------------------------------------- */

/* The root directory of FAT, whose first entries hold the label. */
static struct probe_range fat_root(const uint8_t *b)
{
    int64_t sector = load_le16(b + 11), cluster = b[13] * sector;
    int64_t fat_sectors = load_le16(b + 22);
    bool fat32 = fat_sectors == 0;
    int64_t root;

    if (fat32) {
        fat_sectors = load_le32(b + 36);
    }
    root = (load_le16(b + 14) + b[16] * fat_sectors) * sector;
    if (fat32) {
        root += ((int64_t)load_le32(b + 44) - 2) * cluster;
        return (struct probe_range){root, cluster};
    }
    return (struct probe_range){root, load_le16(b + 17) * INT64_C(32)};
}

static struct probe_range exfat_root(const uint8_t *b)
{
    unsigned sector_bits = b[108] & 31, cluster_bits = b[109] & 31;
    int64_t cluster = INT64_C(1) << MIN(sector_bits + cluster_bits, 31);
    int64_t heap = (int64_t)load_le32(b + 88) << MIN(sector_bits, 12);
    int64_t n = (int64_t)load_le32(b + 96) - 2;

    if (n < 0 || n > INT64_MAX / 2 / cluster) {
        return (struct probe_range){0};
    }
    return (struct probe_range){heap + n * cluster, cluster};
}

/* The first records of the master file table; the fourth is the volume's. */
static struct probe_range ntfs_mft(const uint8_t *b)
{
    int64_t cluster = (int64_t)load_le16(b + 11) * b[13];
    uint64_t n = load_le64(b + 48);
    int8_t size = (int8_t)b[64];
    int64_t record = size > 0 ? size * cluster : INT64_C(1) << MIN(-size, 16);

    if (cluster == 0 || n > (uint64_t)(INT64_MAX / 2 / cluster)) {
        return (struct probe_range){0};
    }
    return (struct probe_range){(int64_t)n * cluster, 4 * record};
}

bool identify_label_range(const uint8_t *boot, struct probe_range *ret)
{
    struct probe_range r;

    if (memcmp(boot + 3, "EXFAT   ", 8) == 0) {
        r = exfat_root(boot);
    } else if (memcmp(boot + 3, "NTFS    ", 8) == 0) {
        r = ntfs_mft(boot);
    } else if (boot[510] == 0x55 && boot[511] == 0xaa && boot[16] > 0) {
        r = fat_root(boot);
    } else {
        return false;
    }
    if (r.offset <= 0 || r.bytes <= 0) {
        return false;
    }
    r.bytes = MIN(r.bytes, LABEL_BYTES);
    *ret = r;
    return true;
}

/* -- The copy that libblkid sees ----------------------------------------- */

struct probe {
    struct backend *be;
    int64_t offset, bytes; /* of the window */
    int fd;                /* the sparse copy */
    uint8_t *buf;          /* CHUNK_BYTES */
};

/* Writes all of the buffer's first @n bytes. */
static int put(const struct probe *p, int64_t at, int64_t n)
{
    for (int64_t done = 0; done < n;) {
        ssize_t w = pwrite(p->fd, p->buf + done, (size_t)(n - done), at + done);

        if (w < 0 && errno == EINTR) {
            continue;
        }
        if (w <= 0) {
            return w < 0 ? -errno : -EIO;
        }
        done += w;
    }
    return 0;
}

/* Copies what the window has of [@at, @at + @bytes). */
static int co_fn copy_range(const struct probe *p, int64_t at, int64_t bytes)
{
    int64_t end = MIN(at + bytes, p->bytes);

    for (int64_t n; at < end; at += n) {
        int rc;

        n = MIN(end - at, CHUNK_BYTES);
        rc = backend_co_pread(p->be, p->offset + at, p->buf, n); /* yields */
        if (rc == 0) {
            rc = put(p, at, n);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int co_fn copy_label(const struct probe *p)
{
    struct probe_range r;
    ssize_t n = pread(p->fd, p->buf, BOOT_BYTES, 0);

    if (n != BOOT_BYTES || !identify_label_range(p->buf, &r) ||
        r.offset >= p->bytes) {
        return 0;
    }
    return copy_range(p, r.offset, r.bytes);
}

static int co_fn copy_all(const struct probe *p)
{
    int rc;

    if (ftruncate(p->fd, p->bytes) < 0) {
        return -errno;
    }
    rc = copy_range(p, 0, HEAD_BYTES);
    if (rc == 0 && p->bytes > HEAD_BYTES) {
        rc = copy_range(p, MAX(p->bytes - TAIL_BYTES, HEAD_BYTES), TAIL_BYTES);
    }
    if (rc == 0) {
        rc = copy_label(p);
    }
    return rc;
}

static char *value_of(blkid_probe pr, const char *name)
{
    const char *value;

    if (blkid_probe_lookup_value(pr, name, &value, NULL) < 0 || !*value) {
        return NULL;
    }
    return g_strdup(value);
}

/* Asks libblkid.  What it is not sure of is nothing. */
static int ask(int fd, struct identity *ret)
{
    blkid_probe pr = blkid_new_probe();

    if (!pr) {
        return -ENOMEM;
    }
    if (blkid_probe_set_device(pr, fd, 0, 0) == 0) {
        blkid_probe_enable_superblocks(pr, 1);
        blkid_probe_set_superblocks_flags(
            pr, BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID | BLKID_SUBLKS_TYPE);
        if (blkid_do_safeprobe(pr) == 0) {
            ret->type = value_of(pr, "TYPE");
            ret->label = value_of(pr, "LABEL");
            ret->uuid = value_of(pr, "UUID");
        }
    }
    blkid_free_probe(pr);
    return 0;
}

int co_fn identify_co(struct backend *be, int64_t offset, int64_t bytes,
                      struct identity *ret)
{
    auto_close int fd = memfd_create("coblk-probe", MFD_CLOEXEC);
    struct probe p = {
        .be = be,
        .offset = offset,
        .bytes = bytes,
        .fd = fd,
    };
    int rc;

    if (fd < 0) {
        return -errno;
    }
    p.buf = aligned_alloc(4 * KiB, CHUNK_BYTES);
    if (!p.buf) {
        return -ENOMEM;
    }
    rc = copy_all(&p);
    free(p.buf);
    return rc < 0 ? rc : ask(fd, ret);
}
