/* SPDX-License-Identifier: MIT */
/*
 * Lifetime, requests in flight, and drain.
 *
 * A drain of the backend and a drain of its root node both quiesce it.  The
 * count of requests in flight and the flag QUIESCED are one atomic word:
 *
 *   request                    drain
 *   -------                    -----
 *   count up unless QUIESCED   set QUIESCED
 *     done: go on              no request there: done
 *     quiesced: wait           else: wait
 *
 * so either the request sees the flag or the drain sees the request, and the
 * count stays zero from when the drain found it so until the drain ends.
 *
 * The last request to leave wakes the drain; the end of the last drain wakes
 * the requests, which count themselves in again.
 */
#include "backend/backend.h"

#include <assert.h>
#include <errno.h>

#include "backend/backend_priv.h"

/* -- In flight ----------------------------------------------------------- */

int64_t backend_in_flight(const struct backend *be)
{
    return (int64_t)(__atomic_load_n(&be->state, __ATOMIC_SEQ_CST) &
                     ~STATE_QUIESCED);
}

/*
 * Wakes all of @q and drops @be->lock.  The lock goes first, since outside of
 * a coroutine a wake enters the waiter at once and that takes the lock again.
 * @be may be gone after the first wake.
 */
static void backend_wake_and_unlock(struct backend *be, struct co_queue *q)
{
    struct co_queue ready;

    co_queue_init(&ready);
    list_splice_tail(&ready.waiters, &q->waiters);
    pthread_mutex_unlock(&be->lock);
    co_queue_wake_all(&ready);
}

void backend_end_quiesced(struct backend *be)
{
    pthread_mutex_lock(&be->lock);
    __atomic_fetch_sub(&be->state, 1, __ATOMIC_SEQ_CST);
    be->leaving++;
    pthread_mutex_unlock(&be->lock);

    /* The node may have locks of its own that it holds when it calls us. */
    node_drain_kick(be->root);

    pthread_mutex_lock(&be->lock);
    be->leaving--;
    if (be->leaving == 0 && backend_in_flight(be) == 0) {
        backend_wake_and_unlock(be, &be->drainers);
    } else {
        pthread_mutex_unlock(&be->lock);
    }
}

void co_fn backend_co_begin_quiesced(struct backend *be)
{
    do {
        pthread_mutex_lock(&be->lock);
        if (be->quiesce > 0) {
            co_queue_wait_pthread(&be->held, &be->lock); /* yields */
        }
        pthread_mutex_unlock(&be->lock);
    } while (!backend_try_begin(be));
}

/* -- Drain --------------------------------------------------------------- */

static void backend_quiesce(struct backend *be)
{
    pthread_mutex_lock(&be->lock);
    if (be->quiesce++ == 0) {
        __atomic_fetch_or(&be->state, STATE_QUIESCED, __ATOMIC_SEQ_CST);
    }
    pthread_mutex_unlock(&be->lock);
}

static void backend_resume(struct backend *be)
{
    pthread_mutex_lock(&be->lock);
    assert(be->quiesce > 0);
    if (--be->quiesce > 0) {
        pthread_mutex_unlock(&be->lock);
        return;
    }
    __atomic_fetch_and(&be->state, ~STATE_QUIESCED, __ATOMIC_SEQ_CST);
    backend_wake_and_unlock(be, &be->held);
}

void co_fn backend_co_drain_begin(struct backend *be)
{
    backend_quiesce(be);
    pthread_mutex_lock(&be->lock);
    while (backend_in_flight(be) > 0 || be->leaving > 0) {
        co_queue_wait_pthread(&be->drainers, &be->lock); /* yields */
    }
    pthread_mutex_unlock(&be->lock);
}

void co_fn backend_co_drain_end(struct backend *be)
{
    backend_resume(be);
}

static struct backend *backend_of_parent(struct node_parent *p)
{
    return container_of(p, struct backend, parent);
}

static void backend_parent_drained_begin(struct node_parent *p)
{
    backend_quiesce(backend_of_parent(p));
}

static bool backend_parent_drained_busy(struct node_parent *p)
{
    return backend_in_flight(backend_of_parent(p)) > 0;
}

static void backend_parent_drained_end(struct node_parent *p)
{
    backend_resume(backend_of_parent(p));
}

/* -- Lifetime ------------------------------------------------------------ */

int backend_new(struct node *root, unsigned flags, struct backend **ret)
{
    struct backend *be;

    if (node_is_rdonly(root) && !(flags & BACKEND_RDONLY)) {
        return -EACCES;
    }
    be = g_new0(struct backend, 1);
    be->root = node_ref(root);
    be->flags = flags;
    be->stats = backend_stats_new();
    pthread_mutex_init(&be->lock, NULL);
    pthread_mutex_init(&be->history_lock, NULL);
    co_queue_init(&be->held);
    co_queue_init(&be->drainers);
    be->parent = (struct node_parent){
        .drained_begin = backend_parent_drained_begin,
        .drained_busy = backend_parent_drained_busy,
        .drained_end = backend_parent_drained_end,
    };
    node_add_parent(root, &be->parent);
    *ret = be;
    return 0;
}

int co_fn backend_co_free(struct backend *be)
{
    int rc;
    int untold;

    if (!be) {
        return 0;
    }
    backend_co_drain_begin(be); /* yields */
    assert(co_queue_empty(&be->held));
    node_del_parent(be->root, &be->parent);

    rc = node_co_flush(be->root); /* yields */
    if (rc < 0) {
        backend_error_record(be, rc);
    }
    rc = node_co_unref(be->root); /* yields */
    if (rc < 0) {
        backend_error_record(be, rc);
    }
    untold = backend_error_take_untold(be);

    pthread_mutex_destroy(&be->lock);
    pthread_mutex_destroy(&be->history_lock);
    backend_stats_free(be->stats);
    g_free(be);
    return untold;
}

struct node *backend_root(const struct backend *be)
{
    return be->root;
}

unsigned backend_flags(const struct backend *be)
{
    return be->flags;
}

int64_t backend_length(const struct backend *be)
{
    return node_length(be->root);
}

const struct node_limits *backend_limits(const struct backend *be)
{
    return node_limits(be->root);
}

struct backend_stats *backend_stats(const struct backend *be)
{
    return be->stats;
}

/* -- Write errors -------------------------------------------------------- */

uint64_t backend_error_cursor(const struct backend *be)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&be->history_lock;
    uint64_t cursor;

    pthread_mutex_lock(lock);
    cursor = history_cursor(&be->history);
    pthread_mutex_unlock(lock);
    return cursor;
}

int backend_error_since(struct backend *be, uint64_t *cursor)
{
    int rc;

    pthread_mutex_lock(&be->history_lock);
    rc = history_since(&be->history, cursor);
    pthread_mutex_unlock(&be->history_lock);
    return rc;
}

int backend_error_take_untold(struct backend *be)
{
    uint64_t cursor = backend_error_cursor(be);

    return backend_error_since(be, &cursor);
}

void backend_error_record(struct backend *be, int rc)
{
    pthread_mutex_lock(&be->history_lock);
    history_add(&be->history, rc);
    pthread_mutex_unlock(&be->history_lock);
}
