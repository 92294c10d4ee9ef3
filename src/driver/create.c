/* SPDX-License-Identifier: MIT */
/*
 * create: new image files on the host.
 *
 * A file that exists is emptied once nobody else is found to use it.  One
 * that was made here and could not be completed is removed again.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/align.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "block/image.h"
#include "driver/file_priv.h"
#include "driver/lock.h"
#include "loop/loop.h"

#define FIRST_BLOCK (4 * KiB)

struct create_job {
    /* Set by who creates. */
    const char *filename;
    int64_t bytes;
    int prealloc;        /* enum prealloc_mode */
    int64_t extent_hint; /* 0: none */
    bool nocow;

    int fd;
    bool made; /* the file was not there before */
};

static const char *const prealloc_names[] = {"off", "metadata", "falloc",
                                             "full", NULL};

static int create_take_options(struct create_job *j, struct options *opts,
                               GError **err)
{
    if (options_take_enum(opts, "preallocation", prealloc_names, &j->prealloc,
                          err) < 0 ||
        options_take_size(opts, "extent_size_hint", &j->extent_hint, err) < 0 ||
        options_take_bool(opts, "nocow", &j->nocow, err) < 0) {
        return -EINVAL;
    }
    if (j->prealloc == PREALLOC_METADATA) {
        return error_set(err, -EINVAL,
                         "preallocation=metadata: a raw file has no metadata; "
                         "use off, falloc or full");
    }
    if (j->extent_hint > UINT32_MAX) {
        return error_set(err, -EINVAL,
                         "extent_size_hint=%" PRId64 ": must be below 4G",
                         j->extent_hint);
    }
    return 0;
}

/* -- Steps, each 0 or a negative errno ----------------------------------- */

static int create_open(struct create_job *j)
{
    const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY;

    j->fd = open(j->filename, flags | O_EXCL, 0644);
    j->made = j->fd >= 0;
    if (j->fd < 0 && errno == EEXIST) {
        j->fd = open(j->filename, flags | O_NONBLOCK, 0644);
    }
    return j->fd < 0 ? -errno : 0;
}

/* Copy-on-write would scatter an image that is written at random. */
static int create_set_nocow(int fd)
{
    int attr;

    if (ioctl(fd, FS_IOC_GETFLAGS, &attr) < 0) {
        return -errno;
    }
    attr |= FS_NOCOW_FL;
    return ioctl(fd, FS_IOC_SETFLAGS, &attr) < 0 ? -errno : 0;
}

static int create_set_extent_hint(int fd, int64_t bytes)
{
    struct fsxattr attr;

    if (ioctl(fd, FS_IOC_FSGETXATTR, &attr) < 0) {
        return -errno;
    }
    attr.fsx_xflags |= FS_XFLAG_EXTSIZE;
    attr.fsx_extsize = (uint32_t)bytes;
    return ioctl(fd, FS_IOC_FSSETXATTR, &attr) < 0 ? -errno : 0;
}

/* Programs that find out by reading how O_DIRECT must be aligned learn
 * nothing from a hole: gives the file a first block. */
static int create_first_block(const struct create_job *j)
{
    static const char zeroes[FIRST_BLOCK];
    size_t n = (size_t)min_i64(j->bytes, FIRST_BLOCK);
    ssize_t done = pwrite(j->fd, zeroes, n, 0);

    return done < 0 ? -errno : (size_t)done < n ? -ENOSPC : 0;
}

static int64_t create_fill(void *opaque)
{
    struct create_job *j = opaque;
    int rc = ftruncate(j->fd, 0) < 0 ? -errno : 0;

    if (rc == 0 && j->nocow) {
        rc = create_set_nocow(j->fd);
    }
    if (rc == 0 && j->extent_hint > 0) {
        /* Only some file systems have it, and it is about speed only. */
        (void)create_set_extent_hint(j->fd, j->extent_hint);
    }
    if (rc == 0 && j->bytes > 0) {
        rc = file_grow(j->fd, 0, j->bytes, (enum prealloc_mode)j->prealloc);
    }
    if (rc == 0 && j->bytes > 0 && j->prealloc == PREALLOC_OFF) {
        rc = create_first_block(j);
    }
    return rc;
}

