/* SPDX-License-Identifier: MIT */
/*
 * backend/stats: bins, percentiles, and counting from many threads.
 */
#include <glib.h>

#include "backend/stats.h"
#include "loop/loop.h"

#define US INT64_C(1000)
#define S  (1000 * 1000 * US)

/* -- Bins ---------------------------------------------------------------- */

static void test_bin(void)
{
    static const struct {
        int64_t ns;
        int bin;
    } cases[] = {
        {-1, 0},
        {0, 0},
        {999, 0},
        {1000, 1},
        {1249, 1},
        {1250, 2},
        {1999, 4},
        {2000, 5},
        {2500, 6},
        {4 * US, 9},
        {S, 1 + 4 * 19 + 3}, /* 2^19 us times 7/4 is 0.92 s, times 2 1.05 s */
        {(US << 26) - 1, STATS_BINS - 2},
        {US << 26, STATS_BINS - 1},
        {INT64_MAX, STATS_BINS - 1},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_assert_cmpint(stats_bin(cases[i].ns), ==, cases[i].bin);
    }
}

/* Each edge is the first latency of the next bin. */
static void test_edges(void)
{
    for (int i = 0; i < STATS_BINS - 1; i++) {
        g_assert_cmpint(stats_bin(stats_bin_edge(i) - 1), ==, i);
        g_assert_cmpint(stats_bin(stats_bin_edge(i)), ==, i + 1);
    }
    g_assert_cmpint(stats_bin_edge(STATS_BINS - 1), ==, INT64_MAX);
}

/* -- Percentiles --------------------------------------------------------- */

static void add(struct stats_counters *c, int64_t ns, uint64_t n)
{
    c->bins[stats_bin(ns)] += n;
    c->total_ns += (uint64_t)ns * n;
    c->max_ns = MAX(c->max_ns, (uint64_t)ns);
}

static void test_percentile_of_nothing(void)
{
    struct stats_counters c = {0};

    g_assert_cmpint(stats_percentile(&c, 500), ==, 0);
    g_assert_cmpint(stats_percentile(&c, 1000), ==, 0);
    g_assert_cmpint(stats_mean(&c), ==, 0);
}

static void test_percentiles(void)
{
    struct stats_counters c = {0};

    add(&c, 10 * US, 500); /* in [10, 12) us */
    add(&c, 20 * US, 400); /* in [20, 24) us */
    add(&c, 1 * S, 99);
    add(&c, 5 * S, 1);
    g_assert_cmpuint(stats_ended(&c), ==, 1000);
    g_assert_cmpint(stats_percentile(&c, 1), ==, 12 * US);
    g_assert_cmpint(stats_percentile(&c, 500), ==, 12 * US);
    g_assert_cmpint(stats_percentile(&c, 501), ==, 24 * US);
    g_assert_cmpint(stats_percentile(&c, 900), ==, 24 * US);
    g_assert_cmpint(stats_percentile(&c, 999), ==, US << 20);
    g_assert_cmpint(stats_percentile(&c, 1000), ==, 5 * S);
    g_assert_cmpint(stats_mean(&c), ==,
                    (500 * 10 * US + 400 * 20 * US + 99 * S + 5 * S) / 1000);
}

static void test_percentile_never_passes_max(void)
{
    struct stats_counters c = {0};

    add(&c, 10 * US + 1, 1);
    g_assert_cmpint(stats_percentile(&c, 500), ==, 10 * US + 1);
    add(&c, 1000 * S, 1); /* the last bin has no upper edge */
    g_assert_cmpint(stats_percentile(&c, 1000), ==, 1000 * S);
}

/* -- Counting ------------------------------------------------------------ */

