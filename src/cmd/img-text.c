/* SPDX-License-Identifier: MIT */

#include "cmd/img-text.h"

#include <inttypes.h>
#include <string.h>

#include "block/image.h"

char *img_size_text(int64_t bytes)
{
    static const char *const units[] = {"",   "Ki", "Mi", "Gi",
                                        "Ti", "Pi", "Ei", NULL};
    double n = (double)bytes;
    int i = 0;

    while (n >= 1000 && units[i + 1]) {
        n /= 1024;
        i++;
    }
    return g_strdup_printf("%0.3g %sB", n, units[i]);
}

char *img_snapshot_head(void)
{
    return g_strdup_printf("%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG",
                           "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
}

char *img_snapshot_row(const struct image_snapshot *s)
{
    g_autoptr(GDateTime) when = g_date_time_new_from_unix_local(s->date_sec);
    g_autofree char *date =
        when ? g_date_time_format(when, "%Y-%m-%d %H:%M:%S") : NULL;
    g_autofree char *size = img_size_text(s->vm_state_bytes);
    int64_t ms = s->vm_clock_ns / 1000000;
    g_autofree char *clock = g_strdup_printf(
        "%02" PRId64 ":%02" PRId64 ":%02" PRId64 ".%03" PRId64, ms / 3600000,
        ms / 60000 % 60, ms / 1000 % 60, ms % 1000);
    g_autofree char *icount =
        s->icount < 0 ? g_strdup("") : g_strdup_printf("%" PRId64, s->icount);

    return g_strdup_printf("%-9s %-16s %8s%20s%13s%11s\n", s->id, s->name, size,
                           date ? date : "?", clock, icount);
}

/* -- JSON as lines ------------------------------------------------------- */

#define MAX_LEVELS 16

struct lines {
    GString *out;
    int level;             /* of the members that are read */
    int index[MAX_LEVELS]; /* of the next element; -1: an object */
};

/* The string that begins with the quote at @p, to the quote that ends it. */
static char *unquote(const char *p, const char **behind)
{
    GString *s = g_string_new(NULL);

    for (p++; *p && *p != '"'; p++) {
        p += *p == '\\' && p[1];
        g_string_append_c(s, *p);
    }
    *behind = *p ? p + 1 : p;
    return g_string_free(s, FALSE);
}

/* Appends the key of a member, or the index of an element. */
static const char *lines_key(struct lines *l, const char *p)
{
    int *index = &l->index[l->level];
    g_autofree char *key = NULL;

    g_string_append_printf(l->out, "%*s", 4 * l->level, "");
    if (*index >= 0) {
        g_string_append_printf(l->out, "[%d]:", (*index)++);
        return p;
    }
    key = unquote(p, &p);
    g_string_append_printf(l->out, "%s:", g_strdelimit(key, "-", ' '));
    return p + strspn(p, ": ");
}

static void lines_value(struct lines *l, const char *p)
{
    g_autofree char *text = NULL;

    if (*p == '{' || *p == '[') {
        g_string_append_c(l->out, '\n');
        if (p[1] != '}' && p[1] != ']' && l->level < MAX_LEVELS - 1) {
            l->index[++l->level] = *p == '[' ? 0 : -1;
        }
        return;
    }
    text = *p == '"' ? unquote(p, &p) : g_strndup(p, strcspn(p, ","));
    g_string_append_printf(l->out, " %s\n", text);
}

char *img_json_to_lines(const char *json)
{
    g_auto(GStrv) rows = g_strsplit(json, "\n", -1);
    struct lines l = {.out = g_string_new(NULL)};

    for (int i = 0; rows[i]; i++) {
        const char *p = rows[i] + strspn(rows[i], " ");

        if (l.level == 0) {
            l.level = *p == '{' && !p[1];
            l.index[1] = -1;
        } else if (*p == '}' || *p == ']') {
            l.level--;
        } else if (*p) {
            lines_value(&l, lines_key(&l, p));
        }
    }
    return g_string_free(l.out, FALSE);
}
