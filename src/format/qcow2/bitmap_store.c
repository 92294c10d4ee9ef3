/* SPDX-License-Identifier: MIT */
/*
 * bitmap_store: from bitmaps in memory to new ones on disk; see bitmaps.h for
 * the order.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/qcow2/bitmaps.h"
#include "format/qcow2/qcow2.h"

/* Where a table is. */
struct place {
    int64_t offset;
    uint32_t entries;
};

/* Storing under way. */
struct storing {
    struct qcow2 *s;
    GArray *fresh;        /* struct bitmap_place: allocated for it */
    GArray *dropped;      /* what is to be freed when all is done */
    uint8_t *buf, *old;   /* clusters */
    struct place *tables; /* of each bitmap, as they are to be */
    int64_t directory_offset, directory_bytes;
};

static void add_place(GArray *places, int64_t offset, int64_t bytes)
{
    struct bitmap_place p = {offset, bytes};

    if (bytes > 0) {
        g_array_append_val(places, p);
    }
}

/* Puts @bytes where nothing is yet. */
static int co_fn put(struct storing *st, const void *buf, int64_t bytes,
                     int64_t *ret_offset)
{
    struct qcow2 *s = st->s;
    int64_t n = clusters_of(s, bytes);
    int64_t rc64 = n == 1 ? qcow2_co_alloc(s, 1, ret_offset, NULL)
                          : qcow2_co_alloc_run(s, n, ret_offset); /* yields */
    int rc;

    if (rc64 < 0) {
        return (int)rc64;
    }
    add_place(st->fresh, *ret_offset, n << s->cluster_bits);
    rc = qcow2_co_reach(s, *ret_offset + (n << s->cluster_bits)); /* yields */
    rc = rc ? rc : qcow2_co_write_table(s, *ret_offset, buf, bytes);
    return rc;
}

/* Makes *@entry that of part @i as it is to be. */
static int co_fn store_part(struct storing *st, const struct qcow2_bitmap *b,
                            const uint64_t *table, int64_t i, uint64_t *entry)
{
    struct qcow2 *s = st->s;
    bool last = i == qcow2_bitmap_parts(s, b) - 1;
    int64_t host;
    int rc;

    *entry = qcow2_bitmap_table_entry(b, table, i);
    if (!qcow2_bitmap_new_bits(b, i) && !(b->resized && last)) {
        return 0;
    }
    rc = qcow2_co_bitmap_part(s, b, table, i, st->buf);         /* yields */
    rc = rc ? rc : qcow2_co_bitmap_cluster(s, *entry, st->old); /* yields */
    if (rc < 0 || memcmp(st->buf, st->old, (size_t)s->cluster_size) == 0) {
        return rc;
    }
    *entry = 0;
    if (bitmap_bytes_are(st->buf, s->cluster_size, 0xff)) {
        *entry = QCOW2_BITMAP_ONES;
    } else if (!bitmap_bytes_are(st->buf, s->cluster_size, 0)) {
        rc = put(st, st->buf, s->cluster_size, &host); /* yields */
        *entry = (uint64_t)host;
    }
    return rc;
}

/* Writes the table @to of @n entries for @b, whose old one was @from. */
static int co_fn store_table(struct storing *st, const struct qcow2_bitmap *b,
                             const uint64_t *from, uint64_t *to, int64_t n,
                             struct place *ret)
{
    int64_t n_from = b->entry.table_entries;

    for (int64_t i = 0; i < n_from; i++) {
        int64_t host = (int64_t)(from[i] & QCOW2_OFFSET_MASK);

        if (host && (i >= n || from[i] != to[i])) {
            add_place(st->dropped, host, st->s->cluster_size);
        }
    }
    add_place(st->dropped, b->entry.table_offset, n_from * 8);
    for (int64_t i = 0; i < n; i++) {
        store_be64(&to[i], to[i]);
    }
    ret->entries = (uint32_t)n;
    return put(st, to, n * 8, &ret->offset); /* yields */
}

static int co_fn store_changed(struct storing *st, const struct qcow2_bitmap *b,
                               const uint64_t *from, struct place *ret)
{
    int64_t n = qcow2_bitmap_parts(st->s, b);
    uint64_t *to = malloc((size_t)n * 8);
    int rc = to ? 0 : -ENOMEM;

    for (int64_t i = 0; i < n && rc == 0; i++) {
        rc = store_part(st, b, from, i, &to[i]); /* yields */
    }
    rc = rc ? rc : store_table(st, b, from, to, n, ret); /* yields */
    free(to);
    return rc;
}

/* Tables that have not changed are written anew, too, as others do: the same
 * commands make files of the same length. */
static int co_fn store_bitmap(struct storing *st, struct qcow2_bitmap *b,
                              struct place *ret)
{
    bool changed = bitmap_bits_is_init(&b->bits) || b->emptied || b->resized;
    uint64_t *from = NULL;
    int rc;

    *ret = (struct place){b->entry.table_offset, b->entry.table_entries};
    /* A lost one that was never on disk needs a table, too. */
    if (!qcow2_bitmap_is_usable(b) && b->entry.table_entries > 0) {
        return 0;
    }
    rc = qcow2_co_bitmap_table(st->s, b, &from); /* yields */
    if (rc == -EINVAL) {
        /* It has nothing that could be kept. */
        b->entry.flags |= changed ? QCOW2_BITMAP_IN_USE : 0;
        return 0;
    }
    rc = rc ? rc : store_changed(st, b, from, ret); /* yields */
    free(from);
    return rc;
}

