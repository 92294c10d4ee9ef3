/* SPDX-License-Identifier: MIT */
/*
 * Room is taken only where the old structure counts 0, and the old structure
 * does not change, so until the header is written nothing of this exists.
 */
#include "format/qcow2/shadow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/qcow2/recount.h"

/* Freed ranges beyond this are not discarded: that is only a hint. */
#define MAX_FREED (1 << 20)

struct host_range {
    int64_t offset, bytes;
};

/* -- Counts -------------------------------------------------------------- */

/* The counts as they are. */
static int co_fn old_counts(struct qcow2 *s, int64_t first, int64_t n,
                            uint64_t *ret)
{
    for (int64_t i = 0; i < n; i++) {
        int rc = qcow2_co_refcount(s, first + i, &ret[i]); /* yields */

        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int add_delta(const struct shadow *sh, int64_t first, int64_t n,
                     uint64_t *counts)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t delta = counts_get(sh->delta, first + i);

        if (delta < 0 && counts[i] < (uint64_t)-delta) {
            return -EIO; /* it is used more often than it counts */
        }
        if (delta > 0 && counts[i] > UINT64_MAX - (uint64_t)delta) {
            return -ERANGE;
        }
        counts[i] += (uint64_t)delta;
    }
    return 0;
}

static int co_fn new_counts(void *opaque, int64_t first, int64_t n,
                            uint64_t *ret)
{
    struct shadow *sh = opaque;
    int rc = old_counts(sh->s, first, n, ret); /* yields */

    return rc ? rc : add_delta(sh, first, n, ret);
}

/* The first cluster from @cluster on that may count something. */
static int64_t next_counted(void *opaque, int64_t cluster)
{
    struct shadow *sh = opaque;
    const struct qcow2 *s = sh->s;
    int64_t area = cluster >> s->block_bits;
    int64_t next = INT64_MAX;

    while (area < s->reftable_n && !s->reftable[area]) {
        area++;
    }
    if (area < s->reftable_n) {
        next = max_i64(area << s->block_bits, cluster);
    }
    next = counts_next(sh->delta, cluster, next);
    return next < INT64_MAX ? next : -1;
}

int shadow_count(struct shadow *sh, int64_t offset, int64_t bytes, int delta)
{
    const struct qcow2 *s = sh->s;
    int64_t end;
    int rc;

    if (bytes == 0) {
        return 0;
    }
    if (offset <= 0 || offset > sh->end || bytes > sh->end - offset) {
        return -EIO;
    }
    end = clusters_of(s, offset + bytes);
    rc = counts_reach(sh->delta, end);
    for (int64_t c = offset >> s->cluster_bits; rc == 0 && c < end; c++) {
        rc = counts_add(sh->delta, c, delta);
    }
    return rc;
}

int shadow_count_table(struct shadow *sh, const uint8_t *table, int delta)
{
    const struct qcow2 *s = sh->s;
    int rc = 0;

    for (int i = 0; i < 1 << s->table_bits && rc == 0; i++) {
        struct qcow2_entry e = l2_load(s, table, i);
        int64_t offset = qcow2_entry_host(e);
        int64_t bytes = offset ? s->cluster_size : 0;

        if (e.l2 & QCOW2_COMPRESSED) {
            qcow2_entry_packed(&s->entry, e, &offset, &bytes);
            /* It may end in a sector that the file does not have. */
            bytes = min_i64(bytes, max_i64(sh->end - offset, 1));
        } else if (!is_aligned(offset, s->cluster_size)) {
            return -EIO;
        }
        rc = shadow_count(sh, offset, bytes, delta);
    }
    return rc;
}

int co_fn shadow_co_get(struct shadow *sh, int64_t offset, uint64_t *ret)
{
    return new_counts(sh, offset >> sh->s->cluster_bits, 1, ret); /* yields */
}

/* -- Room ---------------------------------------------------------------- */

/* How many clusters from @c on, at most @want, are free. */
static int64_t co_fn free_run(struct shadow *sh, int64_t c, int64_t want)
{
    int64_t n = 0;

    while (n < want) {
        uint64_t count;
        int rc = qcow2_co_refcount(sh->s, c + n, &count); /* yields */

        if (rc < 0) {
            return rc;
        }
        if (count > 0 || counts_get(sh->delta, c + n) != 0) {
            break;
        }
        n++;
    }
    return n;
}

