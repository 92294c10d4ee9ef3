/* SPDX-License-Identifier: MIT */
/*
 * refcount: what the files share that keep reference counts.  Others use what
 * qcow2.h declares of them.
 *
 *   refcount.c       the table, and counts in its blocks
 *   refcount_grow.c  a longer table
 *   alloc.c          finds clusters that are free, and counts them
 *
 * An area is the host clusters that one refcount block counts.  All with @meta
 * held.
 */
#ifndef FORMAT_QCOW2_REFCOUNT_H
#define FORMAT_QCOW2_REFCOUNT_H

#include "format/qcow2/qcow2.h"

/* -- Counts (refcount.c) ------------------------------------------------- */

/* Where the count of a cluster is. */
struct count_ref {
    struct slice *slice; /* pinned; NULL: there is no block, all are 0 */
    int64_t index, end;  /* in the slice: ours, and behind the last */
};

/* How many counts a slice has. */
int64_t refcount_slice_counts(const struct qcow2 *s);
/* Finds the count of @cluster.  Without a block, @end - @index is how many
 * clusters from @cluster on have none either. */
nodiscard int co_fn count_ref_co_get(struct qcow2 *s, int64_t cluster,
                                     struct count_ref *ret);
void count_ref_put(struct count_ref *ref);

/* -- Blocks (refcount.c) ------------------------------------------------- */

/* The refcount block of area @b, or 0. */
int64_t refblock_offset(struct qcow2 *s, int64_t b);
/* Writes a new refcount block for area @b to @offset.  Clusters from @first to
 * @end count 1, as far as they are of that area. */
nodiscard int co_fn refblock_co_write(struct qcow2 *s, int64_t b,
                                      int64_t offset, int64_t first,
                                      int64_t end);
/*
 * Makes the cluster at @offset, whose count is 0, the refcount block of area
 * @b.  Its own count is there before anything refers to it: in the block
 * itself, or in that of its area, which must exist.  Returns 1 when it has made
 * the refcount table longer instead, which lies in new areas: look again.
 */
nodiscard int co_fn refblock_co_add(struct qcow2 *s, int64_t b, int64_t offset);

/* -- The table (refcount_grow.c) ----------------------------------------- */

/* Makes the refcount table long enough for area @b. */
nodiscard int co_fn reftable_co_grow(struct qcow2 *s, int64_t b);

#endif /* FORMAT_QCOW2_REFCOUNT_H */
