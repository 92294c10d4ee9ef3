/* SPDX-License-Identifier: MIT */
/*
 * loop: timers, how the loop sleeps, adaptive polling, and a GMainLoop around.
 */
#include <glib.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "loop/loop.h"
#include "loop/loop_priv.h"
#include "loop/sync.h"

#define MS     INT64_C(1000000)
#define WINDOW (60000 * MS)

static struct loop *loop;
static GString *trail;

static void check_trail(const char *want)
{
    g_assert_cmpstr(trail->str, ==, want);
    g_string_truncate(trail, 0);
}

struct alarm {
    struct loop_timer timer;
    struct alarm *cancels; /* from its callback */
    int again;             /* how often it arms itself for the past */
    char name;
};

static void alarm_fn(void *opaque)
{
    struct alarm *a = opaque;

    g_string_append_c(trail, a->name);
    if (a->cancels) {
        loop_timer_cancel(&a->cancels->timer);
    }
    if (a->again-- > 0) {
        loop_timer_arm(&a->timer, 0);
    }
}

static void alarms_init(struct alarm *a, int n)
{
    for (int i = 0; i < n; i++) {
        a[i] = (struct alarm){.name = (char)('a' + i)};
        loop_timer_init(&a[i].timer, loop, alarm_fn, &a[i]);
    }
}

static void test_order(void)
{
    struct alarm a[4];
    int64_t now = loop_now();

    alarms_init(a, 4);
    loop_timer_arm(&a[0].timer, now - 1);
    loop_timer_arm(&a[1].timer, now - 3);
    loop_timer_arm(&a[2].timer, now - 3); /* equal: in the order of arming */
    loop_timer_arm(&a[3].timer, now - 2);
    g_assert_true(loop_turn(loop, true));
    check_trail("bcda");
    g_assert_cmpint(a[0].timer.deadline, ==, -1);
    g_assert_false(loop_turn(loop, false));
}

static void test_move_and_cancel(void)
{
    struct alarm a[3];
    int64_t now = loop_now();

    alarms_init(a, 3);
    loop_timer_arm(&a[0].timer, now - 3);
    loop_timer_arm(&a[1].timer, now - 2);
    loop_timer_arm(&a[2].timer, now + 3600000 * MS);
    loop_timer_arm(&a[0].timer, now - 1); /* moves behind b */
    g_assert_true(loop_turn(loop, false));
    check_trail("ba");
    loop_timer_arm(&a[2].timer, now);
    loop_timer_cancel(&a[2].timer);
    loop_timer_cancel(&a[1].timer); /* is not armed */
    g_assert_false(loop_turn(loop, false));
    check_trail("");
}

static void test_cancel_inside(void)
{
    struct alarm a[3];
    int64_t now = loop_now();

    alarms_init(a, 3);
    a[0].cancels = &a[1]; /* which is due as well */
    loop_timer_arm(&a[0].timer, now - 3);
    loop_timer_arm(&a[1].timer, now - 2);
    loop_timer_arm(&a[2].timer, now - 1);
    g_assert_true(loop_turn(loop, false));
    check_trail("ac");
}

/* A timer that arms itself for the past does not keep the turn from ending. */
static void test_arm_inside(void)
{
    struct alarm a[1];

    alarms_init(a, 1);
    a[0].again = 2;
    loop_timer_arm(&a[0].timer, 0);
    g_assert_true(loop_turn(loop, true));
    check_trail("a");
    g_assert_true(loop_turn(loop, true));
    g_assert_true(loop_turn(loop, true));
    check_trail("aa");
    g_assert_false(loop_turn(loop, false));
}

static int64_t cpu_ns(void)
{
    struct timespec ts;

    g_assert_cmpint(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts), ==, 0);
    return ts.tv_sec * 1000 * MS + ts.tv_nsec;
}

/* The loop sleeps until the timer is due, not less and not in small pieces,
 * and uses next to no processor time. */
static void test_sleep(void)
{
    struct loop_stats before, after;
    struct alarm a[1];
    int64_t deadline = loop_now() + 200 * MS;
    int64_t cpu = cpu_ns();

    loop_stats(loop, &before);
    alarms_init(a, 1);
    loop_timer_arm(&a[0].timer, deadline);
    while (trail->len == 0) {
        loop_turn(loop, true);
    }
    g_assert_cmpint(loop_now(), >=, deadline);
    g_assert_cmpint(cpu_ns() - cpu, <, 60 * MS); /* may count in ticks */
    loop_stats(loop, &after);
    g_assert_cmpuint(after.sleeps - before.sleeps, <=, 2);
    check_trail("a");
}

