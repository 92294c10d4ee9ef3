/* SPDX-License-Identifier: MIT */
/*
 * img-convert: `convert`, copying images into another one.
 *
 * A target that was made here and is not complete when it ends, for whatever
 * reason, is removed: nothing that looks whole is left behind.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "base/options.h"
#include "block/driver.h"
#include "block/image.h"
#include "block/node.h"
#include "cmd/img-options.h"
#include "cmd/img-target.h"
#include "cmd/img.h"
#include "cmd/progress.h"
#include "tool/bitmap.h"
#include "tool/convert.h"
#include "tool/create.h"
#include "tool/crew.h"
#include "tool/extent.h"
#include "tool/snapshot.h"

#define MAX_SOURCES 256

struct convert_cmd {
    /* From the command line. */
    struct img_common common;
    const char *target_format, *backing, *backing_format, *snapshot;
    const char *target_cache, *source_cache, *sparse, *rate, *workers;
    char *options; /* owned */
    bool compress, progress, no_create, out_of_order, copy_range, salvage;
    bool target_is_zero, target_opts, bitmaps;
    char **sources; /* not owned */
    unsigned n_sources;
    const char *target;

    /* What follows from it. */
    unsigned source_flags, target_flags; /* enum node_flags */
    bool writethrough;
    struct convert_request rq;
    struct convert_source inputs[MAX_SOURCES];
    int64_t total;
    struct node *node; /* the target */
    struct bitmap_copy bitmap_copy;
    bool created;
    bool started; /* something may have been written to it */
    struct crew *crew;
    struct progress show;
    int status;
};

/* -- Inputs -------------------------------------------------------------- */

/* Opens all inputs.  -1, or the exit status. */
static int co_fn open_sources(struct convert_cmd *c)
{
    for (unsigned i = 0; i < c->n_sources; i++) {
        struct tool_image image =
            img_image(&c->common, c->sources[i], c->source_flags);
        GError *err = NULL;
        struct node *node = tool_co_open(&image, &err); /* yields */

        if (!node) {
            return img_fail(err);
        }
        c->inputs[i].node = node;
        if (c->snapshot &&
            snapshot_co_load(node, c->snapshot, &err) < 0) { /* yields */
            return img_fail(err);
        }
        c->inputs[i].bytes = tool_length(node);
        c->total += c->inputs[i].bytes;
    }
    return -1;
}

/* -- Bitmaps ------------------------------------------------------------- */

static void tell_skipped(void *opaque, const char *name)
{
    img_warn("bitmap '%s' is not consistent and is left out", name);
}

/* Finds out what is to be copied.  -1, or the exit status. */
static int co_fn look_at_bitmaps(struct convert_cmd *c)
{
    GError *err = NULL;

    c->bitmap_copy.from = c->inputs[0].node;
    c->bitmap_copy.skipped = tell_skipped;
    return bitmap_copy_co_look(&c->bitmap_copy, &err) < 0 ? img_fail(err) : -1;
}

static int co_fn copy_bitmaps(struct convert_cmd *c, bool filled)
{
    GError *err = NULL;
    int rc;

    c->bitmap_copy.to = c->node;
    rc = filled ? bitmap_copy_co_fill(&c->bitmap_copy, &err)
                : bitmap_copy_co_add(&c->bitmap_copy, &err); /* yields */
    return rc < 0 ? img_fail(err) : -1;
}

/* -- The target ---------------------------------------------------------- */

static bool can_compress(const struct driver *drv)
{
    return drv->write_flags & REQ_WRITE_COMPRESSED;
}

static int fail_compress(const struct convert_cmd *c, const struct driver *drv)
{
    return cmd_fail("%s: %s images cannot be compressed; use -O qcow2, or "
                    "leave -c out",
                    c->target, drv->name);
}

/* What must be found out before a file that is there is emptied. */
static int check_format(const struct convert_cmd *c)
{
    GError *err = NULL;
    const struct driver *drv = create_driver(c->target_format, &err);

    if (!drv) {
        return img_fail(err);
    }
    return c->compress && !can_compress(drv) ? fail_compress(c, drv) : -1;
}

