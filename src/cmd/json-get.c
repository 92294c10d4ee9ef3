/* SPDX-License-Identifier: MIT */

#include "cmd/json-get.h"

#include <glib.h>
#include <string.h>

#define JSON_MAX_DEPTH 32

static const char *skip_blanks(const char *p)
{
    return p + strspn(p, " \t\r\n");
}

/* Behind the string that begins at @p, or NULL. */
static const char *skip_string(const char *p)
{
    if (*p != '"') {
        return NULL;
    }
    for (p++; *p && *p != '"'; p++) {
        if (*p == '\\' && !*++p) {
            return NULL;
        }
    }
    return *p ? p + 1 : NULL;
}

/*
 * Behind the value that begins at @p, or NULL.  Brackets are counted, not
 * matched with each other: what is skipped need not be understood.
 */
static const char *skip_value(const char *p)
{
    int depth = 0;

    do {
        p = skip_blanks(p);
        if (*p == '{' || *p == '[') {
            if (++depth > JSON_MAX_DEPTH) {
                return NULL;
            }
            p++;
        } else if (*p == '}' || *p == ']') {
            depth--;
            p++;
        } else if (*p == '"') {
            p = skip_string(p);
        } else if (*p == ',' || *p == ':') {
            p++;
        } else {
            size_t n = strcspn(p, " \t\r\n,:{}[]\"");

            p = n ? p + n : NULL;
        }
    } while (p && depth > 0);
    return p;
}

/* Where the value of @key (@n bytes) of the object at @p begins, or NULL. */
static const char *find_member(const char *p, const char *key, size_t n)
{
    p = skip_blanks(p);
    if (*p != '{') {
        return NULL;
    }
    do {
        const char *name = skip_blanks(p + 1);
        const char *end = skip_string(name);

        p = end ? skip_blanks(end) : NULL;
        if (!p || *p != ':') {
            return NULL;
        }
        p = skip_blanks(p + 1);
        if ((size_t)(end - name) == n + 2 && memcmp(name + 1, key, n) == 0) {
            return p;
        }
        p = skip_value(p);
        p = p ? skip_blanks(p) : NULL;
    } while (p && *p == ',');
    return NULL;
}

static const char *find_value(const char *text, const char *path)
{
    while (text && *path) {
        size_t n = strcspn(path, ".");

        text = find_member(text, path, n);
        path += n + (path[n] == '.');
    }
    return text;
}

bool json_get_int(const char *text, const char *path, int64_t *ret)
{
    const char *at = find_value(text, path);
    char *end;
    gint64 n;

    if (!at || (*at != '-' && !g_ascii_isdigit(*at))) {
        return false;
    }
    n = g_ascii_strtoll(at, &end, 10);
    if (*end == '.' || *end == 'e' || *end == 'E') {
        return false;
    }
    *ret = n;
    return true;
}
