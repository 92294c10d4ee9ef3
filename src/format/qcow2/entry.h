/* SPDX-License-Identifier: MIT */
/*
 * entry: L2 entries and reference counts, bit by bit.  Pure.
 *
 * A cluster's entry is 8 bytes, or with extended L2 entries 16: then the
 * second half has, for each of 32 subclusters, a bit "allocated" and a bit
 * "reads as zeroes".  Without them a cluster counts as one subcluster here,
 * so that the code above knows one case only.
 */
#ifndef FORMAT_QCOW2_ENTRY_H
#define FORMAT_QCOW2_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/endian.h"

/* L1 and L2 entries. */
#define QCOW2_OFFSET_MASK UINT64_C(0x00fffffffffffe00)
#define QCOW2_COPIED      (UINT64_C(1) << 63) /* its refcount is exactly 1 */
#define QCOW2_COMPRESSED  (UINT64_C(1) << 62)
#define QCOW2_ZERO        UINT64_C(1)
/* Bits that must be 0 in an L1 entry. */
#define QCOW2_L1_RESERVED UINT64_C(0x7f000000000001ff)
#define QCOW2_MAX_OFFSET  (INT64_C(1) << 56) /* of what a table can name */

#define QCOW2_SUBCLUSTERS 32
#define QCOW2_ALL_ALLOC   UINT64_C(0x00000000ffffffff)
#define QCOW2_ALL_ZERO    UINT64_C(0xffffffff00000000)

/* What a subcluster is. */
enum qcow2_kind {
    QCOW2_HOLE,         /* not allocated: the backing file, or zeroes */
    QCOW2_HOLE_ALLOC,   /* the same, but its cluster has a place */
    QCOW2_ZEROES,       /* reads as zeroes */
    QCOW2_ZEROES_ALLOC, /* the same, but its cluster has a place */
    QCOW2_DATA,         /* at its place */
    QCOW2_PACKED,       /* compressed */
    QCOW2_BROKEN,       /* what no entry may be */
};

/* A cluster's entry, in the byte order of this machine. */
struct qcow2_entry {
    uint64_t l2;
    uint64_t bitmap; /* 0 without extended L2 entries */
};

static inline struct qcow2_entry qcow2_entry_load(const uint8_t *p,
                                                  bool extended)
{
    return (struct qcow2_entry){
        .l2 = load_be64(p),
        .bitmap = extended ? load_be64(p + 8) : 0,
    };
}

static inline void qcow2_entry_store(uint8_t *p, struct qcow2_entry e,
                                     bool extended)
{
    store_be64(p, e.l2);
    if (extended) {
        store_be64(p + 8, e.bitmap);
    }
}

/* The cluster's place in the file (not of a compressed one). */
static inline int64_t qcow2_entry_host(struct qcow2_entry e)
{
    return (int64_t)(e.l2 & QCOW2_OFFSET_MASK);
}

static inline bool qcow2_kind_is_zero(enum qcow2_kind kind)
{
    return kind == QCOW2_ZEROES || kind == QCOW2_ZEROES_ALLOC;
}

static inline bool qcow2_kind_is_hole(enum qcow2_kind kind)
{
    return kind == QCOW2_HOLE || kind == QCOW2_HOLE_ALLOC;
}

/* What an image is like, as far as entries go. */
struct qcow2_entry_format {
    unsigned cluster_bits;
    bool extended;
    bool v2;        /* the zero bit has no meaning */
    bool data_file; /* a place may be at offset 0 */
};

/* What subcluster @sub of the cluster is. */
enum qcow2_kind qcow2_entry_kind(const struct qcow2_entry_format *f,
                                 struct qcow2_entry e, unsigned sub);
/* Is any of them what no entry may be? */
bool qcow2_entry_is_broken(const struct qcow2_entry_format *f,
                           struct qcow2_entry e);

/* Where the data of a compressed cluster lie, and how long they are at most. */
void qcow2_entry_packed(const struct qcow2_entry_format *f,
                        struct qcow2_entry e, int64_t *ret_offset,
                        int64_t *ret_bytes);
/* The entry of compressed data of @bytes at @offset.  Returns 0 when they
 * lie too far behind to be named. */
uint64_t qcow2_entry_pack(const struct qcow2_entry_format *f, int64_t offset,
                          int64_t bytes);

/* The bits of subclusters [@first, @end) in the lower half of a bitmap. */
static inline uint64_t qcow2_sub_mask(unsigned first, unsigned end)
{
    return ((UINT64_C(1) << end) - 1) & ~((UINT64_C(1) << first) - 1);
}

/* Reference count @i of those at @block; they are 2^@order bits wide. */
uint64_t qcow2_refcount_load(const uint8_t *block, int64_t i, unsigned order);
void qcow2_refcount_store(uint8_t *block, int64_t i, unsigned order,
                          uint64_t count);

#endif /* FORMAT_QCOW2_ENTRY_H */
