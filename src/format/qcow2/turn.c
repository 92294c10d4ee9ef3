/* SPDX-License-Identifier: MIT */

#include "format/qcow2/turn.h"

#include <errno.h>
#include <stdlib.h>

#include "base/error.h"

/* -- Beginning and end --------------------------------------------------- */

static int check_possible(struct qcow2 *s, GError **err)
{
    if (s->external) {
        return error_set(err, -EOPNOTSUPP,
                         "%s: has an external data file, so it cannot have "
                         "snapshots inside",
                         node_filename(s->node));
    }
    return 0;
}

int co_fn turn_co_begin(struct turn *t, struct qcow2 *s, GError **err)
{
    int rc = check_possible(s, err);

    *t = (struct turn){.s = s};
    rc = rc ? rc : qcow2_co_load_snapshots(s, NULL, NULL, &t->table, err);
    if (rc < 0) {
        return rc;
    }
    t->old_table_bytes = t->table.bytes;
    t->l2 = malloc((size_t)s->cluster_size);
    rc = t->l2 ? shadow_co_begin(&t->sh, s) : -ENOMEM; /* yields */
    if (rc < 0) {
        free(t->l2);
        qcow2_snapshots_fini(&t->table);
        return error_set_errno(err, rc, "%s", node_filename(s->node));
    }
    return 0;
}

/* Why an operation failed. */
static int turn_error(const struct turn *t, int rc, GError **err)
{
    const char *filename = node_filename(t->s->node);

    if (err && *err) {
        return rc;
    }
    if (rc == -ERANGE) {
        return error_set(err, rc,
                         "%s: counts references with %d bits, which are too "
                         "few for another snapshot; amend it to more "
                         "refcount_bits",
                         filename, 1 << t->s->order);
    }
    if (rc == -EIO) {
        return error_set(err, rc,
                         "%s: its tables cannot be read or contradict each "
                         "other; repair it with 'check -r all'",
                         filename);
    }
    return error_set_errno(err, rc, "%s: cannot change its snapshots",
                           filename);
}

static void turn_free(struct turn *t)
{
    free(t->l1);
    free(t->l2);
    qcow2_snapshots_fini(&t->table);
}

int co_fn turn_co_end(struct turn *t, int rc, GError **err)
{
    if (rc == 0) {
        rc = shadow_co_commit(&t->sh); /* yields */
    } else {
        shadow_co_abort(&t->sh);
    }
    if (rc == 0) {
        node_set_length(t->s->node, t->s->header.size);
    } else {
        rc = turn_error(t, rc, err);
    }
    turn_free(t);
    return rc;
}

void co_fn turn_co_cancel(struct turn *t)
{
    shadow_co_abort(&t->sh);
    turn_free(t);
}

/* -- Tables -------------------------------------------------------------- */

int co_fn turn_co_write_snapshots(struct turn *t, GError **err)
{
    struct qcow2_header *h = &t->sh.header;
    int64_t bytes = 0;
    uint8_t *buf = qcow2_snapshots_serialise(&t->table, &bytes);
    int rc = 0;

    if (!buf) {
        return error_set(err, -EFBIG,
                         "%s: its snapshot table would be too long; delete "
                         "some snapshots first",
                         node_filename(t->s->node));
    }
    rc = shadow_count(&t->sh, h->snapshots_offset, t->old_table_bytes, -1);
    h->n_snapshots = t->table.list->len;
    h->snapshots_offset = 0;
    if (rc == 0 && bytes > 0) {
        rc = shadow_co_write(&t->sh, buf, bytes, &h->snapshots_offset);
    }
    free(buf);
    return rc;
}

int co_fn turn_co_write_active(struct turn *t)
{
    struct qcow2_header *h = &t->sh.header;
    int rc = shadow_count(&t->sh, h->l1_offset, (int64_t)h->l1_entries * 8, -1);

    h->l1_entries = t->l1_entries;
    return rc ? rc
              : shadow_co_write_l1(&t->sh, t->l1, t->l1_entries,
                                   &h->l1_offset); /* yields */
}

int turn_copy_active(struct turn *t)
{
    t->l1_entries = t->s->header.l1_entries;
    t->l1 = malloc(max_i64((int64_t)t->l1_entries * 8, 8));
    for (uint32_t i = 0; t->l1 && i < t->l1_entries; i++) {
        t->l1[i] = qcow2_l1_get(t->s, i);
    }
    return t->l1 ? 0 : -ENOMEM;
}

/* -- Marks --------------------------------------------------------------- */

bool turn_mark_entry(struct turn *t, int i, bool copied)
{
    struct qcow2_entry e = l2_load(t->s, t->l2, i);
    bool was = (e.l2 & QCOW2_COPIED) != 0;

    if (was != copied) {
        e.l2 ^= QCOW2_COPIED;
        l2_store(t->s, t->l2, i, e);
    }
    return was != copied;
}

/* Marks the entries of t->l2, an L2 table that is ours alone, that name what
 * counts 1 now.  Returns 1 when it has changed. */
static int co_fn mark_table(struct turn *t)
{
    int any = 0;

    for (int i = 0; i < 1 << t->s->table_bits; i++) {
        struct qcow2_entry e = l2_load(t->s, t->l2, i);
        uint64_t count = 0;
        int rc = 0;

        if (!(e.l2 & QCOW2_COMPRESSED) && qcow2_entry_host(e)) {
            rc = shadow_co_get(&t->sh, qcow2_entry_host(e), &count);
        }
        if (rc < 0) {
            return rc;
        }
        any = turn_mark_entry(t, i, count == 1) || any;
    }
    return any;
}

/* Makes the marks of active L1 entry @i, and of its table, right.  Returns 1
 * when the entry has changed. */
static int co_fn mark_active(struct turn *t, uint32_t i)
{
    int64_t old = (int64_t)(t->l1[i] & QCOW2_OFFSET_MASK);
    uint64_t entry = (uint64_t)old;
    int64_t place;
    uint64_t count;
    int rc = shadow_co_get(&t->sh, old, &count); /* yields */

    if (rc == 0 && count == 1) {
        entry |= QCOW2_COPIED;
        rc = shadow_co_read_l2(&t->sh, t->l1[i], t->l2); /* yields */
        rc = rc ? rc : mark_table(t);                    /* yields */
    }
    if (rc > 0) {
        rc = shadow_co_write(&t->sh, t->l2, t->s->cluster_size, &place);
        rc = rc ? rc : shadow_count(&t->sh, old, t->s->cluster_size, -1);
        entry = (uint64_t)place | QCOW2_COPIED;
    }
    if (rc < 0) {
        return rc;
    }
    rc = entry != t->l1[i];
    t->l1[i] = entry;
    return rc;
}

int co_fn turn_co_mark_active(struct turn *t)
{
    bool changed = false;
    int rc = turn_copy_active(t);

    for (uint32_t i = 0; rc >= 0 && i < t->l1_entries; i++) {
        rc = t->l1[i] ? mark_active(t, i) : 0; /* yields */
        changed = changed || rc > 0;
    }
    if (rc < 0) {
        return rc;
    }
    return changed ? turn_co_write_active(t) : 0; /* yields */
}
