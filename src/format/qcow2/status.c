/* SPDX-License-Identifier: MIT */
/*
 * status: where guest bytes come from.
 */
#include "format/qcow2/ops.h"
#include "format/qcow2/qcow2.h"

/* Files that lack more than this are looked into. */
#define SPARSE_BYTES MiB

/*
 * Does the file have far less than its length?  Then clusters that are
 * allocated may be holes in it (preallocated metadata), and it is worth
 * asking the file as well.  Found out once.
 */
static bool co_fn file_is_sparse(struct qcow2 *s)
{
    int known = atomic_load(&s->sparse);
    int64_t length = node_length(s->data);
    struct node_stat st;

    if (likely(known != 0)) {
        return known > 0;
    }
    known = node_co_stat(s->data, &st) == 0 && st.allocated >= 0 &&
                    length - st.allocated > max_i64(length / 2, SPARSE_BYTES)
                ? 1
                : -1; /* yields */
    atomic_store(&s->sparse, known);
    return known > 0;
}

static unsigned kind_flags(enum qcow2_kind kind)
{
    switch (kind) {
    case QCOW2_HOLE:
    case QCOW2_HOLE_ALLOC:
        return 0;
    case QCOW2_ZEROES:
        return BLOCK_ZERO;
    case QCOW2_ZEROES_ALLOC:
        return BLOCK_ZERO | BLOCK_OFFSET_VALID;
    case QCOW2_DATA:
        return BLOCK_DATA | BLOCK_OFFSET_VALID;
    case QCOW2_PACKED:
        return BLOCK_DATA | BLOCK_COMPRESSED;
    case QCOW2_BROKEN:
        break;
    }
    return BLOCK_DATA;
}

/* What is encrypted is nowhere to be read as it is. */
int co_fn qcow2_co_block_status(struct node *node, bool precise, int64_t offset,
                                int64_t bytes, struct block_status *ret)
{
    struct qcow2 *s = qcow2_of(node);
    struct extent e;
    unsigned flags;
    int rc = qcow2_co_map(s, offset, bytes, &e); /* yields */

    if (rc < 0) {
        return rc;
    }
    flags = kind_flags(e.kind);
    if (precise && e.kind == QCOW2_DATA && !s->external && file_is_sparse(s)) {
        flags |= BLOCK_RECURSE;
    }
    if (s->encrypted) {
        flags &= ~(unsigned)(BLOCK_OFFSET_VALID | BLOCK_RECURSE);
    }
    *ret = (struct block_status){.flags = flags, .bytes = e.bytes};
    if (flags & BLOCK_OFFSET_VALID) {
        ret->map = e.host;
        ret->file = s->data;
    }
    return 0;
}
