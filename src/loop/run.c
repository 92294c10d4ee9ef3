/* SPDX-License-Identifier: MIT */
/*
 * Running a coroutine from code that is none, and waiting for its end.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>

#include "loop/loop_priv.h"

struct blocking {
    co_entry_fn *entry;
    void *opaque;
    struct co *co;
    struct loop *waiter; /* the loop that turns meanwhile, or NULL */

    bool done; /* belongs to @waiter's thread, or is under @lock */
    pthread_mutex_t lock;
    pthread_cond_t cond;
};

static void blocking_done(void *opaque)
{
    ((struct blocking *)opaque)->done = true;
}

static void blocking_signal(struct blocking *b)
{
    pthread_mutex_lock(&b->lock);
    b->done = true;
    pthread_cond_signal(&b->cond);
    pthread_mutex_unlock(&b->lock);
}

static void blocking_entry(void *opaque)
{
    struct blocking *b = opaque;

    co_assert_role();
    b->entry(b->opaque);

    /* @b is gone as soon as the waiting thread knows. */
    if (!b->waiter) {
        blocking_signal(b);
    } else if (b->waiter == loop_co_home()) {
        blocking_done(b);
    } else {
        bh_oneshot(b->waiter, blocking_done, b);
    }
}

static void blocking_start(void *opaque)
{
    struct blocking *b = opaque;

    loop_co_start(b->co);
}

static void blocking_sleep(struct blocking *b)
{
    pthread_mutex_lock(&b->lock);
    while (!b->done) {
        pthread_cond_wait(&b->cond, &b->lock);
    }
    pthread_mutex_unlock(&b->lock);
}

int loop_co_run_blocking(struct loop *loop, co_entry_fn *entry, void *opaque)
{
    struct blocking b = {
        .entry = entry,
        .opaque = opaque,
        .waiter = loop_here,
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .cond = PTHREAD_COND_INITIALIZER,
    };

    assert(!co_self());
    b.co = co_new(blocking_entry, &b);
    if (!b.co) {
        return -ENOMEM;
    }
    if (loop == loop_here) {
        loop_co_start(b.co);
    } else {
        bh_oneshot(loop, blocking_start, &b);
    }
    if (!b.waiter) {
        blocking_sleep(&b);
    }
    while (b.waiter && !b.done) {
        loop_turn(b.waiter, true);
    }
    return 0;
}
