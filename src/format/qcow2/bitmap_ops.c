/* SPDX-License-Identifier: MIT */
/*
 * bitmap_ops: what tools do with bitmaps: list, add, change, merge, measure.
 *
 * Changes are made in memory.  The caller has them stored, which takes effect
 * at one moment; see bitmaps.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "format/qcow2/bitmaps.h"
#include "format/qcow2/driver.h"
#include "format/qcow2/ops.h"
#include "format/qcow2/qcow2.h"

#define MIN_DEFAULT_GRANULARITY (4 * KiB)
#define MAX_DEFAULT_GRANULARITY (64 * KiB)

/* -- Looking at them ----------------------------------------------------- */

static int co_fn load(struct qcow2 *s, GError **err)
{
    const char *filename = node_filename(s->node);
    int rc;

    co_mutex_lock(&s->meta);       /* yields */
    rc = qcow2_co_bitmaps_load(s); /* yields */
    co_mutex_unlock(&s->meta);
    if (rc == -EINVAL) {
        error_set(err, rc,
                  "%s: the directory of its bitmaps is damaged; the disk can "
                  "be read: convert it",
                  filename);
    } else if (rc == -EOPNOTSUPP) {
        error_set(err, rc, "%s: has a bitmap of a kind that is not known here",
                  filename);
    } else if (rc < 0) {
        error_set_errno(err, rc, "%s: cannot read its bitmaps", filename);
    }
    return rc;
}

/* In the order of the directory. */
static const struct qcow2_bitmap *nth(const struct qcow2 *s, guint i)
{
    return i < s->bitmaps->list->len ? g_ptr_array_index(s->bitmaps->list, i)
                                     : NULL;
}

static void describe(const struct qcow2_bitmap_entry *e, struct json *out)
{
    json_object_begin(out, NULL);
    json_array_begin(out, "flags");
    if (e->flags & QCOW2_BITMAP_IN_USE) {
        json_string(out, NULL, "in-use");
    }
    if (e->flags & QCOW2_BITMAP_AUTO) {
        json_string(out, NULL, "auto");
    }
    json_array_end(out);
    json_string(out, "name", e->name);
    json_int(out, "granularity", INT64_C(1) << e->granularity_bits);
    json_object_end(out);
}

int co_fn qcow2_co_bitmaps_json(struct qcow2 *s, struct json *out, GError **err)
{
    const struct qcow2_bitmap *b;
    int rc = load(s, err); /* yields */

    if (rc < 0 || !nth(s, 0)) {
        return rc;
    }
    json_array_begin(out, "bitmaps");
    for (guint i = 0; (b = nth(s, i)); i++) {
        describe(&b->entry, out);
    }
    json_array_end(out);
    return 0;
}

int co_fn qcow2_co_bitmap_list(struct node *node, GArray **ret, GError **err)
{
    struct qcow2 *s = qcow2_of(node);
    const struct qcow2_bitmap *b;
    GArray *list;
    int rc = load(s, err); /* yields */

    if (rc < 0) {
        return rc;
    }
    list = g_array_new(FALSE, FALSE, sizeof(struct image_bitmap));
    g_array_set_clear_func(list, (GDestroyNotify)image_bitmap_clear);
    for (guint i = 0; (b = nth(s, i)); i++) {
        struct image_bitmap item = {
            .name = g_strdup(b->entry.name),
            .granularity = INT64_C(1) << b->entry.granularity_bits,
            .enabled = (b->entry.flags & QCOW2_BITMAP_AUTO) != 0,
            .usable = qcow2_bitmap_is_usable(b),
        };

        g_array_append_val(list, item);
    }
    *ret = list;
    return 0;
}

int co_fn qcow2_co_bitmaps_measure(struct qcow2 *s, unsigned cluster_bits,
                                   int64_t *ret, GError **err)
{
    int64_t cluster = INT64_C(1) << cluster_bits;
    const struct qcow2_bitmap *b;
    int64_t directory = 0, bytes = 0;
    int rc = load(s, err); /* yields */

    if (rc < 0) {
        return rc;
    }
    for (guint i = 0; (b = nth(s, i)); i++) {
        int64_t n =
            qcow2_bitmap_bytes(node_length(s->node), b->entry.granularity_bits);

        n = align_up(n, cluster);
        bytes += n + align_up((n >> cluster_bits) * 8, cluster);
        directory += qcow2_bitmap_entry_bytes(&b->entry);
    }
    *ret = bytes + align_up(directory, cluster);
    return 0;
}

/* -- Changing ------------------------------------------------------------ */

static int co_fn begin(struct qcow2 *s, GError **err)
{
    int rc = load(s, err); /* yields */

    if (rc < 0) {
        return rc;
    }
    rc = qcow2_co_begin_change(s); /* yields */
    return rc ? error_set_errno(err, rc, "%s", node_filename(s->node)) : 0;
}

static struct qcow2_bitmap *find(const struct qcow2 *s, const char *name)
{
    const GPtrArray *list = s->bitmaps->list;

