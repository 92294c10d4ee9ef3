/* SPDX-License-Identifier: MIT */
/*
 * write: from any range and memory to what the driver takes.
 *
 * A write that does not fill its first or last block reads that block first
 * and writes it back whole (read-modify-write).  It is serialising, so nobody
 * can change the rest of the block in between.  When the read fails, so does
 * the write, before anything of that block was written.
 *
 * A write of the tail (block/driver.h) ends at the length of the node, or at
 * its own end when it makes the node longer, rather than at a block boundary.
 */
#include "block/node_priv.h"

int write_check(const struct node *node, int64_t offset, int64_t bytes)
{
    bool grows = (node->drv->traits & DRIVER_GROWS) != 0;

    if (node_is_rdonly(node)) {
        return -EACCES;
    }
    return range_ok(offset, bytes, grows ? BLOCK_MAX_LENGTH : node_length(node))
               ? 0
               : -EIO;
}

unsigned write_flags(const struct node *node, unsigned flags,
                     unsigned understood)
{
    if (node->flags & NODE_NO_FLUSH) {
        flags &= ~(unsigned)REQ_FUA;
    }
    if (!(node->flags & NODE_UNMAP)) {
        flags &= ~(unsigned)REQ_MAY_UNMAP;
    }
    return flags & understood;
}

int co_fn write_finish_fua(struct node *node, int rc, unsigned flags,
                           unsigned passed)
{
    if (rc == 0 && (flags & REQ_FUA) && !(passed & REQ_FUA)) {
        rc = node_co_flush(node); /* yields */
    }
    return rc;
}

/* Does a write to @end store a part of a block, and not a whole one? */
static bool write_has_tail(const struct node *node, int64_t end)
{
    int64_t align = node->limits.request_align;

    return !is_aligned(end, align) && align_up(end, align) > node_length(node);
}

/* Sets the range that a write of these bytes must have to itself: offset, bytes
 * and serialising of @req. */
static void write_range(struct tracked *req, int64_t offset, int64_t bytes)
{
    const struct node *node = req->node;
    int64_t granule = node->limits.request_align;
    int64_t end = offset + bytes;

    if (write_has_tail(node, end)) {
        granule = max_i64(granule, TAIL_GRANULE);
    }
    if (!range_is_aligned(node, offset, bytes)) {
        req->serialising = true;
        req->own_offset = offset;
        req->own_bytes = bytes;
        offset = align_down(offset, granule);
        end = align_up(end, granule);
    }
    req->offset = offset;
    req->bytes = end - offset;
}

int co_fn write_begin(struct tracked *req, int64_t offset, int64_t bytes,
                      unsigned flags)
{
    const struct node *node = req->node;
    bool tail;
    int rc;

    do {
        tail = write_has_tail(node, offset + bytes);
        write_range(req, offset, bytes);
        rc = tracked_begin(req, flags); /* yields */
        if (rc < 0 || likely(!req->waited)) {
            return rc;
        }
        /* We may have waited for a truncation.  If the end of the write has
         * become the tail, the range to keep clear is wider: queue again. */
        rc = write_check(node, offset, bytes);
        if (rc == 0 && (tail || !write_has_tail(node, offset + bytes))) {
            return 0;
        }
        tracked_end(req);
    } while (rc == 0);
    return rc;
}

/*
 * Fills those parts of the blocks in @buf, which stands for @n bytes at @pos,
 * that a write of [@offset, @end) leaves as they are on disk.
 */
static int co_fn write_read_edges(struct node *node, int64_t pos, char *buf,
                                  int64_t n, int64_t offset, int64_t end)
{
    int64_t align = node->limits.request_align;
    int64_t last = align_down(pos + n - 1, align); /* the last block */
    bool head = pos < offset;
    bool tail = pos + n > end;
    int rc = 0;

    if (head && tail && last - pos <= align) {
        raise_event(node, EVENT_PWRITEV_RMW_HEAD);                /* yields */
        raise_event(node, EVENT_PWRITEV_RMW_TAIL);                /* yields */
        rc = driver_read_buf(node, pos, buf, last - pos + align); /* yields */
        raise_event(node, EVENT_PWRITEV_RMW_AFTER_HEAD);          /* yields */
        raise_event(node, EVENT_PWRITEV_RMW_AFTER_TAIL);          /* yields */
        return rc;
    }
    if (head) {
        raise_event(node, EVENT_PWRITEV_RMW_HEAD);       /* yields */
        rc = driver_read_buf(node, pos, buf, align);     /* yields */
        raise_event(node, EVENT_PWRITEV_RMW_AFTER_HEAD); /* yields */
    }
    if (rc == 0 && tail) {
        raise_event(node, EVENT_PWRITEV_RMW_TAIL); /* yields */
        rc =
            driver_read_buf(node, last, buf + (last - pos), align); /* yields */
        raise_event(node, EVENT_PWRITEV_RMW_AFTER_TAIL);            /* yields */
    }
    return rc;
}

