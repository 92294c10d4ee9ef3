/* SPDX-License-Identifier: MIT */
/*
 * cmd: what the commands of the program share.
 *
 * A command is a row in the table of main.c.  It parses its own arguments,
 * prints results on stdout, and reports what went wrong with exactly one line
 * on stderr that begins with the name it was called by.
 *
 * Exit status: 0, CMD_FAILURE (nothing was changed, or a lost write was
 * found), CMD_USAGE.
 */
#ifndef CMD_CMD_H
#define CMD_CMD_H

#include <glib.h>

enum cmd_exit {
    CMD_OK = 0,
    CMD_FAILURE = 1,
    CMD_USAGE = 2,
};

struct mount_entry;

struct command {
    const char *name;
    const char *summary; /* one line for `coblk --help` */
    /* @argv[0] is the command's own name.  Returns the exit status. */
    int (*run)(int argc, char **argv);
};

int cmd_mount(int argc, char **argv);
int cmd_umount(int argc, char **argv);
int cmd_stat(int argc, char **argv);
int cmd_io(int argc, char **argv);
/* The face that mount(8) calls. */
int cmd_mount_helper(int argc, char **argv);

/* Sets what messages and --help call this program ("coblk mount"). */
void cmd_set_name(const char *name);
const char *cmd_name(void);

/* Prints "NAME: message" on stderr and returns CMD_FAILURE or CMD_USAGE.  The
 * latter adds where help is. */
int cmd_fail(const char *format, ...) G_GNUC_PRINTF(1, 2);
int cmd_usage(const char *format, ...) G_GNUC_PRINTF(1, 2);

/*
 * Parses @argv with @entries (GLib's; the remaining arguments go to *@args,
 * to be freed with g_strfreev()).  @args_help names these arguments,
 * @description is printed below the options; both for --help, which prints
 * and exits.  Adds --version.  Returns CMD_OK or, after the message, the exit
 * status.
 */
int cmd_parse(int argc, char **argv, const GOptionEntry *entries,
              const char *args_help, const char *summary,
              const char *description, char ***args);

/* From here on it ends nothing when the reader of standard output goes away
 * (`| head`): no image may stay half written for that. */
void cmd_outlive_reader(void);

/* How wide the terminal on standard output is; 80 where it does not say. */
int cmd_columns(void);

/* Finds the mount of ours at @path.  Returns CMD_OK or, after the message, the
 * exit status. */
int cmd_find_mount(const char *path, struct mount_entry *ret);

/* Adds what --object=@text says: secret,id=ID,… (block/secret.h). */
int cmd_add_object(const char *text, GError **err);

/* Registers the drivers, formats and engines of the program. */
void cmd_register_drivers(void);

#endif /* CMD_CMD_H */
