/* SPDX-License-Identifier: MIT */
/*
 * Asynchronous requests: a coroutine each.
 *
 * A request that its coroutine finished before backend_submit() returned goes
 * on a list of its loop, which one bottom half per loop completes.
 */
#include <assert.h>
#include <errno.h>

#include "backend/backend_priv.h"
#include "loop/loop.h"

/* What a loop has to complete in its next step. */
struct completions {
    struct bh *bh;
    struct list reqs; /* backend_req.link, first finished first */
};

static char completions_key; /* its address */

static void backend_complete(struct backend_req *req, int rc)
{
    struct backend *be = req->be;

    req->done(req, rc); /* @req may be gone */
    backend_end(be);
}

static void completions_run(void *opaque)
{
    struct completions *c = opaque;
    struct backend_req *req;
    struct list ready;

    /* What done() submits completes in a step of its own. */
    list_init(&ready);
    list_splice_tail(&ready, &c->reqs);
    while ((req = list_first(&ready, struct backend_req, link))) {
        list_del(&req->link);
        backend_complete(req, req->rc);
    }
}

static void completions_free(void *opaque)
{
    struct completions *c = opaque;

    assert(list_empty(&c->reqs));
    bh_free(c->bh);
    g_free(c);
}

static struct completions *completions_of(struct loop *loop)
{
    struct completions *c = loop_local(loop, &completions_key);

    if (!c) {
        c = g_new0(struct completions, 1);
        c->bh = bh_new(loop, completions_run, c);
        list_init(&c->reqs);
        loop_set_local(loop, &completions_key, c, completions_free);
    }
    return c;
}

static void backend_complete_later(struct backend_req *req, int rc)
{
    struct completions *c = completions_of(loop_current());

    req->rc = rc;
    if (list_empty(&c->reqs)) {
        bh_schedule(c->bh);
    }
    list_add_tail(&c->reqs, &req->link);
}

static void backend_req_entry(void *opaque)
{
    struct backend_req *req = opaque;
    int rc;

    co_assert_role();
    backend_co_begin(req->be);             /* yields */
    rc = backend_co_perform(req->be, req); /* yields */
    if (req->submitted) {
        backend_complete(req, rc);
    } else {
        backend_complete_later(req, rc);
    }
}

/* There is no coroutine to run @req in. */
static void backend_req_no_memory(struct backend_req *req)
{
    struct backend *be = req->be;

    /* Without waiting for the end of a drain: it does no I/O. */
    __atomic_fetch_add(&be->state, 1, __ATOMIC_SEQ_CST);
    if (backend_op_is_write(req->op) && !req->will_retry) {
        backend_error_record(be, -ENOMEM);
    }
    backend_complete_later(req, -ENOMEM);
}

void backend_submit(struct backend *be, struct backend_req *req)
{
    struct co *co = co_new(backend_req_entry, req);

    req->be = be;
    req->submitted = false;
    if (unlikely(!co)) {
        backend_req_no_memory(req);
        return;
    }
    loop_co_start(co);
    req->submitted = true;
}
