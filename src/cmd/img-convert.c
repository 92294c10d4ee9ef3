/* SPDX-License-Identifier: MIT */
/*
 * img-convert: does what `convert` is told: copies images into another one.
 *
 * A target that was made here and is not complete when it ends, for whatever
 * reason, is removed: nothing that looks whole is left behind.
 */
#include "cmd/img-convert.h"

#include <inttypes.h>
#include <string.h>

#include "base/options.h"
#include "block/driver.h"
#include "block/image.h"
#include "block/node.h"
#include "cmd/img-options.h"
#include "cmd/img-target.h"
#include "tool/create.h"
#include "tool/crew.h"
#include "tool/extent.h"
#include "tool/snapshot.h"

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

int convert_run_cmd(struct convert_cmd *c, int64_t workers)
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
