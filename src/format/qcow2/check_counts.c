/* SPDX-License-Identifier: MIT */
/*
 * check_counts: what the image counts, against what was counted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/qcow2/check_priv.h"
#include "format/qcow2/recount.h"

#define REFTABLE_RESERVED UINT64_C(0x1ff)

/* -- On disk ------------------------------------------------------------- */

void check_let_go(struct check *c)
{
    if (c->held) {
        slice_put(c->held);
        c->held = NULL;
    }
}

/* Holds the slice at @offset instead of the one that was held. */
static int co_fn hold(struct check *c, int64_t offset)
{
    if (c->held && slice_offset(c->held) == offset) {
        return 0;
    }
    check_let_go(c);
    return cache_co_get(c->s->refcount_cache, offset, &c->held); /* yields */
}

/* The slice with the count of @cluster, held, and where in it that is; NULL
 * when there is no refcount block. */
static int co_fn disk_slice(struct check *c, int64_t cluster,
                            struct slice **ret, int64_t *ret_index)
{
    struct qcow2 *s = c->s;
    int64_t area = cluster >> s->block_bits;
    int64_t block = area < s->reftable_n ? (int64_t)s->reftable[area] : 0;
    int64_t bytes = cache_slice_bytes(s->refcount_cache);
    int64_t per_slice = bytes * 8 >> s->order;
    int64_t i = cluster & ((INT64_C(1) << s->block_bits) - 1);
    int rc;

    *ret = NULL;
    *ret_index = i % per_slice;
    if (block == 0) {
        return 0;
    }
    if (!is_aligned(block, s->cluster_size) || block < 0 ||
        block > BLOCK_MAX_LENGTH - s->cluster_size) {
        return -EIO;
    }
    rc = hold(c, block + i / per_slice * bytes); /* yields */
    *ret = c->held;
    return rc;
}

int co_fn check_disk_count(struct check *c, int64_t cluster, uint64_t *ret)
{
    struct slice *sl;
    int64_t i;
    int rc;

    if (c->agrees) {
        *ret = (uint64_t)counts_get(c->counts, cluster);
        return 0;
    }
    rc = disk_slice(c, cluster, &sl, &i); /* yields */
    if (rc < 0) {
        return rc;
    }
    *ret = 0;
    if (sl) {
        *ret = qcow2_refcount_load(slice_lock(sl), i, c->s->order);
        slice_unlock(sl);
    }
    return 0;
}

static int co_fn set_disk_count(struct check *c, int64_t cluster,
                                uint64_t count)
{
    struct slice *sl;
    uint8_t *data;
    int64_t i;
    int rc = disk_slice(c, cluster, &sl, &i); /* yields */

    if (rc < 0 || !sl) {
        return rc < 0 ? rc : -EIO;
    }
    (void)slice_lock(sl);
    data = slice_edit_locked(sl);
    if (data) {
        qcow2_refcount_store(data, i, c->s->order, count);
    }
    slice_unlock(sl);
    return data ? 0 : -ENOMEM;
}

static int co_fn write_disk_counts(struct check *c)
{
    struct capture cap = {.n = 0};
    int rc = cache_capture(c->s->refcount_cache, &cap);

    rc = rc ? rc : cache_co_write(c->s->refcount_cache, &cap); /* yields */
    return rc ? rc : node_co_flush(c->s->file);                /* yields */
}

/* -- The structure itself ------------------------------------------------ */

/* A refcount block behind the end of the file: all of its counts are 0 if the
 * file is made longer.  Returns 1 when it was. */
