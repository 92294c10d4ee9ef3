/* SPDX-License-Identifier: MIT */
/*
 * libcoblk: coroutines and the loop, seen through the installed headers only.
 * How they work inside is tested in test/unit.
 */
#include <coblk/co.h>
#include <coblk/loop.h>
#include <errno.h>
#include <glib.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <unistd.h>

#define MS INT64_C(1000000)

static struct coblk_loop *new_loop(void)
{
    struct coblk_loop *loop;

    g_assert_cmpint(coblk_loop_new(&loop), ==, 0);
    return loop;
}

/* -- Coroutines ---------------------------------------------------------- */

static struct coblk_co *seen_self;

static void two_steps(void *opaque)
{
    GString *steps = opaque;

    seen_self = coblk_co_self();
    g_string_append(steps, "a");
    coblk_co_yield();
    g_string_append(steps, "b");
}

static void test_co_without_loop(void)
{
    g_autoptr(GString) steps = g_string_new(NULL);
    struct coblk_co *co = coblk_co_new(two_steps, steps);

    g_assert_null(coblk_co_self());
    coblk_co_enter(co);
    g_assert_true(seen_self == co);
    g_string_append(steps, "1");
    coblk_co_enter(co);
    g_string_append(steps, "2");
    g_assert_cmpstr(steps->str, ==, "a1b2");
}

/* Enters another coroutine and goes on when that yields. */
static void outer(void *opaque)
{
    GString *steps = opaque;
    struct coblk_co *inner = coblk_co_new(two_steps, steps);

    coblk_co_enter(inner);
    g_string_append(steps, "1");
    coblk_co_enter(inner);
    g_string_append(steps, "2");
}

static void test_co_nested(void)
{
    g_autoptr(GString) steps = g_string_new(NULL);
    struct coblk_loop *loop = new_loop();

    g_assert_cmpint(coblk_loop_run_co(loop, outer, steps), ==, 0);
    g_assert_cmpstr(steps->str, ==, "a1b2");
    coblk_loop_free(loop);
}

static void wait_once(void *opaque)
{
    struct coblk_co **self = opaque;

    *self = coblk_co_self();
    coblk_co_yield();
    *self = NULL;
}

static void *wake_it(void *opaque)
{
    coblk_co_wake(opaque);
    return NULL;
}

/* A coroutine of this loop, woken by a thread that has none. */
static void wake_from_thread(void *opaque)
{
    struct coblk_co *waiter = NULL;
    pthread_t thread;

    coblk_co_enter(coblk_co_new(wait_once, &waiter));
    g_assert_nonnull(waiter);
    g_assert_cmpint(pthread_create(&thread, NULL, wake_it, waiter), ==, 0);
    g_assert_cmpint(pthread_join(thread, NULL), ==, 0);
    g_assert_nonnull(waiter); /* not before this one yields */
    while (waiter) {
        coblk_co_sleep(0);
    }
}

static void test_co_wake_any_thread(void)
{
    struct coblk_loop *loop = new_loop();

    g_assert_cmpint(coblk_loop_run_co(loop, wake_from_thread, NULL), ==, 0);
    coblk_loop_free(loop);
}

/* -- The loop ------------------------------------------------------------ */

static void test_one_loop_per_thread(void)
{
    struct coblk_loop *loop = new_loop(), *second = NULL;

    g_assert_cmpint(coblk_loop_new(&second), ==, -EEXIST);
    g_assert_null(second);
    coblk_loop_free(loop);
    coblk_loop_free(NULL);
    coblk_loop_free(new_loop());
}

struct ticker {
    struct coblk_loop *loop;
    GString *order;
    char letter;
    bool stop;
};

static void tick(void *opaque)
{
    struct ticker *t = opaque;

    g_string_append_c(t->order, t->letter);
    if (t->stop) {
        coblk_loop_stop(t->loop);
    }
}

