/* SPDX-License-Identifier: MIT */
/*
 * loop: descriptors, coroutines of loops, threads, and a GMainLoop around.
 */
#include <errno.h>
#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "loop/iothread.h"
#include "loop/loop.h"

static struct loop *loop;
static GString *trail;

static void step(char c)
{
    g_string_append_c(trail, c);
}

static void check_trail(const char *want)
{
    g_assert_cmpstr(trail->str, ==, want);
    g_string_truncate(trail, 0);
}

/* -- File descriptors ----------------------------------------------------- */

struct source {
    char letter;
    struct loop_fd fd;
    struct source *victim; /* taken off the loop by the callback */
};

static void source_ready(void *opaque, uint32_t events)
{
    struct source *s = opaque;
    eventfd_t n;

    g_assert_cmpuint(events, ==, EPOLLIN);
    g_assert_cmpint(eventfd_read(s->fd.fd, &n), ==, 0);
    step(s->letter);
    if (s->victim) {
        loop_del_fd(loop, &s->victim->fd);
        s->victim->fd.opaque = NULL; /* may not be used any more */
    }
}

static void source_init(struct source *s, char letter)
{
    *s = (struct source){
        .letter = letter,
        .fd = {.fd = eventfd(0, EFD_CLOEXEC),
               .events = EPOLLIN,
               .ready = source_ready,
               .opaque = s},
    };
    g_assert_cmpint(loop_add_fd(loop, &s->fd), ==, 0);
}

static void fire(struct source *s)
{
    g_assert_cmpint(eventfd_write(s->fd.fd, 1), ==, 0);
}

static void test_fd(void)
{
    struct source a, b;

    source_init(&a, 'a');
    source_init(&b, 'b');
    g_assert_false(loop_turn(loop, false));
    check_trail("");
    fire(&b);
    g_assert_true(loop_turn(loop, true));
    check_trail("b");
    fire(&a);
    fire(&b);
    g_assert_true(loop_turn(loop, false));
    g_assert_cmpuint(trail->len, ==, 2); /* in the kernel's order */
    g_string_truncate(trail, 0);
    loop_del_fd(loop, &a.fd);
    fire(&a);
    g_assert_false(loop_turn(loop, false));
    check_trail("");
    loop_del_fd(loop, &b.fd);
    close(a.fd.fd);
    close(b.fd.fd);
}

/* A callback removes itself, or one whose event is known but not yet told. */
static void test_fd_removed_inside(void)
{
    struct source a, b, c;

    source_init(&a, 'a');
    source_init(&b, 'b');
    source_init(&c, 'c');
    a.victim = &b;
    b.victim = &a;
    c.victim = &c;
    fire(&a);
    fire(&b);
    fire(&c);
    g_assert_true(loop_turn(loop, false));
    g_assert_cmpuint(trail->len, ==, 2); /* c, and one of a and b */
    g_assert_nonnull(strchr(trail->str, 'c'));
    g_assert_true((a.fd.opaque == NULL) != (b.fd.opaque == NULL));
    g_string_truncate(trail, 0);
    fire(&c);
    g_assert_false(loop_turn(loop, false));
    loop_del_fd(loop, a.fd.opaque ? &a.fd : &b.fd);
    close(a.fd.fd);
    close(b.fd.fd);
    close(c.fd.fd);
}

static void test_fd_bad(void)
{
    struct loop_fd fd = {.fd = -1, .events = EPOLLIN};

    g_assert_cmpint(loop_add_fd(loop, &fd), ==, -EBADF);
}

static void forever_bh(void *opaque)
{
    bh_schedule(*(struct bh **)opaque);
}

/* Bottom halves that never end do not shut descriptors out. */
static void test_fd_not_starved(void)
{
    struct bh *bh = bh_new(loop, forever_bh, &bh);
    struct source a;
    int turns = 0;

    source_init(&a, 'a');
    bh_schedule(bh);
    fire(&a);
    while (trail->len == 0) {
        loop_turn(loop, true);
        turns++;
    }
    g_assert_cmpint(turns, <=, 16);
    check_trail("a");
    loop_del_fd(loop, &a.fd);
    close(a.fd.fd);
    bh_free(bh);
    loop_turn(loop, false);
}

