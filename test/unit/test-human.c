/* SPDX-License-Identifier: MIT */
/*
 * cmd: numbers and tables for people, values out of JSON, mountinfo.
 */
#include <glib.h>
#include <stdint.h>

#include "cmd/human.h"
#include "cmd/json-get.h"
#include "front/mountinfo.h"

struct number_case {
    int64_t n;
    const char *want;
};

static void check_numbers(char *(*human)(int64_t), const struct number_case *c,
                          size_t n)
{
    for (size_t i = 0; i < n; i++) {
        g_autofree char *got = human(c[i].n);

        g_assert_cmpstr(got, ==, c[i].want);
    }
}

static void test_size(void)
{
    static const struct number_case cases[] = {
        {0, "0 B"},           {1, "1 B"},
        {1023, "1023 B"},     {1024, "1 KiB"},
        {1536, "1.5 KiB"},    {1048575, "1 MiB"},
        {1048576, "1 MiB"},   {INT64_C(5) << 30, "5 GiB"},
        {INT64_MAX, "8 EiB"},
    };

    check_numbers(human_size, cases, G_N_ELEMENTS(cases));
}

static void test_latency(void)
{
    static const struct number_case cases[] = {
        {0, "0"},
        {850, "850 ns"},
        {999, "999 ns"},
        {1000, "1 us"},
        {12345, "12.3 us"},
        {4560000, "4.6 ms"},
        {999999, "1 ms"},
        {INT64_C(64000000000), "64 s"},
        {INT64_C(6400000000000), "6400 s"},
    };

    check_numbers(human_latency, cases, G_N_ELEMENTS(cases));
}

static void test_count(void)
{
    static const struct number_case cases[] = {
        {0, "0"},
        {999, "999"},
        {1000, "1,000"},
        {1234567, "1,234,567"},
        {-1234, "-1,234"},
        {-123, "-123"},
        {INT64_MIN, "-9,223,372,036,854,775,808"},
    };

    check_numbers(human_count, cases, G_N_ELEMENTS(cases));
}

static void test_age(void)
{
    static const struct number_case cases[] = {
        {0, "0 s"},       {59, "59 s"},  {60, "1 min"},
        {3599, "59 min"}, {3600, "1 h"}, {86400, "1 d"},
    };

    check_numbers(human_age, cases, G_N_ELEMENTS(cases));
}

static void test_percent(void)
{
    g_autofree char *none = human_percent(0, 0);
    g_autofree char *third = human_percent(1, 3);
    g_autofree char *all = human_percent(7, 7);

    g_assert_cmpstr(none, ==, "-");
    g_assert_cmpstr(third, ==, "33.3%");
    g_assert_cmpstr(all, ==, "100.0%");
}

static void test_table(void)
{
    static const char *const cells[] = {
        "", "n", "size", "read", "12", "1 B", "write", "1,234", "",
    };
    struct table *t = table_new(3);
    g_autofree char *text = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(cells); i++) {
        table_add(t, cells[i]);
    }
    text = table_finish(t);
    g_assert_cmpstr(text, ==,
                    "           n  size\n"
                    "read      12   1 B\n"
                    "write  1,234\n");
}

static void test_json_get(void)
{
    static const char json[] =
        "{ \"a\": 1, \"s\": \"x\\\"y\\\\\", \"o\": {\"skip\": [1, {\"b\": 9}, "
        "\"]}\"], \"b\": -2, \"f\": 1.5, \"t\": true}, \"z\": 7 }";
    static const struct {
        const char *path;
        int64_t want; /* 0: not found */
    } cases[] = {
        {"a", 1},   {"o.b", -2}, {"z", 7},        {"o.f", 0},
        {"o.t", 0}, {"o", 0},    {"b", 0},        {"o.skip", 0},
        {"s", 0},   {"a.b", 0},  {"o.skip.b", 0}, {"", 0},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        int64_t n = 0;

        g_assert_cmpint(json_get_int(json, cases[i].path, &n), ==,
                        cases[i].want != 0);
        g_assert_cmpint(n, ==, cases[i].want);
    }
}

