/* SPDX-License-Identifier: MIT */

#include "format/qcow2/bitmaps.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "format/qcow2/qcow2.h"

#define ENTRY_RESERVED (~(QCOW2_OFFSET_MASK | QCOW2_BITMAP_ONES))

/* -- In memory ----------------------------------------------------------- */

static void bitmap_free(void *bitmap)
{
    struct qcow2_bitmap *b = bitmap;

    qcow2_bitmap_entry_fini(&b->entry);
    bitmap_bits_fini(&b->bits);
    g_free(b);
}

static struct qcow2_bitmaps *bitmaps_new(void)
{
    struct qcow2_bitmaps *all = g_new0(struct qcow2_bitmaps, 1);

    all->list = g_ptr_array_new_with_free_func(bitmap_free);
    all->garbage = g_array_new(FALSE, FALSE, sizeof(struct bitmap_place));
    pthread_mutex_init(&all->lock, NULL);
    return all;
}

void qcow2_bitmaps_free(struct qcow2_bitmaps *all)
{
    if (all) {
        g_ptr_array_unref(all->list);
        g_array_unref(all->garbage);
        pthread_mutex_destroy(&all->lock);
        g_free(all);
    }
}

bool qcow2_bitmap_is_usable(const struct qcow2_bitmap *b)
{
    return !(b->entry.flags & QCOW2_BITMAP_IN_USE) &&
           (b->entry.extra_bytes == 0 ||
            (b->entry.flags & QCOW2_BITMAP_EXTRA_COMPATIBLE));
}

static bool is_recording(const struct qcow2_bitmap *b)
{
    return (b->entry.flags & (QCOW2_BITMAP_AUTO | QCOW2_BITMAP_IN_USE)) ==
           QCOW2_BITMAP_AUTO;
}

void qcow2_bitmaps_count(struct qcow2_bitmaps *all)
{
    bool any = false, marked = true;

    for (guint i = 0; i < all->list->len; i++) {
        const struct qcow2_bitmap *b = g_ptr_array_index(all->list, i);

        any = any || is_recording(b);
        marked = marked && (b->marked || !is_recording(b));
    }
    atomic_store(&all->marked, marked);
    atomic_store(&all->recording, any);
}

void qcow2_bitmaps_touch(struct qcow2_bitmaps *all)
{
    all->changed = true;
    qcow2_bitmaps_count(all);
}

int64_t qcow2_bitmap_parts(const struct qcow2 *s, const struct qcow2_bitmap *b)
{
    /* A disk of no bytes has a part, too: others expect a table. */
    return max_i64(
        clusters_of(
            s, qcow2_bitmap_bytes(s->header.size, b->entry.granularity_bits)),
        1);
}

/* -- Loading ------------------------------------------------------------- */

bool qcow2_has_bitmaps(const struct qcow2 *s)
{
    return s->header.bitmaps.n > 0 && (s->header.autoclear & QCOW2_BITMAPS);
}

static int co_fn read_directory(struct qcow2 *s, GArray **ret)
{
    const struct qcow2_header *h = &s->header;
    int64_t bytes = h->bitmaps.directory_bytes;
    uint8_t *dir;
    int rc;

    if (h->bitmaps.directory_offset > node_length(s->file) - bytes) {
        return -EINVAL;
    }
    dir = malloc((size_t)max_i64(bytes, 1));
    rc = dir ? qcow2_co_read_table(s, h->bitmaps.directory_offset, dir, bytes)
             : -ENOMEM; /* yields */
    rc = rc ? rc
            : qcow2_bitmap_dir_parse(dir, bytes, h->bitmaps.n, s->cluster_bits,
                                     ret);
    free(dir);
    return rc;
}

/* Are its bits as many as the disk has granules, and no more than we take?  One
 * that is not consistent may be of any length: nobody looks at its bits. */
