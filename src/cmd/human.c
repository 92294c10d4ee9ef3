/* SPDX-License-Identifier: MIT */

#include "cmd/human.h"

#include <assert.h>
#include <string.h>

/* @value in the largest of @units that leaves it >= 1; @step between two. */
static char *human_scaled(int64_t value, int64_t step, const char *const *units)
{
    double scaled = (double)value;
    g_autofree char *text = NULL;

    /* 999.95 would be printed as 1000.0. */
    while (scaled >= (double)step - 0.05 && units[1]) {
        scaled /= (double)step;
        units++;
    }
    text = g_strdup_printf("%.1f", scaled);
    if (g_str_has_suffix(text, ".0")) {
        text[strlen(text) - 2] = '\0';
    }
    return g_strdup_printf("%s %s", text, *units);
}

char *human_size(int64_t bytes)
{
    static const char *const units[] = {"B",   "KiB", "MiB", "GiB",
                                        "TiB", "PiB", "EiB", NULL};

    return human_scaled(bytes, 1024, units);
}

char *human_latency(int64_t ns)
{
    static const char *const units[] = {"ns", "us", "ms", "s", NULL};

    return ns ? human_scaled(ns, 1000, units) : g_strdup("0");
}

char *human_count(int64_t n)
{
    g_autofree char *digits = g_strdup_printf("%" G_GINT64_FORMAT, n);
    GString *text = g_string_new(NULL);
    size_t length = strlen(digits);

    for (size_t i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0 && digits[i - 1] != '-') {
            g_string_append_c(text, ',');
        }
        g_string_append_c(text, digits[i]);
    }
    return g_string_free(text, FALSE);
}

char *human_age(int64_t seconds)
{
    static const struct {
        const char *unit;
        int64_t seconds;
    } units[] = {{"d", 86400}, {"h", 3600}, {"min", 60}, {"s", 1}};
    size_t i = 0;

    while (i < G_N_ELEMENTS(units) - 1 && seconds < units[i].seconds) {
        i++;
    }
    return g_strdup_printf("%" G_GINT64_FORMAT " %s",
                           seconds / units[i].seconds, units[i].unit);
}

char *human_percent(int64_t part, int64_t whole)
{
    if (whole == 0) {
        return g_strdup("-");
    }
    return g_strdup_printf("%.1f%%", 100.0 * (double)part / (double)whole);
}

struct table {
    unsigned columns;
    GPtrArray *cells; /* char *, owned, row after row */
};

struct table *table_new(unsigned columns)
{
    struct table *t = g_new(struct table, 1);

    assert(columns > 0);
    t->columns = columns;
    t->cells = g_ptr_array_new_with_free_func(g_free);
    return t;
}

void table_take(struct table *t, char *text)
{
    g_ptr_array_add(t->cells, text);
}

void table_add(struct table *t, const char *text)
{
    table_take(t, g_strdup(text));
}

static int table_width(const struct table *t, unsigned column)
{
    int width = 0;

    for (unsigned i = column; i < t->cells->len; i += t->columns) {
        const char *cell = g_ptr_array_index(t->cells, i);

        width = MAX(width, (int)g_utf8_strlen(cell, -1));
    }
    return width;
}

/* Appends @cell in @width columns; a negative width is aligned left. */
static void table_append(GString *out, const char *cell, int width)
{
    int blanks = ABS(width) - (int)g_utf8_strlen(cell, -1);

    if (width >= 0) {
        g_string_append_printf(out, "%*s%s", blanks, "", cell);
    } else {
        g_string_append_printf(out, "%s%*s", cell, blanks, "");
    }
}

char *table_finish(struct table *t)
{
    g_autofree int *widths = g_new(int, t->columns);
    GString *out = g_string_new(NULL);

    assert(t->cells->len % t->columns == 0);
    for (unsigned c = 0; c < t->columns; c++) {
        widths[c] = table_width(t, c);
    }
    for (unsigned i = 0; i < t->cells->len; i++) {
        unsigned c = i % t->columns;

        if (c > 0) {
            g_string_append(out, "  ");
        }
        table_append(out, g_ptr_array_index(t->cells, i),
                     c > 0 ? widths[c] : -widths[c]);
        if (c == t->columns - 1) {
            while (out->len && out->str[out->len - 1] == ' ') {
                g_string_truncate(out, out->len - 1);
            }
            g_string_append_c(out, '\n');
        }
    }
    g_ptr_array_unref(t->cells);
    g_free(t);
    return g_string_free(out, FALSE);
}
