/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/align.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "driver/device_use.h"
#include "driver/file_priv.h"
#include "driver/lock.h"

enum locking {
    LOCKING_AUTO,
    LOCKING_OFF,
    LOCKING_ON,
};

static const char *const locking_names[] = {"auto", "off", "on", NULL};

/* What the options and the flags of the node ask for. */
struct open_request {
    char *filename; /* owned */
    unsigned flags; /* enum node_flags */
    const struct engine_provider *aio;
    int locking; /* enum locking */
    bool device; /* driver host_device */
    bool force;  /* write even if the kernel uses the device */
};

/* -- Options ------------------------------------------------------------- */

/* Which engine the node's flags ask for. */
static const struct engine_provider *default_aio(unsigned flags)
{
    bool native = flags & (NODE_AIO_NATIVE | NODE_AIO_THREADS)
                      ? flags & NODE_AIO_NATIVE
                      : flags & NODE_DIRECT;

    return native ? &engine_libaio : &engine_threads;
}

static int open_take_aio(struct open_request *rq, struct options *opts,
                         GError **err)
{
    bool direct = rq->flags & NODE_DIRECT;
    g_autofree char *name = options_take(opts, "aio");

    rq->aio = name ? engine_provider_find(name) : default_aio(rq->flags);
    if (!rq->aio) {
        return error_set(err, -EINVAL, "aio=%s: not one of native, threads",
                         name);
    }
    if (rq->aio == &engine_libaio && !direct) {
        return error_set(err, -EINVAL,
                         "%s: aio=native works only with cache=none or "
                         "cache=directsync; use one of these, or aio=threads",
                         rq->filename);
    }
    return 0;
}

static int open_take_options(struct open_request *rq, struct options *opts,
                             GError **err)
{
    int rc;

    rq->filename = options_take(opts, "filename");
    if (!rq->filename || !*rq->filename) {
        return error_set(err, -EINVAL, "no image is named; give filename=PATH");
    }
    rc = open_take_aio(rq, opts, err);
    if (rc < 0) {
        return rc;
    }
    rc = options_take_enum(opts, "locking", locking_names, &rq->locking, err);
    if (rc < 0) {
        return rc;
    }
    return rq->device ? options_take_bool(opts, "force", &rq->force, err) : 0;
}

/* -- Opening the file ---------------------------------------------------- */

static int open_check_type(const struct open_request *rq, mode_t mode,
                           GError **err)
{
    if (S_ISDIR(mode)) {
        return error_set(err, -EISDIR,
                         "%s: is a directory; name a disk image or a device",
                         rq->filename);
    }
    if (!S_ISREG(mode) && !S_ISBLK(mode) && !S_ISCHR(mode)) {
        return error_set(err, -EINVAL,
                         "%s: is neither a file nor a device; name a disk "
                         "image or a device",
                         rq->filename);
    }
    if (rq->device && S_ISREG(mode)) {
        return error_set(err, -EINVAL, "%s: is a regular file; use driver=file",
                         rq->filename);
    }
    if (!rq->device && !S_ISREG(mode)) {
        return error_set(err, -EINVAL,
                         "%s: is a device; use driver=host_device",
                         rq->filename);
    }
    return 0;
}

/* One line for what open() or stat() of the image says. */
static int open_explain(const struct open_request *rq, int rc, GError **err)
{
    bool writes = rq->flags & NODE_RDWR;

    switch (-rc) {
    case ENOENT:
    case ENOTDIR:
        return error_set(err, rc, "%s: no such file; check the path",
                         rq->filename);
    case EACCES:
    case EPERM:
        return error_set(err, rc, "%s: no permission to %s it; %s",
                         rq->filename, writes ? "write to" : "read",
                         writes ? "open it read-only (ro), or get permission"
                                : "ask its owner, or use sudo");
    case EROFS:
        return error_set(err, rc,
                         "%s: can only be read; open it read-only (ro)",
                         rq->filename);
    case ETXTBSY:
        return error_set(err, rc,
                         "%s: is in use as a program or as swap space; stop "
                         "using it, or open it read-only (ro)",
                         rq->filename);
    case EINVAL:
        if (rq->flags & NODE_DIRECT) {
            return error_set(err, -EOPNOTSUPP,
                             "%s: its file system has no direct I/O; use "
                             "cache=writeback",
                             rq->filename);
        }
        break;
    case ENXIO:
    case ENOMEDIUM:
        return error_set(err, rc, "%s: there is no device or no medium in it",
                         rq->filename);
    default:
        break;
    }
    return error_set_errno(err, rc, "%s: cannot open it", rq->filename);
}

