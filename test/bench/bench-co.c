/* SPDX-License-Identifier: MIT */
/*
 * bench-co: what coroutines and the loop cost, in nanoseconds.
 */
#include <glib.h>
#include <stdio.h>
#include <time.h>

#include "co/co.h"
#include "loop/iothread.h"
#include "loop/loop.h"
#include "loop/sync.h"

#define ROUNDS 5

static double now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void yield_entry(void *opaque)
{
    long n = *(long *)opaque;

    co_assert_role();
    while (n-- > 0) {
        co_yield();
    }
}

/* One coroutine that yields @n times. */
static void one_life(long n)
{
    struct co *co = co_new(yield_entry, &n);

    for (long i = 0; i <= n; i++) {
        co_enter(co);
    }
}

static void lives(long n)
{
    while (n-- > 0) {
        one_life(1);
    }
}

/* As a busy server has them: @n / 32 rounds of 32 suspended at a time. */
static void lives_by_32(long n)
{
    static long one = 1;
    struct co *co[32];

    for (; n > 0; n -= 32) {
        for (int i = 0; i < 32; i++) {
            co[i] = co_new(yield_entry, &one);
            co_enter(co[i]);
        }
        for (int i = 0; i < 32; i++) {
            co_enter(co[i]);
        }
    }
}

/* -- The loop ------------------------------------------------------------- */

static struct loop *loop;
static long left;

static void again_bh(void *opaque)
{
    if (--left > 0) {
        bh_schedule(*(struct bh **)opaque);
    }
}

/* One bottom half per turn. */
static void turns(long n)
{
    struct bh *bh = bh_new(loop, again_bh, &bh);

    left = n;
    bh_schedule(bh);
    while (left > 0) {
        loop_turn(loop, true);
    }
    bh_free(bh);
    loop_turn(loop, false);
}

static void locking_entry(void *opaque)
{
    struct co_mutex m;

    co_assert_role();
    co_mutex_init(&m);
    for (long n = *(long *)opaque; n > 0; n--) {
        co_mutex_lock(&m);
        co_mutex_unlock(&m);
    }
    co_mutex_fini(&m);
}

static void locks(long n)
{
    loop_co_start(co_new(locking_entry, &n));
}

struct ping {
    struct co *here, *there;
    long n;
};

static void there_entry(void *opaque)
{
    struct ping *p = opaque;

    co_assert_role();
    p->there = co_self();
    for (long i = 0; i < p->n; i++) {
        loop_co_wake(p->here);
        co_yield();
    }
    loop_co_wake(p->here);
}

static void there_bh(void *opaque)
{
    loop_co_start(co_new(there_entry, opaque));
}

static struct iothread *iothread;

static void here_entry(void *opaque)
{
    struct ping *p = opaque;

    co_assert_role();
    p->here = co_self();
    bh_oneshot(iothread_loop(iothread), there_bh, p);
    co_yield();
    for (long i = 0; i < p->n; i++) {
        loop_co_wake(p->there);
        co_yield();
    }
    loop_stop(loop);
}

/* Two coroutines of two threads wake each other. */
static void pings(long n)
{
    struct ping p = {.n = n};

    loop_co_start(co_new(here_entry, &p));
    loop_run(loop);
}

static void bench(const char *what, void (*fn)(long n), long n, double per)
{
    double best = 1e18;

    for (int i = 0; i < ROUNDS; i++) {
        double start = now_ns();
        double ns;

        fn(n);
        ns = (now_ns() - start) / ((double)n * per);
        best = ns < best ? ns : best;
    }
    printf("%-44s %7.1f ns\n", what, best);
}

int main(void)
{
    bench("switch", one_life, 1000000, 2);
    bench("create, enter, yield, enter, end", lives, 1000000, 1);
    bench("the same, 32 coroutines at a time", lives_by_32, 1000000, 1);

    if (loop_new(&loop) < 0 || iothread_new("bench", &iothread) < 0) {
        return 1;
    }
    loop_adopt(loop);
    bench("turn of the loop with a bottom half", turns, 1000000, 1);
    bench("lock and unlock a co_mutex", locks, 1000000, 1);
    bench("wake a coroutine of another thread", pings, 20000, 2);
    loop_set_polling(iothread_loop(iothread), 32768, 0, 0);
    bench("the same, one of them polls", pings, 20000, 2);
    iothread_free(iothread);
    loop_free(loop);
    return 0;
}
