/* SPDX-License-Identifier: MIT */
/*
 * sync: locks and queues of coroutines.
 *
 * Actors are coroutines that do one thing each time the test resumes them and
 * then pause.  Two loops share this thread, so that every interleaving of
 * coroutines of different loops can be stepped: an actor of the other loop
 * that is woken runs in other_turn().  The columns of a table are actors; time
 * goes down; "…" is where one waits.
 */
#include <glib.h>
#include <pthread.h>
#include <string.h>

#include "loop/iothread.h"
#include "loop/loop.h"
#include "loop/sync.h"

static struct loop *loop, *other;
static GString *trail;

static void check_trail(const char *want)
{
    g_assert_cmpstr(trail->str, ==, want);
    g_string_truncate(trail, 0);
}

struct actor {
    char name;
    struct co *co;
    const char *script; /* one letter per thing to do, see actor_do() */
    bool paused;
};

static struct co_mutex mutex;
static struct co_rwlock rwlock;
static struct co_queue queue;
static pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER;

static void co_fn actor_do(char what)
{
    switch (what) {
    case 'L':
        co_mutex_lock(&mutex);
        break;
    case 'T':
        g_string_append(trail, co_mutex_trylock(&mutex) ? "+" : "-");
        break;
    case 'U':
        co_mutex_unlock(&mutex);
        break;
    case 'Q':
        co_queue_wait(&queue, &mutex);
        break;
    case 'P':
        pthread_mutex_lock(&plain);
        co_queue_wait_pthread(&queue, &plain);
        pthread_mutex_unlock(&plain);
        break;
    case '1':
        g_string_append(trail, co_queue_wake_one(&queue) ? "+" : "-");
        break;
    case '*':
        co_queue_wake_all(&queue);
        break;
    case 'r':
        co_rwlock_rdlock(&rwlock);
        break;
    case 'w':
        co_rwlock_wrlock(&rwlock);
        break;
    case 'u':
        co_rwlock_unlock(&rwlock);
        break;
    case '^':
        co_rwlock_upgrade(&rwlock);
        break;
    case 'v':
        co_rwlock_downgrade(&rwlock);
        break;
    default:
        g_assert_not_reached();
    }
}

/* Writes its name and what it has done, for each thing it has done. */
static void actor_entry(void *opaque)
{
    struct actor *a = opaque;

    co_assert_role();
    for (const char *p = a->script; *p; p++) {
        a->paused = true;
        co_yield();
        actor_do(*p);
        g_string_append_printf(trail, "%c%c ", a->name, *p);
    }
}

static void actor_start(struct actor *a, struct loop *home, const char *script)
{
    loop_adopt(home);
    a->script = script;
    a->co = co_new(actor_entry, a);
    loop_co_start(a->co);
    loop_adopt(loop);
}

static struct actor a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'};

static void start(const char *script_a, const char *script_b,
                  const char *script_c)
{
    actor_start(&a, loop, script_a);
    actor_start(&b, loop, script_b);
    actor_start(&c, loop, script_c);
}

/* Lets @who do the next thing, and checks what everybody has done then. */
static void go(struct actor *who, const char *want)
{
    g_assert_true(who->paused);
    who->paused = false;
    loop_co_wake(who->co);
    check_trail(want);
}

/* The same for the actors that were woken on the other loop. */
static void other_turn(const char *want)
{
    loop_turn(other, false);
    loop_adopt(loop);
    check_trail(want);
}

/* -- co_mutex ------------------------------------------------------------- */

/*
 *   a          b          c
 *   lock
 *              lock…
 *                         lock…
 *   unlock     has it
 *   trylock fails: nobody overtakes the queue
 *              unlock     has it
 *                         unlock
 *   trylock works
 */
static void test_mutex_is_fair(void)
{
    start("LUTTU", "LU", "LU");
    go(&a, "aL ");
    go(&b, "");
    go(&c, "");
    g_assert_true(co_mutex_is_locked(&mutex));
    go(&a, "aU bL ");
    go(&a, "-aT ");
    go(&b, "bU cL ");
    go(&c, "cU ");
    g_assert_false(co_mutex_is_locked(&mutex));
    go(&a, "+aT ");
    go(&a, "aU ");
}

