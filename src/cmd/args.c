/* SPDX-License-Identifier: MIT */

#include "cmd/args.h"

#include <assert.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cmd/nearest.h"

#define HELP_COLUMN 30
#define HELP_WIDTH  80
/* getopt_long() returns this plus the index of a long option. */
#define LONG_BASE 0x1000

/* ":" first: a missing value is told from an unknown option. */
static char *letters_of(const struct arg_syntax *syntax)
{
    GString *letters = g_string_new(":h");

    for (size_t i = 0; i < syntax->n_args; i++) {
        const struct arg *a = &syntax->args[i];

        if (a->letter) {
            g_string_append_c(letters, a->letter);
            g_string_append(letters, a->value ? ":" : "");
        }
    }
    return g_string_free(letters, FALSE);
}

/* Ends with an empty element; "help" is the last before it. */
static struct option *longs_of(const struct arg_syntax *syntax)
{
    struct option *longs = g_new0(struct option, syntax->n_args + 2);
    size_t n = 0;

    for (size_t i = 0; i < syntax->n_args; i++) {
        const struct arg *a = &syntax->args[i];

        if (a->name) {
            longs[n++] = (struct option){
                .name = a->name,
                .has_arg = a->value ? required_argument : no_argument,
                .val = LONG_BASE + (int)i,
            };
        }
    }
    longs[n] = (struct option){.name = "help", .val = 'h'};
    return longs;
}

/* The row that getopt_long() means by @c, or NULL. */
static const struct arg *find_arg(const struct arg_syntax *syntax, int c)
{
    if (c >= LONG_BASE) {
        return &syntax->args[c - LONG_BASE];
    }
    for (size_t i = 0; i < syntax->n_args; i++) {
        if (syntax->args[i].letter == c) {
            return &syntax->args[i];
        }
    }
    return NULL;
}

static void store(const struct arg *a, const char *value)
{
    if (a->order) {
        g_ptr_array_add(a->order, (char *)(gsize)a->name);
    }
    if (a->flag) {
        *a->flag = true;
    } else if (a->list) {
        g_ptr_array_add(a->list, (char *)(gsize)value);
    } else if (a->text) {
        *a->text = value;
    }
}

/* @typed is the element of argv that getopt_long() refused. */
static char *explain_unknown(const struct arg_syntax *syntax, const char *typed,
                             int letter)
{
    g_autofree const char **names = g_new0(const char *, syntax->n_args);
    g_autofree char *bare = g_strndup(typed, strcspn(typed, "="));
    g_autofree char *hint = NULL;

    if (letter > 0 && letter < LONG_BASE) {
        return g_strdup_printf("there is no option -%c", letter);
    }
    for (size_t i = 0; i < syntax->n_args; i++) {
        names[i] = syntax->args[i].name;
    }
    hint = nearest_hint(bare + strspn(bare, "-"), names, syntax->n_args);
    return g_strdup_printf("there is no option %s%s", bare, hint);
}

static char *explain_missing(const struct arg_syntax *syntax, const char *typed)
{
    const struct arg *a = find_arg(syntax, optopt);

    return g_strdup_printf("option %s needs a value%s%s", typed, a ? ": " : "",
                           a ? a->value : "");
}

enum args_result args_parse(const struct arg_syntax *syntax, const char *usage,
                            int argc, char **argv, int *operands, char **error)
{
    g_autofree char *letters = letters_of(syntax);
    g_autofree struct option *longs = longs_of(syntax);
    const struct arg *a;
    int c;

    optind = 0; /* begin anew */
    opterr = 0;
    while ((c = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        if (c == 'h' && !find_arg(syntax, 'h')) {
            g_autofree char *help = args_help(syntax, usage);

            (void)fputs(help, stdout);
            return ARGS_HELP;
        }
        if (c == '?') {
            *error = explain_unknown(syntax, argv[optind - 1], optopt);
            return ARGS_BAD;
        }
        if (c == ':') {
            *error = explain_missing(syntax, argv[optind - 1]);
            return ARGS_BAD;
        }
        a = find_arg(syntax, c);
        assert(a); /* both tables were made from this one */
        store(a, optarg);
    }
    *operands = optind;
    return ARGS_OK;
}

/* Appends @text as lines of HELP_WIDTH columns, all but the first of them
 * indented to HELP_COLUMN. */
static void help_wrap(GString *help, const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    size_t column = HELP_COLUMN;

    for (size_t i = 0; words[i]; i++) {
        size_t n = strlen(words[i]);

        if (i > 0 && column + 1 + n > HELP_WIDTH) {
            g_string_append_printf(help, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (i > 0) {
            g_string_append_c(help, ' ');
            column++;
        }
        g_string_append(help, words[i]);
        column += n;
    }
    g_string_append_c(help, '\n');
}

static void help_option(GString *help, const struct arg *a)
{
    g_autoptr(GString) left = g_string_new("  ");

    if (a->letter) {
        g_string_append_printf(left, "-%c", a->letter);
    } else {
        g_string_append(left, "   ");
    }
    if (a->name) {
        g_string_append_printf(left, "%s --%s", a->letter ? "," : "", a->name);
    }
    if (a->value) {
        g_string_append_printf(left, "%s%s", a->name ? "=" : " ", a->value);
    }
    if (left->len > HELP_COLUMN - 2) {
        g_string_append_printf(help, "%s\n%*s", left->str, HELP_COLUMN, "");
    } else {
        g_string_append_printf(help, "%-*s", HELP_COLUMN, left->str);
    }
    help_wrap(help, a->help);
}

char *args_help(const struct arg_syntax *syntax, const char *usage)
{
    GString *help = g_string_new(NULL);

    g_string_append_printf(help, "Usage: %s [OPTION...] %s\n\n%s\n\nOptions:\n",
                           usage, syntax->operands, syntax->summary);
    for (size_t i = 0; i < syntax->n_args; i++) {
        if (syntax->args[i].help) {
            help_option(help, &syntax->args[i]);
        }
    }
    g_string_append_printf(help, "%-*s%s\n", HELP_COLUMN, "  -h, --help",
                           "print this help");
    return g_string_free(help, FALSE);
}