/* -- Polling: the policy -------------------------------------------------- */

static void test_policy(void)
{
    static const struct {
        const char *what;
        struct poll_policy policy;
        int64_t window, waited, slept, want;
    } cases[] = {
        {"no sleep at all", {32000, 0, 0}, 8000, 9000, 900, 8000},
        {"no sleep, no window", {32000, 0, 0}, 0, 900, 900, 0},
        {"polling would have saved it", {32000, 0, 0}, 0, 5000, 5000, 4000},
        {"grow by two", {32000, 0, 0}, 4000, 8000, 4000, 8000},
        {"grow by three", {32000, 3, 0}, 4000, 32000, 28000, 12000},
        {"no further than the bound", {32000, 0, 0}, 20000, 23000, 3000, 32000},
        {"a large step", {32000, INT_MAX, 0}, INT64_C(1) << 40, 9, 2900, 32000},
        {"a small bound", {3000, 0, 0}, 0, 2900, 2900, 3000},
        {"polling in vain: stop", {32000, 0, 0}, 8000, 32001, 24001, 0},
        {"polling in vain: shrink", {32000, 0, 4}, 8000, 32001, 24001, 2000},
        {"long sleeps without polling", {32000, 0, 2}, 0, 99999, 99999, 0},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s", cases[i].what);
        g_assert_cmpint(poll_next_window(&cases[i].policy, cases[i].window,
                                         cases[i].waited, cases[i].slept),
                        ==, cases[i].want);
    }
}

/* -- Polling: the loop ---------------------------------------------------- */

struct polled {
    struct loop_fd fd;
    int calls;
    int hit;            /* finds work at this call */
    struct polled *bye; /* takes this one off the loop then */

    /* Or it finds none, and another thread runs this meanwhile. */
    void *(*thread)(void *opaque);
    void *opaque;
};

static bool polled_poll(void *opaque)
{
    struct polled *p = opaque;
    pthread_t thread;

    if (++p->calls != p->hit) {
        return false;
    }
    if (p->thread) {
        g_assert_cmpint(pthread_create(&thread, NULL, p->thread, p->opaque), ==,
                        0);
        pthread_join(thread, NULL);
        return false;
    }
    if (p->bye) {
        loop_del_fd(loop, &p->bye->fd);
    }
    return true;
}

static void polled_ready(void *opaque, uint32_t events)
{
    g_string_append_c(trail, 'e');
}

static void polled_init(struct polled *p)
{
    *p = (struct polled){
        .fd = {.fd = eventfd(0, EFD_CLOEXEC),
               .events = EPOLLIN | EPOLLET,
               .ready = polled_ready,
               .poll = polled_poll,
               .opaque = p},
    };
    g_assert_cmpint(loop_add_fd(loop, &p->fd), ==, 0);
}

static void polled_fini(struct polled *p)
{
    loop_del_fd(loop, &p->fd);
    close(p->fd.fd);
}

static void nothing(void *opaque)
{
}

/* Gives the loop a window of more than a minute, so that what the tests wait
 * for always happens inside it. */
static void open_window(struct loop *l)
{
    struct loop_timer timer;
    struct loop_stats s;

    loop_set_polling(l, 1000000 * MS, 100000000, 0);
    loop_timer_init(&timer, l, nothing, NULL);
    do {
        loop_timer_arm(&timer, loop_now() + MS / 10);
        loop_turn(l, true);
        loop_stats(l, &s);
    } while (s.poll_ns < WINDOW);
}

static void close_window(void)
{
    struct loop_stats s;

    loop_set_polling(loop, 0, 0, 0);
    loop_stats(loop, &s);
    g_assert_cmpint(s.poll_ns, ==, 0);
}

static void test_poll_hit(void)
{
    struct loop_stats before, after;
    struct polled p;

    polled_init(&p);
    open_window(loop);
    loop_stats(loop, &before);
    p.calls = 0;
    p.hit = 5;
    g_assert_true(loop_turn(loop, true));
    g_assert_cmpint(p.calls, ==, 5);
    loop_stats(loop, &after);
    g_assert_cmpuint(after.sleeps, ==, before.sleeps);
    g_assert_cmpuint(after.polls_ok, ==, before.polls_ok + 1);
    close_window();
    polled_fini(&p);
}

/* Other work does not keep the loop from looking: what is found then joins it,
 * instead of waiting for the end of it. */
