/* SPDX-License-Identifier: MIT */
#include <assert.h>

#include "loop/loop_priv.h"

void loop_timer_init(struct loop_timer *t, struct loop *loop,
                     void (*fn)(void *opaque), void *opaque)
{
    *t = (struct loop_timer){
        .loop = loop,
        .fn = fn,
        .opaque = opaque,
        .deadline = -1,
    };
    list_init(&t->link);
}

void loop_timer_arm(struct loop_timer *t, int64_t deadline)
{
    struct list *prev;

    assert(deadline >= 0);
    list_del(&t->link);
    t->deadline = deadline;

    /* From the end: a new deadline is mostly the latest.  Equal ones stay in
     * the order of arming. */
    for (prev = t->loop->timers.prev; prev != &t->loop->timers;
         prev = prev->prev) {
        if (list_entry(prev, struct loop_timer, link)->deadline <= deadline) {
            break;
        }
    }
    list_add_between(&t->link, prev, prev->next);
}

void loop_timer_cancel(struct loop_timer *t)
{
    list_del(&t->link);
    t->deadline = -1;
}

int64_t loop_timer_deadline(const struct loop *loop)
{
    if (list_empty(&loop->timers)) {
        return INT64_MAX;
    }
    return list_entry(loop->timers.next, struct loop_timer, link)->deadline;
}

bool loop_run_timers(struct loop *loop)
{
    struct loop_timer *t;
    struct list due;
    int64_t now;

    if (list_empty(&loop->timers)) {
        return false;
    }
    now = loop_now();
    if (loop_timer_deadline(loop) > now) {
        return false;
    }

    /* What is due goes to a list of its own first: a callback that arms a
     * timer for the past has to wait for the next turn, and one that cancels
     * or moves another takes it off whichever list it is on. */
    list_init(&due);
    while ((t = list_first(&loop->timers, struct loop_timer, link)) &&
           t->deadline <= now) {
        list_del(&t->link);
        list_add_tail(&due, &t->link);
    }
    while ((t = list_first(&due, struct loop_timer, link))) {
        loop_timer_cancel(t);
        t->fn(t->opaque);
    }
    return true;
}