static int co_fn create_target(struct convert_cmd *c)
{
    const struct create_request rq = {
        .filename = c->target,
        .format = c->target_format,
        .options = c->options,
        .backing = c->backing,
        .backing_format = c->backing_format,
        .bytes = c->total,
    };
    int status = img_co_create(&rq); /* yields */

    c->created = status < 0;
    return status;
}

/* What opening a new image takes of the options it was made with. */
static struct options *opening_options(const struct convert_cmd *c)
{
    static const char *const keys[] = {"key-secret", "encrypt.key-secret"};
    g_autoptr(options) all = options_new();
    struct options *ret = options_new();

    if (!c->created || !c->options ||
        options_parse(all, c->options, NULL) < 0) {
        return ret;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        const char *value = options_peek(all, keys[i]);

        if (value) {
            options_set(ret, keys[i], value);
        }
    }
    return ret;
}

static int co_fn open_target(struct convert_cmd *c)
{
    g_autoptr(options) opts = opening_options(c);
    struct tool_image image = {
        .name = c->target,
        .format = c->target_opts ? NULL : c->target_format,
        .image_opts = c->target_opts,
        .flags = NODE_RDWR | NODE_UNMAP | c->target_flags,
        .options = opts,
    };
    GError *err = NULL;

    c->node = tool_co_open(&image, &err); /* yields */
    if (!c->node) {
        return img_fail(err);
    }
    if (tool_length(c->node) < c->total) {
        return cmd_fail("%s: has %" PRId64 " bytes, and the input %" PRId64
                        "; resize it first",
                        c->target, node_length(c->node), c->total);
    }
    return -1;
}

/* Does a new image read as zeroes where nothing was written to it? */
static bool is_zero_when_new(struct node *node)
{
    struct node *leaf = node;

    for (; node_file(leaf); leaf = node_file(leaf)) {
        if (node_driver(leaf)->traits & DRIVER_NOISE) {
            return false;
        }
    }
    return strcmp(node_driver(leaf)->name, "host_device") != 0 ||
           leaf != node_file(node) ||
           !(node_driver(node)->traits & DRIVER_FILTER);
}

/* Sets what depends on the format of the target.  -1, or the exit status. */
static int co_fn look_at_target(struct convert_cmd *c)
{
    struct node *image = extent_skip_filters(c->node);
    const struct image_ops *ops = node_driver(image)->image;
    struct node *backing = extent_backing(c->node);
    struct image_info info = {.cluster_size = 0};
    int rc = ops && ops->co_info ? ops->co_info(image, &info) : 0;

    if (rc < 0) {
        return cmd_fail("%s: cannot be described: %s", c->target,
                        g_strerror(-rc));
    }
    c->rq.cluster = info.cluster_size;
    image_info_fini(&info);
    if (c->compress && info.encrypted) {
        return cmd_fail("%s: cannot be compressed and encrypted; leave -c or "
                        "the encryption out",
                        c->target);
    }
    if (c->compress && !can_compress(node_driver(image))) {
        return fail_compress(c, node_driver(image));
    }
    /* What a target that was there has for a backing file says nothing about
     * the source: only who gives one says that it has the same. */
    if (c->backing || (c->created && backing)) {
        c->rq.flags |= CONVERT_TARGET_BACKED;
        c->rq.backing_length = c->created ? tool_length(backing) : INT64_MAX;
    } else if (c->target_is_zero || (c->created && is_zero_when_new(image))) {
        c->rq.flags |= CONVERT_TARGET_ZERO;
    }
    return -1;
}

static int co_fn make_target(struct convert_cmd *c)
{
    int status = -1;

    for (unsigned i = 0; status < 0 && i < c->n_sources; i++) {
        status = c->target_opts
                     ? -1
                     : img_check_target(c->target, c->inputs[i].node);
    }
    if (status < 0 && !c->no_create) {
        status = check_format(c);
    }
    if (status < 0 && !c->no_create) {
        status = create_target(c); /* yields */
    }
    if (status < 0) {
        status = open_target(c); /* yields */
    }
    if (status < 0) {
        status = look_at_target(c); /* yields */
    }
    if (status < 0 && c->bitmaps) {
        status = copy_bitmaps(c, false); /* yields */
    }
    return status;
}

