/* SPDX-License-Identifier: MIT */
/*
 * stats: the accounts of a backend, always on.
 *
 * Counters are kept per thread and added up when somebody looks, so counting
 * never shares a cache line between loops.
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

/* A user's request came in; returns the time to give to _end(). */
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
    uint64_t total_ns, max_ns;
    uint64_t bins[STATS_BINS];
};

struct stats_snapshot {
    struct stats_counters type[STATS_N_TYPES];
    int64_t queue_depth; /* requests begun and not ended */
};
void backend_stats_read(const struct backend_stats *s,
                        struct stats_snapshot *ret);

/* Pure: the bin of a latency, its upper edge, and the latency that @permille
 * of the requests stay under (0 when there were none). */
int stats_bin(int64_t ns);
int64_t stats_bin_edge(int bin);
int64_t stats_percentile(const struct stats_counters *c, int permille);

#endif /* BACKEND_STATS_H */
