/* SPDX-License-Identifier: MIT */
/*
 * queue_priv: what queue.c (holding, completion) and run.c (what is sent, and
 * when) share.
 */
#ifndef QUEUE_QUEUE_PRIV_H
#define QUEUE_QUEUE_PRIV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/compiler.h"
#include "queue/queue.h"

/* One request to the backend, for one or more of the user's. */
struct run {
    struct queue *queue;
    struct backend_req req;
    int64_t offset, bytes;     /* of all members, also during a retry */
    struct queue_req *members; /* in order of offset, by queue_req.next */
    unsigned n_members;        /* when it was made */
    struct list link;          /* queue.running or .waiting, or .free_runs */
    struct iovec iov[QUEUE_MAX_BATCH];
};

struct queue {
    /* Constant. */
    struct backend *backend;
    struct backend_stats *stats;
    struct loop *loop;
    unsigned flags; /* enum queue_flags */

    unsigned plugged;
    unsigned pending;
    unsigned n_held;
    const struct merge_req *held[QUEUE_MAX_BATCH]; /* in order of arrival */

    struct list running;
    struct list waiting; /* for one that is running, or before them here */
    struct list free_runs;
    unsigned n_ordered; /* discards and zeroes running or waiting */

    unsigned starting; /* runs are being started: nobody is called back */
    struct bh *bh;
    struct list late; /* requests that @bh completes */
};

static inline struct queue_req *req_of_merge(const struct merge_req *m)
{
    return container_of(m, struct queue_req, merge);
}

/* -- queue.c ------------------------------------------------------------- */

/* Takes @req, which belongs to no run any more, off the accounts and calls
 * done().  @req may be gone afterwards, and @q too if it was the last. */
void queue_complete(struct queue *q, struct queue_req *req, int rc);
/* The same in the next step of the loop. */
void queue_complete_later(struct queue *q, struct queue_req *req, int rc);

/* -- run.c --------------------------------------------------------------- */

/*
 * Makes one run of @n requests, which merge_run() found to go together.
 * Returns it when it may start now; otherwise it waits, or there was no memory
 * and its members complete with -ENOMEM.
 */
struct run *run_make(struct queue *q, const struct merge_req *const *reqs,
                     size_t n);
void run_start(struct run *run);
/* Frees the runs that are kept for later. */
void run_free_all(struct queue *q);

#endif /* QUEUE_QUEUE_PRIV_H */
