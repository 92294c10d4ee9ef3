/* SPDX-License-Identifier: MIT */
/*
 * io: `coblk io`, qemu-io's command shell: requests to an image, one by one,
 * from -c options or from standard input.
 */
#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/options.h"
#include "block/node.h"
#include "cmd/cmd.h"
#include "cmd/img.h"
#include "cmd/io-shell.h"
#include "cmd/nearest.h"
#include "loop/loop.h"

static bool co_fn verb_help(struct io_shell *sh, const struct io_opts *o, int n,
                            char **operands);
static bool co_fn verb_quit(struct io_shell *sh, const struct io_opts *o, int n,
                            char **operands);

static const struct io_verb shell_verbs[] = {
    {"help", "?", "[COMMAND]", "tells of one or all commands", IO_VERB_ANY, 0,
     1, NULL, verb_help},
    {"quit", "q", "", "ends the program", IO_VERB_ANY, 0, 0, NULL, verb_quit},
    {.name = NULL},
};

static const struct io_verb *const tables[] = {io_image_verbs, io_rw_verbs,
                                               io_break_verbs, shell_verbs};

/* -- Messages ------------------------------------------------------------ */

bool io_fail(const char *format, ...)
{
    g_autofree char *message = NULL;
    va_list ap;

    va_start(ap, format);
    message = g_strdup_vprintf(format, ap);
    va_end(ap);
    (void)fflush(stdout); /* results and messages in the order of events */
    (void)cmd_fail("%s", message);
    return false;
}

bool io_fail_error(GError *err)
{
    g_auto(GStrv) lines = g_strsplit(err->message, "\n", -1);

    for (int i = 0; lines[i]; i++) {
        (void)io_fail("%s", lines[i]);
    }
    g_error_free(err);
    return false;
}

bool io_parse_size(const char *text, int64_t *ret)
{
    if (parse_size(text, ret) < 0) {
        return io_fail("'%s' is not a size; write bytes, or a number of k, M, "
                       "G, T, P or E",
                       text);
    }
    return true;
}

bool io_parse_number(const char *text, int64_t min, int64_t max, int64_t *ret)
{
    gint64 n;

    if (!g_ascii_string_to_signed(text, 10, min, max, &n, NULL)) {
        return io_fail("'%s' is not a number from %" G_GINT64_FORMAT
                       " to %" G_GINT64_FORMAT,
                       text, min, max);
    }
    *ret = n;
    return true;
}

/* -- Verbs --------------------------------------------------------------- */

static const struct io_verb *find_verb(const char *name)
{
    for (size_t t = 0; t < G_N_ELEMENTS(tables); t++) {
        for (const struct io_verb *v = tables[t]; v->name; v++) {
            if (strcmp(v->name, name) == 0 ||
                (v->alias && strcmp(v->alias, name) == 0)) {
                return v;
            }
        }
    }
    return NULL;
}

static void list_verbs(GPtrArray *list)
{
    for (size_t t = 0; t < G_N_ELEMENTS(tables); t++) {
        for (const struct io_verb *v = tables[t]; v->name; v++) {
            g_ptr_array_add(list, (void *)(uintptr_t)v);
        }
    }
}

static gint compare_verbs(gconstpointer a, gconstpointer b)
{
    const struct io_verb *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

static bool unknown_verb(const char *name)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    g_autofree const char **names = NULL;
    g_autofree char *hint = NULL;

    list_verbs(all);
    names = g_new0(const char *, all->len);
    for (guint i = 0; i < all->len; i++) {
        names[i] = ((const struct io_verb *)all->pdata[i])->name;
    }
    hint = nearest_hint(name, names, all->len);
    return io_fail("there is no command '%s'%s (see 'help')", name, hint);
}

static void help_all(void)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();

    list_verbs(all);
    g_ptr_array_sort(all, compare_verbs);
    for (guint i = 0; i < all->len; i++) {
        const struct io_verb *v = all->pdata[i];

        (void)printf("%s%s%s -- %s\n", v->name, *v->operands ? " " : "",
                     v->operands, v->summary);
    }
    (void)printf("\n'help COMMAND' tells the options of a command.\n");
}

static size_t verb_syntax(const struct io_verb *v, struct io_opts *o,
                          struct arg *rows, struct arg_syntax *ret)
{
    *ret = (struct arg_syntax){
        .args = rows,
        .n_args = v->args ? v->args(o, rows) : 0,
        .operands = v->operands,
        .summary = v->summary,
    };
    return ret->n_args;
}

static bool co_fn verb_help(struct io_shell *sh, const struct io_opts *o, int n,
                            char **operands)
{
    const struct io_verb *v = n > 0 ? find_verb(operands[0]) : NULL;
    struct io_opts unused;
    struct arg rows[IO_MAX_ARGS];
    struct arg_syntax syntax;

    if (n == 0) {
        help_all();
        return true;
    }
    if (!v) {
        return unknown_verb(operands[0]);
    }
    (void)verb_syntax(v, &unused, rows, &syntax);
    img_print(args_help(&syntax, v->name));
    return true;
}

