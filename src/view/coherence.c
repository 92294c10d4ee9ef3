/* SPDX-License-Identifier: MIT */
/*
 * coherence: what the kernel may keep in its page cache.
 *
 * `disk` and the partitions are files of their own to the kernel, each with
 * its own cached pages, but they are the same bytes.  What is promised:
 *
 *   - direct I/O through any file sees each write that has completed through
 *     any other;
 *   - cached I/O sees what was written through another file if this file was
 *     opened after that.  (With a shared mapping "written" means after
 *     msync(2), or close(2) and munmap(2).)
 *
 * Two means serve the second promise.  An open says whether the kernel may
 * keep what it has cached of the inode: not while an overlapping file is open
 * for writing, and not when something was published since the kernel dropped
 * its pages for the last time.  And whoever has a file open the whole time is
 * helped by data_changed(), soon, when a writer closes; on that nothing relies.
 *
 * When the kernel drops pages because of an open is not seen from here; but it
 * has done so when that open file is closed.  Hence the two counters `changes`
 * and `dropped`: an open file remembers the former at its open, and moves the
 * latter there at its close.
 *
 * A request may still be under way through one descriptor while another of the
 * same open file is closed, so what was written is published at each close and
 * once more when the open file is released.
 */
#include "view/view_priv.h"

/* -- What was written ---------------------------------------------------- */

void written_init(struct written *w)
{
    atomic_init(&w->from, INT64_MAX);
    atomic_init(&w->to, 0);
    atomic_init(&w->fresh, false);
}

/* Most writes lie inside of what was written before, so that this stores
 * nothing and the cache line stays shared between loops. */
void written_add(struct written *w, int64_t offset, int64_t bytes)
{
    int64_t from = atomic_load_explicit(&w->from, memory_order_relaxed);
    int64_t to = atomic_load_explicit(&w->to, memory_order_relaxed);

    while (offset < from && !atomic_compare_exchange_weak_explicit(
                                &w->from, &from, offset, memory_order_relaxed,
                                memory_order_relaxed)) {
    }
    while (offset + bytes > to &&
           !atomic_compare_exchange_weak_explicit(&w->to, &to, offset + bytes,
                                                  memory_order_relaxed,
                                                  memory_order_relaxed)) {
    }
    if (!atomic_load_explicit(&w->fresh, memory_order_relaxed)) {
        atomic_store_explicit(&w->fresh, true, memory_order_release);
    }
}

bool written_take_fresh(struct written *w)
{
    return atomic_exchange(&w->fresh, false);
}

bool written_any(struct written *w)
{
    return atomic_load_explicit(&w->to, memory_order_relaxed) > 0;
}

/* -- Files of data ------------------------------------------------------- */

static int64_t data_end(const struct data *d)
{
    return d->bytes < 0 ? INT64_MAX : d->offset + d->bytes;
}

static bool overlaps(const struct data *d, int64_t from, int64_t to)
{
    return from < data_end(d) && d->offset < to;
}

/* Is a file open through which bytes of @d may change that the kernel would
 * not see change in @d's pages? */
static bool written_elsewhere(const struct data *d)
{
    struct view *v = d->inode.view;

    for (unsigned i = 0; i < v->data->len; i++) {
        const struct data *e = g_ptr_array_index(v->data, i);
        unsigned n = e == d ? e->cache.direct_writers : e->cache.writers;

        if (n > 0 && overlaps(d, e->offset, data_end(e))) {
            return true;
        }
    }
    return false;
}

void coherence_open(struct open_file *o)
{
    struct data *d = data_of(o->inode);

    if (!o->pub.direct_io) {
        o->pub.keep_cache =
            d->cache.changes == d->cache.dropped && !written_elsewhere(d);
        o->drops_cache = !o->pub.keep_cache;
        o->drops_at = d->cache.changes;
        d->cache.used = true;
    }
    if (o->pub.flags & VIEW_OPEN_WRITE) {
        d->cache.writers++;
        d->cache.direct_writers += o->pub.direct_io;
    }
}

void coherence_close(struct open_file *o)
{
    struct data *d = data_of(o->inode);

    if (o->drops_cache) {
        d->cache.dropped = MAX(d->cache.dropped, o->drops_at);
    }
}

void coherence_release(struct open_file *o)
{
    struct data *d = data_of(o->inode);

    if (o->pub.flags & VIEW_OPEN_WRITE) {
        d->cache.writers--;
        d->cache.direct_writers -= o->pub.direct_io;
    }
}

/* [@from, @to) of the disk was written through @o. */
static void publish_to(struct data *d, const struct open_file *o, int64_t from,
                       int64_t to)
{
    const struct view_events *ev = &d->inode.view->events;
    bool own = &d->inode == o->inode;

    links_forget(d);
    if (own && !o->pub.direct_io) {
        return; /* it went through these very pages */
    }
    d->cache.changes++;
    if (!own && d->cache.used && ev->data_changed) {
        from = MAX(from, d->offset);
        to = MIN(to, data_end(d));
        ev->data_changed(ev->opaque, d->inode.ino, from - d->offset, to - from);
    }
}

void coherence_publish(struct open_file *o)
{
    struct view *v = o->pub.view;
    int64_t from = atomic_load_explicit(&o->written.from, memory_order_relaxed);
    int64_t to = atomic_load_explicit(&o->written.to, memory_order_relaxed);

    for (unsigned i = 0; from < to && i < v->data->len; i++) {
        struct data *d = g_ptr_array_index(v->data, i);

        if (overlaps(d, from, to)) {
            publish_to(d, o, from, to);
        }
    }
}

void view_recall(struct view *v)
{
    const struct view_events *ev = &v->events;

    view_lock(v);
    for (unsigned i = 0; ev->data_changed && i < v->data->len; i++) {
        struct data *d = g_ptr_array_index(v->data, i);

        ev->data_changed(ev->opaque, d->inode.ino, 0, 0);
    }
    view_unlock(v);
}