/* Gives the bitmaps the places in st->tables, and these those of the
 * bitmaps. */
static void swap_tables(struct storing *st)
{
    GPtrArray *list = st->s->bitmaps->list;

    for (guint i = 0; i < list->len; i++) {
        struct qcow2_bitmap *b = g_ptr_array_index(list, i);
        struct place was = {b->entry.table_offset, b->entry.table_entries};

        b->entry.table_offset = st->tables[i].offset;
        b->entry.table_entries = st->tables[i].entries;
        st->tables[i] = was;
    }
}

static int co_fn store_directory(struct storing *st)
{
    struct qcow2 *s = st->s;
    int64_t bytes;
    uint8_t *dir = qcow2_bitmaps_serialise(s->bitmaps, false, &bytes);
    int rc = dir ? 0 : -ENOMEM;

    if (rc == 0 && bytes > 0) {
        rc = put(st, dir, bytes, &st->directory_offset); /* yields */
        rc = rc ? rc
                : qcow2_co_guard_new(s, st->directory_offset, bytes,
                                     GUARD_BITMAPS);
    }
    st->directory_bytes = bytes;
    free(dir);
    return rc;
}

/* Makes the header name what is durable by then. */
static int co_fn name_directory(struct storing *st)
{
    struct qcow2 *s = st->s;
    int rc = qcow2_co_write_counts(s); /* yields */
    struct qcow2_header h = s->header;

    h.bitmaps.n = s->bitmaps->list->len;
    h.bitmaps.directory_bytes = st->directory_bytes;
    h.bitmaps.directory_offset = st->directory_offset;
    h.autoclear &= ~(uint64_t)QCOW2_BITMAPS;
    h.autoclear |= h.bitmaps.n > 0 ? QCOW2_BITMAPS : 0;
    return rc ? rc : qcow2_co_switch_header(s, &h); /* yields */
}

static int co_fn store_all(struct storing *st)
{
    struct qcow2 *s = st->s;
    GPtrArray *list = s->bitmaps->list;
    int rc = st->buf && st->old && st->tables ? 0 : -ENOMEM;

    for (guint i = 0; i < list->len && rc == 0; i++) {
        rc = store_bitmap(st, g_ptr_array_index(list, i), &st->tables[i]);
    }
    if (rc < 0) {
        return rc;
    }
    add_place(st->dropped, s->header.bitmaps.directory_offset,
              s->header.bitmaps.directory_bytes);
    swap_tables(st);
    rc = store_directory(st);          /* yields */
    rc = rc ? rc : name_directory(st); /* yields */
    if (rc < 0) {
        swap_tables(st);
    }
    return rc;
}

/* Nothing refers to what was written for it. */
static void co_fn store_undo(struct storing *st)
{
    struct qcow2 *s = st->s;

    for (guint i = 0; i < st->fresh->len; i++) {
        const struct bitmap_place *p =
            &g_array_index(st->fresh, struct bitmap_place, i);

        guard_remove(s->guard, p->offset, p->bytes);
        qcow2_co_unalloc(s, p->offset, clusters_of(s, p->bytes)); /* yields */
    }
}

/* What is in memory is on disk, and what only the old directory referred to
 * can be freed. */
static void store_done(struct storing *st)
{
    struct qcow2_bitmaps *all = st->s->bitmaps;

    g_array_append_vals(st->dropped, all->garbage->data, all->garbage->len);
    g_array_set_size(all->garbage, 0);
    for (guint i = 0; i < st->dropped->len; i++) {
        const struct bitmap_place *p =
            &g_array_index(st->dropped, struct bitmap_place, i);

        qcow2_free(st->s, p->offset, p->bytes, QCOW2_FREE_OTHER);
    }
    for (guint i = 0; i < all->list->len; i++) {
        struct qcow2_bitmap *b = g_ptr_array_index(all->list, i);

        bitmap_bits_fini(&b->bits);
        b->emptied = b->resized = b->marked = false;
    }
    all->changed = false;
    qcow2_bitmaps_count(all);
}

int co_fn qcow2_co_bitmaps_store_locked(struct qcow2 *s)
{
    struct storing st = {
        .s = s,
        .fresh = g_array_new(FALSE, FALSE, sizeof(struct bitmap_place)),
        .dropped = g_array_new(FALSE, FALSE, sizeof(struct bitmap_place)),
        .buf = malloc((size_t)s->cluster_size),
        .old = malloc((size_t)s->cluster_size),
        .tables = calloc(s->bitmaps->list->len + 1, sizeof(*st.tables)),
    };
    int rc = store_all(&st); /* yields */

    if (rc == 0) {
        store_done(&st);
    } else {
        store_undo(&st); /* yields */
    }
    g_array_unref(st.fresh);
    g_array_unref(st.dropped);
    free(st.buf);
    free(st.old);
    free(st.tables);
    return rc;
}

static bool is_to_be_stored(const struct qcow2_bitmaps *all)
{
    bool any = all && all->changed;

    for (guint i = 0; all && !any && i < all->list->len; i++) {
        any = ((struct qcow2_bitmap *)g_ptr_array_index(all->list, i))->marked;
    }
    return any;
}

int co_fn qcow2_co_bitmaps_store(struct qcow2 *s)
{
    int rc;

    if (!is_to_be_stored(s->bitmaps)) {
        return 0;
    }
    co_mutex_lock(&s->meta);               /* yields */
    rc = qcow2_co_bitmaps_store_locked(s); /* yields */
    co_mutex_unlock(&s->meta);
    return rc;
}