static int co_fn take_room(void *opaque, int64_t clusters, int64_t *ret_offset)
{
    struct shadow *sh = opaque;
    struct qcow2 *s = sh->s;
    int64_t c = sh->hint;
    int64_t n = 0;
    int rc = 0;

    while ((n = free_run(sh, c, clusters)) != clusters) { /* yields */
        if (n < 0) {
            return (int)n;
        }
        sh->hint = n == 0 && c == sh->hint ? c + 1 : sh->hint;
        c += n + 1;
        if (c > QCOW2_MAX_OFFSET >> s->cluster_bits) {
            return -EFBIG;
        }
    }
    sh->hint = c == sh->hint ? c + n : sh->hint;
    *ret_offset = c << s->cluster_bits;
    if (guard_find(s->guard, *ret_offset, n << s->cluster_bits)) {
        return qcow2_co_set_corrupt(
            s, "the cluster at 0x%" PRIx64 " counts as free but holds a table",
            *ret_offset);
    }
    sh->end = max_i64(sh->end, *ret_offset + (n << s->cluster_bits));
    rc = shadow_count(sh, *ret_offset, n << s->cluster_bits, 1);
    return rc ? rc : qcow2_co_reach(s, *ret_offset + (n << s->cluster_bits));
}

int co_fn shadow_co_alloc(struct shadow *sh, int64_t bytes, int64_t *ret_offset)
{
    return take_room(sh, max_i64(clusters_of(sh->s, bytes), 1), ret_offset);
}

int co_fn shadow_co_write(struct shadow *sh, const void *buf, int64_t bytes,
                          int64_t *ret_offset)
{
    int64_t padded = cluster_up(sh->s, max_i64(bytes, 1));
    uint8_t *copy = calloc(1, (size_t)padded);
    int rc;

    if (!copy) {
        return -ENOMEM;
    }
    memcpy(copy, buf, (size_t)bytes);
    rc = shadow_co_alloc(sh, bytes, ret_offset); /* yields */
    rc = rc ? rc : qcow2_co_write_table(sh->s, *ret_offset, copy, padded);
    free(copy);
    return rc;
}

/* -- Tables -------------------------------------------------------------- */

int co_fn shadow_co_read_l1(struct shadow *sh, int64_t offset, uint32_t entries,
                            uint64_t **ret)
{
    int64_t bytes = (int64_t)entries * 8;
    uint64_t *l1;
    int rc;

    if (bytes > 0 && (offset <= 0 || offset > sh->end - bytes)) {
        return -EIO;
    }
    l1 = malloc((size_t)max_i64(bytes, 8));
    rc = l1 ? qcow2_co_read_table(sh->s, offset, l1, bytes) : -ENOMEM;
    for (uint32_t i = 0; rc == 0 && i < entries; i++) {
        l1[i] = load_be64(&l1[i]);
    }
    if (rc < 0) {
        free(l1);
        return rc;
    }
    *ret = l1;
    return 0;
}

int co_fn shadow_co_write_l1(struct shadow *sh, const uint64_t *l1,
                             uint32_t entries, int64_t *ret_offset)
{
    uint8_t *buf = malloc((size_t)max_i64((int64_t)entries * 8, 8));
    int rc;

    if (!buf) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < entries; i++) {
        store_be64(buf + (size_t)i * 8, l1[i]);
    }
    rc = shadow_co_write(sh, buf, (int64_t)entries * 8, ret_offset);
    free(buf);
    return rc;
}

int co_fn shadow_co_read_l2(struct shadow *sh, uint64_t e, uint8_t *buf)
{
    struct qcow2 *s = sh->s;
    int64_t offset = (int64_t)(e & QCOW2_OFFSET_MASK);

    if ((e & QCOW2_L1_RESERVED) || !is_aligned(offset, s->cluster_size) ||
        offset <= 0 || offset > sh->end - s->cluster_size) {
        return -EIO;
    }
    return qcow2_co_read_table(s, offset, buf, s->cluster_size); /* yields */
}

/* -- Beginning and end --------------------------------------------------- */

/* The refcount structure there is will not be needed. */
static int drop_old_structure(struct shadow *sh)
{
    const struct qcow2 *s = sh->s;
    int rc = shadow_count(sh, s->header.reftable_offset, s->reftable_n * 8, -1);

    for (int64_t i = 0; i < s->reftable_n && rc == 0; i++) {
        if (s->reftable[i]) {
            rc = shadow_count(sh, (int64_t)s->reftable[i], s->cluster_size, -1);
        }
    }
    return rc;
}

