/* SPDX-License-Identifier: MIT */
/*
 * flush: what had completed before is durable afterwards.
 *
 * node->write_gen counts completed writes.  A flush of the disk makes those
 * durable that it finds counted when it starts.  One flush runs at a time;
 * whoever comes meanwhile waits, and is served by the running one if its
 * writes were counted when that started, else by the next, which serves all
 * that wait for it:
 *
 *   write_gen   7         8
 *   flush A     starts at 7 ............ ends: A is done
 *   flush B        wants 7, waits        ends with A
 *   flush C                  wants 8 ... starts at 8 ......... C is done
 *   flush D                    wants 8, waits ................ ends with C
 *
 * Those that a failed flush would have served fail as well: their data may be
 * what was lost.  flushed_gen only moves on success, so a later flush tries
 * again.
 */
#include "block/node_priv.h"

struct flush_waiter {
    struct list link; /* node->flushes, under its lock */
    uint64_t want;    /* the write_gen to be made durable */
    bool done;
    int rc; /* when done */
};

static int co_fn flush_children(struct node *node)
{
    struct edge *e;
    int first = 0;

    list_for_each(e, &node->children, link) {
        int rc = node_co_flush(e->child); /* yields */

        first = first ? first : rc;
    }
    return first;
}

/* Hands caches down, then makes them durable, this node first: its own
 * metadata become writes to the children. */
static int co_fn flush_all(struct node *node, bool dirty)
{
    const struct driver *drv = node->drv;
    int rc = 0;

    node_event(node->file, EVENT_FLUSH_TO_OS); /* yields */
    if (drv->co_flush_to_os) {
        rc = drv->co_flush_to_os(node); /* yields */
    }
    if (rc == 0 && dirty && !(node->flags & NODE_NO_FLUSH)) {
        node_event(node->file, EVENT_FLUSH_TO_DISK); /* yields */
    }
    if (rc == 0 && dirty && drv->co_flush_to_disk &&
        !(node->flags & NODE_NO_FLUSH)) {
        rc = drv->co_flush_to_disk(node); /* yields */
        trace(BLOCK, "flush driver=%s rc=%d", drv->name, rc);
    }
    return rc < 0 ? rc : flush_children(node); /* yields */
}

/* Gives @rc to all that wait for writes up to @gen. */
static void flush_serve_locked(struct node *node, uint64_t gen, int rc)
{
    struct flush_waiter *w, *tmp;

    list_for_each_safe(w, tmp, &node->flushes, link) {
        if (w->want <= gen) {
            list_del(&w->link);
            w->rc = rc;
            w->done = true;
        }
    }
    co_queue_wake_all(&node->flush_queue);
}

/* Runs one flush of the disk for the caller and all that wait with it. */
static void co_fn flush_round_locked(struct node *node)
{
    uint64_t gen = node->write_gen;
    bool dirty = node->flushed_gen < gen;
    int rc;

    node->flushing = true;
    pthread_mutex_unlock(&node->lock);
    rc = flush_all(node, dirty); /* yields */
    pthread_mutex_lock(&node->lock);
    node->flushing = false;
    if (rc == 0) {
        node->flushed_gen = gen;
    }
    flush_serve_locked(node, gen, rc);
}

int co_fn node_co_flush(struct node *node)
{
    struct flush_waiter w = {.done = false};

    if (node_is_rdonly(node)) {
        return 0;
    }
    in_flight_begin(node);
    pthread_mutex_lock(&node->lock);
    w.want = node->write_gen;
    list_add_tail(&node->flushes, &w.link);
    while (!w.done) {
        if (node->flushing) {
            co_queue_wait_pthread(&node->flush_queue, &node->lock); /* yields */
        } else {
            flush_round_locked(node); /* yields */
        }
    }
    pthread_mutex_unlock(&node->lock);
    in_flight_end(node);
    return w.rc;
}
