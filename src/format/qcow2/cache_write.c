/* SPDX-License-Identifier: MIT */
/*
 * cache_write: writes slices that are dirty, as they were at one moment.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/iov.h"
#include "block/node.h"
#include "format/qcow2/cache_priv.h"

#define WRITE_BATCH 64 /* most slices that one write covers */

bool cache_is_dirty(struct cache *c)
{
    bool dirty = false;

    for (unsigned i = 0; i < c->n_shards && !dirty; i++) {
        pthread_mutex_lock(&c->shards[i].lock);
        dirty = !list_empty(&c->shards[i].dirty);
        pthread_mutex_unlock(&c->shards[i].lock);
    }
    return dirty;
}

static int capture_slice_locked(struct capture *cap, struct slice *sl)
{
    /* Grows by powers of two. */
    if ((cap->n & (cap->n - 1)) == 0) {
        size_t room = cap->n ? 2 * (size_t)cap->n : 1;
        struct slice **more = realloc(cap->slices, room * sizeof(*more));

        if (!more) {
            return -ENOMEM;
        }
        cap->slices = more;
    }
    assert(!sl->writing);
    list_del(&sl->link);
    sl->dirty = false;
    sl->pins++;
    sl->writing = sl->data;
    cap->slices[cap->n++] = sl;
    return 0;
}

static int slice_compare(const void *a, const void *b)
{
    const struct slice *x = *(struct slice *const *)a;
    const struct slice *y = *(struct slice *const *)b;

    return (x->offset > y->offset) - (x->offset < y->offset);
}

int cache_capture(struct cache *c, struct capture *ret)
{
    struct slice *sl, *tmp;
    int rc = 0;

    for (unsigned i = 0; i < c->n_shards && rc == 0; i++) {
        struct shard *sh = &c->shards[i];

        pthread_mutex_lock(&sh->lock);
        list_for_each_safe(sl, tmp, &sh->dirty, link) {
            rc = capture_slice_locked(ret, sl);
            if (rc < 0) {
                break;
            }
        }
        pthread_mutex_unlock(&sh->lock);
    }
    if (rc < 0) {
        cache_uncapture(c, ret);
    } else if (ret->n > 0) {
        qsort(ret->slices, (size_t)ret->n, sizeof(struct slice *),
              slice_compare);
    }
    return rc;
}

/* @sl was written, or with @rc < 0 was not. */
static void slice_written(struct slice *sl, int rc)
{
    struct shard *sh = sl->shard;

    pthread_mutex_lock(&sh->lock);
    if (sl->writing != sl->data) {
        free(sl->writing);
    }
    sl->writing = NULL;
    if (rc < 0 && !sl->gone) {
        slice_set_dirty_locked(sl);
    }
    slice_unpin_locked(sl);
    pthread_mutex_unlock(&sh->lock);
}

static void capture_done(struct capture *cap, int from, int rc)
{
    for (int i = from; i < cap->n; i++) {
        slice_written(cap->slices[i], rc);
    }
    free(cap->slices);
    *cap = (struct capture){.n = 0};
}

void cache_uncapture(struct cache *c, struct capture *cap)
{
    capture_done(cap, 0, -ECANCELED);
}

/* Writes slices from the @i-th on that lie in a row.  Returns how many, or
 * the negative errno. */
static int co_fn capture_co_write_some(struct cache *c,
                                       const struct capture *cap, int i)
{
    int64_t offset = cap->slices[i]->offset;
    struct iovec iov[WRITE_BATCH];
    struct iovs src;
    int n = 0;
    int rc;

    while (n < WRITE_BATCH && i + n < cap->n &&
           cap->slices[i + n]->offset == offset + n * c->slice_bytes) {
        iov[n].iov_base = cap->slices[i + n]->writing;
        iov[n].iov_len = (size_t)c->slice_bytes;
        n++;
    }
    src = iovs_of(iov, n);
    node_event(c->file, c->update);
    rc = node_co_pwritev(c->file, offset, &src, 0); /* yields */
    return rc < 0 ? rc : n;
}

int co_fn cache_co_write(struct cache *c, struct capture *cap)
{
    int i = 0;
    int rc = 0;

    while (i < cap->n && rc >= 0) {
        rc = capture_co_write_some(c, cap, i); /* yields */
        for (int end = i + (rc > 0 ? rc : 0); i < end; i++) {
            slice_written(cap->slices[i], 0);
        }
    }
    rc = rc < 0 ? rc : 0;
    capture_done(cap, i, rc);
    return rc;
}
