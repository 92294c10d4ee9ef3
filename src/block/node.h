/* SPDX-License-Identifier: MIT */
/*
 * node: the graph of block nodes, and the I/O that every node can do.
 *
 * A node is one driver's view of data: a file, a window of it, a qcow2 image.
 * It reads and writes its children, whose references it holds.  Each rule
 * that holds for all drivers (range checks, alignment, overlap, splitting,
 * zeroes, flush, drain) is applied here, once, for each node that a request
 * passes.
 *
 * Units:     bytes, int64_t, never negative.
 * Errors:    negative errno; GError where a person must be told.
 * Threading: I/O from coroutines of any loop, several at once.  The graph
 *            changes only while the nodes concerned are drained.  node_ref()
 *            and the plain getters: any thread.
 */
#ifndef BLOCK_NODE_H
#define BLOCK_NODE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/iov.h"
#include "base/list.h"
#include "base/options.h"
#include "block/block.h"
#include "co/co.h"

struct driver;
struct node;

/* -- Opening and lifetime ------------------------------------------------ */

/*
 * Opens a node as @opts say: "driver" names the driver, "file.…" are the
 * options of its child, the rest is the driver's.  All nodes know detect-zeroes
 * and, in place of @flags, read-only, discard, cache.direct, cache.no-flush and
 * force-share.  Consumes @opts.  Every
 * option must be understood by somebody.  Returns NULL and sets *@err.
 */
struct node *co_fn node_co_open(struct options *opts, unsigned flags,
                                GError **err);

/*
 * Opens @filename, a path or json:{options}: "driver" in @opts (NULL: none), or
 * else a probe of its first bytes, decides the format, and file or host_device
 * the leaf.  A format that was probed as raw is remembered: node_probed_raw().
 * Consumes @opts.
 */
struct node *co_fn node_co_open_file(const char *filename, struct options *opts,
                                     unsigned flags, GError **err);

/* Opens a node of @driver on top of @child, its "file", whose reference it
 * takes, also when it fails.  @opts (NULL: none) are its own, consumed. */
struct node *co_fn node_co_open_above(const char *driver, struct node *child,
                                      struct options *opts, GError **err);

/*
 * Makes the host file @filename, or empties it, with @bytes that read as
 * zeroes; of a device it checks that it is as large.  For co_create of
 * formats.  Takes preallocation, nocow and extent_size_hint out of @opts.
 * Returns 0 or a negative errno.
 */
nodiscard int co_fn node_co_create_file(const char *filename, int64_t bytes,
                                        struct options *opts, GError **err);

struct node *node_ref(struct node *node);
/* Drops a reference; the last one flushes and closes.  NULL is fine.  Returns
 * 0, or the negative errno of that last flush. */
int co_fn node_co_unref(struct node *node);

/* For co_open of a driver: opens the child @name from the options with the
 * prefix "@name." and attaches it.  Returns 0 or a negative errno. */
nodiscard int co_fn node_co_open_child(struct node *node, const char *name,
                                       struct options *opts, unsigned flags,
                                       GError **err);
/*
 * The same for a child that the image of @node names: opens @filename as
 * node_co_open_file() does, or with NULL what @opts, which are the child's own
 * and are consumed, say.  An image that, by whatever way, names itself is
 * refused with -ELOOP.
 */
nodiscard int co_fn node_co_open_named_child(struct node *node,
                                             const char *name,
                                             const char *filename,
                                             struct options *opts,
                                             unsigned flags, GError **err);
/* Attaches (takes a reference) or, with NULL, detaches.  Drained. */
void co_fn node_co_set_child(struct node *node, const char *name,
                             struct node *child);
struct node *node_child(const struct node *node, const char *name);
/* The child "file", fast. */
struct node *node_file(const struct node *node);
/* Is the file or device @filename that of @node, or of one below it? */
bool node_uses_file(const struct node *node, const char *filename);

/* -- What it is ---------------------------------------------------------- */

void *node_state(struct node *node); /* the driver's own struct */
const struct driver *node_driver(const struct node *node);
unsigned node_flags(const struct node *node); /* enum node_flags */
bool node_is_rdonly(const struct node *node);
bool node_probed_raw(const struct node *node);
const char *node_filename(const struct node *node); /* never NULL */
void node_set_filename(struct node *node, const char *filename);
int64_t node_length(const struct node *node);
void node_set_length(struct node *node, int64_t length); /* drivers */
const struct node_limits *node_limits(const struct node *node);
void node_set_detect_zeroes(struct node *node, enum detect_zeroes mode);

