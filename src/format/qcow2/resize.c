/* SPDX-License-Identifier: MIT */
/*
 * resize: a longer or a shorter disk.
 *
 * Longer: the L1 table gets room first, then clusters are preallocated if they
 * are to be, then the size in the header changes.  What the disk gains reads
 * as zeroes, also where the last cluster has old data behind the end of the
 * disk or where the backing file is longer than the disk was.
 *
 * Shorter: the size changes last as well, after clusters behind it were given
 * back; then the end of the file is cut off.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "format/qcow2/bitmaps.h"
#include "format/qcow2/ops.h"
#include "format/qcow2/qcow2.h"
#include "format/qcow2/snapshots.h"

#define SECTOR 512

/* -- The L1 table -------------------------------------------------------- */

static int co_fn write_l1(struct qcow2 *s, int64_t offset, uint32_t entries)
{
    int64_t bytes = cluster_up(s, (int64_t)entries * 8);
    uint8_t *buf = calloc(1, (size_t)bytes);
    int rc;

    if (!buf) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < entries; i++) {
        store_be64(buf + (size_t)i * 8, qcow2_l1_get(s, i));
    }
    rc = qcow2_co_reach(s, offset + bytes);
    node_event(s->file, EVENT_L1_GROW_WRITE_TABLE);
    rc = rc ? rc : qcow2_co_write_table(s, offset, buf, bytes); /* yields */
    free(buf);
    return rc;
}

static int co_fn name_l1(struct qcow2 *s, int64_t offset, uint32_t entries)
{
    struct qcow2_header to = s->header;

    to.l1_offset = offset;
    to.l1_entries = entries;
    node_event(s->file, EVENT_L1_GROW_ACTIVATE_TABLE);
    return qcow2_co_switch_header(s, &to); /* yields */
}

static int co_fn grow_l1_at(struct qcow2 *s, int64_t offset, uint32_t entries)
{
    int64_t bytes = (int64_t)entries * 8;
    int rc = qcow2_co_guard_new(s, offset, bytes, GUARD_L1);

    /* Nothing in the table may be ahead of what it refers to, and nobody may
     * be writing the old one. */
    rc = rc ? rc : qcow2_co_write_counts(s); /* yields */
    if (rc < 0) {
        return rc;
    }
    co_mutex_lock(&s->writeback); /* yields */
    rc = write_l1(s, offset, entries);
    rc = rc ? rc : qcow2_set_l1_size(s, entries);
    rc = rc ? rc : name_l1(s, offset, entries); /* yields */
    co_mutex_unlock(&s->writeback);
    return rc;
}

int co_fn qcow2_co_grow_l1(struct qcow2 *s, uint32_t entries)
{
    int64_t old_offset = s->header.l1_offset;
    int64_t old_bytes = (int64_t)s->header.l1_entries * 8;
    int64_t clusters = clusters_of(s, (int64_t)entries * 8);
    int64_t offset;
    int rc;

    if (entries <= s->header.l1_entries) {
        return 0;
    }
    node_event(s->file, EVENT_L1_GROW_ALLOC_TABLE);
    rc = qcow2_co_alloc_run(s, clusters, &offset); /* yields */
    if (rc < 0) {
        return rc;
    }
    rc = grow_l1_at(s, offset, entries); /* yields */
    if (rc < 0) {
        guard_remove(s->guard, offset, (int64_t)entries * 8);
        qcow2_co_unalloc(s, offset, clusters); /* yields */
    } else if (old_bytes > 0) {
        guard_remove(s->guard, old_offset, old_bytes);
        qcow2_co_unalloc(s, old_offset, clusters_of(s, old_bytes));
    }
    return rc;
}

/* -- What is behind the end ---------------------------------------------- */

void co_fn qcow2_co_drop_tables(struct qcow2 *s, int64_t length)
{
    int64_t first = qcow2_l1_entries_for(&s->header, length);

    co_mutex_lock(&s->meta); /* yields */
    co_mutex_lock(&s->writeback);
    for (int64_t i = first; i < s->header.l1_entries; i++) {
        uint64_t e = qcow2_l1_get(s, i);

        if (e) {
            int64_t table = (int64_t)(e & QCOW2_OFFSET_MASK);

            qcow2_l1_set(s, i, 0);
            if (e & QCOW2_COPIED) {
                cache_forget(s->l2_cache, table, s->cluster_size);
            }
            qcow2_free(s, table, s->cluster_size, QCOW2_FREE_SHRINK);
        }
    }
    co_mutex_unlock(&s->writeback);
    co_mutex_unlock(&s->meta);
}

