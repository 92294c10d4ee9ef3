/* SPDX-License-Identifier: MIT */
/*
 * shadow: changes of many tables that take effect at one moment.
 *
 * For operations on whole images, such as taking a snapshot: tables are not
 * changed where they are.  New ones, and a new refcount structure that fits
 * them, are written where nothing is yet.  A header, which is one sector,
 * then names all of them at once, and what only the old ones used is free.
 * Before that moment a crash leaves the image as it was, after it as it is to
 * be.
 *
 *     shadow_co_begin()
 *         shadow_count()            references that come and go
 *         shadow_co_write()         a new table
 *         sh->header…               what is to name it
 *     shadow_co_commit() or shadow_co_abort()
 *
 * Memory: a byte for each host cluster whose count changes.
 *
 * Errors:    negative errno; the image is as it was then.
 * Threading: a coroutine; nobody else uses the node.
 */
#ifndef FORMAT_QCOW2_SHADOW_H
#define FORMAT_QCOW2_SHADOW_H

#include <stdbool.h>
#include <stdint.h>

#include "format/qcow2/counts.h"
#include "format/qcow2/qcow2.h"

struct shadow {
    struct qcow2 *s;
    /* The header to be; strings are those of s->header. */
    struct qcow2_header header;
    /* Whether the host is told to discard what becomes free. */
    bool discard;

    struct counts *delta; /* internal: by how much each count changes */
    int64_t hint;         /* no cluster below is free */
    int64_t end;          /* of what is used, the new tables included */
    GArray *freed;        /* struct host_range */
};

/* Takes s->meta, until commit or abort. */
nodiscard int co_fn shadow_co_begin(struct shadow *sh, struct qcow2 *s);

/* Adds @delta to the counts of the clusters of a range.  Returns 0, or
 *   -EIO     the range is not one of the file */
nodiscard int shadow_count(struct shadow *sh, int64_t offset, int64_t bytes,
                           int delta);
/* Does the same for what each entry of an L2 table refers to. */
nodiscard int shadow_count_table(struct shadow *sh, const uint8_t *table,
                                 int delta);
/* What the count of a cluster, or of that of @offset, is to be. */
nodiscard int co_fn shadow_co_get(struct shadow *sh, int64_t offset,
                                  uint64_t *ret);

/* Room for @bytes, which count 1. */
nodiscard int co_fn shadow_co_alloc(struct shadow *sh, int64_t bytes,
                                    int64_t *ret_offset);
/* Puts @bytes there, the rest of the last cluster zeroed. */
nodiscard int co_fn shadow_co_write(struct shadow *sh, const void *buf,
                                    int64_t bytes, int64_t *ret_offset);

/* An L1 table, in the byte order of this machine; free() it.  -EIO when it
 * is not one of the file. */
nodiscard int co_fn shadow_co_read_l1(struct shadow *sh, int64_t offset,
                                      uint32_t entries, uint64_t **ret);
nodiscard int co_fn shadow_co_write_l1(struct shadow *sh, const uint64_t *l1,
                                       uint32_t entries, int64_t *ret_offset);
/* The L2 table that L1 entry @e, which is not 0, names.  @buf has a
 * cluster. */
nodiscard int co_fn shadow_co_read_l2(struct shadow *sh, uint64_t e,
                                      uint8_t *buf);

/* Returns 0, or as recount_co_write(); the shadow is gone in any case. */
nodiscard int co_fn shadow_co_commit(struct shadow *sh);
void co_fn shadow_co_abort(struct shadow *sh);

#endif /* FORMAT_QCOW2_SHADOW_H */