static void test_poll_beside_work(void)
{
    struct bh *bh = bh_new(loop, nothing, NULL);
    struct polled p;

    polled_init(&p);
    bh_schedule(bh);
    g_assert_true(loop_turn(loop, true));
    g_assert_cmpint(p.calls, ==, 0); /* polling is off */

    loop_set_polling(loop, MS, 0, 0);
    for (int turn = 1; turn < 4; turn++) {
        bh_schedule(bh);
        g_assert_true(loop_turn(loop, true));
        g_assert_cmpint(p.calls, ==, turn);
    }
    close_window();
    bh_free(bh);
    polled_fini(&p);
}

/* One turn calls every callback once, also when an earlier one found work. */
static void test_poll_is_fair(void)
{
    struct polled p, q;

    polled_init(&p);
    polled_init(&q);
    open_window(loop);
    p.calls = q.calls = 0;
    p.hit = q.hit = 1;
    g_assert_true(loop_turn(loop, true));
    g_assert_cmpint(p.calls, ==, 1);
    g_assert_cmpint(q.calls, ==, 1);
    close_window();
    polled_fini(&p);
    polled_fini(&q);
}

static void test_poll_removes_next(void)
{
    struct polled p, q, r;

    polled_init(&r);
    polled_init(&q);
    polled_init(&p); /* comes first */
    open_window(loop);
    p.calls = q.calls = r.calls = 0;
    p.hit = 1;
    p.bye = &q;
    g_assert_true(loop_turn(loop, true));
    g_assert_cmpint(q.calls, ==, 0);
    g_assert_cmpint(r.calls, ==, 1);
    close_window();
    polled_fini(&p);
    polled_fini(&r);
    close(q.fd.fd);
}

static void step_bh(void *opaque)
{
    g_string_append_c(trail, 'b');
}

static void *schedule_thread(void *opaque)
{
    bh_schedule(opaque);
    return NULL;
}

/* While the loop polls, another thread gives it work without a system call. */
static void test_poll_needs_no_notify(void)
{
    struct loop_stats before, after;
    struct polled p;
    struct bh *bh = bh_new(loop, step_bh, NULL);

    polled_init(&p);
    open_window(loop);
    loop_stats(loop, &before);
    p.thread = schedule_thread;
    p.opaque = bh;
    p.hit = p.calls + 3;
    loop_turn(loop, true);
    check_trail("b");
    loop_stats(loop, &after);
    g_assert_cmpuint(after.notifies, ==, before.notifies);
    g_assert_cmpuint(after.sleeps, ==, before.sleeps);
    bh_free(bh);
    loop_turn(loop, false);
    close_window();
    polled_fini(&p);
}

/* The window ends for a timer. */
static void test_poll_until_timer(void)
{
    struct polled p;
    struct alarm a[1];
    int64_t start;

    polled_init(&p);
    open_window(loop);
    alarms_init(a, 1);
    start = loop_now();
    loop_timer_arm(&a[0].timer, start + MS);
    loop_turn(loop, true);
    check_trail("a");
    g_assert_cmpint(loop_now() - start, <, WINDOW / 2);
    close_window();
    polled_fini(&p);
}

/* A loop that may not spin tries once, and then sleeps in spite of its window. */
static void *second_loop_thread(void *opaque)
{
    struct loop_stats before, after;
    struct loop_timer timer;
    struct loop *l;

    g_assert_cmpint(loop_new(&l), ==, 0);
    loop_adopt(l);
    open_window(l);
    loop_timer_init(&timer, l, nothing, NULL);
    loop_timer_arm(&timer, loop_now() + 500 * MS); /* not due too early */
    loop_stats(l, &before);
    loop_turn(l, true);
    loop_stats(l, &after);
    g_assert_cmpuint(after.polls_failed, ==, before.polls_failed + 1);
    g_assert_cmpuint(after.sleeps, ==, before.sleeps + 1);
    loop_free(l);
    bh_schedule(opaque); /* ends the spin of the first */
    return NULL;
}

/* With one processor, as main() sees to, one loop spins at a time. */
static void test_poll_leaves_processors_alone(void)
{
    struct polled p;
    struct bh *bh = bh_new(loop, step_bh, NULL);

    polled_init(&p);
    open_window(loop);
    p.hit = p.calls + 3; /* while this loop spins */
    p.thread = second_loop_thread;
    p.opaque = bh;
    loop_turn(loop, true);
    check_trail("b");
    bh_free(bh);
    loop_turn(loop, false);
    close_window();
    polled_fini(&p);
}

/* A descriptor without a poll callback is seen although polling always finds
 * something. */
