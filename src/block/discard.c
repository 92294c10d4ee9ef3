/* SPDX-License-Identifier: MIT */
/*
 * discard: tell the host that a range is not needed.
 *
 * A hint.  What does not fill discard_align is left out; a driver that cannot
 * is no error.  Serialising, like zeroes: a write that comes after a discard
 * of the same bytes must not be lost to it.
 */
#include "block/node_priv.h"

static int co_fn discard_do(struct node *node, int64_t offset, int64_t end)
{
    int64_t align = node->limits.discard_align;

    offset = round_up(offset, align);
    end = end == node_length(node) ? end : round_down(end, align);
    while (offset < end) {
        int64_t n = min_non_zero(end - offset, node->limits.max_discard);
        int rc = node->drv->co_pdiscard(node, offset, n); /* yields */

        trace(BLOCK,
              "discard driver=%s offset=%" PRId64 " bytes=%" PRId64 " rc=%d",
              node->drv->name, offset, n, rc);
        if (rc < 0) {
            return rc == -EOPNOTSUPP ? 0 : rc;
        }
        offset += n;
    }
    return 0;
}

int co_fn node_co_pdiscard(struct node *node, int64_t offset, int64_t bytes)
{
    struct tracked req = {
        .node = node,
        .type = TRACKED_WRITE,
        .serialising = true,
    };
    int rc = node_is_rdonly(node) ? -EACCES : 0;

    if (rc == 0 && !range_ok(offset, bytes, node_length(node))) {
        rc = -EIO;
    }
    if (rc < 0 || bytes == 0 || !(node->flags & NODE_UNMAP) ||
        !node->drv->co_pdiscard) {
        return rc;
    }
    rc = write_begin(&req, offset, bytes, 0); /* yields */
    if (rc < 0) {
        return rc;
    }
    /* A node that grows may be shorter than the range by now. */
    rc = discard_do(node, offset, min_i64(offset + bytes, node_length(node)));
    tracked_end(&req);
    return rc;
}
