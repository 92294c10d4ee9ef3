/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/align.h"
#include "base/error.h"
#include "driver/file_priv.h"

#define ZERO_CHUNK (64 * KiB)

int64_t file_get_length(const struct file *f)
{
    struct stat st;
    uint64_t bytes;
    off_t end;

    if (file_is_regular(f)) {
        return fstat(f->fd, &st) < 0 ? -errno : st.st_size;
    }
    if (S_ISBLK(f->type)) {
        return ioctl(f->fd, BLKGETSIZE64, &bytes) < 0 ? -errno : (int64_t)bytes;
    }
    end = lseek(f->fd, 0, SEEK_END);
    return end < 0 ? -errno : end;
}

int64_t co_fn file_co_length(struct node *node)
{
    return file_get_length(node_state(node));
}

struct truncate_job {
    struct file *file;
    int64_t length;
    enum prealloc_mode prealloc;
};

static int file_write_zeroes(int fd, int64_t offset, int64_t end)
{
    void *zeroes = calloc(1, ZERO_CHUNK);
    int rc = zeroes ? 0 : -ENOMEM;

    while (rc == 0 && offset < end) {
        ssize_t n = pwrite(fd, zeroes,
                           (size_t)min_i64(ZERO_CHUNK, end - offset), offset);

        if (n > 0) {
            offset += n;
        } else if (n == 0) {
            rc = -ENOSPC;
        } else if (errno != EINTR) {
            rc = -errno;
        }
    }
    free(zeroes);
    if (rc == 0 && fsync(fd) < 0) {
        rc = -errno;
    }
    return rc;
}

int file_grow(int fd, int64_t old, int64_t length, enum prealloc_mode prealloc)
{
    switch (prealloc) {
    case PREALLOC_FALLOC:
        return -posix_fallocate(fd, old, length - old);
    case PREALLOC_FULL:
        return file_write_zeroes(fd, old, length);
    case PREALLOC_OFF:
    case PREALLOC_METADATA:
        break;
    }
    return ftruncate(fd, length) < 0 ? -errno : 0;
}

static int64_t file_truncate(void *opaque)
{
    struct truncate_job *j = opaque;
    int64_t old = file_get_length(j->file);
    int rc;

    if (old < 0) {
        return old;
    }
    if (j->length <= old) {
        return ftruncate(j->file->fd, j->length) < 0 ? -errno : 0;
    }
    if (j->prealloc == PREALLOC_FULL) {
        atomic_store(&j->file->cache_dirtied, true);
    }
    rc = file_grow(j->file->buffered_fd, old, j->length, j->prealloc);
    if (rc < 0) {
        (void)!ftruncate(j->file->fd, old); /* the first error is the one */
    }
    return rc;
}

static int co_fn file_co_truncate_regular(struct node *node, int64_t length,
                                          enum prealloc_mode prealloc,
                                          GError **err)
{
    struct truncate_job j = {
        .file = node_state(node),
        .length = length,
        .prealloc = prealloc,
    };
    int rc;

    if (prealloc == PREALLOC_METADATA) {
        return error_set(err, -EOPNOTSUPP,
                         "%s: a raw file has no metadata to preallocate; use "
                         "off, falloc or full",
                         node_filename(node));
    }
    if (prealloc != PREALLOC_OFF && length < node_length(node)) {
        return error_set(err, -EOPNOTSUPP,
                         "%s: cannot preallocate while making it smaller; use "
                         "off",
                         node_filename(node));
    }
    rc = (int)file_co_call(j.file, file_truncate, &j); /* yields */
    if (rc < 0) {
        return error_set_errno(
            err, rc, "%s: cannot change the size to %" PRId64 " bytes",
            node_filename(node), length);
    }
    node_set_length(node, length);
    return 0;
}

static int file_truncate_device(struct node *node, int64_t length,
                                unsigned flags, GError **err)
{
    int64_t now = file_get_length(node_state(node));

    if (now < 0) {
        return error_set_errno(err, (int)now, "%s: cannot find its size",
                               node_filename(node));
    }
    if (length > now || (length != now && (flags & TRUNCATE_EXACT))) {
        return error_set(err, length > now ? -EINVAL : -EOPNOTSUPP,
                         "%s: a device of %" PRId64
                         " bytes, whose size cannot be changed to %" PRId64,
                         node_filename(node), now, length);
    }
    node_set_length(node, now);
    return 0;
}

int co_fn file_co_truncate(struct node *node, int64_t length,
                           enum prealloc_mode prealloc, unsigned flags,
                           GError **err)
{
    const struct file *f = node_state(node);

    /* What is new in a file reads as zeroes in any case. */
    if (file_is_regular(f)) {
        return file_co_truncate_regular(node, length, prealloc, err);
    }
    if (prealloc != PREALLOC_OFF) {
        return error_set(err, -EOPNOTSUPP,
                         "%s: cannot preallocate on a device; use off",
                         node_filename(node));
    }
    return file_truncate_device(node, length, flags, err);
}

struct copy_job {
    struct file *src, *dst;
    int64_t src_offset, dst_offset, bytes;
    bool durable;
};

static int64_t file_copy(void *opaque)
{
    struct copy_job *j = opaque;

    while (j->bytes > 0) {
        ssize_t n = copy_file_range(j->src->fd, &j->src_offset, j->dst->fd,
                                    &j->dst_offset, (size_t)j->bytes, 0);

        if (n == 0) { /* a file that is shorter than it was */
            return -EOPNOTSUPP;
        }
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        j->bytes -= n > 0 ? n : 0;
    }
    return j->durable && fdatasync(j->dst->fd) < 0 ? -errno : 0;
}

int co_fn file_co_copy_range(struct node *src, int64_t src_offset,
                             struct node *dst, int64_t dst_offset,
                             int64_t bytes, unsigned flags)
{
    struct copy_job j = {
        .src = node_state(src),
        .dst = node_state(dst),
        .src_offset = src_offset,
        .dst_offset = dst_offset,
        .bytes = bytes,
        .durable = flags & REQ_FUA,
    };
    int rc;

    if (!file_can(j.dst, FILE_NO_COPY_RANGE)) {
        return -EOPNOTSUPP;
    }
    atomic_store(&j.dst->cache_dirtied, true);    /* it may go that way */
    rc = (int)file_co_call(j.dst, file_copy, &j); /* yields */
    if (rc == -EXDEV || file_rc_is_unsupported(rc)) {
        /* Another source may do, but a copy by hand is always right. */
        file_set_cannot(j.dst, FILE_NO_COPY_RANGE);
        return -EOPNOTSUPP;
    }
    return rc == -EINVAL || rc == -ETXTBSY ? -EOPNOTSUPP : rc;
}
