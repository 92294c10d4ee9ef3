/* SPDX-License-Identifier: MIT */
/*
 * snapshot: take, apply and delete internal snapshots.
 *
 * A snapshot has an L1 table of its own, whose L2 tables and clusters it
 * shares with the active one and with other snapshots.  Every L1 table counts
 * as a reference to each of its L2 tables and to each cluster that those name.
 * An entry of the active tables that is marked "copied" names something that
 * counts 1, which may be written in place.
 *
 * All of that must agree at any moment, also after a crash, so each operation
 * is a shadow (shadow.h) and changes no table in place.
 *
 * Machine state, which other programs store behind the end of the disk, comes
 * along: it is in the L1 tables like everything else.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "format/qcow2/bitmaps.h"
#include "format/qcow2/ops.h"
#include "format/qcow2/qcow2.h"
#include "format/qcow2/shadow.h"
#include "format/qcow2/snapshots.h"
#include "format/qcow2/turn.h"

/* -- What all of them need ----------------------------------------------- */

/* Adds @delta to all that an L1 table refers to, and not to where it is. */
static int co_fn count_all(struct turn *t, const uint64_t *l1, uint32_t n,
                           int delta)
{
    int rc = 0;

    for (uint32_t i = 0; i < n && rc == 0; i++) {
        if (l1[i] == 0) {
            continue;
        }
        rc = shadow_co_read_l2(&t->sh, l1[i], t->l2); /* yields */
        rc = rc ? rc : shadow_count_table(&t->sh, t->l2, delta);
        rc = rc ? rc
                : shadow_count(&t->sh, (int64_t)(l1[i] & QCOW2_OFFSET_MASK),
                               t->s->cluster_size, delta);
    }
    return rc;
}

/* Clears all marks in t->l2.  Returns whether there was any. */
static bool clear_marks(struct turn *t)
{
    bool any = false;

    for (int i = 0; i < 1 << t->s->table_bits; i++) {
        any = turn_mark_entry(t, i, false) || any;
    }
    return any;
}

/* -- Taking one ---------------------------------------------------------- */

static char *new_id(const struct qcow2_snapshots *table)
{
    uint64_t max = 0;

    for (int i = 0; i < (int)table->list->len; i++) {
        const char *id = qcow2_snapshots_at(table, i)->info.id;

        max = MAX(max, g_ascii_strtoull(id, NULL, 10));
    }
    return g_strdup_printf("%" PRIu64, max + 1);
}

static int check_new(struct turn *t, const char *name, GError **err)
{
    const char *filename = node_filename(t->s->node);

    if (strlen(name) > SNAPSHOT_MAX_NAME_BYTES) {
        return error_set(err, -EINVAL,
                         "%s: the name of a snapshot can have %d bytes",
                         filename, SNAPSHOT_MAX_NAME_BYTES);
    }
    if (t->table.list->len >= QCOW2_MAX_SNAPSHOTS) {
        return error_set(err, -EFBIG,
                         "%s: has %d snapshots, more are not possible; delete "
                         "some first",
                         filename, QCOW2_MAX_SNAPSHOTS);
    }
    return 0;
}

/* Lets the new snapshot share the L2 table that t->l1[@i] names.  One that has
 * marks is replaced by one that has none. */
static int co_fn share_table(struct turn *t, uint32_t i)
{
    int64_t old = (int64_t)(t->l1[i] & QCOW2_OFFSET_MASK);
    int64_t place = old;
    int rc = shadow_co_read_l2(&t->sh, t->l1[i], t->l2); /* yields */

    rc = rc ? rc : shadow_count_table(&t->sh, t->l2, 1);
    if (rc == 0 && clear_marks(t)) {
        rc = shadow_co_write(&t->sh, t->l2, t->s->cluster_size, &place);
        rc = rc ? rc : shadow_count(&t->sh, old, t->s->cluster_size, -1);
    }
    t->l1[i] = (uint64_t)place;
    return rc ? rc : shadow_count(&t->sh, place, t->s->cluster_size, 1);
}

static int co_fn take_snapshot(struct turn *t, const char *name, GError **err)
{
    gint64 now = g_get_real_time();
    struct qcow2_snapshot sn = {.l1_entries = t->s->header.l1_entries};
    int rc = check_new(t, name, err);

    rc = rc ? rc : turn_copy_active(t);
    for (uint32_t i = 0; rc == 0 && i < t->l1_entries; i++) {
        rc = t->l1[i] ? share_table(t, i) : 0; /* yields */
    }
    rc = rc ? rc : turn_co_write_active(t); /* yields */
    rc = rc ? rc
            : shadow_co_write_l1(&t->sh, t->l1, t->l1_entries, &sn.l1_offset);
    if (rc < 0) {
        return rc;
    }
    sn.info = (struct image_snapshot){
        .id = new_id(&t->table),
        .name = g_strdup(name),
        .date_sec = now / G_USEC_PER_SEC,
        .date_nsec = now % G_USEC_PER_SEC * 1000,
        .disk_bytes = t->s->header.size,
    };
    g_array_append_val(t->table.list, sn);
    return turn_co_write_snapshots(t, err); /* yields */
}

int co_fn qcow2_co_snapshot_create(struct node *node, const char *name,
                                   GError **err)
{
    struct turn t;
    int rc = turn_co_begin(&t, qcow2_of(node), err); /* yields */

    if (rc < 0) {
        return rc;
    }
    rc = take_snapshot(&t, name, err); /* yields */
    return turn_co_end(&t, rc, err);   /* yields */
}

/* -- Deleting one -------------------------------------------------------- */