static int open_explain_busy(const struct open_request *rq, dev_t dev,
                             GError **err)
{
    g_autofree char *user = device_use(dev);

    return error_set(
        err, -EBUSY,
        "%s: the device is in use: %s; %s, open it read-only "
        "(ro), or add force=on if you know it is safe",
        rq->filename, user ? user : "the kernel or another program holds it",
        user && g_str_has_prefix(user, "mounted") ? "unmount it" : "free it");
}

/* The kernel opens a write-protected device for writing, and fails the
 * writes. */
static int open_check_writable(const struct open_request *rq, int fd,
                               const struct stat *st)
{
    int rdonly = 0;

    if (!(rq->flags & NODE_RDWR) || !S_ISBLK(st->st_mode)) {
        return 0;
    }
    if (ioctl(fd, BLKROGET, &rdonly) < 0) {
        return -errno;
    }
    return rdonly ? -EROFS : 0;
}

/* Opens the image as @rq says; fills @st.  Returns the descriptor. */
static int open_fd(const struct open_request *rq, struct stat *st, GError **err)
{
    int flags = rq->flags & NODE_RDWR ? O_RDWR : O_RDONLY;
    int fd;
    int rc;

    /* Looked at before it is opened: opening a pipe would wait. */
    if (stat(rq->filename, st) < 0) {
        return open_explain(rq, -errno, err);
    }
    rc = open_check_type(rq, st->st_mode, err);
    if (rc < 0) {
        return rc;
    }
    if (rq->flags & NODE_DIRECT) {
        flags |= O_DIRECT;
    }
    /* On a device this asks the kernel for it alone: it will not be mounted
     * while we write, and we do not write while it is. */
    if (S_ISBLK(st->st_mode) && (rq->flags & NODE_RDWR) && !rq->force) {
        flags |= O_EXCL;
    }
    fd = open(rq->filename, flags | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 && errno == EBUSY && S_ISBLK(st->st_mode)) {
        return open_explain_busy(rq, st->st_rdev, err);
    }
    if (fd < 0) {
        return open_explain(rq, -errno, err);
    }
    rc = fstat(fd, st) < 0 ? -errno : open_check_writable(rq, fd, st);
    if (rc < 0) {
        (void)close(fd);
        return open_explain(rq, rc, err);
    }
    return fd;
}

/* -- The rest of opening ------------------------------------------------- */

static int open_lock(struct file *f, const struct open_request *rq,
                     GError **err)
{
    unsigned perms = IMAGE_CONSISTENT_READ;
    unsigned unshared = IMAGE_WRITE | IMAGE_RESIZE;
    GError *reason = NULL;
    int rc;

    if (rq->locking == LOCKING_OFF) {
        return 0;
    }
    if (rq->flags & NODE_RDWR) {
        perms |= IMAGE_WRITE | IMAGE_RESIZE;
    } else if (rq->flags & NODE_FORCE_SHARE) {
        unshared = 0;
    }
    rc = image_lock(f->fd, perms, unshared, rq->filename, &reason);
    if (rc == -EOPNOTSUPP && rq->locking == LOCKING_AUTO) {
        g_clear_error(&reason);
        return 0;
    }
    if (rc < 0) {
        g_propagate_error(err, reason);
        return rc;
    }
    f->locked = true;
    return 0;
}

