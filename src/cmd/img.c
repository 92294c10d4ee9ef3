/* SPDX-License-Identifier: MIT */

#include "config.h"

#include "cmd/img.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/options.h"
#include "block/driver.h"
#include "block/node.h"
#include "cmd/nearest.h"
#include "engine/engine.h"
#include "loop/loop.h"
#include "tool/crew.h"

static const struct command commands[] = {
    {"create", "Make a new image", img_create},
    {"info", "Tell what an image is", img_info},
    {"convert", "Copy an image, maybe into another format", img_convert},
    {"map", "List what is data, zeroes and holes", img_map},
    {"compare", "Do two images hold the same?", img_compare},
    {"check", "Find, and repair, what is wrong in an image", img_check},
    {"measure", "Tell how much space an image would need", img_measure},
    {"resize", "Make an image larger or smaller", img_resize},
    {"dd", "Copy blocks of an image to another", img_dd},
    {"snapshot", "List, take, apply, delete snapshots", img_snapshot},
    {"commit", "Write what an image changed to its backing file", img_commit},
    {"rebase", "Give an image another backing file", img_rebase},
    {"amend", "Change options of an image", img_amend},
    {"bitmap", "Change bitmaps, which record what is written", img_bitmap},
    {"bench", "Time reads or writes of an image", img_bench},
};

const struct command *img_commands(size_t *n)
{
    *n = G_N_ELEMENTS(commands);
    return commands;
}

/* -- The program as qemu-img --------------------------------------------- */

static const char *own_command; /* NULL: cmd_name() has it */

static char *usage_name(void)
{
    return own_command ? g_strdup_printf("%s %s", cmd_name(), own_command)
                       : g_strdup(cmd_name());
}

static int print_help(void)
{
    const struct driver *drv;

    (void)printf("Usage: %s COMMAND [OPTION...] [ARGUMENT...]\n\n"
                 "Makes, copies, changes and examines disk images.\n\n"
                 "Commands:\n",
                 cmd_name());
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        (void)printf("  %-10s %s\n", commands[i].name, commands[i].summary);
    }
    (void)printf("\nSupported formats:");
    for (unsigned i = 0; (drv = driver_nth(i)); i++) {
        (void)printf(" %s", drv->name);
    }
    (void)printf("\n\n`%s COMMAND --help` tells more of a command.\n",
                 cmd_name());
    return CMD_OK;
}

static int unknown_command(const char *name)
{
    const char *names[G_N_ELEMENTS(commands)];
    g_autofree char *hint = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        names[i] = commands[i].name;
    }
    hint = nearest_hint(name, names, G_N_ELEMENTS(commands));
    return img_usage("there is no command '%s'%s", name, hint);
}

int cmd_img(int argc, char **argv)
{
    if (argc > 2 &&
        (strcmp(argv[1], "-T") == 0 || strcmp(argv[1], "--trace") == 0)) {
        argc -= 2; /* trace points have other names here */
        argv += 2;
    }
    if (argc < 2) {
        return img_usage("a command is needed");
    }
    cmd_register_drivers();
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        return print_help();
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        (void)printf("%s version %s\n", cmd_name(), COBLK_VERSION);
        return CMD_OK;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            own_command = commands[i].name;
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    return unknown_command(argv[1]);
}

/* -- Messages ------------------------------------------------------------ */

int img_usage(const char *format, ...)
{
    g_autofree char *message = NULL;
    g_autofree char *usage = usage_name();
    va_list ap;

    va_start(ap, format);
    message = g_strdup_vprintf(format, ap);
    va_end(ap);
    return cmd_fail("%s (see '%s --help')", message, usage);
}

int img_fail(GError *err)
{
    int status = cmd_fail("%s", err->message);

    g_error_free(err);
    return status;
}

void img_warn(const char *format, ...)
{
    g_autofree char *message = NULL;
    va_list ap;

    va_start(ap, format);
    message = g_strdup_vprintf(format, ap);
    va_end(ap);
    (void)cmd_fail("warning: %s", message);
}

void img_print(char *text)
{
    (void)fputs(text, stdout);
    g_free(text);
}

/* -- Command lines ------------------------------------------------------- */

int img_parse(const struct arg_syntax *syntax, int argc, char **argv, int min,
              int max, char ***operands)
{
    g_autofree char *usage = usage_name();
    g_autofree char *error = NULL;
    int first = 0;

    /* The drivers are there already when we are qemu-img. */
    if (!driver_nth(0)) {
        cmd_register_drivers();
    }
    switch (args_parse(syntax, usage, argc, argv, &first, &error)) {
    case ARGS_HELP:
        return CMD_OK;
    case ARGS_BAD:
        return img_usage("%s", error);
    case ARGS_OK:
        break;
    }
    if (argc - first < min) {
        return img_usage("too few arguments: it is %s %s", usage,
                         syntax->operands);
    }
    if (argc - first > max) {
        return img_usage("unexpected argument '%s': it is %s %s",
                         argv[first + max], usage, syntax->operands);
    }
    *operands = argv + first;
    return -1;
}

