/* SPDX-License-Identifier: MIT */
/*
 * writeback: in which order metadata reach the disk; see qcow2.h.
 *
 * The picture is taken in the opposite order of writing: whatever is in it
 * needs only things that are, too.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/qcow2/ops.h"
#include "format/qcow2/qcow2.h"

#define SECTOR_BYTES   512
#define SECTOR_ENTRIES (SECTOR_BYTES / 8)

/* -- Dirty maps ---------------------------------------------------------- */

bool dirty_map_init(struct dirty_map *m, int64_t bytes)
{
    m->n_bits = (bytes + SECTOR_BYTES - 1) / SECTOR_BYTES;
    m->words = calloc((size_t)(m->n_bits + 63) / 64 + 1, sizeof(*m->words));
    m->any = false;
    return m->words != NULL;
}

void dirty_map_fini(struct dirty_map *m)
{
    free(m->words);
    *m = (struct dirty_map){.n_bits = 0};
}

void dirty_map_set(struct dirty_map *m, int64_t entry)
{
    int64_t bit = entry / SECTOR_ENTRIES;

    m->words[bit / 64] |= UINT64_C(1) << bit % 64;
    m->any = true;
}

static bool dirty_map_get(const struct dirty_map *m, int64_t bit)
{
    return m->words[bit / 64] >> bit % 64 & 1;
}

/* The first run of dirty sectors from @bit on, at most @max long.  Returns
 * its length, 0 when there is none. */
static int64_t dirty_map_next(const struct dirty_map *m, int64_t *bit,
                              int64_t max)
{
    int64_t n = 0;

    while (*bit < m->n_bits && !dirty_map_get(m, *bit)) {
        /* Most words are 0. */
        *bit = m->words[*bit / 64] == 0 ? (*bit / 64 + 1) * 64 : *bit + 1;
    }
    while (*bit + n < m->n_bits && n < max && dirty_map_get(m, *bit + n)) {
        n++;
    }
    return n;
}

/* -- Tables that are in memory as a whole -------------------------------- */

#define PIECE_SECTORS 128 /* most sectors in one piece */

/* Dirty sectors in a row, in the byte order of the disk. */
struct piece {
    struct list link;
    int64_t sector, n;
    uint8_t data[];
};

static struct piece *piece_new(int64_t sector, int64_t n)
{
    size_t bytes = (size_t)n * SECTOR_BYTES;
    struct piece *p = malloc(sizeof(*p) + bytes);

    if (p) {
        p->sector = sector;
        p->n = n;
        memset(p->data, 0, bytes);
    }
    return p;
}

static uint64_t table_entry(struct qcow2 *s, bool l1, int64_t i)
{
    if (l1) {
        return qcow2_l1_get(s, i);
    }
    return i < s->reftable_n ? s->reftable[i] : 0;
}

/* Takes a picture of what is dirty in one of the two tables. */
static int pieces_capture(struct qcow2 *s, bool l1, struct list *ret)
{
    struct dirty_map *m = l1 ? &s->l1_dirty : &s->reftable_dirty;
    int64_t sector = 0, n;
    int rc = 0;

    pthread_mutex_lock(&s->l1_lock);
    while (m->any && (n = dirty_map_next(m, &sector, PIECE_SECTORS)) > 0) {
        struct piece *p = piece_new(sector, n);

        if (!p) {
            rc = -ENOMEM;
            break;
        }
        for (int64_t i = 0; i < n * SECTOR_ENTRIES; i++) {
            store_be64(p->data + i * 8,
                       table_entry(s, l1, sector * SECTOR_ENTRIES + i));
        }
        for (int64_t i = 0; i < n; i++) {
            m->words[(sector + i) / 64] &= ~(UINT64_C(1) << (sector + i) % 64);
        }
        list_add_tail(ret, &p->link);
        sector += n;
    }
    m->any = rc < 0;
    pthread_mutex_unlock(&s->l1_lock);
    return rc;
}

