/* SPDX-License-Identifier: MIT */
/*
 * bitmap_dir: the directory of the bitmaps of an image as structs, and back.
 *
 * Pure: bytes in, structs out.  What was parsed is bounded: names can be
 * printed, sizes fit in memory, tables begin at clusters.  That tables lie
 * inside of the file is not known here.
 *
 * Units:     bytes, unless a name says entries or bits.
 * Errors:    a negative errno.
 * Threading: any thread.
 */
#ifndef FORMAT_QCOW2_BITMAP_DIR_H
#define FORMAT_QCOW2_BITMAP_DIR_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/align.h"
#include "base/compiler.h"

/* What the format lets a bitmap be and others take as well. */
#define QCOW2_BITMAP_MAX_NAME      1023
#define QCOW2_BITMAP_MIN_BITS      9 /* of the granularity: 512 bytes */
#define QCOW2_BITMAP_MAX_BITS      31
#define QCOW2_BITMAP_MAX_BYTES     (512 * MiB) /* of one bitmap's bits */
#define QCOW2_BITMAP_TABLE_ENTRIES (4 * MiB)   /* 32 MiB of table */

enum qcow2_bitmap_flags {
    QCOW2_BITMAP_IN_USE = 1 << 0,           /* was not stored: not consistent */
    QCOW2_BITMAP_AUTO = 1 << 1,             /* enabled: records all writes */
    QCOW2_BITMAP_EXTRA_COMPATIBLE = 1 << 2, /* usable despite extra data */
    QCOW2_BITMAP_KNOWN_FLAGS = (1 << 3) - 1,
};

struct qcow2_bitmap_entry {
    char *name;     /* owned */
    uint8_t *extra; /* owned; what nobody knows the meaning of */
    uint32_t extra_bytes;
    uint32_t flags;
    unsigned granularity_bits;
    uint32_t table_entries;
    int64_t table_offset;
};

void qcow2_bitmap_entry_fini(struct qcow2_bitmap_entry *e);

/*
 * Parses @n entries, which fill @bytes of @dir.  Returns 0 and an array of
 * struct qcow2_bitmap_entry that frees what it holds, or
 *   -EINVAL   they contradict the format
 *   -ENOTSUP  a type or a granularity that is not known here
 */
nodiscard int qcow2_bitmap_dir_parse(const uint8_t *dir, int64_t bytes,
                                     uint32_t n, unsigned cluster_bits,
                                     GArray **ret);

/* How many bytes an entry fills, padding included. */
int64_t qcow2_bitmap_entry_bytes(const struct qcow2_bitmap_entry *e);

/* Writes an entry, and zeroes behind it, to @p; returns where it ends. */
uint8_t *qcow2_bitmap_entry_store(const struct qcow2_bitmap_entry *e,
                                  uint8_t *p);

/* How many bits, and bytes of them, a disk of @length has. */
static inline int64_t qcow2_bitmap_bits(int64_t length, unsigned bits)
{
    return (length >> bits) + (length & ((INT64_C(1) << bits) - 1) ? 1 : 0);
}

static inline int64_t qcow2_bitmap_bytes(int64_t length, unsigned bits)
{
    return (qcow2_bitmap_bits(length, bits) + 7) / 8;
}

#endif /* FORMAT_QCOW2_BITMAP_DIR_H */
