/* SPDX-License-Identifier: MIT */
/*
 * alloc: finds host clusters that are free, and counts them.
 *
 * Clusters are given out from the beginning of the file.  @free_hint is a
 * cluster below which none is free, so a search does not begin at 0 again.
 *
 * A new refcount block lies behind the clusters for whose sake it is made, so
 * that these lie in a row.
 */
#include <errno.h>

#include "format/qcow2/refcount.h"

/* Counts up to @want clusters from @ref on, as far as they are free and in its
 * slice.  Returns how many, or -ENOMEM. */
static int64_t counts_take_locked(struct qcow2 *s, const struct count_ref *ref,
                                  int64_t want)
{
    uint8_t *data;
    int64_t n = 0;

    if (qcow2_refcount_load(slice_data_locked(ref->slice), ref->index,
                            s->order) != 0) {
        return 0;
    }
    data = slice_edit_locked(ref->slice);
    if (!data) {
        return -ENOMEM;
    }
    while (n < want && ref->index + n < ref->end &&
           qcow2_refcount_load(data, ref->index + n, s->order) == 0) {
        qcow2_refcount_store(data, ref->index + n, s->order, 1);
        n++;
    }
    return n;
}

/* In one slice, finds the first free clusters, up to @want in a row, and
 * counts them.  Returns how many, 0 if none is, or -ENOMEM. */
static int64_t counts_take(struct qcow2 *s, struct count_ref *ref, int64_t want)
{
    const uint8_t *data = slice_lock(ref->slice);
    int64_t n = 0;

    while (ref->index < ref->end &&
           qcow2_refcount_load(data, ref->index, s->order) != 0) {
        ref->index++;
    }
    if (ref->index < ref->end) {
        n = counts_take_locked(s, ref, want);
    }
    slice_unlock(ref->slice);
    return n;
}

/* Is cluster @end - 1 one that a table can refer to? */
static int check_reach(const struct qcow2 *s, int64_t end)
{
    return end > QCOW2_MAX_OFFSET >> s->cluster_bits ? -EFBIG : 0;
}

void qcow2_note_use(struct qcow2 *s, int64_t offset, int64_t bytes)
{
    s->used_end = max_i64(s->used_end, offset + bytes);
}

/* Makes a block for the area of @c, which has none, behind the up to @want
 * clusters that are to be taken from @c on. */
static int co_fn block_add_behind(struct qcow2 *s, int64_t c, int64_t want)
{
    int64_t b = c >> s->block_bits;
    int64_t last = ((b + 1) << s->block_bits) - 1;
    int64_t place = min_i64(c + want, last);
    int rc = refblock_co_add(s, b, place << s->cluster_bits); /* yields */

    return rc < 0 ? rc : 0;
}

/* Finds the count of @c, for which up to @want clusters are to be taken;
 * makes a block if there is none. */
static int co_fn count_get_to_take(struct qcow2 *s, int64_t c, int64_t want,
                                   struct count_ref *ret)
{
    int rc;

    do {
        rc = check_reach(s, c + 1);
        rc = rc ? rc : count_ref_co_get(s, c, ret); /* yields */
        if (rc < 0 || ret->slice) {
            break;
        }
        rc = block_add_behind(s, c, want); /* yields */
    } while (rc == 0);
    if (rc == 0) { /* for rules made for QEMU, which looks for a block now */
        node_event(s->file, EVENT_REFBLOCK_LOAD);
        node_event(s->file, EVENT_REFBLOCK_ALLOC);
    }
    return rc;
}

/* Takes up to @want clusters from @c on, as far as they are free and in one
 * slice.  Returns how many. */
static int64_t co_fn take_more(struct qcow2 *s, int64_t c, int64_t want)
{
    struct count_ref ref;
    int64_t n = count_get_to_take(s, c, want, &ref); /* yields */

    if (n < 0) {
        return n == -EFBIG ? 0 : n;
    }
    (void)slice_lock(ref.slice);
    n = counts_take_locked(s, &ref, want);
    slice_unlock(ref.slice);
    count_ref_put(&ref);
    return n;
}

/* Takes the first free clusters, up to @want in a row; *@ret is the first. */
static int64_t co_fn take_first(struct qcow2 *s, int64_t want, int64_t *ret)
{
    int64_t c = s->free_hint;
    int64_t n = 0, more = 1;

    do {
        struct count_ref ref;
        int64_t from;
        int rc = count_get_to_take(s, c, want, &ref); /* yields */

        if (rc < 0) {
            return rc;
        }
        from = ref.index;
        n = counts_take(s, &ref, want);
        c += ref.index - from;
        count_ref_put(&ref);
    } while (n == 0);
    while (n > 0 && n < want && more > 0 &&
           (c + n) % refcount_slice_counts(s) == 0) {
        more = take_more(s, c + n, want - n); /* yields */
        n += max_i64(more, 0);
    }
    if (more < 0) {
        qcow2_co_unalloc(s, c << s->cluster_bits, n); /* yields */
        return more;
    }
    *ret = c;
    return n;
}

int64_t co_fn qcow2_co_alloc(struct qcow2 *s, int64_t want, int64_t *ret_offset,
                             bool *ret_fresh)
{
    int64_t never_used = s->used_end;
    int64_t c = 0;
    int64_t n;
    int rc;

    node_event(s->file, EVENT_CLUSTER_ALLOC);
    n = take_first(s, want, &c); /* yields */
    if (n > 0 && c << s->cluster_bits >= never_used && qcow2_co_reclaim(s)) {
        qcow2_co_unalloc(s, c << s->cluster_bits, n); /* yields */
        n = take_first(s, want, &c);                  /* yields */
    }
    if (n < 0) {
        return n;
    }
    s->free_hint = c + n;
    qcow2_note_use(s, c << s->cluster_bits, n << s->cluster_bits);
    if (ret_fresh) {
        *ret_fresh = c << s->cluster_bits >= never_used && s->fresh_is_zero;
    }
    rc = qcow2_co_guard_new(s, c << s->cluster_bits, n << s->cluster_bits, 0);
    *ret_offset = c << s->cluster_bits;
    return rc < 0 ? rc : n;
}

