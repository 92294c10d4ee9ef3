/* SPDX-License-Identifier: MIT */
/*
 * drain: make a node idle and keep it so.
 *
 * Quiescing goes up: each parent stops sending, and so do its parents, up to
 * the users, who hold their requests back.  A node itself turns nobody away:
 * a request that a parent has begun needs its children to end.  Then the
 * drain waits until the node and all above it have nothing under way.
 *
 *   who             quiesced by a drain of the file       waits for
 *   backend  --+    holds new requests back               its requests
 *              v
 *   qcow2    --+    passes it up                          its requests
 *              v
 *   file            the drained node                      its requests
 *
 * One list of sleepers serves all drains: they are rare, and a request that
 * ends anywhere above the drained node can be what one waits for.
 */
#include "block/node_priv.h"
#include "loop/loop.h"

/* Guards node->parents of all nodes.  Functions of parents are called with it
 * held, so that the list stands still; they neither yield nor change it. */
static pthread_mutex_t graph_lock = PTHREAD_MUTEX_INITIALIZER;

/* A leaf, like node->lock. */
static pthread_mutex_t drain_lock = PTHREAD_MUTEX_INITIALIZER;
/* Under drain_lock. */
static struct list drain_sleepers = {&drain_sleepers, &drain_sleepers};
static uint64_t drain_kicks;

struct drain_sleeper {
    struct list link;
    struct co *co;
};

/* -- Up the graph; graph_lock held --------------------------------------- */

static void quiesce(struct node *node)
{
    struct node_parent *p;
    bool first;

    pthread_mutex_lock(&node->lock);
    first = node->quiesced++ == 0;
    pthread_mutex_unlock(&node->lock);
    if (first) {
        list_for_each(p, &node->parents, link) {
            p->drained_begin(p);
        }
    }
}

static void unquiesce(struct node *node)
{
    struct node_parent *p;
    bool last;

    pthread_mutex_lock(&node->lock);
    assert(node->quiesced > 0);
    last = --node->quiesced == 0;
    pthread_mutex_unlock(&node->lock);
    if (last) {
        list_for_each(p, &node->parents, link) {
            p->drained_end(p);
        }
    }
}

static bool is_busy(struct node *node)
{
    struct node_parent *p;
    bool busy;

    pthread_mutex_lock(&node->lock);
    busy = node->in_flight > 0;
    pthread_mutex_unlock(&node->lock);
    list_for_each(p, &node->parents, link) {
        busy = busy || p->drained_busy(p);
    }
    return busy;
}

/* -- A node as the parent of another ------------------------------------- */

static struct node *edge_owner(struct node_parent *p)
{
    return container_of(p, struct edge, parent)->owner;
}

static void edge_drained_begin(struct node_parent *p)
{
    quiesce(edge_owner(p));
}

static bool edge_drained_busy(struct node_parent *p)
{
    return is_busy(edge_owner(p));
}

static void edge_drained_end(struct node_parent *p)
{
    unquiesce(edge_owner(p));
}

void edge_init_parent(struct edge *e)
{
    e->parent = (struct node_parent){
        .drained_begin = edge_drained_begin,
        .drained_busy = edge_drained_busy,
        .drained_end = edge_drained_end,
    };
}

/* -- The functions of node.h --------------------------------------------- */

/* Quiesced nodes treat a parent that comes or goes as if it had been there
 * all along, or never. */
void node_add_parent(struct node *node, struct node_parent *p)
{
    pthread_mutex_lock(&graph_lock);
    list_add_tail(&node->parents, &p->link);
    if (node->quiesced > 0) {
        p->drained_begin(p);
    }
    pthread_mutex_unlock(&graph_lock);
}

void node_del_parent(struct node *node, struct node_parent *p)
{
    pthread_mutex_lock(&graph_lock);
    list_del(&p->link);
    if (node->quiesced > 0) {
        p->drained_end(p);
    }
    pthread_mutex_unlock(&graph_lock);
    /* A drain may have waited for this parent. */
    node_drain_kick(node);
}

static uint64_t drain_kicks_now(void)
{
    uint64_t kicks;

    pthread_mutex_lock(&drain_lock);
    kicks = drain_kicks;
    pthread_mutex_unlock(&drain_lock);
    return kicks;
}

/* Sleeps until the next kick after the @seen-th, which may have been. */
static void co_fn drain_sleep(uint64_t seen)
{
    struct drain_sleeper s = {.co = co_self()};
    bool sleep;

    pthread_mutex_lock(&drain_lock);
    sleep = drain_kicks == seen;
    if (sleep) {
        list_add_tail(&drain_sleepers, &s.link);
    }
    pthread_mutex_unlock(&drain_lock);
    if (sleep) {
        co_yield();
    }
}

void node_drain_kick(struct node *node)
{
    struct list woken;

    list_init(&woken);
    pthread_mutex_lock(&drain_lock);
    drain_kicks++;
    list_splice_tail(&woken, &drain_sleepers);
    pthread_mutex_unlock(&drain_lock);

    /* A sleeper is gone as soon as it is woken, and it may run at once. */
    while (!list_empty(&woken)) {
        struct drain_sleeper *s =
            list_first(&woken, struct drain_sleeper, link);

        list_del(&s->link);
        loop_co_wake(s->co);
    }
}

static bool drain_is_done(struct node *node)
{
    bool busy;

    pthread_mutex_lock(&graph_lock);
    busy = is_busy(node);
    pthread_mutex_unlock(&graph_lock);
    return !busy;
}

void co_fn node_co_drain_begin(struct node *node)
{
    pthread_mutex_lock(&graph_lock);
    quiesce(node);
    pthread_mutex_unlock(&graph_lock);

    for (;;) {
        /* Counted before looking: who ends in between is not missed. */
        uint64_t seen = drain_kicks_now();

        if (drain_is_done(node)) {
            return;
        }
        drain_sleep(seen); /* yields */
    }
}

void co_fn node_co_drain_end(struct node *node)
{
    pthread_mutex_lock(&graph_lock);
    unquiesce(node);
    pthread_mutex_unlock(&graph_lock);
}