static int co_fn pieces_write(struct qcow2 *s, int64_t offset,
                              const struct list *pieces, enum node_event event)
{
    struct piece *p;
    int rc = 0;

    list_for_each(p, pieces, link) {
        node_event(s->file, event);
        rc = qcow2_co_write_table(s, offset + p->sector * SECTOR_BYTES, p->data,
                                  p->n * SECTOR_BYTES); /* yields */
        if (rc < 0) {
            break;
        }
    }
    return rc;
}

/* Frees the pieces; with @rc < 0 they are dirty again. */
static void pieces_release(struct qcow2 *s, struct dirty_map *m,
                           struct list *pieces, int rc)
{
    struct piece *p, *tmp;

    pthread_mutex_lock(&s->l1_lock);
    list_for_each_safe(p, tmp, pieces, link) {
        for (int64_t i = 0; rc < 0 && i < p->n; i++) {
            dirty_map_set(m, (p->sector + i) * SECTOR_ENTRIES);
        }
        list_del(&p->link);
        free(p);
    }
    pthread_mutex_unlock(&s->l1_lock);
}

/* -- The picture --------------------------------------------------------- */

struct picture {
    struct list frees;    /* struct freed */
    struct list l1;       /* struct piece */
    struct list reftable; /* struct piece */
    struct capture l2, refcounts;
};

static int picture_take_counts(struct qcow2 *s, struct picture *p)
{
    int rc = pieces_capture(s, false, &p->reftable);

    return rc ? rc : cache_capture(s->refcount_cache, &p->refcounts);
}

static int picture_take(struct qcow2 *s, struct picture *p, bool counts)
{
    int rc;

    list_init(&p->frees);
    list_init(&p->l1);
    list_init(&p->reftable);
    qcow2_frees_capture(s, &p->frees);
    rc = pieces_capture(s, true, &p->l1);
    rc = rc ? rc : cache_capture(s->l2_cache, &p->l2);
    if (rc == 0 && counts) {
        rc = picture_take_counts(s, p);
    }
    return rc;
}

/* What was written is clean, what was not is dirty again. */
static void picture_drop(struct qcow2 *s, struct picture *p, int rc)
{
    cache_uncapture(s->refcount_cache, &p->refcounts);
    cache_uncapture(s->l2_cache, &p->l2);
    pieces_release(s, &s->reftable_dirty, &p->reftable, rc);
    pieces_release(s, &s->l1_dirty, &p->l1, rc);
    qcow2_frees_release(s, &p->frees, rc);
}

/* Are all slices part of what they are taken for? */
static int co_fn check_slices(struct qcow2 *s, const struct capture *cap,
                              enum guard_what want)
{
    for (int i = 0; i < cap->n; i++) {
        int64_t offset = slice_offset(cap->slices[i]);

        if (guard_find(s->guard, offset, 1) != (int)want) {
            return qcow2_co_set_corrupt(
                s, "0x%" PRIx64 " would be overwritten as %s", offset,
                guard_name((int)want));
        }
    }
    return 0;
}

static int co_fn write_counts(struct qcow2 *s, struct picture *p)
{
    int rc = check_slices(s, &p->refcounts, GUARD_REFBLOCK);

    rc = rc ? rc : cache_co_write(s->refcount_cache, &p->refcounts);
    if (rc < 0 || list_empty(&p->reftable)) {
        return rc;
    }
    rc = node_co_flush(s->file); /* yields */
    return rc ? rc
              : pieces_write(s, s->header.reftable_offset, &p->reftable,
                             EVENT_REFBLOCK_ALLOC_HOOKUP);
}

