/* SPDX-License-Identifier: MIT */
/*
 * zero: zeroes and discards, by changing the mapping rather than data.
 *
 * Subclusters (clusters, without extended L2 entries) that a request covers
 * are marked.  At its edges, what else is in the subcluster decides: if all of
 * that reads as zeroes anyway the whole is marked, else zeroes are written.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/qcow2/bitmaps.h"
#include "format/qcow2/ops.h"
#include "format/qcow2/qcow2.h"

/* Most zeroes that are written at once where they have to be. */
#define ZERO_BUFFER (256 * KiB)

/* What clusters become. */
enum wipe {
    WIPE_ZERO_KEEP, /* zeroes; a place of its own stays */
    WIPE_ZERO,      /* zeroes; the place is freed */
    WIPE_DISCARD,   /* zeroes, or a hole where that is the same, or left */
    WIPE_UNMAP,     /* a hole */
};

/* -- One entry ----------------------------------------------------------- */

/* Does a hole in the image at guest offset @offset read as zeroes? */
static bool hole_is_zero(struct qcow2 *s, int64_t offset)
{
    return !qcow2_backing_at(s, offset);
}

static bool entry_is_placed(const struct qcow2 *s, struct qcow2_entry e)
{
    return (e.l2 & QCOW2_COMPRESSED) || qcow2_entry_host(e) != 0 ||
           (s->external && (e.l2 & QCOW2_COPIED));
}

static bool entry_is_hole(const struct qcow2 *s, struct qcow2_entry e)
{
    return !entry_is_placed(s, e) && e.bitmap == 0 && !(e.l2 & QCOW2_ZERO);
}

static struct qcow2_entry zero_entry(const struct qcow2 *s)
{
    if (s->entry.extended) {
        return (struct qcow2_entry){.bitmap = QCOW2_ALL_ZERO};
    }
    return (struct qcow2_entry){.l2 = s->entry.v2 ? 0 : QCOW2_ZERO};
}

/* What entry @e of the cluster at guest offset @offset is to become. */
static struct qcow2_entry wiped_entry(struct qcow2 *s, struct qcow2_entry e,
                                      int64_t offset, enum wipe how)
{
    bool own = !(e.l2 & QCOW2_COMPRESSED) && (e.l2 & QCOW2_COPIED);
    struct qcow2_entry zero = zero_entry(s);

    switch (how) {
    case WIPE_UNMAP:
        return (struct qcow2_entry){.l2 = 0};
    case WIPE_DISCARD:
        if (entry_is_hole(s, e) && hole_is_zero(s, offset)) {
            return e;
        }
        /* A hole would bring old data of the backing file back. */
        return s->entry.v2 && !hole_is_zero(s, offset) ? e : zero;
    case WIPE_ZERO:
        return zero;
    case WIPE_ZERO_KEEP:
        if (own) {
            zero.l2 |= e.l2 & (QCOW2_OFFSET_MASK | QCOW2_COPIED);
        }
        return zero;
    }
    return e;
}

static bool same_entry(struct qcow2_entry a, struct qcow2_entry b)
{
    return a.l2 == b.l2 && a.bitmap == b.bitmap;
}

/* -- Whole clusters ------------------------------------------------------ */

/* Wipes @n clusters of one slice. */
static int wipe_entries(struct qcow2 *s, const struct l2_ref *ref,
                        int64_t offset, int64_t n, enum wipe how,
                        enum qcow2_free_why why)
{
    const uint8_t *data = slice_lock(ref->slice);
    uint8_t *edit = NULL;
    int rc = 0;

    for (int64_t i = 0; i < n && rc == 0; i++) {
        int index = ref->index + (int)i;
        struct qcow2_entry old = l2_load(s, edit ? edit : data, index);
        struct qcow2_entry new =
            wiped_entry(s, old, offset + (i << s->cluster_bits), how);

        if (same_entry(old, new)) {
            continue;
        }
        edit = edit ? edit : slice_edit_locked(ref->slice);
        if (!edit) {
            rc = -ENOMEM;
            break;
        }
        l2_store(s, edit, index, new);
        if (entry_is_placed(s, old) && !entry_is_placed(s, new)) {
            qcow2_free_entry(s, old, why);
        }
    }
    slice_unlock(ref->slice);
    return rc;
}

/* Finds the slice for @offset, to be changed.  Without a table there is only
 * something to do, and one is made, when @need. */
