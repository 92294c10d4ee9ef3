/* SPDX-License-Identifier: MIT */
/*
 * open_writing: what an image that is written to has in memory beside its
 * tables: where they all are, so that nothing overwrites them, and where the
 * file has not been used yet.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/endian.h"
#include "base/error.h"
#include "format/qcow2/bitmaps.h"
#include "format/qcow2/qcow2.h"
#include "format/qcow2/snapshots.h"

/* Counts the tables that the guard will have to hold, about. */
static int64_t count_tables(struct qcow2 *s)
{
    int64_t n = 16 + s->header.reftable_clusters +
                clusters_of(s, (int64_t)s->header.l1_entries * 8);

    for (uint32_t i = 0; i < s->header.l1_entries; i++) {
        n += qcow2_l1_get(s, i) != 0;
    }
    for (int64_t i = 0; i < s->reftable_n; i++) {
        n += s->reftable[i] != 0;
    }
    return n;
}

/* Adds a range; an overlap with what is there already makes @*clash true. */
static int guard_known(struct qcow2 *s, int64_t offset, int64_t bytes,
                       enum guard_what what, bool *clash)
{
    int rc;

    if (offset < 0 || offset >= BLOCK_MAX_LENGTH - bytes) {
        *clash = true;
        return 0;
    }
    rc = guard_add(s->guard, offset, bytes, what);
    *clash = *clash || rc > 0;
    return rc < 0 ? rc : 0;
}

static int guard_tables(struct qcow2 *s, bool *clash)
{
    const struct qcow2_header *h = &s->header;
    int rc = guard_known(s, 0, s->cluster_size, GUARD_HEADER, clash);

    rc = rc ? rc
            : guard_known(s, h->l1_offset, (int64_t)h->l1_entries * 8, GUARD_L1,
                          clash);
    rc = rc ? rc
            : guard_known(s, h->reftable_offset, s->reftable_n * 8,
                          GUARD_REFTABLE, clash);
    if (rc == 0 && qcow2_has_bitmaps(s)) {
        rc = guard_known(s, h->bitmaps.directory_offset,
                         h->bitmaps.directory_bytes, GUARD_BITMAPS, clash);
    }
    rc = rc ? rc
            : guard_known(s, h->crypt_header.offset, h->crypt_header.bytes,
                          GUARD_CRYPT, clash);
    for (int64_t i = 0; i < s->reftable_n && rc == 0; i++) {
        if (s->reftable[i]) {
            rc = guard_known(s, (int64_t)s->reftable[i], s->cluster_size,
                             GUARD_REFBLOCK, clash);
        }
    }
    for (uint32_t i = 0; i < h->l1_entries && rc == 0; i++) {
        int64_t table = (int64_t)(qcow2_l1_get(s, i) & QCOW2_OFFSET_MASK);

        if (table) {
            rc = guard_known(s, table, s->cluster_size, GUARD_L2, clash);
        }
    }
    return rc;
}

/* How much of a snapshot's L1 table is in the file.  What is not was never
 * written, and those of all snapshots may be more than memory can tell. */
static int64_t old_l1_bytes(const struct qcow2 *s,
                            const struct qcow2_snapshot *sn)
{
    int64_t there = align_up(node_length(s->file), 8) - sn->l1_offset;

    return min_i64((int64_t)sn->l1_entries * 8, max_i64(there, 0));
}

/* The L2 tables of a snapshot.  Most are those of others as well, and are
 * guarded as such. */
static int co_fn guard_old_tables(struct qcow2 *s,
                                  const struct qcow2_snapshot *sn)
{
    int64_t bytes = old_l1_bytes(s, sn);
    uint64_t *l1 = malloc((size_t)max_i64(bytes, 8));
    int rc = l1 ? qcow2_co_read_table(s, sn->l1_offset, l1, bytes) : -ENOMEM;

    for (int64_t i = 0; i < bytes / 8 && rc >= 0; i++) {
        int64_t table = (int64_t)(load_be64(&l1[i]) & QCOW2_OFFSET_MASK);

        if (table) {
            rc = guard_add(s->guard, table, s->cluster_size, GUARD_OLD_L2);
        }
    }
    free(l1);
    return rc < 0 ? rc : 0;
}

/* The snapshot table, and the tables of each snapshot whose L1 table is where
 * one can be. */
static int co_fn guard_snapshots(struct qcow2 *s,
                                 const struct qcow2_snapshots *t, bool *clash)
{
    int rc = guard_known(s, s->header.snapshots_offset, t->bytes,
                         GUARD_SNAPSHOTS, clash);

    for (int i = 0; i < (int)t->list->len && rc == 0; i++) {
        const struct qcow2_snapshot *sn = qcow2_snapshots_at(t, i);

        if (!qcow2_snapshot_bad_l1(s, sn)) {
            rc = guard_known(s, sn->l1_offset, old_l1_bytes(s, sn),
                             GUARD_OLD_L1, clash);
            if (rc == 0 && (s->guarded >> GUARD_OLD_L2 & 1)) {
                rc = guard_old_tables(s, sn); /* yields */
            }
        }
    }
    return rc;
}

static int co_fn load_and_guard_snapshots(struct qcow2 *s, bool *clash,
                                          GError **err)
{
    struct qcow2_snapshots t;
    GError *why = NULL;
    int rc = qcow2_co_load_snapshots(s, NULL, NULL, &t, &why); /* yields */

    if (rc < 0) {
        if (node_flags(s->node) & NODE_CHECK) {
            g_clear_error(&why); /* it will find that, too */
            return 0;
        }
        g_propagate_error(err, why);
        return rc;
    }
    rc = guard_snapshots(s, &t, clash); /* yields */
    qcow2_snapshots_fini(&t);
    return rc ? error_set_errno(err, rc, "%s", node_filename(s->node)) : 0;
}

int co_fn qcow2_co_prepare_writing(struct qcow2 *s, GError **err)
{
    bool clash = false;
    int rc;

    guard_free(s->guard);
    s->guard = guard_new(s->cluster_bits, count_tables(s));
    rc = s->guard ? guard_tables(s, &clash) : -ENOMEM;
    if (rc < 0) {
        return error_set_errno(err, rc, "%s", node_filename(s->node));
    }
    rc = load_and_guard_snapshots(s, &clash, err); /* yields */
    if (rc < 0) {
        return rc;
    }
    s->free_hint = 0;
    s->packed_next = 0;
    s->used_end = cluster_up(s, node_length(s->file));
    s->fresh_is_zero = (node_driver(s->file)->traits & DRIVER_GROWS) != 0;
    if (clash && !(node_flags(s->node) & NODE_CHECK)) {
        return error_set(err, -EIO,
                         "%s: its tables overlap each other; it can only be "
                         "read: try 'check -r all', or convert it",
                         node_filename(s->node));
    }
    return 0;
}
