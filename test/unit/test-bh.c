/* SPDX-License-Identifier: MIT */
/*
 * loop: bottom halves and deferred calls.
 */
#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>

#include "loop/loop.h"

static struct loop *loop;
static GString *trail; /* what happened, one letter each */

struct step {
    char letter;
    struct bh *bh;
    struct bh *other;
};

static void step_bh(void *opaque)
{
    struct step *s = opaque;

    g_string_append_c(trail, s->letter);
}

static void turn(void)
{
    loop_turn(loop, false);
}

static void check_trail(const char *want)
{
    g_assert_cmpstr(trail->str, ==, want);
    g_string_truncate(trail, 0);
}

static void make_steps(struct step *s, int n, bh_fn *fn)
{
    for (int i = 0; i < n; i++) {
        s[i].letter = (char)('a' + i);
        s[i].bh = bh_new(loop, fn, &s[i]);
    }
}

static void free_steps(struct step *s, int n)
{
    for (int i = 0; i < n; i++) {
        bh_free(s[i].bh);
    }
    turn();
}

static void test_order(void)
{
    struct step s[3];

    make_steps(s, 3, step_bh);
    bh_schedule(s[1].bh);
    bh_schedule(s[0].bh);
    bh_schedule(s[2].bh);
    bh_schedule(s[1].bh); /* is scheduled already */
    check_trail("");
    g_assert_true(loop_turn(loop, false));
    check_trail("bac");
    g_assert_false(loop_turn(loop, false));
    check_trail("");
    free_steps(s, 3);
}

static void again_bh(void *opaque)
{
    struct step *s = opaque;

    step_bh(s);
    if (s->letter == 'a') {
        bh_schedule(s->bh);
        bh_schedule(s->other);
    }
}

/* What a bottom half schedules waits for the next turn, itself included. */
static void test_schedule_inside(void)
{
    struct step s[2];

    make_steps(s, 2, again_bh);
    s[0].other = s[1].bh;
    bh_schedule(s[0].bh);
    turn();
    check_trail("a");
    s[0].letter = 'A';
    turn();
    check_trail("Ab");
    free_steps(s, 2);
}

static void cancel_bh(void *opaque)
{
    struct step *s = opaque;

    step_bh(s);
    bh_cancel(s->other);
}

static void test_cancel(void)
{
    struct step s[3];

    make_steps(s, 3, cancel_bh);
    s[0].other = s[1].bh;
    s[1].other = s[2].other = s[0].bh;
    bh_schedule(s[0].bh);
    bh_schedule(s[1].bh);
    bh_schedule(s[2].bh);
    turn();
    check_trail("ac");

    bh_schedule(s[1].bh);
    bh_cancel(s[1].bh);
    turn();
    check_trail("");
    bh_schedule(s[1].bh); /* works again */
    turn();
    check_trail("b");
    free_steps(s, 3);
}

static void free_bh(void *opaque)
{
    struct step *s = opaque;

    step_bh(s);
    bh_free(s->other);
    bh_free(s->bh);
}

/* Its callback may free a bottom half, and others that are scheduled. */
static void test_free_inside(void)
{
    struct step s[2];

    make_steps(s, 2, free_bh);
    s[0].other = s[1].bh;
    bh_schedule(s[0].bh);
    bh_schedule(s[1].bh);
    turn();
    check_trail("a");
    turn();
    check_trail("");
}

static void test_oneshot(void)
{
    struct step s = {.letter = 'x'};

    bh_oneshot(loop, step_bh, &s);
    bh_oneshot(loop, step_bh, &s);
    turn();
    check_trail("xx");
    turn();
    check_trail("");
}

static void test_idle(void)
{
    struct step s[2];
    int64_t start = loop_now();

    make_steps(s, 2, step_bh);
    bh_schedule_idle(s[0].bh);
    g_assert_false(loop_turn(loop, false)); /* is no progress, but runs */
    check_trail("a");

    /* Sleeps for a while, since nothing else is there. */
    bh_schedule_idle(s[0].bh);
    loop_turn(loop, true);
    check_trail("a");
    g_assert_cmpint(loop_now() - start, >=, 9000000);

    /* Scheduled in earnest, it does not. */
    bh_schedule_idle(s[0].bh);
    bh_schedule(s[0].bh);
    g_assert_true(loop_turn(loop, true));
    check_trail("a");
    free_steps(s, 2);
}

/* -- Deferred calls ------------------------------------------------------- */

static void step_call(void *opaque)
{
    g_string_append_c(trail, *(char *)opaque);
}

static char a[] = "a", b[] = "b", c[] = "c";

static void more_call(void *opaque)
{
    step_call(opaque);
    loop_defer(step_call, b);
    loop_defer(step_call, c);
    g_assert_cmpstr(trail->str, ==, "ba"); /* none of them has run */
}

static void test_defer_without_plug(void)
{
    loop_defer(step_call, a);
    check_trail("a");
}

