/* SPDX-License-Identifier: MIT */
/*
 * img-rebase: `rebase`, another backing file for an image.
 */
#include "block/block.h"
#include "cmd/img.h"
#include "cmd/progress.h"
#include "tool/rebase.h"

struct rebase_cmd {
    struct rebase_request rq;
    struct progress show;
    int status;
};

static void rebase_entry(void *opaque)
{
    struct rebase_cmd *r = opaque;
    GError *err = NULL;
    int rc;

    co_assert_role();
    r->rq.watch = &r->show.watch;
    rc = rebase_co_run(&r->rq, &err); /* yields */
    progress_end(&r->show, rc == 0);
    if (rc < 0) {
        r->status = img_fail(err);
    }
}

int img_rebase(int argc, char **argv)
{
    struct img_common common = {.format = NULL};
    const char *cache = NULL, *source_cache = NULL;
    bool progress = false;
    struct rebase_cmd r = {.status = CMD_OK};
    const struct arg args[] = {
        IMG_ARG_FORMAT(common),
        IMG_ARG_OPTS(common),
        {'b', "backing", "FILE", "the new backing file; \"\" for none",
         .text = &r.rq.backing},
        {'F', "backing-format", "FORMAT", "its format", .text = &r.rq.format},
        {'B', NULL, "FORMAT", NULL, .text = &r.rq.format},
        {'u', "backing-unsafe", NULL,
         "change the name only: both hold the same", .flag = &r.rq.unsafe},
        {'c', "compress", NULL, "compress what has to be copied",
         .flag = &r.rq.compress},
        {'t', "cache", "MODE", "none, writeback, ...", .text = &cache},
        {'T', "source-cache", "MODE", "the same for the backing files",
         .text = &source_cache},
        {'p', "progress", NULL, "show how far it is", .flag = &progress},
        IMG_ARG_SHARE(common),
        IMG_ARG_QUIET(common),
        IMG_ARG_OBJECT,
    };
    const struct arg_syntax syntax = {args, G_N_ELEMENTS(args), "FILENAME",
                                      "Gives an image another backing file."};
    bool writethrough;
    char **operands;
    int status = img_parse(&syntax, argc, argv, 1, 1, &operands);

    if (status < 0) {
        status = img_check_common(&common);
    }
    if (status < 0 && !r.rq.backing && !r.rq.unsafe) {
        status = img_usage("the new backing file is missing: give -b FILE, or "
                           "-b \"\" for none");
    }
    if (status < 0) {
        bool share = common.force_share;

        common.force_share = false; /* the image itself is written to */
        r.rq.backing = r.rq.backing ? r.rq.backing : "";
        r.rq.image = img_image(&common, operands[0], 0);
        r.rq.source_flags = share ? NODE_FORCE_SHARE : 0;
        status = img_parse_cache(cache, &r.rq.image.flags, &writethrough);
    }
    if (status < 0) {
        status =
            img_parse_cache(source_cache, &r.rq.source_flags, &writethrough);
    }
    if (status < 0) {
        progress_begin(&r.show, progress && !common.quiet);
        img_run(rebase_entry, &r);
        status = r.status;
    }
    return status;
}