/*
 *   loop                  other loop
 *   a          c          b
 *   lock
 *                         lock…
 *   unlock
 *              trylock fails: it is b's, which does not run yet
 *              lock…
 *                         has it (its loop turns)
 *                         unlock
 *              has it (this loop turns)
 */
static void test_mutex_across_loops(void)
{
    actor_start(&a, loop, "LU");
    actor_start(&b, other, "LU");
    actor_start(&c, loop, "TLU");
    go(&a, "aL ");
    go(&b, "");
    other_turn("");
    go(&a, "aU ");
    go(&c, "-cT ");
    go(&c, "");
    other_turn("bL ");
    go(&b, "");
    other_turn("bU ");
    loop_turn(loop, false);
    check_trail("cL ");
    go(&c, "cU ");
}

/* -- co_queue ------------------------------------------------------------- */

/*
 *   a          b          c
 *   lock
 *   wait…
 *              lock
 *              wait…
 *                         lock
 *                         wake one
 *                         unlock
 *   has both
 *   unlock
 *                         lock, wake one: b; wake one: nobody
 *                         unlock
 *              has both
 */
static void test_queue_wakes_one(void)
{
    start("LQU", "LQU", "L1UL11U");
    go(&a, "aL ");
    go(&a, "");
    go(&b, "bL ");
    go(&b, "");
    go(&c, "cL ");
    go(&c, "+c1 ");
    go(&c, "cU aQ ");
    g_assert_false(co_queue_empty(&queue));
    go(&a, "aU ");
    go(&c, "cL ");
    go(&c, "+c1 ");
    go(&c, "-c1 ");
    g_assert_true(co_queue_empty(&queue));
    go(&c, "cU bQ ");
    go(&b, "bU ");
}

static void test_queue_wakes_all(void)
{
    start("LQU", "LQU", "L*U");
    go(&a, "aL ");
    go(&a, "");
    go(&b, "bL ");
    go(&b, "");
    go(&c, "cL ");
    go(&c, "c* ");
    go(&c, "cU aQ ");
    go(&a, "aU bQ ");
    go(&b, "bU ");
}

/* Outside of any coroutine and with the lock held that the waiters want. */
static void test_queue_with_pthread_mutex(void)
{
    actor_start(&a, loop, "P");
    actor_start(&b, loop, "P");
    go(&a, "");
    go(&b, "");
    pthread_mutex_lock(&plain);
    co_queue_wake_all(&queue);
    pthread_mutex_unlock(&plain);
    check_trail("");
    loop_turn(loop, true);
    check_trail("aP bP ");
}

/* -- co_rwlock ------------------------------------------------------------ */

/*
 *   a          b          c
 *   read       read
 *                         write…
 *   unlock
 *              unlock     has it
 *   read…
 *              write…
 *                         unlock
 *   has it
 *   unlock     has it
 *              unlock
 */
static void test_rwlock_order(void)
{
    start("ruru", "ruwu", "wu");
    go(&a, "ar ");
    go(&b, "br ");
    go(&c, "");
    go(&a, "au ");
    go(&b, "bu cw ");
    go(&a, "");
    go(&b, "");
    go(&c, "cu ar ");
    go(&a, "au bw ");
    go(&b, "bu ");
}

/*
 *   a          b          c
 *   read
 *              write…
 *                         read…      behind the writer, although a reads too
 *   unlock     has it
 *              unlock     has it
 */
static void test_rwlock_reader_does_not_overtake(void)
{
    start("ru", "wu", "ru");
    go(&a, "ar ");
    go(&b, "");
    go(&c, "");
    go(&a, "au bw ");
    go(&b, "bu cr ");
    go(&c, "cu ");
}

/*
 *   a          b          c
 *   write
 *              read…
 *                         write…
 *   downgrade  has it                c still waits: no writer in between
 *   unlock
 *              unlock     has it
 */
static void test_rwlock_downgrade(void)
{
    start("wvu", "ru", "wu");
    go(&a, "aw ");
    go(&b, "");
    go(&c, "");
    go(&a, "av br ");
    go(&a, "au ");
    go(&b, "bu cw ");
    go(&c, "cu ");
}

