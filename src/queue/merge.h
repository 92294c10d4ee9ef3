/* SPDX-License-Identifier: MIT */
/*
 * merge: which requests may leave as one.  Pure policy.
 */
#ifndef QUEUE_MERGE_H
#define QUEUE_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct merge_limits {
    int64_t max_bytes; /* of one merged request; > 0 */
    int max_iov;       /* > 0 */
};

/* What the policy needs to know of a request. */
struct merge_req {
    bool write;
    unsigned flags; /* only equal ones merge (FUA) */
    int64_t offset;
    int64_t bytes;
    int n_iov;
};

/* Order of @a and @b by offset, as for qsort(); equal offsets: 0. */
int merge_compare(const struct merge_req *a, const struct merge_req *b);

/* Sorts @reqs by offset; equal offsets keep their order. */
void merge_sort(const struct merge_req **reqs, size_t n);

/*
 * How many of the @n requests from the first on, sorted by offset and n >= 1,
 * form one run: same direction and flags, each begins where the one before
 * ends, and together within @limits.  At least 1.
 */
size_t merge_run(const struct merge_req *const *reqs, size_t n,
                 const struct merge_limits *limits);

#endif /* QUEUE_MERGE_H */
