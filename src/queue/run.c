/* SPDX-License-Identifier: MIT */
/*
 * A run is one request to the backend, for one or more of the user's.
 *
 * It is `running` from the moment it may start, even if others of its batch
 * start first, and `waiting` while it must follow one that is running or that
 * waits before it.  When a run of several fails, its members are tried one
 * after the other; until the last of them is done, the run as a whole is
 * still under way for those that must follow it.
 */
#include <errno.h>
#include <glib.h>
#include <inttypes.h>

#include "base/align.h"
#include "base/log.h"
#include "queue/queue_priv.h"

/* -- Memory -------------------------------------------------------------- */

static struct run *run_new(struct queue *q)
{
    struct run *run = list_first(&q->free_runs, struct run, link);

    if (likely(run)) {
        list_del(&run->link);
        return run;
    }
    run = g_try_new(struct run, 1);
    if (run) {
        run->queue = q;
        list_init(&run->link);
    }
    return run;
}

void run_free_all(struct queue *q)
{
    struct run *run;
    struct run *next;

    list_for_each_safe(run, next, &q->free_runs, link) {
        list_del(&run->link);
        g_free(run);
    }
}

/* -- What it asks for ---------------------------------------------------- */

/* Makes @run ask for what @req asks for alone. */
static void run_set_single(struct run *run, struct queue_req *req)
{
    struct backend_req *r = &run->req;

    r->op = req->op;
    r->offset = req->offset;
    r->bytes = req->bytes;
    r->flags = req->flags;
    r->will_retry = false;
    /* For reads and writes; the others have none, and nobody looks. */
    r->iovs = iovs_one(&run->iov[0], req->buf, req->bytes);
}

/* Adds @req after @last, the last of those that @run has. */
static void run_append(struct run *run, struct queue_req *last,
                       struct queue_req *req)
{
    last->next = req;
    run->iov[run->req.iovs.n] = (struct iovec){req->buf, (size_t)req->bytes};
    run->req.iovs.n++;
    run->req.iovs.bytes += req->bytes;
    run->req.bytes += req->bytes;
    run->req.will_retry = true;
}

/* -- Order --------------------------------------------------------------- */

/* Must stay in order with requests that overlap it. */
static bool op_is_ordered(enum backend_op op)
{
    return op == BACKEND_ZEROES || op == BACKEND_DISCARD;
}

/* Must @later wait for @earlier? */
static bool run_follows(const struct run *later, const struct run *earlier)
{
    return (op_is_ordered(later->req.op) || op_is_ordered(earlier->req.op)) &&
           ranges_overlap(later->offset, later->bytes, earlier->offset,
                          earlier->bytes);
}

/* Must @run wait for one of @runs, or of those before it when it is there? */
static bool run_follows_any(const struct run *run, const struct list *runs)
{
    const struct run *other;

    list_for_each(other, runs, link) {
        if (other == run) {
            return false;
        }
        if (run_follows(run, other)) {
            return true;
        }
    }
    return false;
}

static bool run_is_blocked(const struct run *run)
{
    const struct queue *q = run->queue;

    return unlikely(q->n_ordered > 0) && (run_follows_any(run, &q->running) ||
                                          run_follows_any(run, &q->waiting));
}

/* Enters @run in the queue's books.  Returns whether it may start now. */
static bool run_admit(struct run *run)
{
    struct queue *q = run->queue;
    bool blocked;

    if (op_is_ordered(run->req.op)) {
        q->n_ordered++;
    }
    blocked = run_is_blocked(run);
    list_add_tail(blocked ? &q->waiting : &q->running, &run->link);
    return !blocked;
}

/* -- Start --------------------------------------------------------------- */

void run_start(struct run *run)
{
    struct queue *q = run->queue;

    trace(QUEUE, "start offset=%" PRId64 " bytes=%" PRId64 " requests=%u",
          run->offset, run->bytes, run->n_members);
    q->starting++;
    backend_submit(q->backend, &run->req);
    q->starting--;
}

/* The first waiting run that nothing holds back any more, or NULL. */
static struct run *queue_unblocked(const struct queue *q)
{
    struct run *run;

    list_for_each(run, &q->waiting, link) {
        if (!run_is_blocked(run)) {
            return run;
        }
    }
    return NULL;
}

static void queue_start_waiting(struct queue *q)
{
    struct run *run;

    /* From the front each time: what starts may also end, and start more. */
    while (!list_empty(&q->waiting) && (run = queue_unblocked(q))) {
        list_del(&run->link);
        list_add_tail(&q->running, &run->link);
        run_start(run);
    }
}

/* -- The end of a run ---------------------------------------------------- */

/* Frees @run and completes the members it still has with @rc. */
static void run_finish(struct run *run, int rc)
{
    struct queue *q = run->queue;
    struct queue_req *member = run->members;
    struct queue_req *next;

    list_del(&run->link);
    if (op_is_ordered(run->req.op)) {
        q->n_ordered--;
    }
    list_add_head(&q->free_runs, &run->link);
    queue_start_waiting(q);

    for (; member; member = next) {
        next = member->next;
        queue_complete(q, member, rc);
    }
}

static void run_retried(struct backend_req *req, int rc);

/* Tries the first member alone; the others follow one after the other. */
static void run_retry(struct run *run)
{
    run_set_single(run, run->members);
    run->req.done = run_retried;
    backend_submit(run->queue->backend, &run->req);
}

static void run_retried(struct backend_req *req, int rc)
{
    struct run *run = container_of(req, struct run, req);
    struct queue *q = run->queue;
    struct queue_req *member = run->members;

    if (!member->next) {
        run_finish(run, rc);
        return;
    }
    run->members = member->next;
    run_retry(run);
    queue_complete(q, member, rc);
}

static void run_done(struct backend_req *req, int rc)
{
    struct run *run = container_of(req, struct run, req);

    if (unlikely(rc < 0) && run->n_members > 1) {
        run_retry(run);
    } else {
        run_finish(run, rc);
    }
}

/* -- From requests to a run ---------------------------------------------- */

static void run_no_memory(struct queue *q, const struct merge_req *const *reqs,
                          size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct queue_req *req = req_of_merge(reqs[i]);

        if (backend_op_is_write(req->op)) {
            backend_error_record(q->backend, -ENOMEM);
        }
        queue_complete_later(q, req, -ENOMEM);
    }
}

struct run *run_make(struct queue *q, const struct merge_req *const *reqs,
                     size_t n)
{
    struct queue_req *last = req_of_merge(reqs[0]);
    struct run *run = run_new(q);

    if (unlikely(!run)) {
        run_no_memory(q, reqs, n);
        return NULL;
    }
    run->members = last;
    run->n_members = (unsigned)n;
    run->req.done = run_done;
    run_set_single(run, last);
    for (size_t i = 1; i < n; i++) {
        struct queue_req *req = req_of_merge(reqs[i]);

        run_append(run, last, req);
        last = req;
    }
    last->next = NULL;
    run->offset = run->req.offset;
    run->bytes = run->req.bytes;
    if (n > 1) {
        backend_stats_merged(q->stats, backend_op_type(last->op),
                             (unsigned)n - 1);
    }
    return run_admit(run) ? run : NULL;
}