/*
 *   a          b          c
 *   read       read
 *                         write…
 *   upgrade…                         behind the writer that came before
 *              unlock     has it
 *                         unlock
 *   has it
 *   unlock
 */
static void test_rwlock_upgrade_waits_its_turn(void)
{
    start("r^u", "ru", "wu");
    go(&a, "ar ");
    go(&b, "br ");
    go(&c, "");
    go(&a, "");
    go(&b, "bu cw ");
    go(&c, "cu a^ ");
    go(&a, "au ");
}

/*
 *   a          b          c
 *   read
 *              write…
 *   upgrade…   has it                a gave up its share
 *                         read…
 *              unlock
 *   has it
 *   downgrade             has it
 *   unlock                unlock
 */
static void test_rwlock_upgrade_lets_writer_in(void)
{
    start("r^vu", "wu", "ru");
    go(&a, "ar ");
    go(&b, "");
    go(&a, "bw ");
    go(&c, "");
    go(&b, "bu a^ ");
    go(&a, "av cr ");
    go(&a, "au ");
    go(&c, "cu ");
}

static void test_rwlock_upgrade_alone(void)
{
    actor_start(&a, loop, "r^vu");
    go(&a, "ar ");
    go(&a, "a^ ");
    go(&a, "av ");
    go(&a, "au ");
}

/* -- co_sleep ------------------------------------------------------------- */

struct nap {
    char name;
    int64_t ns;
    int64_t from; /* the same for all: which ends first is sure */
    struct co_sleep sleep;
};

static void nap_entry(void *opaque)
{
    struct nap *n = opaque;
    int64_t until = n->from + n->ns;

    co_assert_role();
    co_sleep_until(&n->sleep, until);
    g_string_append_c(trail, n->name);
    g_string_append_c(trail, loop_now() >= until ? '.' : '!');
}

static void test_sleep(void)
{
    int64_t now = loop_now();
    struct nap naps[] = {{'x', 3000000, now, {NULL}},
                         {'y', 1000000, now, {NULL}},
                         {'z', INT64_C(3600000000000), now, {NULL}}};

    for (int i = 0; i < 3; i++) {
        loop_co_start(co_new(nap_entry, &naps[i]));
    }
    while (trail->len < 4) {
        loop_turn(loop, true);
    }
    check_trail("y.x.");
    co_sleep_wake(&naps[2].sleep);
    check_trail("z!");
    co_sleep_wake(&naps[2].sleep); /* nobody sleeps */
    g_assert_false(loop_turn(loop, false));
}

static void wake_both_bh(void *opaque)
{
    co_sleep_wake(opaque);
    co_sleep_wake(opaque);
}

/* Two reasons to wake in one turn wake once. */
static void test_sleep_woken_twice(void)
{
    struct nap n = {.name = 'x', .from = loop_now()};

    loop_co_start(co_new(nap_entry, &n));
    bh_oneshot(loop, wake_both_bh, &n.sleep); /* and the timer is due */
    loop_turn(loop, true);
    g_assert_cmpuint(trail->len, ==, 2);
    g_string_truncate(trail, 0);
    g_assert_false(loop_turn(loop, false));
}

/* -- Real threads --------------------------------------------------------- */

#define STRESS_LOOPS  2
#define STRESS_COS    4L /* on each */
#define STRESS_ROUNDS 100000
#define STRESS_NS     INT64_C(2000000000)

struct stress {
    struct co_mutex mutex;
    struct co_rwlock rwlock;
    int64_t deadline;
    int alive; /* under the mutex, like the rest */
    long rounds;
    bool inside;

    long copy[2]; /* under the rwlock: always equal */
};

static void co_fn stress_once(struct stress *s)
{
    co_mutex_lock(&s->mutex);
    g_assert_false(s->inside);
    s->inside = true;
    s->rounds++;
    if (s->rounds % 64 == 0) {
        loop_co_relax();
    }
    s->inside = false;
    co_mutex_unlock(&s->mutex);
}