static int co_fn slice_to_change(struct qcow2 *s, int64_t offset, bool need,
                                 struct l2_ref *ref)
{
    int rc = qcow2_co_l2_get(s, offset, false, ref); /* yields */

    if (rc < 0 || (!ref->slice && !need)) {
        return rc;
    }
    l2_ref_put(ref);
    co_mutex_lock(&s->meta);                    /* yields */
    rc = qcow2_co_l2_get(s, offset, true, ref); /* yields */
    co_mutex_unlock(&s->meta);
    return rc;
}

/* The end of the slice, or of the table if there is none, that guest offset
 * @offset is in. */
static int64_t step_end(struct qcow2 *s, int64_t offset)
{
    unsigned table = s->table_bits + s->cluster_bits;
    unsigned bits = qcow2_l1_get(s, offset >> table)
                        ? s->slice_bits + s->cluster_bits
                        : table;

    return align_down(offset, INT64_C(1) << bits) + (INT64_C(1) << bits);
}

/* Wipes whole clusters, which @offset and @bytes are. */
static int co_fn wipe(struct qcow2 *s, int64_t offset, int64_t bytes,
                      enum wipe how, enum qcow2_free_why why)
{
    int64_t end = offset + bytes;
    int rc = 0;

    while (offset < end && rc == 0) {
        int64_t next = min_i64(step_end(s, offset), end);
        bool need =
            how == WIPE_ZERO || how == WIPE_ZERO_KEEP ||
            (how == WIPE_DISCARD && !s->entry.v2 && !hole_is_zero(s, offset));
        struct l2_ref ref = {.slice = NULL};
        struct busy busy;

        busy_begin(s, &busy, offset, next - offset); /* yields */
        rc = slice_to_change(s, offset, need, &ref); /* yields */
        if (rc == 0 && ref.slice) {
            next = min_i64(next,
                           ref.first + ((int64_t)ref.end << s->cluster_bits));
            rc = wipe_entries(s, &ref, offset,
                              (next - offset) >> s->cluster_bits, how, why);
        }
        l2_ref_put(&ref);
        busy_end(s, &busy);
        offset = next;
    }
    return rc;
}

/* -- Parts of a cluster -------------------------------------------------- */

int co_fn qcow2_co_write_zeroes(struct qcow2 *s, int64_t offset, int64_t bytes)
{
    int64_t step = min_i64(bytes, ZERO_BUFFER);
    void *buf = node_try_alloc(s->data, step);
    int rc = buf ? 0 : -ENOMEM;

    if (buf) {
        memset(buf, 0, (size_t)step);
    }
    while (bytes > 0 && rc == 0) {
        struct iovec iov;
        struct iovs src = iovs_one(&iov, buf, min_i64(bytes, step));

        rc = qcow2_co_write(s, offset, &src); /* yields */
        offset += src.bytes;
        bytes -= src.bytes;
    }
    free(buf);
    return rc;
}

/* Does so, unless the request is only for what costs less. */
static int co_fn write_zeroes(struct qcow2 *s, int64_t offset, int64_t bytes,
                              unsigned flags)
{
    return flags & REQ_NO_FALLBACK ? -EOPNOTSUPP
                                   : qcow2_co_write_zeroes(s, offset, bytes);
}

/* Makes subclusters [@first, @end) of the cluster that @ref is at zeroes. */
static int mark_subs(struct qcow2 *s, const struct l2_ref *ref, unsigned first,
                     unsigned end)
{
    uint64_t subs = qcow2_sub_mask(first, end);
    struct qcow2_entry e;
    uint8_t *data;

    (void)slice_lock(ref->slice);
    data = slice_edit_locked(ref->slice);
    if (data) {
        e = l2_load(s, data, ref->index);
        if (s->entry.extended) {
            e.bitmap = (e.bitmap & ~subs) | subs << QCOW2_SUBCLUSTERS;
        } else {
            e.l2 |= QCOW2_ZERO; /* it was a hole, or is this already */
        }
        l2_store(s, data, ref->index, e);
    }
    slice_unlock(ref->slice);
    return data ? 0 : -ENOMEM;
}

/* How many of @bytes at @offset of @node are zeroes, for all that is known
 * without reading them. */
