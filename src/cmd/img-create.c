/* SPDX-License-Identifier: MIT */
/*
 * img-create: `create`, a new image.
 */
#include <stdio.h>

#include "block/driver.h"
#include "block/image.h"
#include "cmd/img-options.h"
#include "cmd/img.h"
#include "tool/create.h"

struct create {
    struct create_request rq;
    bool quiet;
    int status;
};

static void create_entry(void *opaque)
{
    struct create *c = opaque;
    struct create_plan plan;
    GError *err = NULL;
    int rc;

    co_assert_role();
    if (create_co_plan(&c->rq, &plan, &err) < 0) { /* yields */
        c->status = img_fail(err);
        return;
    }
    if (!c->quiet) {
        g_autofree char *text = create_plan_text(&plan);

        (void)printf("Formatting '%s', %s\n", c->rq.filename, text);
        (void)fflush(stdout); /* before what may be wrong with that */
    }
    rc = create_co_run(&plan, &err); /* yields */
    create_plan_fini(&plan);
    c->status = rc < 0 ? img_fail(err) : CMD_OK;
}

int img_create(int argc, char **argv)
{
    g_autoptr(GPtrArray) opts = g_ptr_array_new();
    g_autofree char *joined = NULL;
    struct img_common common = {.format = "raw"};
    struct create c = {.rq = {.bytes = -1}};
    const struct arg args[] = {
        {'f', "format", "FORMAT", "format of the new image; default raw",
         .text = &common.format},
        {'o', "options", "OPTIONS",
         "KEY=VALUE,... of the format; help lists them", .list = opts},
        {'b', "backing", "FILE", "make it on top of this backing file",
         .text = &c.rq.backing},
        {'B', "backing-format", "FORMAT", "format of the backing file; also -F",
         .text = &c.rq.backing_format},
        {'F', NULL, "FORMAT", NULL, .text = &c.rq.backing_format},
        {'u', "backing-unsafe", NULL, "do not look at the backing file",
         .flag = &c.rq.backing_unchecked},
        IMG_ARG_QUIET(common),
        IMG_ARG_OBJECT,
    };
    const struct arg_syntax syntax = {args, G_N_ELEMENTS(args),
                                      "FILENAME [SIZE]", "Makes a new image."};
    char **operands;
    int status = img_parse(&syntax, argc, argv, 0, 2, &operands);

    if (status < 0) {
        status = img_check_common(&common);
    }
    if (status >= 0) {
        return status;
    }
    joined = img_join_options(opts);
    if (joined && img_options_want_help(joined)) {
        return img_print_options(common.format, IMG_OPTIONS_ALL);
    }
    if (!operands[0]) {
        return img_usage("the name of the new image is missing");
    }
    if (operands[1] && img_are_swapped(operands[0], operands[1])) {
        return img_usage("'%s' is not a size; the name comes first, then the "
                         "size",
                         operands[1]);
    }
    if (operands[1]) {
        status = img_parse_size(operands[1], "the size", &c.rq.bytes);
        if (status >= 0) {
            return status;
        }
    }
    c.rq.filename = operands[0];
    c.rq.format = common.format;
    c.rq.options = joined;
    c.quiet = common.quiet;
    img_run(create_entry, &c);
    return c.status;
}