static void co_fn shadow_end(struct shadow *sh)
{
    qcow2_note_use(sh->s, 0, sh->end);
    counts_free(sh->delta);
    g_array_unref(sh->freed);
    co_mutex_unlock(&sh->s->meta);
}

int co_fn shadow_co_begin(struct shadow *sh, struct qcow2 *s)
{
    int rc = qcow2_co_begin_change(s); /* yields */

    rc = rc ? rc : qcow2_co_flush_all(s); /* yields */
    if (rc < 0) {
        return rc;
    }
    co_mutex_lock(&s->meta); /* yields */
    *sh = (struct shadow){
        .s = s,
        .header = s->header,
        .delta = counts_new(s->used_end >> s->cluster_bits),
        .hint = s->free_hint,
        .end = max_i64(s->used_end, cluster_up(s, node_length(s->file))),
        .freed = g_array_new(FALSE, FALSE, sizeof(struct host_range)),
    };
    rc = sh->delta ? drop_old_structure(sh) : -ENOMEM;
    if (rc < 0) {
        shadow_end(sh);
    }
    return rc;
}

void co_fn shadow_co_abort(struct shadow *sh)
{
    shadow_end(sh);
}

static void add_freed(struct shadow *sh, int64_t cluster)
{
    int64_t bytes = sh->s->cluster_size;
    struct host_range r = {cluster << sh->s->cluster_bits, bytes};
    struct host_range *last;

    if (sh->freed->len > 0) {
        last = &g_array_index(sh->freed, struct host_range, sh->freed->len - 1);
        if (last->offset + last->bytes == r.offset) {
            last->bytes += bytes;
            return;
        }
    }
    if (sh->freed->len < MAX_FREED) {
        g_array_append_val(sh->freed, r);
    }
}

/* Notes what nothing will use any more. */
static int co_fn find_freed(struct shadow *sh)
{
    int64_t end = counts_clusters(sh->delta);
    int64_t c = counts_next(sh->delta, 0, end);

    while (c < end) {
        int64_t delta = counts_get(sh->delta, c);
        uint64_t count;
        int rc;

        if (delta < 0) {
            rc = qcow2_co_refcount(sh->s, c, &count); /* yields */
            if (rc < 0) {
                return rc;
            }
            if (count == (uint64_t)-delta) {
                add_freed(sh, c);
            }
        }
        c = counts_next(sh->delta, c + 1, end);
    }
    return 0;
}

static void co_fn discard_freed(struct shadow *sh)
{
    for (guint i = 0; i < sh->freed->len; i++) {
        const struct host_range *r =
            &g_array_index(sh->freed, struct host_range, i);
        int64_t length = node_length(sh->s->file);

        if (r->offset < length) {
            /* A hint. */
            (void)!node_co_pdiscard(sh->s->file, r->offset,
                                    min_i64(r->bytes, length - r->offset));
        }
    }
}

static int co_fn write_counts(struct shadow *sh)
{
    struct recount r = {
        .s = sh->s,
        .order = sh->header.refcount_order,
        .opaque = sh,
        .get = new_counts,
        .next = next_counted,
        .alloc = take_room,
    };
    int rc = recount_co_write(&r); /* yields */

    sh->header.reftable_offset = r.table_offset;
    sh->header.reftable_clusters = (uint32_t)r.table_clusters;
    return rc;
}

/* Makes the new header the one that counts.  Its tables are read before it is
 * written: nothing has changed then if they cannot be. */
static int co_fn switch_over(struct shadow *sh)
{
    struct qcow2 *s = sh->s;
    struct qcow2_header old = s->header;
    int rc;

    s->header = sh->header;
    rc = qcow2_co_try_reload(s); /* yields */
    s->header = old;
    rc = rc ? rc : qcow2_co_switch_header(s, &sh->header); /* yields */
    if (rc < 0) {
        /* As it was; if that fails, too, nothing more is written. */
        (void)!qcow2_co_reload(s); /* yields */
    }
    return rc;
}

int co_fn shadow_co_commit(struct shadow *sh)
{
    int rc = write_counts(sh); /* yields */

    if (rc == 0 && sh->discard) {
        rc = find_freed(sh); /* yields */
    }
    rc = rc ? rc : switch_over(sh); /* yields */
    if (rc == 0) {
        discard_freed(sh); /* yields */
    }
    shadow_end(sh);
    return rc;
}
