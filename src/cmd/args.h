/* SPDX-License-Identifier: MIT */
/*
 * args: command lines of the image commands, from one table per command that
 * also makes its --help.
 *
 * Options and operands may come in any order, "--" ends the options, and long
 * options may be cut short where that is unique.
 */
#ifndef CMD_ARGS_H
#define CMD_ARGS_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

struct arg {
    char letter;       /* 0: none */
    const char *name;  /* the long form; NULL: none */
    const char *value; /* what --help calls its value; NULL: it has none */
    const char *help;  /* NULL: not shown */
    /* Where to put it: one of these. */
    bool *flag;
    const char **text;
    GPtrArray *list; /* receives const char *, one per use */
    /* Beside these or alone: receives the name, one per use.  For options
     * whose order counts. */
    GPtrArray *order;
};

struct arg_syntax {
    const struct arg *args;
    size_t n_args;
    const char *operands; /* "FILENAME [SIZE]" */
    const char *summary;
};

enum args_result {
    ARGS_OK,
    ARGS_HELP, /* --help was given and printed */
    ARGS_BAD,  /* *@error says why */
};

/*
 * Parses @argv, whose first element is the command's name, and moves what are
 * no options to its end: *@operands is the index of the first.  g_free()
 * *@error.
 */
enum args_result args_parse(const struct arg_syntax *syntax, const char *usage,
                            int argc, char **argv, int *operands, char **error);

/* The text of --help.  @usage is the program and command.  g_free() it. */
char *args_help(const struct arg_syntax *syntax, const char *usage);

#endif /* CMD_ARGS_H */
