/* SPDX-License-Identifier: MIT */
/*
 * bitmap: changes and copies the dirty bitmaps of images.
 *
 * Errors:    GError, one line that names the image and the remedy.
 * Threading: coroutines.
 */
#ifndef TOOL_BITMAP_H
#define TOOL_BITMAP_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "co/co.h"
#include "tool/open.h"

struct node;

enum bitmap_verb {
    BITMAP_ADD,
    BITMAP_REMOVE,
    BITMAP_CLEAR,
    BITMAP_ENABLE,
    BITMAP_DISABLE,
    BITMAP_MERGE,
};

struct bitmap_action {
    enum bitmap_verb verb;
    const char *source; /* BITMAP_MERGE: the bitmap whose bits are added */
};

struct bitmap_request {
    struct tool_image image;
    const char *name; /* of the bitmap */
    const struct bitmap_action *actions;
    unsigned n_actions;
    int64_t granularity;      /* BITMAP_ADD; 0: what suits the image */
    struct tool_image source; /* has those that are merged; name NULL: @image */
};

/*
 * Does one after the other.  If one fails, those before it stand, and those
 * behind it are not done.
 */
nodiscard int co_fn bitmap_co_run(const struct bitmap_request *rq,
                                  GError **err);

/* -- Copying all of them into another image ------------------------------ */

struct bitmap_copy {
    struct node *from, *to; /* filters may be above the images */
    bool skip_broken;
    /* Told of each that is left out because it is not consistent. */
    void (*skipped)(void *opaque, const char *name);
    void *opaque;
    GArray *list; /* internal: struct image_bitmap */
};

/* Finds out what there is to copy, before @to is made: may be NULL yet.  To be
 * followed by bitmap_copy_fini(), whatever it returns. */
nodiscard int co_fn bitmap_copy_co_look(struct bitmap_copy *c, GError **err);
/* Before data are copied: adds bitmaps that do not record that. */
nodiscard int co_fn bitmap_copy_co_add(const struct bitmap_copy *c,
                                       GError **err);
/* And after: makes them what they are in the source, on disk. */
nodiscard int co_fn bitmap_copy_co_fill(const struct bitmap_copy *c,
                                        GError **err);
void bitmap_copy_fini(struct bitmap_copy *c);

#endif /* TOOL_BITMAP_H */