    for (guint i = 0; i < list->len; i++) {
        struct qcow2_bitmap *b = g_ptr_array_index(list, i);

        if (strcmp(b->entry.name, name) == 0) {
            return b;
        }
    }
    return NULL;
}

/* The bitmap @name; with @usable only one that is. */
static struct qcow2_bitmap *get(const struct qcow2 *s, const char *name,
                                bool usable, GError **err)
{
    const char *filename = node_filename(s->node);
    struct qcow2_bitmap *b = find(s, name);

    if (!b) {
        error_set(err, -ENOENT, "%s: has no bitmap '%s'; 'info' lists them",
                  filename, name);
        return NULL;
    }
    if (usable && (b->entry.flags & QCOW2_BITMAP_IN_USE)) {
        error_set(err, -EINVAL,
                  "%s: bitmap '%s' is not consistent, since the image was not "
                  "closed: it can only be removed",
                  filename, name);
        return NULL;
    }
    if (usable && !qcow2_bitmap_is_usable(b)) {
        error_set(err, -EOPNOTSUPP,
                  "%s: bitmap '%s' has data that are not known here; it can "
                  "only be removed",
                  filename, name);
        return NULL;
    }
    return b;
}

/* log2 of the granularity to be, or a negative errno. */
static int choose_bits(const struct qcow2 *s, int64_t granularity, GError **err)
{
    const char *filename = node_filename(s->node);

    if (granularity == 0) {
        granularity = max_i64(MIN_DEFAULT_GRANULARITY, s->cluster_size);
        granularity = min_i64(MAX_DEFAULT_GRANULARITY, granularity);
    }
    if (granularity < INT64_C(1) << QCOW2_BITMAP_MIN_BITS ||
        granularity > INT64_C(1) << QCOW2_BITMAP_MAX_BITS ||
        !is_power_of_2(granularity)) {
        return error_set(err, -EINVAL,
                         "%s: a granularity of %" PRId64
                         " is no power of two from 512 to 2G",
                         filename, granularity);
    }
    return __builtin_ctzll((unsigned long long)granularity);
}

static int check_name(const struct qcow2 *s, const char *name, GError **err)
{
    const char *filename = node_filename(s->node);

    if (!*name) {
        return error_set(err, -EINVAL, "%s: a bitmap needs a name", filename);
    }
    if (strlen(name) > QCOW2_BITMAP_MAX_NAME) {
        return error_set(err, -EINVAL,
                         "%s: the name of a bitmap can have %d bytes", filename,
                         QCOW2_BITMAP_MAX_NAME);
    }
    if (find(s, name)) {
        return error_set(err, -EEXIST,
                         "%s: has a bitmap '%s' already; remove it, or choose "
                         "another name",
                         filename, name);
    }
    return 0;
}

static int check_room(const struct qcow2 *s, int bits, GError **err)
{
    const char *filename = node_filename(s->node);

    if (s->header.version < 3) {
        return error_set(err, -EOPNOTSUPP,
                         "%s: is of version 2, which has no bitmaps; amend it "
                         "to compat=1.1",
                         filename);
    }
    if (s->bitmaps->list->len >= QCOW2_MAX_BITMAPS) {
        return error_set(err, -EFBIG,
                         "%s: has %d bitmaps, more are not possible; remove "
                         "some first",
                         filename, QCOW2_MAX_BITMAPS);
    }
    if (qcow2_bitmap_bytes(s->header.size, (unsigned)bits) >
        QCOW2_BITMAP_MAX_BYTES) {
        return error_set(err, -EFBIG,
                         "%s: a bitmap with a granularity of %" PRId64
                         " would have too many bits; give a larger one",
                         filename, INT64_C(1) << bits);
    }
    return 0;
}

int co_fn qcow2_co_bitmap_add(struct node *node, const char *name,
                              int64_t granularity, bool enabled, GError **err)
{
    struct qcow2 *s = qcow2_of(node);
    struct qcow2_bitmap *b;
    int bits;
    int rc = load(s, err); /* yields */

    bits = rc ? rc : choose_bits(s, granularity, err);
    rc = bits < 0 ? bits : check_name(s, name, err);
    rc = rc ? rc : check_room(s, bits, err);
    rc = rc ? rc : begin(s, err); /* yields */
    if (rc < 0) {
        return rc;
    }
    b = g_new0(struct qcow2_bitmap, 1);
    b->entry.name = g_strdup(name);
    b->entry.granularity_bits = (unsigned)bits;
    b->entry.flags = enabled ? QCOW2_BITMAP_AUTO : 0;
    b->emptied = true;
    g_ptr_array_add(s->bitmaps->list, b);
    qcow2_bitmaps_touch(s->bitmaps);
    return 0;
}

/* Notes what @b has on disk as garbage.  Of a table that is none nothing can
 * be told; then its clusters leak. */