/* Forgets all that is mapped behind @length: the disk's end, VM state. */
static int co_fn drop_behind(struct qcow2 *s, int64_t length)
{
    int64_t first = cluster_up(s, length);
    int64_t end = qcow2_mappable_end(s);
    int rc = 0;

    if (first < end) {
        rc = qcow2_co_unmap(s, first, end - first, QCOW2_FREE_SHRINK);
    }
    rc = rc ? rc : qcow2_co_flush_all(s); /* yields */
    if (rc == 0) {
        qcow2_co_drop_tables(s, length); /* yields */
        rc = qcow2_co_flush_all(s);      /* yields */
    }
    return rc;
}

/* -- Longer -------------------------------------------------------------- */

/* VM state would become a part of the disk: it is void when that reaches so
 * far.  Another place for it lets the backing file show here. */
static int co_fn give_up_vm_state(struct qcow2 *s, int64_t old, int64_t length)
{
    int64_t at = s->vm_state_at;
    int rc = 0;

    if (length > at && qcow2_mappable_end(s) > max_i64(at, old)) {
        rc = drop_behind(s, old); /* yields */
    }
    if (rc == 0) {
        qcow2_place_vm_state(s, length);
    }
    return rc;
}

/* In a data file all behind the disk's end is to be zeroes, so VM state there
 * is void whatever the length. */
static int co_fn cut_data_file(struct qcow2 *s, int64_t old)
{
    int rc = 0;

    if (!s->external || qcow2_mappable_end(s) <= max_i64(s->vm_state_at, old)) {
        return 0;
    }
    rc = drop_behind(s, old); /* yields */
    if (rc == 0 && node_length(s->data) > old) {
        rc = node_co_truncate(s->data, old, PREALLOC_OFF, 0, NULL);
    }
    return rc;
}

/* The bytes behind the old end of the disk that may not be zeroes. */
static int co_fn zero_gained(struct qcow2 *s, int64_t old, int64_t length)
{
    const struct node *backing = node_child(s->node, "backing");
    int64_t end = cluster_up(s, old);

    if (backing) {
        end = max_i64(end, node_length(backing));
    }
    end = min_i64(end, length);
    if (end <= old || qcow2_co_is_zero(s, old, end - old)) {
        return 0;
    }
    return qcow2_co_zero(s, old, end - old, 0); /* yields */
}

static int co_fn resize_data_file(struct qcow2 *s, int64_t length,
                                  enum prealloc_mode prealloc, GError **err)
{
    if (!s->external || node_length(s->data) == length) {
        return 0;
    }
    if (prealloc == PREALLOC_METADATA || length < node_length(s->data)) {
        prealloc = PREALLOC_OFF;
    }
    return node_co_truncate(s->data, length, prealloc, 0, err); /* yields */
}

static int co_fn grow(struct qcow2 *s, int64_t old, int64_t length,
                      enum prealloc_mode prealloc, GError **err)
{
    int64_t entries = qcow2_l1_entries_for(&s->header, length);
    int rc;

    if (entries > QCOW2_MAX_L1_BYTES / 8) {
        return error_set(err, -EFBIG,
                         "%s: %" PRId64
                         " bytes are too many for clusters of %" PRId64
                         "; create it with a larger cluster_size",
                         node_filename(s->node), length, s->cluster_size);
    }
    rc = cut_data_file(s, old); /* yields */
    if (rc < 0) {
        return error_set_errno(err, rc, "%s: cannot drop its VM state",
                               node_filename(s->node));
    }
    rc = resize_data_file(s, length, prealloc, err); /* yields */
    if (rc < 0) {
        return rc;
    }
    rc = give_up_vm_state(s, old, length); /* yields */
    if (rc == 0) {
        co_mutex_lock(&s->meta);                     /* yields */
        rc = qcow2_co_grow_l1(s, (uint32_t)entries); /* yields */
        co_mutex_unlock(&s->meta);
    }
    rc = rc ? rc : zero_gained(s, old, length); /* yields */
    if (rc == 0 && prealloc != PREALLOC_OFF) {
        rc = qcow2_co_preallocate(s, old, length, prealloc); /* yields */
    }
    rc = rc ? rc : qcow2_co_flush_all(s); /* yields */
    if (rc < 0) {
        return error_set_errno(err, rc, "%s: cannot make it longer",
                               node_filename(s->node));
    }
    return 0;
}

