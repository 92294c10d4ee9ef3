/* SPDX-License-Identifier: MIT */
/*
 * pad: the last step before the driver: its preconditions as assertions, and
 * how requests that do not meet them are cut and buffered.
 *
 * There is one rule for what is not aligned, be it the range or the memory:
 * it goes through bounce memory, in steps of at most BLOCK_MAX_BOUNCE.  The
 * copy costs little next to the request, and a padded request stays one
 * request.  What is aligned is never copied, only cut where the driver's
 * max_transfer or max_iov say so.
 *
 * The pieces of one request run one after the other: a driver's queue is kept
 * full by many requests, not by one, and after an error nothing more of a
 * failed request is started.
 */
#include <string.h>

#include "block/node_priv.h"

int co_fn driver_read(struct node *node, int64_t offset, const struct iovs *dst)
{
    int rc;

    assert(dst->bytes > 0 && dst->bytes <= node->limits.max_transfer);
    assert(range_is_aligned(node, offset, dst->bytes));
    assert(dst->n <= node->limits.max_iov);

    rc = node->drv->co_preadv(node, offset, dst); /* yields */
    assert(rc <= 0);
    trace(BLOCK, "read driver=%s offset=%" PRId64 " bytes=%" PRId64 " rc=%d",
          node->drv->name, offset, dst->bytes, rc);
    return rc;
}

int co_fn driver_write(struct node *node, int64_t offset,
                       const struct iovs *src, unsigned flags)
{
    int rc;

    assert(src->bytes > 0 && src->bytes <= node->limits.max_transfer);
    assert(is_aligned(offset, node->limits.request_align));
    assert(src->n <= node->limits.max_iov);

    rc = node->drv->co_pwritev(node, offset, src, flags); /* yields */
    assert(rc <= 0);
    trace(BLOCK, "write driver=%s offset=%" PRId64 " bytes=%" PRId64 " rc=%d",
          node->drv->name, offset, src->bytes, rc);
    return rc;
}

int co_fn driver_read_buf(struct node *node, int64_t offset, void *buf,
                          int64_t bytes)
{
    int64_t end = align_up(node_length(node), node->limits.request_align);
    int64_t there = min_i64(bytes, max_i64(end - offset, 0));
    struct iovec iov;
    struct iovs dst = iovs_one(&iov, buf, there);

    memset((char *)buf + there, 0, (size_t)(bytes - there));
    return there > 0 ? driver_read(node, offset, &dst) : 0;
}

int co_fn driver_write_buf(struct node *node, int64_t offset, void *buf,
                           int64_t bytes, unsigned flags)
{
    struct iovec iov;
    struct iovs src = iovs_one(&iov, buf, bytes);

    return driver_write(node, offset, &src, flags);
}

int64_t bounce_step(const struct node *node)
{
    int64_t align = node->limits.request_align;
    int64_t most = min_i64(node->limits.max_transfer, BLOCK_MAX_BOUNCE);

    return max_i64(align_down(most, align), align);
}

void *node_try_alloc(struct node *node, int64_t bytes)
{
    size_t align =
        (size_t)max_i64(node->limits.opt_mem_align, (int64_t)sizeof(void *));
    void *buf;

    return posix_memalign(&buf, align, (size_t)max_i64(bytes, 1)) ? NULL : buf;
}

int fragments_init(struct fragments *f, const struct node *node,
                   const struct iovs *whole)
{
    size_t n = (size_t)min_i64(whole->n, node->limits.max_iov);

    *f = (struct fragments){.node = node, .whole = whole};
    f->iov = calloc(n, sizeof(*f->iov));
    return f->iov ? 0 : -ENOMEM;
}

/* How many bytes the first @max_iov elements behind @skip bytes hold. */
static int64_t iovs_reach(const struct iovs *v, int64_t skip, int max_iov)
{
    int64_t bytes = 0;

    for (int i = 0; i < v->n && max_iov > 0; i++) {
        int64_t n = (int64_t)v->iov[i].iov_len;

        if (skip >= n) {
            skip -= n;
            continue;
        }
        bytes += n - skip;
        skip = 0;
        max_iov--;
    }
    return bytes;
}

bool fragments_next(struct fragments *f)
{
    const struct node_limits *l = &f->node->limits;
    int64_t bytes;

    f->done += f->part.bytes;
    f->part.bytes = 0;
    bytes = iovs_reach(f->whole, f->done, l->max_iov);
    bytes = align_down(min_i64(bytes, l->max_transfer), l->request_align);
    if (bytes == 0) {
        return false;
    }
    f->part.iov = f->iov;
    f->part.n = iovs_slice(f->whole, f->done, bytes, f->iov);
    f->part.bytes = bytes;
    return true;
}

void fragments_fini(struct fragments *f)
{
    free(f->iov);
}
