/* SPDX-License-Identifier: MIT */
/*
 * co-hello: coroutines.  One is entered by hand, over and over; two others run
 * on an event loop, where one sleeps and the other waits for it.
 *
 *     cc co-hello.c $(pkg-config --cflags --libs coblk) -o co-hello
 */
#include <coblk/co.h>
#include <coblk/loop.h>
#include <stdio.h>
#include <stdlib.h>

/* Each entry runs this to its next yield. */
static void count(void *opaque)
{
    int *n = opaque;

    for (*n = 3; *n > 0; (*n)--) {
        coblk_co_yield();
    }
}

static int count_down(void)
{
    int n;
    struct coblk_co *co = coblk_co_new(count, &n);

    while (co) {
        coblk_co_enter(co);
        if (n == 0) {
            return 0; /* count() has returned, and @co is gone */
        }
        (void)printf("%d\n", n);
    }
    return -1;
}

static void greet(void *opaque)
{
    struct coblk_co *waiting = opaque;

    (void)printf("hello, ");
    coblk_co_sleep(1000 * 1000); /* a millisecond; others run meanwhile */
    coblk_co_wake(waiting);      /* it runs when this one has ended */
}

static void meet(void *opaque)
{
    struct coblk_co *greeter = coblk_co_new(greet, coblk_co_self());

    if (greeter) {
        coblk_co_enter(greeter); /* until it sleeps */
        (void)printf("coroutine ");
        coblk_co_yield(); /* until it wakes us */
        (void)printf("world\n");
    }
}

int main(void)
{
    struct coblk_loop *loop;
    int rc;

    if (count_down() < 0 || coblk_loop_new(&loop) < 0) {
        return EXIT_FAILURE;
    }
    rc = coblk_loop_run_co(loop, meet, NULL);
    coblk_loop_free(loop);
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
