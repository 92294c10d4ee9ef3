/* SPDX-License-Identifier: MIT */
/*
 * attr: attributes.  Sizes, times and allocated space are the image's; mode
 * and times that somebody sets are kept in memory, for this mount.
 */
#include <errno.h>
#include <sys/stat.h>

#include "view/view_priv.h"

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool later(struct timespec a, struct timespec b)
{
    return a.tv_sec > b.tv_sec ||
           (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

static struct timespec shown_time(const struct set_time *t,
                                  struct timespec image)
{
    return t->set && same_time(t->image, image) ? t->value : image;
}

#define TIMESPEC_OF(t) \
    ((struct timespec){.tv_sec = (t).sec, .tv_nsec = (t).nsec})

/*
 * What the host has allocated for a window.  It tells only about the image as
 * a whole, and asking it extent by extent takes too long for a stat(2), so a
 * partition is given its share.  That is less than its size if and only if the
 * image has holes, which is what copying programs look at.
 */
static int64_t share_of(int64_t allocated, int64_t bytes, int64_t total)
{
    if (allocated < 0 || allocated >= total) {
        return bytes == total && allocated >= 0 ? allocated : bytes;
    }
    return (int64_t)((double)allocated * (double)bytes / (double)total);
}

static void data_attr(const struct inode *i, const struct node_stat *st,
                      struct view_attr *attr)
{
    struct data *d = data_of(i);

    attr->size = data_length(d);
    attr->allocated =
        share_of(st->allocated, attr->size, backend_length(i->view->be));
    attr->blksize = st->blksize > 0 ? st->blksize : attr->blksize;
    attr->atime = shown_time(&i->atime, TIMESPEC_OF(st->atime));
    attr->mtime = shown_time(&i->mtime, TIMESPEC_OF(st->mtime));
    attr->ctime = TIMESPEC_OF(st->ctime);
    if (later(i->ctime, attr->ctime)) {
        attr->ctime = i->ctime;
    }
}

static void data_free(struct inode *i)
{
    struct data *d = data_of(i);

    identity_clear(&d->identity);
    g_free(d);
}

const struct inode_ops data_ops = {
    .type = S_IFREG,
    .attr = data_attr,
    .co_open = data_co_open,
    .free = data_free,
};

/* -- All kinds ----------------------------------------------------------- */

void attr_fill(const struct inode *i, const struct node_stat *st,
               struct view_attr *ret)
{
    const struct view *v = i->view;

    *ret = (struct view_attr){
        .ino = i->ino,
        .mode = i->ops->type | i->mode,
        .nlink = 1,
        .uid = v->opts.uid,
        .gid = v->opts.gid,
        .blksize = 4096,
        .atime = v->changed,
        .mtime = v->changed,
        .ctime = v->changed,
    };
    i->ops->attr(i, st, ret);
}

int co_fn attr_co_get(struct inode *i, struct view_attr *ret)
{
    struct node_stat st = {.allocated = -1};
    int rc = 0;

    if (is_data(i)) {
        rc = backend_co_stat(i->view->be, &st); /* yields */
    }
    if (rc == 0) {
        view_lock(i->view);
        attr_fill(i, &st, ret);
        view_unlock(i->view);
    }
    return rc;
}

int co_fn view_co_getattr(struct view *v, uint64_t ino, struct view_attr *ret)
{
    struct inode *i = inode_get(v, ino);
    int rc;

    if (!i) {
        return -ESTALE;
    }
    rc = attr_co_get(i, ret);
    inode_put(i);
    return rc;
}

/* -- Changing ------------------------------------------------------------ */

int co_fn size_co_grow(struct view *v, int64_t length)
{
    int rc = 0;

    if (view_is_rdonly(v)) {
        return -EROFS;
    }
    /* Under the lock, lest the slower of two makes it smaller again. */
    co_mutex_lock(&v->size_lock);
    if (length > backend_length(v->be)) {
        rc = backend_co_truncate(v->be, length, PREALLOC_OFF, NULL);
    }
    co_mutex_unlock(&v->size_lock);
    return rc;
}

static int co_fn set_size(struct inode *i, int64_t size)
{
    struct data *d = data_of(i);

    if (!is_data(i)) {
        return is_dir(i) ? -EISDIR : -EINVAL;
    }
    if (size == data_length(d)) {
        return 0;
    }
    if (d->index != 0 || size < data_length(d)) {
        return -EPERM;
    }
    return size_co_grow(i->view, size);
}

#define SET_IN_MEMORY (VIEW_SET_MODE | VIEW_SET_ATIME | VIEW_SET_MTIME)

static void set_time(struct set_time *t, struct timespec value, int64_t sec,
                     int64_t nsec)
{
    *t = (struct set_time){
        .set = true,
        .value = value,
        .image = {.tv_sec = sec, .tv_nsec = nsec},
    };
}

static int co_fn set_in_memory(struct inode *i, unsigned what,
                               const struct view_attr *attr)
{
    struct node_stat st;
    int rc;

    rc = backend_co_stat(i->view->be, &st); /* yields */
    if (rc < 0) {
        return rc;
    }
    view_lock(i->view);
    if (what & VIEW_SET_MODE) {
        i->mode = attr->mode & 07777;
    }
    if (what & VIEW_SET_ATIME) {
        set_time(&i->atime, attr->atime, st.atime.sec, st.atime.nsec);
    }
    if (what & VIEW_SET_MTIME) {
        set_time(&i->mtime, attr->mtime, st.mtime.sec, st.mtime.nsec);
    }
    clock_gettime(CLOCK_REALTIME, &i->ctime);
    view_unlock(i->view);
    return 0;
}

/* Does @attr ask for another owner?  cp -p and rsync -a ask for the same. */
static bool changes_owner(const struct inode *i, unsigned what,
                          const struct view_attr *attr)
{
    const struct view_opts *opts = &i->view->opts;

    return ((what & VIEW_SET_UID) && attr->uid != opts->uid) ||
           ((what & VIEW_SET_GID) && attr->gid != opts->gid);
}

static int co_fn set_attr(struct inode *i, unsigned what,
                          const struct view_attr *attr)
{
    int rc = 0;

    if (what && view_is_rdonly(i->view)) {
        return -EROFS;
    }
    if (changes_owner(i, what, attr)) {
        return -EPERM;
    }
    if (what & VIEW_SET_SIZE) {
        rc = set_size(i, attr->size);
    }
    if (rc == 0 && (what & SET_IN_MEMORY)) {
        rc = set_in_memory(i, what, attr);
    }
    return rc;
}

int co_fn view_co_setattr(struct view *v, uint64_t ino, unsigned what,
                          const struct view_attr *attr, struct view_attr *ret)
{
    struct inode *i = inode_get(v, ino);
    int rc;

    if (!i) {
        return -ESTALE;
    }
    rc = set_attr(i, what, attr);
    if (rc == 0) {
        rc = attr_co_get(i, ret);
    }
    inode_put(i);
    return rc;
}
