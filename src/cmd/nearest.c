/* SPDX-License-Identifier: MIT */

#include "cmd/nearest.h"

#include <glib.h>
#include <string.h>

#define NEAREST_MAX_NAME  32
#define NEAREST_MAX_HINTS 3

unsigned edit_distance(const char *a, const char *b)
{
    unsigned rows[3][NEAREST_MAX_NAME + 1];
    unsigned *before = rows[0], *prev = rows[1], *row = rows[2];
    size_t na = strnlen(a, NEAREST_MAX_NAME);
    size_t nb = strnlen(b, NEAREST_MAX_NAME);

    for (size_t j = 0; j <= nb; j++) {
        row[j] = (unsigned)j;
    }
    for (size_t i = 1; i <= na; i++) {
        unsigned *spare = before;

        before = prev;
        prev = row;
        row = spare;
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= nb; j++) {
            unsigned d = prev[j - 1] + (a[i - 1] != b[j - 1]);

            d = MIN(d, MIN(prev[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
                a[i - 2] == b[j - 1]) {
                d = MIN(d, before[j - 2] + 1);
            }
            row[j] = d;
        }
    }
    return row[nb];
}

/* A name counts as near when it begins with what was typed, or when a third
 * of what was typed (at least one character) would have to change. */
static unsigned nearest_score(const char *typed, const char *name)
{
    size_t n = strlen(typed);

    if (n >= 2 && g_str_has_prefix(name, typed)) {
        return 0;
    }
    return edit_distance(typed, name);
}

char *nearest_hint(const char *typed, const char *const *names, size_t n)
{
    unsigned limit = MAX(1, (unsigned)MIN(strlen(typed), NEAREST_MAX_NAME) / 3);
    GString *hint = g_string_new(NULL);
    unsigned found = 0;

    for (unsigned score = 0; score <= limit; score++) {
        for (size_t i = 0; i < n && found < NEAREST_MAX_HINTS; i++) {
            if (names[i] && nearest_score(typed, names[i]) == score) {
                g_string_append_printf(hint, "%s%s",
                                       found++ ? " or " : "; did you mean ",
                                       names[i]);
            }
        }
    }
    if (found) {
        g_string_append_c(hint, '?');
    }
    return g_string_free(hint, FALSE);
}
