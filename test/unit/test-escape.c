/* SPDX-License-Identifier: MIT */
/*
 * base/escape: names from a disk as safe file names.
 */
#include <glib.h>
#include <string.h>

#include "base/escape.h"

static const struct escape_case {
    const char *what, *name, *want;
} cases[] = {
    {"plain", "EFI-System_1.0", "EFI-System_1.0"},
    {"allowed-marks", "#+-.:=@_", "#+-.:=@_"},
    {"space", "EFI System", "EFI\\x20System"},
    {"slash", "a/b", "a\\x2fb"},
    {"climbing", "../etc/passwd", "..\\x2fetc\\x2fpasswd"},
    {"backslash", "a\\x2fb", "a\\x5cx2fb"},
    {"quotes", "'\"`$;", "\\x27\\x22\\x60\\x24\\x3b"},
    {"newline", "a\nb", "a\\x0ab"},
    {"delete", "\x7f", "\\x7f"},
    {"dot", ".", "\\x2e"},
    {"dot-dot", "..", "\\x2e\\x2e"},
    {"three-dots", "...", "..."},
    {"hidden", ".hidden", ".hidden"},
    {"two-bytes",
     "Gr\xc3\xbc\xc3\x9f"
     "e",
     "Gr\xc3\xbc\xc3\x9f"
     "e"},
    {"four-bytes", "\xf0\x9f\x92\xbe", "\xf0\x9f\x92\xbe"},
    {"latin-1", "Gr\xfc\xdf", "Gr\\xfc\\xdf"},
    {"cut-character", "a\xe2\x82", "a\\xe2\\x82"},
    {"lone-continuation", "\x80z", "\\x80z"},
    {"overlong-slash", "\xc0\xaf", "\\xc0\\xaf"},
    {"surrogate", "\xed\xa0\x80", "\\xed\\xa0\\x80"},
    {"beyond-unicode", "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},
    {"c1-control", "\xc2\x9b", "\\xc2\\x9b"},
};

static void test_case(gconstpointer data)
{
    const struct escape_case *c = data;
    char got[ESCAPE_NAME_MAX + 1];

    g_assert_true(escape_name(c->name, got));
    g_assert_cmpstr(got, ==, c->want);
}

static void test_empty(void)
{
    char got[ESCAPE_NAME_MAX + 1] = "before";

    g_assert_false(escape_name("", got));
    g_assert_cmpstr(got, ==, "");
}

/* The cut falls before the first character that does not fit whole. */
static void test_long(void)
{
    static const struct {
        size_t plain; /* this many 'a' */
        const char *tail;
        size_t want;
    } rows[] = {
        {255, "", 255},
        {256, "", 255},
        {251, "/", 255},
        {252, "/", 252},
        {252, "\xe2\x82\xac", 255},
        {253, "\xe2\x82\xac", 253},
        {252, "/a", 252},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *a = g_strnfill(rows[i].plain, 'a');
        g_autofree char *name = g_strconcat(a, rows[i].tail, NULL);
        char got[ESCAPE_NAME_MAX + 1];

        g_assert_true(escape_name(name, got));
        g_assert_cmpint((int)strlen(got), ==, (int)rows[i].want);
        g_assert_true(g_utf8_validate(got, -1, NULL));
    }
}

/* Whatever the bytes: one path component, printable, valid UTF-8. */
static void test_any_bytes(void)
{
    for (int round = 0; round < 20000; round++) {
        char name[300], got[ESCAPE_NAME_MAX + 1];
        int n = g_test_rand_int_range(1, (int)sizeof(name));

        for (int i = 0; i < n; i++) {
            name[i] = (char)g_test_rand_int_range(1, 256);
        }
        name[n] = '\0';
        g_assert_true(escape_name(name, got));
        g_assert_true(g_utf8_validate(got, -1, NULL));
        g_assert_null(strchr(got, '/'));
        g_assert_cmpstr(got, !=, ".");
        g_assert_cmpstr(got, !=, "..");
        for (const char *p = got; *p; p = g_utf8_next_char(p)) {
            g_assert_false(g_unichar_iscntrl(g_utf8_get_char(p)));
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strconcat("/escape/", cases[i].what, NULL);

        g_test_add_data_func(path, &cases[i], test_case);
    }
    g_test_add_func("/escape/empty", test_empty);
    g_test_add_func("/escape/long", test_long);
    g_test_add_func("/escape/any-bytes", test_any_bytes);
    return g_test_run();
}
