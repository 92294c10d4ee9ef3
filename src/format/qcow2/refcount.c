/* SPDX-License-Identifier: MIT */
/*
 * refcount: which host clusters are in use, and allocation.
 *
 * Clusters are given out from the beginning of the file.  @free_hint is a
 * cluster below which none is free, so a search does not begin at 0 again.
 *
 * A new refcount block lies behind the clusters for whose sake it is made, so
 * that these lie in a row.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "format/qcow2/qcow2.h"

/* -- The refcount table -------------------------------------------------- */

static int64_t block_entries(const struct qcow2 *s)
{
    return INT64_C(1) << s->block_bits;
}

/* The refcount block of area @b, or 0. */
static int64_t block_offset(struct qcow2 *s, int64_t b)
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

/* Where the count of a cluster is. */
struct count_ref {
    struct slice *slice; /* pinned; NULL: there is no block, all are 0 */
    int64_t index, end;  /* in the slice: ours, and behind the last */
};

static int64_t slice_counts(const struct qcow2 *s)
{
    return cache_slice_bytes(s->refcount_cache) * 8 >> s->order;
}

/* Finds the count of @cluster.  Without a block, @end - @index is how many
 * clusters from @cluster on have none either. */
static int co_fn count_get(struct qcow2 *s, int64_t cluster,
                           struct count_ref *ret)
{
    int64_t i = cluster & (block_entries(s) - 1);
    int64_t n = slice_counts(s);
    int64_t block = block_offset(s, cluster >> s->block_bits);

    if (block == 0) {
        *ret = (struct count_ref){.index = i, .end = block_entries(s)};
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

static void count_put(struct count_ref *ref)
{
    if (ref->slice) {
        slice_put(ref->slice);
    }
}

int co_fn qcow2_co_refcount(struct qcow2 *s, int64_t cluster, uint64_t *ret)
{
    struct count_ref ref;
    int rc = count_get(s, cluster, &ref); /* yields */

    if (rc < 0) {
        return rc;
    }
    *ret = 0;
    if (ref.slice) {
        *ret = qcow2_refcount_load(slice_lock(ref.slice), ref.index, s->order);
        slice_unlock(ref.slice);
    }
    count_put(&ref);
    return 0;
}

/* The same among [@first, @end), which has one refcount block; 0: none. */
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

        if (block_offset(s, area)) {
            rc = used_in_area(s, first, end, ret); /* yields */
        }
        end = first;
    }
    return rc;
}

/* Writes a new refcount block for area @b to @offset.  Clusters from @first to
 * @end count 1, as far as they are of that area. */
static int co_fn block_write(struct qcow2 *s, int64_t b, int64_t offset,
                             int64_t first, int64_t end)
{
    int64_t area = b << s->block_bits;
    uint8_t *block = calloc(1, (size_t)s->cluster_size);
    int rc;

    if (!block) {
        return -ENOMEM;
    }
    for (int64_t c = max_i64(area, first);
         c < min_i64(area + block_entries(s), end); c++) {
        qcow2_refcount_store(block, c - area, s->order, 1);
    }
    rc = qcow2_co_write_table(s, offset, block, s->cluster_size); /* yields */
    free(block);
    return rc;
}

/* -- A longer refcount table --------------------------------------------- */

/* What a longer table needs: it lies at cluster @first, the refcount blocks
 * for it and for themselves behind it. */
struct growth {
    int64_t first;
    int64_t table_clusters;
    int64_t blocks;
    int64_t n; /* entries */
};

static int growth_plan(const struct qcow2 *s, int64_t need, struct growth *g)
{
    int64_t per_cluster = s->cluster_size / 8;
    int64_t n = max_i64(need, s->reftable_n + s->reftable_n / 2 + 1);

    g->first = s->reftable_n << s->block_bits;
    g->blocks = 0;
    for (;;) {
        int64_t end, areas;

        g->table_clusters = (n + per_cluster - 1) / per_cluster;
        end = g->first + g->table_clusters + g->blocks;
        areas = ((end - 1) >> s->block_bits) + 1;
        if (areas - s->reftable_n <= g->blocks && areas <= n) {
            break;
        }
        g->blocks = areas - s->reftable_n;
        n = max_i64(n, areas);
    }
    g->n = g->table_clusters * per_cluster;
    if (g->n * 8 > QCOW2_MAX_REFTABLE_BYTES) {
        return -EFBIG;
    }
    return 0;
}