/* -- I/O ----------------------------------------------------------------- */

/*
 * Reads @dst->bytes at @offset.  There are no short reads; any offset, length
 * and memory will do.  Returns 0, -EIO when the range passes the end, or the
 * host's error (@dst is then undefined).
 */
nodiscard int co_fn node_co_preadv(struct node *node, int64_t offset,
                                   const struct iovs *dst, unsigned flags);

/* The same; what is past the end reads as zeroes.  Or -ENOMEM. */
nodiscard int co_fn node_co_preadv_past_end(struct node *node, int64_t offset,
                                            const struct iovs *dst);

/*
 * Writes @src at @offset.  Returns 0, -EACCES (read-only), -EIO (range), or
 * the host's error; the range is then undefined, no byte outside of it is.
 */
nodiscard int co_fn node_co_pwritev(struct node *node, int64_t offset,
                                    const struct iovs *src, unsigned flags);

/* The same with one plain buffer, for metadata. */
nodiscard int co_fn node_co_pread(struct node *node, int64_t offset, void *buf,
                                  int64_t bytes);
nodiscard int co_fn node_co_pwrite(struct node *node, int64_t offset,
                                   const void *buf, int64_t bytes,
                                   unsigned flags);

/* Makes a range read as zeroes; deallocates when REQ_MAY_UNMAP and the node
 * was opened with NODE_UNMAP. */
nodiscard int co_fn node_co_pwrite_zeroes(struct node *node, int64_t offset,
                                          int64_t bytes, unsigned flags);

/* Tells the host that a range is not needed; a no-op without NODE_UNMAP. */
nodiscard int co_fn node_co_pdiscard(struct node *node, int64_t offset,
                                     int64_t bytes);

/* Reserves space for a range where the host can; content stays. */
nodiscard int co_fn node_co_allocate(struct node *node, int64_t offset,
                                     int64_t bytes);

/* All writes that had completed before are durable when this returns 0. */
nodiscard int co_fn node_co_flush(struct node *node);

/*
 * What the bytes at @offset are, and how far that holds (at most @bytes; 0,
 * with BLOCK_EOF, only at and past the end).  This node only;
 * node_co_status_above() follows the backing chain down to, and without, @base
 * (NULL: all of it) and sets *@depth (may be NULL).
 */
nodiscard int co_fn node_co_block_status(struct node *node, bool precise,
                                         int64_t offset, int64_t bytes,
                                         struct block_status *ret);
nodiscard int co_fn node_co_status_above(struct node *node, struct node *base,
                                         int64_t offset, int64_t bytes,
                                         struct block_status *ret, int *depth);

nodiscard int co_fn node_co_truncate(struct node *node, int64_t length,
                                     enum prealloc_mode prealloc,
                                     unsigned flags, GError **err);
nodiscard int co_fn node_co_stat(struct node *node, struct node_stat *ret);
/* Copies on the host; -EOPNOTSUPP when the two nodes cannot. */
nodiscard int co_fn node_co_copy_range(struct node *src, int64_t src_offset,
                                       struct node *dst, int64_t dst_offset,
                                       int64_t bytes, unsigned flags);
nodiscard int co_fn node_co_invalidate(struct node *node);

/* -- Drain --------------------------------------------------------------- */

/*
 * Who sends requests to a node: a backend, or the node above (internal).
 * The functions run on the loop of the coroutine that drains.
 */
struct node_parent {
    /* Stop sending; requests that arrive meanwhile wait at the parent. */
    void (*drained_begin)(struct node_parent *p);
    /* Are requests of this parent still under way? */
    bool (*drained_busy)(struct node_parent *p);
    void (*drained_end)(struct node_parent *p);
    struct list link; /* the node's list of parents, under its lock */
};

void node_add_parent(struct node *node, struct node_parent *p);
void node_del_parent(struct node *node, struct node_parent *p);

/* Waits until no request is under way in @node or below it and keeps new ones
 * at the parents until node_co_drain_end().  Nests. */
void co_fn node_co_drain_begin(struct node *node);
void co_fn node_co_drain_end(struct node *node);

/* Called by whoever makes a parent idle, so that a drain can go on. */
void node_drain_kick(struct node *node);

/* -- Bounce memory ------------------------------------------------------- */

/* Memory aligned for @node; NULL when there is none.  Free with free().
 * Any thread, never yields. */
void *node_try_alloc(struct node *node, int64_t bytes);

#endif /* BLOCK_NODE_H */
