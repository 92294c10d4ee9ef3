/* SPDX-License-Identifier: MIT */

#include "format/pass.h"

#include "block/node.h"

int co_fn pass_co_preadv(struct node *node, int64_t offset,
                         const struct iovs *dst)
{
    return node_co_preadv_past_end(node_file(node), offset, dst); /* yields */
}

int co_fn pass_co_pwrite_zeroes(struct node *node, int64_t offset,
                                int64_t bytes, unsigned flags)
{
    return node_co_pwrite_zeroes(node_file(node), offset, bytes, flags);
}

int co_fn pass_co_pdiscard(struct node *node, int64_t offset, int64_t bytes)
{
    return node_co_pdiscard(node_file(node), offset, bytes); /* yields */
}

int co_fn pass_co_truncate(struct node *node, int64_t length,
                           enum prealloc_mode prealloc, unsigned flags,
                           GError **err)
{
    int rc = node_co_truncate(node_file(node), length, prealloc, flags,
                              err); /* yields */

    if (rc == 0) {
        node_set_length(node, length);
    }
    return rc;
}