static int check_length(const struct qcow2 *s, const struct qcow2_bitmap *b)
{
    const struct qcow2_bitmap_entry *e = &b->entry;

    if (!qcow2_bitmap_is_usable(b)) {
        return 0;
    }
    if (qcow2_bitmap_bytes(s->header.size, e->granularity_bits) >
        QCOW2_BITMAP_MAX_BYTES) {
        return -EOPNOTSUPP;
    }
    return e->table_entries == qcow2_bitmap_parts(s, b) ? 0 : -EINVAL;
}

/* Takes what @entries have over.  0, or a negative errno. */
static int take_entries(struct qcow2 *s, GArray *entries, GPtrArray *ret)
{
    int rc = 0;

    for (guint i = 0; i < entries->len && rc == 0; i++) {
        struct qcow2_bitmap *b = g_new0(struct qcow2_bitmap, 1);
        struct qcow2_bitmap_entry *e =
            &g_array_index(entries, struct qcow2_bitmap_entry, i);

        b->entry = *e;
        memset(e, 0, sizeof(*e)); /* it was moved */
        g_ptr_array_add(ret, b);
        rc = check_length(s, b);
    }
    return rc;
}

int co_fn qcow2_co_bitmaps_load(struct qcow2 *s)
{
    struct qcow2_bitmaps *all;
    GArray *entries = NULL;
    int rc;

    if (s->bitmaps) {
        return 0;
    }
    rc = qcow2_has_bitmaps(s) ? read_directory(s, &entries) : 0; /* yields */
    if (rc < 0) {
        return rc;
    }
    all = bitmaps_new();
    rc = entries ? take_entries(s, entries, all->list) : 0;
    g_clear_pointer(&entries, g_array_unref);
    if (rc < 0) {
        qcow2_bitmaps_free(all);
        return rc;
    }
    qcow2_bitmaps_count(all);
    s->bitmaps = all;
    return 0;
}

/* -- Marking ------------------------------------------------------------- */

uint8_t *qcow2_bitmaps_serialise(const struct qcow2_bitmaps *all, bool marks,
                                 int64_t *ret_bytes)
{
    int64_t bytes = 0;
    uint8_t *dir, *p;

    for (guint i = 0; i < all->list->len; i++) {
        const struct qcow2_bitmap *b = g_ptr_array_index(all->list, i);

        bytes += qcow2_bitmap_entry_bytes(&b->entry);
    }
    p = dir = malloc((size_t)max_i64(bytes, 1));
    for (guint i = 0; dir && i < all->list->len; i++) {
        const struct qcow2_bitmap *b = g_ptr_array_index(all->list, i);
        struct qcow2_bitmap_entry e = b->entry;

        e.flags |= marks && b->marked ? QCOW2_BITMAP_IN_USE : 0;
        p = qcow2_bitmap_entry_store(&e, p);
    }
    *ret_bytes = bytes;
    return dir;
}

/* Writes the directory where it is.  Nothing but flags differs, each of which
 * is in one sector: torn, it has marks too few, and nothing has changed yet
 * that they are for. */
static int co_fn write_marks(struct qcow2 *s)
{
    int64_t bytes;
    uint8_t *dir = qcow2_bitmaps_serialise(s->bitmaps, true, &bytes);
    int rc = dir ? qcow2_co_write_table(s, s->header.bitmaps.directory_offset,
                                        dir, bytes)
                 : -ENOMEM; /* yields */

    free(dir);
    return rc ? rc : node_co_flush(s->file); /* yields */
}

/* Nobody knows which marks are on disk: they are written anew next time. */
static void forget_marks(struct qcow2_bitmaps *all)
{
    for (guint i = 0; i < all->list->len; i++) {
        ((struct qcow2_bitmap *)g_ptr_array_index(all->list, i))->marked =
            false;
    }
    qcow2_bitmaps_touch(all);
}

