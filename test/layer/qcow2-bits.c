/* SPDX-License-Identifier: MIT */

#include "qcow2-bits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/driver.h"
#include "format/qcow2/bitmaps.h"
#include "format/qcow2/driver.h"
#include "format/qcow2/qcow2.h"
#include "qcow2-rig.h"

struct call {
    struct node *node;
    struct bits_change change;
    GArray *list;
    const char *name;
    uint8_t *bits;
    int64_t n;
    GError *err;
    int rc;
};

/* -- Changing ------------------------------------------------------------ */

static int co_fn change(const struct image_ops *ops, struct node *node,
                        const struct bits_change *c, GError **err)
{
    switch (c->verb) {
    case BITS_ADD:
        return ops->co_bitmap_add(node, c->name, c->granularity, !c->disabled,
                                  err);
    case BITS_REMOVE:
        return ops->co_bitmap_change(node, c->name, IMAGE_BITMAP_REMOVE, err);
    case BITS_CLEAR:
        return ops->co_bitmap_change(node, c->name, IMAGE_BITMAP_CLEAR, err);
    case BITS_ENABLE:
        return ops->co_bitmap_change(node, c->name, IMAGE_BITMAP_ENABLE, err);
    case BITS_DISABLE:
        return ops->co_bitmap_change(node, c->name, IMAGE_BITMAP_DISABLE, err);
    case BITS_MERGE:
        return ops->co_bitmap_merge(node, c->name, c->src ? c->src : node,
                                    c->src_name, err);
    case BITS_STORE:
        return ops->co_bitmap_store(node, err);
    }
    return -EINVAL;
}

static void change_entry(void *opaque)
{
    struct call *c = opaque;

    co_assert_role();
    c->rc = change(driver_qcow2.image, c->node, &c->change, &c->err);
}

void bits_change(struct node *node, struct bits_change change)
{
    struct call c = {.node = node, .change = change};

    rig_run(change_entry, &c);
    g_assert_no_error(c.err);
    g_assert_cmpint(c.rc, ==, 0);
}

char *bits_change_error(struct node *node, struct bits_change change)
{
    struct call c = {.node = node, .change = change};
    char *message;

    rig_run(change_entry, &c);
    g_assert_cmpint(c.rc, <, 0);
    g_assert_nonnull(c.err);
    message = g_strdup(c.err->message);
    g_error_free(c.err);
    return message;
}

/* -- Looking ------------------------------------------------------------- */

static void listing_entry(void *opaque)
{
    struct call *c = opaque;

    co_assert_role();
    c->rc = driver_qcow2.image->co_bitmap_list(c->node, &c->list, &c->err);
}

GArray *bits_list(struct node *node)
{
    struct call c = {.node = node};

    rig_run(listing_entry, &c);
    g_assert_no_error(c.err);
    g_assert_cmpint(c.rc, ==, 0);
    return c.list;
}

static struct qcow2_bitmap *find(struct qcow2 *s, const char *name)
{
    for (guint i = 0; i < s->bitmaps->list->len; i++) {
        struct qcow2_bitmap *b = g_ptr_array_index(s->bitmaps->list, i);

        if (strcmp(b->entry.name, name) == 0) {
            return b;
        }
    }
    return NULL;
}

/* All parts, one after the other. */
static int co_fn read_parts(struct qcow2 *s, const struct qcow2_bitmap *b,
                            uint8_t *buf)
{
    uint64_t *table = NULL;
    int rc = qcow2_co_bitmap_table(s, b, &table); /* yields */

    for (int64_t i = 0; i < qcow2_bitmap_parts(s, b) && rc == 0; i++) {
        rc = qcow2_co_bitmap_part(s, b, table, i, buf + i * s->cluster_size);
    }
    free(table);
    return rc;
}

static void get_entry(void *opaque)
{
    struct call *c = opaque;
    struct qcow2 *s = qcow2_of(c->node);
    const struct qcow2_bitmap *b = find(s, c->name);
    g_autofree uint8_t *buf = NULL;

    co_assert_role();
    if (!b || !qcow2_bitmap_is_usable(b)) {
        return;
    }
    buf = g_malloc((gsize)(qcow2_bitmap_parts(s, b) * s->cluster_size));
    c->rc = read_parts(s, b, buf); /* yields */
    c->n = qcow2_bitmap_bits(s->header.size, b->entry.granularity_bits);
    c->bits = g_malloc((gsize)c->n + 1);
    for (int64_t i = 0; i < c->n; i++) {
        c->bits[i] = buf[i / 8] >> i % 8 & 1;
    }
}

uint8_t *bits_get(struct node *node, const char *name, int64_t *ret_n)
{
    struct call c = {.node = node, .name = name};

    g_array_unref(bits_list(node)); /* loads them */
    rig_run(get_entry, &c);
    g_assert_cmpint(c.rc, ==, 0);
    *ret_n = c.n;
    return c.bits;
}
