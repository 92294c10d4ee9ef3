/* SPDX-License-Identifier: MIT */
/*
 * img-options: the -o of the image commands.
 */
#ifndef CMD_IMG_OPTIONS_H
#define CMD_IMG_OPTIONS_H

#include <glib.h>
#include <stdbool.h>

/* Several -o as one text, or NULL when there is none.  g_free() it. */
char *img_join_options(const GPtrArray *list);

/* Is one of them "help" or "?"? */
bool img_options_want_help(const char *text);

enum img_options_kind {
    IMG_OPTIONS_ALL,
    IMG_OPTIONS_AMEND, /* those that can be changed later */
};

/* Prints the options of @format; returns the exit status. */
int img_print_options(const char *format, enum img_options_kind kind);

#endif /* CMD_IMG_OPTIONS_H */
