/* SPDX-License-Identifier: MIT */

#include "driver/device_use.h"

#include <glib.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static char **read_lines(const char *path)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return g_new0(char *, 1);
    }
    return g_strsplit(text, "\n", -1);
}

/* Lines of mountinfo: ID PARENT MAJOR:MINOR ROOT MOUNTPOINT … */
static char *use_as_mount(dev_t dev)
{
    g_auto(GStrv) lines = read_lines("/proc/self/mountinfo");

    for (char **line = lines; *line; line++) {
        g_auto(GStrv) field = g_strsplit(*line, " ", 6);
        unsigned major_nr, minor_nr;

        if (g_strv_length(field) == 6 &&
            sscanf(field[2], "%u:%u", &major_nr, &minor_nr) == 2 &&
            makedev(major_nr, minor_nr) == dev) {
            g_autofree char *where = g_strcompress(field[4]);

            return g_strdup_printf("mounted on %s", where);
        }
    }
    return NULL;
}

/* Lines of swaps: PATH TYPE … */
static char *use_as_swap(dev_t dev)
{
    g_auto(GStrv) lines = read_lines("/proc/swaps");
    struct stat st;

    for (char **line = lines; *line; line++) {
        g_auto(GStrv) field = g_strsplit(*line, " ", 2);

        if (field[0] && *field[0] == '/' && stat(field[0], &st) == 0 &&
            S_ISBLK(st.st_mode) && st.st_rdev == dev) {
            return g_strdup("swap space");
        }
    }
    return NULL;
}

/* The device mapper and md name themselves as holders. */
static char *use_by_holder(const char *sysfs)
{
    g_autofree char *path = g_strconcat(sysfs, "/holders", NULL);
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *name = dir ? g_dir_read_name(dir) : NULL;
    char *use = name ? g_strdup_printf("part of %s", name) : NULL;

    if (dir) {
        g_dir_close(dir);
    }
    return use;
}

static char *use_of_one(dev_t dev, const char *sysfs)
{
    char *use = use_as_mount(dev);

    if (!use) {
        use = use_as_swap(dev);
    }
    return use ? use : use_by_holder(sysfs);
}

/* The use of the partition in the folder @sysfs, if it is one. */
static char *use_of_partition(const char *sysfs)
{
    g_autofree char *mark = g_strconcat(sysfs, "/partition", NULL);
    g_autofree char *path = g_strconcat(sysfs, "/dev", NULL);
    g_autofree char *text = NULL;
    unsigned major_nr, minor_nr;

    if (!g_file_test(mark, G_FILE_TEST_EXISTS) ||
        !g_file_get_contents(path, &text, NULL, NULL) ||
        sscanf(text, "%u:%u", &major_nr, &minor_nr) != 2) {
        return NULL;
    }
    return use_of_one(makedev(major_nr, minor_nr), sysfs);
}

char *device_use(dev_t dev)
{
    g_autofree char *sysfs =
        g_strdup_printf("/sys/dev/block/%u:%u", major(dev), minor(dev));
    char *use = use_of_one(dev, sysfs);
    GDir *dir = use ? NULL : g_dir_open(sysfs, 0, NULL);
    const char *name;

    while (dir && !use && (name = g_dir_read_name(dir))) {
        g_autofree char *sub = g_build_filename(sysfs, name, NULL);

        use = use_of_partition(sub);
    }
    if (dir) {
        g_dir_close(dir);
    }
    return use;
}
