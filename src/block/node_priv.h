/* SPDX-License-Identifier: MIT */
/*
 * node_priv: what the files of block/ share.  Nobody else includes it.
 *
 * One file per concern: node.c (lifetime, children, getters), open.c (from
 * options to a node), registry.c and magic.c (which driver), limits.c,
 * request.c (requests under way and their order), pad.c (alignment, bounce
 * memory, fragments), read.c, write.c, zeroes.c, discard.c, flush.c,
 * status.c, resize.c, copy.c and drain.c.
 *
 * Lock order: graph_lock (drain.c), then a parent's own locks, then
 * node->lock.  The last one is a leaf: nothing is taken inside of it.  None
 * is held over a yield.
 */
#ifndef BLOCK_NODE_PRIV_H
#define BLOCK_NODE_PRIV_H

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/align.h"
#include "base/iov.h"
#include "base/list.h"
#include "base/log.h"
#include "block/block.h"
#include "block/driver.h"
#include "block/node.h"
#include "co/co.h"
#include "loop/sync.h"

/* -- The node ------------------------------------------------------------ */

/* The hold of one node on another. */
struct edge {
    struct node *owner;
    struct node *child; /* a reference */
    char *name;
    struct node_parent parent; /* @owner, as @child sees it */
    struct list link;          /* owner->children */
};

struct node {
    /* Set while it opens, then constant, or changed while drained. */
    const struct driver *drv;
    void *state;
    char *filename; /* NULL: that of the child "file" */
    unsigned flags;
    bool rdonly;
    bool probed_raw;
    struct node *preopened;    /* the coming child "file", while it opens */
    const struct node *opener; /* whose image names it, while it opens */
    struct node *file;         /* the child "file", or NULL */
    struct list children;      /* struct edge */
    struct node_limits limits;

    /* Any thread. */
    atomic_int refs;
    _Atomic int64_t length;
    atomic_int detect_zeroes;

    /* Under graph_lock. */
    struct list parents; /* struct node_parent */

    pthread_mutex_t lock;
    /* Under @lock. */
    struct list requests; /* struct tracked, in order of arrival */
    unsigned serialising; /* how many of them are */
    unsigned in_flight;   /* requests of any kind, for drain */
    unsigned quiesced;    /* drains; changed under graph_lock as well */
    uint64_t write_gen;   /* writes completed so far */
    uint64_t flushed_gen; /* of those, how many are durable */
    bool flushing;        /* a flush of the disk is under way */
    struct list flushes;  /* struct flush_waiter */
    struct co_queue flush_queue;
};

static inline enum detect_zeroes node_detect_zeroes(struct node *node)
{
    return (enum detect_zeroes)atomic_load_explicit(&node->detect_zeroes,
                                                    memory_order_relaxed);
}

/* -- Requests under way (request.c) -------------------------------------- */

enum tracked_type {
    TRACKED_READ,
    TRACKED_WRITE, /* anything that changes what the node holds */
};

/*
 * A request from its arrival at a node to its completion; lives on the stack
 * of the coroutine that does it.
 *
 * Two requests conflict when their ranges share a byte and one of them is
 * serialising.  Of two that conflict, the later one waits until the earlier
 * one has ended, so they take effect in the order in which they arrived.
 *
 * It may pass where nobody can tell: when the earlier one still waits, and the
 * two meet in what goes along with the bytes they are about.  Then the earlier
 * one waits for it, too, and is passed no more.  Who is waited for although
 * it came later runs already and waits for nobody, so nobody can wait in a
 * circle.
 */
struct tracked {
    struct node *node;
    enum tracked_type type;
    /* The range that counts for conflicts; @bytes > 0. */
    int64_t offset, bytes;
    /* What of it the request is about; none: all. */
    int64_t own_offset, own_bytes;
    bool serialising;

    /* Set by tracked_begin(). */
    bool waited;        /* others ran meanwhile: look at the length again */
    bool running;       /* it waits no more */
    bool may_be_passed; /* it waits for the first time */
    struct list link;   /* node->requests */
    struct co_queue waiters; /* later requests that conflict */
};

/*
 * Registers @req and waits until no earlier request conflicts with it.
 * Returns 0, or -EBUSY when @flags have REQ_NO_WAIT and it would wait; @req is
 * not registered then.
 */
nodiscard int co_fn tracked_begin(struct tracked *req, unsigned flags);
/* The same for two requests that one operation needs at once: registers both
 * at one moment, and passes nobody, so that two such operations cannot wait in
 * a circle. */
void co_fn tracked_begin_two(struct tracked *a, struct tracked *b);
/* Ends it, and lets later ones go on.  A write counts for the next flush. */
void co_fn tracked_end(struct tracked *req);

/* For requests that drain must wait for and that overlap nobody. */
void co_fn in_flight_begin(struct node *node);
void co_fn in_flight_end(struct node *node);

/* -- Calls of the driver, with its preconditions asserted (pad.c) -------- */

