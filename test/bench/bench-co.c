/* SPDX-License-Identifier: MIT */
/*
 * bench-co: what a coroutine costs, in nanoseconds.
 */
#include <stdio.h>
#include <time.h>

#include "co/co.h"

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
    return 0;
}