GPtrArray *img_objects(void)
{
    static GPtrArray *objects;

    if (!objects) {
        objects = g_ptr_array_new();
    }
    return objects;
}

/* -1 to go on, else the exit status. */
static int img_add_secrets(void)
{
    GPtrArray *objects = img_objects();
    GError *err = NULL;

    for (guint i = 0; i < objects->len && !err; i++) {
        (void)cmd_add_object(objects->pdata[i], &err);
    }
    g_ptr_array_set_size(objects, 0);
    return err ? img_fail(err) : -1;
}

int img_check_common(const struct img_common *c)
{
    int status = img_add_secrets();

    if (status >= 0) {
        return status;
    }
    if (c->image_opts && c->format) {
        return img_usage("--image-opts and -f exclude each other; write "
                         "driver=%s,... in the options",
                         c->format);
    }
    return -1;
}

int img_parse_output(const char *text, bool *json)
{
    *json = text && strcmp(text, "json") == 0;
    if (text && !*json && strcmp(text, "human") != 0) {
        return img_usage("--output=%s: must be human or json", text);
    }
    return -1;
}

bool img_are_swapped(const char *name, const char *size)
{
    int64_t n;

    name += *name == '+'; /* of resize */
    return parse_size(size, &n) == -EINVAL && parse_size(name, &n) == 0;
}

int img_parse_size(const char *text, const char *what, int64_t *ret)
{
    int rc = parse_size(text, ret);

    if (rc == -ERANGE) {
        return img_usage("%s '%s' is too large; sizes are below 8E", what,
                         text);
    }
    if (rc < 0) {
        return img_usage("%s '%s' is not a size; write bytes, or a number of "
                         "k, M, G, T, P or E",
                         what, text);
    }
    return -1;
}

int img_parse_count(const char *text, const char *what, int64_t min,
                    int64_t max, int64_t *ret)
{
    gint64 n;

    if (!g_ascii_string_to_signed(text, 10, min, max, &n, NULL)) {
        return img_usage("%s '%s' must be a number from %" G_GINT64_FORMAT
                         " to %" G_GINT64_FORMAT,
                         what, text, min, max);
    }
    *ret = n;
    return -1;
}

int img_parse_cache(const char *text, unsigned *flags, bool *writethrough)
{
    GError *err = NULL;

    if (text && tool_parse_cache(text, flags, writethrough, &err) < 0) {
        return img_fail(err);
    }
    return -1;
}

struct tool_image img_image(const struct img_common *c, const char *name,
                            unsigned flags)
{
    return (struct tool_image){
        .name = name,
        .format = c->format,
        .image_opts = c->image_opts,
        .flags = flags | (c->force_share ? NODE_FORCE_SHARE : 0),
    };
}

/* -- Running ------------------------------------------------------------- */

/* I/O of this loop is done at once, on its own thread. */
static int make_blocking(struct loop *loop)
{
    return engine_threads_set_bounds(loop, 0, 0);
}

static void run_on_loop(co_entry_fn *entry, void *opaque,
                        int (*prepare)(struct loop *loop))
{
    struct loop *loop = NULL;
    int rc = loop_new(&loop);

    cmd_outlive_reader();
    if (rc == 0) {
        loop_adopt(loop);
        rc = prepare ? prepare(loop) : 0;
    }
    if (rc == 0) {
        rc = loop_co_run_blocking(loop, entry, opaque);
    }
    if (rc < 0) {
        /* Nothing was done, and nothing can be. */
        (void)cmd_fail("cannot start: %s", g_strerror(-rc));
        exit(CMD_FAILURE);
    }
    loop_free(loop);
}

void img_run(co_entry_fn *entry, void *opaque)
{
    run_on_loop(entry, opaque, make_blocking);
}

void img_run_parallel(co_entry_fn *entry, void *opaque)
{
    run_on_loop(entry, opaque, NULL);
}

struct crew *img_crew(unsigned n)
{
    struct crew *crew = NULL;
    int rc = crew_new(n, make_blocking, &crew);

    if (rc < 0) {
        (void)cmd_fail("cannot start %u threads: %s", n, g_strerror(-rc));
    }
    return crew;
}

void img_warn_probed(const struct node *node)
{
    img_warn("%s: its format was not given and it was taken for raw: its "
             "first sectors can only be changed to what is no image of "
             "another format; -f raw takes it as it is",
             node_filename(node));
}

struct node *co_fn img_co_open(const struct tool_image *image, GError **err)
{
    struct node *node = tool_co_open(image, err); /* yields */

    if (node && (image->flags & NODE_RDWR) && node_probed_raw(node)) {
        img_warn_probed(node);
    }
    return node;
}
