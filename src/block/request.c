/* SPDX-License-Identifier: MIT */
/*
 * request: requests under way at a node, and who waits for whom.
 *
 * Every read and write is on node->requests from its arrival to its end.
 * Overlap alone is no conflict: two plain writes of the same bytes race in
 * the driver as they would on a disk.  A request is serialising when the
 * layer itself would break something if others touched the range meanwhile:
 * read-modify-write, zeroes, discards, truncation, and whatever the caller
 * marks so.  The range to keep clear is known on arrival and does not change.
 *
 * The common case costs two short critical sections and no scan: with no
 * serialising request around there can be no conflict.
 */
#include "block/node_priv.h"

static bool tracked_conflict(const struct tracked *a, const struct tracked *b)
{
    return (a->serialising || b->serialising) &&
           ranges_overlap(a->offset, a->bytes, b->offset, b->bytes);
}

/* Are the two about other bytes? */
static bool tracked_differ(const struct tracked *a, const struct tracked *b)
{
    bool a_all = a->own_bytes == 0, b_all = b->own_bytes == 0;

    return !ranges_overlap(
        a_all ? a->offset : a->own_offset, a_all ? a->bytes : a->own_bytes,
        b_all ? b->offset : b->own_offset, b_all ? b->bytes : b->own_bytes);
}

/* The latest earlier request that conflicts with @req, or NULL.  The latest,
 * because it tends to be the last one to end.  @pass: but for those that @req
 * may pass. */
static struct tracked *blocker_before_locked(const struct tracked *req,
                                             bool pass)
{
    const struct list *end = &req->node->requests;

    for (struct list *l = req->link.prev; l != end; l = l->prev) {
        struct tracked *other = list_entry(l, struct tracked, link);

        if (tracked_conflict(req, other) &&
            !(pass && other->may_be_passed && tracked_differ(req, other))) {
            return other;
        }
    }
    return NULL;
}

/* A later request that has passed @req, or NULL. */
static struct tracked *blocker_behind_locked(const struct tracked *req)
{
    const struct list *end = &req->node->requests;

    for (struct list *l = req->link.next; l != end; l = l->next) {
        struct tracked *other = list_entry(l, struct tracked, link);

        if (other->running && tracked_conflict(req, other)) {
            return other;
        }
    }
    return NULL;
}

static struct tracked *tracked_blocker_locked(const struct tracked *req,
                                              bool pass)
{
    struct tracked *blocker;

    if (req->node->serialising == 0) {
        return NULL;
    }
    blocker = blocker_before_locked(req, pass);
    return blocker || !req->waited ? blocker : blocker_behind_locked(req);
}

static void tracked_add_locked(struct tracked *req)
{
    struct node *node = req->node;

    assert(req->bytes > 0);
    req->waited = false;
    req->running = false;
    req->may_be_passed = false;
    co_queue_init(&req->waiters);
    list_add_tail(&node->requests, &req->link);
    node->in_flight++;
    node->serialising += req->serialising;
}

static void tracked_remove_locked(struct tracked *req)
{
    struct node *node = req->node;

    list_del(&req->link);
    node->in_flight--;
    node->serialising -= req->serialising;
}

static void co_fn tracked_wait_locked(struct tracked *req, bool pass)
{
    struct tracked *blocker;

    /* Who was in the way may have been one of several. */
    while ((blocker = tracked_blocker_locked(req, pass))) {
        req->may_be_passed = pass && !req->waited;
        req->waited = true;
        co_queue_wait_pthread(&blocker->waiters, &req->node->lock); /* yields */
        req->may_be_passed = false;
    }
    req->running = true;
}

int co_fn tracked_begin(struct tracked *req, unsigned flags)
{
    struct node *node = req->node;
    int rc = 0;

    req->serialising |= (flags & REQ_SERIALISING) != 0;
    pthread_mutex_lock(&node->lock);
    tracked_add_locked(req);
    if ((flags & REQ_NO_WAIT) && tracked_blocker_locked(req, true)) {
        tracked_remove_locked(req);
        rc = -EBUSY;
    } else {
        tracked_wait_locked(req, true); /* yields */
    }
    pthread_mutex_unlock(&node->lock);
    return rc;
}

static void co_fn tracked_wait(struct tracked *req)
{
    pthread_mutex_lock(&req->node->lock);
    tracked_wait_locked(req, false); /* yields */
    pthread_mutex_unlock(&req->node->lock);
}

void co_fn tracked_begin_two(struct tracked *a, struct tracked *b)
{
    struct node *first = a->node < b->node ? a->node : b->node;
    struct node *second = a->node < b->node ? b->node : a->node;

    /* Two locks of one kind, taken in the order of their addresses. */
    pthread_mutex_lock(&first->lock);
    if (second != first) {
        pthread_mutex_lock(&second->lock);
    }
    tracked_add_locked(a);
    tracked_add_locked(b);
    if (second != first) {
        pthread_mutex_unlock(&second->lock);
    }
    pthread_mutex_unlock(&first->lock);

    tracked_wait(a); /* yields */
    tracked_wait(b); /* yields */
}

/* Does the end of a request make a quiesced node idle? */
static bool node_became_idle_locked(const struct node *node)
{
    return node->quiesced > 0 && node->in_flight == 0;
}

void co_fn tracked_end(struct tracked *req)
{
    struct node *node = req->node;
    bool idle;

    pthread_mutex_lock(&node->lock);
    tracked_remove_locked(req);
    /* Also when it failed: some of it may have been written. */
    node->write_gen += req->type == TRACKED_WRITE;
    co_queue_wake_all(&req->waiters);
    idle = node_became_idle_locked(node);
    pthread_mutex_unlock(&node->lock);
    if (unlikely(idle)) {
        node_drain_kick(node);
    }
}

void co_fn in_flight_begin(struct node *node)
{
    pthread_mutex_lock(&node->lock);
    node->in_flight++;
    pthread_mutex_unlock(&node->lock);
}

void co_fn in_flight_end(struct node *node)
{
    bool idle;

    pthread_mutex_lock(&node->lock);
    node->in_flight--;
    idle = node_became_idle_locked(node);
    pthread_mutex_unlock(&node->lock);
    if (unlikely(idle)) {
        node_drain_kick(node);
    }
}