static void co_fn stress_rwlock(struct stress *s, bool write)
{
    if (!write) {
        co_rwlock_rdlock(&s->rwlock);
        g_assert_cmpint(s->copy[0], ==, s->copy[1]);
    } else {
        co_rwlock_wrlock(&s->rwlock);
        s->copy[0]++;
        loop_co_relax();
        s->copy[1]++;
    }
    co_rwlock_unlock(&s->rwlock);
}

static void stress_entry(void *opaque)
{
    struct stress *s = opaque;
    bool last;

    co_assert_role();
    for (int i = 0; i < STRESS_ROUNDS / (STRESS_LOOPS * STRESS_COS); i++) {
        stress_once(s);
        if (i % 32 == 0) {
            stress_rwlock(s, i % 128 == 0);
            loop_co_relax();
        }
        if (loop_now() > s->deadline) {
            break;
        }
    }
    co_mutex_lock(&s->mutex);
    last = --s->alive == 0;
    co_mutex_unlock(&s->mutex);
    if (last) {
        loop_stop(loop);
    }
}

static void stress_start(void *opaque)
{
    loop_co_start(co_new(stress_entry, opaque));
}

static void test_stress(void)
{
    struct iothread *t[STRESS_LOOPS];
    struct stress s = {.deadline = loop_now() + STRESS_NS,
                       .alive = STRESS_LOOPS * STRESS_COS};

    co_mutex_init(&s.mutex);
    co_rwlock_init(&s.rwlock);
    for (int i = 0; i < STRESS_LOOPS; i++) {
        g_assert_cmpint(iothread_new("stress", &t[i]), ==, 0);
    }
    for (int i = 0; i < STRESS_LOOPS * STRESS_COS; i++) {
        bh_oneshot(iothread_loop(t[i % STRESS_LOOPS]), stress_start, &s);
    }
    loop_run(loop);
    for (int i = 0; i < STRESS_LOOPS; i++) {
        iothread_free(t[i]);
    }
    g_assert_cmpint(s.alive, ==, 0);
    g_assert_cmpint(s.rounds, >, STRESS_LOOPS * STRESS_COS);
    g_assert_cmpint(s.copy[0], ==, s.copy[1]);
    g_test_message("%ld rounds", s.rounds);
    co_rwlock_fini(&s.rwlock);
    co_mutex_fini(&s.mutex);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    trail = g_string_new(NULL);
    g_assert_cmpint(loop_new(&loop), ==, 0);
    g_assert_cmpint(loop_new(&other), ==, 0);
    loop_adopt(loop);
    co_mutex_init(&mutex);
    co_rwlock_init(&rwlock);
    co_queue_init(&queue);
    g_test_add_func("/sync/mutex/fair", test_mutex_is_fair);
    g_test_add_func("/sync/mutex/across-loops", test_mutex_across_loops);
    g_test_add_func("/sync/queue/one", test_queue_wakes_one);
    g_test_add_func("/sync/queue/all", test_queue_wakes_all);
    g_test_add_func("/sync/queue/pthread", test_queue_with_pthread_mutex);
    g_test_add_func("/sync/rwlock/order", test_rwlock_order);
    g_test_add_func("/sync/rwlock/no-overtaking",
                    test_rwlock_reader_does_not_overtake);
    g_test_add_func("/sync/rwlock/downgrade", test_rwlock_downgrade);
    g_test_add_func("/sync/rwlock/upgrade-waits",
                    test_rwlock_upgrade_waits_its_turn);
    g_test_add_func("/sync/rwlock/upgrade-lets-in",
                    test_rwlock_upgrade_lets_writer_in);
    g_test_add_func("/sync/rwlock/upgrade-alone", test_rwlock_upgrade_alone);
    g_test_add_func("/sync/sleep", test_sleep);
    g_test_add_func("/sync/sleep-woken-twice", test_sleep_woken_twice);
    g_test_add_func("/sync/stress", test_stress);
    rc = g_test_run();
    co_rwlock_fini(&rwlock);
    co_mutex_fini(&mutex);
    loop_free(other);
    loop_free(loop);
    g_string_free(trail, TRUE);
    return rc;
}
