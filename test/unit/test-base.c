/* SPDX-License-Identifier: MIT */
/*
 * base: rounding, ranges, scattered buffers, byte order, trace topics.
 */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "base/align.h"
#include "base/endian.h"
#include "base/error.h"
#include "base/iov.h"
#include "base/json.h"
#include "base/log.h"
#include "base/options.h"

static void test_range_ok(void)
{
    static const struct {
        int64_t offset, bytes, size;
        bool want;
    } cases[] = {
        {0, 0, 0, true},           {0, 1, 0, false},
        {5, 5, 10, true},          {5, 6, 10, false},
        {10, 0, 10, true},         {11, 0, 10, false},
        {-1, 1, 10, false},        {0, -1, 10, false},
        {1, INT64_MAX, 10, false}, {INT64_MAX, 1, INT64_MAX, false},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_assert_cmpint(
            range_ok(cases[i].offset, cases[i].bytes, cases[i].size), ==,
            cases[i].want);
    }
}

static void test_rounding(void)
{
    g_assert_cmpint(align_down(4097, 4096), ==, 4096);
    g_assert_cmpint(align_up(4097, 4096), ==, 8192);
    g_assert_cmpint(align_up(4096, 4096), ==, 4096);
    g_assert_cmpint(min_non_zero(0, 7), ==, 7);
    g_assert_cmpint(min_non_zero(7, 0), ==, 7);
    g_assert_cmpint(min_non_zero(7, 3), ==, 3);
    g_assert_false(ranges_overlap(0, 5, 5, 5));
    g_assert_true(ranges_overlap(0, 6, 5, 5));
}

static void test_iovs(void)
{
    char a[] = "abc", b[] = "", c[] = "defgh";
    struct iovec iov[] = {{a, 3}, {b, 0}, {c, 5}};
    struct iovs v = iovs_of(iov, 3);
    struct iovec out[3];
    char buf[9] = "";

    g_assert_cmpint(v.bytes, ==, 8);
    g_assert_cmpint(iovs_count(&v, 2, 3), ==, 2);
    g_assert_cmpint(iovs_slice(&v, 2, 3, out), ==, 2);
    g_assert_cmpint((int)out[0].iov_len, ==, 1);
    g_assert_true(out[1].iov_base == c);
    g_assert_cmpint(iovs_count(&v, 8, 0), ==, 0);
    iovs_to_buf(&v, 1, buf, 6);
    g_assert_cmpstr(buf, ==, "bcdefg");
    iovs_from_buf(&v, 2, "XYZ", 3);
    g_assert_cmpstr(a, ==, "abX");
    g_assert_cmpstr(c, ==, "YZfgh");
    g_assert_false(iovs_is_zero(&v));
    iovs_memset(&v, 0, 0, 8);
    g_assert_true(iovs_is_zero(&v));
}

static void test_zero(void)
{
    char buf[64] = {0};

    for (int n = 0; n < 64; n++) {
        g_assert_true(buf_is_zero(buf, n));
        for (int i = 0; i < n; i++) {
            buf[i] = 1;
            g_assert_false(buf_is_zero(buf, n));
            buf[i] = 0;
        }
    }
}

static void test_endian(void)
{
    unsigned char buf[9];

    store_be32(buf + 1, 0x01020304);
    g_assert_cmpint(buf[1], ==, 1);
    g_assert_cmpint(load_le32(buf + 1), ==, 0x04030201);
    store_le64(buf + 1, 0x0102030405060708);
    g_assert_cmpint(buf[1], ==, 8);
    g_assert_true(load_be64(buf + 1) == 0x0807060504030201);
}

static void test_error(void)
{
    g_autoptr(GError) err = NULL;

    g_assert_cmpint(error_set_errno(&err, -ENOENT, "%s", "x.img"), ==, -ENOENT);
    g_assert_error(err, COBLK_ERROR, ENOENT);
    g_assert_cmpstr(err->message, ==, "x.img: No such file or directory");
    g_assert_cmpint(error_set(NULL, -EIO, "unseen"), ==, -EIO);
}

static void test_trace_topics(void)
{
    const char *bad = NULL;

    g_assert_true(trace_enable("queue:block", &bad));
    g_assert_cmpint(trace_topics, ==, TRACE_QUEUE | TRACE_BLOCK);
    g_assert_false(trace_enable("queue:nonsense", &bad));
    g_assert_cmpstr(bad, ==, "nonsense");
    g_assert_true(trace_enable("", &bad));
    g_assert_cmpint(trace_topics, ==, 0);
}

static void test_options(void)
{
    g_autoptr(options) o = options_new();
    g_autoptr(options) file = NULL;
    g_autoptr(GError) err = NULL;
    g_autofree char *name = NULL;
    static const char *const aio[] = {"native", "threads", NULL};
    int64_t size = 0;
    bool ro = false;
    int which = 0;

    g_assert_cmpint(options_parse(o,
                                  "ro,size=4k,aio=fast,file.filename=a,,b,"
                                  "file.locking=off",
                                  &err),
                    ==, 0);
    g_assert_cmpint(options_take_bool(o, "ro", &ro, &err), ==, 1);
    g_assert_true(ro);
    g_assert_cmpint(options_take_bool(o, "ro", &ro, &err), ==, 0);
    g_assert_cmpint(options_take_size(o, "size", &size, &err), ==, 1);
    g_assert_cmpint(size, ==, 4096);
    g_assert_cmpint(options_take_enum(o, "aio", aio, &which, &err), ==,
                    -EINVAL);
    g_assert_cmpstr(err->message, ==, "aio=fast: not one of native, threads");
    file = options_take_child(o, "file");
    g_assert_null(options_leftover(o));
    name = options_take(file, "filename");
    g_assert_cmpstr(name, ==, "a,b");
    g_assert_cmpstr(options_leftover(file), ==, "locking");
}

