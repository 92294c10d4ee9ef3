/* SPDX-License-Identifier: MIT */
/*
 * info: what an image is, alone or with its backing files.
 *
 * Threading: coroutines.
 */
#ifndef TOOL_INFO_H
#define TOOL_INFO_H

#include <glib.h>
#include <stdint.h>

#include "block/block.h"
#include "block/image.h"
#include "co/co.h"
#include "tool/open.h"

/* Everything that is told of one image; owns its strings. */
struct image_report {
    char *filename;
    char *format;
    int64_t virtual_size;
    int64_t actual_size; /* -1: not known */
    struct image_info info;
    GArray *snapshots; /* struct image_snapshot; NULL: the format has none */
    char *specific;    /* JSON of what only this format has; NULL: nothing */
    struct node_limits limits;
};

/* Frees what @r owns. */
void image_report_clear(struct image_report *r);

/* Describes the open image @node. */
nodiscard int co_fn info_co_get(struct node *node, struct image_report *ret,
                                GError **err);

/*
 * Opens @image, and with @chain each backing file below it, and describes
 * them, the image first.  NULL and *@err when one cannot be opened or is met
 * for the second time.
 */
GArray *co_fn info_co_chain(const struct tool_image *image, bool chain,
                            GError **err);

/* The snapshots of @node as struct image_snapshot; NULL: it can have none. */
nodiscard int co_fn info_co_snapshots(struct node *node, GArray **ret,
                                      GError **err);

#endif /* TOOL_INFO_H */
