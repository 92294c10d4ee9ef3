/* SPDX-License-Identifier: MIT */
/*
 * recount: writes a new refcount structure (table and blocks) beside the old
 * one.  It takes effect when the header names it, which is up to the caller.
 *
 * Who asks for one knows the counts and where there is room; what is written
 * here counts itself.
 *
 * Errors:    negative errno; then nothing refers to what was written.
 * Threading: a coroutine that nobody else disturbs.
 */
#ifndef FORMAT_QCOW2_RECOUNT_H
#define FORMAT_QCOW2_RECOUNT_H

#include <stdint.h>

#include "base/compiler.h"
#include "co/co.h"

struct qcow2;

/* Most counts that are asked for at once. */
#define RECOUNT_STEP 256

struct recount {
    /* -- Set by the caller */
    struct qcow2 *s;
    unsigned order; /* counts are to have 2^order bits */
    void *opaque;
    /* The counts of clusters [@first, @first + @n). */
    int (*get)(void *opaque, int64_t first, int64_t n, uint64_t *ret) co_fn_ptr;
    /* The first cluster from @cluster on that may not be 0; -1: none. */
    int64_t (*next)(void *opaque, int64_t cluster);
    /* Clusters in a row, which count 1 from now on. */
    int (*alloc)(void *opaque, int64_t clusters, int64_t *ret_offset) co_fn_ptr;

    /* -- The result */
    int64_t table_offset;
    int64_t table_clusters;

    uint64_t *table; /* internal; the block of each area, or 0 */
    int64_t n;       /* areas in @table */
    int64_t room;    /* that @table has memory for */
};

/*
 * Writes it; does not flush.  Returns 0, or
 *   -ERANGE  a count does not fit in 2^order bits
 *   -EFBIG   the table would be larger than what we take
 */
nodiscard int co_fn recount_co_write(struct recount *r);

#endif /* FORMAT_QCOW2_RECOUNT_H */