static int co_fn reach_block(struct check *c, int64_t i, int64_t offset)
{
    struct qcow2 *s = c->s;
    int rc = -EINVAL;

    check_report(c, "%s refcount block %" PRId64 " is outside image",
                 check_verb(c, IMAGE_FIX_ERRORS), i);
    if (!check_fixes(c, IMAGE_FIX_ERRORS)) {
        c->r->corruptions++;
        return 0;
    }
    if (offset >> s->cluster_bits < COUNTS_MAX_CLUSTERS - 1) {
        rc = node_co_truncate(s->file, offset + s->cluster_size, PREALLOC_OFF,
                              0, NULL); /* yields */
    }
    if (rc < 0) {
        c->r->corruptions++;
        c->rebuild = true;
        check_report(c, "ERROR could not resize image: %s", g_strerror(-rc));
        return 0;
    }
    c->r->corruptions_fixed++;
    c->length = node_length(s->file);
    return 1;
}

static int co_fn check_block(struct check *c, int64_t i)
{
    struct qcow2 *s = c->s;
    int64_t offset = (int64_t)(s->reftable[i] & ~REFTABLE_RESERVED);
    int rc;

    if (s->reftable[i] & REFTABLE_RESERVED) {
        c->r->corruptions++;
        c->rebuild = true;
        check_report(
            c, "ERROR refcount table entry %" PRId64 " has reserved bits set",
            i);
        return 0;
    }
    if (!is_aligned(offset, s->cluster_size)) {
        c->r->corruptions++;
        c->rebuild = true;
        check_report(c,
                     "ERROR refcount block %" PRId64
                     " is not cluster aligned; refcount table entry corrupted",
                     i);
        return 0;
    }
    if (offset < 0 || offset >= c->length) {
        rc = reach_block(c, i, offset); /* yields */
        if (rc <= 0) {
            return rc;
        }
    }
    rc = check_count(c, offset, s->cluster_size);
    if (rc == 0 && counts_get(c->counts, offset >> s->cluster_bits) != 1) {
        c->r->corruptions++;
        c->rebuild = true;
        check_report(c, "ERROR refcount block %" PRId64 " refcount=%" PRId64, i,
                     counts_get(c->counts, offset >> s->cluster_bits));
    }
    return rc;
}

int co_fn check_structure(struct check *c)
{
    int rc = 0;

    for (int64_t i = 0; i < c->s->reftable_n && rc == 0; i++) {
        rc = c->s->reftable[i] ? check_block(c, i) : 0; /* yields */
    }
    return rc;
}

/* -- Comparing ----------------------------------------------------------- */

/* Has @cluster a count that may be other than 0, here or on disk?  If not,
 * returns the next one that may. */
static int64_t next_counted(const struct check *c, int64_t cluster)
{
    const struct qcow2 *s = c->s;
    int64_t area = cluster >> s->block_bits;

    for (; area < s->reftable_n && !s->reftable[area]; area++) {
        int64_t end = (area + 1) << s->block_bits;
        int64_t next = counts_next(c->counts, cluster, end);

        if (next < end) {
            return next;
        }
        cluster = end;
    }
    return area < s->reftable_n ? cluster
                                : counts_next(c->counts, cluster, INT64_MAX);
}

/* One cluster whose counts differ: @there on disk, @want. */
static int co_fn differs(struct check *c, unsigned fix, int64_t cluster,
                         uint64_t there, uint64_t want)
{
    bool leak = there > want;
    bool fixes = leak ? (fix & IMAGE_FIX_LEAKS) != 0
                      : (fix & IMAGE_FIX_ERRORS) && there > 0;

    check_report(
        c, "%s cluster %" PRId64 " refcount=%" PRIu64 " reference=%" PRIu64,
        fixes  ? "Repairing"
        : leak ? "Leaked"
               : "ERROR",
        cluster, there, want);
    if (there == 0) {
        c->rebuild = true; /* it may have no block at all */
    }
    if (fixes && leak) {
        c->r->leaks_fixed++;
    } else if (fixes) {
        c->r->corruptions_fixed++;
    } else if (leak) {
        c->r->leaks++;
    } else {
        c->r->corruptions++;
    }
    return fixes ? set_disk_count(c, cluster, want) : 0;
}

