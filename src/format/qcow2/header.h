/* SPDX-License-Identifier: MIT */
/*
 * header: the first cluster of a qcow2 image as a struct, and back.
 *
 * Pure: bytes in, struct out; no I/O.  Everything is bounded here, so nobody
 * who uses a struct qcow2_header that was parsed has to check again that
 * tables are aligned, that sizes fit in memory or that sums do not overflow.
 * That tables lie inside of the file, and do not overlap, is not known here.
 *
 * Units:     bytes, unless a name says clusters or entries.
 * Errors:    a negative errno and a GError.
 * Threading: any thread.
 */
#ifndef FORMAT_QCOW2_HEADER_H
#define FORMAT_QCOW2_HEADER_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/align.h"
#include "base/compiler.h"

#define QCOW2_MAGIC UINT32_C(0x514649fb)

#define QCOW2_V2_HEADER_BYTES  72
#define QCOW2_V3_HEADER_BYTES  104 /* the least of version 3 */
#define QCOW2_NEW_HEADER_BYTES 112 /* what we write into new images */

/* What we take, which is what others take as well. */
#define QCOW2_MIN_CLUSTER_BITS   9
#define QCOW2_MAX_CLUSTER_BITS   21
#define QCOW2_MIN_EXT_L2_BITS    14 /* of clusters, with extended L2 entries */
#define QCOW2_MAX_L1_BYTES       (32 * MiB)
#define QCOW2_MAX_REFTABLE_BYTES (8 * MiB)
#define QCOW2_MAX_SNAPSHOTS      65536
#define QCOW2_MAX_BITMAPS        65535
#define QCOW2_MAX_BACKING_NAME   1023
#define QCOW2_MAX_CRYPT_BYTES    (16 * MiB) /* of a LUKS header and its keys */
#define QCOW2_MAX_REFCOUNT_ORDER 6

enum qcow2_incompatible {
    QCOW2_DIRTY = 1 << 0,       /* refcounts may be wrong */
    QCOW2_CORRUPT = 1 << 1,     /* anything may be; do not write */
    QCOW2_DATA_FILE = 1 << 2,   /* guest data lies in a file of its own */
    QCOW2_COMPRESSION = 1 << 3, /* compression_type is not deflate */
    QCOW2_EXTENDED_L2 = 1 << 4, /* entries of 16 bytes, 32 subclusters */
    QCOW2_KNOWN_INCOMPATIBLE = (1 << 5) - 1,
};

enum qcow2_compatible {
    QCOW2_LAZY_REFCOUNTS = 1 << 0,
};

enum qcow2_autoclear {
    QCOW2_BITMAPS = 1 << 0,       /* the bitmaps extension is consistent */
    QCOW2_DATA_FILE_RAW = 1 << 1, /* the data file is a raw image as well */
    QCOW2_KNOWN_AUTOCLEAR = (1 << 2) - 1,
};

enum qcow2_crypt {
    QCOW2_CRYPT_NONE,
    QCOW2_CRYPT_AES,
    QCOW2_CRYPT_LUKS,
};

enum qcow2_compression {
    QCOW2_DEFLATE,
    QCOW2_ZSTD,
};

struct qcow2_header {
    unsigned version; /* 2 or 3 */
    unsigned cluster_bits;
    int64_t size; /* of the virtual disk */
    enum qcow2_crypt crypt;
    uint32_t l1_entries;
    int64_t l1_offset;
    int64_t reftable_offset;
    uint32_t reftable_clusters;
    uint32_t n_snapshots;
    int64_t snapshots_offset;

    /* Version 2 has none of these: 0, and 4 for the order. */
    uint64_t incompatible, compatible, autoclear;
    unsigned refcount_order;
    enum qcow2_compression compression;

    /* Strings of the header cluster; owned, NULL when there is none. */
    char *backing_name;
    char *backing_format;
    char *data_file;

    /* The bitmaps extension; n is 0 when there is none. */
    struct {
        uint32_t n;
        int64_t directory_bytes, directory_offset;
    } bitmaps;

    /* The full disk encryption pointer; bytes is 0 when there is none. */
    struct {
        int64_t offset, bytes;
    } crypt_header;

    /* The extensions end with a marker that claims to have more data than the
     * header has room for.  It needs none, but others take the image for
     * damaged.  Never written. */
    bool long_end;

    /* Fields behind those we know, and extensions we do not know, in their
     * encoded form: kept when the header is written again. */
    GByteArray *more_fields; /* may be NULL */
    GByteArray *extensions;  /* may be NULL */
};

static inline int64_t qcow2_header_cluster_size(const struct qcow2_header *h)
{
    return INT64_C(1) << h->cluster_bits;
}

/* Is @head the beginning of a qcow2 image of a version we read? */
bool qcow2_header_probe(const uint8_t *head, size_t n);

/*
 * The size of the cluster that holds the header, from the @n first bytes of
 * the file.  Returns it, or -EINVAL, -EOPNOTSUPP (version).
 */
nodiscard int64_t qcow2_header_peek_size(const uint8_t *head, size_t n,
                                         const char *filename, GError **err);

/*
 * Parses @n bytes, the first cluster or as much of it as the file has, into
 * *@ret, which qcow2_header_fini() empties again.  On failure *@ret is empty.
 * @filename is for messages.  Returns 0, or
 *   -EINVAL      it contradicts itself or the specification
 *   -EOPNOTSUPP  it needs a feature that is not known here
 *   -EFBIG       it is larger than what we take
 */
nodiscard int qcow2_header_parse(const uint8_t *buf, size_t n,
                                 const char *filename, struct qcow2_header *ret,
                                 GError **err);

/*
 * Writes the header, its extensions and the name of the backing file into the
 * cluster @buf; the rest is zeroed.  Returns 0, or -ENOSPC when they do not
 * fit (a long name, small clusters).
 */
nodiscard int qcow2_header_serialise(const struct qcow2_header *h,
                                     uint8_t *buf);

/*
 * Writes all but the names of features into the sector @buf: a header that can
 * be written at once.  The name of the backing file, if there is one, is to be
 * at @name_at.  Returns 0, or -ENOSPC when it does not fit.
 */
#define QCOW2_HEADER_SECTOR 512
nodiscard int qcow2_header_serialise_short(const struct qcow2_header *h,
                                           uint8_t *buf, int64_t name_at);

/* Frees what *@h owns and zeroes it. */
void qcow2_header_fini(struct qcow2_header *h);

/* How many entries an L1 table needs for a disk of @size bytes. */
int64_t qcow2_l1_entries_for(const struct qcow2_header *h, int64_t size);

#endif /* FORMAT_QCOW2_HEADER_H */
