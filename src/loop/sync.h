/* SPDX-License-Identifier: MIT */
/*
 * sync: locks and queues for coroutines, also of different loops.
 *
 * All of them hand over in the order of arrival (fair).  Waiting yields, so
 * state read before a wait must be read again after it.  None is recursive.
 * A coroutine that waits cannot be cancelled.
 *
 * Threading: any thread; co_fn functions inside a coroutine.
 */
#ifndef LOOP_SYNC_H
#define LOOP_SYNC_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "co/co.h"

/*
 * Mutual exclusion that may be held over a yield.  Taking and giving back a
 * free one is one atomic operation each.
 */
struct co_mutex {
    atomic_uint state; /* free, locked, or locked and somebody waits */
    struct co *_Atomic holder;
    pthread_mutex_t lock; /* guards the rest; never held over a yield */
    struct list waiters;  /* co_link()s, first come first */
};

void co_mutex_init(struct co_mutex *m);
void co_mutex_fini(struct co_mutex *m); /* free and with no waiter */
void co_fn co_mutex_lock(struct co_mutex *m);
nodiscard bool co_fn co_mutex_trylock(struct co_mutex *m);
void co_fn co_mutex_unlock(struct co_mutex *m); /* hands to the first waiter */
bool co_mutex_is_locked(struct co_mutex *m);    /* a hint, for assertions */

/*
 * Coroutines that wait for a condition.  The caller protects the condition
 * and the queue with one lock: a co_mutex or a pthread mutex.
 */
struct co_queue {
    struct list waiters;
};

void co_queue_init(struct co_queue *q);
/* Appends the caller, drops @m, yields, takes @m again. */
void co_fn co_queue_wait(struct co_queue *q, struct co_mutex *m);
/* The same with a pthread mutex, which is not held during the yield. */
void co_fn co_queue_wait_pthread(struct co_queue *q, pthread_mutex_t *m);
/* Wakes the first waiter; returns whether there was one.  Lock held. */
bool co_queue_wake_one(struct co_queue *q);
/* Wakes all that wait now.  Lock held. */
void co_queue_wake_all(struct co_queue *q);
bool co_queue_empty(const struct co_queue *q);

/*
 * Readers share, a writer is alone.  Fair: a reader that comes after a
 * waiting writer waits behind it.
 */
struct co_rwlock {
    pthread_mutex_t lock; /* guards the rest; never held over a yield */
    int owners;           /* > 0 readers, -1 a writer, 0 free */
    struct list tickets;  /* waiters in order of arrival */
};

void co_rwlock_init(struct co_rwlock *l);
void co_rwlock_fini(struct co_rwlock *l);
void co_fn co_rwlock_rdlock(struct co_rwlock *l);
void co_fn co_rwlock_wrlock(struct co_rwlock *l);
/* From reader to writer: waits for its turn behind earlier tickets; another
 * writer may have been in between, so re-read what the lock protects. */
void co_fn co_rwlock_upgrade(struct co_rwlock *l);
/* From writer to reader, without letting another writer in between. */
void co_fn co_rwlock_downgrade(struct co_rwlock *l);
void co_fn co_rwlock_unlock(struct co_rwlock *l);

/* Sleeps until @deadline (CLOCK_MONOTONIC, ns) or until co_sleep_wake(). */
struct co_sleep {
    struct co *sleeper; /* NULL when nobody sleeps */
};
void co_fn co_sleep_until(struct co_sleep *s, int64_t deadline);
/* Home thread of the sleeper only. */
void co_sleep_wake(struct co_sleep *s);
/* Sleeps for @ns. */
void co_fn co_sleep_ns(int64_t ns);

#endif /* LOOP_SYNC_H */
