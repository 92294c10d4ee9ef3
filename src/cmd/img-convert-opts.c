/* SPDX-License-Identifier: MIT */
/*
 * img-convert-opts: the command line of `convert`.
 */
#include "base/align.h"
#include "block/node.h"
#include "cmd/img-convert.h"
#include "cmd/img-options.h"
#include "tool/crew.h"

/* What excludes each other.  -1, or the exit status. */
static int check_options(const struct convert_cmd *c)
{
    if (c->bitmaps && c->n_sources > 1) {
        return img_usage("--bitmaps needs a single input");
    }
    if (c->bitmap_copy.skip_broken && !c->bitmaps) {
        return img_usage("--skip-broken-bitmaps is for --bitmaps");
    }
    if (c->copy_range && (c->sparse || c->compress)) {
        return img_usage("-C excludes -S and -c: what the host copies is not "
                         "looked at");
    }
    if (c->no_create && c->options) {
        return img_usage("-n excludes -o: the target is there already");
    }
    if (c->target_opts && !c->no_create) {
        return img_usage("--target-image-opts needs -n: only a plain name can "
                         "be created");
    }
    if (c->target_opts && c->target_format) {
        return img_usage("--target-image-opts and -O exclude each other");
    }
    if (c->target_is_zero && !c->no_create) {
        return img_usage("--target-is-zero needs -n: a new target is zero");
    }
    if (c->salvage && c->copy_range) {
        return img_usage("--salvage and -C exclude each other");
    }
    if (c->snapshot && c->n_sources > 1) {
        return img_usage("-l needs a single input");
    }
    if (c->backing && c->n_sources > 1) {
        return img_usage("-B needs a single input");
    }
    if (c->n_sources > CONVERT_MAX_SOURCES) {
        return img_usage("there are %u inputs; at most %d are possible",
                         c->n_sources, CONVERT_MAX_SOURCES);
    }
    return -1;
}

static int parse_numbers(struct convert_cmd *c, int64_t *workers)
{
    int status = -1;

    c->rq.sparse = 4 * KiB;
    *workers = 8;
    if (c->sparse) {
        status = img_parse_size(c->sparse, "-S", &c->rq.sparse);
    }
    if (status < 0 && (c->rq.sparse % 512 || c->rq.sparse > 1 * GiB)) {
        status = img_usage("-S %s: must be a multiple of 512, and at most 1G",
                           c->sparse);
    }
    if (status < 0 && c->rate) {
        status = img_parse_size(c->rate, "-r", &c->rq.rate);
    }
    if (status < 0 && c->workers) {
        status = img_parse_count(c->workers, "-m", 1, CREW_MAX, workers);
    }
    return status;
}

static void set_flags(struct convert_cmd *c)
{
    c->rq.flags = (c->compress ? CONVERT_COMPRESS : 0) |
                  (c->out_of_order ? CONVERT_OUT_OF_ORDER : 0) |
                  (c->copy_range ? CONVERT_COPY_RANGE : 0) |
                  (c->salvage ? CONVERT_SALVAGE : 0) |
                  (c->salvage || c->progress ? CONVERT_COUNT_FIRST : 0) |
                  (c->writethrough ? CONVERT_WRITETHROUGH : 0);
}

/* Checks all and fills in what follows.  -1, or the exit status. */
static int prepare(struct convert_cmd *c, int64_t *workers)
{
    bool source_writethrough;
    int status = img_check_common(&c->common);

    if (status < 0) {
        status = check_options(c);
    }
    if (status < 0) {
        status = parse_numbers(c, workers);
    }
    c->target_flags = NODE_NO_FLUSH; /* cache=unsafe */
    if (status < 0) {
        status = img_parse_cache(c->target_cache, &c->target_flags,
                                 &c->writethrough);
    }
    if (status < 0) {
        status = img_parse_cache(c->source_cache, &c->source_flags,
                                 &source_writethrough);
    }
    if (!c->target_opts && !c->target_format) {
        c->target_format = "raw";
    }
    set_flags(c);
    return status;
}

