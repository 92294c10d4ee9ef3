/* SPDX-License-Identifier: MIT */
/*
 * status: where the bytes of a range come from.
 *
 * A snapshot: nothing stops a write from changing the answer at once.  So
 * these requests conflict with nobody; only drain waits for them.
 */
#include "block/node_priv.h"

/* What a driver that cannot tell is taken to mean. */
static void status_default(struct node *node, int64_t offset, int64_t bytes,
                           struct block_status *ret)
{
    *ret = (struct block_status){
        .flags = BLOCK_DATA | BLOCK_ALLOCATED,
        .bytes = bytes,
    };
    if ((node->drv->traits & DRIVER_FILTER) && node->file) {
        ret->flags = BLOCK_RAW | BLOCK_OFFSET_VALID;
        ret->map = offset;
        ret->file = node->file;
    }
}

/* The format says "data", but the file below may know them to be zeroes. */
static int co_fn status_recurse(bool precise, struct block_status *st)
{
    struct block_status below;
    int rc = node_co_block_status(st->file, precise, st->map, st->bytes,
                                  &below); /* yields */

    if (rc < 0) {
        return rc;
    }
    if (below.bytes == 0) {
        st->flags |= BLOCK_ZERO; /* past the end of the file */
        return 0;
    }
    st->flags |= below.flags & BLOCK_ZERO;
    st->bytes = min_i64(st->bytes, below.bytes);
    return 0;
}

/* Without data of its own and nothing behind it, a range reads as zeroes. */
static bool status_nothing_behind(const struct node *node, int64_t offset,
                                  struct block_status *st)
{
    const struct node *backing = node_child(node, "backing");
    int64_t length = backing ? node_length(backing) : 0;

    if (offset < length) {
        st->bytes = min_i64(st->bytes, length - offset);
    }
    return offset >= length;
}

static int co_fn status_complete(struct node *node, bool precise,
                                 int64_t offset, struct block_status *st)
{
    const unsigned recurse = BLOCK_RECURSE | BLOCK_DATA | BLOCK_OFFSET_VALID;
    int rc = 0;

    if (st->flags & BLOCK_RAW) {
        return node_co_block_status(st->file, precise, st->map, st->bytes, st);
    }
    if (st->flags & (BLOCK_DATA | BLOCK_ZERO)) {
        st->flags |= BLOCK_ALLOCATED;
    } else if (!(st->flags & BLOCK_ALLOCATED) &&
               status_nothing_behind(node, offset, st)) {
        st->flags |= BLOCK_ZERO;
    }
    if ((st->flags & recurse) == recurse && !(st->flags & BLOCK_ZERO) &&
        st->file != node) {
        rc = status_recurse(precise, st); /* yields */
    }
    st->flags &= ~(unsigned)BLOCK_RECURSE;
    return rc;
}

static int co_fn status_get(struct node *node, bool precise, int64_t offset,
                            int64_t bytes, struct block_status *ret)
{
    struct block_status st = {.bytes = bytes};
    int rc = 0;

    if (node->drv->co_block_status) {
        rc = node->drv->co_block_status(node, precise, offset, bytes, &st);
    } else {
        status_default(node, offset, bytes, &st);
    }
    if (rc == 0) {
        assert(st.bytes > 0 && st.bytes <= bytes);
        rc = status_complete(node, precise, offset, &st); /* yields */
    }
    if (rc < 0) {
        return rc;
    }
    st.flags &= ~(unsigned)BLOCK_EOF;
    if (st.bytes == 0) {
        /* The node is longer than what is below it by now. */
        st = (struct block_status){.flags = BLOCK_ZERO | BLOCK_ALLOCATED,
                                   .bytes = bytes};
    }
    if (offset + st.bytes >= node_length(node)) {
        st.flags |= BLOCK_EOF;
    }
    *ret = st;
    return 0;
}

int co_fn node_co_block_status(struct node *node, bool precise, int64_t offset,
                               int64_t bytes, struct block_status *ret)
{
    int64_t left = node_length(node) - offset;
    int rc;

    if (offset < 0 || bytes < 0) {
        return -EIO;
    }
    if (left <= 0 || bytes == 0) {
        *ret = (struct block_status){.flags = left <= 0 ? BLOCK_EOF : 0};
        return 0;
    }
    in_flight_begin(node);
    rc = status_get(node, precise, offset, min_i64(bytes, left), ret);
    in_flight_end(node);
    return rc;
}

/* The next node down the chain that may hold what @node does not. */
static struct node *status_next(const struct node *node)
{
    return node->drv->traits & DRIVER_FILTER ? node->file
                                             : node_child(node, "backing");
}

int co_fn node_co_status_above(struct node *node, struct node *base,
                               int64_t offset, int64_t bytes,
                               struct block_status *ret, int *depth)
{
    struct block_status st = {.flags = BLOCK_EOF};
    unsigned eof = 0;
    int layers = 0;

    for (struct node *p = node; p && p != base; p = status_next(p)) {
        int rc = node_co_block_status(p, true, offset, bytes, &st);

        if (rc < 0) {
            return rc;
        }
        layers += !(p->drv->traits & DRIVER_FILTER);
        if (p == node) {
            eof = st.flags & BLOCK_EOF;
        } else if (st.bytes == 0) {
            /* Past the end of a short backing file. */
            st = (struct block_status){.flags = BLOCK_ZERO | BLOCK_ALLOCATED,
                                       .bytes = bytes};
        }
        if (st.bytes < bytes) {
            eof = p == node ? eof : 0;
            bytes = st.bytes;
        }
        if (bytes == 0 || (st.flags & BLOCK_ALLOCATED)) {
            break;
        }
    }
    st.flags = (st.flags & ~(unsigned)BLOCK_EOF) | eof;
    *ret = st;
    if (depth) {
        *depth = layers;
    }
    return 0;
}
