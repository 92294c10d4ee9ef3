/* SPDX-License-Identifier: MIT */
/*
 * refcount: which host clusters are in use: the refcount table, and the counts
 * in its blocks.
 */
#include "format/qcow2/refcount.h"

#include <errno.h>
#include <stdlib.h>

#include "base/error.h"

/* -- The refcount table -------------------------------------------------- */

/* How many clusters an area has. */
static int64_t area_clusters(const struct qcow2 *s)
{
    return INT64_C(1) << s->block_bits;
}

int64_t refblock_offset(struct qcow2 *s, int64_t b)
{
    return b < s->reftable_n ? (int64_t)s->reftable[b] : 0;
}

static void reftable_set(struct qcow2 *s, int64_t b, int64_t offset)
{
    pthread_mutex_lock(&s->l1_lock);
    s->reftable[b] = (uint64_t)offset;
    dirty_map_set(&s->reftable_dirty, b);
    pthread_mutex_unlock(&s->l1_lock);
}

int co_fn qcow2_co_load_reftable(struct qcow2 *s, GError **err)
{
    int64_t bytes = (int64_t)s->header.reftable_clusters << s->cluster_bits;
    int rc;

    s->reftable_n = bytes / 8;
    s->reftable = malloc((size_t)max_i64(bytes, 8));
    if (!s->reftable || !dirty_map_init(&s->reftable_dirty, bytes)) {
        return error_set_errno(err, -ENOMEM, "%s", node_filename(s->node));
    }
    node_event(s->file, EVENT_REFTABLE_LOAD);
    rc = qcow2_co_read_table(s, s->header.reftable_offset, s->reftable, bytes);
    if (rc < 0) {
        return error_set_errno(err, rc, "%s: cannot read its refcount table",
                               node_filename(s->node));
    }
    for (int64_t i = 0; i < s->reftable_n; i++) {
        s->reftable[i] = load_be64(&s->reftable[i]);
    }
    return 0;
}

/* -- Slices of blocks ---------------------------------------------------- */

int64_t refcount_slice_counts(const struct qcow2 *s)
{
    return cache_slice_bytes(s->refcount_cache) * 8 >> s->order;
}

int co_fn count_ref_co_get(struct qcow2 *s, int64_t cluster,
                           struct count_ref *ret)
{
    int64_t i = cluster & (area_clusters(s) - 1);
    int64_t n = refcount_slice_counts(s);
    int64_t block = refblock_offset(s, cluster >> s->block_bits);

    if (block == 0) {
        *ret = (struct count_ref){.index = i, .end = area_clusters(s)};
        return 0;
    }
    if (!is_aligned(block, s->cluster_size) || block < 0 ||
        block >= BLOCK_MAX_LENGTH - s->cluster_size) {
        return qcow2_co_set_corrupt(
            s, "a refcount block is at 0x%" PRIx64 ", which is not possible",
            block);
    }
    ret->index = i % n;
    ret->end = n;
    return cache_co_get(s->refcount_cache,
                        block + i / n * cache_slice_bytes(s->refcount_cache),
                        &ret->slice); /* yields */
}

void count_ref_put(struct count_ref *ref)
{
    if (ref->slice) {
        slice_put(ref->slice);
    }
}

int co_fn qcow2_co_refcount(struct qcow2 *s, int64_t cluster, uint64_t *ret)
{
    struct count_ref ref;
    int rc = count_ref_co_get(s, cluster, &ref); /* yields */

    if (rc < 0) {
        return rc;
    }
    *ret = 0;
    if (ref.slice) {
        *ret = qcow2_refcount_load(slice_lock(ref.slice), ref.index, s->order);
        slice_unlock(ref.slice);
    }
    count_ref_put(&ref);
    return 0;
}

/* qcow2_co_used() of [@first, @end), which has one refcount block; 0: none. */
static int co_fn used_in_area(struct qcow2 *s, int64_t first, int64_t end,
                              int64_t *ret)
{
    uint64_t count = 0;
    int rc = 0;

    while (rc == 0 && end > first && count == 0) {
        rc = qcow2_co_refcount(s, --end, &count); /* yields */
    }
    *ret = count > 0 ? end + 1 : 0;
    return rc;
}

int co_fn qcow2_co_used(struct qcow2 *s, int64_t clusters, int64_t *ret)
{
    int64_t end = min_i64(clusters, s->reftable_n << s->block_bits);
    int rc = 0;

    *ret = 0;
    while (rc == 0 && *ret == 0 && end > 0) {
        int64_t area = (end - 1) >> s->block_bits;
        int64_t first = area << s->block_bits;

        if (refblock_offset(s, area)) {
            rc = used_in_area(s, first, end, ret); /* yields */
        }
        end = first;
    }
    return rc;
}

