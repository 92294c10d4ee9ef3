/* SPDX-License-Identifier: MIT */
/*
 * Each image above the base is opened without its backing file: what it does
 * not hold itself is taken from the next one, and nobody reads the base while
 * it is written.
 */
#include "tool/commit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/align.h"
#include "base/error.h"
#include "base/options.h"
#include "base/same_file.h"
#include "block/driver.h"
#include "block/image.h"
#include "block/node.h"
#include "loop/loop.h"
#include "loop/sync.h"
#include "tool/create.h"
#include "tool/extent.h"
#include "tool/info.h"

#define CHUNK     (2 * MiB)
#define MAX_DEPTH 256

struct commit {
    const struct commit_request *rq;
    GPtrArray *layers;     /* struct node *, the top first; owned references */
    struct node *base;     /* owned reference */
    struct options *below; /* owned: what was given for the next one down */
    int64_t length;
    char *buf;
    int64_t started; /* for the rate */
    int64_t copied;
};

/* -- The chain ----------------------------------------------------------- */

static struct node *top(const struct commit *c)
{
    return g_ptr_array_index(c->layers, 0);
}

/* What the image @node has as its backing file. */
static int co_fn below(struct node *node, struct image_info *info,
                       const char *base, GError **err)
{
    struct node *image = extent_skip_filters(node);
    const struct image_ops *ops = node_driver(image)->image;
    int rc = ops && ops->co_info ? ops->co_info(image, info) : 0;

    if (rc < 0) {
        return error_set_errno(err, rc, "%s: cannot be described",
                               node_filename(node));
    }
    if (!info->full_backing_filename && base) {
        return error_set(err, -ENOENT,
                         "%s: is not among the backing files; `info "
                         "--backing-chain` lists them",
                         base);
    }
    if (!info->full_backing_filename) {
        return error_set(err, -ENOTSUP, "%s: has no backing file to commit to",
                         node_filename(node));
    }
    return 0;
}

static int co_fn open_base(struct commit *c, const struct image_info *info,
                           GError **err)
{
    const struct tool_image image = tool_backing_image(
        info->full_backing_filename, info->backing_format, c->below,
        NODE_RDWR | NODE_UNMAP |
            (c->rq->image.flags & (NODE_DIRECT | NODE_NO_FLUSH)));

    c->base = tool_co_open(&image, err); /* yields */
    return c->base ? 0 : -EIO;
}

static int co_fn open_layer(struct commit *c, const struct image_info *info,
                            GError **err)
{
    const struct tool_image image =
        tool_backing_image(info->full_backing_filename, info->backing_format,
                           c->below, NODE_NO_BACKING);
    struct node *node = tool_co_open(&image, err); /* yields */
    struct options *own = c->below;

    if (!node) {
        return -EIO;
    }
    g_ptr_array_add(c->layers, node);
    c->below = options_take_child(own, "backing");
    options_free(own);
    return 0;
}

/* Opens the next image down: another layer, or the base (*@done). */
static int co_fn open_below(struct commit *c, struct node *node, bool *done,
                            GError **err)
{
    /* Named as a backing file of the image would be. */
    g_autofree char *base =
        c->rq->base ? create_resolve(c->rq->image.name, c->rq->base) : NULL;
    struct image_info info = {.cluster_size = 0};
    int rc = below(node, &info, base, err); /* yields */

    if (rc == 0 && (!base || same_file(base, info.full_backing_filename))) {
        *done = true;
        rc = open_base(c, &info, err); /* yields */
    } else if (rc == 0) {
        rc = open_layer(c, &info, err); /* yields */
    }
    image_info_fini(&info);
    return rc;
}

static int co_fn open_chain(struct commit *c, GError **err)
{
    struct tool_image image = c->rq->image;
    struct node *node;
    bool done = false;
    int rc = 0;

    image.flags |= NODE_RDWR | NODE_NO_BACKING | NODE_UNMAP;
    c->below = tool_backing_options(&image, err);
    node = c->below ? tool_co_open(&image, err) : NULL; /* yields */
    if (!node) {
        return -EIO;
    }
    g_ptr_array_add(c->layers, node);
    while (rc == 0 && !done) {
        if (c->layers->len > MAX_DEPTH) {
            return error_set(err, -ELOOP, "%s: its backing files form a loop",
                             image.name);
        }
        node = g_ptr_array_index(c->layers, c->layers->len - 1);
        rc = open_below(c, node, &done, err); /* yields */
    }
    return rc;
}

/* -- Copying ------------------------------------------------------------- */

/*
 * Which layer holds what is at @offset (NULL: none, the base has it), and how
 * far that is so.
 */
static int co_fn find_layer(struct commit *c, int64_t offset, struct node **ret,
                            struct extent *e)
{
    int64_t bytes = c->length - offset;

