/* SPDX-License-Identifier: MIT */
/*
 * fuzz-options: any text as the options of an image: "{…}" is JSON, as behind
 * "json:", all else a list of KEY=VALUE.
 *
 * What is understood is the same when it is written down and read again.
 */
#include <assert.h>
#include <glib.h>
#include <string.h>

#include "base/json.h"
#include "base/options.h"
#include "fuzz.h"

static void append_escaped(GString *text, const char *part)
{
    for (; *part; part++) {
        g_string_append(text, *part == ',' ? ",," : (char[]){*part, '\0'});
    }
}

/* Each on its own: a key that begins with a comma cannot follow another. */
static void parse_item(void *opaque, const char *key, const char *value)
{
    g_autoptr(GString) text = g_string_new(NULL);

    assert(key && value);
    append_escaped(text, key);
    g_string_append_c(text, '=');
    append_escaped(text, value);
    assert(options_parse(opaque, text->str, NULL) == 0);
}

static void append_member(void *opaque, const char *key, const char *value)
{
    json_string(opaque, key, value);
}

static void expect_value(void *opaque, const char *key, const char *value)
{
    const char *there = options_peek(opaque, key);

    assert(there && strcmp(there, value) == 0);
}

static void expect_same(struct options *a, struct options *b)
{
    options_foreach(a, expect_value, b);
    options_foreach(b, expect_value, a);
}

/* As a list; keys of JSON may have a '=' or be empty, which that cannot say. */
static void check_list(struct options *o)
{
    g_autoptr(options) again = options_new();

    options_foreach(o, parse_item, again);
    expect_same(o, again);
}

/* As JSON with dots in its keys. */
static void check_json(struct options *o)
{
    g_autoptr(options) again = options_new();
    struct json *j = json_new();
    g_autofree char *text = NULL;

    json_object_begin(j, NULL);
    options_foreach(o, append_member, j);
    json_object_end(j);
    text = json_finish(j);
    assert(options_parse_json(again, text, NULL) == 0);
    expect_same(o, again);
}

/* Looks at values as drivers do. */
static void take_some(struct options *o)
{
    static const char *const names[] = {"off", "on", "unmap", NULL};
    g_autoptr(options) child = NULL;
    int64_t size = -1;
    int word = -1;
    bool on = false;
    int rc;

    child = options_take_child(o, "file");
    assert(!options_has_child(o, "file"));
    rc = options_take_size(o, "size", &size, NULL);
    assert(rc <= 0 || size >= 0);
    rc = options_take_int(o, "offset", 0, 1000, &size, NULL);
    assert(rc <= 0 || (size >= 0 && size <= 1000));
    rc = options_take_enum(o, "detect-zeroes", names, &word, NULL);
    assert(rc <= 0 || (word >= 0 && word < 3));
    (void)!options_take_bool(o, "read-only", &on, NULL);
    options_rename_child(child, "a", "b");
    assert(!options_has_child(child, "a"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    g_autofree char *text = g_strndup((const char *)data, bytes);
    bool json = *text == '{';
    g_autoptr(options) o = options_new();
    g_autoptr(GError) err = NULL;
    int rc =
        json ? options_parse_json(o, text, &err) : options_parse(o, text, &err);

    assert((rc < 0) == (err && *err->message));
    if (rc == 0) {
        if (!json) {
            check_list(o);
        }
        if (g_utf8_validate(text, -1, NULL)) {
            check_json(o);
        }
        take_some(o);
    }
    return 0;
}
