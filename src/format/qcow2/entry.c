/* SPDX-License-Identifier: MIT */

#include "format/qcow2/entry.h"

#include "base/align.h"

/* What a whole standard cluster is. */
static enum qcow2_kind standard_kind(const struct qcow2_entry_format *f,
                                     uint64_t l2, bool placed)
{
    if ((l2 & QCOW2_ZERO) && !f->v2) {
        return placed ? QCOW2_ZEROES_ALLOC : QCOW2_ZEROES;
    }
    return placed ? QCOW2_DATA : QCOW2_HOLE;
}

static enum qcow2_kind sub_kind(uint64_t bitmap, unsigned sub, bool placed)
{
    bool alloc = bitmap >> sub & 1;
    bool zero = bitmap >> (sub + QCOW2_SUBCLUSTERS) & 1;

    if (alloc && (zero || !placed)) {
        return QCOW2_BROKEN;
    }
    if (alloc) {
        return QCOW2_DATA;
    }
    if (zero) {
        return placed ? QCOW2_ZEROES_ALLOC : QCOW2_ZEROES;
    }
    return placed ? QCOW2_HOLE_ALLOC : QCOW2_HOLE;
}

enum qcow2_kind qcow2_entry_kind(const struct qcow2_entry_format *f,
                                 struct qcow2_entry e, unsigned sub)
{
    int64_t host = qcow2_entry_host(e);
    bool placed = host != 0 || (f->data_file && (e.l2 & QCOW2_COPIED));

    if (e.l2 & QCOW2_COMPRESSED) {
        return f->data_file ? QCOW2_BROKEN : QCOW2_PACKED;
    }
    if (!is_aligned(host, INT64_C(1) << f->cluster_bits)) {
        return QCOW2_BROKEN;
    }
    return f->extended ? sub_kind(e.bitmap, sub, placed)
                       : standard_kind(f, e.l2, placed);
}

bool qcow2_entry_is_broken(const struct qcow2_entry_format *f,
                           struct qcow2_entry e)
{
    bool subs = f->extended && !(e.l2 & QCOW2_COMPRESSED);

    for (unsigned sub = 0; sub < (subs ? QCOW2_SUBCLUSTERS : 1); sub++) {
        if (qcow2_entry_kind(f, e, sub) == QCOW2_BROKEN) {
            return true;
        }
    }
    return false;
}

/* How many of an entry's bits hold the offset of compressed data. */
static unsigned packed_offset_bits(const struct qcow2_entry_format *f)
{
    return 62 - (f->cluster_bits - 8);
}

void qcow2_entry_packed(const struct qcow2_entry_format *f,
                        struct qcow2_entry e, int64_t *ret_offset,
                        int64_t *ret_bytes)
{
    unsigned bits = packed_offset_bits(f);
    uint64_t all = e.l2 & (QCOW2_COMPRESSED - 1);
    int64_t offset = (int64_t)(all & ((UINT64_C(1) << bits) - 1));
    int64_t sectors = (int64_t)(all >> bits) + 1;

    *ret_offset = offset;
    *ret_bytes = sectors * 512 - (offset & 511);
}

uint64_t qcow2_entry_pack(const struct qcow2_entry_format *f, int64_t offset,
                          int64_t bytes)
{
    unsigned bits = packed_offset_bits(f);
    int64_t limit = min_i64(INT64_C(1) << bits, QCOW2_MAX_OFFSET);
    int64_t more = ((offset + bytes - 1) >> 9) - (offset >> 9);

    if (offset + bytes > limit) {
        return 0;
    }
    return QCOW2_COMPRESSED | (uint64_t)more << bits | (uint64_t)offset;
}

uint64_t qcow2_refcount_load(const uint8_t *block, int64_t i, unsigned order)
{
    switch (order) {
    case 4:
        return load_be16(block + i * 2);
    case 5:
        return load_be32(block + i * 4);
    case 6:
        return load_be64(block + i * 8);
    default: {
        unsigned bits = 1u << order;
        unsigned shift = (unsigned)(i << order) & 7;

        return block[(i << order) >> 3] >> shift & ((1u << bits) - 1);
    }
    }
}

void qcow2_refcount_store(uint8_t *block, int64_t i, unsigned order,
                          uint64_t count)
{
    switch (order) {
    case 4:
        store_be16(block + i * 2, (uint16_t)count);
        break;
    case 5:
        store_be32(block + i * 4, (uint32_t)count);
        break;
    case 6:
        store_be64(block + i * 8, count);
        break;
    default: {
        unsigned bits = 1u << order;
        unsigned shift = (unsigned)(i << order) & 7;
        uint8_t mask = (uint8_t)(((1u << bits) - 1) << shift);
        uint8_t *p = &block[(i << order) >> 3];

        *p = (uint8_t)((*p & ~mask) | (count << shift & mask));
        break;
    }
    }
}
