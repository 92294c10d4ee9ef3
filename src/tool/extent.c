/* SPDX-License-Identifier: MIT */

#include "tool/extent.h"

#include <string.h>

#include "base/align.h"
#include "block/driver.h"
#include "block/node.h"
#include "tool/open.h"

struct node *extent_skip_filters(struct node *node)
{
    while (node_driver(node)->traits & DRIVER_FILTER) {
        struct node *below = node_file(node);

        /* raw on top of a file is the image; so is a filter's leaf. */
        if (!below || (node_driver(below)->traits & DRIVER_LEAF)) {
            break;
        }
        node = below;
    }
    return node;
}

struct node *extent_backing(struct node *node)
{
    return node_child(extent_skip_filters(node), "backing");
}

/* What is behind the end, up to a whole sector. */
static void extent_set_padding(struct node *node, int64_t offset, int64_t bytes,
                               struct extent *ret)
{
    bool raw = strcmp(node_driver(node)->name, "raw") == 0;

    *ret = (struct extent){
        .offset = offset,
        .bytes = bytes,
        .present = true,
        .zero = true,
        .map = raw ? offset : -1,
        .file = raw ? node_file(node) : NULL,
    };
}

static void extent_set(const struct block_status *st, int64_t offset, int depth,
                       struct extent *ret)
{
    bool mapped = st->flags & BLOCK_OFFSET_VALID;

    *ret = (struct extent){
        .offset = offset,
        .bytes = st->bytes,
        .depth = depth,
        .present = st->flags & BLOCK_ALLOCATED,
        .zero = st->flags & BLOCK_ZERO,
        .data = st->flags & BLOCK_DATA,
        .compressed = st->flags & BLOCK_COMPRESSED,
        .map = mapped ? st->map : -1,
        .file = mapped ? st->file : NULL,
    };
}

int co_fn extent_co_get(struct node *node, struct node *base, int64_t offset,
                        int64_t bytes, struct extent *ret)
{
    const unsigned decided = BLOCK_DATA | BLOCK_ZERO | BLOCK_ALLOCATED;
    struct block_status st = {.bytes = bytes};
    int depth = 0;

    if (offset >= node_length(node)) {
        extent_set_padding(node, offset, bytes, ret);
        return 0;
    }
    for (struct node *p = node;;) {
        int rc = node_co_block_status(p, true, offset, bytes, &st);

        if (rc < 0) {
            return rc;
        }
        if (st.flags & decided) {
            break;
        }
        bytes = st.bytes;
        p = extent_backing(p);
        if (!p || p == base) {
            st = (struct block_status){.bytes = bytes};
            break;
        }
        depth++;
    }
    extent_set(&st, offset, depth, ret);
    return 0;
}

bool extent_continues(const struct extent *e, const struct extent *next)
{
    return next->offset == e->offset + e->bytes && next->depth == e->depth &&
           next->present == e->present && next->zero == e->zero &&
           next->data == e->data && next->compressed == e->compressed &&
           next->file == e->file &&
           (e->map < 0 ? next->map < 0 : next->map == e->map + e->bytes);
}

struct extent extent_slice(const struct extent *e, int64_t offset,
                           int64_t bytes)
{
    struct extent part = *e;
    int64_t skip = offset - e->offset;

    part.offset = offset;
    part.bytes = min_i64(bytes, e->bytes - skip);
    part.map += e->map < 0 ? 0 : skip;
    return part;
}

int co_fn extent_cursor_co_at(struct extent_cursor *c, int64_t offset,
                              int64_t end, struct extent *ret)
{
    if (offset < c->run.offset || offset >= c->run.offset + c->run.bytes) {
        int rc = extent_co_get(c->node, c->base, offset,
                               tool_length(c->node) - offset, &c->run);

        if (rc < 0) {
            c->run.bytes = 0;
            return rc;
        }
    }
    *ret = extent_slice(&c->run, offset, end - offset);
    return 0;
}

int co_fn extent_co_walk(struct node *node, int64_t offset, int64_t end,
                         int (*each)(void *opaque, const struct extent *e),
                         void *opaque)
{
    struct extent run = {.bytes = 0};
    int rc = 0;

    while (offset < end && rc == 0) {
        struct extent e;

        rc = extent_co_get(node, NULL, offset, end - offset, &e); /* yields */
        if (rc < 0) {
            return rc;
        }
        offset += e.bytes;
        if (run.bytes > 0 && extent_continues(&run, &e)) {
            run.bytes += e.bytes;
            continue;
        }
        if (run.bytes > 0) {
            rc = each(opaque, &run);
        }
        run = e;
    }
    if (rc == 0 && run.bytes > 0) {
        rc = each(opaque, &run);
    }
    return rc;
}
