/* SPDX-License-Identifier: MIT */
#include "loop/loop.h"
#include "loop/sync.h"

void co_queue_init(struct co_queue *q)
{
    list_init(&q->waiters);
}

bool co_queue_empty(const struct co_queue *q)
{
    return list_empty(&q->waiters);
}

/* Between the unlock and the yield another thread may wake the caller already;
 * loop_co_wake() allows for that. */

void co_queue_wait(struct co_queue *q, struct co_mutex *m)
{
    list_add_tail(&q->waiters, co_link(co_self()));
    co_mutex_unlock(m);
    co_yield();
    co_mutex_lock(m);
}

void co_queue_wait_pthread(struct co_queue *q, pthread_mutex_t *m)
{
    list_add_tail(&q->waiters, co_link(co_self()));
    pthread_mutex_unlock(m);
    co_yield();
    pthread_mutex_lock(m);
}

bool co_queue_wake_one(struct co_queue *q)
{
    struct list *link = q->waiters.next;

    if (list_empty(&q->waiters)) {
        return false;
    }
    list_del(link);
    /* Not at once: it wants the lock that the caller holds. */
    loop_co_wake_later(co_from_link(link));
    return true;
}

void co_queue_wake_all(struct co_queue *q)
{
    while (co_queue_wake_one(q)) {
        /* who comes meanwhile has to take the lock first */
    }
}
