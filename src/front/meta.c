/* SPDX-License-Identifier: MIT */
/*
 * meta: operations on names, attributes and open files.  Each copies what it
 * needs into the slot and runs a coroutine that asks the view and answers.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/align.h"
#include "front/front_priv.h"

static struct view *view_of(const struct slot *s)
{
    return s->worker->front->service.view;
}

struct slot *slot_claim(fuse_req_t req)
{
    struct slot *s = slot_in_process;

    s->req = req;
    s->async = true;
    return s;
}

void slot_run(struct slot *s, co_entry_fn *entry)
{
    struct co *co = co_new(entry, s);

    if (!co) {
        reply_err(s, -ENOMEM);
        return;
    }
    loop_co_start(co);
}

/* -- Names and attributes ------------------------------------------------- */

static void co_lookup(void *opaque)
{
    struct slot *s = opaque;
    int rc;

    co_assert_role();
    rc = view_co_lookup(view_of(s), s->ino, s->name, &s->attr);
    if (rc < 0) {
        reply_err(s, rc);
    } else {
        reply_entry(s, &s->attr);
    }
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct slot *s = slot_claim(req);

    s->ino = parent;
    s->name = name;
    slot_run(s, co_lookup);
}

static void co_getattr(void *opaque)
{
    struct slot *s = opaque;
    int rc;

    co_assert_role();
    rc = view_co_getattr(view_of(s), s->ino, &s->attr);
    if (rc < 0) {
        reply_err(s, rc);
    } else {
        reply_attr(s, &s->attr);
    }
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino,
                       struct fuse_file_info *fi)
{
    struct slot *s = slot_claim(req);

    s->ino = ino;
    slot_run(s, co_getattr);
}

static void co_setattr(void *opaque)
{
    struct slot *s = opaque;
    struct view_attr now;
    int rc;

    co_assert_role();
    rc = view_co_setattr(view_of(s), s->ino, s->flags, &s->attr, &now);
    if (rc < 0) {
        reply_err(s, rc);
    } else {
        reply_attr(s, &now);
    }
}

static struct timespec now_or(bool now, struct timespec given)
{
    if (now) {
        (void)clock_gettime(CLOCK_REALTIME, &given);
    }
    return given;
}

/*
 * An open with O_TRUNC makes the kernel ask for the size 0, without a handle;
 * it is ignored, as for a device.  That truncate(2) to 0 looks the same and is
 * ignored, too, is the price for a kernel that keeps its pages: with
 * ATOMIC_O_TRUNC it would drop those that were written through a mapping and
 * have not been sent to us yet.
 */
static bool is_open_trunc(int to_set, const struct stat *st,
                          const struct fuse_file_info *fi)
{
    return (to_set & FUSE_SET_ATTR_SIZE) && st->st_size == 0 && !fi;
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st,
                       int to_set, struct fuse_file_info *fi)
{
    struct slot *s = slot_claim(req);

    if (is_open_trunc(to_set, st, fi)) {
        to_set &= ~FUSE_SET_ATTR_SIZE;
    }
    s->ino = ino;
    s->flags = (to_set & FUSE_SET_ATTR_SIZE ? VIEW_SET_SIZE : 0) |
               (to_set & FUSE_SET_ATTR_UID ? VIEW_SET_UID : 0) |
               (to_set & FUSE_SET_ATTR_GID ? VIEW_SET_GID : 0) |
               (to_set & FUSE_SET_ATTR_MODE ? VIEW_SET_MODE : 0) |
               (to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW)
                    ? VIEW_SET_ATIME
                    : 0) |
               (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)
                    ? VIEW_SET_MTIME
                    : 0);
    s->attr = (struct view_attr){
        .mode = st->st_mode,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .size = st->st_size,
        .atime = now_or(to_set & FUSE_SET_ATTR_ATIME_NOW, st->st_atim),
        .mtime = now_or(to_set & FUSE_SET_ATTR_MTIME_NOW, st->st_mtim),
    };
    slot_run(s, co_setattr);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    struct slot *s = slot_claim(req);
    g_autofree char *target = NULL;
    int rc = view_readlink(view_of(s), ino, &target);

    if (rc < 0) {
        reply_err(s, rc);
    } else {
        reply_readlink(s, target);
    }
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct slot *s = slot_claim(req);
    struct view_statfs st;

    view_statfs(view_of(s), &st);
    reply_statfs(s, &st);
}

