/* SPDX-License-Identifier: MIT */

#include "format/qcow2/counts.h"

#include <assert.h>
#include <errno.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"

#define CHUNK_BITS 12
#define CHUNK      (INT64_C(1) << CHUNK_BITS) /* clusters */

/* Stands for "look into @large". */
#define IS_LARGE INT8_MIN

struct counts {
    int64_t clusters;
    int8_t **chunks;   /* NULL: all 0 */
    GHashTable *large; /* int64_t * (cluster) to int64_t * */
};

static int64_t chunks_for(int64_t clusters)
{
    return (clusters + CHUNK - 1) >> CHUNK_BITS;
}

struct counts *counts_new(int64_t clusters)
{
    struct counts *c = g_new0(struct counts, 1);

    c->large =
        g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    if (counts_reach(c, clusters) < 0) {
        counts_free(c);
        c = NULL;
    }
    return c;
}

void counts_free(struct counts *c)
{
    if (!c) {
        return;
    }
    for (int64_t i = 0; i < chunks_for(c->clusters); i++) {
        free(c->chunks[i]);
    }
    free(c->chunks);
    g_hash_table_unref(c->large);
    g_free(c);
}

int64_t counts_clusters(const struct counts *c)
{
    return c->clusters;
}

int counts_reach(struct counts *c, int64_t clusters)
{
    int64_t old = chunks_for(c->clusters);
    int64_t n = chunks_for(clusters);
    int8_t **chunks;

    if (clusters > COUNTS_MAX_CLUSTERS) {
        return -ENOMEM;
    }
    if (n > old) {
        chunks = realloc(c->chunks, (size_t)n * sizeof(*chunks));
        if (!chunks) {
            return -ENOMEM;
        }
        memset(chunks + old, 0, (size_t)(n - old) * sizeof(*chunks));
        c->chunks = chunks;
    }
    c->clusters = max_i64(c->clusters, clusters);
    return 0;
}

static int64_t get_large(const struct counts *c, int64_t cluster)
{
    const int64_t *n = g_hash_table_lookup(c->large, &cluster);

    return n ? *n : 0;
}

int64_t counts_get(const struct counts *c, int64_t cluster)
{
    const int8_t *chunk;
    int8_t n;

    if (cluster >= c->clusters) {
        return 0;
    }
    chunk = c->chunks[cluster >> CHUNK_BITS];
    n = chunk ? chunk[cluster & (CHUNK - 1)] : 0;
    return n == IS_LARGE ? get_large(c, cluster) : n;
}

static void set_large(struct counts *c, int64_t cluster, int64_t n)
{
    int64_t *key = g_new(int64_t, 1);
    int64_t *value = g_new(int64_t, 1);

    *key = cluster;
    *value = n;
    g_hash_table_insert(c->large, key, value);
}

int counts_add(struct counts *c, int64_t cluster, int64_t delta)
{
    int8_t **chunk = &c->chunks[cluster >> CHUNK_BITS];
    int64_t n = counts_get(c, cluster) + delta;

    assert(cluster < c->clusters);
    if (!*chunk) {
        *chunk = calloc(1, (size_t)CHUNK);
        if (!*chunk) {
            return -ENOMEM;
        }
    }
    if (n > INT8_MIN && n <= INT8_MAX) {
        if ((*chunk)[cluster & (CHUNK - 1)] == IS_LARGE) {
            g_hash_table_remove(c->large, &cluster);
        }
        (*chunk)[cluster & (CHUNK - 1)] = (int8_t)n;
        return 0;
    }
    set_large(c, cluster, n);
    (*chunk)[cluster & (CHUNK - 1)] = IS_LARGE;
    return 0;
}

int64_t counts_next(const struct counts *c, int64_t cluster, int64_t end)
{
    int64_t stop = min_i64(c->clusters, end);

    while (cluster < stop && !c->chunks[cluster >> CHUNK_BITS]) {
        cluster = (cluster | (CHUNK - 1)) + 1;
    }
    return cluster < stop ? cluster : end;
}