static int co_fn growth_write_table(struct qcow2 *s, const struct growth *g,
                                    const uint64_t *table)
{
    int64_t bytes = g->table_clusters << s->cluster_bits;
    uint8_t *buf = malloc((size_t)bytes);
    int rc;

    if (!buf) {
        return -ENOMEM;
    }
    for (int64_t i = 0; i < g->n; i++) {
        store_be64(buf + i * 8, table[i]);
    }
    node_event(s->file, EVENT_REFBLOCK_ALLOC_WRITE_TABLE);
    rc = qcow2_co_write_table(s, g->first << s->cluster_bits, buf, bytes);
    free(buf);
    return rc;
}

/* All refcount blocks that are in memory, durable. */
static int co_fn blocks_sync(struct qcow2 *s)
{
    struct capture cap = {.n = 0};
    int rc = cache_capture(s->refcount_cache, &cap);

    if (rc == 0) {
        rc = cache_co_write(s->refcount_cache, &cap); /* yields */
    }
    return rc < 0 ? rc : node_co_flush(s->file); /* yields */
}

/* Makes the header name the new table.  The old one is not needed then. */
static int co_fn growth_switch(struct qcow2 *s, const struct growth *g)
{
    struct qcow2_header to = s->header;

    to.reftable_offset = g->first << s->cluster_bits;
    to.reftable_clusters = (uint32_t)g->table_clusters;
    node_event(s->file, EVENT_REFBLOCK_ALLOC_SWITCH_TABLE);
    return qcow2_co_switch_header(s, &to); /* yields */
}

static int co_fn growth_write(struct qcow2 *s, const struct growth *g,
                              uint64_t *table)
{
    int64_t first = g->first << s->cluster_bits;
    int64_t table_bytes = g->table_clusters << s->cluster_bits;
    int64_t blocks_bytes = g->blocks << s->cluster_bits;
    int rc = blocks_sync(s); /* yields */

    rc = rc ? rc : qcow2_co_reach(s, first + table_bytes + blocks_bytes);
    memcpy(table, s->reftable, (size_t)s->reftable_n * 8);
    for (int64_t i = 0; i < g->blocks && rc == 0; i++) {
        int64_t offset = first + table_bytes + (i << s->cluster_bits);

        table[s->reftable_n + i] = (uint64_t)offset;
        node_event(s->file, EVENT_REFBLOCK_ALLOC_WRITE_BLOCKS);
        rc = block_write(s, s->reftable_n + i, offset, g->first,
                         g->first + g->table_clusters + g->blocks);
    }
    rc = rc ? rc : qcow2_co_guard_new(s, first, table_bytes, GUARD_REFTABLE);
    rc = rc ? rc
            : qcow2_co_guard_new(s, first + table_bytes, blocks_bytes,
                                 GUARD_REFBLOCK);
    rc = rc ? rc : growth_write_table(s, g, table);
    rc = rc ? rc : growth_switch(s, g); /* yields */
    if (rc < 0) {
        guard_remove(s->guard, first, table_bytes + blocks_bytes);
    }
    return rc;
}