static int co_fn compare_cluster(struct check *c, unsigned fix, int64_t cluster,
                                 bool *agrees)
{
    uint64_t want = (uint64_t)counts_get(c->counts, cluster);
    uint64_t there;
    int rc = check_disk_count(c, cluster, &there); /* yields */

    if (rc < 0) {
        *agrees = false;
        check_report(c, "Can't get refcount for cluster %" PRId64 ": %s",
                     cluster, g_strerror(-rc));
        c->r->check_errors++;
        return 0;
    }
    if (there > 0 || want > 0) {
        c->r->image_end_offset = (cluster + 1) << c->s->cluster_bits;
    }
    if (there == want) {
        return 0;
    }
    *agrees = false;
    return differs(c, fix, cluster, there, want); /* yields */
}

int co_fn check_compare(struct check *c, unsigned fix)
{
    int64_t end =
        max_i64(clusters_of(c->s, c->length), counts_clusters(c->counts));
    bool agrees = true;
    int rc = 0;

    c->agrees = false;
    for (int64_t i = next_counted(c, 0); i < end && rc == 0;
         i = next_counted(c, i + 1)) {
        rc = compare_cluster(c, fix, i, &agrees); /* yields */
    }
    check_let_go(c);
    /* A reference that was found to be wrong may not have been counted. */
    c->agrees =
        rc == 0 && agrees && c->r->corruptions == 0 && c->r->check_errors == 0;
    return rc || !fix ? rc : write_disk_counts(c); /* yields */
}

/* -- Rebuilding ---------------------------------------------------------- */

static int co_fn get_counts(void *opaque, int64_t first, int64_t n,
                            uint64_t *ret)
{
    const struct check *c = opaque;

    for (int64_t i = 0; i < n; i++) {
        ret[i] = (uint64_t)counts_get(c->counts, first + i);
    }
    return 0;
}

static int64_t next_count(void *opaque, int64_t cluster)
{
    const struct check *c = opaque;
    int64_t i = counts_next(c->counts, cluster, INT64_MAX);

    return i < INT64_MAX ? i : -1;
}

/* The first clusters in a row that nothing refers to. */
static int co_fn take_unused(void *opaque, int64_t clusters,
                             int64_t *ret_offset)
{
    struct check *c = opaque;
    struct qcow2 *s = c->s;
    int64_t first = c->unused, n = 0;
    int rc;

    while (n < clusters) {
        if (counts_get(c->counts, first + n)) {
            first += n + 1;
            n = 0;
        } else {
            n++;
        }
    }
    rc = counts_reach(c->counts, first + n);
    for (int64_t i = 0; i < n && rc == 0; i++) {
        rc = counts_add(c->counts, first + i, 1);
    }
    c->unused = clusters == 1 ? first + 1 : c->unused;
    *ret_offset = first << s->cluster_bits;
    qcow2_note_use(s, *ret_offset, n << s->cluster_bits);
    return rc ? rc : qcow2_co_reach(s, *ret_offset + (n << s->cluster_bits));
}

static int co_fn name_table(struct check *c, const struct recount *r)
{
    struct qcow2_header to = c->s->header;

    to.reftable_offset = r->table_offset;
    to.reftable_clusters = (uint32_t)r->table_clusters;
    return check_switch_header(c, &to); /* yields */
}

int co_fn check_rebuild(struct check *c)
{
    struct qcow2 *s = c->s;
    struct recount r = {
        .s = s,
        .order = s->order,
        .opaque = c,
        .get = get_counts,
        .next = next_count,
        .alloc = take_unused,
    };
    int rc;

    check_report(c, "Rebuilding refcount structure");
    c->unused = 0;
    rc = recount_co_write(&r);        /* yields */
    rc = rc ? rc : name_table(c, &r); /* yields */
    c->length = node_length(s->file);
    return rc ? rc : qcow2_co_reload(s); /* yields */
}
