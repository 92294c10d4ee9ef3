/* SPDX-License-Identifier: MIT */
/*
 * queue: the request queue of one loop, in the manner of virtio-blk.
 *
 * While it is plugged, reads and writes are held.  A batch leaves, sorted and
 * merged into runs, when it is unplugged, holds QUEUE_MAX_BATCH requests, or
 * the direction changes; a flush, discard or write of zeroes sends what is
 * held on its way first, and so does a write that overlaps a held one.  When a
 * merged run fails its members are tried again one by one, so that only the
 * guilty one fails.
 *
 * Order: where two requests overlap and one of them is a discard or a write of
 * zeroes, they take effect in the order in which they were submitted: the
 * later one waits for the earlier.  Overlapping reads and writes that are under
 * way at the same time have no order, as on a disk.  A flush covers all writes
 * whose done() was called before it was submitted.
 *
 * Threading: its loop's thread only.
 */
#ifndef QUEUE_QUEUE_H
#define QUEUE_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/backend.h"
#include "base/list.h"
#include "queue/merge.h"

#define QUEUE_MAX_BATCH 32

struct queue;

enum queue_flags {
    QUEUE_NO_MERGE = 1 << 0, /* merge=off: batches, neither sorted nor merged */
};

/* A request in its submitter's memory, which stays valid until @done. */
struct queue_req {
    /* Set by the submitter, then constant. */
    enum backend_op op;
    int64_t offset;
    int64_t bytes;
    void *buf;      /* READ, WRITE: @bytes of memory */
    unsigned flags; /* enum req_flags */
    /* Called once, on the loop's thread; never inside queue_submit() or
     * queue_unplug(), not even those for other requests. */
    void (*done)(struct queue_req *req, int rc);

    /* The queue's own. */
    struct merge_req merge;
    struct queue_req *next; /* the next member of its run */
    struct list link;       /* completes in the next step of the loop */
    bool held;
    int rc;
    int64_t begun; /* ns */
};

/* Makes the queue of this thread's loop for @be, which must outlive it. */
struct queue *queue_new(struct backend *be, unsigned flags);
/* No request may be pending; the done() of the last one may call this.  NULL
 * is fine. */
void queue_free(struct queue *q);

/* Nests. */
void queue_plug(struct queue *q);
void queue_unplug(struct queue *q);

/* Takes @req; unplugged, it leaves at once. */
void queue_submit(struct queue *q, struct queue_req *req);

/*
 * Drops @req, whose done() was not called yet, if it is still held: it is
 * completed with -EINTR (by a bottom half).  Returns whether that was so; a
 * request on its way goes on.
 */
bool queue_cancel(struct queue *q, struct queue_req *req);

/* Requests whose done() was not called yet. */
unsigned queue_pending(const struct queue *q);

#endif /* QUEUE_QUEUE_H */
