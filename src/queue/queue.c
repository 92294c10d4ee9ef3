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

#include "base/align.h"
#include "loop/loop.h"
#include "queue/queue_priv.h"

/* -- Completion ---------------------------------------------------------- */

void queue_complete_later(struct queue *q, struct queue_req *req, int rc)
{
    req->rc = rc;
    list_add_tail(&q->late, &req->link);
    bh_schedule(q->bh);
}

void queue_complete(struct queue *q, struct queue_req *req, int rc)
{
    /* Starting a run may end one, of which the caller of queue_submit() must
     * not hear before that returns. */
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

/* -- Dispatch ------------------------------------------------------------ */

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
        struct run *run = run_make(q, &batch[i], members);

        if (run) {
            runs[n_runs++] = run;
        }
        i += members;
    }

    q->starting++;
    loop_plug();
    for (size_t i = 0; i < n_runs; i++) {
        run_start(runs[i]);
    }
    loop_unplug();
    q->starting--;
}

/* Sends @req, which is never merged, after what is held. */
static void queue_send_alone(struct queue *q, struct queue_req *req)
{
    const struct merge_req *merge = &req->merge;
    struct run *run;

    queue_dispatch(q);
    run = run_make(q, &merge, 1);
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
    /* Not just once: what runs meanwhile may submit. */
    while (q->n_held > 0 && !queue_fits_held(q, &req->merge)) {
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
    bool rw = req->op == BACKEND_READ || req->op == BACKEND_WRITE;
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
    } else if (likely(rw)) {
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
    for (; i < q->n_held; i++) {
        q->held[i] = q->held[i + 1];
    }
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
    if (!q) {
        return;
    }
    assert(q->pending == 0 && q->plugged == 0);
    run_free_all(q);
    bh_free(q->bh);
    g_free(q);
}

unsigned queue_pending(const struct queue *q)
{
    return q->pending;
}
