/* SPDX-License-Identifier: MIT */

#include "tool/bitmap.h"

#include <errno.h>
#include <inttypes.h>

#include "base/error.h"
#include "block/driver.h"
#include "block/image.h"
#include "block/node.h"
#include "tool/extent.h"

TSA(no_thread_safety_analysis)
/* The table of functions if the image has bitmaps; else NULL and *@err. */
static const struct image_ops *co_fn ops_of(const struct node *node,
                                            GError **err)
{
    const struct driver *drv = node_driver(node);

    if (drv->image && drv->image->co_bitmap_list) {
        return drv->image;
    }
    error_set(err, -EOPNOTSUPP,
              "%s: %s images have no bitmaps; convert it to qcow2",
              node_filename(node), drv->name);
    return NULL;
}

/* -- One bitmap ---------------------------------------------------------- */

static int co_fn merge(const struct image_ops *ops, struct node *node,
                       const char *name, struct node *src, const char *src_name,
                       GError **err)
{
    if (!ops_of(src, err)) {
        return -EOPNOTSUPP;
    }
    if (node_driver(src) != node_driver(node)) {
        return error_set(err, -EOPNOTSUPP,
                         "%s: bitmaps of %s images cannot be merged into one "
                         "of a %s image",
                         node_filename(src), node_driver(src)->name,
                         node_driver(node)->name);
    }
    return ops->co_bitmap_merge(node, name, src, src_name, err); /* yields */
}

static int co_fn act(const struct bitmap_request *rq, struct node *node,
                     struct node *src, const struct bitmap_action *a,
                     GError **err)
{
    static const enum image_bitmap_change changes[] = {
        [BITMAP_REMOVE] = IMAGE_BITMAP_REMOVE,
        [BITMAP_CLEAR] = IMAGE_BITMAP_CLEAR,
        [BITMAP_ENABLE] = IMAGE_BITMAP_ENABLE,
        [BITMAP_DISABLE] = IMAGE_BITMAP_DISABLE,
    };
    const struct image_ops *ops = node_driver(node)->image;

    switch (a->verb) {
    case BITMAP_ADD:
        return ops->co_bitmap_add(node, rq->name, rq->granularity, true, err);
    case BITMAP_MERGE:
        return merge(ops, node, rq->name, src, a->source, err);
    case BITMAP_REMOVE:
    case BITMAP_CLEAR:
    case BITMAP_ENABLE:
    case BITMAP_DISABLE:
        return ops->co_bitmap_change(node, rq->name, changes[a->verb], err);
    }
    return -EINVAL;
}

static int co_fn act_all(const struct bitmap_request *rq, struct node *node,
                         struct node *src, GError **err)
{
    const struct image_ops *ops = ops_of(node, err);
    int rc = ops ? 0 : -EOPNOTSUPP;
    int stored;

    for (unsigned i = 0; i < rq->n_actions && rc == 0; i++) {
        rc = act(rq, node, src, &rq->actions[i], err); /* yields */
    }
    stored = ops ? ops->co_bitmap_store(node, rc ? NULL : err) : 0;
    return rc ? rc : stored;
}

int co_fn bitmap_co_run(const struct bitmap_request *rq, GError **err)
{
    struct node *src = NULL;
    struct node *node = tool_co_open(&rq->image, err); /* yields */
    int rc = node ? 0 : -EIO;

    if (rc == 0 && rq->source.name) {
        src = tool_co_open(&rq->source, err); /* yields */
        rc = src ? 0 : -EIO;
    }
    if (rc == 0) {
        struct node *image = extent_skip_filters(node);

        rc = act_all(rq, image, src ? extent_skip_filters(src) : image, err);
    }
    (void)node_co_unref(src); /* was only read; yields */
    if (tool_co_close(node, rc ? NULL : err) < 0 && rc == 0) { /* yields */
        rc = -EIO;
    }
    return rc;
}

/* -- All of them --------------------------------------------------------- */

static const struct image_bitmap *nth(const struct bitmap_copy *c, guint i)
{
    return i < c->list->len ? &g_array_index(c->list, struct image_bitmap, i)
                            : NULL;
}

int co_fn bitmap_copy_co_look(struct bitmap_copy *c, GError **err)
{
    struct node *from = extent_skip_filters(c->from);
    const struct image_ops *ops = ops_of(from, err);
    const struct image_bitmap *b;
    int rc = ops ? ops->co_bitmap_list(from, &c->list, err) : -EOPNOTSUPP;

    for (guint i = 0; rc == 0 && !c->skip_broken && (b = nth(c, i)); i++) {
        if (!b->usable) {
            rc = error_set(err, -EINVAL,
                           "%s: bitmap '%s' is not consistent and cannot be "
                           "copied; leave it out with --skip-broken-bitmaps, "
                           "or remove it with 'bitmap --remove'",
                           node_filename(from), b->name);
        }
    }
    return rc;
}

int co_fn bitmap_copy_co_add(const struct bitmap_copy *c, GError **err)
{
    struct node *to = extent_skip_filters(c->to);
    const struct image_ops *ops = ops_of(to, err);
    const struct image_bitmap *b;
    int rc = ops ? 0 : -EOPNOTSUPP;

    if (rc == 0 && c->list->len > 0 &&
        node_length(to) != node_length(c->from)) {
        rc =
            error_set(err, -EINVAL,
                      "%s: has %" PRId64 " bytes, and the input %" PRId64
                      ": bitmaps can only be copied to a disk of the same "
                      "size",
                      node_filename(to), node_length(to), node_length(c->from));
    }
    for (guint i = 0; rc == 0 && (b = nth(c, i)); i++) {
        if (b->usable) {
            rc = ops->co_bitmap_add(to, b->name, b->granularity, false, err);
        } else if (c->skipped) {
            c->skipped(c->opaque, b->name);
        }
    }
    return rc;
}

int co_fn bitmap_copy_co_fill(const struct bitmap_copy *c, GError **err)
{
    struct node *from = extent_skip_filters(c->from);
    struct node *to = extent_skip_filters(c->to);
    const struct image_ops *ops = node_driver(to)->image;
    const struct image_bitmap *b;
    int rc = 0;

    for (guint i = 0; rc == 0 && (b = nth(c, i)); i++) {
        if (!b->usable) {
            continue;
        }
        rc = merge(ops, to, b->name, from, b->name, err); /* yields */
        if (rc == 0 && b->enabled) {
            rc = ops->co_bitmap_change(to, b->name, IMAGE_BITMAP_ENABLE, err);
        }
    }
    return rc ? rc : ops->co_bitmap_store(to, err); /* yields */
}

void bitmap_copy_fini(struct bitmap_copy *c)
{
    g_clear_pointer(&c->list, g_array_unref);
}
