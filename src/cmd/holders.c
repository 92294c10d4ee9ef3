/* SPDX-License-Identifier: MIT */

#include "cmd/holders.h"

#include <glib.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "front/mountinfo.h"

#define HOLDERS_MAX 4

struct holders {
    const char *mountpoint;
    GPtrArray *names; /* char *, owned */
};

static bool is_at_or_below(const char *path, const char *mountpoint)
{
    size_t n = strlen(mountpoint);

    return strncmp(path, mountpoint, n) == 0 &&
           (path[n] == '\0' || path[n] == '/' || path[n] == ' ');
}

static bool link_is_below(const char *link, const char *mountpoint)
{
    g_autofree char *target = g_file_read_link(link, NULL);

    return target && is_at_or_below(target, mountpoint);
}

/* Does any link in @dir lead to the mount? */
static bool links_are_below(const char *dir, const char *mountpoint)
{
    g_autoptr(GDir) links = g_dir_open(dir, 0, NULL);
    const char *name;

    while (links && (name = g_dir_read_name(links))) {
        g_autofree char *link = g_build_filename(dir, name, NULL);

        if (link_is_below(link, mountpoint)) {
            return true;
        }
    }
    return false;
}

static bool process_holds(const char *pid, const char *mountpoint)
{
    static const char *const single[] = {"cwd", "root", "exe"};
    static const char *const many[] = {"fd", "map_files"};

    for (size_t i = 0; i < G_N_ELEMENTS(single); i++) {
        g_autofree char *link = g_build_filename("/proc", pid, single[i], NULL);

        if (link_is_below(link, mountpoint)) {
            return true;
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(many); i++) {
        g_autofree char *dir = g_build_filename("/proc", pid, many[i], NULL);

        if (links_are_below(dir, mountpoint)) {
            return true;
        }
    }
    return false;
}

static char *process_name(const char *pid)
{
    g_autofree char *file = g_build_filename("/proc", pid, "comm", NULL);
    g_autofree char *comm = NULL;

    if (!g_file_get_contents(file, &comm, NULL, NULL)) {
        return g_strdup_printf("pid %s", pid);
    }
    return g_strdup_printf("%s (pid %s)", g_strchomp(comm), pid);
}

static void add_processes(struct holders *h)
{
    g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
    const char *name;

    while (proc && h->names->len <= HOLDERS_MAX &&
           (name = g_dir_read_name(proc))) {
        if (g_ascii_isdigit(*name) && process_holds(name, h->mountpoint)) {
            g_ptr_array_add(h->names, process_name(name));
        }
    }
}

static void add_loop_devices(struct holders *h)
{
    g_autoptr(GDir) block = g_dir_open("/sys/block", 0, NULL);
    const char *name;

    while (block && h->names->len <= HOLDERS_MAX &&
           (name = g_dir_read_name(block))) {
        g_autofree char *file =
            g_build_filename("/sys/block", name, "loop", "backing_file", NULL);
        g_autofree char *path = NULL;

        if (g_file_get_contents(file, &path, NULL, NULL) &&
            is_at_or_below(g_strchomp(path), h->mountpoint)) {
            g_ptr_array_add(h->names, g_strdup_printf("/dev/%s", name));
        }
    }
}

/* The names as one text, or NULL; frees them. */
static char *join_names(GPtrArray *names)
{
    char *list = NULL;

    if (names->len > HOLDERS_MAX) {
        g_ptr_array_set_size(names, HOLDERS_MAX);
        g_ptr_array_add(names, g_strdup("..."));
    }
    if (names->len) {
        g_ptr_array_add(names, NULL);
        list = g_strjoinv(", ", (char **)names->pdata);
    }
    g_ptr_array_unref(names);
    return list;
}

char *holders_list(const char *mountpoint)
{
    struct holders h = {
        .mountpoint = mountpoint,
        .names = g_ptr_array_new_with_free_func(g_free),
    };

    add_loop_devices(&h);
    add_processes(&h);
    return join_names(h.names);
}

/* -- Other mount name spaces --------------------------------------------- */

static char *mount_namespace(const char *pid)
{
    g_autofree char *link = g_build_filename("/proc", pid, "ns/mnt", NULL);

    return g_file_read_link(link, NULL);
}

static bool process_has_mount(const char *pid, unsigned major, unsigned minor)
{
    g_autofree char *file = g_build_filename("/proc", pid, "mountinfo", NULL);
    g_autofree char *text = NULL;
    g_auto(mount_entry) m = {0};

    return g_file_get_contents(file, &text, NULL, NULL) &&
           mountinfo_parse_device(text, major, minor, &m);
}

char *holders_elsewhere(unsigned major, unsigned minor)
{
    g_autoptr(GHashTable) seen =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
    char *own = mount_namespace("self");
    const char *pid;

    if (own) {
        (void)g_hash_table_add(seen, own);
    }
    while (proc && (pid = g_dir_read_name(proc))) {
        char *space = g_ascii_isdigit(*pid) ? mount_namespace(pid) : NULL;

        if (space && g_hash_table_add(seen, space) &&
            process_has_mount(pid, major, minor)) {
            g_ptr_array_add(names, process_name(pid));
        }
    }
    return join_names(names);
}
