/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "base/align.h"
#include "base/iov.h"
#include "driver/file_priv.h"

/* Copying more than this from the page cache is better left to a thread. */
#define CACHED_MAX (64 * KiB)

/* A read ended after @n bytes.  Past the end of a file is zeroes: when the
 * file ends inside the last block, and when somebody made it shorter. */
static int file_fill_short_read(const struct file *f, int64_t offset, int64_t n,
                                const struct iovs *dst)
{
    int64_t length = file_get_length(f);

    if (length < 0) {
        return (int)length;
    }
    if (!file_is_regular(f) || length > offset + n) {
        return -EIO; /* that was not the end */
    }
    iovs_memset(dst, n, 0, dst->bytes - n);
    return 0;
}

/*
 * Reads what lies in the page cache without asking a thread to; returns
 * whether that was all of @dst.
 */
static bool file_read_cached(struct file *f, int64_t offset,
                             const struct iovs *dst)
{
    ssize_t n;

    if (f->direct || f->aio != &engine_threads || dst->bytes > CACHED_MAX ||
        !file_can(f, FILE_NO_NOWAIT)) {
        return false;
    }
    n = preadv2(f->fd, dst->iov, dst->n, offset, RWF_NOWAIT);
    if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        file_set_cannot(f, FILE_NO_NOWAIT);
    }
    return n == dst->bytes;
}

int co_fn file_co_preadv(struct node *node, int64_t offset,
                         const struct iovs *dst)
{
    struct file *f = node_state(node);
    struct engine_io io = {
        .op = ENGINE_READ,
        .fd = f->fd,
        .offset = offset,
        .iovs = *dst,
    };
    struct engine *e;
    int64_t n;
    int rc;

    if (file_read_cached(f, offset, dst)) {
        return 0;
    }
    rc = file_co_engine(f, &e);
    if (rc < 0) {
        return rc;
    }
    n = engine_co_submit(e, &io); /* yields */
    if (n < 0) {
        return (int)n;
    }
    if (unlikely(n < dst->bytes)) {
        return file_fill_short_read(f, offset, n, dst);
    }
    return 0;
}

static int co_fn file_co_write(const struct file *f, struct engine *e, int fd,
                               int64_t offset, const struct iovs *src,
                               unsigned flags)
{
    bool fua = flags & REQ_FUA;
    struct engine_io io = {
        .op = ENGINE_WRITE,
        .fd = fd,
        .flags = fua && !f->loses_dsync ? ENGINE_FUA : 0,
        .offset = offset,
        .iovs = *src,
    };
    int64_t n = engine_co_submit(e, &io); /* yields */

    if (n >= 0 && fua && f->loses_dsync) {
        io = (struct engine_io){.op = ENGINE_FDSYNC, .fd = fd};
        n = engine_co_submit(e, &io); /* yields */
    }
    return n < 0 ? (int)n : 0;
}

/* Writes the part of @src from @from on by way of the page cache. */
static int co_fn file_co_write_buffered(struct file *f, int64_t offset,
                                        const struct iovs *src, int64_t from,
                                        unsigned flags)
{
    int64_t bytes = src->bytes - from;
    struct engine *e;
    struct iovec iov;
    struct iovs tail;
    void *buf;
    int rc;

    rc = file_co_call_engine(f, &e);
    if (rc < 0) {
        return rc;
    }
    buf = malloc((size_t)bytes);
    if (!buf) {
        return -ENOMEM;
    }
    iovs_to_buf(src, from, buf, bytes);
    tail = iovs_one(&iov, buf, bytes);
    atomic_store(&f->cache_dirtied, true);
    rc = file_co_write(f, e, f->buffered_fd, offset + from, &tail, flags);
    free(buf);
    return rc;
}

/*
 * Writes up to an end that is not aligned: the end of a file that ends inside
 * a block.  O_DIRECT could only write the whole block and so make the file
 * longer; the last bytes go through the page cache instead.
 */
static int co_fn file_co_write_tail(struct file *f, int64_t offset,
                                    const struct iovs *src, unsigned flags)
{
    int64_t head = align_down(src->bytes, f->offset_align);
    struct iovec *iov;
    struct iovs aligned;
    struct engine *e;
    int rc;

    if (head > 0) {
        rc = file_co_engine(f, &e);
        if (rc < 0) {
            return rc;
        }
        iov = malloc((size_t)src->n * sizeof(*iov));
        if (!iov) {
            return -ENOMEM;
        }
        aligned = iovs_of(iov, iovs_slice(src, 0, head, iov));
        rc = file_co_write(f, e, f->fd, offset, &aligned, flags);
        free(iov);
        if (rc < 0) {
            return rc;
        }
    }
    return file_co_write_buffered(f, offset, src, head, flags);
}

int co_fn file_co_pwritev(struct node *node, int64_t offset,
                          const struct iovs *src, unsigned flags)
{
    struct file *f = node_state(node);
    struct engine *e;
    int rc;

    if (unlikely(!is_aligned(src->bytes, f->offset_align))) {
        return file_co_write_tail(f, offset, src, flags);
    }
    rc = file_co_engine(f, &e);
    return rc < 0 ? rc : file_co_write(f, e, f->fd, offset, src, flags);
}

int co_fn file_co_flush_to_disk(struct node *node)
{
    struct file *f = node_state(node);
    struct engine_io io = {.op = ENGINE_FDSYNC, .fd = f->fd};
    struct engine *e;
    int rc = atomic_load(&f->flush_error);

    if (rc < 0) {
        return rc;
    }
    rc = file_co_engine(f, &e);
    if (rc < 0) {
        return rc;
    }
    rc = (int)engine_co_submit(e, &io); /* yields */

    /* The kernel has marked the pages it could not write as clean: the next
     * fdatasync() would succeed, and what it should have written is lost. */
    if (rc < 0 && (!f->direct || atomic_load(&f->cache_dirtied))) {
        atomic_store(&f->flush_error, rc);
    }
    return rc;
}
