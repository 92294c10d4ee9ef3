/* SPDX-License-Identifier: MIT */

#include "front/mountinfo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mount_entry_clear(struct mount_entry *m)
{
    g_clear_pointer(&m->mountpoint, g_free);
    g_clear_pointer(&m->fstype, g_free);
    g_clear_pointer(&m->source, g_free);
}

/* The kernel writes blank, tab, newline and backslash as \ooo. */
static char *mountinfo_unescape(const char *field)
{
    return g_strcompress(field);
}

static uid_t mountinfo_owner(const char *super_options)
{
    const char *at = strstr(super_options, "user_id=");

    return at ? (uid_t)strtoul(at + strlen("user_id="), NULL, 10) : (uid_t)-1;
}

/*
 * A line is:
 *   ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [TAG…] - TYPE SOURCE SUPER
 */
static bool mountinfo_parse_line(const char *line, struct mount_entry *ret)
{
    g_auto(GStrv) fields = g_strsplit(line, " ", -1);
    unsigned n = g_strv_length(fields), dash = 6;

    while (dash < n && strcmp(fields[dash], "-") != 0) {
        dash++;
    }
    if (dash + 3 >= n ||
        sscanf(fields[2], "%u:%u", &ret->major, &ret->minor) != 2) {
        return false;
    }
    ret->mountpoint = mountinfo_unescape(fields[4]);
    ret->fstype = mountinfo_unescape(fields[dash + 1]);
    ret->source = mountinfo_unescape(fields[dash + 2]);
    ret->owner = mountinfo_owner(fields[dash + 3]);
    return true;
}

/* What is looked for: a place or, when that is NULL, a device. */
struct wanted {
    const char *mountpoint;
    unsigned major, minor;
};

static bool is_wanted(const struct mount_entry *m, const struct wanted *w)
{
    if (w->mountpoint) {
        return strcmp(m->mountpoint, w->mountpoint) == 0;
    }
    return m->major == w->major && m->minor == w->minor;
}

static bool parse_for(const char *mountinfo, const struct wanted *w,
                      struct mount_entry *ret)
{
    g_auto(GStrv) lines = g_strsplit(mountinfo, "\n", -1);

    /* Later lines are mounted on top of earlier ones. */
    for (unsigned i = g_strv_length(lines); i-- > 0;) {
        struct mount_entry m = {.owner = (uid_t)-1};

        if (mountinfo_parse_line(lines[i], &m) && is_wanted(&m, w)) {
            *ret = m;
            return true;
        }
        mount_entry_clear(&m);
    }
    return false;
}

bool mountinfo_parse(const char *mountinfo, const char *mountpoint,
                     struct mount_entry *ret)
{
    const struct wanted w = {.mountpoint = mountpoint};

    return parse_for(mountinfo, &w, ret);
}

bool mountinfo_parse_device(const char *mountinfo, unsigned major,
                            unsigned minor, struct mount_entry *ret)
{
    const struct wanted w = {.major = major, .minor = minor};

    return parse_for(mountinfo, &w, ret);
}

static int find_for(const struct wanted *w, struct mount_entry *ret)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL)) {
        return -EIO;
    }
    return parse_for(text, w, ret) ? 0 : -ENOENT;
}

int mountinfo_find(const char *mountpoint, struct mount_entry *ret)
{
    const struct wanted w = {.mountpoint = mountpoint};

    return find_for(&w, ret);
}

int mountinfo_find_device(unsigned major, unsigned minor,
                          struct mount_entry *ret)
{
    const struct wanted w = {.major = major, .minor = minor};

    return find_for(&w, ret);
}

bool mount_entry_same(const struct mount_entry *a, const struct mount_entry *b)
{
    return a->major == b->major && a->minor == b->minor;
}

bool mount_entry_is_coblk(const struct mount_entry *m)
{
    return strcmp(m->fstype, MOUNTINFO_FSTYPE) == 0;
}

static char *canonical_existing(const char *path)
{
    char *real = realpath(path, NULL);
    char *copy = g_strdup(real);

    free(real);
    return copy;
}

char *mountinfo_canonical(const char *path)
{
    g_autofree char *parent = NULL;
    g_autofree char *base = g_path_get_basename(path); /* no slash behind */
    g_autofree char *dir = NULL;
    g_autofree char *candidate = NULL;
    g_autofree char *trimmed = g_strdup(path);
    g_auto(mount_entry) m = {0};

    for (size_t n = strlen(trimmed); n > 1 && trimmed[n - 1] == '/'; n--) {
        trimmed[n - 1] = '\0';
    }
    if (strcmp(base, ".") == 0 || strcmp(base, "..") == 0 ||
        strcmp(base, "/") == 0) {
        return canonical_existing(trimmed);
    }
    dir = g_path_get_dirname(trimmed);
    parent = canonical_existing(dir);
    if (!parent) {
        return NULL;
    }
    candidate = g_build_filename(parent, base, NULL);
    if (mountinfo_find(candidate, &m) == 0) {
        return g_steal_pointer(&candidate);
    }
    return canonical_existing(trimmed); /* not a mount: a link, perhaps */
}
