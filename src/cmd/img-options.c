/* SPDX-License-Identifier: MIT */

#include "cmd/img-options.h"

#include <stdio.h>
#include <string.h>

#include "block/driver.h"
#include "block/image.h"
#include "cmd/img.h"
#include "tool/create.h"

char *img_join_options(const GPtrArray *list)
{
    GString *joined;

    if (list->len == 0) {
        return NULL;
    }
    joined = g_string_new(NULL);
    for (guint i = 0; i < list->len; i++) {
        const char *text = g_ptr_array_index(list, i);

        g_string_append_printf(joined, "%s%s", i ? "," : "", text);
    }
    return g_string_free(joined, FALSE);
}

bool img_options_want_help(const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);

    for (int i = 0; parts[i]; i++) {
        if (strcmp(parts[i], "help") == 0 || strcmp(parts[i], "?") == 0) {
            return true;
        }
    }
    return false;
}

int img_print_options(const char *format, enum img_options_kind kind)
{
    GError *err = NULL;
    const struct driver *drv = create_driver(format, &err);
    const struct image_option *o = drv ? drv->image->options : NULL;

    if (!drv) {
        return img_fail(err);
    }
    (void)printf("%s %s options:\n",
                 kind == IMG_OPTIONS_AMEND ? "Amend" : "Supported", drv->name);
    for (; o && o->name; o++) {
        if (create_option_is_for(o, kind == IMG_OPTIONS_AMEND)) {
            g_autofree char *left = g_strdup_printf("  %s=<...>", o->name);

            (void)printf("%-25s - %s%s%s%s\n", left, o->help,
                         o->value ? " (default: " : "",
                         o->value ? o->value : "", o->value ? ")" : "");
        }
    }
    return CMD_OK;
}
