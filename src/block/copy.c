/* SPDX-License-Identifier: MIT */
/*
 * copy: from node to node without the data passing through this process.
 *
 * Only where both nodes have the same driver and it can; the caller falls back
 * to reading and writing on -EOPNOTSUPP.
 */
#include "block/node_priv.h"

static int copy_check(const struct node *src, int64_t src_offset,
                      const struct node *dst, int64_t dst_offset, int64_t bytes)
{
    if (!range_ok(src_offset, bytes, node_length(src))) {
        return -EIO;
    }
    return write_check(dst, dst_offset, bytes);
}

static bool co_fn copy_possible(const struct node *src, int64_t src_offset,
                                const struct node *dst, int64_t dst_offset,
                                int64_t bytes)
{
    bool overlap =
        src == dst && ranges_overlap(src_offset, bytes, dst_offset, bytes);

    return src->drv == dst->drv && src->drv->co_copy_range && !overlap &&
           range_is_aligned(src, src_offset, bytes) &&
           range_is_aligned(dst, dst_offset, bytes);
}

static int co_fn copy_pieces(struct node *src, int64_t src_offset,
                             struct node *dst, int64_t dst_offset,
                             int64_t bytes, unsigned flags)
{
    int rc = 0;

    for (int64_t done = 0; done < bytes && rc == 0;) {
        int64_t n = min_i64(bytes - done, BLOCK_MAX_TRANSFER);

        /* BLOCK_MAX_TRANSFER is no multiple of very large blocks. */
        n = n < bytes - done ? align_down(n, max_i64(src->limits.request_align,
                                                     dst->limits.request_align))
                             : n;
        if (n == 0) {
            return -EOPNOTSUPP;
        }
        rc = src->drv->co_copy_range(src, src_offset + done, dst,
                                     dst_offset + done, n, flags); /* yields */
        done += n;
    }
    return rc;
}

int co_fn node_co_copy_range(struct node *src, int64_t src_offset,
                             struct node *dst, int64_t dst_offset,
                             int64_t bytes, unsigned flags)
{
    struct tracked r = {
        .node = src,
        .type = TRACKED_READ,
        .offset = src_offset,
        .bytes = bytes,
    };
    struct tracked w = {
        .node = dst,
        .type = TRACKED_WRITE,
        .offset = dst_offset,
        .bytes = bytes,
    };
    unsigned passed = write_flags(dst, flags, dst->drv->write_flags);
    int rc = copy_check(src, src_offset, dst, dst_offset, bytes);

    if (rc < 0 || bytes == 0) {
        return rc;
    }
    if (!copy_possible(src, src_offset, dst, dst_offset, bytes)) {
        return -EOPNOTSUPP;
    }
    tracked_begin_two(&r, &w); /* yields */
    rc = copy_check(src, src_offset, dst, dst_offset, bytes);
    if (rc == 0) {
        rc = copy_pieces(src, src_offset, dst, dst_offset, bytes, passed);
    }
    if (rc == 0) {
        node_grown(dst, dst_offset + bytes);
    }
    tracked_end(&w);
    tracked_end(&r);
    return write_finish_fua(dst, rc, flags, passed); /* yields */
}