/*
 * Writes the blocks around [@offset, @offset + @bytes) step by step through
 * bounce memory; the data are those of @src from @at on.
 */
static int co_fn write_bounced(struct node *node, int64_t offset,
                               const struct iovs *src, int64_t at,
                               int64_t bytes, unsigned flags)
{
    int64_t align = node->limits.request_align;
    int64_t end = offset + bytes;
    int64_t start = align_down(offset, align);
    int64_t room = align_up(end, align);
    int64_t stop = min_i64(room, max_i64(end, node_length(node)));
    int64_t step = min_i64(bounce_step(node), room - start);
    char *buf = node_try_alloc(node, step);
    int rc = buf ? 0 : -ENOMEM;

    for (int64_t pos = start; pos < stop && rc == 0; pos += step) {
        int64_t n = min_i64(step, stop - pos);
        int64_t from = max_i64(pos, offset);
        int64_t to = min_i64(pos + n, end);

        rc = write_read_edges(node, pos, buf, n, offset, end); /* yields */
        if (rc == 0 && pos == start && at == 0) {
            raise_event(node, EVENT_PWRITEV); /* yields */
        }
        if (rc == 0) {
            iovs_to_buf(src, at + from - offset, buf + (from - pos), to - from);
            rc = driver_write_buf(node, pos, buf, n, flags); /* yields */
        }
    }
    free(buf);
    return rc;
}

/* Writes an aligned range from aligned memory, in as many calls as it takes. */
static int co_fn write_fragments(struct node *node, int64_t offset,
                                 const struct iovs *src, unsigned flags)
{
    struct fragments f;
    int rc = fragments_init(&f, node, src);

    while (rc == 0 && fragments_next(&f)) {
        if (f.done == 0) {
            raise_event(node, EVENT_PWRITEV); /* yields */
        }
        rc = driver_write(node, offset + f.done, &f.part, flags); /* yields */
    }
    if (rc == 0 && f.done < src->bytes) {
        rc = write_bounced(node, offset + f.done, src, f.done,
                           src->bytes - f.done, flags); /* yields */
    }
    fragments_fini(&f);
    return rc;
}

int co_fn write_any(struct node *node, int64_t offset, const struct iovs *src,
                    unsigned flags)
{
    if (likely(request_fits(node, offset, src))) {
        raise_event(node, EVENT_PWRITEV);              /* yields */
        return driver_write(node, offset, src, flags); /* yields */
    }
    if (range_is_aligned(node, offset, src->bytes) && memory_fits(node, src)) {
        return write_fragments(node, offset, src, flags); /* yields */
    }
    return write_bounced(node, offset, src, 0, src->bytes, flags);
}

void node_grown(struct node *node, int64_t end)
{
    int64_t length = node_length(node);

    while (length < end &&
           !atomic_compare_exchange_weak(&node->length, &length, end)) {
    }
}

/* The flags of a request that stands for a write of zeroes. */
static unsigned zeroes_flags(struct node *node, unsigned flags)
{
    return node_detect_zeroes(node) == DETECT_ZEROES_UNMAP
               ? flags | REQ_MAY_UNMAP
               : flags;
}

int co_fn node_co_pwritev(struct node *node, int64_t offset,
                          const struct iovs *src, unsigned flags)
{
    struct tracked req = {
        .node = node,
        .type = TRACKED_WRITE,
        /* It gives the place of what was there to others. */
        .serialising = (flags & REQ_WRITE_COMPRESSED) != 0,
    };
    unsigned passed = write_flags(node, flags, node->drv->write_flags);
    int rc = write_check(node, offset, src->bytes);

    if (rc < 0 || src->bytes == 0) {
        return rc;
    }
    if (unlikely((flags & REQ_WRITE_COMPRESSED) & ~passed)) {
        return -EOPNOTSUPP;
    }
    if (unlikely(node_detect_zeroes(node)) && iovs_is_zero(src)) {
        return node_co_pwrite_zeroes(node, offset, src->bytes,
                                     zeroes_flags(node, flags)); /* yields */
    }
    rc = write_begin(&req, offset, src->bytes, flags); /* yields */
    if (rc < 0) {
        return rc;
    }
    rc = write_any(node, offset, src, passed); /* yields */
    raise_event(node, EVENT_PWRITEV_DONE);     /* yields */
    if (rc == 0) {
        node_grown(node, offset + src->bytes);
    }
    tracked_end(&req);
    return write_finish_fua(node, rc, flags, passed); /* yields */
}

int co_fn node_co_pwrite(struct node *node, int64_t offset, const void *buf,
                         int64_t bytes, unsigned flags)
{
    struct iovec iov;
    struct iovs src = iovs_one(&iov, (void *)buf, bytes);

    return node_co_pwritev(node, offset, &src, flags);
}