static bool co_fn verb_quit(struct io_shell *sh, const struct io_opts *o, int n,
                            char **operands)
{
    sh->quit = true;
    return true;
}

/* Could @v run now, but for its operands? */
static bool check_image(const struct io_shell *sh, const struct io_verb *v)
{
    if (!sh->image && !(v->flags & IO_VERB_ANY)) {
        (void)fflush(stdout);
        (void)fprintf(stderr, "no file open, try 'help open'\n");
        return false;
    }
    if ((v->flags & IO_VERB_WRITES) && io_is_rdonly(sh->image)) {
        return io_fail("%s: %s is open read-only; 'reopen -w' may change that",
                       v->name, node_filename(io_root(sh->image)));
    }
    return true;
}

static bool co_fn run_verb(struct io_shell *sh, const struct io_verb *v,
                           int argc, char **argv)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new();
    struct io_opts o = {.options = list};
    struct arg rows[IO_MAX_ARGS];
    struct arg_syntax syntax;
    g_autofree char *error = NULL;
    int first = 0;

    (void)verb_syntax(v, &o, rows, &syntax);
    switch (args_parse(&syntax, v->name, argc, argv, &first, &error)) {
    case ARGS_HELP:
        return true;
    case ARGS_BAD:
        return io_fail("%s: %s (see 'help %s')", v->name, error, v->name);
    case ARGS_OK:
        break;
    }
    argc -= first;
    if (argc < v->min || (v->max >= 0 && argc > v->max)) {
        return io_fail("%s: too %s arguments; it is %s%s%s", v->name,
                       argc < v->min ? "few" : "many", v->name,
                       *v->operands ? " " : "", v->operands);
    }
    return check_image(sh, v) && v->run(sh, &o, argc, argv + first);
}

/* -- Lines --------------------------------------------------------------- */

struct line {
    struct io_shell *sh;
    const char *text;
    bool ok;
};

static void line_entry(void *opaque)
{
    struct line *line = opaque;
    g_auto(GStrv) split = g_strsplit_set(line->text, " \t\n", -1);
    g_autoptr(GPtrArray) words = g_ptr_array_new();
    const struct io_verb *v;

    co_assert_role();
    for (char **word = split; *word; word++) {
        if (**word) {
            g_ptr_array_add(words, *word);
        }
    }
    if (words->len == 0) {
        return;
    }
    g_ptr_array_add(words, NULL);
    v = find_verb(words->pdata[0]);
    line->ok =
        v ? run_verb(line->sh, v, (int)words->len - 1, (char **)words->pdata)
          : unknown_verb(words->pdata[0]);
}

/* Runs @text as a command.  Returns whether it worked. */
static bool run_line(struct io_shell *sh, const char *text)
{
    struct line line = {.sh = sh, .text = text, .ok = true};
    int rc = loop_co_run_blocking(sh->loop, line_entry, &line);

    return rc < 0 ? io_fail("cannot start: %s", g_strerror(-rc)) : line.ok;
}

/* -- Standard input ------------------------------------------------------ */

static void stdin_ready(void *opaque, uint32_t events)
{
    *(bool *)opaque = true;
}

/* Serves requests under way until there is input.  Where it cannot be waited
 * for, as with files, there always is. */
static void wait_for_input(struct loop *loop)
{
    bool ready = false;
    struct loop_fd lfd = {
        .fd = STDIN_FILENO,
        .events = EPOLLIN,
        .ready = stdin_ready,
        .opaque = &ready,
    };

    if (loop_add_fd(loop, &lfd) < 0) {
        return;
    }
    while (!ready) {
        loop_turn(loop, true);
    }
    loop_del_fd(loop, &lfd);
}

/* Adds what there is to @in.  False at the end. */
static bool read_more(struct loop *loop, GString *in)
{
    char buf[1024];
    ssize_t n;

    wait_for_input(loop);
    do {
        n = read(STDIN_FILENO, buf, sizeof(buf));
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        g_string_append_len(in, buf, n);
    }
    return n > 0;
}

/* Takes the next line out of @in.  NULL at the end; g_free() it. */
static char *read_line(struct loop *loop, GString *in)
{
    char *newline, *line;
    gsize n;

    while (!(newline = memchr(in->str, '\n', in->len)) && read_more(loop, in)) {
    }
    if (in->len == 0) {
        return NULL;
    }
    n = newline ? (gsize)(newline - in->str) + 1 : in->len;
    line = g_strndup(in->str, n);
    g_string_erase(in, 0, (gssize)n);
    return line;
}

static bool run_input(struct io_shell *sh)
{
    g_autoptr(GString) in = g_string_new(NULL);
    bool ok = true;

    while (!sh->quit) {
        g_autofree char *line = NULL;

        (void)printf("%s> ", cmd_name());
        (void)fflush(stdout);
        line = read_line(sh->loop, in);
        if (!line) {
            break;
        }
        ok &= run_line(sh, line);
    }
    return ok;
}

