/* SPDX-License-Identifier: MIT */
/*
 * A request is held, then a member of a run, then done:
 *
 *   queue_submit ─▶ held ─▶ run ──────────────▶ backend ─▶ done
 *                           │ ▲
 *                           ▼ │ overlaps a run under way, and one of
 *                         waiting   the two is a discard or zeroes
 *
 * Runs come from a free list that grows to the most there ever were at once,
 * so a request allocates nothing.
 */
#include "queue/queue.h"

#include <assert.h>
#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <string.h>

#include "base/align.h"
#include "base/log.h"
#include "loop/loop.h"

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

static struct queue_req *req_of_merge(const struct merge_req *m)
{
    return container_of(m, struct queue_req, merge);
}

static bool op_is_rw(enum backend_op op)
{
    return op == BACKEND_READ || op == BACKEND_WRITE;
}

/* Must stay in order with requests that overlap it. */
static bool op_is_ordered(enum backend_op op)
{
    return op == BACKEND_ZEROES || op == BACKEND_DISCARD;
}

/* -- Completion ---------------------------------------------------------- */

static void queue_complete_later(struct queue *q, struct queue_req *req, int rc)
{
    req->rc = rc;
    list_add_tail(&q->late, &req->link);
    bh_schedule(q->bh);
}

/* @req may be gone afterwards, and @q too if it was the last. */
static void queue_complete(struct queue *q, struct queue_req *req, int rc)
{
    /* Starting a run may end another, of which the caller of queue_submit()
     * must not hear before that returns. */
    if (unlikely(q->starting > 0)) {
        queue_complete_later(q, req, rc);
        return;
    }
    backend_stats_end(q->stats, backend_op_type(req->op), req->begun, rc);
    q->pending--;
    req->done(req, rc);
}

static void queue_complete_late(void *opaque)
{
    struct queue *q = opaque;
    struct queue_req *req;
    struct list late;

    list_init(&late);
    list_splice_tail(&late, &q->late);
    while ((req = list_first(&late, struct queue_req, link))) {
        list_del(&req->link);
        queue_complete(q, req, req->rc);
    }
}

/* -- Runs ---------------------------------------------------------------- */

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

/* Makes @run ask for what @req asks for alone. */
static void run_set_single(struct run *run, struct queue_req *req)
{
    struct backend_req *r = &run->req;

    r->op = req->op;
    r->offset = req->offset;
    r->bytes = req->bytes;
    r->flags = req->flags;
    r->will_retry = false;
    if (op_is_rw(req->op)) {
        r->iovs = iovs_one(&run->iov[0], req->buf, req->bytes);
    }
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

static void run_start(struct run *run)
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

/* -- Dispatch ------------------------------------------------------------ */

static void queue_no_memory(struct queue *q,
                            const struct merge_req *const *reqs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct queue_req *req = req_of_merge(reqs[i]);

        if (backend_op_is_write(req->op)) {
            backend_error_record(q->backend, -ENOMEM);
        }
        queue_complete_later(q, req, -ENOMEM);
    }
}

/*
 * Makes one run of @n requests, which merge_run() found to go together.
 * Returns it when it may start now; otherwise it waits, or there was no memory
 * and its members complete with -ENOMEM.
 */