static void test_parse_size(void)
{
    static const struct {
        const char *text;
        int64_t want; /* < 0: refused with that */
    } cases[] = {
        {"0", 0},
        {"512", 512},
        {"1k", 1024},
        {"1K", 1024},
        {"2G", 2 * GiB},
        {"7E", INT64_C(7) << 60},
        {"8E", -ERANGE},
        {"-1", -EINVAL},
        {"", -EINVAL},
        {"k", -EINVAL},
        {"1kk", -EINVAL},
        {"1.5k", 1536},
        {"1.5", -EINVAL},
        {"0.25M", 256 * KiB},
        {"1.k", 1024},
        {"1.5kk", -EINVAL},
        {"010", 10},
        {"0x1.8k", -EINVAL},
        {"1m", MiB},
        {"7.5E", INT64_C(15) << 59},
        {" 1", -EINVAL},
        {"0x10", 16},
        {"99999999999999999999", -ERANGE},
        {"1.3M", 1363149},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        int64_t n = -1;

        g_assert_cmpint(parse_size(cases[i].text, &n), ==,
                        cases[i].want < 0 ? cases[i].want : 0);
        g_assert_cmpint(n, ==, cases[i].want < 0 ? -1 : cases[i].want);
    }
}

static void test_json(void)
{
    struct json *j = json_new();
    g_autofree char *text = NULL;

    json_object_begin(j, NULL);
    json_string(j, "na\"me", "a\n\xff");
    json_array_begin(j, "empty");
    json_array_end(j);
    json_array_begin(j, "list");
    json_int(j, NULL, -1);
    json_bool(j, NULL, true);
    json_null(j, NULL);
    json_array_end(j);
    json_double(j, "ratio", 0.5);
    json_object_end(j);
    text = json_finish(j);
    g_assert_cmpstr(text, ==,
                    "{\n"
                    "    \"na\\\"me\": \"a\\u000a\xef\xbf\xbd\",\n"
                    "    \"empty\": [],\n"
                    "    \"list\": [\n"
                    "        -1,\n"
                    "        true,\n"
                    "        null\n"
                    "    ],\n"
                    "    \"ratio\": 0.500\n"
                    "}\n");
}

/* {JSON, the options it stands for as KEY=VALUE, sorted; NULL: refused} */
static void test_options_json(void)
{
    static const struct {
        const char *json, *want[5];
    } cases[] = {
        {"{}", {NULL}},
        {" { \"a\" : \"b\" } ", {"a=b"}},
        {"{'a': 'it\\'s', 'b': 17, 'c': -1}", {"a=it's", "b=17", "c=-1"}},
        {"{'t': true, 'f': false, 'n': null}", {"f=off", "n=", "t=on"}},
        {"{'file': {'driver': 'file', 'x': {'y': 1}}, 'driver': 'raw'}",
         {"driver=raw", "file.driver=file", "file.x.y=1"}},
        {"{'a': [1, 'two', {'b': 3}]}", {"a.0=1", "a.1=two", "a.2.b=3"}},
        {"{'a': []}", {NULL}},
        {"{'a': '\\u0041\\u00e4\\n'}", {"a=A\xc3\xa4\n"}},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(options) o = options_new();
        GError *err = NULL;

        g_assert_cmpint(options_parse_json(o, cases[i].json, &err), ==, 0);
        g_assert_no_error(err);
        for (int k = 0; cases[i].want[k]; k++) {
            g_auto(GStrv) pair = g_strsplit(cases[i].want[k], "=", 2);
            g_autofree char *value = options_take(o, pair[0]);

            g_assert_cmpstr(value, ==, pair[1]);
        }
        g_assert_null(options_leftover(o));
    }
}

static void test_options_json_refused(void)
{
    static const char *const cases[] = {
        "",
        "1",
        "[]",
        "{",
        "{}x",
        "{'a'}",
        "{'a': }",
        "{'a': 1,}",
        "{'a': 'b}",
        "{'a': '\\q'}",
        "{'a': '\\u00'}",
        "{'a': '\\ud800'}",
        "{'': 1}",
        "{'a': nope}",
        "{'a': [1}",
        ("{'a':{'a':{'a':{'a':{'a':{'a':{'a':{'a':{'a':{'a':{'a':{'a':{'a':{"
         "'a':{'a':{'a':{'a':{'a':1}}}}}}}}}}}}}}}}}}"),
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(options) o = options_new();
        g_autoptr(GError) err = NULL;

        g_assert_cmpint(options_parse_json(o, cases[i], &err), ==, -EINVAL);
        g_assert_error(err, COBLK_ERROR, EINVAL);
    }
}

static void test_options_child(void)
{
    g_autoptr(options) o = options_new();

    options_set(o, "file.x", "1");
    options_set(o, "files", "1");
    g_assert_true(options_has_child(o, "file"));
    g_assert_false(options_has_child(o, "files"));
    g_assert_false(options_has_child(o, "fil"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/range-ok", test_range_ok);
    g_test_add_func("/base/rounding", test_rounding);
    g_test_add_func("/base/iovs", test_iovs);
    g_test_add_func("/base/buf-is-zero", test_zero);
    g_test_add_func("/base/endian", test_endian);
    g_test_add_func("/base/error", test_error);
    g_test_add_func("/base/json", test_json);
    g_test_add_func("/base/options", test_options);
    g_test_add_func("/base/parse-size", test_parse_size);
    g_test_add_func("/base/trace-topics", test_trace_topics);
    g_test_add_func("/base/options/json", test_options_json);
    g_test_add_func("/base/options/json-refused", test_options_json_refused);
    g_test_add_func("/base/options/has-child", test_options_child);
    return g_test_run();
}
