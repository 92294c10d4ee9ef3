/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include "driver/file_priv.h"

/* A range for a worker thread to treat. */
struct range_job {
    struct file *file;
    int64_t offset, bytes;
    int64_t length; /* of the node */
    unsigned flags; /* enum req_flags */
};

/* fallocate(), unless the host is known not to do @mode, which @what names. */
static int file_fallocate(const struct range_job *j, int mode,
                          enum file_cannot what)
{
    int rc;

    if (!file_can(j->file, what)) {
        return -EOPNOTSUPP;
    }
    do {
        rc = fallocate(j->file->fd, mode, j->offset, j->bytes) < 0 ? -errno : 0;
    } while (rc == -EINTR);

    if (file_rc_is_unsupported(rc)) {
        file_set_cannot(j->file, what);
        return -EOPNOTSUPP;
    }
    return rc;
}

static int file_punch(const struct range_job *j)
{
    return file_fallocate(j, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                          FILE_NO_PUNCH);
}

/* Some file systems refuse a single range or mode with these. */
static bool may_try_otherwise(int rc)
{
    return rc == -EOPNOTSUPP || rc == -EINVAL || rc == -EBUSY;
}

static int64_t file_zero_regular(void *opaque)
{
    struct range_job *j = opaque;
    bool grows = j->bytes > j->length - j->offset;
    int rc;

    if ((j->flags & REQ_MAY_UNMAP) && !grows) {
        rc = file_punch(j);
        if (!may_try_otherwise(rc)) {
            return rc;
        }
    }
    rc = file_fallocate(j, FALLOC_FL_ZERO_RANGE, FILE_NO_ZERO_RANGE);
    if (!may_try_otherwise(rc)) {
        return rc;
    }
    if (grows && j->offset < j->length) {
        return -EOPNOTSUPP;
    }
    if (!grows) {
        rc = file_punch(j);
        if (rc < 0) {
            return may_try_otherwise(rc) ? -EOPNOTSUPP : rc;
        }
    }
    /* The range is a hole now.  Give it its blocks back, so that a later write
     * finds them; behind the end of the file this is what makes it longer. */
    rc = file_fallocate(j, 0, FILE_NO_ALLOCATE);
    if (grows) {
        return may_try_otherwise(rc) ? -EOPNOTSUPP : rc;
    }
    return 0;
}

static int64_t file_zero_device(void *opaque)
{
    struct range_job *j = opaque;
    uint64_t range[2] = {(uint64_t)j->offset, (uint64_t)j->bytes};
    int rc;

    /* Only succeeds when the device can deallocate to zeroes. */
    if (j->flags & REQ_MAY_UNMAP) {
        rc = file_punch(j);
        if (!may_try_otherwise(rc)) {
            return rc;
        }
    }
    /* BLKZEROOUT may be as slow as writing. */
    if ((j->flags & REQ_NO_FALLBACK) ||
        !file_can(j->file, FILE_NO_ZERO_RANGE)) {
        return -EOPNOTSUPP;
    }
    do {
        rc = ioctl(j->file->fd, BLKZEROOUT, range) < 0 ? -errno : 0;
    } while (rc == -EINTR);
    if (file_rc_is_unsupported(rc)) {
        file_set_cannot(j->file, FILE_NO_ZERO_RANGE);
        return -EOPNOTSUPP;
    }
    return rc;
}

int co_fn file_co_pwrite_zeroes(struct node *node, int64_t offset,
                                int64_t bytes, unsigned flags)
{
    struct file *f = node_state(node);
    struct range_job j = {
        .file = f,
        .offset = offset,
        .bytes = bytes,
        .length = node_length(node),
        .flags = flags,
    };

    return (int)file_co_call(
        f, file_is_regular(f) ? file_zero_regular : file_zero_device, &j);
}

static int64_t file_discard_regular(void *opaque)
{
    const struct range_job *j = opaque;
    int rc = file_punch(j);

    return may_try_otherwise(rc) ? -EOPNOTSUPP : rc;
}

static int64_t file_discard_device(void *opaque)
{
    const struct range_job *j = opaque;
    uint64_t range[2] = {(uint64_t)j->offset, (uint64_t)j->bytes};
    int rc;

    if (!file_can(j->file, FILE_NO_DISCARD)) {
        return -EOPNOTSUPP;
    }
    do {
        rc = ioctl(j->file->fd, BLKDISCARD, range) < 0 ? -errno : 0;
    } while (rc == -EINTR);
    if (file_rc_is_unsupported(rc)) {
        file_set_cannot(j->file, FILE_NO_DISCARD);
        return -EOPNOTSUPP;
    }
    return rc;
}

int co_fn file_co_pdiscard(struct node *node, int64_t offset, int64_t bytes)
{
    struct file *f = node_state(node);
    struct range_job j = {.file = f, .offset = offset, .bytes = bytes};

    return (int)file_co_call(
        f, file_is_regular(f) ? file_discard_regular : file_discard_device, &j);
}

static int64_t file_reserve(void *opaque)
{
    const struct range_job *j = opaque;
    int rc = file_fallocate(j, FALLOC_FL_KEEP_SIZE, FILE_NO_ALLOCATE);

    return may_try_otherwise(rc) ? -EOPNOTSUPP : rc;
}

int co_fn file_co_allocate(struct node *node, int64_t offset, int64_t bytes)
{
    struct file *f = node_state(node);
    struct range_job j = {.file = f, .offset = offset, .bytes = bytes};

    return (int)file_co_call(f, file_reserve, &j);
}