nodiscard int co_fn driver_read(struct node *node, int64_t offset,
                                const struct iovs *dst);
nodiscard int co_fn driver_write(struct node *node, int64_t offset,
                                 const struct iovs *src, unsigned flags);
/* The same with one aligned buffer.  driver_read_buf() gives zeroes for what
 * lies past the length. */
nodiscard int co_fn driver_read_buf(struct node *node, int64_t offset,
                                    void *buf, int64_t bytes);
nodiscard int co_fn driver_write_buf(struct node *node, int64_t offset,
                                     void *buf, int64_t bytes, unsigned flags);

/* -- Alignment and fragments (pad.c) ------------------------------------- */

/*
 * How far around a write of the tail others must stay away: as far as the
 * host's page cache may touch a file for it.  Covers all page sizes.
 */
#define TAIL_GRANULE (64 * KiB)

/* Is memory @v as the driver wants it? */
static inline bool memory_fits(const struct node *node, const struct iovs *v)
{
    const struct node_limits *l = &node->limits;

    return l->mem_align == 1 ||
           iovs_is_aligned(v, l->mem_align, l->request_align);
}

static inline bool range_is_aligned(const struct node *node, int64_t offset,
                                    int64_t bytes)
{
    return is_aligned(offset | bytes, node->limits.request_align);
}

/* Can a request go to the driver as it is? */
static inline bool request_fits(const struct node *node, int64_t offset,
                                const struct iovs *v)
{
    const struct node_limits *l = &node->limits;

    return range_is_aligned(node, offset, v->bytes) &&
           v->bytes <= l->max_transfer && v->n <= l->max_iov &&
           memory_fits(node, v);
}

/* The most that one step through bounce memory takes. */
int64_t bounce_step(const struct node *node);

/*
 * Walks a request that is aligned, memory and all, but too long or too
 * scattered for one call of the driver.
 */
struct fragments {
    const struct node *node;
    const struct iovs *whole;
    struct iovec *iov; /* owned; room for one fragment */
    int64_t done;      /* bytes before the fragment */
    struct iovs part;  /* the fragment */
};

/* Returns 0, or -ENOMEM. */
nodiscard int fragments_init(struct fragments *f, const struct node *node,
                             const struct iovs *whole);
/* Sets @part to what follows @done: as much as the driver takes at once.
 * Returns false at the end, and when the next max_iov elements do not fill
 * one block; then @done is short of the whole. */
bool fragments_next(struct fragments *f);
void fragments_fini(struct fragments *f);

/* -- Names of images (name.c) -------------------------------------------- */

/* Is it json:{…}? */
bool name_is_json(const char *filename);
/* The options in a name that is, those of @over in place of its own; NULL and
 * *@err when it is malformed. */
struct options *name_parse_json(const char *filename,
                                const struct options *over, GError **err);
/* The driver that @filename begins with, as in blkdebug:…, or NULL.  Sets *@rest
 * (unless @rest is NULL) to what is behind the colon. */
const struct driver *name_to_driver(const char *filename, const char **rest);
/* Sets *@ret to the path in any other name.  0, or -EPROTONOSUPPORT. */
nodiscard int name_to_path(const char *filename, const char **ret,
                           GError **err);

/* -- Events (event.c) ---------------------------------------------------- */

/* What the core itself is about to do at @node; only its own driver hears. */
static inline void co_fn raise_event(struct node *node, enum node_event event)
{
    if (unlikely(node->drv->co_event)) {
        node->drv->co_event(node, event); /* yields */
    }
}

/* -- The rest ------------------------------------------------------------ */

/* Sets @node's limits from its children and its driver (limits.c). */
void limits_refresh(struct node *node);

/* May @bytes at @offset be written?  0, -EACCES, -EIO (write.c). */
nodiscard int write_check(const struct node *node, int64_t offset,
                          int64_t bytes);
/* Registers @req with the range that a write of these bytes must have to
 * itself, and checks again what the wait may have changed.  0, -EBUSY, -EIO
 * (write.c). */
nodiscard int co_fn write_begin(struct tracked *req, int64_t offset,
                                int64_t bytes, unsigned flags);
/* Writes any range from any memory, inside a request that write_begin() let
 * in.  @flags go to the driver (write.c). */
nodiscard int co_fn write_any(struct node *node, int64_t offset,
                              const struct iovs *src, unsigned flags);
/* After a write that reached @end: nodes that grow are longer now. */
void node_grown(struct node *node, int64_t end);
/* Those of @flags that the node allows and the driver @understood. */
unsigned write_flags(const struct node *node, unsigned flags,
                     unsigned understood);
/* Makes a completed write durable if @flags ask for it and @passed (what went
 * to the driver) did not. */
nodiscard int co_fn write_finish_fua(struct node *node, int rc, unsigned flags,
                                     unsigned passed);

/* Sets @e->parent so that @e->child sees @e->owner through it (drain.c). */
void edge_init_parent(struct edge *e);

#endif /* BLOCK_NODE_PRIV_H */
