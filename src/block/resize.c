/* SPDX-License-Identifier: MIT */
/*
 * resize: change the length of a node or the space it takes, and what the host
 * knows of it.
 */
#include "base/error.h"
#include "block/node_priv.h"

static int co_fn truncate_check(const struct node *node, int64_t length,
                                GError **err)
{
    if (node_is_rdonly(node)) {
        return error_set(err, -EACCES, "%s: is open read-only",
                         node_filename(node));
    }
    if (length < 0 || length > BLOCK_MAX_LENGTH) {
        return error_set(err, -EFBIG,
                         "%s: %" PRId64 " bytes is not a possible size",
                         node_filename(node), length);
    }
    if (!node->drv->co_truncate) {
        return error_set(err, -EOPNOTSUPP, "%s: format '%s' cannot be resized",
                         node_filename(node), node->drv->name);
    }
    return 0;
}

/* Everything from the shorter of the two lengths on, blocks whole, must be
 * left alone: requests there see either the old node or the new one. */
static int co_fn truncate_begin(struct tracked *req, int64_t length)
{
    int64_t from = min_i64(length, node_length(req->node));

    req->offset = align_down(from, req->node->limits.request_align);
    req->bytes = INT64_MAX - req->offset;
    return tracked_begin(req, 0); /* yields */
}

int co_fn node_co_truncate(struct node *node, int64_t length,
                           enum prealloc_mode prealloc, unsigned flags,
                           GError **err)
{
    struct tracked req = {
        .node = node,
        .type = TRACKED_WRITE,
        .serialising = true,
    };
    int rc = truncate_check(node, length, err);

    if (rc < 0) {
        return rc;
    }
    rc = truncate_begin(&req, length); /* yields */
    if (rc < 0) {
        return rc;
    }
    rc = node->drv->co_truncate(node, length, prealloc, flags, err);
    trace(BLOCK, "truncate driver=%s length=%" PRId64 " rc=%d", node->drv->name,
          length, rc);
    tracked_end(&req);
    return rc;
}

int co_fn node_co_allocate(struct node *node, int64_t offset, int64_t bytes)
{
    struct tracked req = {
        .node = node,
        .type = TRACKED_WRITE,
        .offset = offset,
        .bytes = bytes,
    };
    int rc = node_is_rdonly(node) ? -EACCES : 0;

    if (rc == 0 && !range_ok(offset, bytes, node_length(node))) {
        rc = -EIO;
    }
    if (rc < 0 || bytes == 0 || !node->drv->co_allocate) {
        return rc;
    }
    rc = tracked_begin(&req, 0); /* yields */
    if (rc == 0 && range_ok(offset, bytes, node_length(node))) {
        rc = node->drv->co_allocate(node, offset, bytes); /* yields */
    }
    tracked_end(&req);
    return rc == -EOPNOTSUPP ? 0 : rc;
}

int co_fn node_co_stat(struct node *node, struct node_stat *ret)
{
    int rc = -EOPNOTSUPP;

    in_flight_begin(node);
    if (node->drv->co_stat) {
        rc = node->drv->co_stat(node, ret); /* yields */
    } else if (node->file) {
        rc = node_co_stat(node->file, ret); /* yields */
    }
    in_flight_end(node);
    return rc;
}

int co_fn node_co_invalidate(struct node *node)
{
    struct edge *e;
    int rc = 0;

    in_flight_begin(node);
    list_for_each(e, &node->children, link) {
        int child_rc = node_co_invalidate(e->child); /* yields */

        rc = rc ? rc : child_rc;
    }
    if (rc == 0 && node->drv->co_invalidate) {
        rc = node->drv->co_invalidate(node); /* yields */
    }
    in_flight_end(node);
    return rc;
}
