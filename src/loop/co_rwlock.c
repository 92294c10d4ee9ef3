/* SPDX-License-Identifier: MIT */
/*
 * Whoever must wait draws a ticket.  The one who lets go of the lock gives it
 * to the first ticket, and to those after it as far as they can share it.
 */
#include <assert.h>

#include "loop/loop.h"
#include "loop/sync.h"

/* Lies on the stack of the coroutine that waits. */
struct ticket {
    struct list link; /* in co_rwlock.tickets */
    struct co *co;
    bool write;
};

void co_rwlock_init(struct co_rwlock *l)
{
    pthread_mutex_init(&l->lock, NULL);
    l->owners = 0;
    list_init(&l->tickets);
}

void co_rwlock_fini(struct co_rwlock *l)
{
    assert(l->owners == 0 && list_empty(&l->tickets));
    pthread_mutex_destroy(&l->lock);
}

/* Takes the lock if its owners, but not who waits for it, leave room. */
static bool take_locked(struct co_rwlock *l, bool write)
{
    if (write ? l->owners != 0 : l->owners < 0) {
        return false;
    }
    l->owners = write ? -1 : l->owners + 1;
    return true;
}

static void grant_locked(struct co_rwlock *l)
{
    struct ticket *t;

    while ((t = list_first(&l->tickets, struct ticket, link)) &&
           take_locked(l, t->write)) {
        struct co *co = t->co;

        list_del(&t->link);
        loop_co_wake(co); /* @t is gone now */
    }
}

/* Waits behind the last ticket.  Drops l->lock. */
static void co_fn rwlock_co_wait(struct co_rwlock *l, bool write)
{
    struct ticket t = {.co = co_self(), .write = write};

    list_add_tail(&l->tickets, &t.link);
    grant_locked(l);
    pthread_mutex_unlock(&l->lock);
    co_yield(); /* until it is granted */
}

static void co_fn rwlock_co_lock(struct co_rwlock *l, bool write)
{
    pthread_mutex_lock(&l->lock);
    if (list_empty(&l->tickets) && take_locked(l, write)) {
        pthread_mutex_unlock(&l->lock);
    } else {
        rwlock_co_wait(l, write);
    }
}

void co_rwlock_rdlock(struct co_rwlock *l)
{
    rwlock_co_lock(l, false);
}

void co_rwlock_wrlock(struct co_rwlock *l)
{
    rwlock_co_lock(l, true);
}

void co_rwlock_upgrade(struct co_rwlock *l)
{
    pthread_mutex_lock(&l->lock);
    assert(l->owners > 0);
    l->owners--;
    if (list_empty(&l->tickets) && take_locked(l, true)) {
        pthread_mutex_unlock(&l->lock);
    } else {
        rwlock_co_wait(l, true);
    }
}

void co_rwlock_downgrade(struct co_rwlock *l)
{
    pthread_mutex_lock(&l->lock);
    assert(l->owners == -1);
    l->owners = 1;
    grant_locked(l);
    pthread_mutex_unlock(&l->lock);
}

void co_rwlock_unlock(struct co_rwlock *l)
{
    pthread_mutex_lock(&l->lock);
    assert(l->owners != 0);
    l->owners = l->owners > 0 ? l->owners - 1 : 0;
    grant_locked(l);
    pthread_mutex_unlock(&l->lock);
}