static int64_t co_fn known_zeroes(struct node *node, int64_t offset,
                                  int64_t bytes)
{
    struct block_status st;

    while (node && offset < node_length(node)) {
        bytes = min_i64(bytes, node_length(node) - offset);
        if (node_co_block_status(node, true, offset, bytes, &st) < 0) {
            return 0;
        }
        if (st.flags & (BLOCK_ZERO | BLOCK_DATA | BLOCK_ALLOCATED)) {
            return st.flags & BLOCK_ZERO ? st.bytes : 0;
        }
        bytes = st.bytes;
        while ((node_driver(node)->traits & DRIVER_FILTER) && node_file(node)) {
            node = node_file(node);
        }
        node = node_child(node, "backing");
    }
    return bytes;
}

/* Does a hole of the image show nothing but zeroes of its backing file? */
static bool co_fn hole_shows_zeroes(struct qcow2 *s, int64_t offset,
                                    int64_t bytes)
{
    while (bytes > 0 && !hole_is_zero(s, offset)) {
        int64_t n = known_zeroes(node_child(s->node, "backing"), offset, bytes);

        if (n <= 0) {
            return false;
        }
        offset += n;
        bytes -= n;
    }
    return true;
}

/* Can the subclusters around [@offset, @offset + @bytes), all in one cluster,
 * be marked?  They can if all bytes around the range are zeroes, and if no
 * place or the place of compressed data is in the way. */
static int co_fn may_mark(struct qcow2 *s, int64_t offset, int64_t bytes)
{
    int64_t end = min_i64(align_up(offset + bytes, s->sub_size),
                          max_i64(node_length(s->node), offset + bytes));
    int64_t pos = align_down(offset, s->sub_size);

    while (pos < end) {
        bool inside = pos >= offset && pos < offset + bytes;
        int64_t stop = pos < offset ? offset : inside ? offset + bytes : end;
        struct extent e;
        int rc = qcow2_co_map(s, pos, stop - pos, &e); /* yields */

        if (rc < 0) {
            return rc;
        }
        if (e.kind == QCOW2_PACKED ||
            (!s->entry.extended && e.kind == QCOW2_DATA) ||
            (!inside && !qcow2_kind_is_zero(e.kind) &&
             !(qcow2_kind_is_hole(e.kind) &&
               hole_shows_zeroes(s, pos, e.bytes)))) {
            return 0;
        }
        pos += e.bytes;
    }
    return 1;
}

/* Makes whole subclusters, or a part of one, zeroes. */
static int co_fn zero_subs(struct qcow2 *s, int64_t offset, int64_t bytes,
                           unsigned flags)
{
    int64_t cluster = cluster_down(s, offset);
    struct l2_ref ref = {.slice = NULL};
    struct busy busy;
    int rc;

    busy_begin(s, &busy, cluster, s->cluster_size); /* yields */
    /* What a raw data file has is seen without the mapping, too. */
    rc = s->entry.v2 || s->data_raw ? 0 : may_mark(s, offset, bytes);
    if (rc > 0) {
        rc = slice_to_change(s, offset, true, &ref); /* yields */
        if (rc == 0) {
            rc = mark_subs(
                s, &ref, (unsigned)((offset - cluster) >> s->sub_bits),
                (unsigned)((offset - cluster + bytes + s->sub_size - 1) >>
                           s->sub_bits));
        }
        rc = rc ? rc : 1;
    }
    l2_ref_put(&ref);
    busy_end(s, &busy);
    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    return write_zeroes(s, offset, bytes, flags); /* yields */
}

/* Makes part of a cluster zeroes: the subclusters that it fills, and what is
 * left at either end. */
static int co_fn zero_part(struct qcow2 *s, int64_t offset, int64_t bytes,
                           unsigned flags)
{
    int64_t end = offset + bytes;
    int64_t last =
        end == node_length(s->node) ? end : align_down(end, s->sub_size);
    int rc = 0;

    while (offset < end && rc == 0) {
        bool whole = is_aligned(offset, s->sub_size) && offset < last;
        int64_t stop =
            whole ? last : min_i64(align_up(offset + 1, s->sub_size), end);

        rc = zero_subs(s, offset, stop - offset, flags); /* yields */
        offset = stop;
    }
    return rc;
}

/* -- Zeroes -------------------------------------------------------------- */

