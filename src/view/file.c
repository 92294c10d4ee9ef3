/* SPDX-License-Identifier: MIT */
/*
 * file: open files of data.  Reads and writes themselves do not come here; see
 * view.h.
 */
#include <errno.h>

#include "view/view_priv.h"

/* Most bytes of one view_co_copy(), so that a big copy can be interrupted. */
#define COPY_MAX (64 * MiB)

struct data *data_add(struct view *v, const struct part_entry *e,
                      const char *name, struct dir *parent)
{
    struct data *d = g_new0(struct data, 1);

    inode_init(&d->inode, &data_ops, v, name, v->file_mode);
    d->offset = e ? e->offset : 0;
    d->bytes = e ? e->bytes : -1;
    d->index = e ? e->index : 0;
    d->entry = e;
    d->identity_stale = true;
    v->identity_stale = true;
    g_ptr_array_add(v->data, d);
    if (!e) {
        v->disk = d;
    }
    tree_add(&d->inode, parent);
    return d;
}

int64_t data_length(const struct data *d)
{
    return d->bytes < 0 ? backend_length(d->inode.view->be) : d->bytes;
}

/* -- Open and close ------------------------------------------------------ */

static struct open_file *file_new(struct inode *i, unsigned flags)
{
    struct open_file *o = g_new0(struct open_file, 1);
    struct data *d = data_of(i);

    o->inode = i;
    __atomic_fetch_add(&i->refs, 1, __ATOMIC_RELAXED);
    o->pub.view = i->view;
    o->pub.ino = i->ino;
    o->pub.flags = flags;
    o->pub.offset = d->offset;
    o->pub.bytes = d->bytes;
    o->pub.direct_io = (flags & VIEW_OPEN_DIRECT) || i->view->opts.direct_io;
    written_init(&o->written);
    return o;
}

void open_file_enter(struct open_file *o)
{
    struct view *v = o->pub.view;

    list_add_tail(&v->open_files, &o->link);
    __atomic_fetch_add(&v->files_open, 1, __ATOMIC_RELAXED);
}

static void open_file_leave(struct open_file *o)
{
    struct view *v = o->pub.view;

    view_lock(v);
    list_del(&o->link);
    __atomic_fetch_sub(&v->files_open, 1, __ATOMIC_RELAXED);
    view_unlock(v);
}

/* Enters @o into the books, unless its inode has vanished meanwhile. */
static bool file_register(struct open_file *o)
{
    struct view *v = o->pub.view;
    bool ok;

    view_lock(v);
    ok = !o->inode->gone;
    if (ok) {
        open_file_enter(o);
        v->parts_open += data_of(o->inode)->index != 0;
        o->close_cursor = o->fsync_cursor = backend_error_cursor(v->be);
        coherence_open(o);
    }
    view_unlock(v);
    return ok;
}

void open_file_free(struct open_file *o)
{
    inode_put(o->inode);
    g_free(o->text);
    g_free(o);
}

int co_fn data_co_open(struct inode *i, unsigned flags, struct view_file **ret)
{
    struct open_file *o;

    if ((flags & VIEW_OPEN_WRITE) && view_is_rdonly(i->view)) {
        return -EROFS;
    }
    o = file_new(i, flags);
    if (!file_register(o)) {
        open_file_free(o);
        return -ESTALE;
    }
    *ret = &o->pub;
    return 0;
}

int co_fn view_co_open(struct view *v, uint64_t ino, unsigned flags,
                       struct view_file **ret)
{
    struct inode *i = inode_get(v, ino);
    int rc;

    if (!i) {
        return -ESTALE;
    }
    if (i->ops->co_open) {
        rc = i->ops->co_open(i, flags, ret);
    } else {
        rc = is_dir(i) ? -EISDIR : -ELOOP;
    }
    inode_put(i);
    return rc;
}

/* Lets others see what was written through @o.  Lock held. */
static void file_publish(struct open_file *o)
{
    struct view *v = o->pub.view;

    coherence_publish(o);
    if (data_of(o->inode) == v->disk && is_dir(v->root)) {
        v->table_stale = true;
    }
}

static int error_since(struct open_file *o, uint64_t *cursor)
{
    struct view *v = o->pub.view;
    int rc;

    view_lock(v);
    rc = backend_error_since(v->be, cursor);
    view_unlock(v);
    return rc;
}

int view_lost_write(struct view *v)
{
    int rc;

    view_lock(v);
    rc = backend_error_since(v->be, &v->synced);
    view_unlock(v);
    return rc;
}