static void test_timers_in_order(void)
{
    g_autoptr(GString) order = g_string_new(NULL);
    struct coblk_loop *loop = new_loop();
    struct ticker a = {loop, order, 'a', false}, b = {loop, order, 'b', true};
    struct ticker c = {loop, order, 'c', false};
    struct coblk_timer *ta = coblk_timer_new(loop, tick, &a);
    struct coblk_timer *tb = coblk_timer_new(loop, tick, &b);
    struct coblk_timer *tc = coblk_timer_new(loop, tick, &c);
    int64_t begin = coblk_now();

    coblk_timer_arm(tb, begin + 2 * MS);
    coblk_timer_arm(ta, begin + 1 * MS);
    coblk_timer_arm(tc, begin);
    coblk_timer_cancel(tc);
    coblk_loop_run(loop);
    g_assert_cmpstr(order->str, ==, "ab");
    g_assert_cmpint(coblk_now(), >=, begin + 2 * MS);

    coblk_timer_arm(ta, 0); /* freed while armed: it never calls again */
    coblk_timer_free(ta);
    coblk_timer_arm(tb, coblk_now());
    coblk_loop_run(loop);
    g_assert_cmpstr(order->str, ==, "abb");
    coblk_timer_free(tb);
    coblk_timer_free(tc);
    coblk_timer_free(NULL);
    coblk_loop_free(loop);
}

static void *schedule_it(void *opaque)
{
    coblk_bh_schedule(opaque);
    coblk_bh_schedule(opaque);
    return NULL;
}

/* Scheduled twice, by another thread, a bottom half runs once. */
static void test_bh(void)
{
    g_autoptr(GString) order = g_string_new(NULL);
    struct coblk_loop *loop = new_loop();
    struct ticker t = {loop, order, 't', true};
    struct coblk_bh *bh = coblk_bh_new(loop, tick, &t);
    pthread_t thread;

    g_assert_cmpint(pthread_create(&thread, NULL, schedule_it, bh), ==, 0);
    g_assert_cmpint(pthread_join(thread, NULL), ==, 0);
    g_assert_cmpstr(order->str, ==, "");
    coblk_loop_run(loop);
    g_assert_cmpstr(order->str, ==, "t");
    coblk_bh_free(bh);
    coblk_bh_free(NULL);
    coblk_loop_free(loop);
}

struct reader {
    struct coblk_loop *loop;
    struct coblk_watch *watch;
    int fd;
    int calls;
};

static void read_one(void *opaque, uint32_t events)
{
    struct reader *r = opaque;
    char c;

    g_assert_cmpuint(events, ==, EPOLLIN);
    g_assert_cmpint(read(r->fd, &c, 1), ==, 1);
    if (++r->calls == 2) {
        coblk_watch_free(r->watch);
        coblk_loop_stop(r->loop);
    }
}

/* Level-triggered; may be freed in its own callback. */
static void test_watch(void)
{
    struct coblk_loop *loop = new_loop();
    struct reader r = {.loop = loop};
    int fds[2];

    g_assert_cmpint(pipe(fds), ==, 0);
    r.fd = fds[0];
    g_assert_cmpint(
        coblk_watch_new(loop, r.fd, EPOLLIN, read_one, &r, &r.watch), ==, 0);
    g_assert_cmpint(write(fds[1], "abc", 3), ==, 3);
    coblk_loop_run(loop);
    g_assert_cmpint(r.calls, ==, 2);

    g_assert_cmpint(coblk_watch_new(loop, -1, EPOLLIN, read_one, &r, &r.watch),
                    ==, -EBADF);
    coblk_watch_free(NULL);
    coblk_loop_free(loop);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void sleep_and_quit(void *opaque)
{
    coblk_co_sleep(MS);
    g_main_loop_quit(opaque);
}

static void test_gsource(void)
{
    struct coblk_loop *loop = new_loop();
    g_autoptr(GMainLoop) main_loop = g_main_loop_new(NULL, FALSE);
    GSource *source = coblk_loop_gsource(loop);

    g_source_attach(source, NULL);
    coblk_co_enter(coblk_co_new(sleep_and_quit, main_loop));
    g_main_loop_run(main_loop);
    g_source_destroy(source);
    g_source_unref(source);
    coblk_loop_free(loop);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/lib/co/without-loop", test_co_without_loop);
    g_test_add_func("/lib/co/nested", test_co_nested);
    g_test_add_func("/lib/co/wake-from-any-thread", test_co_wake_any_thread);
    g_test_add_func("/lib/loop/one-per-thread", test_one_loop_per_thread);
    g_test_add_func("/lib/loop/timers-in-order", test_timers_in_order);
    g_test_add_func("/lib/loop/bh-runs-once", test_bh);
    g_test_add_func("/lib/loop/watch", test_watch);
    g_test_add_func("/lib/loop/inside-gmainloop", test_gsource);
    return g_test_run();
}
