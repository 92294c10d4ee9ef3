/* SPDX-License-Identifier: MIT */

#include "format/qcow2/recount.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/qcow2/qcow2.h"

/* An area is what one refcount block has the counts of. */
static unsigned area_bits(const struct recount *r)
{
    return r->s->cluster_bits + 3 - r->order;
}

static int table_reach(struct recount *r, int64_t areas)
{
    int64_t room = max_i64(areas, r->room + r->room / 2);
    uint64_t *table;

    if (areas > QCOW2_MAX_REFTABLE_BYTES / 8) {
        return -EFBIG;
    }
    if (areas > r->room) {
        table = realloc(r->table, (size_t)room * sizeof(*table));
        if (!table) {
            return -ENOMEM;
        }
        memset(table + r->room, 0, (size_t)(room - r->room) * sizeof(*table));
        r->table = table;
        r->room = room;
    }
    r->n = max_i64(r->n, areas);
    return 0;
}

/* -- Where everything goes ----------------------------------------------- */

/* Is there a count from @first on, in its area, that is not 0?  1 or 0. */
static int co_fn area_counts(struct recount *r, int64_t first)
{
    int64_t end = align_up(first + 1, INT64_C(1) << area_bits(r));
    uint64_t counts[RECOUNT_STEP];

    while (first >= 0 && first < end) {
        int64_t n = min_i64(RECOUNT_STEP, end - first);
        int rc = r->get(r->opaque, first, n, counts); /* yields */

        for (int64_t i = 0; rc == 0 && i < n; i++) {
            if (counts[i]) {
                return 1;
            }
        }
        if (rc < 0) {
            return rc;
        }
        first = r->next(r->opaque, first + n);
    }
    return 0;
}

/* Gives each area that counts something, and has no block, one.  Returns
 * whether there was any. */
static int co_fn place_blocks(struct recount *r)
{
    unsigned bits = area_bits(r);
    int64_t c = r->next(r->opaque, 0);
    int placed = 0;

    while (c >= 0) {
        int64_t area = c >> bits;
        int64_t offset;
        int rc = table_reach(r, area + 1);

        if (rc == 0 && !r->table[area]) {
            rc = area_counts(r, c); /* yields */
            if (rc > 0) {
                rc = r->alloc(r->opaque, 1, &offset); /* yields */
                r->table[area] = rc < 0 ? 0 : (uint64_t)offset;
                placed = 1;
            }
        }
        if (rc < 0) {
            return rc;
        }
        c = r->next(r->opaque, (area + 1) << bits);
    }
    return placed;
}

static int co_fn place_table(struct recount *r)
{
    int64_t per_cluster = r->s->cluster_size / 8;
    /* The table may begin an area, or some. */
    int64_t n = r->n + r->n / 64 + 4;

    if (r->table_clusters > 0) {
        return r->n > r->table_clusters * per_cluster ? -EFBIG : 0;
    }
    r->table_clusters = (n + per_cluster - 1) / per_cluster;
    if (r->table_clusters << r->s->cluster_bits > QCOW2_MAX_REFTABLE_BYTES) {
        return -EFBIG;
    }
    return r->alloc(r->opaque, r->table_clusters, &r->table_offset);
}

static int co_fn place_all(struct recount *r)
{
    int rc = place_blocks(r); /* yields */

    while (rc > 0) {
        rc = place_blocks(r); /* yields; for the blocks themselves */
        if (rc == 0 && r->table_clusters == 0) {
            rc = place_table(r);                /* yields */
            rc = rc < 0 ? rc : place_blocks(r); /* yields */
        }
    }
    return rc < 0 ? rc : place_table(r);
}

/* -- Writing ------------------------------------------------------------- */

static int co_fn write_block(struct recount *r, int64_t area, uint8_t *block)
{
    int64_t first = area << area_bits(r);
    int64_t n = INT64_C(1) << area_bits(r);
    uint64_t max = UINT64_MAX >> (64 - (1 << r->order));
    uint64_t counts[RECOUNT_STEP];

    memset(block, 0, (size_t)r->s->cluster_size);
    for (int64_t i = 0; i < n; i += RECOUNT_STEP) {
        int64_t step = min_i64(RECOUNT_STEP, n - i);
        int rc = r->get(r->opaque, first + i, step, counts); /* yields */

        for (int64_t k = 0; rc == 0 && k < step; k++) {
            rc = counts[k] > max ? -ERANGE : 0;
            qcow2_refcount_store(block, i + k, r->order, counts[k]);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return qcow2_co_write_table(r->s, (int64_t)r->table[area], block,
                                r->s->cluster_size); /* yields */
}

static int co_fn write_blocks(struct recount *r)
{
    uint8_t *block = malloc((size_t)r->s->cluster_size);
    int rc = block ? 0 : -ENOMEM;

    for (int64_t area = 0; area < r->n && rc == 0; area++) {
        if (r->table[area]) {
            rc = write_block(r, area, block); /* yields */
        }
    }
    free(block);
    return rc;
}

static int co_fn write_table(struct recount *r)
{
    int64_t bytes = r->table_clusters << r->s->cluster_bits;
    uint8_t *buf = calloc(1, (size_t)bytes);
    int rc;

    if (!buf) {
        return -ENOMEM;
    }
    for (int64_t i = 0; i < r->n; i++) {
        store_be64(buf + i * 8, r->table[i]);
    }
    rc = qcow2_co_write_table(r->s, r->table_offset, buf, bytes); /* yields */
    free(buf);
    return rc;
}

int co_fn recount_co_write(struct recount *r)
{
    int rc;

    r->table = NULL;
    r->n = r->room = r->table_clusters = 0;
    rc = place_all(r);              /* yields */
    rc = rc ? rc : write_blocks(r); /* yields */
    rc = rc ? rc : write_table(r);  /* yields */
    free(r->table);
    r->table = NULL;
    return rc;
}
