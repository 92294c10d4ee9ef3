/* SPDX-License-Identifier: MIT */

#include "base/options.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"

struct options {
    GHashTable *values; /* char * to char *, both owned */
};

struct options *options_new(void)
{
    struct options *o = g_new0(struct options, 1);

    o->values = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return o;
}

void options_free(struct options *o)
{
    if (o) {
        g_hash_table_unref(o->values);
        g_free(o);
    }
}

struct options *options_clone(const struct options *o)
{
    struct options *copy = options_new();

    options_merge(copy, o);
    return copy;
}

void options_merge(struct options *o, const struct options *from)
{
    GHashTableIter it;
    gpointer key, value;

    g_hash_table_iter_init(&it, from->values);
    while (g_hash_table_iter_next(&it, &key, &value)) {
        options_set(o, key, value);
    }
}

void options_set(struct options *o, const char *key, const char *value)
{
    g_hash_table_replace(o->values, g_strdup(key), g_strdup(value));
}

void options_set_default(struct options *o, const char *key, const char *value)
{
    if (!options_peek(o, key)) {
        options_set(o, key, value);
    }
}

const char *options_peek(const struct options *o, const char *key)
{
    return g_hash_table_lookup(o->values, key);
}

char *options_next_item(const char **text)
{
    GString *item = g_string_new(NULL);
    const char *p = *text;

    while (*p && !(*p == ',' && p[1] != ',')) {
        p += *p == ',';
        g_string_append_c(item, *p++);
    }
    *text = p + (*p == ',');
    return g_string_free(item, FALSE);
}

int options_parse(struct options *o, const char *text, GError **err)
{
    while (*text) {
        g_autofree char *item = options_next_item(&text);
        char *eq = strchr(item, '=');

        if (eq) {
            *eq = '\0';
        }
        if (!*item) {
            return error_set(err, -EINVAL,
                             "an option is empty; write KEY=VALUE[,KEY=VALUE]");
        }
        options_set(o, item, eq ? eq + 1 : "on");
    }
    return 0;
}

char *options_take(struct options *o, const char *key)
{
    g_autofree char *old_key = NULL;
    char *value = NULL;

    (void)g_hash_table_steal_extended(o->values, key, (gpointer *)&old_key,
                                      (gpointer *)&value);
    return value;
}

int options_take_bool(struct options *o, const char *key, bool *ret,
                      GError **err)
{
    static const char *const names[] = {"off",  "on", "no", "yes", "false",
                                        "true", "0",  "1",  NULL};
    int which = 0;
    int rc = options_take_enum(o, key, names, &which, err);

    if (rc > 0) {
        *ret = which % 2;
    }
    return rc;
}

/* The part behind a decimal point, as millionths; leaves *@text behind it. */
static int64_t parse_fraction(const char **text)
{
    int64_t value = 0;
    int64_t weight = 100 * 1000;

    for (; g_ascii_isdigit(**text); (*text)++) {
        value += weight * (**text - '0');
        weight /= 10;
    }
    return value;
}

int parse_size(const char *text, int64_t *ret)
{
    static const char suffixes[] = "BKMGTPE";
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    int64_t millionths = 0;
    const char *suffix, *at;
    char *end;
    guint64 n;
    unsigned shift;

    if (!g_ascii_isdigit(*text)) {
        return -EINVAL;
    }
    errno = 0;
    n = g_ascii_strtoull(text, &end, hex ? 16 : 10);
    if (errno || end == text) {
        return errno == ERANGE ? -ERANGE : -EINVAL;
    }
    at = end;
    if (*at == '.' && !hex) {
        at++;
        millionths = parse_fraction(&at);
    }
    suffix = strchr(suffixes, *at ? g_ascii_toupper(*at) : 'B');
    if (!suffix || (*at && at[1])) {
        return -EINVAL;
    }
    shift = 10 * (unsigned)(suffix - suffixes);
    if (millionths && shift == 0) {
        return -EINVAL;
    }
    if (n > (guint64)INT64_MAX >> shift) {
        return -ERANGE;
    }
    n <<= shift;
    /* To the nearest byte. */
    n += (guint64)((double)millionths / 1e6 * (double)(1ULL << shift) + 0.5);
    if (n > INT64_MAX) {
        return -ERANGE;
    }
    *ret = (int64_t)n;
    return 0;
}