int64_t co_fn qcow2_co_alloc_at(struct qcow2 *s, int64_t offset, int64_t want)
{
    int64_t c = offset >> s->cluster_bits;
    int64_t n = 0, more = 1;
    int rc = check_reach(s, c + want);

    while (rc == 0 && n < want && more > 0) {
        more = take_more(s, c + n, want - n); /* yields */
        n += max_i64(more, 0);
    }
    rc = rc ? rc : (int)min_i64(more, 0);
    if (rc == 0) {
        qcow2_note_use(s, c << s->cluster_bits, n << s->cluster_bits);
        rc = qcow2_co_guard_new(s, offset, n << s->cluster_bits, 0);
    }
    if (rc < 0) {
        qcow2_co_unalloc(s, offset, n); /* yields */
    }
    return rc < 0 ? rc : n;
}

/* How many clusters from @c on, at most @max, are free, or all in use
 * (*@ret_free). */
static int64_t co_fn count_alike(struct qcow2 *s, int64_t c, int64_t max,
                                 bool *ret_free)
{
    struct count_ref ref;
    const uint8_t *data;
    int64_t n = 1;
    int rc = count_ref_co_get(s, c, &ref); /* yields */

    if (rc < 0) {
        return rc;
    }
    max = min_i64(max, ref.end - ref.index);
    *ret_free = true;
    if (!ref.slice) {
        return max;
    }
    data = slice_lock(ref.slice);
    *ret_free = qcow2_refcount_load(data, ref.index, s->order) == 0;
    while (n < max && (qcow2_refcount_load(data, ref.index + n, s->order) ==
                       0) == *ret_free) {
        n++;
    }
    slice_unlock(ref.slice);
    count_ref_put(&ref);
    return n;
}

/* Finds @want free clusters in a row. */
static int64_t co_fn find_run(struct qcow2 *s, int64_t want)
{
    int64_t start = s->free_hint;
    int64_t c = start;

    while (c - start < want) {
        bool free_ones;
        int64_t n = count_alike(s, c, max_i64(want - (c - start), 1),
                                &free_ones); /* yields */

        n = n < 0 ? n : check_reach(s, c + n) < 0 ? -EFBIG : n;
        if (n < 0) {
            return n;
        }
        c += n;
        start = free_ones ? start : c;
    }
    return start;
}

/* Finds the next area, before that of cluster @end, that has no block;
 * -1: there is none from that of @first on. */
static int64_t area_without(struct qcow2 *s, int64_t first, int64_t end)
{
    int64_t b = (end - 1) >> s->block_bits;

    while (b >= first >> s->block_bits && refblock_offset(s, b)) {
        b--;
    }
    return b >= first >> s->block_bits ? b : -1;
}

/* How many clusters blocks take that are behind [@first, @end), and are for
 * what that lacks and for themselves. */
static int64_t blocks_lacking(struct qcow2 *s, int64_t first, int64_t end)
{
    int64_t n = 0;

    for (int64_t b = first >> s->block_bits;
         b <= (end + n - 1) >> s->block_bits; b++) {
        n += refblock_offset(s, b) == 0;
    }
    return n;
}

/*
 * Makes the blocks that [@first, @end) lacks, behind it.  The last one comes
 * first: it is in its own area or in one that has a block, and so are then
 * those before it.
 */
static int co_fn add_blocks_behind(struct qcow2 *s, int64_t first, int64_t end)
{
    int64_t n = blocks_lacking(s, first, end);
    int64_t b = area_without(s, first, end + n);
    int rc = 0;

    while (rc == 0 && n > 0 && b >= 0) {
        n--;
        rc = refblock_co_add(s, b, (end + n) << s->cluster_bits); /* yields */
        b = area_without(s, first, end + n);
    }
    return rc;
}

int co_fn qcow2_co_alloc_run(struct qcow2 *s, int64_t clusters,
                             int64_t *ret_offset)
{
    int64_t areas = 2 + (clusters >> s->block_bits);
    int64_t first, done;
    int rc;

    node_event(s->file, EVENT_CLUSTER_ALLOC);
    do {
        /* Room for blocks as well, should there be none yet. */
        first = find_run(s, clusters + 2 * areas); /* yields */
        if (first < 0) {
            return (int)first;
        }
        rc = add_blocks_behind(s, first, first + clusters); /* yields */
    } while (rc > 0); /* the refcount table has moved, maybe to there */
    if (rc < 0) {
        return rc;
    }
    rc = qcow2_co_refcount_add(s, first, clusters, 1, &done); /* yields */
    if (rc < 0) {
        qcow2_co_unalloc(s, first << s->cluster_bits, done); /* yields */
        return rc;
    }
    s->free_hint = s->free_hint == first ? first + clusters : s->free_hint;
    qcow2_note_use(s, first << s->cluster_bits, clusters << s->cluster_bits);
    *ret_offset = first << s->cluster_bits;
    return qcow2_co_guard_new(s, *ret_offset, clusters << s->cluster_bits, 0);
}

void co_fn qcow2_co_unalloc(struct qcow2 *s, int64_t offset, int64_t clusters)
{
    if (clusters > 0) {
        (void)!qcow2_co_refcount_add(s, offset >> s->cluster_bits, clusters, -1,
                                     NULL); /* yields */
    }
}
