/* SPDX-License-Identifier: MIT */
/*
 * check_marks: an entry of the active tables is marked "copied" if, and only
 * if, what it names counts 1.
 */
#include <errno.h>
#include <stdlib.h>

#include "format/qcow2/check_priv.h"

/* What is under way. */
struct marks {
    struct check *c;
    bool repair;
    uint64_t *l1;
};

static void count_finding(const struct marks *m)
{
    if (m->repair) {
        m->c->r->corruptions_fixed++;
    } else {
        m->c->r->corruptions++;
    }
}

/* Is entry @e, which names the cluster at @offset, to be marked otherwise?
 * Returns 1 if so. */
static int co_fn is_wrong(const struct marks *m, uint64_t e, int64_t offset,
                          uint64_t *ret_count)
{
    struct qcow2 *s = m->c->s;
    int rc;

    if (!is_aligned(offset, s->cluster_size)) {
        return 0; /* told before */
    }
    rc = check_disk_count(m->c, offset >> s->cluster_bits, ret_count);
    if (rc < 0) {
        return 0; /* told before */
    }
    return (*ret_count == 1) != ((e & QCOW2_COPIED) != 0);
}

/* Returns 1 when the entry was changed. */
static int co_fn check_l2_entry(const struct marks *m, int i)
{
    struct check *c = m->c;
    struct qcow2_entry e = l2_load(c->s, c->l2, i);
    uint64_t count;
    int rc;

    if ((e.l2 & QCOW2_COMPRESSED) || qcow2_entry_host(e) == 0) {
        return 0;
    }
    if (c->s->external) {
        count = 1; /* as the format has it for all of a data file */
        rc = !(e.l2 & QCOW2_COPIED);
    } else {
        rc = is_wrong(m, e.l2, qcow2_entry_host(e), &count); /* yields */
    }
    if (rc <= 0) {
        return rc;
    }
    count_finding(m);
    check_report(c,
                 "%s OFLAG_COPIED data cluster: l2_entry=%" PRIx64
                 " refcount=%" PRIu64,
                 m->repair ? "Repairing" : "ERROR", e.l2, count);
    e.l2 ^= QCOW2_COPIED;
    l2_store(c->s, c->l2, i, e);
    return m->repair;
}

static int co_fn check_l2(const struct marks *m, int64_t table)
{
    struct check *c = m->c;
    struct qcow2 *s = c->s;
    bool changed = false;
    int rc;

    if (!is_aligned(table, s->cluster_size) || table >= c->length) {
        return 0;
    }
    rc = qcow2_co_read_table(s, table, c->l2, s->cluster_size); /* yields */
    if (rc < 0) {
        return 0; /* told before */
    }
    for (int i = 0; i < 1 << s->table_bits && rc >= 0; i++) {
        rc = check_l2_entry(m, i); /* yields */
        changed = changed || rc > 0;
    }
    if (rc >= 0 && changed) {
        rc = qcow2_co_write_table(s, table, c->l2, s->cluster_size);
    }
    return rc < 0 ? rc : 0;
}

/* Returns 1 when the L1 entry was changed. */
static int co_fn check_l1_entry(const struct marks *m, uint32_t i)
{
    uint64_t e = m->l1[i];
    int64_t table = (int64_t)(e & QCOW2_OFFSET_MASK);
    uint64_t count;
    int rc;

    if (table == 0) {
        return 0; /* which is not the header */
    }
    rc = is_wrong(m, e, table, &count); /* yields */
    if (rc > 0) {
        count_finding(m);
        check_report(m->c,
                     "%s OFLAG_COPIED L2 cluster: l1_index=%" PRIu32
                     " l1_entry=%" PRIx64 " refcount=%" PRIu64,
                     m->repair ? "Repairing" : "ERROR", i, e, count);
        m->l1[i] = e ^ QCOW2_COPIED;
        rc = m->repair;
    }
    if (rc >= 0) {
        int l2_rc = check_l2(m, table); /* yields */

        rc = l2_rc < 0 ? l2_rc : rc;
    }
    return rc;
}

static int co_fn write_l1(const struct marks *m, uint32_t n)
{
    struct qcow2 *s = m->c->s;

    for (uint32_t i = 0; i < n; i++) {
        store_be64(&m->l1[i], m->l1[i]);
    }
    return qcow2_co_write_table(s, s->header.l1_offset, m->l1, (int64_t)n * 8);
}

int co_fn check_marks(struct check *c, bool repair)
{
    struct qcow2 *s = c->s;
    uint32_t n = s->header.l1_entries;
    struct marks m = {.c = c, .repair = repair};
    bool changed = false;
    int rc = 0;

    m.l1 = malloc((size_t)max_i64((int64_t)n * 8, 8));
    if (!m.l1) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        m.l1[i] = qcow2_l1_get(s, i);
    }
    for (uint32_t i = 0; i < n && rc >= 0; i++) {
        rc = m.l1[i] ? check_l1_entry(&m, i) : 0; /* yields */
        changed = changed || rc > 0;
    }
    check_let_go(c);
    if (rc >= 0 && changed) {
        rc = write_l1(&m, n); /* yields */
    }
    free(m.l1);
    return rc < 0 ? rc : 0;
}
