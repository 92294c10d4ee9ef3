/* SPDX-License-Identifier: MIT */
/*
 * free: giving host clusters back.
 *
 * A cluster that was replaced or discarded waits on @frees until a write-back
 * has made the tables durable that no longer refer to it, which moves it to
 * @safe_frees; then qcow2_co_apply_frees() counts it down.  Until that is
 * done nobody can allocate it, so neither a crash nor a reader that still
 * looks at the old place finds foreign data there.
 *
 * Such a reader can only be one of compressed data: all others read bytes that
 * are being overwritten at the same time.  It is waited for.
 */
#include <stdlib.h>

#include "format/qcow2/qcow2.h"

/* So many entries mean that it is time for a write-back. */
#define MANY_FREES 16384
/* So many bytes are worth a write-back, lest the file gets longer. */
#define MUCH_FREED (8 * MiB)

struct freed {
    struct list link;
    int64_t offset, bytes; /* whole clusters */
    enum qcow2_free_why why;
};

void packed_read_begin(struct qcow2 *s, struct packed_read *r, int64_t offset,
                       int64_t bytes)
{
    r->offset = offset;
    r->bytes = bytes;
    pthread_mutex_lock(&s->free_lock);
    list_add_tail(&s->packed_reads, &r->link);
    pthread_mutex_unlock(&s->free_lock);
}

void packed_read_end(struct qcow2 *s, struct packed_read *r)
{
    pthread_mutex_lock(&s->free_lock);
    list_del(&r->link);
    pthread_mutex_unlock(&s->free_lock);
}

static bool is_being_read_locked(struct qcow2 *s, const struct freed *f)
{
    struct packed_read *r;

    list_for_each(r, &s->packed_reads, link) {
        if (ranges_overlap(r->offset, r->bytes, f->offset, f->bytes)) {
            return true;
        }
    }
    return false;
}

/* Makes the last entry longer if the range follows it. */
static bool extend_last_locked(struct qcow2 *s, int64_t offset, int64_t bytes,
                               enum qcow2_free_why why)
{
    struct freed *last;

    if (list_empty(&s->frees)) {
        return false;
    }
    last = list_entry(s->frees.prev, struct freed, link);
    if (last->why != why || last->offset + last->bytes != offset) {
        return false;
    }
    last->bytes += bytes;
    return true;
}

void qcow2_free(struct qcow2 *s, int64_t offset, int64_t bytes,
                enum qcow2_free_why why)
{
    int64_t end = cluster_up(s, offset + bytes);
    struct freed *f;

    offset = cluster_down(s, offset);
    pthread_mutex_lock(&s->free_lock);
    atomic_fetch_add(&s->free_bytes, end - offset);
    if (!extend_last_locked(s, offset, end - offset, why)) {
        f = malloc(sizeof(*f));
        if (!f) {
            atomic_fetch_sub(&s->free_bytes, end - offset);
        } else {
            *f = (struct freed){
                .offset = offset,
                .bytes = end - offset,
                .why = why,
            };
            list_add_tail(&s->frees, &f->link);
            atomic_fetch_add(&s->n_frees, 1);
        }
    }
    pthread_mutex_unlock(&s->free_lock);
}

void qcow2_free_entry(struct qcow2 *s, struct qcow2_entry e,
                      enum qcow2_free_why why)
{
    int64_t offset, bytes;

    if (s->external) {
        return; /* nothing is counted there */
    }
    if (e.l2 & QCOW2_COMPRESSED) {
        qcow2_entry_packed(&s->entry, e, &offset, &bytes);
        /* It may share its last cluster, but that counts each user. */
        qcow2_free(s, offset, bytes, why);
    } else if (qcow2_entry_host(e) &&
               is_aligned(qcow2_entry_host(e), s->cluster_size)) {
        qcow2_free(s, qcow2_entry_host(e), s->cluster_size, why);
    } /* else it would be parts of two clusters, neither of which is meant */
}

bool qcow2_has_safe_frees(struct qcow2 *s)
{
    bool any;

    pthread_mutex_lock(&s->free_lock);
    any = !list_empty(&s->safe_frees);
    pthread_mutex_unlock(&s->free_lock);
    return any;
}

bool qcow2_has_many_frees(struct qcow2 *s)
{
    return atomic_load_explicit(&s->n_frees, memory_order_relaxed) >=
           MANY_FREES;
}

/* Takes an entry that nobody reads off @safe_frees.  NULL: there is none. */
static struct freed *take_safe(struct qcow2 *s)
{
    struct freed *f;

