/* SPDX-License-Identifier: MIT */
/*
 * read: from any range and memory to what the driver takes.
 */
#include <errno.h>
#include <stdlib.h>

#include "block/node_priv.h"

/*
 * Reads the whole blocks around [@offset, @offset + @bytes) step by step into
 * bounce memory and copies what was asked for to @dst, from @at on.
 */
static int co_fn read_bounced(struct node *node, int64_t offset,
                              const struct iovs *dst, int64_t at, int64_t bytes)
{
    int64_t align = node->limits.request_align;
    int64_t start = align_down(offset, align);
    int64_t stop = align_up(offset + bytes, align);
    int64_t step = min_i64(bounce_step(node), stop - start);
    char *buf = node_try_alloc(node, step);
    int rc = buf ? 0 : -ENOMEM;

    for (int64_t pos = start; pos < stop && rc == 0; pos += step) {
        int64_t n = min_i64(step, stop - pos);
        int64_t from = max_i64(pos, offset);
        int64_t to = min_i64(pos + n, offset + bytes);

        rc = driver_read_buf(node, pos, buf, n); /* yields */
        if (rc == 0) {
            iovs_from_buf(dst, at + from - offset, buf + (from - pos),
                          to - from);
        }
    }
    free(buf);
    return rc;
}

/* Reads an aligned range into aligned memory, in as many calls as it takes. */
static int co_fn read_fragments(struct node *node, int64_t offset,
                                const struct iovs *dst)
{
    struct fragments f;
    int rc = fragments_init(&f, node, dst);

    while (rc == 0 && fragments_next(&f)) {
        rc = driver_read(node, offset + f.done, &f.part); /* yields */
    }
    if (rc == 0 && f.done < dst->bytes) {
        rc = read_bounced(node, offset + f.done, dst, f.done,
                          dst->bytes - f.done); /* yields */
    }
    fragments_fini(&f);
    return rc;
}

static int co_fn read_any(struct node *node, int64_t offset,
                          const struct iovs *dst)
{
    if (likely(request_fits(node, offset, dst))) {
        return driver_read(node, offset, dst); /* yields */
    }
    if (range_is_aligned(node, offset, dst->bytes) && memory_fits(node, dst)) {
        return read_fragments(node, offset, dst); /* yields */
    }
    return read_bounced(node, offset, dst, 0, dst->bytes); /* yields */
}

int co_fn node_co_preadv(struct node *node, int64_t offset,
                         const struct iovs *dst, unsigned flags)
{
    struct tracked req = {
        .node = node,
        .type = TRACKED_READ,
        .offset = offset,
        .bytes = dst->bytes,
    };
    int rc;

    if (!range_ok(offset, dst->bytes, node_length(node))) {
        return -EIO;
    }
    if (dst->bytes == 0) {
        return 0;
    }
    rc = tracked_begin(&req, flags); /* yields */
    if (rc < 0) {
        return rc;
    }
    /* What we waited for may have been a truncation. */
    if (unlikely(req.waited) &&
        !range_ok(offset, dst->bytes, node_length(node))) {
        rc = -EIO;
    } else {
        rc = read_any(node, offset, dst); /* yields */
    }
    tracked_end(&req);
    return rc;
}

int co_fn node_co_pread(struct node *node, int64_t offset, void *buf,
                        int64_t bytes)
{
    struct iovec iov;
    struct iovs dst = iovs_one(&iov, buf, bytes);

    return node_co_preadv(node, offset, &dst, 0);
}

int co_fn node_co_preadv_past_end(struct node *node, int64_t offset,
                                  const struct iovs *dst)
{
    int64_t there = max_i64(node_length(node) - offset, 0);
    struct iovec *iov;
    struct iovs part;
    int rc;

    if (likely(dst->bytes <= there)) {
        return node_co_preadv(node, offset, dst, 0); /* yields */
    }
    iovs_memset(dst, there, 0, dst->bytes - there);
    if (there == 0) {
        return 0;
    }
    iov = malloc((size_t)dst->n * sizeof(*iov));
    if (!iov) {
        return -ENOMEM;
    }
    part = iovs_of(iov, iovs_slice(dst, 0, there, iov));
    rc = node_co_preadv(node, offset, &part, 0); /* yields */
    free(iov);
    return rc;
}
