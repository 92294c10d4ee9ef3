/* SPDX-License-Identifier: MIT */
/*
 * preallocate: places for guest clusters that have none, before anybody writes
 * there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/qcow2/qcow2.h"

#define ZERO_STEP MiB

static int co_fn write_host_zeroes(struct qcow2 *s, int64_t host, int64_t bytes)
{
    int64_t step = min_i64(bytes, ZERO_STEP);
    void *buf = node_try_alloc(s->data, step);
    int rc = buf ? 0 : -ENOMEM;

    if (buf) {
        memset(buf, 0, (size_t)step);
    }
    while (bytes > 0 && rc == 0) {
        int64_t n = min_i64(bytes, step);

        rc = node_co_pwrite(s->data, host, buf, n, 0); /* yields */
        host += n;
        bytes -= n;
    }
    free(buf);
    return rc;
}

/* Gives clusters that were allocated at @host what @how promises. */
static int co_fn fill_host(struct qcow2 *s, int64_t host, int64_t bytes,
                           bool fresh, enum prealloc_mode how)
{
    int rc = 0;

    if (s->external) {
        return 0; /* it was resized as a whole */
    }
    if (how == PREALLOC_FULL) {
        return write_host_zeroes(s, host, bytes); /* yields */
    }
    if (!fresh) {
        rc = node_co_pwrite_zeroes(s->file, host, bytes, 0); /* yields */
    } else if (node_length(s->file) < host + bytes) {
        rc = node_co_truncate(s->file, host + bytes, PREALLOC_OFF, 0, NULL);
    }
    if (rc == 0 && how == PREALLOC_FALLOC) {
        rc = node_co_allocate(s->file, host, bytes); /* yields */
    }
    return rc;
}

/* Entry @e as one that reads as zeroes whatever is in its place, which would
 * be decrypted.  Where a backing file shines through, no subcluster is read
 * from there. */
static struct qcow2_entry zero_in_place(const struct qcow2 *s,
                                        struct qcow2_entry e)
{
    if (!s->entry.extended) {
        e.l2 |= QCOW2_ZERO;
    } else if (e.bitmap & QCOW2_ALL_ALLOC) {
        e.bitmap = QCOW2_ALL_ZERO;
    }
    return e;
}

/* Maps those of @n clusters from guest offset @offset on that are not mapped
 * yet to clusters from @host on.  All of them are holes, or zeroes. */
static int map_clusters(struct qcow2 *s, const struct l2_ref *ref, int64_t n,
                        int64_t host)
{
    /* A backing file still shines through: that takes subclusters. */
    bool shines = node_child(s->node, "backing") || s->header.backing_name;
    uint8_t *data;

    (void)slice_lock(ref->slice);
    data = slice_edit_locked(ref->slice);
    for (int64_t i = 0; data && i < n; i++) {
        struct qcow2_entry e = {
            .l2 = (uint64_t)(host + (i << s->cluster_bits)) | QCOW2_COPIED,
            .bitmap = s->entry.extended && !shines ? QCOW2_ALL_ALLOC : 0,
        };

        if (s->entry.extended && shines) {
            struct qcow2_entry there = l2_load(s, data, ref->index + (int)i);

            e.bitmap = there.bitmap & QCOW2_ALL_ZERO;
        }
        if (s->encrypted) {
            e = zero_in_place(s, e);
        }
        l2_store(s, data, ref->index + (int)i, e);
    }
    slice_unlock(ref->slice);
    return data ? 0 : -ENOMEM;
}

/* Gives up to @n guest clusters at @offset, of one slice, a place; @meta held.
 * Returns how many. */
static int64_t co_fn find_place(struct qcow2 *s, int64_t offset, int64_t n,
                                int64_t *ret_host, bool *ret_fresh)
{
    int rc = 0;

    if (s->external) {
        *ret_host = offset;
        return n;
    }
    n = qcow2_co_alloc(s, n, ret_host, ret_fresh); /* yields */
    if (n > 0 && !*ret_fresh) {
        rc = qcow2_co_reach(s, *ret_host + (n << s->cluster_bits));
    }
    if (rc < 0) {
        qcow2_co_unalloc(s, *ret_host, n); /* yields */
    }
    return rc ? rc : n;
}

