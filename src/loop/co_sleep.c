/* SPDX-License-Identifier: MIT */
#include <assert.h>

#include "loop/loop.h"
#include "loop/sync.h"

void co_sleep_wake(struct co_sleep *s)
{
    struct co *sleeper = s->sleeper;

    if (sleeper) {
        s->sleeper = NULL; /* the timer and others wake it only once */
        loop_co_wake(sleeper);
    }
}

static void sleep_over(void *opaque)
{
    co_sleep_wake(opaque);
}

void co_sleep_until(struct co_sleep *s, int64_t deadline)
{
    struct loop_timer timer;

    assert(!s->sleeper);
    s->sleeper = co_self();
    loop_timer_init(&timer, loop_co_home(), sleep_over, s);
    loop_timer_arm(&timer, deadline);
    co_yield();
    loop_timer_cancel(&timer);
}

void co_sleep_ns(int64_t ns)
{
    struct co_sleep s = {NULL};

    co_sleep_until(&s, loop_now() + ns);
}