/* Text that is cut off or no JSON at all is never read past its end. */
static void test_json_get_broken(void)
{
    static const char json[] = "{\"a\": [{\"b\": \"\\\"\"}], \"k\": 5}";
    int64_t n;

    for (size_t bytes = 0; bytes < sizeof(json) - 3; bytes++) {
        g_autofree char *cut = g_strndup(json, bytes);

        g_assert_false(json_get_int(cut, "k", &n));
    }
    g_assert_false(json_get_int("]]]]", "k", &n));
    g_assert_false(json_get_int("{\"k\" 5}", "k", &n));
    g_assert_false(json_get_int("{\"k\": \"never ends", "k", &n));
}

static const char mountinfo[] =
    "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "50 21 0:40 / /mnt rw - fuse.coblk /a.img rw,user_id=1000,group_id=100\n"
    "51 50 0:41 / /mnt rw shared:7 master:2 - fuse.coblk /b.img "
    "rw,user_id=0,group_id=0\n"
    "52 21 0:42 / /with\\040blank\\134 rw - tmpfs tmpfs rw\n"
    "a line that is none\n";

static void test_mountinfo(void)
{
    g_auto(mount_entry) m = {0};
    g_auto(mount_entry) blank = {0};
    g_auto(mount_entry) none = {0};

    g_assert_true(mountinfo_parse(mountinfo, "/mnt", &m));
    g_assert_cmpint(m.major, ==, 0);
    g_assert_cmpint(m.minor, ==, 41); /* the one on top */
    g_assert_cmpstr(m.source, ==, "/b.img");
    g_assert_cmpint(m.owner, ==, 0);
    g_assert_true(mount_entry_is_coblk(&m));
    g_assert_true(mountinfo_parse(mountinfo, "/with blank\\", &blank));
    g_assert_cmpstr(blank.fstype, ==, "tmpfs");
    g_assert_cmpint(blank.owner, ==, (uid_t)-1);
    g_assert_false(mount_entry_is_coblk(&blank));
    g_assert_false(mountinfo_parse(mountinfo, "/mn", &none));
    g_assert_false(mountinfo_parse("", "/mnt", &none));
}

static void test_mountinfo_device(void)
{
    g_auto(mount_entry) hidden = {0};
    g_auto(mount_entry) top = {0};
    g_auto(mount_entry) none = {0};

    g_assert_true(mountinfo_parse_device(mountinfo, 0, 40, &hidden));
    g_assert_cmpstr(hidden.source, ==, "/a.img");
    g_assert_true(mountinfo_parse(mountinfo, hidden.mountpoint, &top));
    g_assert_false(mount_entry_same(&hidden, &top));
    g_assert_false(mountinfo_parse_device(mountinfo, 8, 40, &none));
}

static void test_canonical(void)
{
    g_autofree char *root = mountinfo_canonical("/");
    g_autofree char *proc = mountinfo_canonical("/proc/../proc//");
    g_autofree char *missing = mountinfo_canonical("/proc/none/none");

    g_assert_cmpstr(root, ==, "/");
    g_assert_cmpstr(proc, ==, "/proc");
    g_assert_null(missing);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/human/size", test_size);
    g_test_add_func("/human/latency", test_latency);
    g_test_add_func("/human/count", test_count);
    g_test_add_func("/human/age", test_age);
    g_test_add_func("/human/percent", test_percent);
    g_test_add_func("/human/table", test_table);
    g_test_add_func("/json-get/values", test_json_get);
    g_test_add_func("/json-get/broken", test_json_get_broken);
    g_test_add_func("/mountinfo/find", test_mountinfo);
    g_test_add_func("/mountinfo/device", test_mountinfo_device);
    g_test_add_func("/mountinfo/canonical", test_canonical);
    return g_test_run();
}