int co_fn refblock_co_write(struct qcow2 *s, int64_t b, int64_t offset,
                            int64_t first, int64_t end)
{
    int64_t area = b << s->block_bits;
    uint8_t *block = calloc(1, (size_t)s->cluster_size);
    int rc;

    if (!block) {
        return -ENOMEM;
    }
    for (int64_t c = max_i64(area, first);
         c < min_i64(area + area_clusters(s), end); c++) {
        qcow2_refcount_store(block, c - area, s->order, 1);
    }
    rc = qcow2_co_write_table(s, offset, block, s->cluster_size); /* yields */
    free(block);
    return rc;
}

/* -- Counting ------------------------------------------------------------ */

/* Inside of this file: there is no such count.  No errno, since those come
 * from the file and say nothing about what is in it. */
#define COUNTS_AS_FREE 1

/* Adds @delta to counts in one slice; as many as go.  Returns how many. */
static int64_t counts_add(struct qcow2 *s, const struct count_ref *ref,
                          int64_t n, int delta, int *ret_rc)
{
    uint8_t *data;
    int64_t i = 0;

    (void)slice_lock(ref->slice);
    data = slice_edit_locked(ref->slice);
    *ret_rc = data ? 0 : -ENOMEM;
    for (; i < n && *ret_rc == 0; i++) {
        uint64_t count = qcow2_refcount_load(data, ref->index + i, s->order);

        if (delta < 0 && count < (uint64_t)-delta) {
            *ret_rc = COUNTS_AS_FREE;
        } else if (delta > 0 && count > s->refcount_max - (uint64_t)delta) {
            *ret_rc = -ERANGE;
        } else {
            qcow2_refcount_store(data, ref->index + i, s->order,
                                 count + (uint64_t)(int64_t)delta);
        }
    }
    slice_unlock(ref->slice);
    return *ret_rc ? max_i64(i - 1, 0) : i;
}

int co_fn qcow2_co_refcount_add(struct qcow2 *s, int64_t first, int64_t n,
                                int delta, int64_t *ret_done)
{
    int64_t done = 0;
    int rc = 0;

    if (delta < 0) {
        s->free_hint = min_i64(s->free_hint, first);
    }
    while (done < n && rc == 0) {
        struct count_ref ref;
        int64_t c = first + done;

        rc = count_ref_co_get(s, c, &ref); /* yields */
        if (rc < 0) {
            break;
        }
        if (!ref.slice) {
            rc = COUNTS_AS_FREE;
            break;
        }
        done += counts_add(s, &ref, min_i64(n - done, ref.end - ref.index),
                           delta, &rc);
        count_ref_put(&ref);
    }
    if (rc == COUNTS_AS_FREE) {
        rc = qcow2_co_set_corrupt(
            s, "the cluster at 0x%" PRIx64 " is in use but counts as free",
            (first + done) << s->cluster_bits);
    }
    if (ret_done) {
        *ret_done = done;
    }
    return rc;
}

/* -- A new refcount block ------------------------------------------------ */

int co_fn refblock_co_add(struct qcow2 *s, int64_t b, int64_t offset)
{
    int64_t cluster = offset >> s->cluster_bits;
    int rc;

    if (b >= s->reftable_n) {
        rc = reftable_co_grow(s, b); /* yields */
        return rc < 0 ? rc : 1;
    }
    rc = qcow2_co_guard_new(s, offset, s->cluster_size, GUARD_REFBLOCK);
    if (rc == 0) {
        cache_forget(s->refcount_cache, offset, s->cluster_size);
        rc = qcow2_co_reach(s, offset + s->cluster_size); /* yields */
    }
    if (rc == 0) {
        qcow2_note_use(s, offset, s->cluster_size);
        node_event(s->file, EVENT_REFBLOCK_ALLOC_WRITE);
        rc = refblock_co_write(s, b, offset, cluster, cluster + 1); /* yields */
    }
    if (rc == 0 && cluster >> s->block_bits != b) {
        rc = qcow2_co_refcount_add(s, cluster, 1, 1, NULL); /* yields */
    }
    if (rc < 0) {
        guard_remove(s->guard, offset, s->cluster_size);
        return rc;
    }
    reftable_set(s, b, offset);
    return 0;
}