/* Inodes live as long as the mount; there is nothing to forget. */
static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
    fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count,
                            struct fuse_forget_data *forgets)
{
    fuse_reply_none(req);
}

/* -- Directories ---------------------------------------------------------- */

/* Fills the payload of @slot with entries. */
struct listing {
    struct slot *slot;
    size_t used;
    bool plus;
};

static bool listing_add(void *opaque, const char *name,
                        const struct view_attr *attr, int64_t next)
{
    struct listing *l = opaque;
    struct slot *s = l->slot;
    struct fuse_entry_param e = {.attr_timeout = 1.0, .entry_timeout = 1.0};
    size_t room = (size_t)s->bytes - l->used;
    size_t n;

    reply_stat_from_attr(attr, &e.attr);
    /* The kernel takes a reference for each inode named here but these two. */
    if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
        e.ino = attr->ino;
    }
    n = l->plus ? fuse_add_direntry_plus(s->req, s->payload + l->used, room,
                                         name, &e, next)
                : fuse_add_direntry(s->req, s->payload + l->used, room, name,
                                    &e.attr, next);
    if (n > room) {
        return false;
    }
    l->used += n;
    return true;
}

static void slot_list(struct slot *s, bool plus) co_fn
{
    struct listing l = {.slot = s, .plus = plus};
    int rc;

    s->bytes = min_i64(s->bytes, SLOT_MAX_PAYLOAD);
    rc = view_co_readdir(view_of(s), s->ino, s->offset, listing_add, &l);
    if (rc < 0) {
        reply_err(s, rc);
    } else {
        slot_touched(s, l.used);
        reply_buf(s, s->payload, l.used);
    }
}

static void co_readdir(void *opaque)
{
    co_assert_role();
    slot_list(opaque, false);
}

static void co_readdirplus(void *opaque)
{
    co_assert_role();
    slot_list(opaque, true);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                       struct fuse_file_info *fi)
{
    struct slot *s = slot_claim(req);

    s->ino = ino;
    s->offset = off;
    s->bytes = (int64_t)size;
    slot_run(s, co_readdir);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size,
                           off_t off, struct fuse_file_info *fi)
{
    struct slot *s = slot_claim(req);

    s->ino = ino;
    s->offset = off;
    s->bytes = (int64_t)size;
    slot_run(s, co_readdirplus);
}

/* The set of names is what the image holds; nobody adds to it. */
static void refuse(fuse_req_t req)
{
    struct slot *s = slot_claim(req);

    reply_err(s, s->worker->front->opts.rdonly ? -EROFS : -EPERM);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
                     mode_t mode, dev_t rdev)
{
    refuse(req);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
                     mode_t mode)
{
    refuse(req);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    refuse(req);
}

static void op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent,
                       const char *name)
{
    refuse(req);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
                      fuse_ino_t newparent, const char *newname,
                      unsigned int flags)
{
    refuse(req);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent,
                    const char *newname)
{
    refuse(req);
}

/* -- Open files ----------------------------------------------------------- */

static void co_open(void *opaque)
{
    struct slot *s = opaque;
    int rc;

    co_assert_role();
    rc = view_co_open(view_of(s), s->ino, s->flags, &s->file);
    if (rc < 0) {
        reply_err(s, rc);
    } else {
        reply_open(s, s->file);
    }
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct slot *s = slot_claim(req);
    int access = fi->flags & O_ACCMODE;

    s->ino = ino;
    s->flags = (access != O_WRONLY ? VIEW_OPEN_READ : 0) |
               (access != O_RDONLY ? VIEW_OPEN_WRITE : 0) |
               (fi->flags & O_DIRECT ? VIEW_OPEN_DIRECT : 0);
    slot_run(s, co_open);
}

static void co_release(void *opaque)
{
    struct slot *s = opaque;

    co_assert_role();
    view_co_release(s->file);
    reply_err(s, 0);
}

