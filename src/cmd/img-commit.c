/* SPDX-License-Identifier: MIT */
/*
 * img-commit: `commit`, what an image changed into its backing file.
 */
#include <stdio.h>

#include "cmd/img.h"
#include "cmd/progress.h"
#include "tool/commit.h"

struct commit_cmd {
    struct commit_request rq;
    struct progress show;
    bool quiet;
    int status;
};

static void commit_entry(void *opaque)
{
    struct commit_cmd *c = opaque;
    GError *err = NULL;
    int rc;

    co_assert_role();
    c->rq.watch = &c->show.watch;
    rc = commit_co_run(&c->rq, &err); /* yields */
    progress_end(&c->show, rc == 0);
    if (rc < 0) {
        c->status = img_fail(err);
    } else if (!c->quiet) {
        (void)printf("Image committed.\n");
    }
}

int img_commit(int argc, char **argv)
{
    struct img_common common = {.format = NULL};
    const char *cache = NULL, *rate = NULL;
    bool progress = false;
    struct commit_cmd c = {.status = CMD_OK};
    const struct arg args[] = {
        IMG_ARG_FORMAT(common),
        IMG_ARG_OPTS(common),
        {'t', "cache", "MODE", "none, writeback, ...", .text = &cache},
        {'b', "base", "FILE", "commit to this one of its backing files",
         .text = &c.rq.base},
        {'d', "drop", NULL, "leave the image as it is: it will be deleted",
         .flag = &c.rq.keep},
        {'r', "rate-limit", "BYTES", "copy at most as much per second",
         .text = &rate},
        {'p', "progress", NULL, "show how far it is", .flag = &progress},
        IMG_ARG_QUIET(common),
        IMG_ARG_OBJECT,
    };
    const struct arg_syntax syntax = {args, G_N_ELEMENTS(args), "FILENAME",
                                      "Writes what an image changed to its "
                                      "backing file."};
    bool writethrough;
    char **operands;
    int status = img_parse(&syntax, argc, argv, 1, 1, &operands);

    if (status < 0) {
        status = img_check_common(&common);
    }
    if (status < 0 && rate) {
        status = img_parse_size(rate, "-r", &c.rq.rate);
    }
    if (status < 0) {
        c.rq.image = img_image(&common, operands[0], 0);
        status = img_parse_cache(cache, &c.rq.image.flags, &writethrough);
    }
    if (status < 0) {
        c.quiet = common.quiet;
        progress_begin(&c.show, progress && !common.quiet);
        img_run(commit_entry, &c);
        status = c.status;
    }
    return status;
}
