/* SPDX-License-Identifier: MIT */
/*
 * co: switching, nesting, what survives a switch, and the pools.
 */
#include <glib.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "co/co.h"
#include "co/stack.h"

/* What happened, one letter each, in order. */
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

static void abc_entry(void *opaque)
{
    co_assert_role();
    step('a');
    co_yield();
    step('b');
    co_yield();
    step('c');
}

/*
 *  thread   coroutine
 *  1
 *           a
 *  2
 *           b
 *  3
 *           c, ends
 *  4
 */
static void test_order(void)
{
    struct co *co = co_new(abc_entry, NULL);

    step('1');
    co_enter(co);
    step('2');
    co_enter(co);
    step('3');
    co_enter(co);
    step('4');
    check_trail("1a2b3c4");
}

/*
 *  thread   first         second
 *  1        a
 *  2                      a
 *  3                      b
 *  4        b
 *  5        c, ends
 *  6                      c, ends
 */
static void test_interleaved(void)
{
    struct co *first = co_new(abc_entry, NULL);
    struct co *second = co_new(abc_entry, NULL);

    g_assert_true(first != second);
    step('1');
    co_enter(first);
    step('2');
    co_enter(second);
    step('3');
    co_enter(second);
    step('4');
    co_enter(first);
    step('5');
    co_enter(first);
    step('6');
    co_enter(second);
    check_trail("1a2a3b4b5c6c");
}

static void inner_entry(void *opaque)
{
    co_assert_role();
    step('i');
    g_assert_true(co_self() != opaque);
    co_yield();
    step('j');
}

static void outer_entry(void *opaque)
{
    struct co **inner = opaque;

    co_assert_role();
    *inner = co_new(inner_entry, co_self());
    step('o');
    co_enter(*inner);
    step('p');
    co_yield();
    step('q');
}

/*
 *  thread   outer         inner
 *  1        o, enters     i, yields to outer
 *           p, yields
 *  2                      j, ends: back to the thread
 *  3        q, ends
 */
static void test_nested(void)
{
    struct co *inner = NULL;
    struct co *outer = co_new(outer_entry, &inner);

    step('1');
    co_enter(outer);
    step('2');
    co_enter(inner);
    step('3');
    co_enter(outer);
    check_trail("1oip2j3q");
}

static void self_entry(void *opaque)
{
    co_assert_role();
    g_assert_true(co_self() == *(struct co **)opaque);
}

static void test_self(void)
{
    struct co *co;

    g_assert_null(co_self());
    co = co_new(self_entry, &co);
    co_enter(co);
    g_assert_null(co_self());
}

static void test_words_for_the_layer_above(void)
{
    struct list head;
    struct co *co = co_new(abc_entry, NULL);
    int home;

    g_assert_null(co_home(co));
    g_assert_null(*co_next_scheduled(co));
    g_assert_true(list_empty(co_link(co)));
    co_set_home(co, &home);
    g_assert_true(co_home(co) == &home);
    list_init(&head);
    list_add_tail(&head, co_link(co));
    g_assert_true(co_from_link(head.next) == co);
    list_del(co_link(co));
    for (int i = 0; i < 3; i++) {
        co_enter(co);
    }
    check_trail("abc");

    /* They do not survive into the next life of the same stack. */
    g_assert_true(co_new(abc_entry, NULL) == co);
    g_assert_null(co_home(co));
    for (int i = 0; i < 3; i++) {
        co_enter(co);
    }
    check_trail("abc");
}

/* Registers that a function keeps for its caller hold these values over a
 * switch: with this many of them alive, the compiler has to use all. */
static void sums_entry(void *opaque)
{
    uint64_t *v = opaque;
    uint64_t a = v[0], b = v[1], c = v[2], d = v[3], e = v[4], f = v[5];
    double x = (double)v[0], y = (double)v[1];

    co_assert_role();
    for (int i = 0; i < 1000; i++) {
        co_yield();
        a += 1, b += a, c += b, d += c, e += d, f += e;
        x += 1.5, y += x;
    }
    v[6] = a ^ b ^ c ^ d ^ e ^ f;
    v[7] = (uint64_t)y;
}

static void test_registers_survive(void)
{
    enum {
        N = 4
    };
    uint64_t v[N][8];
    struct co *co[N];

    for (unsigned i = 0; i < N; i++) {
        for (unsigned j = 0; j < 8; j++) {
            v[i][j] = (uint64_t)i * 1000 + j;
        }
        co[i] = co_new(sums_entry, v[i]);
    }
    for (int n = 0; n <= 1000; n++) {
        for (int i = 0; i < N; i++) {
            co_enter(co[i]);
        }
    }
    for (unsigned i = 0; i < N; i++) {
        uint64_t a = i * UINT64_C(1000), b = a + 1, c = a + 2, d = a + 3,
                 e = a + 4, f = a + 5;
        double x = (double)a, y = (double)(a + 1);

        for (int n = 0; n < 1000; n++) {
            a += 1, b += a, c += b, d += c, e += d, f += e;
            x += 1.5, y += x;
        }
        g_assert_cmpuint(v[i][6], ==, a ^ b ^ c ^ d ^ e ^ f);
        g_assert_cmpuint(v[i][7], ==, (uint64_t)y);
    }
}

static void fill_stack(int depth) /* NOLINT(misc-no-recursion) */
{
    char buf[2048];

    memset(buf, depth, sizeof(buf));
    __asm__ volatile("" : : "r"(buf) : "memory"); /* all of it is used */
    if (depth > 0) {
        fill_stack(depth - 1);
    }
    g_assert_true(buf[17] == (char)depth);
}

static void deep_entry(void *opaque)
{
    co_assert_role();
    fill_stack(70); /* 140 KiB of 256, redzones of sanitizers not counted */
    co_yield();
    fill_stack(70);
}