/* The options, in two halves only because there are so many. */
#define CONVERT_SOURCE_ARGS(c)                                           \
    {'f', "source-format", "FORMAT", "format of the inputs",             \
     .text = &(c).common.format},                                        \
        IMG_ARG_OPTS((c).common), IMG_ARG_SHARE((c).common),             \
        {'T', "source-cache", "MODE", "cache mode for reading",          \
         .text = &(c).source_cache},                                     \
        {'l', "snapshot", "SNAPSHOT", "copy this snapshot (id or name)", \
         .text = &(c).snapshot},                                         \
    {                                                                    \
        0, "salvage", NULL, "zeroes in place of what cannot be read",    \
            .flag = &(c).salvage                                         \
    }

#define CONVERT_TARGET_ARGS(c)                                            \
    {'O', "target-format", "FORMAT", "format of the target; default raw", \
     .text = &(c).target_format},                                         \
        {'t', "target-cache", "MODE",                                     \
         "cache mode for writing; default "                               \
         "unsafe: nothing waits for the disk",                            \
         .text = &(c).target_cache},                                      \
        {'b', "backing", "FILE", "make the target on top of this file",   \
         .text = &(c).backing},                                           \
        {'B', NULL, "FILE", "the same", .text = &(c).backing},            \
        {'F', "backing-format", "FORMAT", "format of that",               \
         .text = &(c).backing_format},                                    \
        {'n', "no-create", NULL, "the target is there already",           \
         .flag = &(c).no_create},                                         \
        {0, "target-image-opts", NULL, "the target's name is options",    \
         .flag = &(c).target_opts},                                       \
    {                                                                     \
        0, "target-is-zero", NULL, "and reads as zeroes",                 \
            .flag = &(c).target_is_zero                                   \
    }

int img_convert(int argc, char **argv)
{
    g_autoptr(GPtrArray) opts = g_ptr_array_new();
    g_autofree struct convert_cmd *c = g_new0(struct convert_cmd, 1);
    g_autofree char *joined = NULL;
    const struct arg args[] = {
        CONVERT_SOURCE_ARGS(*c),
        CONVERT_TARGET_ARGS(*c),
        {'o', "target-format-options", "OPTIONS",
         "KEY=VALUE,... of the target; help lists them", .list = opts},
        {'c', "compress", NULL, "compress the target", .flag = &c->compress},
        {'S', "sparse-size", "BYTES",
         "so many zeroes are left out; default 4k; 0: none",
         .text = &c->sparse},
        {'C', "copy-range-offloading", NULL, "let the host copy",
         .flag = &c->copy_range},
        {'r', "rate-limit", "BYTES", "copy at most as much per second",
         .text = &c->rate},
        {'m', "parallel", "N", "work on so many ranges at once; default 8",
         .text = &c->workers},
        {'W', "oob-writes", NULL, "write out of order",
         .flag = &c->out_of_order},
        {0, "bitmaps", NULL, "copy the bitmaps, too", .flag = &c->bitmaps},
        {0, "skip-broken-bitmaps", NULL, "but not those that are inconsistent",
         .flag = &c->bitmap_copy.skip_broken},
        {'p', "progress", NULL, "show how far it is", .flag = &c->progress},
        IMG_ARG_QUIET(c->common),
        IMG_ARG_OBJECT,
    };
    const struct arg_syntax syntax = {args, G_N_ELEMENTS(args),
                                      "FILENAME... TARGET",
                                      "Copies images into another one."};
    int64_t workers = 0;
    char **operands;
    int status;

    status =
        img_parse(&syntax, argc, argv, 0, CONVERT_MAX_SOURCES + 1, &operands);
    if (status >= 0) {
        return status;
    }
    c->options = joined = img_join_options(opts);
    while (operands[c->n_sources]) {
        c->n_sources++;
    }
    if (c->n_sources < 2 && !(joined && img_options_want_help(joined))) {
        return img_usage("a source and a target are needed");
    }
    c->sources = operands;
    if (c->n_sources > 0) {
        c->target = operands[--c->n_sources];
    }
    status = prepare(c, &workers);
    return status < 0 ? convert_run_cmd(c, workers) : status;
}
