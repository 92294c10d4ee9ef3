/* SPDX-License-Identifier: MIT */
/*
 * cmd/args: command lines of the image commands.
 */
#include <glib.h>
#include <string.h>

#include "cmd/args.h"

struct parsed {
    bool quiet;
    const char *format;
    GPtrArray *options;
    int operands;
    char *error;
};

static enum args_result parse(struct parsed *p, int argc, char **argv)
{
    const struct arg args[] = {
        {'q', "quiet", NULL, "print nothing", .flag = &p->quiet},
        {'f', "format", "FORMAT", "the format", .text = &p->format},
        {'o', "options", "OPTIONS", "options", .list = p->options},
        {0, "hidden", NULL, NULL, .flag = &p->quiet},
    };
    const struct arg_syntax syntax = {args, G_N_ELEMENTS(args), "FILE",
                                      "Does something."};

    return args_parse(&syntax, "prog verb", argc, argv, &p->operands,
                      &p->error);
}

static void parsed_clear(struct parsed *p)
{
    g_ptr_array_unref(p->options);
    g_free(p->error);
}

/* Options, operands and "--" in any order; what it says, as one text. */
static void test_accepted(void)
{
    static const struct {
        const char *line, *want; /* quiet format options : operands */
    } cases[] = {
        {"verb", "- - :"},
        {"verb a b", "- - : a b"},
        {"verb -q a", "q - : a"},
        {"verb a -q", "q - : a"},
        {"verb -f raw a", "- raw : a"},
        {"verb -fraw a", "- raw : a"},
        {"verb --format raw", "- raw :"},
        {"verb --format=raw", "- raw :"},
        {"verb --form raw", "- raw :"},
        {"verb -qf raw", "q raw :"},
        {"verb -f raw -f qcow2", "- qcow2 :"},
        {"verb -o a=1 x -o b=2", "- - a=1 b=2 : x"},
        {"verb -- -q", "- - : -q"},
        {"verb --hidden", "q - :"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(GStrv) words = g_strsplit(cases[i].line, " ", -1);
        g_autofree char **argv =
            g_memdup2(words, (g_strv_length(words) + 1) * sizeof(char *));
        struct parsed p = {.options = g_ptr_array_new()};
        g_autoptr(GString) got = g_string_new(NULL);

        g_test_message("%s", cases[i].line);
        g_assert_cmpint(parse(&p, (int)g_strv_length(words), argv), ==,
                        ARGS_OK);
        g_string_printf(got, "%s %s ", p.quiet ? "q" : "-",
                        p.format ? p.format : "-");
        for (guint k = 0; k < p.options->len; k++) {
            g_string_append_printf(got, "%s ",
                                   (char *)g_ptr_array_index(p.options, k));
        }
        g_string_append_c(got, ':');
        for (int k = p.operands; argv[k]; k++) {
            g_string_append_printf(got, " %s", argv[k]);
        }
        g_assert_cmpstr(got->str, ==, cases[i].want);
        parsed_clear(&p);
    }
}

/* Each names what is wrong. */
static void test_refused(void)
{
    static const struct {
        const char *line, *want; /* a part of the message */
    } cases[] = {
        {"verb -x", "-x"},
        {"verb --formt raw", "did you mean format?"},
        {"verb --formt=raw", "no option --formt; did you mean format?"},
        {"verb --nothing-like-it", "--nothing-like-it"},
        {"verb -f", "-f needs a value: FORMAT"},
        {"verb --format", "--format needs a value: FORMAT"},
        {"verb --quiet=1", "--quiet"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(GStrv) words = g_strsplit(cases[i].line, " ", -1);
        g_autofree char **argv =
            g_memdup2(words, (g_strv_length(words) + 1) * sizeof(char *));
        struct parsed p = {.options = g_ptr_array_new()};

        g_test_message("%s", cases[i].line);
        g_assert_cmpint(parse(&p, (int)g_strv_length(words), argv), ==,
                        ARGS_BAD);
        g_assert_nonnull(strstr(p.error, cases[i].want));
        parsed_clear(&p);
    }
}

static void test_help(void)
{
    bool flag;
    const char *text;
    const struct arg args[] = {
        {'q', "quiet", NULL, "print nothing", .flag = &flag},
        {0, "a-name-that-is-rather-long", "VALUE", "has a line of its own",
         .text = &text},
        {'B', NULL, "FILE", "has no long name", .text = &text},
        {0, "hidden", NULL, NULL, .flag = &flag},
    };
    const struct arg_syntax syntax = {args, G_N_ELEMENTS(args), "FILE",
                                      "Does something."};
    g_autofree char *help = args_help(&syntax, "prog verb");

    g_assert_cmpstr(help, ==,
                    "Usage: prog verb [OPTION...] FILE\n"
                    "\n"
                    "Does something.\n"
                    "\n"
                    "Options:\n"
                    "  -q, --quiet                 print nothing\n"
                    "      --a-name-that-is-rather-long=VALUE\n"
                    "                              has a line of its own\n"
                    "  -B FILE                     has no long name\n"
                    "  -h, --help                  print this help\n");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/args/accepted", test_accepted);
    g_test_add_func("/args/refused", test_refused);
    g_test_add_func("/args/help", test_help);
    return g_test_run();
}