static int co_fn write_mapping(struct qcow2 *s, struct picture *p)
{
    int rc;

    if (p->l2.n == 0 && list_empty(&p->l1)) {
        return 0;
    }
    /* Data and counts before what refers to them. */
    rc = node_co_flush(s->file); /* yields */
    if (rc == 0 && s->external) {
        rc = node_co_flush(s->data); /* yields */
    }
    rc = rc ? rc : check_slices(s, &p->l2, GUARD_L2);
    rc = rc ? rc : cache_co_write(s->l2_cache, &p->l2); /* yields */
    return rc ? rc
              : pieces_write(s, s->header.l1_offset, &p->l1, EVENT_L1_UPDATE);
}

static int co_fn write_picture(struct qcow2 *s, struct picture *p)
{
    int rc = write_counts(s, p); /* yields */

    rc = rc ? rc : write_mapping(s, p); /* yields */
    if (rc == 0 && !list_empty(&p->frees)) {
        rc = node_co_flush(s->file); /* yields */
    }
    return rc;
}

/* With lazy refcounts these are written at the end only: the dirty bit tells
 * whoever finds the image after a crash to count again. */
static int co_fn write_back(struct qcow2 *s, bool counts)
{
    struct picture p = {.l2.n = 0};
    int rc;

    if (atomic_load(&s->corrupt)) {
        return -EIO;
    }
    co_mutex_lock(&s->writeback); /* yields */
    rc = picture_take(s, &p, counts);
    rc = rc ? rc : write_picture(s, &p); /* yields */
    picture_drop(s, &p, rc);
    co_mutex_unlock(&s->writeback);
    return rc;
}

int co_fn qcow2_co_write_back(struct qcow2 *s)
{
    return write_back(s, !s->lazy); /* yields */
}

/* For the refcount cache that is full: with lazy refcounts as well. */
int co_fn qcow2_co_write_counts(struct qcow2 *s)
{
    return write_back(s, true); /* yields */
}

int co_fn qcow2_co_write_counts_alone(struct qcow2 *s)
{
    struct picture p = {.l2.n = 0};
    int rc;

    list_init(&p.frees);
    list_init(&p.l1);
    list_init(&p.reftable);
    co_mutex_lock(&s->writeback); /* yields */
    rc = picture_take_counts(s, &p);
    rc = rc ? rc : write_counts(s, &p); /* yields */
    picture_drop(s, &p, rc);
    co_mutex_unlock(&s->writeback);
    return rc;
}

int co_fn qcow2_co_settle(struct qcow2 *s)
{
    int rc = qcow2_co_write_back(s); /* yields */

    if (rc == 0 && qcow2_has_safe_frees(s)) {
        co_mutex_lock(&s->meta);      /* yields */
        rc = qcow2_co_apply_frees(s); /* yields */
        co_mutex_unlock(&s->meta);
    }
    return rc;
}

int co_fn qcow2_co_flush_all(struct qcow2 *s)
{
    int rc = qcow2_co_settle(s); /* yields */

    rc = rc ? rc : qcow2_co_write_counts(s); /* yields */
    if (rc == 0 && s->external) {
        rc = node_co_flush(s->data); /* yields */
    }
    return rc ? rc : node_co_flush(s->file); /* yields */
}

int co_fn qcow2_co_flush_to_os(struct node *node)
{
    struct qcow2 *s = qcow2_of(node);

    /* An image that nobody wrote to has nothing to hand down. */
    return atomic_load(&s->changed) ? qcow2_co_settle(s) : 0; /* yields */
}

void co_fn qcow2_co_unwritten(struct node *node, GPtrArray *ret)
{
    struct qcow2 *s = qcow2_of(node);
    bool all = node_co_flush(s->file) < 0; /* yields */

    if (all || cache_is_dirty(s->l2_cache) || s->l1_dirty.any) {
        g_ptr_array_add(ret, (char *)"L2 tables, which say where data are");
    }
    if (all || cache_is_dirty(s->refcount_cache) || s->reftable_dirty.any) {
        g_ptr_array_add(ret,
                        (char *)"refcount blocks, which say what is in use");
    }
}