/* Version 2 cannot mark: clusters can only be holes, if that will do. */
static int co_fn zero_v2(struct qcow2 *s, int64_t offset, int64_t bytes,
                         unsigned flags)
{
    struct node *backing = node_child(s->node, "backing");
    int64_t shines = backing ? node_length(backing) : 0;
    int64_t n = min_i64(max_i64(shines - offset, 0), bytes);
    int rc = 0;

    n = min_i64(cluster_up(s, n), bytes);
    if (n > 0) {
        rc = write_zeroes(s, offset, n, flags); /* yields */
    }
    if (rc == 0 && bytes > n) {
        rc = wipe(s, offset + n, cluster_up(s, bytes - n), WIPE_UNMAP,
                  QCOW2_FREE_REQUEST); /* yields */
    }
    return rc;
}

static int co_fn zero_clusters(struct qcow2 *s, int64_t offset, int64_t bytes,
                               unsigned flags)
{
    bool unmap = (flags & REQ_MAY_UNMAP) && !s->data_raw;
    int rc = 0;

    if (s->entry.v2) {
        return zero_v2(s, offset, bytes, flags); /* yields */
    }
    if (s->external) {
        int64_t end = min_i64(offset + bytes, node_length(s->data));

        if (s->data_raw && end > offset) {
            rc = node_co_pwrite_zeroes(s->data, offset, end - offset, flags);
        } else if (unmap && end > offset) {
            rc = node_co_pdiscard(s->data, offset, end - offset);
        }
    }
    return rc ? rc
              : wipe(s, offset, cluster_up(s, bytes),
                     unmap ? WIPE_ZERO : WIPE_ZERO_KEEP, QCOW2_FREE_REQUEST);
}

int co_fn qcow2_co_zero(struct qcow2 *s, int64_t offset, int64_t bytes,
                        unsigned flags)
{
    int64_t end = offset + bytes;
    int64_t first = cluster_up(s, offset);
    int64_t last = end == node_length(s->node) ? max_i64(end, first)
                                               : cluster_down(s, end);
    int rc = 0;

    if (first > last || (first > offset && first >= end)) {
        return zero_part(s, offset, bytes, flags); /* in one cluster */
    }
    if (offset < first) {
        rc = zero_part(s, offset, first - offset, flags); /* yields */
    }
    if (rc == 0 && first < last) {
        rc = zero_clusters(s, first, last - first, flags); /* yields */
    }
    if (rc == 0 && last < end) {
        rc = zero_part(s, last, end - last, flags); /* yields */
    }
    return rc;
}

int co_fn qcow2_co_pwrite_zeroes(struct node *node, int64_t offset,
                                 int64_t bytes, unsigned flags)
{
    struct qcow2 *s = qcow2_of(node);
    int rc = qcow2_co_begin_change(s); /* yields */

    rc = rc ? rc : qcow2_co_record(s, offset, bytes);      /* yields */
    rc = rc ? rc : qcow2_co_zero(s, offset, bytes, flags); /* yields */
    if (rc == 0 && qcow2_has_many_frees(s)) {
        rc = qcow2_co_settle(s); /* yields */
    }
    return rc;
}

/* -- Discard ------------------------------------------------------------- */

int co_fn qcow2_co_unmap(struct qcow2 *s, int64_t offset, int64_t bytes,
                         enum qcow2_free_why why)
{
    return wipe(s, offset, cluster_up(s, bytes), WIPE_UNMAP, why);
}

static int co_fn discard_external(struct qcow2 *s, int64_t offset,
                                  int64_t bytes)
{
    int64_t end = min_i64(offset + bytes, node_length(s->data));

    if (end <= offset) {
        return 0;
    }
    return node_co_pdiscard(s->data, offset, end - offset); /* yields */
}

int co_fn qcow2_co_pdiscard(struct node *node, int64_t offset, int64_t bytes)
{
    struct qcow2 *s = qcow2_of(node);
    int rc = qcow2_co_begin_change(s); /* yields */

    rc = rc ? rc : qcow2_co_record(s, offset, bytes); /* yields */
    /* What a raw data file has, others see: it says what is there. */
    if (rc == 0 && !s->data_raw) {
        rc = wipe(s, offset, cluster_up(s, bytes), WIPE_DISCARD,
                  QCOW2_FREE_REQUEST); /* yields */
    }
    if (rc == 0 && s->external) {
        rc = discard_external(s, offset, bytes); /* yields */
    }
    if (rc == 0 && qcow2_has_many_frees(s)) {
        rc = qcow2_co_settle(s); /* yields */
    }
    return rc;
}
