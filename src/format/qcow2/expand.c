/* SPDX-License-Identifier: MIT */
/*
 * expand: no clusters of zeroes in snapshots, which version 2 does not know.
 *
 * Each L2 table that has any is replaced by one that has holes instead, or,
 * where the backing file would shine through, clusters with zeroes in them.
 * Snapshots that shared the old table share the new one.  The active tables
 * stay as they are but for their marks: who shared a table with a snapshot may
 * have it alone now.
 *
 * All of it takes effect at one moment (shadow.h).
 */
#include <errno.h>
#include <stdlib.h>

#include "format/qcow2/crypt.h"
#include "format/qcow2/turn.h"

/* An L2 table, and what takes its place: itself if it has no zeroes. */
struct place {
    gint64 old; /* the key */
    int64_t new;
    uint32_t l1_index;
};

struct expansion {
    struct turn t;
    GHashTable *places; /* a set of struct place */
    uint8_t *zeroes;    /* a cluster of them */
    bool changed;
};

/* -- Entries ------------------------------------------------------------- */

/* Would something else than zeroes show in a hole at @guest? */
static bool shines(struct qcow2 *s, int64_t guest)
{
    bool unknown = s->header.backing_name && !node_child(s->node, "backing");

    return qcow2_backing_at(s, guest) || (unknown && guest < s->vm_state_at);
}

static int co_fn write_zeroes(struct expansion *x, int64_t guest, int64_t *ret)
{
    struct qcow2 *s = x->t.s;
    struct iovec iov;
    struct iovs src = iovs_one(&iov, x->zeroes, s->cluster_size);
    int rc = shadow_co_alloc(&x->t.sh, s->cluster_size, ret); /* yields */

    if (rc < 0) {
        return rc;
    }
    return s->encrypted ? qcow2_co_write_cipher(s, guest, *ret, &src)
                        : node_co_pwrite_zeroes(s->file, *ret, s->cluster_size,
                                                REQ_MAY_UNMAP); /* yields */
}

/* Changes entry @i of t.l2, which is for @guest, if it is one of zeroes.
 * Returns 1 if so. */
static int co_fn expand_entry(struct expansion *x, int i, int64_t guest)
{
    struct qcow2 *s = x->t.s;
    struct qcow2_entry e = l2_load(s, x->t.l2, i);
    int64_t old = qcow2_entry_host(e);
    int64_t place = 0;
    int rc = 0;

    if (!qcow2_kind_is_zero(qcow2_entry_kind(&s->entry, e, 0))) {
        return 0;
    }
    if (old) {
        rc = shadow_count(&x->t.sh, old, s->cluster_size, -1);
    }
    if (rc == 0 && shines(s, guest)) {
        rc = write_zeroes(x, guest, &place); /* yields */
    }
    e.l2 = (uint64_t)place;
    l2_store(s, x->t.l2, i, e);
    return rc < 0 ? rc : 1;
}

/* -- Tables -------------------------------------------------------------- */

/* Makes what is to take the place of the table of L1 entry @e, the @index-th,
 * and lets it be used there. */
static int co_fn make_place(struct expansion *x, uint32_t index, uint64_t e,
                            struct place *ret)
{
    struct turn *t = &x->t;
    struct qcow2 *s = t->s;
    int64_t guest = (int64_t)index << (s->table_bits + s->cluster_bits);
    bool any = false;
    int rc = shadow_co_read_l2(&t->sh, e, t->l2); /* yields */

    *ret = (struct place){
        .old = (gint64)(e & QCOW2_OFFSET_MASK),
        .new = (int64_t)(e & QCOW2_OFFSET_MASK),
        .l1_index = index,
    };
    for (int i = 0; i < 1 << s->table_bits && rc >= 0; i++) {
        rc = expand_entry(x, i, guest + ((int64_t)i << s->cluster_bits));
        any = any || rc > 0;
    }
    if (rc < 0 || !any) {
        return rc;
    }
    rc = shadow_co_write(&t->sh, t->l2, s->cluster_size, &ret->new);
    return rc ? rc : shadow_count(&t->sh, ret->old, s->cluster_size, -1);
}