/* -- All of it ----------------------------------------------------------- */

static int create_lock(const struct create_job *j, GError **err)
{
    g_autoptr(GError) why = NULL;
    int rc = image_lock(j->fd, IMAGE_WRITE | IMAGE_RESIZE, IMAGE_RESIZE,
                        j->filename, &why);

    if (rc == 0 || rc == -EOPNOTSUPP) {
        return 0;
    }
    g_propagate_error(err, g_steal_pointer(&why));
    return rc;
}

static int create_explain(const struct create_job *j, int rc, GError **err)
{
    switch (-rc) {
    case ENOENT:
    case ENOTDIR:
        return error_set(err, rc,
                         "%s: cannot be created: its directory does not exist",
                         j->filename);
    case ENOSPC:
    case EDQUOT:
        return error_set(err, rc,
                         "%s: no space for %" PRId64 " bytes; make room, or "
                         "use preallocation=off",
                         j->filename, j->bytes);
    case EFBIG:
        return error_set(err, rc,
                         "%s: %" PRId64 " bytes are more than its file system "
                         "can hold in a file",
                         j->filename, j->bytes);
    default:
        return error_set_errno(err, rc, "%s: cannot be created", j->filename);
    }
}

static int co_fn create_co_fill(struct create_job *j, GError **err)
{
    struct engine *e;
    struct stat st;
    int rc = fstat(j->fd, &st) < 0 ? -errno : 0;

    if (rc == 0 && !S_ISREG(st.st_mode)) {
        return error_set(err, -EINVAL, "%s: is not a regular file; remove it",
                         j->filename);
    }
    if (rc == 0) {
        rc = create_lock(j, err);
        if (rc < 0) {
            return rc;
        }
        rc = engine_threads.get(loop_co_home(), &e);
    }
    if (rc == 0) {
        rc = (int)engine_co_call(e, create_fill, j); /* yields */
    }
    return rc < 0 ? create_explain(j, rc, err) : 0;
}

static int co_fn file_co_create(const char *filename, int64_t bytes,
                                struct options *opts, GError **err)
{
    struct create_job j = {
        .filename = filename,
        .bytes = bytes,
        .extent_hint = 1 * MiB,
    };
    int rc = create_take_options(&j, opts, err);

    if (rc < 0) {
        return rc;
    }
    rc = create_open(&j);
    if (rc < 0) {
        return create_explain(&j, rc, err);
    }
    rc = create_co_fill(&j, err); /* yields */
    if (rc < 0 && j.made) {
        (void)unlink(filename);
    }
    /* Another close() of the same data, after writes by another descriptor,
     * tells what this one could. */
    (void)close(j.fd);
    return rc;
}

/* A device is there already: it must do, and must not look like what it held
 * before. */
static int co_fn host_device_co_create(const char *filename, int64_t bytes,
                                       struct options *opts, GError **err)
{
    struct options *how = options_new();
    struct node *node;
    int64_t length;
    int rc = 0;

    options_set(how, "driver", "host_device");
    options_set(how, "filename", filename);
    node = node_co_open(how, NODE_RDWR, err); /* yields */
    if (!node) {
        return -ENODEV;
    }
    length = node_length(node);
    if (length < bytes) {
        rc = error_set(err, -ENOSPC,
                       "%s: the device has %" PRId64 " bytes, not the %" PRId64
                       " that are needed",
                       filename, length, bytes);
    } else if (length > 0) {
        rc = node_co_pwrite_zeroes(node, 0, min_i64(length, FIRST_BLOCK), 0);
    }
    if (rc < 0 && err && !*err) {
        error_set_errno(err, rc, "%s: cannot clear its beginning", filename);
    }
    length = node_co_unref(node); /* yields */
    if (rc == 0 && length < 0) {
        rc = error_set_errno(err, (int)length, "%s: cannot be flushed",
                             filename);
    }
    return rc;
}

const struct image_ops file_image_ops = {
    .options = image_file_options,
    .co_create = file_co_create,
};

const struct image_ops host_device_image_ops = {
    .options = image_file_options,
    .co_create = host_device_co_create,
};
