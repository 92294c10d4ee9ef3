/* SPDX-License-Identifier: MIT */

#include "config.h"

#include "cmd/cmd.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/options.h"
#include "block/secret.h"
#include "cmd/nearest.h"
#include "front/mountinfo.h"

static const char *program = "coblk";

void cmd_set_name(const char *name)
{
    program = name;
    g_set_prgname(name);
}

const char *cmd_name(void)
{
    return program;
}

int cmd_fail(const char *format, ...)
{
    g_autofree char *message = NULL;
    va_list ap;

    va_start(ap, format);
    message = g_strdup_vprintf(format, ap);
    va_end(ap);
    (void)fprintf(stderr, "%s: %s\n", program, message);
    return CMD_FAILURE;
}

int cmd_usage(const char *format, ...)
{
    g_autofree char *message = NULL;
    va_list ap;

    va_start(ap, format);
    message = g_strdup_vprintf(format, ap);
    va_end(ap);
    (void)fprintf(stderr, "%s: %s (see '%s --help')\n", program, message,
                  program);
    return CMD_USAGE;
}

static gboolean cmd_print_version(const char *name, const char *value,
                                  void *data, GError **err)
{
    (void)printf("coblk %s\n", COBLK_VERSION);
    exit(fflush(stdout) == 0 ? CMD_OK : CMD_FAILURE);
}

/* For "Unknown option --NAME", a name of @entries that is near. */
static char *cmd_option_hint(const char *message, const GOptionEntry *entries)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    const char *typed = strstr(message, " --");

    for (; entries && entries->long_name; entries++) {
        g_ptr_array_add(names, (char *)entries->long_name);
    }
    return nearest_hint(typed ? typed + 3 : "", (const char **)names->pdata,
                        names->len);
}

/* GLib's messages begin with a capital letter; ours do not. */
static int cmd_usage_error(const GError *error, const GOptionEntry *entries)
{
    g_autofree char *message = g_strdup(error->message);
    g_autofree char *hint = NULL;

    message[0] = g_ascii_tolower(message[0]);
    if (g_error_matches(error, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION)) {
        hint = cmd_option_hint(message, entries);
    }
    return cmd_usage("%s%s", message, hint ? hint : "");
}

/* GLib writes an ellipsis, which not every terminal can show. */
static void cmd_print_help(GOptionContext *context)
{
    g_autofree char *text = g_option_context_get_help(context, TRUE, NULL);
    g_auto(GStrv) parts = g_strsplit(text, "[OPTION…]", -1);
    g_autofree char *plain = g_strjoinv("[OPTION]...", parts);

    (void)fputs(plain, stdout);
    exit(fflush(stdout) == 0 ? CMD_OK : CMD_FAILURE);
}

int cmd_parse(int argc, char **argv, const GOptionEntry *entries,
              const char *args_help, const char *summary,
              const char *description, char ***args)
{
    gboolean help = FALSE;
    const GOptionEntry common[] = {
        {"help", 'h', 0, G_OPTION_ARG_NONE, &help, "Show this help", NULL},
        {"version", 'V', G_OPTION_FLAG_NO_ARG, G_OPTION_ARG_CALLBACK,
         (void *)cmd_print_version, "Print the version", NULL},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, args, NULL,
         NULL},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context = g_option_context_new(args_help);
    g_autoptr(GError) error = NULL;

    g_option_context_set_help_enabled(context, FALSE);
    g_option_context_set_summary(context, summary);
    g_option_context_set_description(context, description);
    if (entries) {
        g_option_context_add_main_entries(context, entries, NULL);
    }
    g_option_context_add_main_entries(context, common, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        return cmd_usage_error(error, entries);
    }
    if (help) {
        cmd_print_help(context);
    }
    if (!*args) {
        *args = g_new0(char *, 1);
    }
    return CMD_OK;
}

void cmd_outlive_reader(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
}

int cmd_columns(void)
{
    struct winsize size = {.ws_col = 0};

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0
               ? size.ws_col
               : 80;
}

int cmd_add_object(const char *text, GError **err)
{
    g_autoptr(options) opts = options_new();
    const char *rest = text;
    g_autofree char *type = options_next_item(&rest);
    const char *left;
    int rc;

    if (strcmp(type, "secret") != 0 && strcmp(type, "qom-type=secret") != 0) {
        return error_set(err, -EINVAL,
                         "--object %s: the only objects there are are secrets: "
                         "secret,id=ID,file=PATH",
                         type);
    }
    rc = options_parse(opts, rest, err);
    rc = rc ? rc : secret_add(opts, err);
    left = rc ? NULL : options_leftover(opts);
    return left ? error_set(err, -EINVAL,
                            "--object secret: unknown option '%s'", left)
                : rc;
}

int cmd_find_mount(const char *path, struct mount_entry *ret)
{
    g_autofree char *mountpoint = mountinfo_canonical(path);
    int rc;

    if (!mountpoint) {
        return cmd_fail("%s: %s", path, g_strerror(errno));
    }
    rc = mountinfo_find(mountpoint, ret);
    if (rc == -ENOENT) {
        return cmd_fail("%s: nothing is mounted there", path);
    }
    if (rc < 0) {
        return cmd_fail("%s: cannot read /proc/self/mountinfo", path);
    }
    if (!mount_entry_is_coblk(ret)) {
        return cmd_fail("%s: a mount of type %s, not of coblk; use umount",
                        path, ret->fstype);
    }
    return CMD_OK;
}