/* Gives clusters back that could not be preallocated. */
static void co_fn give_up(struct qcow2 *s, int64_t host, int64_t n)
{
    if (!s->external) {
        co_mutex_lock(&s->meta);      /* yields */
        qcow2_co_unalloc(s, host, n); /* yields */
        co_mutex_unlock(&s->meta);
    }
}

/* Preallocates clusters of one slice.  Returns how many bytes. */
static int64_t co_fn preallocate_some(struct qcow2 *s, int64_t offset,
                                      int64_t bytes, enum prealloc_mode how)
{
    struct l2_ref ref = {.slice = NULL};
    int64_t host, n = 0;
    bool fresh = false;
    int rc;

    co_mutex_lock(&s->meta);                     /* yields */
    rc = qcow2_co_l2_get(s, offset, true, &ref); /* yields */
    if (rc == 0) {
        n = min_i64(clusters_of(s, bytes), ref.end - ref.index);
        n = find_place(s, offset, n, &host, &fresh); /* yields */
        rc = (int)min_i64(n, 0);
    }
    co_mutex_unlock(&s->meta);
    if (rc == 0) {
        rc = fill_host(s, host, n << s->cluster_bits, fresh, how); /* yields */
        rc = rc ? rc : map_clusters(s, &ref, n, host);
        if (rc < 0) {
            give_up(s, host, n); /* yields */
        }
    }
    l2_ref_put(&ref);
    return rc ? rc : n << s->cluster_bits;
}

/* The cluster in which the disk ended.  Its end is gained as well: it gets a
 * place, or the whole of the one it has.  Returns where to go on. */
static int64_t co_fn preallocate_edge(struct qcow2 *s, int64_t old,
                                      enum prealloc_mode how)
{
    int64_t rest = cluster_up(s, old) - old;
    struct extent e = {.bytes = 0};
    int rc = 0;

    if (rest == 0) {
        return old;
    }
    rc = qcow2_co_map(s, old, rest, &e); /* yields */
    if (rc < 0) {
        return rc;
    }
    if (e.kind == QCOW2_HOLE && !s->header.backing_name) {
        return cluster_down(s, old); /* all of it is a hole */
    }
    /* What is encrypted has zeroes there that were written already. */
    if (e.kind == QCOW2_DATA && e.copied && how != PREALLOC_METADATA &&
        !s->encrypted) {
        rc = fill_host(s, e.host, rest, true, how); /* yields */
    }
    return rc < 0 ? rc : cluster_up(s, old);
}

/* Preallocates what is at @offset, or passes by what has a place: zeroes that
 * hide a backing file are written where no entry can say so.  Returns how many
 * bytes. */
static int64_t co_fn preallocate_next(struct qcow2 *s, int64_t offset,
                                      int64_t bytes, enum prealloc_mode how)
{
    struct extent e = {.kind = QCOW2_HOLE, .bytes = bytes};
    int rc = s->header.version == 2 ? qcow2_co_map(s, offset, bytes, &e) : 0;

    if (rc < 0) {
        return rc;
    }
    return e.kind == QCOW2_DATA ? e.bytes
                                : preallocate_some(s, offset, e.bytes, how);
}

static int co_fn preallocate_busy(struct qcow2 *s, int64_t offset, int64_t end,
                                  enum prealloc_mode how)
{
    offset = preallocate_edge(s, offset, how); /* yields */
    if (offset < 0) {
        return (int)offset;
    }
    while (offset < end) {
        int64_t n = preallocate_next(s, offset, end - offset, how);

        if (n < 0) {
            return (int)n;
        }
        offset += n;
    }
    return 0;
}

int co_fn qcow2_co_preallocate(struct qcow2 *s, int64_t offset, int64_t end,
                               enum prealloc_mode how)
{
    int64_t first = cluster_down(s, offset);
    struct busy busy;
    int rc;

    /* The beginning of the first cluster is in use. */
    busy_begin(s, &busy, first, cluster_up(s, end) - first); /* yields */
    rc = preallocate_busy(s, offset, end, how);              /* yields */
    busy_end(s, &busy);
    if (rc < 0) {
        /* Behind the end of the disk, nobody would ever find it. */
        first = cluster_up(s, offset);
        (void)!qcow2_co_unmap(s, first, end - first,
                              QCOW2_FREE_OTHER); /* yields */
    }
    return rc;
}