static int co_fn delete_snapshot(struct turn *t, const char *id, GError **err)
{
    const struct qcow2_snapshot *sn;
    uint64_t *l1 = NULL;
    int i = 0;
    int rc = qcow2_snapshots_find(t->s, &t->table, id, &i, err);

    if (rc < 0) {
        return rc;
    }
    sn = qcow2_snapshots_at(&t->table, i);
    rc = shadow_co_read_l1(&t->sh, sn->l1_offset, sn->l1_entries, &l1);
    rc = rc ? rc : count_all(t, l1, sn->l1_entries, -1); /* yields */
    rc = rc ? rc
            : shadow_count(&t->sh, sn->l1_offset, (int64_t)sn->l1_entries * 8,
                           -1);
    free(l1);
    g_array_remove_index(t->table.list, (guint)i);
    rc = rc ? rc : turn_co_mark_active(t); /* yields */
    return rc ? rc : turn_co_write_snapshots(t, err);
}

int co_fn qcow2_co_snapshot_delete(struct node *node, const char *id,
                                   GError **err)
{
    struct turn t;
    int rc = turn_co_begin(&t, qcow2_of(node), err); /* yields */

    if (rc < 0) {
        return rc;
    }
    t.sh.discard = t.s->passes_discard[QCOW2_FREE_SNAPSHOT];
    rc = delete_snapshot(&t, id, err); /* yields */
    return turn_co_end(&t, rc, err);   /* yields */
}

/* -- Going back to one --------------------------------------------------- */

/* Lets the active table, in t->l1[@i], use a table of the snapshot.  One that
 * has marks, which mean nothing there, is copied. */
static int co_fn use_table(struct turn *t, uint32_t i)
{
    int64_t place = (int64_t)(t->l1[i] & QCOW2_OFFSET_MASK);
    int rc = shadow_co_read_l2(&t->sh, t->l1[i], t->l2); /* yields */

    rc = rc ? rc : shadow_count_table(&t->sh, t->l2, 1);
    if (rc == 0 && clear_marks(t)) {
        rc = shadow_co_write(&t->sh, t->l2, t->s->cluster_size, &place);
        t->l1[i] = (uint64_t)place | QCOW2_COPIED;
        return rc;
    }
    t->l1[i] = (uint64_t)place;
    return rc ? rc : shadow_count(&t->sh, place, t->s->cluster_size, 1);
}

/* Makes t->l1 the table of @sn, with room for its whole disk. */
static int co_fn copy_snapshot(struct turn *t, const struct qcow2_snapshot *sn)
{
    int64_t need = qcow2_l1_entries_for(&t->s->header, sn->info.disk_bytes);
    int64_t n = max_i64(need, sn->l1_entries);
    uint64_t *l1 = NULL;
    int rc = n > QCOW2_MAX_L1_BYTES / 8 ? -EFBIG : 0;

    rc =
        rc ? rc : shadow_co_read_l1(&t->sh, sn->l1_offset, sn->l1_entries, &l1);
    if (rc < 0) {
        return rc;
    }
    t->l1_entries = (uint32_t)n;
    t->l1 = calloc((size_t)max_i64(n, 1), 8);
    if (t->l1) {
        memcpy(t->l1, l1, (size_t)sn->l1_entries * 8);
    }
    free(l1);
    return t->l1 ? 0 : -ENOMEM;
}

static int co_fn drop_active(struct turn *t)
{
    int rc = turn_copy_active(t);

    rc = rc ? rc : count_all(t, t->l1, t->l1_entries, -1); /* yields */
    free(t->l1);
    t->l1 = NULL;
    return rc;
}

/* Can the disk get the size it has in @sn? */
static int check_size(const struct turn *t, const struct qcow2_snapshot *sn,
                      GError **err)
{
    if (sn->info.disk_bytes == t->s->header.size) {
        return 0;
    }
    if (t->s->header.version == 2) {
        return error_set(err, -EOPNOTSUPP,
                         "%s: its disk has another size in snapshot '%s', "
                         "which version 2 cannot have; amend it to compat=1.1 "
                         "first",
                         node_filename(t->s->node), sn->info.name);
    }
    return qcow2_snapshots_check_sizes(t->s, &t->table, err);
}

static int co_fn apply_snapshot(struct turn *t, const char *id, GError **err)
{
    const struct qcow2_snapshot *sn;
    int i = 0;
    int rc = qcow2_snapshots_find(t->s, &t->table, id, &i, err);

    if (rc < 0) {
        return rc;
    }
    sn = qcow2_snapshots_at(&t->table, i);
    rc = check_size(t, sn, err);
    rc = rc ? rc : drop_active(t);       /* yields */
    rc = rc ? rc : copy_snapshot(t, sn); /* yields */
    for (uint32_t k = 0; rc == 0 && k < t->l1_entries; k++) {
        rc = t->l1[k] ? use_table(t, k) : 0; /* yields */
    }
    t->sh.header.size = sn->info.disk_bytes;
    return rc ? rc : turn_co_write_active(t); /* yields */
}

int co_fn qcow2_co_snapshot_apply(struct node *node, const char *id,
                                  GError **err)
{
    struct turn t;
    int rc;

    if (qcow2_has_bitmaps(qcow2_of(node))) {
        return error_set(err, -EBUSY,
                         "%s: has bitmaps, which cannot go back with it; "
                         "remove them first",
                         node_filename(node));
    }
    rc = turn_co_begin(&t, qcow2_of(node), err); /* yields */
    if (rc < 0) {
        return rc;
    }
    rc = apply_snapshot(&t, id, err); /* yields */
    return turn_co_end(&t, rc, err);  /* yields */
}
