/* SPDX-License-Identifier: MIT */
/*
 * While somebody waits the mutex is never free: it passes from its holder
 * straight to the first waiter, so nobody can overtake the queue.
 */
#include <assert.h>

#include "loop/loop.h"
#include "loop/sync.h"

enum mutex_state {
    MUTEX_FREE,
    MUTEX_LOCKED,
    MUTEX_CONTENDED, /* locked, and the holder has to look at @waiters */
};

void co_mutex_init(struct co_mutex *m)
{
    atomic_init(&m->state, MUTEX_FREE);
    atomic_init(&m->holder, NULL);
    pthread_mutex_init(&m->lock, NULL);
    list_init(&m->waiters);
}

void co_mutex_fini(struct co_mutex *m)
{
    assert(!co_mutex_is_locked(m));
    pthread_mutex_destroy(&m->lock);
}

bool co_mutex_is_locked(struct co_mutex *m)
{
    return atomic_load_explicit(&m->state, memory_order_relaxed) != MUTEX_FREE;
}

/* The holder is known only to itself and for assertions. */
static struct co *mutex_holder(struct co_mutex *m)
{
    return atomic_load_explicit(&m->holder, memory_order_relaxed);
}

static void set_holder(struct co_mutex *m, struct co *co)
{
    atomic_store_explicit(&m->holder, co, memory_order_relaxed);
}

static bool change_state(struct co_mutex *m, unsigned from, unsigned to)
{
    return atomic_compare_exchange_strong(&m->state, &from, to);
}

bool co_mutex_trylock(struct co_mutex *m)
{
    if (!change_state(m, MUTEX_FREE, MUTEX_LOCKED)) {
        return false;
    }
    set_holder(m, co_self());
    return true;
}

/* Returns whether the mutex has become free meanwhile and is the caller's. */
static bool mutex_enqueue(struct co_mutex *m, struct co *self)
{
    bool taken;

    pthread_mutex_lock(&m->lock);
    /* From here on the holder cannot give it back without @lock. */
    taken = atomic_exchange(&m->state, MUTEX_CONTENDED) == MUTEX_FREE;
    if (taken) {
        atomic_store(&m->state, MUTEX_LOCKED); /* it was free: nobody waits */
        set_holder(m, self);
    } else {
        list_add_tail(&m->waiters, co_link(self));
    }
    pthread_mutex_unlock(&m->lock);
    return taken;
}

void co_mutex_lock(struct co_mutex *m)
{
    struct co *self = co_self();

    assert(mutex_holder(m) != self);
    if (co_mutex_trylock(m) || mutex_enqueue(m, self)) {
        return;
    }
    co_yield(); /* until it is handed over */
    assert(mutex_holder(m) == self);
}

static struct co *mutex_hand_over(struct co_mutex *m)
{
    struct co *next;

    pthread_mutex_lock(&m->lock);
    assert(!list_empty(&m->waiters));
    next = co_from_link(m->waiters.next);
    list_del(co_link(next));
    if (list_empty(&m->waiters)) {
        atomic_store(&m->state, MUTEX_LOCKED);
    }
    set_holder(m, next);
    pthread_mutex_unlock(&m->lock);
    return next;
}

void co_mutex_unlock(struct co_mutex *m)
{
    assert(mutex_holder(m) == co_self());
    set_holder(m, NULL);
    if (!change_state(m, MUTEX_LOCKED, MUTEX_FREE)) {
        loop_co_wake(mutex_hand_over(m));
    }
}