    pthread_mutex_lock(&s->free_lock);
    list_for_each(f, &s->safe_frees, link) {
        if (!is_being_read_locked(s, f)) {
            list_del(&f->link);
            atomic_fetch_sub(&s->n_frees, 1);
            atomic_fetch_sub(&s->free_bytes, f->bytes);
            pthread_mutex_unlock(&s->free_lock);
            return f;
        }
    }
    pthread_mutex_unlock(&s->free_lock);
    return NULL;
}

/* How many clusters from the @i-th of @f on are in use by nobody else (then
 * *@ret_last), or by somebody else as well. */
static int64_t co_fn alike(struct qcow2 *s, const struct freed *f, int64_t i,
                           bool *ret_last)
{
    int64_t first = f->offset >> s->cluster_bits;
    int64_t n = f->bytes >> s->cluster_bits;
    int64_t start = i;

    for (; i < n; i++) {
        uint64_t count;
        int rc = qcow2_co_refcount(s, first + i, &count); /* yields */

        if (rc < 0) {
            return rc;
        }
        if (i > start && (count == 1) != *ret_last) {
            break;
        }
        *ret_last = count == 1;
    }
    return i - start;
}

/* Clusters that nobody uses any more; their counts still say 1. */
static int co_fn forget_clusters(struct qcow2 *s, int64_t offset, int64_t bytes,
                                 enum qcow2_free_why why)
{
    int64_t next = s->packed_next;

    if (next && ranges_overlap(next - 1, 1, offset, bytes)) {
        s->packed_next = 0;
    }
    guard_remove(s->guard, offset, bytes); /* it may have been a table */
    qcow2_packing_forget(s);
    if (!s->passes_discard[why] || offset >= node_length(s->file)) {
        return 0;
    }
    /* Before the count is 0, so that it comes before anything that whoever
     * allocates the clusters next writes to them. */
    bytes = min_i64(bytes, node_length(s->file) - offset);
    return node_co_pdiscard(s->file, offset, bytes); /* yields */
}

static int co_fn apply(struct qcow2 *s, const struct freed *f)
{
    int64_t n = f->bytes >> s->cluster_bits;
    int rc = 0;

    node_event(s->file, EVENT_CLUSTER_FREE);
    for (int64_t i = 0, step; i < n && rc == 0; i += step) {
        int64_t offset = f->offset + (i << s->cluster_bits);
        bool last = false;

        step = alike(s, f, i, &last); /* yields */
        if (step < 0) {
            return (int)step;
        }
        if (last) {
            /* A hint; the clusters are free without it as well. */
            (void)forget_clusters(s, offset, step << s->cluster_bits, f->why);
        }
        rc = qcow2_co_refcount_add(s, offset >> s->cluster_bits, step, -1,
                                   NULL); /* yields */
    }
    return rc;
}

int co_fn qcow2_co_apply_frees(struct qcow2 *s)
{
    struct freed *f;
    int rc = 0;

    while (rc == 0 && (f = take_safe(s))) {
        rc = apply(s, f); /* yields */
        free(f);
    }
    return rc;
}

bool co_fn qcow2_co_reclaim(struct qcow2 *s)
{
    if (atomic_load_explicit(&s->free_bytes, memory_order_relaxed) <
        MUCH_FREED) {
        return false;
    }
    /* If it fails, so will the next flush, which tells. */
    return qcow2_co_write_back(s) == 0 && qcow2_co_apply_frees(s) == 0;
}

void qcow2_frees_capture(struct qcow2 *s, struct list *ret)
{
    pthread_mutex_lock(&s->free_lock);
    list_splice_tail(ret, &s->frees);
    pthread_mutex_unlock(&s->free_lock);
}

void qcow2_frees_release(struct qcow2 *s, struct list *captured, int rc)
{
    pthread_mutex_lock(&s->free_lock);
    list_splice_tail(rc == 0 ? &s->safe_frees : &s->frees, captured);
    pthread_mutex_unlock(&s->free_lock);
}

static void drop_list(struct list *frees)
{
    struct freed *f, *tmp;

    list_for_each_safe(f, tmp, frees, link) {
        list_del(&f->link);
        free(f);
    }
}

void qcow2_drop_frees(struct qcow2 *s)
{
    drop_list(&s->frees);
    drop_list(&s->safe_frees);
    atomic_store(&s->n_frees, 0);
    atomic_store(&s->free_bytes, 0);
}
