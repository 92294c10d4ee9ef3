/* SPDX-License-Identifier: MIT */

#include "base/json.h"

#include <assert.h>
#include <glib.h>

struct json {
    GString *text;
    int depth;
    bool first; /* nothing stands in the innermost container yet */
};

struct json *json_new(void)
{
    struct json *j = g_new0(struct json, 1);

    j->text = g_string_new(NULL);
    j->first = true;
    return j;
}

char *json_finish(struct json *j)
{
    char *text;

    assert(j->depth == 0);
    g_string_append_c(j->text, '\n');
    text = g_string_free(j->text, FALSE);
    g_free(j);
    return text;
}

static void json_newline(struct json *j)
{
    g_string_append_printf(j->text, "\n%*s", 4 * j->depth, "");
}

static void json_quote(struct json *j, const char *s)
{
    g_autofree char *valid = g_utf8_make_valid(s, -1);

    g_string_append_c(j->text, '"');
    for (const char *p = valid; *p; p++) {
        unsigned char c = (unsigned char)*p;

        if (c == '"' || c == '\\') {
            g_string_append_printf(j->text, "\\%c", c);
        } else if (c < 0x20 || c == 0x7f) {
            g_string_append_printf(j->text, "\\u%04x", c);
        } else {
            g_string_append_c(j->text, *p);
        }
    }
    g_string_append_c(j->text, '"');
}

/* What stands before each value: a comma, a new line, its key. */
static void json_prefix(struct json *j, const char *key)
{
    if (!j->first) {
        g_string_append_c(j->text, ',');
    }
    if (j->depth > 0) {
        json_newline(j);
    }
    if (key) {
        json_quote(j, key);
        g_string_append(j->text, ": ");
    }
    j->first = false;
}

static void json_begin(struct json *j, const char *key, char bracket)
{
    json_prefix(j, key);
    g_string_append_c(j->text, bracket);
    j->depth++;
    j->first = true;
}

static void json_end(struct json *j, char bracket)
{
    assert(j->depth > 0);
    j->depth--;
    if (!j->first) {
        json_newline(j);
    }
    g_string_append_c(j->text, bracket);
    j->first = false;
}

void json_object_begin(struct json *j, const char *key)
{
    json_begin(j, key, '{');
}

void json_object_end(struct json *j)
{
    json_end(j, '}');
}

void json_array_begin(struct json *j, const char *key)
{
    json_begin(j, key, '[');
}

void json_array_end(struct json *j)
{
    json_end(j, ']');
}

void json_string(struct json *j, const char *key, const char *value)
{
    json_prefix(j, key);
    json_quote(j, value);
}

void json_int(struct json *j, const char *key, int64_t value)
{
    json_prefix(j, key);
    g_string_append_printf(j->text, "%" G_GINT64_FORMAT, value);
}

void json_double(struct json *j, const char *key, double value)
{
    char buf[G_ASCII_DTOSTR_BUF_SIZE];

    json_prefix(j, key);
    g_string_append(j->text, g_ascii_formatd(buf, sizeof(buf), "%.3f", value));
}

void json_bool(struct json *j, const char *key, bool value)
{
    json_prefix(j, key);
    g_string_append(j->text, value ? "true" : "false");
}

void json_null(struct json *j, const char *key)
{
    json_prefix(j, key);
    g_string_append(j->text, "null");
}

void json_raw(struct json *j, const char *key, const char *text)
{
    json_prefix(j, key);
    for (; *text && !(*text == '\n' && !text[1]); text++) {
        if (*text == '\n') {
            json_newline(j);
        } else {
            g_string_append_c(j->text, *text);
        }
    }
}