static struct run *queue_make_run(struct queue *q,
                                  const struct merge_req *const *reqs, size_t n)
{
    struct queue_req *last = req_of_merge(reqs[0]);
    struct run *run = run_new(q);

    if (unlikely(!run)) {
        queue_no_memory(q, reqs, n);
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

static struct merge_limits queue_limits(const struct queue *q)
{
    const struct node_limits *l = backend_limits(q->backend);
    int64_t max = min_non_zero(l->max_transfer, BLOCK_MAX_TRANSFER);

    return (struct merge_limits){
        .max_bytes = align_down(max, l->request_align),
        .max_iov =
            q->flags & QUEUE_NO_MERGE ? 1 : MIN(l->max_iov, QUEUE_MAX_BATCH),
    };
}

/* Sends what is held. */
static void queue_dispatch(struct queue *q)
{
    const struct merge_req *batch[QUEUE_MAX_BATCH];
    struct run *runs[QUEUE_MAX_BATCH];
    struct merge_limits limits;
    size_t n = q->n_held;
    size_t n_runs = 0;

    if (n == 0) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        batch[i] = q->held[i];
        req_of_merge(batch[i])->held = false;
    }
    q->n_held = 0;

    if (!(q->flags & QUEUE_NO_MERGE)) {
        merge_sort(batch, n);
    }
    limits = queue_limits(q);
    /* All runs are in the books before one starts: what runs inside of
     * backend_submit() may submit, and must find them there. */
    for (size_t i = 0; i < n;) {
        size_t members = merge_run(&batch[i], n - i, &limits);
        struct run *run = queue_make_run(q, &batch[i], members);

        if (run) {
            runs[n_runs++] = run;
        }
        i += members;
    }

    loop_plug();
    for (size_t i = 0; i < n_runs; i++) {
        run_start(runs[i]);
    }
    loop_unplug();
}

/* Sends @req, which is never merged, after what is held. */
static void queue_send_alone(struct queue *q, struct queue_req *req)
{
    const struct merge_req *merge = &req->merge;
    struct run *run;

    queue_dispatch(q);
    run = queue_make_run(q, &merge, 1);
    if (run) {
        run_start(run);
    }
}

/* -- Submission ---------------------------------------------------------- */

/* May @m be held together with what is held already? */
static bool queue_fits_held(const struct queue *q, const struct merge_req *m)
{
    if (q->held[0]->write != m->write) {
        return false;
    }
    for (unsigned i = 0; m->write && i < q->n_held; i++) {
        const struct merge_req *h = q->held[i];

        if (ranges_overlap(h->offset, h->bytes, m->offset, m->bytes)) {
            return false;
        }
    }
    return true;
}

static void queue_hold(struct queue *q, struct queue_req *req)
{
    if (q->n_held > 0 && !queue_fits_held(q, &req->merge)) {
        queue_dispatch(q);
    }
    req->held = true;
    q->held[q->n_held++] = &req->merge;
    if (!q->plugged || q->n_held == QUEUE_MAX_BATCH) {
        queue_dispatch(q);
    }
}

void queue_submit(struct queue *q, struct queue_req *req)
{
    /* Cannot be compared or added up. */
    bool nonsense = req->op != BACKEND_FLUSH &&
                    !range_ok(req->offset, req->bytes, INT64_MAX);

    assert(loop_current() == q->loop);
    q->pending++;
    req->held = false;
    req->merge = (struct merge_req){
        .write = req->op == BACKEND_WRITE,
        .flags = req->flags,
        .offset = req->offset,
        .bytes = req->bytes,
        .n_iov = 1,
    };
    req->begun = backend_stats_begin(q->stats, backend_op_type(req->op),
                                     nonsense ? 0 : req->bytes);
    if (unlikely(nonsense)) {
        queue_complete_later(q, req, -EIO);
    } else if (likely(op_is_rw(req->op))) {
        queue_hold(q, req);
    } else {
        queue_send_alone(q, req);
    }
}

void queue_plug(struct queue *q)
{
    q->plugged++;
}

void queue_unplug(struct queue *q)
{
    assert(q->plugged > 0);
    if (--q->plugged == 0) {
        queue_dispatch(q);
    }
}

bool queue_cancel(struct queue *q, struct queue_req *req)
{
    unsigned i = 0;

    if (!req->held) {
        return false;
    }
    while (q->held[i] != &req->merge) {
        i++;
    }
    q->n_held--;
    memmove(&q->held[i], &q->held[i + 1], (q->n_held - i) * sizeof(q->held[0]));
    req->held = false;
    queue_complete_later(q, req, -EINTR);
    return true;
}

/* -- Lifetime ------------------------------------------------------------ */

struct queue *queue_new(struct backend *be, unsigned flags)
{
    struct queue *q = g_new0(struct queue, 1);

    q->backend = be;
    q->stats = backend_stats(be);
    q->loop = loop_current();
    q->flags = flags;
    q->bh = bh_new(q->loop, queue_complete_late, q);
    list_init(&q->running);
    list_init(&q->waiting);
    list_init(&q->free_runs);
    list_init(&q->late);
    return q;
}

void queue_free(struct queue *q)
{
    struct run *run;
    struct run *next;

    if (!q) {
        return;
    }
    assert(q->pending == 0 && q->plugged == 0);
    list_for_each_safe(run, next, &q->free_runs, link) {
        list_del(&run->link);
        g_free(run);
    }
    bh_free(q->bh);
    g_free(q);
}

unsigned queue_pending(const struct queue *q)
{
    return q->pending;
}

struct backend *queue_backend(const struct queue *q)
{
    return q->backend;
}