/* The last bytes of a file that ends inside a block are written through a
 * second descriptor, without O_DIRECT: see rw.c.  Any file may end so one day;
 * a device does or does not. */
static int open_buffered(struct file *f, const struct open_request *rq,
                         const struct stat *st, int64_t length, GError **err)
{
    auto_close int fd = -1;
    struct stat again;

    f->buffered_fd = f->fd;
    if (!f->direct || !(rq->flags & NODE_RDWR) ||
        (!file_is_regular(f) && is_aligned(length, f->offset_align))) {
        return 0;
    }
    fd = open(rq->filename, O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || fstat(fd, &again) < 0) {
        return open_explain(rq, -errno, err);
    }
    if (again.st_dev != st->st_dev || again.st_ino != st->st_ino ||
        again.st_rdev != st->st_rdev) {
        return error_set(err, -ESTALE,
                         "%s: was replaced by another file while it was "
                         "opened; try again",
                         rq->filename);
    }
    f->buffered_fd = steal_fd(&fd);
    return 0;
}

static int open_measure(struct node *node, struct file *f,
                        const struct open_request *rq, GError **err)
{
    int64_t length;
    int rc = file_probe_alignment(f);

    if (rc < 0) {
        return error_set_errno(err, rc, "%s: cannot read it", rq->filename);
    }
    length = file_get_length(f);
    if (length < 0) {
        return error_set_errno(err, (int)length, "%s: cannot find its size",
                               rq->filename);
    }
    node_set_length(node, length);
    return 0;
}

/* How @filename would be typed: "a:b" alone would be the protocol a. */
static char *typed_name(const char *filename)
{
    bool is_protocol = filename[strcspn(filename, ":/")] == ':';

    return g_strconcat(is_protocol ? "./" : "", filename, NULL);
}

static int co_fn open_co_finish(struct node *node, struct open_request *rq,
                                const struct stat *st, GError **err)
{
    g_autofree char *name = NULL;
    struct file *f = node_state(node);
    struct engine *e;
    int rc;

    f->type = st->st_mode & S_IFMT;
    f->rdev = st->st_rdev;
    f->direct = rq->flags & NODE_DIRECT;
    f->aio = rq->aio;
    f->loses_dsync = file_loses_dsync(f);
    f->stat_waits = file_stat_may_wait(f);

    rc = open_lock(f, rq, err);
    if (rc < 0) {
        return rc;
    }
    rc = open_measure(node, f, rq, err);
    if (rc < 0) {
        return rc;
    }
    /* Finds out now whether there is Linux AIO, so that it can be told. */
    rc = file_co_engine(f, &e);
    if (rc < 0) {
        return error_set_errno(err, rc, "%s: cannot set up aio=%s",
                               rq->filename, f->aio->name);
    }
    rc = open_buffered(f, rq, st, node_length(node), err);
    if (rc < 0) {
        return rc;
    }
    name = typed_name(rq->filename);
    node_set_filename(node, name);
    return 0;
}

static int co_fn open_co(struct node *node, struct options *opts, bool device,
                         GError **err)
{
    struct open_request rq = {.flags = node_flags(node), .device = device};
    struct file *f = node_state(node);
    struct stat st;
    int rc;

    rc = open_take_options(&rq, opts, err);
    if (rc >= 0) {
        rc = f->fd = open_fd(&rq, &st, err);
    }
    if (rc >= 0) {
        rc = open_co_finish(node, &rq, &st, err);
        if (rc < 0) {
            (void)close(f->fd);
        }
    }
    g_free(rq.filename);
    return rc;
}

int co_fn file_co_open(struct node *node, struct options *opts, GError **err)
{
    return open_co(node, opts, false, err);
}

int co_fn host_device_co_open(struct node *node, struct options *opts,
                              GError **err)
{
    return open_co(node, opts, true, err);
}