static void test_poll_does_not_starve_fds(void)
{
    struct polled busy, quiet;
    int turns = 0;

    polled_init(&busy);
    polled_init(&quiet);
    loop_del_fd(loop, &quiet.fd);
    quiet.fd.poll = NULL;
    g_assert_cmpint(loop_add_fd(loop, &quiet.fd), ==, 0);
    open_window(loop);
    g_assert_cmpint(eventfd_write(quiet.fd.fd, 1), ==, 0);
    while (trail->len == 0) {
        busy.hit = busy.calls + 1;
        loop_turn(loop, true);
        turns++;
    }
    g_assert_cmpint(turns, <=, 16);
    check_trail("e");
    close_window();
    polled_fini(&busy);
    polled_fini(&quiet);
}

/* -- In a GMainLoop ------------------------------------------------------- */

struct tour {
    GMainLoop *main;
    struct co *co;
    struct loop_fd fd;
};

static void tour_wake(void *opaque)
{
    loop_co_wake(((struct tour *)opaque)->co);
}

static void tour_ready(void *opaque, uint32_t events)
{
    struct tour *t = opaque;
    eventfd_t n;

    g_assert_cmpint(eventfd_read(t->fd.fd, &n), ==, 0);
    tour_wake(t);
}

static void *tour_thread(void *opaque)
{
    bh_oneshot(loop, tour_wake, opaque);
    return NULL;
}

/* Waits for each kind of event in turn. */
static void tour_entry(void *opaque)
{
    struct tour *t = opaque;
    pthread_t thread;

    co_assert_role();
    co_sleep_ns(MS);
    g_string_append(trail, "timer ");
    bh_oneshot(loop, tour_wake, t);
    co_yield();
    g_string_append(trail, "bh ");
    g_assert_cmpint(eventfd_write(t->fd.fd, 1), ==, 0);
    co_yield();
    g_string_append(trail, "fd ");
    g_assert_cmpint(pthread_create(&thread, NULL, tour_thread, t), ==, 0);
    co_yield();
    pthread_join(thread, NULL);
    g_string_append(trail, "thread ");
    loop_co_relax();
    g_string_append(trail, "relax");
    g_main_loop_quit(t->main);
}

static void test_gsource(void)
{
    g_autoptr(GMainContext) context = g_main_context_new();
    struct tour t = {
        .main = g_main_loop_new(context, FALSE),
        .fd = {.fd = eventfd(0, EFD_CLOEXEC),
               .events = EPOLLIN,
               .ready = tour_ready,
               .opaque = &t},
    };
    GSource *source = loop_gsource(loop);

    g_source_attach(source, context);
    g_source_unref(source);
    g_assert_cmpint(loop_add_fd(loop, &t.fd), ==, 0);
    t.co = co_new(tour_entry, &t);
    loop_co_start(t.co);
    g_main_loop_run(t.main);
    check_trail("timer bh fd thread relax");
    g_source_destroy(source);
    g_main_loop_unref(t.main);
    loop_del_fd(loop, &t.fd);
    close(t.fd.fd);
}

/* Stays on the processor that it runs on. */
static void use_one_processor(void)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)sched_getcpu(), &set);
    g_assert_cmpint(sched_setaffinity(0, sizeof(set), &set), ==, 0);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    use_one_processor();
    trail = g_string_new(NULL);
    g_assert_cmpint(loop_new(&loop), ==, 0);
    loop_adopt(loop);
    g_test_add_func("/timer/order", test_order);
    g_test_add_func("/timer/move-and-cancel", test_move_and_cancel);
    g_test_add_func("/timer/cancel-inside", test_cancel_inside);
    g_test_add_func("/timer/arm-inside", test_arm_inside);
    g_test_add_func("/timer/sleep", test_sleep);
    g_test_add_func("/poll/policy", test_policy);
    g_test_add_func("/poll/hit", test_poll_hit);
    g_test_add_func("/poll/beside-work", test_poll_beside_work);
    g_test_add_func("/poll/fair", test_poll_is_fair);
    g_test_add_func("/poll/removes-next", test_poll_removes_next);
    g_test_add_func("/poll/no-notify", test_poll_needs_no_notify);
    g_test_add_func("/poll/until-timer", test_poll_until_timer);
    g_test_add_func("/poll/leaves-processors-alone",
                    test_poll_leaves_processors_alone);
    g_test_add_func("/poll/does-not-starve", test_poll_does_not_starve_fds);
    g_test_add_func("/loop/gsource", test_gsource);
    rc = g_test_run();
    loop_free(loop);
    g_string_free(trail, TRUE);
    return rc;
}