static void test_defer_once_each(void)
{
    loop_plug();
    loop_defer(step_call, a);
    loop_defer(step_call, b);
    loop_defer(step_call, a);
    check_trail("");
    loop_unplug();
    check_trail("ab");
}

static void test_plugs_nest(void)
{
    loop_plug();
    loop_plug();
    loop_defer(step_call, a);
    loop_unplug();
    check_trail("");
    loop_defer(step_call, b);
    loop_unplug();
    check_trail("ab");
}

/* Deferred calls are batched with what they defer; one that has run already
 * may be deferred anew. */
static void test_defer_inside(void)
{
    loop_plug();
    loop_defer(step_call, b);
    loop_defer(more_call, a);
    loop_unplug();
    check_trail("babc");
}

static void test_defer_many(void)
{
    char letters[100];
    g_autofree char *want = g_strnfill(100, 'z');

    loop_plug();
    for (int i = 0; i < 200; i++) {
        letters[i / 2] = 'z';
        loop_defer(step_call, &letters[i / 2]);
    }
    loop_unplug();
    check_trail(want);
}

static void defer_bh(void *opaque)
{
    loop_defer(step_call, c);
    step_call(opaque);
}

/* A turn of the loop is one batch. */
static void test_turn_is_plugged(void)
{
    bh_oneshot(loop, defer_bh, a);
    bh_oneshot(loop, defer_bh, b);
    turn();
    check_trail("abc");
}

/* -- Other threads -------------------------------------------------------- */

#define PRODUCERS 2
#define PUSHES    20000

struct producer {
    pthread_t thread;
    struct bh *bh;
    atomic_int scheduled; /* what it has scheduled up to now */
    int seen;             /* loop thread: @scheduled when @bh last ran */
};

static void consume_bh(void *opaque)
{
    struct producer *p = opaque;

    p->seen = atomic_load(&p->scheduled);
    if (p->seen == PUSHES) {
        loop_stop(loop);
    }
}

static void *produce(void *opaque)
{
    struct producer *p = opaque;

    for (int i = 0; i < PUSHES; i++) {
        atomic_fetch_add(&p->scheduled, 1);
        bh_schedule(p->bh);
    }
    return NULL;
}

/* The loop sleeps whenever it can; if one wake-up were lost, this would hang:
 * nothing but the bottom half of the last push stops the loop. */
static void test_no_lost_wakeup(void)
{
    struct producer p[PRODUCERS] = {0};

    for (int i = 0; i < PRODUCERS; i++) {
        p[i].bh = bh_new(loop, consume_bh, &p[i]);
        g_assert_cmpint(pthread_create(&p[i].thread, NULL, produce, &p[i]), ==,
                        0);
    }
    while (p[0].seen < PUSHES || p[1].seen < PUSHES) {
        loop_run(loop);
    }
    for (int i = 0; i < PRODUCERS; i++) {
        pthread_join(p[i].thread, NULL);
        bh_free(p[i].bh);
    }
    turn();
}

struct count {
    atomic_int ran;
    int want;
};

static void count_bh(void *opaque)
{
    struct count *n = opaque;

    if (atomic_fetch_add(&n->ran, 1) + 1 == n->want) {
        loop_stop(loop);
    }
}

static void *produce_oneshots(void *opaque)
{
    for (int i = 0; i < PUSHES; i++) {
        bh_oneshot(loop, count_bh, opaque);
    }
    return NULL;
}

static void test_oneshots_from_threads(void)
{
    struct count n = {.want = PRODUCERS * PUSHES};
    pthread_t thread[PRODUCERS];

    for (int i = 0; i < PRODUCERS; i++) {
        g_assert_cmpint(pthread_create(&thread[i], NULL, produce_oneshots, &n),
                        ==, 0);
    }
    loop_run(loop);
    for (int i = 0; i < PRODUCERS; i++) {
        pthread_join(thread[i], NULL);
    }
    g_assert_cmpint(n.ran, ==, n.want);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    trail = g_string_new(NULL);
    g_assert_cmpint(loop_new(&loop), ==, 0);
    g_test_add_func("/bh/order", test_order);
    g_test_add_func("/bh/schedule-inside", test_schedule_inside);
    g_test_add_func("/bh/cancel", test_cancel);
    g_test_add_func("/bh/free-inside", test_free_inside);
    g_test_add_func("/bh/oneshot", test_oneshot);
    g_test_add_func("/bh/idle", test_idle);
    g_test_add_func("/plug/none", test_defer_without_plug);
    g_test_add_func("/plug/once-each", test_defer_once_each);
    g_test_add_func("/plug/nest", test_plugs_nest);
    g_test_add_func("/plug/defer-inside", test_defer_inside);
    g_test_add_func("/plug/many", test_defer_many);
    g_test_add_func("/plug/turn", test_turn_is_plugged);
    g_test_add_func("/bh/no-lost-wakeup", test_no_lost_wakeup);
    g_test_add_func("/bh/oneshots-from-threads", test_oneshots_from_threads);
    rc = g_test_run();
    loop_free(loop);
    g_string_free(trail, TRUE);
    return rc;
}