/* -- Shorter ------------------------------------------------------------- */

int co_fn qcow2_co_cut_file(struct qcow2 *s)
{
    int64_t clusters;
    int rc;

    co_mutex_lock(&s->meta); /* yields */
    rc = qcow2_co_used(s, clusters_of(s, node_length(s->file)),
                       &clusters); /* yields */
    clusters = max_i64(clusters, 1);
    if (rc == 0 && clusters << s->cluster_bits < node_length(s->file)) {
        rc = node_co_truncate(s->file, clusters << s->cluster_bits,
                              PREALLOC_OFF, 0, NULL); /* yields */
        if (rc == 0) {
            s->used_end = clusters << s->cluster_bits;
        }
    }
    co_mutex_unlock(&s->meta);
    return rc;
}

static int co_fn shrink(struct qcow2 *s, int64_t length, GError **err)
{
    int rc = drop_behind(s, length); /* yields */

    if (rc < 0) {
        return error_set_errno(err, rc, "%s: cannot make it shorter",
                               node_filename(s->node));
    }
    return resize_data_file(s, length, PREALLOC_OFF, err); /* yields */
}

/* -- Either -------------------------------------------------------------- */

static int co_fn check_snapshots(struct qcow2 *s, GError **err)
{
    struct qcow2_snapshots t;
    int rc = qcow2_co_load_snapshots(s, NULL, NULL, &t, err); /* yields */

    if (rc == 0) {
        rc = qcow2_snapshots_check_sizes(s, &t, err);
        qcow2_snapshots_fini(&t);
    }
    return rc;
}

static int co_fn check_resize(struct qcow2 *s, int64_t length,
                              enum prealloc_mode prealloc, GError **err)
{
    const char *filename = node_filename(s->node);

    if (length % SECTOR != 0) {
        return error_set(err, -EINVAL,
                         "%s: a size of %" PRId64
                         " bytes is no multiple of 512",
                         filename, length);
    }
    if (s->header.version == 2 && s->header.n_snapshots > 0) {
        return error_set(err, -EOPNOTSUPP,
                         "%s: has snapshots, which in version 2 all have the "
                         "same size; amend it to compat=1.1 first",
                         filename);
    }
    if (s->encrypted && prealloc != PREALLOC_OFF && s->header.version == 2) {
        return error_set(err, -EOPNOTSUPP,
                         "%s: is encrypted, and version 2 cannot tell that a "
                         "preallocated cluster has no data; amend it to "
                         "compat=1.1 first, or leave out preallocation",
                         filename);
    }
    return s->header.n_snapshots > 0 ? check_snapshots(s, err) : 0;
}

static int co_fn set_size(struct qcow2 *s, int64_t length, GError **err)
{
    struct qcow2_header to;
    int rc;

    co_mutex_lock(&s->meta); /* yields */
    to = s->header;
    to.size = length;
    rc = qcow2_co_switch_header(s, &to); /* yields */
    if (rc < 0) {
        error_set_errno(err, rc, "%s: cannot write its header",
                        node_filename(s->node));
    } else {
        node_set_length(s->node, length);
    }
    co_mutex_unlock(&s->meta);
    return rc;
}

int co_fn qcow2_co_truncate(struct node *node, int64_t length,
                            enum prealloc_mode prealloc, unsigned flags,
                            GError **err)
{
    struct qcow2 *s = qcow2_of(node);
    int64_t old = s->header.size;
    int rc = check_resize(s, length, prealloc, err); /* yields */

    if (rc < 0) {
        return rc;
    }
    rc = qcow2_co_begin_change(s); /* yields */
    if (rc < 0) {
        return error_set_errno(err, rc, "%s", node_filename(node));
    }
    rc = qcow2_co_bitmaps_begin_resize(s, length, err); /* yields */
    if (rc < 0) {
        return rc;
    }
    if (s->data_raw && prealloc == PREALLOC_OFF) {
        prealloc = PREALLOC_METADATA; /* all of it is seen in that file */
    }
    rc = length > old ? grow(s, old, length, prealloc, err)
                      : shrink(s, length, err); /* yields */
    rc = rc ? rc : set_size(s, length, err);    /* yields */
    qcow2_place_vm_state(s, s->header.size);
    if (rc == 0) {
        qcow2_bitmaps_resized(s);
    }
    if (rc == 0 && length < old) {
        (void)!qcow2_co_cut_file(s); /* yields */
    }
    return rc;
}
