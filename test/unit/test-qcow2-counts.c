/* SPDX-License-Identifier: MIT */
/*
 * qcow2/counts: numbers of clusters, few of which are other than 0.
 */
#include <glib.h>
#include <stdint.h>

#include "format/qcow2/counts.h"

#define CLUSTERS 10000

static struct counts *make(void)
{
    struct counts *c = counts_new(CLUSTERS);

    g_assert_nonnull(c);
    g_assert_cmpint(counts_add(c, 5000, 3), ==, 0);
    return c;
}

static void test_numbers(void)
{
    struct counts *c = make();

    g_assert_cmpint(counts_get(c, 5000), ==, 3);
    g_assert_cmpint(counts_get(c, 5001), ==, 0);
    g_assert_cmpint(counts_get(c, CLUSTERS), ==, 0);
    g_assert_cmpint(counts_add(c, 5000, -4), ==, 0);
    g_assert_cmpint(counts_get(c, 5000), ==, -1);
    counts_free(c);
}

static void test_large_numbers(void)
{
    struct counts *c = make();

    g_assert_cmpint(counts_add(c, 5000, INT64_C(1) << 40), ==, 0);
    g_assert_cmpint(counts_get(c, 5000), ==, (INT64_C(1) << 40) + 3);
    g_assert_cmpint(counts_add(c, 5000, -(INT64_C(1) << 40)), ==, 0);
    g_assert_cmpint(counts_get(c, 5000), ==, 3);
    counts_free(c);
}

static void test_next(void)
{
    struct counts *c = make();

    g_assert_cmpint(counts_next(c, 0, CLUSTERS), <=, 5000);
    g_assert_cmpint(counts_next(c, 5000, CLUSTERS), ==, 5000);
    for (int64_t i = 0; i < CLUSTERS; i++) {
        g_assert_cmpint(counts_next(c, i, INT64_MAX), >=, i);
    }
    /* There is none: the end of the search, wherever it begins. */
    g_assert_cmpint(counts_next(c, 0, 10), ==, 10);
    g_assert_cmpint(counts_next(c, CLUSTERS, INT64_MAX), ==, INT64_MAX);
    g_assert_cmpint(counts_next(c, CLUSTERS + 1, INT64_MAX), ==, INT64_MAX);
    counts_free(c);
}

static void test_reach(void)
{
    struct counts *c = make();

    g_assert_cmpint(counts_reach(c, 5 * CLUSTERS), ==, 0);
    g_assert_cmpint(counts_clusters(c), ==, 5 * CLUSTERS);
    g_assert_cmpint(counts_get(c, 5000), ==, 3);
    g_assert_cmpint(counts_get(c, 4 * CLUSTERS), ==, 0);
    g_assert_cmpint(counts_reach(c, 1), ==, 0);
    g_assert_cmpint(counts_clusters(c), ==, 5 * CLUSTERS);
    counts_free(c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qcow2-counts/numbers", test_numbers);
    g_test_add_func("/qcow2-counts/large", test_large_numbers);
    g_test_add_func("/qcow2-counts/next", test_next);
    g_test_add_func("/qcow2-counts/reach", test_reach);
    return g_test_run();
}