/* @meta held.  Marks those that record, or all. */
static int co_fn mark_locked(struct qcow2 *s, bool everything)
{
    struct qcow2_bitmaps *all = s->bitmaps;
    bool any = false;
    int rc = all->changed ? qcow2_co_bitmaps_store_locked(s) : 0; /* yields */

    for (guint i = 0; rc == 0 && i < all->list->len; i++) {
        struct qcow2_bitmap *b = g_ptr_array_index(all->list, i);

        if (!b->marked && (everything || is_recording(b))) {
            b->marked = any = true;
            if (!qcow2_bitmap_is_usable(b)) {
                b->entry.flags |= QCOW2_BITMAP_IN_USE; /* and for ever */
            }
        }
    }
    rc = rc || !any ? rc : write_marks(s); /* yields */
    if (rc < 0) {
        forget_marks(all);
    } else {
        qcow2_bitmaps_count(all);
    }
    return rc;
}

static int co_fn mark(struct qcow2 *s, bool everything)
{
    int rc;

    co_mutex_lock(&s->meta);         /* yields */
    rc = mark_locked(s, everything); /* yields */
    co_mutex_unlock(&s->meta);
    return rc;
}

/* -- Recording ----------------------------------------------------------- */

void qcow2_bitmap_set(struct qcow2 *s, struct qcow2_bitmap *b, int64_t offset,
                      int64_t bytes)
{
    unsigned shift = b->entry.granularity_bits;
    int64_t n = qcow2_bitmap_bits(s->header.size, shift);
    int64_t end = min_i64(qcow2_bitmap_bits(offset + bytes, shift), n);

    if ((!bitmap_bits_is_init(&b->bits) &&
         !bitmap_bits_init(&b->bits, n, s->cluster_size)) ||
        !bitmap_bits_set(&b->bits, offset >> shift, end)) {
        b->entry.flags |= QCOW2_BITMAP_IN_USE;
    }
}

int co_fn qcow2_co_record(struct qcow2 *s, int64_t offset, int64_t bytes)
{
    struct qcow2_bitmaps *all = s->bitmaps;
    int rc;

    if (likely(!atomic_load_explicit(&all->recording, memory_order_relaxed))) {
        return 0;
    }
    if (unlikely(!atomic_load(&all->marked))) {
        rc = mark(s, false); /* yields */
        if (rc < 0) {
            return rc;
        }
    }
    pthread_mutex_lock(&all->lock);
    for (guint i = 0; i < all->list->len; i++) {
        struct qcow2_bitmap *b = g_ptr_array_index(all->list, i);

        if (is_recording(b)) {
            qcow2_bitmap_set(s, b, offset, bytes);
        }
    }
    pthread_mutex_unlock(&all->lock);
    return 0;
}

/* -- Another length of the disk ------------------------------------------ */

int co_fn qcow2_co_bitmaps_begin_resize(struct qcow2 *s, int64_t length,
                                        GError **err)
{
    struct qcow2_bitmaps *all = s->bitmaps;
    const char *filename = node_filename(s->node);
    int rc;

    for (guint i = 0; i < all->list->len; i++) {
        const struct qcow2_bitmap *b = g_ptr_array_index(all->list, i);

        if (!qcow2_bitmap_is_usable(b)) {
            return error_set(err, -EINVAL,
                             "%s: its bitmap '%s' is not consistent and cannot "
                             "be resized; remove it with 'bitmap --remove'",
                             filename, b->entry.name);
        }
        if (qcow2_bitmap_bytes(length, b->entry.granularity_bits) >
            QCOW2_BITMAP_MAX_BYTES) {
            return error_set(err, -EFBIG,
                             "%s: its bitmap '%s' would have too many bits; "
                             "remove it, and add one with a larger granularity",
                             filename, b->entry.name);
        }
    }
    rc = mark(s, true); /* yields */
    return rc ? error_set_errno(err, rc, "%s: cannot mark its bitmaps",
                                filename)
              : 0;
}

