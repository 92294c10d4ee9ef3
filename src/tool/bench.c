/* SPDX-License-Identifier: MIT */

#include "tool/bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "base/align.h"
#include "base/list.h"
#include "block/node.h"
#include "loop/loop.h"

struct bench {
    const struct bench_request *rq;
    struct backend *be;
    int64_t length; /* of the image */

    int64_t next; /* offset of the next request */
    int64_t sent, done;
    int64_t flushes; /* under way */
    bool want_flush; /* before anything else is sent */
    int rc;
    struct co *waiter;
    bool over;
    struct slot *slots; /* @rq->depth of them */
    char *memory;
    struct list idle; /* struct slot */
};

/* One request after the other. */
struct slot {
    struct backend_req req;
    struct iovec iov;
    struct bench *bench;
    struct list link;
};

struct flush {
    struct backend_req req;
    struct bench *bench;
};

static void bench_go_on(struct bench *b);

static void flush_done(struct backend_req *req, int rc)
{
    struct flush *f = container_of(req, struct flush, req);
    struct bench *b = f->bench;

    free(f);
    b->flushes--;
    b->rc = b->rc ? b->rc : rc;
    bench_go_on(b);
}

static void send_flush(struct bench *b)
{
    struct flush *f = calloc(1, sizeof(*f));

    if (!f) {
        b->rc = -ENOMEM;
        return;
    }
    f->bench = b;
    f->req.op = BACKEND_FLUSH;
    f->req.done = flush_done;
    b->flushes++;
    backend_submit(b->be, &f->req);
}

static void slot_done(struct backend_req *req, int rc)
{
    struct slot *s = container_of(req, struct slot, req);
    struct bench *b = s->bench;

    b->done++;
    b->rc = b->rc ? b->rc : rc;
    list_add_tail(&b->idle, &s->link);
    if (b->rq->flush_every > 0 && b->done % b->rq->flush_every == 0) {
        b->want_flush = true;
    }
    bench_go_on(b);
}

static void slot_send(struct bench *b, struct slot *s)
{
    const struct bench_request *rq = b->rq;

    list_del(&s->link);
    if (rq->bytes > b->length - b->next) {
        b->next = 0;
    }
    s->req.offset = b->next;
    b->next += rq->step;
    if (b->next >= b->length) {
        b->next %= b->length;
    }
    b->sent++;
    backend_submit(b->be, &s->req);
}

/* May another request be sent now? */
static bool bench_may_send(const struct bench *b)
{
    if (b->sent == b->rq->count || b->rc < 0 || list_empty(&b->idle)) {
        return false;
    }
    return !b->want_flush && (b->flushes == 0 || b->rq->no_drain);
}

/* Nothing is under way and nothing will be. */
static bool bench_is_over(const struct bench *b)
{
    return b->done == b->sent && b->flushes == 0 && !b->want_flush &&
           (b->sent == b->rq->count || b->rc < 0);
}

static void bench_go_on(struct bench *b)
{
    /* A flush covers what has completed: let the rest do so first. */
    if (b->want_flush && (b->rq->no_drain || b->done == b->sent)) {
        b->want_flush = false;
        if (b->rc == 0) {
            send_flush(b);
        }
    }
    while (bench_may_send(b)) {
        slot_send(b, list_first(&b->idle, struct slot, link));
    }
    if (bench_is_over(b) && !b->over) {
        b->over = true;
        if (b->waiter) {
            loop_co_wake(b->waiter);
        }
    }
}

static int bench_set_up(struct bench *b)
{
    const struct bench_request *rq = b->rq;
    int64_t room = align_up(rq->bytes, 4 * KiB);

    if (rq->bytes > INT64_MAX / 2 / rq->depth) {
        return -ENOMEM;
    }
    b->slots = calloc((size_t)rq->depth, sizeof(*b->slots));
    b->memory = node_try_alloc(backend_root(b->be), room * rq->depth);
    if (!b->slots || !b->memory) {
        return -ENOMEM;
    }
    memset(b->memory, rq->pattern, (size_t)(room * rq->depth));
    for (int i = 0; i < rq->depth; i++) {
        struct slot *s = &b->slots[i];

        s->bench = b;
        s->req.op = rq->write ? BACKEND_WRITE : BACKEND_READ;
        s->req.iovs = iovs_one(&s->iov, b->memory + i * room, rq->bytes);
        s->req.bytes = rq->bytes;
        s->req.done = slot_done;
        list_add_tail(&b->idle, &s->link);
    }
    return 0;
}

int co_fn bench_co_run(struct node *node, const struct bench_request *rq,
                       int64_t *ret_ns)
{
    struct bench b = {
        .rq = rq,
        .length = node_length(node),
        .next = rq->offset,
    };
    unsigned flags = (rq->writethrough ? BACKEND_WRITETHROUGH : 0) |
                     (rq->write ? 0 : BACKEND_RDONLY);
    int64_t start;
    int rc = backend_new(node, flags, &b.be);

    if (rc < 0) {
        return rc;
    }
    list_init(&b.idle);
    b.rc = bench_set_up(&b);
    start = loop_now();
    if (b.rc == 0) {
        bench_go_on(&b);
    }
    if (b.rc == 0 && !b.over) {
        b.waiter = co_self();
        co_yield();
    }
    *ret_ns = loop_now() - start;
    rc = backend_co_free(b.be); /* yields */
    free(b.slots);
    free(b.memory);
    return b.rc ? b.rc : rc;
}