/* -- The program --------------------------------------------------------- */

struct io_main {
    struct io_shell shell;
    struct io_how how;
    bool open; /* an image is named */
    GPtrArray *commands;
    bool ok;
};

static void open_entry(void *opaque)
{
    struct io_main *m = opaque;

    co_assert_role();
    m->ok = io_open_image(&m->shell, &m->how); /* yields */
}

static void close_entry(void *opaque)
{
    struct io_main *m = opaque;

    co_assert_role();
    m->ok &= io_close_image(&m->shell); /* yields */
}

static bool run_commands(struct io_main *m)
{
    bool ok = true;

    if (m->commands->len == 0) {
        return run_input(&m->shell);
    }
    for (guint i = 0; i < m->commands->len && !m->shell.quit; i++) {
        ok &= run_line(&m->shell, m->commands->pdata[i]);
    }
    return ok;
}

static int run(struct io_main *m)
{
    int rc = loop_new(&m->shell.loop);

    cmd_outlive_reader();
    if (rc < 0) {
        return cmd_fail("cannot start: %s", g_strerror(-rc));
    }
    loop_adopt(m->shell.loop);
    m->ok = true;
    if (m->open) {
        rc = loop_co_run_blocking(m->shell.loop, open_entry, m);
    }
    if (rc == 0 && m->ok) {
        m->ok = run_commands(m);
        rc = loop_co_run_blocking(m->shell.loop, close_entry, m);
    }
    loop_free(m->shell.loop);
    if (rc < 0) {
        return cmd_fail("cannot start: %s", g_strerror(-rc));
    }
    return m->ok ? CMD_OK : CMD_FAILURE;
}

/* The command line. */
struct io_line {
    struct img_common common;
    struct io_opts o;
    bool misalign, version; /* the former means nothing to us */
    const char *trace;      /* trace points have other names here */
    GPtrArray *commands;
};

static size_t line_rows(struct io_line *l, struct arg *ret)
{
    const struct arg rows[] = {
        {'c', "cmd", "COMMAND", "run this, not standard input",
         .list = l->commands},
        IMG_ARG_FORMAT(l->common),
        IMG_ARG_OPTS(l->common),
        {'r', "read-only", NULL, "open the image read-only",
         .flag = &l->o.rdonly},
        {'s', "snapshot", NULL, "write to a temporary file that is dropped",
         .flag = &l->o.snapshot},
        IMG_ARG_CACHE(l->o.cache),
        {'n', "nocache", NULL, "the same as -t none", .flag = &l->o.nocache},
        {'d', "discard", "MODE", "unmap: discards reach the host; or ignore",
         .text = &l->o.discard},
        {'i', "aio", "MODE", "threads, or native: Linux AIO, with -t none",
         .text = &l->o.aio},
        {'k', "native-aio", NULL, "the same as -i native",
         .flag = &l->o.native},
        {'C', "copy-on-read", NULL, "keep what is read from a backing file",
         .flag = &l->o.copy_on_read},
        IMG_ARG_SHARE(l->common),
        {'m', "misalign", NULL, NULL, .flag = &l->misalign},
        {'T', "trace", "POINTS", NULL, .text = &l->trace},
        IMG_ARG_OBJECT,
        {'V', "version", NULL, "print the version", .flag = &l->version},
    };

    memcpy(ret, rows, sizeof(rows));
    return G_N_ELEMENTS(rows);
}

/* -1 to go on, else the exit status. */
static int parse(struct io_line *l, struct io_main *m, int argc, char **argv)
{
    struct arg rows[IO_MAX_ARGS];
    const struct arg_syntax syntax = {
        .args = rows,
        .n_args = line_rows(l, rows),
        .operands = "[FILE]",
        .summary = "Reads and writes parts of an image, as commands tell.\n"
                   "-c help lists the commands.",
    };
    char **operands;
    int status = img_parse(&syntax, argc, argv, 0, 1, &operands);

    if (status >= 0) {
        return status;
    }
    if (l->version) {
        (void)printf("%s version %s\n", cmd_name(), COBLK_VERSION);
        return CMD_OK;
    }
    status = img_check_common(&l->common);
    if (status >= 0) {
        return status;
    }
    l->o.share = l->common.force_share;
    m->open = operands < argv + argc;
    m->how.image.name = operands[0];
    m->how.image.format = l->common.format;
    m->how.image.image_opts = l->common.image_opts;
    m->shell.image_opts = l->common.image_opts;
    return -1;
}

int cmd_io(int argc, char **argv)
{
    g_autoptr(GPtrArray) commands = g_ptr_array_new();
    struct io_line l = {.commands = commands};
    struct io_main m = {.commands = commands};
    int status = parse(&l, &m, argc, argv);

    if (status >= 0) {
        return status;
    }
    return io_how_set(&m.how, &l.o) ? run(&m) : CMD_FAILURE;
}
