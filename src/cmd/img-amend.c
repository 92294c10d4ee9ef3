/* SPDX-License-Identifier: MIT */
/*
 * img-amend: `amend`, other options for an image.
 */
#include "base/options.h"
#include "block/driver.h"
#include "block/image.h"
#include "block/node.h"
#include "cmd/img-options.h"
#include "cmd/img.h"
#include "cmd/progress.h"
#include "tool/create.h"
#include "tool/extent.h"

struct amend {
    struct tool_image image;
    const char *options;
    bool force;
    struct progress show;
    int status;
};

static void show_progress(void *opaque, int64_t done, int64_t total)
{
    struct amend *a = opaque;

    tool_progress(&a->show.watch, done, total);
}

static int co_fn amend_node(struct amend *a, struct node *node)
{
    const struct image_ops *ops = node_driver(node)->image;
    g_autoptr(options) opts = options_new();
    GError *err = NULL;
    int rc;

    if (!ops || !ops->co_amend) {
        return cmd_fail("%s: %s images have no options that could be changed",
                        a->image.name, node_driver(node)->name);
    }
    if (options_parse(opts, a->options, &err) < 0 ||
        create_check_amend(node_driver(node), opts, &err) < 0) {
        return img_fail(err);
    }
    rc = ops->co_amend(node, opts, a->force, show_progress, a, &err);
    if (rc < 0 && !err) {
        return cmd_fail("%s: cannot be changed: %s", a->image.name,
                        g_strerror(-rc));
    }
    return rc < 0 ? img_fail(err) : CMD_OK;
}

static void amend_entry(void *opaque)
{
    struct amend *a = opaque;
    GError *err = NULL;
    struct node *node;

    co_assert_role();
    node = img_co_open(&a->image, &err); /* yields */
    if (!node) {
        a->status = img_fail(err);
        return;
    }
    a->status = amend_node(a, extent_skip_filters(node)); /* yields */
    progress_end(&a->show, a->status == CMD_OK);
    if (tool_co_close(node, &err) < 0) { /* yields */
        a->status = img_fail(err);
    }
}

int img_amend(int argc, char **argv)
{
    g_autoptr(GPtrArray) opts = g_ptr_array_new();
    g_autofree char *joined = NULL;
    struct img_common common = {.format = NULL};
    const char *cache = NULL;
    bool progress = false;
    struct amend a = {.force = false};
    const struct arg args[] = {
        IMG_ARG_FORMAT(common),
        IMG_ARG_OPTS(common),
        {'o', "options", "OPTIONS", "KEY=VALUE,... to set; help lists them",
         .list = opts},
        {'t', "cache", "MODE", "none, writeback, ...", .text = &cache},
        {0, "force", NULL, "do it although it is dangerous", .flag = &a.force},
        {'p', "progress", NULL, "show how far it is", .flag = &progress},
        IMG_ARG_QUIET(common),
        IMG_ARG_OBJECT,
    };
    const struct arg_syntax syntax = {args, G_N_ELEMENTS(args), "FILENAME",
                                      "Changes options of an image."};
    bool writethrough;
    char **operands;
    int status = img_parse(&syntax, argc, argv, 0, 1, &operands);

    if (status < 0) {
        status = img_check_common(&common);
    }
    a.options = joined = img_join_options(opts);
    if (status < 0 && !joined) {
        status = img_usage("what is to be changed?  Give -o KEY=VALUE");
    }
    if (status < 0 && img_options_want_help(joined)) {
        status = img_print_options(common.format ? common.format : "qcow2",
                                   IMG_OPTIONS_AMEND);
    }
    if (status < 0 && !operands[0]) {
        status = img_usage("the name of the image is missing");
    }
    if (status < 0) {
        a.image = img_image(&common, operands[0], NODE_RDWR);
        status = img_parse_cache(cache, &a.image.flags, &writethrough);
    }
    if (status < 0) {
        progress_begin(&a.show, progress && !common.quiet);
        img_run(amend_entry, &a);
        status = a.status;
    }
    return status;
}
