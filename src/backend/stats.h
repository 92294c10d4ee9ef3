/* SPDX-License-Identifier: MIT */
/*
 * stats: the accounts of a backend, always on.
 *
 * A user's request is counted by whoever takes it in: a queue, or one of
 * backend_co_…().  Requests given to backend_submit() are counted as going to
 * the block layer only, since each may carry several of a user's.
 *
 * Counters are kept per thread and added up when somebody looks, so counting
 * never shares a cache line between loops.  What an ended thread has counted
 * stays in the totals.
 *
 * Units:     bytes, nanoseconds.
 * Threading: counting on any thread; backend_stats_read() on any thread, with
 *            values that may be a moment old.
 */
#ifndef BACKEND_STATS_H
#define BACKEND_STATS_H

#include <stdint.h>

struct backend_stats;

enum stats_type {
    STATS_READ,
    STATS_WRITE,
    STATS_FLUSH,
    STATS_DISCARD, /* write zeroes and discard */
    STATS_N_TYPES,
};

struct backend_stats *backend_stats_new(void);
void backend_stats_free(struct backend_stats *s);

/* A user's request came in: counts it and its bytes, whatever comes of it.
 * Returns the time to give to _end(). */
int64_t backend_stats_begin(struct backend_stats *s, enum stats_type type,
                            int64_t bytes);
/* It is done; @rc is its result. */
void backend_stats_end(struct backend_stats *s, enum stats_type type,
                       int64_t begun, int rc);
/* @n requests travelled with another one. */
void backend_stats_merged(struct backend_stats *s, enum stats_type type,
                          unsigned n);
/* One request went to the block layer. */
void backend_stats_backend(struct backend_stats *s, enum stats_type type);

/*
 * Latencies are counted in bins: four per power of two, from 1 us to 64 s,
 * plus one below and one above.
 */
#define STATS_BINS (4 * 26 + 2)

struct stats_counters {
    uint64_t requests, bytes, merged, backend_requests, failed;
    uint64_t total_ns, max_ns; /* of requests that have ended, */
    uint64_t bins[STATS_BINS]; /* also of those that failed */
};

struct stats_snapshot {
    struct stats_counters type[STATS_N_TYPES];
    int64_t queue_depth; /* requests begun and not ended */
};
void backend_stats_read(const struct backend_stats *s,
                        struct stats_snapshot *ret);

/* -- Pure ---------------------------------------------------------------- */

/* The bin of a latency: the first whose upper edge is above it. */
int stats_bin(int64_t ns);
/* The upper edge of a bin, INT64_MAX for the last. */
int64_t stats_bin_edge(int bin);

/* How many requests have ended. */
uint64_t stats_ended(const struct stats_counters *c);
/*
 * A latency that at least @permille (1 to 1000) of the requests did not pass:
 * the upper edge of the bin of the slowest of them, which is at most a quarter
 * too much, and never more than max_ns.  0 when no request has ended.
 */
int64_t stats_percentile(const struct stats_counters *c, int permille);
/* The mean latency; 0 when no request has ended. */
int64_t stats_mean(const struct stats_counters *c);

#endif /* BACKEND_STATS_H */