    *ret = NULL;
    for (guint i = 0; i < c->layers->len; i++) {
        struct node *node = g_ptr_array_index(c->layers, i);
        int rc;

        if (offset >= node_length(node)) {
            /* What is behind a short layer reads as zeroes above it. */
            *e = (struct extent){offset, bytes, .zero = true};
            *ret = node;
            return 0;
        }
        rc = extent_co_get(node, NULL, offset, bytes, e); /* yields */
        if (rc < 0) {
            return rc;
        }
        bytes = e->bytes;
        if (e->present) {
            *ret = node;
            return 0;
        }
    }
    return 0;
}

static int co_fn copy_data(struct commit *c, struct node *layer, int64_t offset,
                           int64_t bytes)
{
    int rc = tool_co_read(layer, offset, c->buf, bytes); /* yields */

    return rc < 0 ? rc : node_co_pwrite(c->base, offset, c->buf, bytes, 0);
}

static void co_fn keep_rate(struct commit *c, int64_t bytes)
{
    int64_t due;

    c->copied += bytes;
    if (c->rq->rate > 0) {
        due = c->started +
              (int64_t)((double)c->copied / (double)c->rq->rate * 1e9);
        if (due > loop_now()) {
            co_sleep_ns(due - loop_now()); /* yields */
        }
    }
}

static int co_fn copy_all(struct commit *c)
{
    int rc = 0;

    for (int64_t at = 0; at < c->length && rc == 0;) {
        struct extent e;
        struct node *layer;

        if (tool_stopped(c->rq->watch)) {
            return -ECANCELED;
        }
        rc = find_layer(c, at, &layer, &e); /* yields */
        if (rc == 0 && layer && e.zero) {
            rc = node_co_pwrite_zeroes(c->base, at, e.bytes, REQ_MAY_UNMAP);
        } else if (rc == 0 && layer) {
            e.bytes = min_i64(e.bytes, CHUNK - at % CHUNK);
            rc = copy_data(c, layer, at, e.bytes); /* yields */
            keep_rate(c, e.bytes);                 /* yields */
        }
        if (rc == 0) {
            at += e.bytes;
            tool_progress(c->rq->watch, at, c->length);
        }
    }
    return rc;
}

/* Empties the image, now that the base has everything for good. */
static int co_fn empty_top(struct commit *c, GError **err)
{
    struct node *image = extent_skip_filters(top(c));
    const struct image_ops *ops = node_driver(image)->image;
    int rc = ops && ops->co_make_empty ? ops->co_make_empty(image) : 0;

    return rc < 0 ? error_set_errno(err, rc,
                                    "%s: everything is in its backing file, "
                                    "but it cannot be emptied",
                                    node_filename(image))
                  : 0;
}

static int co_fn commit_opened(struct commit *c, GError **err)
{
    const char *name = c->rq->image.name;
    int rc = 0;

    c->length = node_length(top(c));
    if (node_length(c->base) < c->length) {
        rc = node_co_truncate(c->base, c->length, PREALLOC_OFF,
                              TRUNCATE_ZERO_NEW, err); /* yields */
        if (rc < 0) {
            return rc;
        }
    }
    c->buf = node_try_alloc(c->base, CHUNK);
    rc = c->buf ? copy_all(c) : -ENOMEM; /* yields */
    if (rc == 0) {
        rc = node_co_flush(c->base); /* yields */
    }
    free(c->buf);
    if (rc < 0) {
        return error_set_errno(err, rc,
                               "%s: cannot be committed; it still holds "
                               "everything",
                               name);
    }
    /* With more layers between, those would hide what the base got. */
    return c->rq->keep || c->rq->base ? 0 : empty_top(c, err);
}

static int co_fn close_all(struct commit *c, int rc, GError **err)
{
    GError *why = NULL;

    if (tool_co_close(c->base, &why) < 0 && rc == 0) { /* yields */
        g_propagate_error(err, g_steal_pointer(&why));
        rc = -EIO;
    }
    g_clear_error(&why);
    for (guint i = 0; i < c->layers->len; i++) {
        if (tool_co_close(g_ptr_array_index(c->layers, i), &why) < 0 &&
            rc == 0) { /* yields */
            g_propagate_error(err, g_steal_pointer(&why));
            rc = -EIO;
        }
        g_clear_error(&why);
    }
    g_ptr_array_unref(c->layers);
    options_free(c->below);
    return rc;
}

int co_fn commit_co_run(const struct commit_request *rq, GError **err)
{
    struct commit c = {
        .rq = rq,
        .layers = g_ptr_array_new(),
        .started = loop_now(),
    };
    int rc = open_chain(&c, err); /* yields */

    if (rc == 0) {
        rc = commit_opened(&c, err); /* yields */
    }
    return close_all(&c, rc, err); /* yields */
}
