/* SPDX-License-Identifier: MIT */
/*
 * zeroes: make a range read as zeroes.
 *
 * The driver's own way is used for what fills its zeroes_align; the edges, and
 * all of it when the driver has none, are written from one buffer of zeroes
 * that everybody shares.  Serialising, so that a write and zeroes of the same
 * bytes take effect in the order in which they came.
 */
#include <sys/mman.h>

#include "block/node_priv.h"

/* BLOCK_MAX_BOUNCE zeroes, never written; NULL when they cannot be mapped. */
static void *shared_zeroes;

static void shared_zeroes_map(void)
{
    void *p = mmap(NULL, BLOCK_MAX_BOUNCE, PROT_READ,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    shared_zeroes = p == MAP_FAILED ? NULL : p;
}

static void *zeroes_get(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, shared_zeroes_map);
    return shared_zeroes;
}

struct zeroes {
    struct node *node;
    int64_t align;    /* what the driver's own way needs; 0: it has none */
    unsigned flags;   /* the caller's */
    unsigned zpassed; /* of these, for co_pwrite_zeroes */
    unsigned wpassed; /* of these, for co_pwritev */
};

/* Writes zeroes like any data. */
static int co_fn zeroes_write(const struct zeroes *z, int64_t offset,
                              int64_t bytes)
{
    void *buf = zeroes_get();
    int rc = buf ? 0 : -ENOMEM;

    if (z->flags & REQ_NO_FALLBACK) {
        return -EOPNOTSUPP;
    }
    for (int64_t end = offset + bytes; offset < end && rc == 0;) {
        /* Cut at multiples, so that only the very edges are not aligned. */
        int64_t n = min_i64(BLOCK_MAX_BOUNCE, end - offset);
        int64_t whole = align_down(offset + n, BLOCK_MAX_BOUNCE) - offset;
        struct iovec iov;
        struct iovs src;

        n = whole > 0 ? whole : n;
        src = iovs_one(&iov, buf, n);
        rc = write_any(z->node, offset, &src, z->wpassed); /* yields */
        offset += n;
    }
    return rc;
}

/*
 * How many bytes at @offset are handled alike: edges that do not fill
 * z->align (*@own is false), or whole multiples of it.  The end of the node
 * counts as a multiple.
 */
static int64_t zeroes_piece(const struct zeroes *z, int64_t offset, int64_t end,
                            bool *own)
{
    int64_t max = z->node->limits.max_zeroes;
    int64_t whole;

    *own = false;
    if (!z->align) {
        return end - offset;
    }
    if (offset % z->align != 0) {
        return min_i64(round_up(offset, z->align), end) - offset;
    }
    whole = end == node_length(z->node) ? end : round_down(end, z->align);
    if (whole <= offset) {
        return end - offset;
    }
    *own = true;
    return min_non_zero(whole - offset, max);
}

/* The driver's own way. */
static int co_fn zeroes_own(const struct zeroes *z, int64_t offset,
                            int64_t bytes)
{
    const struct driver *drv = z->node->drv;
    int rc = drv->co_pwrite_zeroes(z->node, offset, bytes, z->zpassed);

    trace(BLOCK, "zeroes driver=%s offset=%" PRId64 " bytes=%" PRId64 " rc=%d",
          drv->name, offset, bytes, rc);
    return rc;
}

static int co_fn zeroes_do(struct zeroes *z, int64_t offset, int64_t bytes)
{
    int64_t end = offset + bytes;
    int rc = 0;

    while (offset < end && rc == 0) {
        bool own;
        int64_t n = zeroes_piece(z, offset, end, &own);

        rc = own ? zeroes_own(z, offset, n)
                 : zeroes_write(z, offset, n); /* yields */
        if (own && rc == -EOPNOTSUPP && !(z->flags & REQ_NO_FALLBACK)) {
            z->align = 0; /* it has no way after all */
            rc = 0;
        } else {
            offset += n;
        }
    }
    return rc;
}

/* A flush at the end stands for FUA unless each piece carries it. */
static unsigned zeroes_fua(const struct zeroes *z)
{
    return z->zpassed & z->wpassed & REQ_FUA;
}

int co_fn node_co_pwrite_zeroes(struct node *node, int64_t offset,
                                int64_t bytes, unsigned flags)
{
    const struct driver *drv = node->drv;
    struct tracked req = {
        .node = node,
        .type = TRACKED_WRITE,
        .serialising = true,
    };
    struct zeroes z = {
        .node = node,
        .flags = flags,
        .zpassed = write_flags(node, flags, drv->zeroes_flags),
        .wpassed = write_flags(node, flags, drv->write_flags),
    };
    int rc = write_check(node, offset, bytes);

    if (rc < 0 || bytes == 0) {
        return rc;
    }
    if (drv->co_pwrite_zeroes) {
        z.align = node->limits.zeroes_align;
    }
    rc = write_begin(&req, offset, bytes, flags); /* yields */
    if (rc < 0) {
        return rc;
    }
    raise_event(node, EVENT_PWRITEV_ZERO); /* yields */
    rc = zeroes_do(&z, offset, bytes);     /* yields */
    raise_event(node, EVENT_PWRITEV_DONE); /* yields */
    if (rc == 0) {
        node_grown(node, offset + bytes);
    }
    tracked_end(&req);
    return write_finish_fua(node, rc, flags, zeroes_fua(&z)); /* yields */
}
