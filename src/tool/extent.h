/* SPDX-License-Identifier: MIT */
/*
 * extent: where the bytes of an image come from, seen through its backing
 * files, in runs that are alike.
 *
 * Threading: coroutines.
 */
#ifndef TOOL_EXTENT_H
#define TOOL_EXTENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "co/co.h"

struct node;

struct extent {
    int64_t offset, bytes;
    int depth;    /* 0: the image itself, 1: its backing file, … */
    bool present; /* some image of the chain has it */
    bool zero;    /* reads as zeroes */
    bool data;    /* reads come from a file */
    bool compressed;
    int64_t map;       /* where in @file; -1: no single place */
    struct node *file; /* with @map; not a reference */
};

/*
 * Fills @ret for the run of @node that begins at @offset, at most @bytes long.
 * The range lies within tool_length().  What @base (NULL: none) or those below
 * it hold is not present.  One step: the next run may be alike.
 */
nodiscard int co_fn extent_co_get(struct node *node, struct node *base,
                                  int64_t offset, int64_t bytes,
                                  struct extent *ret);

/*
 * Walks an image forward and remembers the run it is in, so that asking again
 * for a later part of the same run costs nothing.
 */
struct extent_cursor {
    struct node *node, *base;
    struct extent run;
};

/* Sets @ret to what is at @offset, cut at @end. */
nodiscard int co_fn extent_cursor_co_at(struct extent_cursor *c, int64_t offset,
                                        int64_t end, struct extent *ret);

/* The part of @e from @offset on, at most @bytes. */
struct extent extent_slice(const struct extent *e, int64_t offset,
                           int64_t bytes);

/* Does @next go on where @e ends, and is it like it?  Pure. */
bool extent_continues(const struct extent *e, const struct extent *next);

/* The image below @node: its backing file, or NULL. */
struct node *extent_backing(struct node *node);

/* @node, or the first below it that is no filter. */
struct node *extent_skip_filters(struct node *node);

/*
 * Calls @each with all runs of [@offset, @end), joined where they are alike,
 * until it returns a negative errno.  Returns that, or the error of the image.
 */
nodiscard int co_fn extent_co_walk(
    struct node *node, int64_t offset, int64_t end,
    int (*each)(void *opaque, const struct extent *e), void *opaque);

#endif /* TOOL_EXTENT_H */
