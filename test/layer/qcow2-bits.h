/* SPDX-License-Identifier: MIT */
/*
 * qcow2-bits: bitmaps of qcow2 images, for tests that run on the rig.
 *
 * Failures end the test, but for those of change_bitmap_fails().
 */
#ifndef TEST_LAYER_QCOW2_BITS_H
#define TEST_LAYER_QCOW2_BITS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "block/image.h"
#include "block/node.h"

enum bits_verb {
    BITS_ADD,
    BITS_REMOVE,
    BITS_CLEAR,
    BITS_ENABLE,
    BITS_DISABLE,
    BITS_MERGE,
    BITS_STORE,
};

/* A change of bitmap @name. */
struct bits_change {
    enum bits_verb verb;
    const char *name;
    int64_t granularity; /* BITS_ADD */
    bool disabled;       /* BITS_ADD */
    struct node *src;    /* BITS_MERGE; NULL: the same */
    const char *src_name;
};

void bits_change(struct node *node, struct bits_change change);
/* One that must fail: the message. */
char *bits_change_error(struct node *node, struct bits_change change);

/* An array of struct image_bitmap. */
GArray *bits_list(struct node *node);

/* The bits of @name, a byte for each; g_free() it.  NULL when it is not there
 * or cannot be used. */
uint8_t *bits_get(struct node *node, const char *name, int64_t *ret_n);

#endif /* TEST_LAYER_QCOW2_BITS_H */