/* -- Copying ------------------------------------------------------------- */

static void tell_lost(void *opaque, enum convert_step step, int64_t offset,
                      int64_t bytes, int rc)
{
    const struct convert_cmd *c = opaque;

    if (c->common.quiet) {
        return;
    }
    if (step == CONVERT_STATUS) {
        img_warn("offset %" PRId64 ": what is there cannot be told, taken for "
                 "data: %s",
                 offset, g_strerror(-rc));
    } else {
        img_warn("offset %" PRId64 ": %" PRId64 " bytes cannot be read, zeroes "
                 "in their place: %s",
                 offset, bytes, g_strerror(-rc));
    }
}

static int co_fn copy(struct convert_cmd *c)
{
    struct convert_result r;
    int rc;

    c->rq.sources = c->inputs;
    c->rq.n_sources = c->n_sources;
    c->rq.target = c->node;
    c->rq.lost = tell_lost;
    c->rq.opaque = c;
    c->rq.watch = &c->show.watch;
    c->started = true;
    convert_co_run(&c->rq, c->crew, &r); /* yields */
    if (r.rc < 0) {
        return img_explain_copy(&c->rq, c->target, &r);
    }
    if (c->bitmaps) {
        int status = copy_bitmaps(c, true); /* yields */

        if (status >= 0) {
            return status;
        }
    }
    rc = node_co_flush(c->node); /* yields */
    if (rc < 0) {
        return cmd_fail("%s: cannot be flushed: %s", c->target,
                        g_strerror(-rc));
    }
    return -1;
}

/* Closes the target.  What is not whole must not look whole. */
static int co_fn finish_target(struct convert_cmd *c, int status)
{
    GError *err = NULL;

    if (c->node && tool_co_close(c->node, &err) < 0) { /* yields */
        if (status < 0) {
            status = img_fail(err);
        } else {
            g_error_free(err);
        }
    }
    if (status >= 0 && c->created) {
        img_remove_target(c->target);
    } else if (status >= 0 && c->started) {
        img_warn("%s: is not complete", c->target);
    }
    return status;
}

static void convert_entry(void *opaque)
{
    struct convert_cmd *c = opaque;
    int status;

    co_assert_role();
    status = open_sources(c); /* yields */
    if (status < 0 && c->bitmaps) {
        status = look_at_bitmaps(c); /* yields */
    }
    if (status < 0) {
        status = make_target(c); /* yields */
    }
    if (status < 0) {
        status = copy(c); /* yields */
    }
    progress_end(&c->show, status < 0);
    status = finish_target(c, status); /* yields */
    for (unsigned i = 0; i < c->n_sources; i++) {
        (void)node_co_unref(c->inputs[i].node); /* was only read; yields */
    }
    bitmap_copy_fini(&c->bitmap_copy);
    c->status = status < 0 ? CMD_OK : status;
}

/* -- The command line ---------------------------------------------------- */

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
    if (c->n_sources > MAX_SOURCES) {
        return img_usage("there are %u inputs; at most %d are possible",
                         c->n_sources, MAX_SOURCES);
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

/*
 * How many threads do the work of @workers.  Through the page cache it is that
 * of processors, and more threads would only take the caches from each other;
 * past it, each keeps one request under way.
 */
static unsigned choose_threads(const struct convert_cmd *c, int64_t workers)
{
    unsigned flags = c->source_flags | c->target_flags;
    unsigned enough = MAX(2 * g_get_num_processors(), 4);

    return flags & NODE_DIRECT ? (unsigned)workers
                               : MIN((unsigned)workers, enough);
}

static int run(struct convert_cmd *c, int64_t workers)
{
    if (c->options && img_options_want_help(c->options)) {
        return img_print_options(c->target_format, IMG_OPTIONS_ALL);
    }
    c->crew = img_crew(choose_threads(c, workers));
    if (!c->crew) {
        return CMD_FAILURE;
    }
    progress_begin(&c->show, c->progress && !c->common.quiet);
    img_run(convert_entry, c);
    crew_free(c->crew);
    return c->status;
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

    status = img_parse(&syntax, argc, argv, 0, MAX_SOURCES + 1, &operands);
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
    return status < 0 ? run(c, workers) : status;
}