/* Makes the refcount table long enough for area @b. */
static int co_fn reftable_grow(struct qcow2 *s, int64_t b)
{
    int64_t old_offset = s->header.reftable_offset;
    int64_t old_clusters = s->header.reftable_clusters;
    struct dirty_map dirty = {0};
    uint64_t *table = NULL;
    struct growth g;
    int rc;

    node_event(s->file, EVENT_REFTABLE_GROW);
    rc = growth_plan(s, b + 1, &g);
    if (rc == 0) {
        table = calloc((size_t)g.n, 8);
        rc = table && dirty_map_init(&dirty, g.n * 8) ? 0 : -ENOMEM;
    }
    if (rc < 0) {
        free(table);
        return rc;
    }
    co_mutex_lock(&s->writeback);    /* nobody writes the old one; yields */
    rc = growth_write(s, &g, table); /* yields */
    if (rc == 0) {
        pthread_mutex_lock(&s->l1_lock);
        free(s->reftable);
        s->reftable = table;
        s->reftable_n = g.n;
        dirty_map_fini(&s->reftable_dirty);
        s->reftable_dirty = dirty;
        pthread_mutex_unlock(&s->l1_lock);
    } else {
        free(table);
        dirty_map_fini(&dirty);
    }
    co_mutex_unlock(&s->writeback);
    if (rc == 0) {
        s->used_end =
            max_i64(s->used_end, (g.first + g.table_clusters + g.blocks)
                                     << s->cluster_bits);
        guard_remove(s->guard, old_offset, old_clusters << s->cluster_bits);
        qcow2_co_unalloc(s, old_offset, old_clusters); /* yields */
    }
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

        rc = count_get(s, c, &ref); /* yields */
        if (rc < 0) {
            break;
        }
        if (!ref.slice) {
            rc = COUNTS_AS_FREE;
            break;
        }
        done += counts_add(s, &ref, min_i64(n - done, ref.end - ref.index),
                           delta, &rc);
        count_put(&ref);
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

/*
 * Makes the cluster at @offset, whose count is 0, the refcount block of area
 * @b.  Its own count is there before anything refers to it: in the block
 * itself, or in that of its area, which must exist.  Returns 1 when it has made
 * the refcount table longer instead, which lies in new areas: look again.
 */
static int co_fn block_add(struct qcow2 *s, int64_t b, int64_t offset)
{
    int64_t cluster = offset >> s->cluster_bits;
    int rc;

    if (b >= s->reftable_n) {
        rc = reftable_grow(s, b); /* yields */
        return rc < 0 ? rc : 1;
    }
    rc = qcow2_co_guard_new(s, offset, s->cluster_size, GUARD_REFBLOCK);
    if (rc == 0) {
        cache_forget(s->refcount_cache, offset, s->cluster_size);
        rc = qcow2_co_reach(s, offset + s->cluster_size); /* yields */
    }
    if (rc == 0) {
        node_event(s->file, EVENT_REFBLOCK_ALLOC_WRITE);
        rc = block_write(s, b, offset, cluster, cluster + 1); /* yields */
    }
    if (rc == 0 && cluster >> s->block_bits != b) {
        rc = qcow2_co_refcount_add(s, cluster, 1, 1, NULL); /* yields */
    }
    if (rc < 0) {
        guard_remove(s->guard, offset, s->cluster_size);
        return rc;
    }
    s->used_end = max_i64(s->used_end, offset + s->cluster_size);
    reftable_set(s, b, offset);
    return 0;
}

/* -- Allocation ---------------------------------------------------------- */

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

/* Clusters [@first, @first + @n) are to be used. */
static void note_use(struct qcow2 *s, int64_t first, int64_t n)
{
    s->used_end = max_i64(s->used_end, (first + n) << s->cluster_bits);
}

/* Makes a block for the area of @c, which has none, behind the up to @want
 * clusters that are to be taken from @c on. */
static int co_fn block_add_behind(struct qcow2 *s, int64_t c, int64_t want)
{
    int64_t b = c >> s->block_bits;
    int64_t last = ((b + 1) << s->block_bits) - 1;
    int64_t place = min_i64(c + want, last);
    int rc = block_add(s, b, place << s->cluster_bits); /* yields */

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
        rc = rc ? rc : count_get(s, c, ret); /* yields */
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
    count_put(&ref);
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
        count_put(&ref);
    } while (n == 0);
    while (n > 0 && n < want && more > 0 && (c + n) % slice_counts(s) == 0) {
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
    note_use(s, c, n);
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
        note_use(s, c, n);
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
    int rc = count_get(s, c, &ref); /* yields */

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
    count_put(&ref);
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

    while (b >= first >> s->block_bits && block_offset(s, b)) {
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
        n += block_offset(s, b) == 0;
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
        rc = block_add(s, b, (end + n) << s->cluster_bits); /* yields */
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
    note_use(s, first, clusters);
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