static void test_counts(void)
{
    struct backend_stats *s = backend_stats_new();
    static struct stats_snapshot snap;
    const struct stats_counters *w = &snap.type[STATS_WRITE];
    int64_t a = backend_stats_begin(s, STATS_WRITE, 4096);
    int64_t b = backend_stats_begin(s, STATS_WRITE, 512);
    int64_t now = loop_now();

    g_assert_cmpint(a, <=, b);
    g_assert_cmpint(b, <=, now);
    backend_stats_merged(s, STATS_WRITE, 1);
    backend_stats_backend(s, STATS_WRITE);
    backend_stats_end(s, STATS_WRITE, a - 7 * S, 0);
    backend_stats_read(s, &snap);
    g_assert_cmpint(snap.queue_depth, ==, 1);
    backend_stats_end(s, STATS_WRITE, b, -5);
    backend_stats_read(s, &snap);
    g_assert_cmpint(snap.queue_depth, ==, 0);

    g_assert_cmpuint(w->requests, ==, 2);
    g_assert_cmpuint(w->bytes, ==, 4608);
    g_assert_cmpuint(w->merged, ==, 1);
    g_assert_cmpuint(w->backend_requests, ==, 1);
    g_assert_cmpuint(w->failed, ==, 1);
    g_assert_cmpuint(w->max_ns, >=, 7 * S);
    g_assert_cmpuint(w->total_ns, >=, w->max_ns);
    g_assert_cmpuint(stats_ended(w), ==, 2);
    g_assert_cmpuint(snap.type[STATS_READ].requests, ==, 0);
    backend_stats_free(s);
}

#define N_THREADS  4
#define N_REQUESTS 20000

static void *count_reads(void *opaque)
{
    struct backend_stats *s = opaque;

    for (int i = 0; i < N_REQUESTS; i++) {
        int64_t begun = backend_stats_begin(s, STATS_READ, 1);

        backend_stats_end(s, STATS_READ, begun, 0);
    }
    return NULL;
}

/* Nothing is lost, neither between threads nor when they end, and a reader
 * never sees more requests ended than begun. */
static void test_threads(void)
{
    struct backend_stats *s = backend_stats_new();
    GThread *threads[N_THREADS];
    static struct stats_snapshot snap;
    uint64_t before = 0;

    for (int i = 0; i < N_THREADS; i++) {
        threads[i] = g_thread_new("count", count_reads, s);
    }
    do {
        backend_stats_read(s, &snap);
        g_assert_cmpint(snap.queue_depth, >=, 0);
        g_assert_cmpint(snap.queue_depth, <=, N_THREADS);
        g_assert_cmpuint(snap.type[STATS_READ].requests, >=, before);
        before = snap.type[STATS_READ].requests;
    } while (before < N_THREADS * N_REQUESTS);
    for (int i = 0; i < N_THREADS; i++) {
        g_thread_join(threads[i]);
    }
    backend_stats_read(s, &snap);
    g_assert_cmpuint(snap.type[STATS_READ].requests, ==,
                     N_THREADS * N_REQUESTS);
    g_assert_cmpuint(snap.type[STATS_READ].bytes, ==, N_THREADS * N_REQUESTS);
    g_assert_cmpuint(stats_ended(&snap.type[STATS_READ]), ==,
                     N_THREADS * N_REQUESTS);
    g_assert_cmpint(snap.queue_depth, ==, 0);
    backend_stats_free(s);
}

/* A thread that counts for two in turn, and for one that took the memory of
 * another which was freed, keeps them apart. */
static void test_two_on_one_thread(void)
{
    static struct stats_snapshot snap;

    for (int round = 0; round < 3; round++) {
        struct backend_stats *a = backend_stats_new();
        struct backend_stats *b = backend_stats_new();

        for (int i = 0; i < 5; i++) {
            backend_stats_merged(a, STATS_READ, 1);
            backend_stats_merged(b, STATS_READ, 10);
        }
        backend_stats_read(a, &snap);
        g_assert_cmpuint(snap.type[STATS_READ].merged, ==, 5);
        backend_stats_read(b, &snap);
        g_assert_cmpuint(snap.type[STATS_READ].merged, ==, 50);
        backend_stats_free(b);
        backend_stats_free(a);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/stats/bin", test_bin);
    g_test_add_func("/stats/edges", test_edges);
    g_test_add_func("/stats/percentile-of-nothing", test_percentile_of_nothing);
    g_test_add_func("/stats/percentiles", test_percentiles);
    g_test_add_func("/stats/percentile-max", test_percentile_never_passes_max);
    g_test_add_func("/stats/counts", test_counts);
    g_test_add_func("/stats/threads", test_threads);
    g_test_add_func("/stats/two-on-one-thread", test_two_on_one_thread);
    return g_test_run();
}