int options_take_size(struct options *o, const char *key, int64_t *ret,
                      GError **err)
{
    g_autofree char *value = options_take(o, key);

    if (!value) {
        return 0;
    }
    if (parse_size(value, ret) < 0) {
        return error_set(err, -EINVAL,
                         "%s=%s: not a size; write bytes, or a number with "
                         "one of k M G T P E",
                         key, value);
    }
    return 1;
}

int options_take_int(struct options *o, const char *key, int64_t min,
                     int64_t max, int64_t *ret, GError **err)
{
    g_autofree char *value = options_take(o, key);
    gint64 n;

    if (!value) {
        return 0;
    }
    if (!g_ascii_string_to_signed(value, 10, min, max, &n, NULL)) {
        return error_set(err, -EINVAL,
                         "%s=%s: not a number from %" G_GINT64_FORMAT
                         " to %" G_GINT64_FORMAT,
                         key, value, min, max);
    }
    *ret = n;
    return 1;
}

int options_take_enum(struct options *o, const char *key,
                      const char *const *names, int *ret, GError **err)
{
    g_autofree char *value = options_take(o, key);
    g_autofree char *allowed = NULL;

    if (!value) {
        return 0;
    }
    for (int i = 0; names[i]; i++) {
        if (strcmp(value, names[i]) == 0) {
            *ret = i;
            return 1;
        }
    }
    allowed = g_strjoinv(", ", (char **)names);
    return error_set(err, -EINVAL, "%s=%s: not one of %s", key, value, allowed);
}

void options_foreach(const struct options *o,
                     void (*each)(void *opaque, const char *key,
                                  const char *value),
                     void *opaque)
{
    GHashTableIter it;
    gpointer key, value;

    g_hash_table_iter_init(&it, o->values);
    while (g_hash_table_iter_next(&it, &key, &value)) {
        each(opaque, key, value);
    }
}

bool options_has_child(const struct options *o, const char *child)
{
    size_t n = strlen(child);
    GHashTableIter it;
    gpointer key;

    g_hash_table_iter_init(&it, o->values);
    while (g_hash_table_iter_next(&it, &key, NULL)) {
        const char *name = key;

        if (strncmp(name, child, n) == 0 && name[n] == '.') {
            return true;
        }
    }
    return false;
}

struct options *options_take_child(struct options *o, const char *child)
{
    g_autofree char *prefix = g_strconcat(child, ".", NULL);
    struct options *taken = options_new();
    GHashTableIter it;
    gpointer key, value;

    g_hash_table_iter_init(&it, o->values);
    while (g_hash_table_iter_next(&it, &key, &value)) {
        if (g_str_has_prefix(key, prefix)) {
            options_set(taken, (char *)key + strlen(prefix), value);
            g_hash_table_iter_remove(&it);
        }
    }
    return taken;
}

void options_rename_child(struct options *o, const char *from, const char *to)
{
    g_autoptr(options) child = options_take_child(o, from);
    g_autofree char *whole = options_take(o, from);
    GHashTableIter it;
    gpointer key, value;

    if (whole) {
        options_set(o, to, whole);
    }
    g_hash_table_iter_init(&it, child->values);
    while (g_hash_table_iter_next(&it, &key, &value)) {
        g_autofree char *name = g_strconcat(to, ".", (char *)key, NULL);

        options_set(o, name, value);
    }
}

const char *options_leftover(const struct options *o)
{
    GHashTableIter it;
    gpointer key = NULL;

    g_hash_table_iter_init(&it, o->values);
    (void)g_hash_table_iter_next(&it, &key, NULL);
    return key;
}
