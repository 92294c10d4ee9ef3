/* SPDX-License-Identifier: MIT */
/*
 * backend/history: every write error is told once to each who keeps a cursor.
 */
#include <errno.h>
#include <glib.h>

#include "backend/history.h"

static void test_nothing_happened(void)
{
    struct history h = {0};
    uint64_t cursor = history_cursor(&h);

    g_assert_cmpint(history_since(&h, &cursor), ==, 0);
    g_assert_cmpint(history_since(&h, &cursor), ==, 0);
}

static void test_each_reader_is_told_once(void)
{
    struct history h = {0};
    uint64_t a = history_cursor(&h);
    uint64_t b = history_cursor(&h);

    history_add(&h, -EIO);
    g_assert_cmpint(history_since(&h, &a), ==, -EIO);
    g_assert_cmpint(history_since(&h, &a), ==, 0);
    g_assert_cmpint(history_since(&h, &b), ==, -EIO);
    g_assert_cmpint(history_since(&h, &b), ==, 0);
}

static void test_the_first_error_is_told(void)
{
    struct history h = {0};
    uint64_t cursor = history_cursor(&h);

    history_add(&h, -ENOSPC);
    history_add(&h, -EIO);
    g_assert_cmpint(history_since(&h, &cursor), ==, -ENOSPC);
    g_assert_cmpint(history_since(&h, &cursor), ==, 0);
}

/* The same error again is news to who heard of the first one. */
static void test_equal_errors_count(void)
{
    struct history h = {0};
    uint64_t cursor = history_cursor(&h);

    history_add(&h, -EIO);
    g_assert_cmpint(history_since(&h, &cursor), ==, -EIO);
    history_add(&h, -EIO);
    g_assert_cmpint(history_since(&h, &cursor), ==, -EIO);
}

static void test_new_reader_hears_of_untold_error(void)
{
    struct history h = {0};
    uint64_t late;

    history_add(&h, -EIO);
    late = history_cursor(&h);
    g_assert_cmpint(history_since(&h, &late), ==, -EIO);
}

static void test_new_reader_spared_told_error(void)
{
    struct history h = {0};
    uint64_t cursor = history_cursor(&h);
    uint64_t late;

    history_add(&h, -EIO);
    g_assert_cmpint(history_since(&h, &cursor), ==, -EIO);
    late = history_cursor(&h);
    g_assert_cmpint(history_since(&h, &late), ==, 0);
}

/* More changes than entries: the oldest known error stands for the lost. */
static void test_long_history(void)
{
    struct history h = {0};
    uint64_t cursor = history_cursor(&h);
    uint64_t late;

    for (int i = 0; i < HISTORY_ENTRIES + 1; i++) {
        history_add(&h, -1 - i);
    }
    g_assert_cmpint(history_since(&h, &cursor), ==, -2);
    late = cursor;
    history_add(&h, -100);
    g_assert_cmpint(history_since(&h, &late), ==, -100);
    g_assert_cmpint(history_since(&h, &cursor), ==, -100);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/history/nothing-happened", test_nothing_happened);
    g_test_add_func("/history/each-reader-once", test_each_reader_is_told_once);
    g_test_add_func("/history/first-error", test_the_first_error_is_told);
    g_test_add_func("/history/equal-errors", test_equal_errors_count);
    g_test_add_func("/history/untold-to-new-reader",
                    test_new_reader_hears_of_untold_error);
    g_test_add_func("/history/told-not-to-new-reader",
                    test_new_reader_spared_told_error);
    g_test_add_func("/history/long", test_long_history);
    return g_test_run();
}