void qcow2_bitmaps_resized(struct qcow2 *s)
{
    struct qcow2_bitmaps *all = s->bitmaps;

    for (guint i = 0; i < all->list->len; i++) {
        struct qcow2_bitmap *b = g_ptr_array_index(all->list, i);
        int64_t n =
            qcow2_bitmap_bits(s->header.size, b->entry.granularity_bits);

        b->resized = true;
        if (bitmap_bits_is_init(&b->bits) && !bitmap_bits_resize(&b->bits, n)) {
            b->entry.flags |= QCOW2_BITMAP_IN_USE;
        }
        qcow2_bitmaps_touch(all);
    }
}

/* -- Tables and bits ----------------------------------------------------- */

/* Can @entry be one of a bitmap of this image? */
static bool is_entry(const struct qcow2 *s, uint64_t entry)
{
    int64_t host = (int64_t)(entry & QCOW2_OFFSET_MASK);

    return !(entry & ENTRY_RESERVED) &&
           !(host && (entry & QCOW2_BITMAP_ONES)) &&
           is_aligned(host, s->cluster_size) && host < node_length(s->file) &&
           (!host || !s->guard || !guard_find(s->guard, host, 1));
}

int co_fn qcow2_co_bitmap_table(struct qcow2 *s, const struct qcow2_bitmap *b,
                                uint64_t **ret)
{
    int64_t n = b->entry.table_entries;
    uint64_t *table;
    int rc;

    if (n > 0 && (b->entry.table_offset == 0 ||
                  b->entry.table_offset > node_length(s->file) - n * 8)) {
        return -EINVAL;
    }
    table = malloc((size_t)max_i64(n * 8, 8));
    rc = table ? qcow2_co_read_table(s, b->entry.table_offset, table, n * 8)
               : -ENOMEM; /* yields */
    for (int64_t i = 0; i < n && rc == 0; i++) {
        table[i] = load_be64(&table[i]);
        rc = is_entry(s, table[i]) ? 0 : -EINVAL;
    }
    if (rc < 0) {
        free(table);
        return rc;
    }
    *ret = table;
    return 0;
}

int co_fn qcow2_co_bitmap_cluster(struct qcow2 *s, uint64_t entry, uint8_t *buf)
{
    int64_t host = (int64_t)(entry & QCOW2_OFFSET_MASK);

    if (host) {
        return qcow2_co_read_table(s, host, buf, s->cluster_size); /* yields */
    }
    memset(buf, entry & QCOW2_BITMAP_ONES ? 0xff : 0, (size_t)s->cluster_size);
    return 0;
}

uint64_t qcow2_bitmap_table_entry(const struct qcow2_bitmap *b,
                                  const uint64_t *table, int64_t i)
{
    return b->emptied || i >= b->entry.table_entries ? 0 : table[i];
}

const uint8_t *qcow2_bitmap_new_bits(const struct qcow2_bitmap *b, int64_t i)
{
    return bitmap_bits_is_init(&b->bits) ? b->bits.parts[i] : NULL;
}

int co_fn qcow2_co_bitmap_part(struct qcow2 *s, const struct qcow2_bitmap *b,
                               const uint64_t *table, int64_t i, uint8_t *buf)
{
    int64_t in_part = s->cluster_size * 8;
    int64_t n = qcow2_bitmap_bits(s->header.size, b->entry.granularity_bits);
    const uint8_t *more = qcow2_bitmap_new_bits(b, i);
    int rc = qcow2_co_bitmap_cluster(s, qcow2_bitmap_table_entry(b, table, i),
                                     buf); /* yields */

    if (rc < 0) {
        return rc;
    }
    if (more) {
        bitmap_bytes_or(buf, more, s->cluster_size);
    }
    bitmap_bytes_fill(buf, min_i64(n - i * in_part, in_part), in_part, false);
    return 0;
}