/* -- Coroutines ----------------------------------------------------------- */

struct actor {
    struct co *co;
    char letter;
    struct co *friend; /* whom it wakes first of all */
};

static void actor_entry(void *opaque)
{
    struct actor *a = opaque;

    co_assert_role();
    g_assert_true(loop_co_home() == loop);
    step(a->letter);
    co_yield();
    if (a->friend) {
        loop_co_wake(a->friend);
    }
    step(a->letter);
    co_yield();
    step('.');
}

static void actor_start(struct actor *a, char letter)
{
    *a = (struct actor){.co = co_new(actor_entry, a), .letter = letter};
    loop_co_start(a->co);
}

/*
 *  thread     a                b
 *  starts a   a, yields
 *  starts b                    b, yields
 *  wakes a    wakes b (queued)
 *             a, yields
 *                              b, yields
 *  wakes a    ends
 *  wakes b                     ends
 */
static void test_wake_inside_is_queued(void)
{
    struct actor a, b;

    actor_start(&a, 'a');
    actor_start(&b, 'b');
    check_trail("ab");
    a.friend = b.co;
    loop_co_wake(a.co);
    check_trail("ab");
    loop_co_wake(a.co);
    loop_co_wake(b.co);
    check_trail("..");
}

static void test_wake_later(void)
{
    struct actor a;

    actor_start(&a, 'a');
    loop_co_wake_later(a.co);
    check_trail("a");
    g_assert_true(loop_turn(loop, true));
    check_trail("a");
    loop_co_wake_later(a.co);
    g_assert_true(loop_turn(loop, false));
    check_trail(".");
}

static void wake_bh(void *opaque)
{
    loop_co_wake(opaque);
}

static void test_wake_self(void)
{
    struct actor a;

    actor_start(&a, 'a');
    a.friend = a.co; /* a wake before the yield ends that yield at once */
    bh_oneshot(loop, wake_bh, a.co);
    loop_turn(loop, true);
    check_trail("aa.");
}

static void relax_entry(void *opaque)
{
    co_assert_role();
    for (int i = 0; i < 3; i++) {
        step('r');
        loop_co_relax();
    }
}

static void test_relax(void)
{
    loop_co_start(co_new(relax_entry, NULL));
    check_trail("r");
    g_assert_true(loop_turn(loop, true));
    check_trail("r");
    g_assert_true(loop_turn(loop, false));
    check_trail("r");
    g_assert_true(loop_turn(loop, true));
    g_assert_false(loop_turn(loop, false));
    check_trail("");
}

/* -- Threads -------------------------------------------------------------- */

static void where_entry(void *opaque)
{
    co_assert_role();
    *(struct loop **)opaque = loop_current();
    g_assert_true(loop_co_home() == loop_current());
    loop_co_relax();
}

static void test_iothread(void)
{
    struct iothread *t;
    struct loop *where = NULL;

    g_assert_cmpint(iothread_new("test-io", &t), ==, 0);
    g_assert_cmpint(loop_co_run_blocking(iothread_loop(t), where_entry, &where),
                    ==, 0);
    g_assert_true(where == iothread_loop(t));
    g_assert_cmpint(loop_co_run_blocking(loop, where_entry, &where), ==, 0);
    g_assert_true(where == loop);
    iothread_free(t);
}

static void *no_loop_thread(void *opaque)
{
    struct iothread *t = opaque;
    struct loop *where = NULL;

    g_assert_cmpint(loop_co_run_blocking(iothread_loop(t), where_entry, &where),
                    ==, 0);
    g_assert_true(where == iothread_loop(t));
    g_assert_null(loop_current());
    return NULL;
}

static void test_run_blocking_without_loop(void)
{
    struct iothread *t;
    pthread_t thread;

    g_assert_cmpint(iothread_new("a name that is too long", &t), ==, 0);
    g_assert_cmpint(pthread_create(&thread, NULL, no_loop_thread, t), ==, 0);
    pthread_join(thread, NULL);
    iothread_free(t);
}

static void last_words(void *opaque)
{
    atomic_fetch_add((atomic_int *)opaque, 1);
}

