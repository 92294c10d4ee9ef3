/* SPDX-License-Identifier: MIT */
/*
 * queue/merge: which requests may leave as one, and in which order.
 */
#include <glib.h>

#include "base/align.h"
#include "queue/merge.h"

#define MAX_REQS 4

/* -- merge_run: one row per rule ----------------------------------------- */

static const struct merge_limits limits = {
    .max_bytes = 1 * MiB,
    .max_iov = 4,
};

#define READ(at, n)                                      \
    {                                                    \
        .offset = (at)*KiB, .bytes = (n)*KiB, .n_iov = 1 \
    }
#define WRITE(at, n)                  \
    {                                 \
        true, 0, (at)*KiB, (n)*KiB, 1 \
    }

static const struct run_case {
    const char *name;
    size_t n;
    struct merge_req reqs[MAX_REQS]; /* sorted by offset */
    size_t want;                     /* members of the first run */
} run_cases[] = {
    {"one-is-a-run", 1, {READ(0, 4)}, 1},
    {"adjacent-reads-merge", 2, {READ(0, 4), READ(4, 4)}, 2},
    {"adjacent-writes-merge", 3, {WRITE(8, 4), WRITE(12, 1), WRITE(13, 8)}, 3},
    {"a-hole-ends-it", 3, {READ(0, 4), READ(4, 4), READ(12, 4)}, 2},
    {"an-overlap-ends-it", 2, {WRITE(0, 8), WRITE(4, 4)}, 1},
    {"equal-offsets-end-it", 2, {READ(0, 4), READ(0, 4)}, 1},
    {"write-does-not-join-reads", 2, {READ(0, 4), WRITE(4, 4)}, 1},
    {"flags-differ", 2, {WRITE(0, 4), {true, 1, 4 * KiB, 4 * KiB, 1}}, 1},
    {"flags-equal",
     2,
     {{true, 1, 0, 4 * KiB, 1}, {true, 1, 4 * KiB, 4 * KiB, 1}},
     2},
    {"max-bytes-may-be-filled", 2, {WRITE(0, 1020), WRITE(1020, 4)}, 2},
    {"max-bytes-not-passed", 2, {WRITE(0, 1020), WRITE(1020, 8)}, 1},
    {"first-alone-passes-max-bytes", 2, {WRITE(0, 2048), WRITE(2048, 4)}, 1},
    {"max-iov-may-be-filled",
     2,
     {{false, 0, 0, 4 * KiB, 3}, {false, 0, 4 * KiB, 4 * KiB, 1}},
     2},
    {"max-iov-not-passed",
     2,
     {{false, 0, 0, 4 * KiB, 3}, {false, 0, 4 * KiB, 4 * KiB, 2}},
     1},
    {"ends-at-the-last",
     4,
     {READ(0, 1), READ(1, 1), READ(2, 1), READ(3, 1)},
     4},
    {"end-of-int64-does-not-wrap",
     2,
     {{false, 0, INT64_MAX - 1, 4 * KiB, 1}, {false, 0, INT64_MAX, 1, 1}},
     1},
};

static void test_run(const void *data)
{
    const struct run_case *c = data;
    const struct merge_req *reqs[MAX_REQS];

    for (size_t i = 0; i < c->n; i++) {
        reqs[i] = &c->reqs[i];
    }
    g_assert_cmpuint(merge_run(reqs, c->n, &limits), ==, c->want);
}

/* -- merge_compare, merge_sort ------------------------------------------- */

static void test_compare(void)
{
    static const struct {
        int64_t a, b;
        int want;
    } cases[] = {
        {0, 0, 0},
        {0, 1, -1},
        {1, 0, 1},
        {0, INT64_C(1) << 32, -1}, /* a difference that truncates to 0 */
        {INT64_C(1) << 40, 0, 1},
        {0, INT64_MAX, -1},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct merge_req a = {.offset = cases[i].a};
        struct merge_req b = {.offset = cases[i].b};

        g_assert_cmpint(merge_compare(&a, &b), ==, cases[i].want);
    }
}

/* Random batches with many equal offsets, which must keep their order. */
static void test_sort_is_stable(void)
{
    struct merge_req reqs[32];
    const struct merge_req *sorted[32];

    for (int round = 0; round < 1000; round++) {
        size_t n = (size_t)g_test_rand_int_range(0, 33);

        for (size_t i = 0; i < n; i++) {
            reqs[i].offset = g_test_rand_int_range(0, 8);
            sorted[i] = &reqs[i];
        }
        merge_sort(sorted, n);
        for (size_t i = 1; i < n; i++) {
            int order = merge_compare(sorted[i - 1], sorted[i]);

            g_assert_cmpint(order, <=, 0);
            g_assert_true(order < 0 || sorted[i - 1] < sorted[i]);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(run_cases); i++) {
        g_autofree char *path =
            g_strconcat("/merge/run/", run_cases[i].name, NULL);

        g_test_add_data_func(path, &run_cases[i], test_run);
    }
    g_test_add_func("/merge/compare", test_compare);
    g_test_add_func("/merge/sort-is-stable", test_sort_is_stable);
    return g_test_run();
}