static int co_fn discard(struct qcow2 *s, const struct qcow2_bitmap *b)
{
    GArray *garbage = s->bitmaps->garbage;
    struct bitmap_place p = {b->entry.table_offset,
                             (int64_t)b->entry.table_entries * 8};
    uint64_t *table;
    int rc = qcow2_co_bitmap_table(s, b, &table); /* yields */

    if (rc < 0) {
        return rc == -ENOMEM ? rc : 0;
    }
    if (p.bytes > 0) {
        g_array_append_val(garbage, p);
    }
    for (uint32_t i = 0; i < b->entry.table_entries; i++) {
        p.offset = (int64_t)(table[i] & QCOW2_OFFSET_MASK);
        p.bytes = s->cluster_size;
        if (p.offset) {
            g_array_append_val(garbage, p);
        }
    }
    free(table);
    return 0;
}

static int co_fn remove_bitmap(struct qcow2 *s, struct qcow2_bitmap *b,
                               GError **err)
{
    int rc = discard(s, b); /* yields */

    if (rc < 0) {
        return error_set_errno(err, rc, "%s: cannot remove bitmap '%s'",
                               node_filename(s->node), b->entry.name);
    }
    (void)g_ptr_array_remove(s->bitmaps->list, b);
    return 0;
}

int co_fn qcow2_co_bitmap_change(struct node *node, const char *name,
                                 enum image_bitmap_change what, GError **err)
{
    struct qcow2 *s = qcow2_of(node);
    struct qcow2_bitmap *b;
    int rc = begin(s, err); /* yields */

    b = rc ? NULL : get(s, name, what != IMAGE_BITMAP_REMOVE, err);
    if (!b) {
        return rc ? rc : -ENOENT;
    }
    switch (what) {
    case IMAGE_BITMAP_REMOVE:
        rc = remove_bitmap(s, b, err); /* yields */
        break;
    case IMAGE_BITMAP_CLEAR:
        bitmap_bits_fini(&b->bits);
        b->emptied = true;
        break;
    case IMAGE_BITMAP_ENABLE:
        b->entry.flags |= QCOW2_BITMAP_AUTO;
        break;
    case IMAGE_BITMAP_DISABLE:
        b->entry.flags &= ~(uint32_t)QCOW2_BITMAP_AUTO;
        break;
    }
    if (rc == 0) {
        qcow2_bitmaps_touch(s->bitmaps);
    }
    return rc;
}

/* -- Merging ------------------------------------------------------------- */

/* Adds the bits of a part of a bitmap, which begins with bit @first. */
static void merge_part(struct qcow2 *s, struct qcow2_bitmap *to,
                       const uint8_t *part, int64_t first, int64_t n,
                       unsigned shift)
{
    int64_t pos = 0, end;

    while ((end = bitmap_bytes_run(part, &pos, n)) > 0) {
        int64_t offset = (first + pos) << shift;
        int64_t stop = min_i64((first + end) << shift, s->header.size);

        qcow2_bitmap_set(s, to, offset, stop - offset);
        pos = end;
    }
}

static int co_fn merge_all(struct qcow2 *s, struct qcow2_bitmap *to,
                           struct qcow2 *from_s,
                           const struct qcow2_bitmap *from)
{
    int64_t in_part = from_s->cluster_size * 8;
    uint8_t *buf = malloc((size_t)from_s->cluster_size);
    uint64_t *table = NULL;
    int rc = buf ? qcow2_co_bitmap_table(from_s, from, &table) : -ENOMEM;

    for (int64_t i = 0; rc == 0 && i < qcow2_bitmap_parts(from_s, from); i++) {
        rc = qcow2_co_bitmap_part(from_s, from, table, i, buf); /* yields */
        if (rc == 0) {
            merge_part(s, to, buf, i * in_part, in_part,
                       from->entry.granularity_bits);
        }
    }
    free(table);
    free(buf);
    return rc;
}

int co_fn qcow2_co_bitmap_merge(struct node *node, const char *name,
                                struct node *src, const char *src_name,
                                GError **err)
{
    struct qcow2 *s = qcow2_of(node), *from_s = qcow2_of(src);
    struct qcow2_bitmap *to, *from;
    int rc = begin(s, err); /* yields */

    rc = rc ? rc : load(from_s, err); /* yields */
    to = rc ? NULL : get(s, name, true, err);
    from = to ? get(from_s, src_name, true, err) : NULL;
    if (!from) {
        return rc ? rc : -ENOENT;
    }
    if (s->header.size != from_s->header.size) {
        return error_set(err, -EINVAL,
                         "%s: bitmap '%s' is for a disk of %" PRId64
                         " bytes; it cannot be merged into one of %" PRId64,
                         node_filename(src), src_name, from_s->header.size,
                         s->header.size);
    }
    if (from == to) {
        return 0;
    }
    rc = merge_all(s, to, from_s, from); /* yields */
    qcow2_bitmaps_touch(s->bitmaps);
    return rc ? error_set_errno(err, rc, "%s: cannot read bitmap '%s'",
                                node_filename(src), src_name)
              : 0;
}

int co_fn qcow2_co_bitmap_store(struct node *node, GError **err)
{
    struct qcow2 *s = qcow2_of(node);
    int rc = qcow2_co_bitmaps_store(s); /* yields */

    return rc ? error_set_errno(err, rc, "%s: cannot store its bitmaps",
                                node_filename(node))
              : 0;
}
