/* SPDX-License-Identifier: MIT */
/*
 * guard: which host clusters hold metadata.
 *
 * An open hash table of words, each a cluster's number plus one and what it
 * holds.  A word that is written never changes its number again, so lookups
 * need no lock: they may miss what is added at that moment, which is a cluster
 * that nobody else knows yet.  A table that is full is replaced by a larger
 * one and stays until the end for those that still look at it.
 */
#include <errno.h>
#include <stdlib.h>

#include "format/qcow2/qcow2.h"

#define WHAT_BITS 4
#define MIN_SLOTS 64

struct guard_table {
    struct guard_table *retired; /* the one before */
    size_t mask;                 /* slots - 1 */
    size_t used;                 /* slots that are not 0; under meta */
    _Atomic uint64_t slots[];
};

struct guard {
    unsigned cluster_bits;
    struct guard_table *_Atomic table;
};

static struct guard_table *table_new(size_t slots)
{
    struct guard_table *t = calloc(1, sizeof(*t) + slots * sizeof(uint64_t));

    if (t) {
        t->mask = slots - 1;
    }
    return t;
}

struct guard *guard_new(unsigned cluster_bits, int64_t expected_clusters)
{
    struct guard *g = calloc(1, sizeof(*g));
    size_t slots = MIN_SLOTS;
    struct guard_table *t;

    while (slots < (size_t)expected_clusters * 3 / 2) {
        slots *= 2;
    }
    t = table_new(slots);
    if (!g || !t) {
        free(g);
        free(t);
        return NULL;
    }
    g->cluster_bits = cluster_bits;
    atomic_init(&g->table, t);
    return g;
}

void guard_free(struct guard *g)
{
    struct guard_table *t = g ? atomic_load(&g->table) : NULL;

    while (t) {
        struct guard_table *next = t->retired;

        free(t);
        t = next;
    }
    free(g);
}

static uint64_t cluster_key(int64_t cluster)
{
    return (uint64_t)(cluster + 1) << WHAT_BITS;
}

static size_t key_hash(uint64_t key)
{
    key = (key >> WHAT_BITS) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(key ^ key >> 29);
}

/* The slot of @key, or the empty one where it would go. */
static _Atomic uint64_t *table_slot(struct guard_table *t, uint64_t key)
{
    size_t i = key_hash(key) & t->mask;

    for (;;) {
        uint64_t v = atomic_load_explicit(&t->slots[i], memory_order_acquire);

        if (v == 0 || v >> WHAT_BITS == key >> WHAT_BITS) {
            return &t->slots[i];
        }
        i = (i + 1) & t->mask;
    }
}

static int guard_grow(struct guard *g)
{
    struct guard_table *old = atomic_load(&g->table);
    struct guard_table *t = table_new(2 * (old->mask + 1));

    if (!t) {
        return -ENOMEM;
    }
    for (size_t i = 0; i <= old->mask; i++) {
        uint64_t v = atomic_load(&old->slots[i]);

        if (v & ((1 << WHAT_BITS) - 1)) {
            atomic_store(table_slot(t, v), v);
            t->used++;
        }
    }
    t->retired = old;
    atomic_store_explicit(&g->table, t, memory_order_release);
    return 0;
}

static int guard_add_cluster(struct guard *g, int64_t cluster, int what)
{
    struct guard_table *t = atomic_load(&g->table);
    uint64_t key = cluster_key(cluster);
    _Atomic uint64_t *slot = table_slot(t, key);
    uint64_t v = atomic_load(slot);
    int there = (int)(v & ((1 << WHAT_BITS) - 1));

    if (there) {
        return there;
    }
    if (v == 0 && t->used >= t->mask / 4 * 3) {
        int rc = guard_grow(g);

        return rc < 0 ? rc : guard_add_cluster(g, cluster, what);
    }
    t->used += v == 0;
    atomic_store_explicit(slot, key | (uint64_t)what, memory_order_release);
    return 0;
}

int guard_add(struct guard *g, int64_t offset, int64_t bytes,
              enum guard_what what)
{
    int64_t end = (offset + bytes - 1) >> g->cluster_bits;
    int found = 0;

    for (int64_t i = offset >> g->cluster_bits; bytes > 0 && i <= end; i++) {
        int rc = guard_add_cluster(g, i, (int)what);

        if (rc < 0) {
            return rc;
        }
        found = found ? found : rc;
    }
    return found;
}

void guard_remove(struct guard *g, int64_t offset, int64_t bytes)
{
    struct guard_table *t = atomic_load(&g->table);
    int64_t end = (offset + bytes - 1) >> g->cluster_bits;

    for (int64_t i = offset >> g->cluster_bits; bytes > 0 && i <= end; i++) {
        _Atomic uint64_t *slot = table_slot(t, cluster_key(i));

        if (atomic_load(slot)) {
            atomic_store(slot, cluster_key(i));
        }
    }
}

int guard_find(const struct guard *g, int64_t offset, int64_t bytes)
{
    struct guard_table *t =
        atomic_load_explicit(&g->table, memory_order_acquire);
    int64_t end = (offset + bytes - 1) >> g->cluster_bits;

    for (int64_t i = offset >> g->cluster_bits; bytes > 0 && i <= end; i++) {
        uint64_t v = atomic_load_explicit(table_slot(t, cluster_key(i)),
                                          memory_order_acquire);
        int what = (int)(v & ((1 << WHAT_BITS) - 1));

        if (what) {
            return what;
        }
    }
    return 0;
}

const char *guard_name(int what)
{
    static const char *const names[] = {
        "nothing",
        "the header",
        "the L1 table",
        "an L2 table",
        "the refcount table",
        "a refcount block",
        "the snapshot table",
        "the L1 table of a snapshot",
        "an L2 table of a snapshot",
        "the bitmap directory",
        "the header of its encryption",
        "metadata",
    };

    return names[what];
}

/* Of what was found in a place, what may not be overwritten. */
static int guarded(const struct qcow2 *s, int what)
{
    return what > 0 && !(s->guarded >> what & 1) ? 0 : what;
}

int co_fn qcow2_co_guard_data(struct qcow2 *s, int64_t offset, int64_t bytes)
{
    int64_t area = (offset + bytes - 1) >> (s->block_bits + s->cluster_bits);
    int what;

    if (s->external) {
        return 0;
    }
    if (unlikely(area >= s->reftable_n)) {
        return qcow2_co_set_corrupt(
            s, "data are at 0x%" PRIx64 ", where nothing is in use", offset);
    }
    what = guarded(s, guard_find(s->guard, offset, bytes));
    if (likely(what == 0)) {
        return 0;
    }
    return qcow2_co_set_corrupt(
        s, "a write of data at 0x%" PRIx64 " would overwrite %s", offset,
        guard_name(what));
}

int co_fn qcow2_co_guard_new(struct qcow2 *s, int64_t offset, int64_t bytes,
                             int what)
{
    int found = what ? guard_add(s->guard, offset, bytes, (enum guard_what)what)
                     : guard_find(s->guard, offset, bytes);

    found = guarded(s, found);
    if (likely(found <= 0)) {
        return found;
    }
    return qcow2_co_set_corrupt(
        s, "the cluster at 0x%" PRIx64 " counts as free but holds %s", offset,
        guard_name(found));
}