/* What was scheduled before the thread is told to end still runs. */
static void test_iothread_free_runs_what_is_due(void)
{
    struct iothread *t;
    atomic_int n = 0;

    g_assert_cmpint(iothread_new("test-io", &t), ==, 0);
    for (int i = 0; i < 10; i++) {
        bh_oneshot(iothread_loop(t), last_words, &n);
    }
    iothread_free(t);
    g_assert_cmpint(n, ==, 10);
    iothread_free(NULL);
}

#define PINGS 5000L

struct ping {
    struct co *here, *there;
    long n; /* belongs to the one that was woken last */
};

static void here_entry(void *opaque)
{
    struct ping *p = opaque;

    co_assert_role();
    co_yield();
    for (int i = 0; i < PINGS; i++) {
        p->n++;
        loop_co_wake(p->there);
        co_yield();
    }
    loop_stop(loop);
}

static void there_entry(void *opaque)
{
    struct ping *p = opaque;

    co_assert_role();
    bh_oneshot(loop, wake_bh, p->here);
    for (int i = 0; i < PINGS; i++) {
        co_yield();
        p->n++;
        loop_co_wake(p->here);
    }
}

static void start_bh(void *opaque)
{
    loop_co_start(opaque);
}

/* A coroutine here and one on another thread wake each other, one at a time:
 * a lost wake-up would be the end of it. */
static void test_wake_across_threads(void)
{
    struct iothread *t;
    struct ping p = {0};

    g_assert_cmpint(iothread_new("test-io", &t), ==, 0);
    p.here = co_new(here_entry, &p);
    p.there = co_new(there_entry, &p);
    loop_co_start(p.here);
    bh_oneshot(iothread_loop(t), start_bh, p.there);
    loop_run(loop);
    iothread_free(t);
    g_assert_cmpint(p.n, ==, 2 * PINGS);
}

/* -- Stopping ------------------------------------------------------------- */

static void stop_bh(void *opaque)
{
    step('s');
    loop_stop(loop);
}

static void test_stop(void)
{
    loop_stop(loop);
    loop_run(loop); /* returns at once, and forgets */
    bh_oneshot(loop, stop_bh, NULL);
    loop_run(loop);
    check_trail("s");
}

/* -- loop_local() --------------------------------------------------------- */

static void free_value(void *value)
{
    step(*(char *)value);
}

static void test_local(void)
{
    static const char key1, key2;
    struct loop *l;
    char a[] = "a", b[] = "b";

    g_assert_cmpint(loop_new(&l), ==, 0);
    g_assert_null(loop_local(l, &key1));
    loop_set_local(l, &key1, a, free_value);
    loop_set_local(l, &key2, b, free_value);
    g_assert_true(loop_local(l, &key1) == a);
    g_assert_true(loop_local(l, &key2) == b);
    g_assert_null(loop_local(loop, &key1));
    loop_free(l);
    check_trail("ba");
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    trail = g_string_new(NULL);
    g_assert_cmpint(loop_new(&loop), ==, 0);
    loop_adopt(loop);
    g_test_add_func("/loop/fd", test_fd);
    g_test_add_func("/loop/fd-removed-inside", test_fd_removed_inside);
    g_test_add_func("/loop/fd-bad", test_fd_bad);
    g_test_add_func("/loop/fd-not-starved", test_fd_not_starved);
    g_test_add_func("/loop/wake-inside-is-queued", test_wake_inside_is_queued);
    g_test_add_func("/loop/wake-later", test_wake_later);
    g_test_add_func("/loop/wake-self", test_wake_self);
    g_test_add_func("/loop/relax", test_relax);
    g_test_add_func("/loop/iothread", test_iothread);
    g_test_add_func("/loop/run-blocking", test_run_blocking_without_loop);
    g_test_add_func("/loop/iothread-free", test_iothread_free_runs_what_is_due);
    g_test_add_func("/loop/wake-across-threads", test_wake_across_threads);
    g_test_add_func("/loop/stop", test_stop);
    g_test_add_func("/loop/local", test_local);
    rc = g_test_run();
    loop_free(loop);
    g_string_free(trail, TRUE);
    return rc;
}
