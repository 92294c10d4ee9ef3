/* SPDX-License-Identifier: MIT */
/*
 * Each thread counts in a shard of its own, which only it writes.  It finds
 * the shard through a thread-local cache of one entry: a thread nearly always
 * counts for the same backend.  The slow way is a list under a mutex.
 *
 * The owner of a shard is the address of a thread-local variable.  When a
 * thread has ended, a later one may get its address and goes on counting in
 * its shard, so the number of shards is bounded by the threads alive at once.
 *
 * A counter is written by plain add of its one writer, stored atomically so
 * that readers never see half of it: there is no locked instruction here.
 */
#include "backend/stats.h"

#include <assert.h>
#include <glib.h>
#include <pthread.h>

#include "base/compiler.h"
#include "base/list.h"
#include "loop/loop.h"

#define CACHE_LINE 64

struct shard {
    char pad_before[CACHE_LINE]; /* keep neighbours in memory off our lines */

    /* Written by the owner, read by all. */
    struct stats_counters type[STATS_N_TYPES];
    uint64_t begun, ended; /* of all types */

    /* Constant. */
    const void *owner;
    struct list link; /* backend_stats.shards */

    char pad_after[CACHE_LINE];
};

struct backend_stats {
    uint64_t id; /* never used again, unlike the address of this struct */
    pthread_mutex_t lock;
    struct list shards; /* under @lock; members stay until the end */
};

/* The shard that this thread used last. */
static __thread struct {
    uint64_t id; /* backend_stats.id, 0: none */
    struct shard *shard;
} cache;

static uint64_t next_id = 1;

static inline uint64_t counter_get(const uint64_t *c)
{
    return __atomic_load_n(c, __ATOMIC_RELAXED);
}

/* The calling thread is the only writer of @c.
 * NOLINTNEXTLINE(readability-non-const-parameter): the builtin writes it */
static inline void counter_add(uint64_t *c, uint64_t n)
{
    __atomic_store_n(c, *c + n, __ATOMIC_RELAXED);
}

/* -- Shards -------------------------------------------------------------- */

static struct shard *shard_new(struct backend_stats *s)
{
    struct shard *sh = g_new0(struct shard, 1);

    sh->owner = &cache;
    list_add_tail(&s->shards, &sh->link);
    return sh;
}

static struct shard *shard_find(struct backend_stats *s)
{
    struct shard *sh;

    list_for_each(sh, &s->shards, link) {
        if (sh->owner == &cache) {
            return sh;
        }
    }
    return shard_new(s);
}

static __attribute__((noinline)) struct shard *shard_of_thread_slow(
    struct backend_stats *s)
{
    pthread_mutex_lock(&s->lock);
    cache.shard = shard_find(s);
    pthread_mutex_unlock(&s->lock);
    cache.id = s->id;
    return cache.shard;
}

static inline struct shard *shard_of_thread(struct backend_stats *s)
{
    return likely(cache.id == s->id) ? cache.shard : shard_of_thread_slow(s);
}

/* -- Counting ------------------------------------------------------------ */

struct backend_stats *backend_stats_new(void)
{
    struct backend_stats *s = g_new0(struct backend_stats, 1);

    s->id = __atomic_fetch_add(&next_id, 1, __ATOMIC_RELAXED);
    pthread_mutex_init(&s->lock, NULL);
    list_init(&s->shards);
    return s;
}

void backend_stats_free(struct backend_stats *s)
{
    struct shard *sh;
    struct shard *next;

    if (!s) {
        return;
    }
    list_for_each_safe(sh, next, &s->shards, link) {
        list_del(&sh->link);
        g_free(sh);
    }
    pthread_mutex_destroy(&s->lock);
    g_free(s);
}

int64_t backend_stats_begin(struct backend_stats *s, enum stats_type type,
                            int64_t bytes)
{
    struct shard *sh = shard_of_thread(s);
    struct stats_counters *c = &sh->type[type];

    counter_add(&c->requests, 1);
    counter_add(&c->bytes, (uint64_t)bytes);
    counter_add(&sh->begun, 1);
    return loop_now();
}

void backend_stats_end(struct backend_stats *s, enum stats_type type,
                       int64_t begun, int rc)
{
    struct shard *sh = shard_of_thread(s);
    struct stats_counters *c = &sh->type[type];
    int64_t ns = loop_now() - begun;

    counter_add(&c->bins[stats_bin(ns)], 1);
    counter_add(&c->total_ns, (uint64_t)ns);
    if ((uint64_t)ns > c->max_ns) {
        __atomic_store_n(&c->max_ns, (uint64_t)ns, __ATOMIC_RELAXED);
    }
    if (rc < 0) {
        counter_add(&c->failed, 1);
    }
    /* Released, so that who sees a request ended has seen it begun. */
    __atomic_store_n(&sh->ended, sh->ended + 1, __ATOMIC_RELEASE);
}

