/* SPDX-License-Identifier: MIT */
/*
 * cmd/img-text, img-options, img-picture, progress: what the image commands
 * print.
 */
#include <glib.h>
#include <string.h>

#include "base/align.h"
#include "block/image.h"
#include "cmd/img-options.h"
#include "cmd/img-picture.h"
#include "cmd/img-text.h"
#include "cmd/progress.h"

static void test_size(void)
{
    static const struct {
        int64_t bytes;
        const char *want;
    } cases[] = {
        {0, "0 B"},
        {1, "1 B"},
        {999, "999 B"},
        {1000, "0.977 KiB"},
        {1024, "1 KiB"},
        {196 * KiB + 512, "196 KiB"},
        {1 * MiB, "1 MiB"},
        {3 * GiB / 2, "1.5 GiB"},
        {999 * KiB, "999 KiB"},
        {1000 * KiB, "0.977 MiB"},
        {64 * KiB + 512, "64.5 KiB"},
        {4 * TiB, "4 TiB"},
        {INT64_MAX, "8 EiB"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *got = img_size_text(cases[i].bytes);

        g_assert_cmpstr(got, ==, cases[i].want);
    }
}

static void test_snapshot_table(void)
{
    struct image_snapshot s = {
        .id = (char *)"1",
        .name = (char *)"a name",
        .vm_state_bytes = 3 * MiB,
        .date_sec = 86400,
        .vm_clock_ns = INT64_C(3723004000000),
        .icount = 7,
    };
    g_autofree char *head = img_snapshot_head();
    g_autofree char *row = img_snapshot_row(&s);
    g_autofree char *without = NULL;

    g_assert_cmpstr(head, ==,
                    "ID        TAG               VM SIZE                DATE   "
                    "  VM CLOCK     ICOUNT\n");
    g_assert_cmpstr(row, ==,
                    "1         a name              3 MiB 1970-01-02 00:00:00 "
                    "01:02:03.004          7\n");
    s.icount = -1;
    without = img_snapshot_row(&s);
    g_assert_true(g_str_has_suffix(without, "01:02:03.004           \n"));
}

static void test_json_to_lines(void)
{
    g_autofree char *got =
        img_json_to_lines("{\n"
                          "    \"compat\": \"1.1\",\n"
                          "    \"refcount-bits\": 16,\n"
                          "    \"bitmaps\": [\n"
                          "        {\n"
                          "            \"flags\": [\n"
                          "                \"auto\"\n"
                          "            ],\n"
                          "            \"name\": \"a \\\"b\\\", c-d\"\n"
                          "        },\n"
                          "        {\n"
                          "            \"flags\": []\n"
                          "        }\n"
                          "    ],\n"
                          "    \"extended-l2\": false\n"
                          "}\n");

    g_assert_cmpstr(got, ==,
                    "    compat: 1.1\n"
                    "    refcount bits: 16\n"
                    "    bitmaps:\n"
                    "        [0]:\n"
                    "            flags:\n"
                    "                [0]: auto\n"
                    "            name: a \"b\", c-d\n"
                    "        [1]:\n"
                    "            flags:\n"
                    "    extended l2: false\n");
}

static void test_join_options(void)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new();
    g_autofree char *joined = NULL;

    g_assert_null(img_join_options(list));
    g_ptr_array_add(list, (char *)"a=1,b=2");
    g_ptr_array_add(list, (char *)"c");
    joined = img_join_options(list);
    g_assert_cmpstr(joined, ==, "a=1,b=2,c");
    g_assert_true(img_options_want_help("a=1,help"));
    g_assert_true(img_options_want_help("?"));
    g_assert_false(img_options_want_help("a=help"));
    g_assert_false(img_options_want_help("helpful=1"));
}

static void test_picture_cell(void)
{
    static const struct {
        struct picture_column column;
        const char *ascii, *unicode;
    } cases[] = {
        {{.data = 512}, "#", "█"},
        {{.zero = 512}, "0", "░"},
        {{.hole = 512}, ".", "·"},
        {{.zero = 1, .hole = 511}, "0", "░"},
        {{.data = 1, .hole = 511}, "+", "▁"},
        {{.data = 256, .zero = 256}, "+", "▄"},
        {{.data = 511, .hole = 1}, "+", "▇"},
        {{.data = 0}, ".", "·"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_assert_cmpstr(picture_cell(&cases[i].column, false), ==,
                        cases[i].ascii);
        g_assert_cmpstr(picture_cell(&cases[i].column, true), ==,
                        cases[i].unicode);
    }
}

static void test_progress_line(void)
{
    static const struct {
        int64_t done, total;
        const char *want;
    } cases[] = {
        {0, 100, "    (0.00/100%)"},     {1, 8, "    (12.50/100%)"},
        {100, 100, "    (100.00/100%)"}, {101, 100, "    (100.00/100%)"},
        {0, 0, "    (100.00/100%)"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *got = progress_line(cases[i].done, cases[i].total);

        g_assert_cmpstr(got, ==, cases[i].want);
    }
}

static void test_progress_bar(void)
{
    static const struct {
        int64_t done, total, ns;
        int columns;
        const char *want;
    } cases[] = {
        {0, 2 * GiB, 0, 91,
         "[>                           ]   0.0 %  0 B of 2 GiB"},
        {1 * GiB, 2 * GiB, INT64_C(2000000000), 200,
         "[##############>             ]  50.0 %  1 GiB of 2 GiB  512 MiB/s  "
         "3 s left"},
        {2 * GiB, 2 * GiB, INT64_C(4000000000), 200,
         "[############################] 100.0 %  2 GiB of 2 GiB  512 MiB/s"},
        /* The longest there is, on terminals of 80, 60 and 40 columns. */
        {1047972022682, 1095111999999, INT64_C(1001000000000), 79,
         "[###############>]  95.7 %  976 GiB of 1019.9 GiB  998.4 MiB/s  "
         "46 s left"},
        {1047972022682, 1095111999999, INT64_C(1001000000000), 59,
         " 95.7 %  976 GiB of 1019.9 GiB  998.4 MiB/s  46 s left"},
        {1047972022682, 1095111999999, INT64_C(1001000000000), 39,
         " 95.7 %  976 GiB of 1019.9 GiB  998.4 M"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *got = progress_bar(cases[i].done, cases[i].total,
                                            cases[i].ns, cases[i].columns);

        g_assert_cmpstr(got, ==, cases[i].want);
        g_assert_cmpuint(strlen(got), <=, cases[i].columns);
    }
}

int main(int argc, char **argv)
{
    g_setenv("TZ", "UTC", TRUE);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/img-text/size", test_size);
    g_test_add_func("/img-text/snapshot-table", test_snapshot_table);
    g_test_add_func("/img-text/json-to-lines", test_json_to_lines);
    g_test_add_func("/img-options/join", test_join_options);
    g_test_add_func("/img-picture/cell", test_picture_cell);
    g_test_add_func("/progress/line", test_progress_line);
    g_test_add_func("/progress/bar", test_progress_bar);
    return g_test_run();
}
