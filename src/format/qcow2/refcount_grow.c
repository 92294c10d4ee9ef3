/* SPDX-License-Identifier: MIT */
/*
 * refcount_grow: a longer refcount table.  It is written behind all that the
 * old one counts, together with the blocks that count itself, and takes effect
 * when the header names it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/qcow2/refcount.h"

/* What a longer table needs: it lies at cluster @first, the refcount blocks
 * for it and for themselves behind it. */
struct growth {
    int64_t first;
    int64_t table_clusters;
    int64_t blocks;
    int64_t n; /* entries */
};

static int growth_plan(const struct qcow2 *s, int64_t need, struct growth *g)
{
    int64_t per_cluster = s->cluster_size / 8;
    int64_t n = max_i64(need, s->reftable_n + s->reftable_n / 2 + 1);

    g->first = s->reftable_n << s->block_bits;
    g->blocks = 0;
    for (;;) {
        int64_t end, areas;

        g->table_clusters = (n + per_cluster - 1) / per_cluster;
        end = g->first + g->table_clusters + g->blocks;
        areas = ((end - 1) >> s->block_bits) + 1;
        if (areas - s->reftable_n <= g->blocks && areas <= n) {
            break;
        }
        g->blocks = areas - s->reftable_n;
        n = max_i64(n, areas);
    }
    g->n = g->table_clusters * per_cluster;
    if (g->n * 8 > QCOW2_MAX_REFTABLE_BYTES) {
        return -EFBIG;
    }
    return 0;
}

static int co_fn growth_write_table(struct qcow2 *s, const struct growth *g,
                                    const uint64_t *table)
{
    int64_t bytes = g->table_clusters << s->cluster_bits;
    uint8_t *buf = malloc((size_t)bytes);
    int rc;

    if (!buf) {
        return -ENOMEM;
    }
    for (int64_t i = 0; i < g->n; i++) {
        store_be64(buf + i * 8, table[i]);
    }
    node_event(s->file, EVENT_REFBLOCK_ALLOC_WRITE_TABLE);
    rc = qcow2_co_write_table(s, g->first << s->cluster_bits, buf, bytes);
    free(buf);
    return rc;
}

/* All refcount blocks that are in memory, durable. */
static int co_fn blocks_sync(struct qcow2 *s)
{
    struct capture cap = {.n = 0};
    int rc = cache_capture(s->refcount_cache, &cap);

    if (rc == 0) {
        rc = cache_co_write(s->refcount_cache, &cap); /* yields */
    }
    return rc < 0 ? rc : node_co_flush(s->file); /* yields */
}

/* Makes the header name the new table.  The old one is not needed then. */
static int co_fn growth_switch(struct qcow2 *s, const struct growth *g)
{
    struct qcow2_header to = s->header;

    to.reftable_offset = g->first << s->cluster_bits;
    to.reftable_clusters = (uint32_t)g->table_clusters;
    node_event(s->file, EVENT_REFBLOCK_ALLOC_SWITCH_TABLE);
    return qcow2_co_switch_header(s, &to); /* yields */
}

static int co_fn growth_write(struct qcow2 *s, const struct growth *g,
                              uint64_t *table)
{
    int64_t first = g->first << s->cluster_bits;
    int64_t table_bytes = g->table_clusters << s->cluster_bits;
    int64_t blocks_bytes = g->blocks << s->cluster_bits;
    int rc = blocks_sync(s); /* yields */

    qcow2_note_use(s, first, table_bytes + blocks_bytes);
    rc = rc ? rc : qcow2_co_reach(s, first + table_bytes + blocks_bytes);
    memcpy(table, s->reftable, (size_t)s->reftable_n * 8);
    for (int64_t i = 0; i < g->blocks && rc == 0; i++) {
        int64_t offset = first + table_bytes + (i << s->cluster_bits);

        table[s->reftable_n + i] = (uint64_t)offset;
        node_event(s->file, EVENT_REFBLOCK_ALLOC_WRITE_BLOCKS);
        rc = refblock_co_write(s, s->reftable_n + i, offset, g->first,
                               g->first + g->table_clusters + g->blocks);
    }
    rc = rc ? rc : qcow2_co_guard_new(s, first, table_bytes, GUARD_REFTABLE);
    rc = rc ? rc
            : qcow2_co_guard_new(s, first + table_bytes, blocks_bytes,
                                 GUARD_REFBLOCK);
    rc = rc ? rc : growth_write_table(s, g, table);
    rc = rc ? rc : growth_switch(s, g); /* yields */
    if (rc < 0) {
        guard_remove(s->guard, first, table_bytes + blocks_bytes);
    }
    return rc;
}

/* The table in memory is @table of @n entries from now on. */
static void reftable_replace(struct qcow2 *s, uint64_t *table, int64_t n,
                             const struct dirty_map *dirty)
{
    pthread_mutex_lock(&s->l1_lock);
    free(s->reftable);
    s->reftable = table;
    s->reftable_n = n;
    dirty_map_fini(&s->reftable_dirty);
    s->reftable_dirty = *dirty;
    pthread_mutex_unlock(&s->l1_lock);
}

int co_fn reftable_co_grow(struct qcow2 *s, int64_t b)
{
    int64_t old_offset = s->header.reftable_offset;
    int64_t old_clusters = s->header.reftable_clusters;
    struct dirty_map dirty = {0};
    uint64_t *table = NULL;
    struct growth g;
    int rc;

    node_event(s->file, EVENT_REFTABLE_GROW);
    rc = growth_plan(s, b + 1, &g);
    if (rc == 0) {
        table = calloc((size_t)g.n, 8);
        rc = table && dirty_map_init(&dirty, g.n * 8) ? 0 : -ENOMEM;
    }
    if (rc < 0) {
        free(table);
        return rc;
    }
    co_mutex_lock(&s->writeback);    /* nobody writes the old one; yields */
    rc = growth_write(s, &g, table); /* yields */
    if (rc == 0) {
        reftable_replace(s, table, g.n, &dirty);
    } else {
        free(table);
        dirty_map_fini(&dirty);
    }
    co_mutex_unlock(&s->writeback);
    if (rc == 0) {
        guard_remove(s->guard, old_offset, old_clusters << s->cluster_bits);
        qcow2_co_unalloc(s, old_offset, old_clusters); /* yields */
    }
    return rc;
}