static void co_close(void *opaque)
{
    struct slot *s = opaque;

    co_assert_role();
    reply_err(s, view_co_close(s->file));
}

static void co_fsync(void *opaque)
{
    struct slot *s = opaque;

    co_assert_role();
    reply_err(s, view_co_fsync(s->file));
}

static void run_on_file(fuse_req_t req, const struct fuse_file_info *fi,
                        co_entry_fn *entry)
{
    struct slot *s = slot_claim(req);

    s->file = file_of(fi);
    slot_run(s, entry);
}

static void op_release(fuse_req_t req, fuse_ino_t ino,
                       struct fuse_file_info *fi)
{
    run_on_file(req, fi, co_release);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    run_on_file(req, fi, co_close);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
                     struct fuse_file_info *fi)
{
    run_on_file(req, fi, co_fsync);
}

static void co_lseek(void *opaque)
{
    struct slot *s = opaque;
    int64_t at;

    co_assert_role();
    at = view_co_seek(s->file, s->offset, s->flags == SEEK_DATA);
    if (at < 0) {
        reply_err(s, (int)at);
    } else {
        reply_lseek(s, at);
    }
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
                     struct fuse_file_info *fi)
{
    struct slot *s = slot_claim(req);

    if (whence != SEEK_DATA && whence != SEEK_HOLE) {
        reply_err(s, -EINVAL);
        return;
    }
    s->file = file_of(fi);
    s->offset = off;
    s->flags = (unsigned)whence;
    slot_run(s, co_lseek);
}

static void co_copy(void *opaque)
{
    struct slot *s = opaque;
    int64_t n;

    co_assert_role();
    n = view_co_copy(s->file, s->offset, s->file2, s->offset2, s->bytes);
    if (n < 0) {
        reply_err(s, (int)n);
    } else {
        reply_written(s, n);
    }
}

/* libfuse says how many parameters this has.
 * NOLINTNEXTLINE(readability-function-size) */
static void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
                               struct fuse_file_info *fi_in, fuse_ino_t ino_out,
                               off_t off_out, struct fuse_file_info *fi_out,
                               size_t len, int flags)
{
    struct slot *s = slot_claim(req);

    if (flags) {
        reply_err(s, -EINVAL);
        return;
    }
    s->file = file_of(fi_in);
    s->offset = off_in;
    s->file2 = file_of(fi_out);
    s->offset2 = off_out;
    /* The answer's field is 32 bits wide. */
    s->bytes = (int64_t)MIN(len, (size_t)1 << 30);
    slot_run(s, co_copy);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
    struct front *f = userdata;
    static const unsigned wanted =
        FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS |
        FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
        FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_EXPLICIT_INVAL_DATA;

    /* Not writeback: a dirty page of one view could carry stale bytes of its
     * neighbour into the image.  Not splice: the payload is already ours.
     * Not atomic O_TRUNC: see is_open_trunc().
     * Not no-opendir: the kernel would keep listings, but partitions and links
     * come and go. */
    conn->want = wanted & conn->capable;
    conn->max_write = SLOT_MAX_PAYLOAD;
    conn->max_readahead = SLOT_MAX_PAYLOAD;
    conn->max_background = f->opts.max_background;
    conn->congestion_threshold = f->opts.max_background / 4 * 3;
    conn->time_gran = 1;
    f->init_done = true;
}

const struct fuse_lowlevel_ops front_ops = {
    .init = op_init,
    .lookup = op_lookup,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .readlink = op_readlink,
    .mknod = op_mknod,
    .mkdir = op_mkdir,
    .unlink = op_unlink,
    .rmdir = op_unlink,
    .symlink = op_symlink,
    .rename = op_rename,
    .link = op_link,
    .open = op_open,
    .read = op_read,
    .write = op_write,
    .flush = op_flush,
    .release = op_release,
    .fsync = op_fsync,
    .readdir = op_readdir,
    .readdirplus = op_readdirplus,
    .statfs = op_statfs,
    .fallocate = op_fallocate,
    .copy_file_range = op_copy_file_range,
    .lseek = op_lseek,
};
