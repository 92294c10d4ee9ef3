/* SPDX-License-Identifier: MIT */

#include "queue/merge.h"

#include <assert.h>

int merge_compare(const struct merge_req *a, const struct merge_req *b)
{
    /* Not a subtraction: the difference need not fit an int. */
    return (a->offset > b->offset) - (a->offset < b->offset);
}

/* Insertion: batches are small and mostly arrive in order, where this is one
 * comparison per request. */
void merge_sort(const struct merge_req **reqs, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        const struct merge_req *r = reqs[i];
        size_t to = i;

        while (to > 0 && merge_compare(reqs[to - 1], r) > 0) {
            reqs[to] = reqs[to - 1];
            to--;
        }
        reqs[to] = r;
    }
}

size_t merge_run(const struct merge_req *const *reqs, size_t n,
                 const struct merge_limits *limits)
{
    const struct merge_req *first = reqs[0];
    uint64_t start = (uint64_t)first->offset;
    int64_t bytes = first->bytes;
    int n_iov = first->n_iov;
    size_t run = 1;

    assert(n >= 1 && limits->max_bytes > 0 && limits->max_iov > 0);
    for (; run < n; run++) {
        const struct merge_req *r = reqs[run];

        /* Unsigned: the sum of an offset and a length may overflow. */
        if (r->write != first->write || r->flags != first->flags ||
            (uint64_t)r->offset - start != (uint64_t)bytes ||
            r->bytes > limits->max_bytes - bytes ||
            r->n_iov > limits->max_iov - n_iov) {
            break;
        }
        bytes += r->bytes;
        n_iov += r->n_iov;
    }
    return run;
}