static void test_deep_stack(void)
{
    struct co *co = co_new(deep_entry, NULL);

    co_enter(co);
    co_enter(co);
}

static void overflow_entry(void *opaque)
{
    co_assert_role();
    fill_stack((int)(CO_STACK_SIZE / 1024));
}

static void test_overflow_faults(void)
{
    if (g_test_subprocess()) {
        struct co *co = co_new(overflow_entry, NULL);

        /* The kernel maps downwards: without a guard page the overflow would
         * quietly go on into these. */
        for (int i = 0; i < 8; i++) {
            g_assert_nonnull(co_new(abc_entry, NULL));
        }
        co_enter(co);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
}

static void test_enter_ended_aborts(void)
{
    if (g_test_subprocess()) {
        struct co *co = co_new(abc_entry, NULL);

        co_enter(co);
        co_enter(co);
        co_enter(co);
        co_enter(co); /* has ended */
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
}

static void leak_entry(void *opaque)
{
    volatile char local = 'x';

    co_assert_role();
    *(volatile char **)opaque = &local; /* outlives its coroutine */
    co_yield();
    local = 'y';
}

/* Sanitizers see who touches the stack of a coroutine that has ended. */
static void test_ended_stack_is_poisoned(void)
{
#ifdef __SANITIZE_ADDRESS__
    volatile char *leaked = NULL;

    if (g_test_subprocess()) {
        struct co *co = co_new(leak_entry, (void *)&leaked);

        co_enter(co);
        g_assert_cmpint(*leaked, ==, 'x');
        co_enter(co);
        *leaked = 'z';
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*AddressSanitizer*");
#else
    (void)leak_entry;
    g_test_skip("needs AddressSanitizer");
#endif
}

/* -- Pools ---------------------------------------------------------------- */

static void once_entry(void *opaque)
{
    co_assert_role();
    co_yield();
}

/* Has @n coroutines at the same time and ends them all. */
static void burst(size_t n)
{
    g_autofree struct co **co = g_new(struct co *, n);

    for (size_t i = 0; i < n; i++) {
        co[i] = co_new(once_entry, NULL);
        g_assert_nonnull(co[i]);
        co_enter(co[i]);
    }
    for (size_t i = 0; i < n; i++) {
        co_enter(co[i]);
    }
}

static void test_pool_reuses(void)
{
    struct co_pool_stats before, after;

    burst(3 * STACK_BATCH);
    co_pool_stats(&before);
    for (int i = 0; i < 10; i++) {
        burst(3 * STACK_BATCH);
    }
    co_pool_stats(&after);
    g_assert_cmpuint(after.created, ==, before.created);
    g_assert_cmpuint(after.pooled, ==, after.created);
}

static void test_pool_cap(void)
{
    struct co_pool_stats s;

    co_pool_stats(&s);
    g_assert_cmpuint(s.cap, <=, STACK_POOL_MAX);
    burst(s.cap + 5 * STACK_BATCH);
    co_pool_stats(&s);
    g_assert_cmpuint(s.pooled, <=, s.cap + 2 * STACK_BATCH);
    g_assert_cmpuint(s.pooled, ==, s.created);
}

static void *burst_thread(void *opaque)
{
    burst(*(size_t *)opaque);
    return NULL;
}

/* What a thread has pooled outlives it, for others to use. */
static void test_pool_of_ended_thread(void)
{
    struct co_pool_stats before, after;
    size_t n = STACK_BATCH + 10;
    pthread_t thread;

    co_pool_flush();
    burst(n);
    co_pool_flush();
    co_pool_stats(&before);
    g_assert_cmpint(pthread_create(&thread, NULL, burst_thread, &n), ==, 0);
    pthread_join(thread, NULL);
    co_pool_stats(&after);
    g_assert_cmpuint(after.created, ==, before.created);
    g_assert_cmpuint(after.pooled, ==, before.pooled);
}

static void *end_thread(void *opaque)
{
    co_enter(opaque);
    co_enter(opaque);
    return NULL;
}

/* Made by one thread, run by another: it may, as long as it never moves. */
static void test_made_elsewhere(void)
{
    struct co_pool_stats s;
    pthread_t thread;

    for (size_t i = 0; i < 2 * STACK_BATCH; i++) {
        struct co *co = co_new(once_entry, NULL);

        g_assert_cmpint(pthread_create(&thread, NULL, end_thread, co), ==, 0);
        pthread_join(thread, NULL);
    }
    co_pool_stats(&s);
    g_assert_cmpuint(s.pooled, ==, s.created);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    trail = g_string_new(NULL);
    g_test_add_func("/co/order", test_order);
    g_test_add_func("/co/interleaved", test_interleaved);
    g_test_add_func("/co/nested", test_nested);
    g_test_add_func("/co/self", test_self);
    g_test_add_func("/co/words", test_words_for_the_layer_above);
    g_test_add_func("/co/registers-survive", test_registers_survive);
    g_test_add_func("/co/deep-stack", test_deep_stack);
    g_test_add_func("/co/overflow-faults", test_overflow_faults);
    g_test_add_func("/co/enter-ended-aborts", test_enter_ended_aborts);
    g_test_add_func("/co/ended-stack-poisoned", test_ended_stack_is_poisoned);
    g_test_add_func("/co/pool/reuses", test_pool_reuses);
    g_test_add_func("/co/pool/cap", test_pool_cap);
    g_test_add_func("/co/pool/ended-thread", test_pool_of_ended_thread);
    g_test_add_func("/co/pool/made-elsewhere", test_made_elsewhere);
    rc = g_test_run();
    g_string_free(trail, TRUE);
    return rc;
}
