/* SPDX-License-Identifier: MIT */
/*
 * options_json: reads JSON text into a flat set of options.
 *
 * A member of an object within the object gets a key with a dot, an element of
 * an array one with its index: {"file": {"x": 1}} is file.x=1.
 */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/options.h"

/* Deeper than any tree of nodes that makes sense; bounds the recursion. */
#define JSON_MAX_DEPTH 16

struct parser {
    struct options *out;
    const char *at; /* what has not been read yet */
    GString *key;   /* of the value that is being read */
};

/* Values contain values; @depth bounds that.
 * NOLINTBEGIN(misc-no-recursion) */
static bool parse_value(struct parser *p, int depth);

static void skip_blanks(struct parser *p)
{
    p->at += strspn(p->at, " \t\r\n");
}

static bool accept(struct parser *p, char c)
{
    skip_blanks(p);
    if (*p->at != c) {
        return false;
    }
    p->at++;
    return true;
}

/* Appends the character that a \uXXXX at @p stands for. */
static bool parse_unicode(struct parser *p, GString *out)
{
    gunichar c = 0;

    for (int i = 0; i < 4; i++) {
        int digit = g_ascii_xdigit_value(*p->at);

        if (digit < 0) {
            return false;
        }
        c = c << 4 | (gunichar)digit;
        p->at++;
    }
    if (c == 0 || !g_unichar_validate(c)) {
        return false;
    }
    g_string_append_unichar(out, c);
    return true;
}

static bool parse_escape(struct parser *p, GString *out)
{
    static const char names[] = "\"'\\/bfnrt";
    static const char values[] = "\"'\\/\b\f\n\r\t";
    const char *found;

    if (*p->at == 'u') {
        p->at++;
        return parse_unicode(p, out);
    }
    found = *p->at ? strchr(names, *p->at) : NULL;
    if (!found) {
        return false;
    }
    g_string_append_c(out, values[found - names]);
    p->at++;
    return true;
}

/* A string in double or, as in shell scripts, in single quotes. */
static char *parse_string(struct parser *p)
{
    g_autoptr(GString) text = g_string_new(NULL);
    char quote;

    skip_blanks(p);
    quote = *p->at;
    if (quote != '"' && quote != '\'') {
        return NULL;
    }
    for (p->at++; *p->at != quote;) {
        if (!*p->at) {
            return NULL;
        }
        if (*p->at != '\\') {
            g_string_append_c(text, *p->at++);
            continue;
        }
        p->at++;
        if (!parse_escape(p, text)) {
            return NULL;
        }
    }
    p->at++;
    return g_strdup(text->str);
}

/* Reads the value of @name inside of what @p->key names. */
static bool parse_member(struct parser *p, const char *name, int depth)
{
    size_t length = p->key->len;
    bool ok;

    g_string_append_printf(p->key, "%s%s", length ? "." : "", name);
    ok = parse_value(p, depth);
    g_string_truncate(p->key, length);
    return ok;
}

static bool parse_object(struct parser *p, int depth)
{
    if (accept(p, '}')) {
        return true;
    }
    do {
        g_autofree char *name = parse_string(p);

        if (!name || !*name || !accept(p, ':') ||
            !parse_member(p, name, depth)) {
            return false;
        }
    } while (accept(p, ','));
    return accept(p, '}');
}

static bool parse_array(struct parser *p, int depth)
{
    if (accept(p, ']')) {
        return true;
    }
    for (unsigned i = 0;; i++) {
        char name[16];

        g_snprintf(name, sizeof(name), "%u", i);
        if (!parse_member(p, name, depth)) {
            return false;
        }
        if (!accept(p, ',')) {
            return accept(p, ']');
        }
    }
}

/* A number, true, false or null. */
static bool parse_word(struct parser *p)
{
    size_t n = strcspn(p->at, " \t\r\n,]}");
    g_autofree char *word = g_strndup(p->at, n);

    p->at += n;
    if (strcmp(word, "true") == 0) {
        options_set(p->out, p->key->str, "on");
    } else if (strcmp(word, "false") == 0) {
        options_set(p->out, p->key->str, "off");
    } else if (strcmp(word, "null") == 0) {
        options_set(p->out, p->key->str, "");
    } else if (g_ascii_isdigit(*word) || *word == '-') {
        options_set(p->out, p->key->str, word);
    } else {
        return false;
    }
    return true;
}

static bool parse_value(struct parser *p, int depth)
{
    g_autofree char *text = NULL;

    skip_blanks(p);
    if (*p->at == '{' || *p->at == '[') {
        bool object = *p->at++ == '{';

        if (depth >= JSON_MAX_DEPTH) {
            return false;
        }
        return object ? parse_object(p, depth + 1) : parse_array(p, depth + 1);
    }
    if (*p->at != '"' && *p->at != '\'') {
        return parse_word(p);
    }
    text = parse_string(p);
    if (!text) {
        return false;
    }
    options_set(p->out, p->key->str, text);
    return true;
}

/* NOLINTEND(misc-no-recursion) */

int options_parse_json(struct options *o, const char *text, GError **err)
{
    struct parser p = {.out = o, .at = text, .key = g_string_new(NULL)};
    bool ok = accept(&p, '{') && parse_object(&p, 0);

    skip_blanks(&p);
    ok = ok && !*p.at;
    g_string_free(p.key, TRUE);
    if (ok) {
        return 0;
    }
    return error_set(err, -EINVAL,
                     "not a JSON object (see '%.20s'); write {\"driver\": "
                     "\"raw\", \"file\": {\"filename\": \"PATH\"}}",
                     *p.at ? p.at : "the end");
}