int co_fn view_co_close(struct view_file *f)
{
    struct open_file *o = open_file_of(f);

    if (f->text) {
        return 0;
    }
    view_lock(f->view);
    coherence_close(o);
    if (written_take_fresh(&o->written)) {
        file_publish(o);
    }
    view_unlock(f->view);
    table_co_refresh(f->view); /* yields */
    return error_since(o, &o->close_cursor);
}

static void co_fn data_release(struct open_file *o)
{
    struct view *v = o->pub.view;

    view_lock(v);
    coherence_close(o);
    if (written_any(&o->written)) {
        file_publish(o);
    }
    coherence_release(o);
    v->parts_open -= data_of(o->inode)->index != 0;
    view_unlock(v);
    table_co_refresh(v); /* yields */
}

void co_fn view_co_release(struct view_file *f)
{
    struct open_file *o = open_file_of(f);

    if (!f->text) {
        data_release(o);
    }
    open_file_leave(o);
    open_file_free(o);
}

int co_fn view_co_fsync(struct view_file *f)
{
    struct open_file *o = open_file_of(f);
    int rc, err;

    if (f->text) {
        return 0;
    }
    rc = backend_co_flush(f->view->be); /* yields */
    err = error_since(o, &o->fsync_cursor);
    if (err < 0) {
        (void)view_lost_write(f->view); /* it is known now */
    }
    return err < 0 ? err : rc;
}

/* -- Ranges -------------------------------------------------------------- */

int64_t view_file_length(const struct view_file *f)
{
    return f->bytes < 0 ? backend_length(f->view->be) : f->bytes;
}

int64_t view_file_readable(const struct view_file *f, int64_t offset,
                           int64_t bytes)
{
    int64_t length = view_file_length(f);

    if (offset < 0 || bytes < 0 || offset >= length) {
        return 0;
    }
    return MIN(bytes, length - offset);
}

int64_t view_file_will_write(struct view_file *f, int64_t offset, int64_t bytes)
{
    int64_t n;

    if (!(f->flags & VIEW_OPEN_WRITE)) {
        return -EBADF;
    }
    if (offset < 0 || bytes < 0) {
        return -EINVAL;
    }
    n = view_file_readable(f, offset, bytes);
    if (n > 0) {
        written_add(&open_file_of(f)->written, f->offset + offset, n);
    } else if (bytes > 0) {
        return -ENOSPC;
    }
    return n;
}

/* -- Other operations ---------------------------------------------------- */

int64_t co_fn view_co_seek(struct view_file *f, int64_t offset, bool data)
{
    int64_t end = view_file_length(f);

    if (offset < 0 || offset >= end) {
        return -ENXIO;
    }
    if (f->text) {
        return data ? offset : end;
    }
    while (offset < end) {
        struct block_status st;
        bool is_hole;
        int rc = backend_co_block_status(f->view->be, f->offset + offset,
                                         end - offset, &st); /* yields */

        if (rc < 0) {
            return rc;
        }
        is_hole = st.flags & BLOCK_ZERO;
        if (is_hole != data) {
            return offset;
        }
        offset += st.bytes;
    }
    return data ? -ENXIO : end;
}

int co_fn view_co_allocate(struct view_file *f, int64_t offset, int64_t bytes,
                           bool grow)
{
    int64_t end;
    int rc = 0;

    if (!(f->flags & VIEW_OPEN_WRITE)) {
        return -EBADF;
    }
    if (offset < 0 || bytes <= 0) {
        return -EINVAL;
    }
    if (__builtin_add_overflow(offset, bytes, &end)) {
        return -EFBIG;
    }
    if (end > view_file_length(f)) {
        rc = grow && f->bytes < 0 ? size_co_grow(f->view, end) : -ENOSPC;
    }
    if (rc == 0) {
        rc = backend_co_allocate(f->view->be, f->offset + offset, bytes);
    }
    return rc;
}

int64_t co_fn view_co_copy(struct view_file *src, int64_t src_offset,
                           struct view_file *dst, int64_t dst_offset,
                           int64_t bytes)
{
    struct backend *be = src->view->be;
    int rc;

    if (!(src->flags & VIEW_OPEN_READ)) {
        return -EBADF;
    }
    if (src->text) {
        return -EOPNOTSUPP;
    }
    if (src_offset < 0) {
        return -EINVAL;
    }
    bytes = view_file_readable(src, src_offset, MIN(bytes, COPY_MAX));
    bytes = view_file_will_write(dst, dst_offset, bytes);
    if (bytes <= 0) {
        return bytes;
    }
    src_offset += src->offset;
    dst_offset += dst->offset;
    if (ranges_overlap(src_offset, bytes, dst_offset, bytes)) {
        return -EINVAL;
    }
    rc = backend_co_copy_range(be, src_offset, be, dst_offset, bytes);
    return rc < 0 ? rc : bytes;
}