void backend_stats_merged(struct backend_stats *s, enum stats_type type,
                          unsigned n)
{
    counter_add(&shard_of_thread(s)->type[type].merged, n);
}

void backend_stats_backend(struct backend_stats *s, enum stats_type type)
{
    counter_add(&shard_of_thread(s)->type[type].backend_requests, 1);
}

/* -- Reading ------------------------------------------------------------- */

static void counters_sum(struct stats_counters *sum,
                         const struct stats_counters *c)
{
    sum->requests += counter_get(&c->requests);
    sum->bytes += counter_get(&c->bytes);
    sum->merged += counter_get(&c->merged);
    sum->backend_requests += counter_get(&c->backend_requests);
    sum->failed += counter_get(&c->failed);
    sum->total_ns += counter_get(&c->total_ns);
    sum->max_ns = MAX(sum->max_ns, counter_get(&c->max_ns));
    for (int i = 0; i < STATS_BINS; i++) {
        sum->bins[i] += counter_get(&c->bins[i]);
    }
}

/*
 * Requests begun and not ended.  A thread that goes on counting between the
 * two loads would make it too large, so both are taken while no request ends;
 * after some tries a busy thread is believed.
 */
static int64_t shard_depth(const struct shard *sh)
{
    uint64_t before, begun, after;
    int tries = 100;

    do {
        before = __atomic_load_n(&sh->ended, __ATOMIC_ACQUIRE);
        begun = __atomic_load_n(&sh->begun, __ATOMIC_ACQUIRE);
        after = __atomic_load_n(&sh->ended, __ATOMIC_ACQUIRE);
    } while (before != after && --tries > 0);
    return (int64_t)(begun - before);
}

void backend_stats_read(const struct backend_stats *s,
                        struct stats_snapshot *ret)
{
    /* The lock is no part of what the caller sees as constant. */
    pthread_mutex_t *lock = (pthread_mutex_t *)&s->lock;
    struct shard *sh;

    *ret = (struct stats_snapshot){0};
    pthread_mutex_lock(lock);
    list_for_each(sh, &s->shards, link) {
        ret->queue_depth += shard_depth(sh);
        for (int i = 0; i < STATS_N_TYPES; i++) {
            counters_sum(&ret->type[i], &sh->type[i]);
        }
    }
    pthread_mutex_unlock(lock);
}

/* -- Bins ---------------------------------------------------------------- */

/*
 * Bin 0 is [0, 1 us).  Above it each power of two is cut into four: with q the
 * latency in quarters of a microsecond, so q >= 4, the bin follows from the
 * highest bit of q and the two bits below it.
 */
#define QUARTER_US_NS 250

int stats_bin(int64_t ns)
{
    uint64_t q = ns > 0 ? (uint64_t)ns / QUARTER_US_NS : 0;
    int octave;

    if (q < 4) {
        return 0;
    }
    octave = 61 - __builtin_clzll(q);
    return MIN(1 + 4 * octave + (int)(q >> octave) - 4, STATS_BINS - 1);
}

int64_t stats_bin_edge(int bin)
{
    assert(bin >= 0 && bin < STATS_BINS);
    if (bin == STATS_BINS - 1) {
        return INT64_MAX;
    }
    return (int64_t)QUARTER_US_NS * (4 + bin % 4) << (bin / 4);
}

uint64_t stats_ended(const struct stats_counters *c)
{
    uint64_t n = 0;

    for (int i = 0; i < STATS_BINS; i++) {
        n += c->bins[i];
    }
    return n;
}

int64_t stats_percentile(const struct stats_counters *c, int permille)
{
    uint64_t ended = stats_ended(c);
    uint64_t seen = 0;

    assert(permille >= 1 && permille <= 1000);
    for (int i = 0; i < STATS_BINS; i++) {
        seen += c->bins[i];
        if (seen > 0 && seen * 1000 >= ended * (uint64_t)permille) {
            return MIN(stats_bin_edge(i), (int64_t)c->max_ns);
        }
    }
    return 0;
}

int64_t stats_mean(const struct stats_counters *c)
{
    uint64_t ended = stats_ended(c);

    return ended ? (int64_t)(c->total_ns / ended) : 0;
}