static int co_fn count_table(struct turn *t, int64_t place, int delta)
{
    int rc = shadow_co_read_l2(&t->sh, (uint64_t)place, t->l2); /* yields */

    rc = rc ? rc : shadow_count_table(&t->sh, t->l2, delta);
    return rc ? rc : shadow_count(&t->sh, place, t->s->cluster_size, delta);
}

/* Lets one more L1 table use @p instead of the old table. */
static int co_fn use_place(struct turn *t, const struct place *p)
{
    int rc = p->new == p->old ? 0 : count_table(t, p->old, -1); /* yields */

    return rc || p->new == p->old ? rc : count_table(t, p->new, 1);
}

/* Changes the @index-th entry of an L1 table.  Returns 1 if it was other. */
static int co_fn expand_table(struct expansion *x, uint32_t index, uint64_t *e)
{
    gint64 old = (gint64)(*e & QCOW2_OFFSET_MASK);
    struct place *p = g_hash_table_lookup(x->places, &old);
    int rc;

    if (p) {
        /* What is zeroes in one place need not be in another. */
        rc = p->l1_index == index ? use_place(&x->t, p) : -EIO;
    } else {
        p = g_new(struct place, 1);
        rc = make_place(x, index, *e, p); /* yields */
        g_hash_table_add(x->places, p);
    }
    if (rc < 0 || p->new == p->old) {
        return rc;
    }
    *e = (uint64_t)p->new;
    return 1;
}

static int co_fn expand_snapshot(struct expansion *x, struct qcow2_snapshot *sn)
{
    struct shadow *sh = &x->t.sh;
    uint64_t *l1 = NULL;
    bool any = false;
    int rc = shadow_co_read_l1(sh, sn->l1_offset, sn->l1_entries, &l1);

    for (uint32_t i = 0; i < sn->l1_entries && rc >= 0; i++) {
        rc = l1[i] & QCOW2_OFFSET_MASK ? expand_table(x, i, &l1[i]) : 0;
        any = any || rc > 0;
    }
    if (rc >= 0 && any) {
        rc = shadow_count(sh, sn->l1_offset, (int64_t)sn->l1_entries * 8, -1);
        rc = rc ? rc
                : shadow_co_write_l1(sh, l1, sn->l1_entries, &sn->l1_offset);
        x->changed = true;
    }
    free(l1);
    return rc < 0 ? rc : 0;
}

/* -- All of it ----------------------------------------------------------- */

static int co_fn expand_all(struct expansion *x, GError **err)
{
    struct turn *t = &x->t;
    int rc = x->zeroes ? 0 : -ENOMEM;

    for (int i = 0; i < (int)t->table.list->len && rc == 0; i++) {
        rc = expand_snapshot(x, qcow2_snapshots_at(&t->table, i));
    }
    if (rc < 0 || !x->changed) {
        return rc;
    }
    rc = turn_co_mark_active(t); /* yields */
    return rc ? rc : turn_co_write_snapshots(t, err);
}

int co_fn qcow2_co_expand_snapshots(struct qcow2 *s, GError **err)
{
    struct expansion x = {.changed = false};
    int rc;

    if (s->header.n_snapshots == 0) {
        return 0;
    }
    x = (struct expansion){
        .places =
            g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL),
        .zeroes = calloc(1, (size_t)s->cluster_size),
    };
    rc = turn_co_begin(&x.t, s, err); /* yields */
    if (rc == 0) {
        rc = expand_all(&x, err); /* yields */
        if (rc == 0 && !x.changed) {
            turn_co_cancel(&x.t);
        } else {
            rc = turn_co_end(&x.t, rc, err); /* yields */
        }
    }
    g_hash_table_destroy(x.places);
    free(x.zeroes);
    return rc;
}
