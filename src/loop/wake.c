/* SPDX-License-Identifier: MIT */
/*
 * A coroutine that was woken is on one of two lists of its home loop, both
 * linked by co_next_scheduled(): `woken`, a queue, when that was on the home
 * thread, or `scheduled`, a stack as in bh.c, when on another.
 */
#include <assert.h>
#include <stdatomic.h>

#include "loop/loop_priv.h"

/* -- Woken on the home thread --------------------------------------------- */

static void woken_push(struct loop *loop, struct co *co)
{
    assert(!*co_next_scheduled(co)); /* one wake for one yield */
    *co_next_scheduled(co) = CO_LAST;
    if (loop->woken) {
        *co_next_scheduled(loop->woken_tail) = co;
    } else {
        loop->woken = co;
    }
    loop->woken_tail = co;
}

static struct co *woken_pop(struct loop *loop)
{
    struct co *co = loop->woken;
    struct co *next;

    if (!co) {
        return NULL;
    }
    next = *co_next_scheduled(co);
    loop->woken = next == CO_LAST ? NULL : next;
    *co_next_scheduled(co) = NULL;
    return co;
}

bool loop_run_woken(struct loop *loop)
{
    struct co *co = woken_pop(loop);

    if (!co) {
        return false;
    }
    for (; co; co = woken_pop(loop)) {
        co_enter(co);
    }
    return true;
}

/* Enters @co, outside of any coroutine, and then those that it has woken. */
static void enter(struct loop *loop, struct co *co)
{
    co_enter(co);
    loop_run_woken(loop);
}

/* -- Woken on another thread ---------------------------------------------- */

static void scheduled_push(struct loop *loop, struct co *co)
{
    struct co *head;

    assert(!*co_next_scheduled(co)); /* one wake for one yield */
    loop_hold(loop);
    head = atomic_load_explicit(&loop->scheduled, memory_order_relaxed);
    do {
        *co_next_scheduled(co) = head ? head : CO_LAST;
    } while (!atomic_compare_exchange_weak(&loop->scheduled, &head, co));
    if (!head) {
        loop_notify(loop); /* else whoever made it not empty does */
    }
    loop_release(loop);
}

/* All that waits, oldest first; CO_LAST ends it. */
static struct co *scheduled_take_all(struct loop *loop)
{
    struct co *newest = atomic_exchange(&loop->scheduled, NULL);
    struct co *oldest = CO_LAST;

    while (newest && newest != CO_LAST) {
        struct co *next = *co_next_scheduled(newest);

        *co_next_scheduled(newest) = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

bool loop_run_scheduled(struct loop *loop)
{
    struct co *co;

    if (!atomic_load_explicit(&loop->scheduled, memory_order_relaxed)) {
        return false;
    }
    co = scheduled_take_all(loop);
    while (co != CO_LAST) {
        struct co *next = *co_next_scheduled(co);

        *co_next_scheduled(co) = NULL;
        enter(loop, co);
        co = next;
    }
    return true;
}

/* -- What the rest of the world calls ------------------------------------- */

void loop_co_start(struct co *co)
{
    struct loop *loop = loop_here;

    assert(loop && !co_home(co));
    co_set_home(co, loop);
    if (co_self()) {
        co_enter(co); /* those that it wakes run when the caller yields */
    } else {
        enter(loop, co);
    }
}

void loop_co_wake(struct co *co)
{
    struct loop *loop = co_home(co);

    if (loop != loop_here) {
        scheduled_push(loop, co);
    } else if (co_self()) {
        woken_push(loop, co);
    } else {
        assert(!*co_next_scheduled(co)); /* one wake for one yield */
        enter(loop, co);
    }
}

void loop_co_wake_later(struct co *co)
{
    struct loop *loop = co_home(co);

    if (loop != loop_here) {
        scheduled_push(loop, co);
    } else {
        woken_push(loop, co);
    }
}

struct loop *loop_co_home(void)
{
    return co_home(co_self());
}

void loop_co_relax(void)
{
    struct co *self = co_self();

    /* The next turn takes what is on the stack when it begins. */
    scheduled_push(co_home(self), self);
    co_yield();
}
