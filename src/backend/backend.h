/* SPDX-License-Identifier: MIT */
/*
 * backend: one user's handle on a tree of block nodes.
 *
 * Everything above (queue, view, tools) does its I/O through a backend and
 * never sees a driver.  The backend counts requests in flight so that it can
 * be drained, holds requests back while it is quiesced, checks them against
 * the size of the device, applies read-only and write-through, remembers write
 * errors until somebody is told, and keeps the accounts.
 *
 * Units:     bytes.
 * Errors:    0 or a negative errno.
 * Threading: any loop, several at once.
 */
#ifndef BACKEND_BACKEND_H
#define BACKEND_BACKEND_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "backend/stats.h"
#include "base/iov.h"
#include "base/list.h"
#include "block/block.h"
#include "co/co.h"

struct backend;
struct node;

enum backend_flags {
    BACKEND_RDONLY = 1 << 0,       /* fail every write with -EROFS */
    BACKEND_WRITETHROUGH = 1 << 1, /* each write is durable when it returns */
};

/*
 * Makes a backend on @root; takes a reference of its own.  Returns 0, or
 * -EACCES when @root is read-only and @flags lack BACKEND_RDONLY.
 */
nodiscard int backend_new(struct node *root, unsigned flags,
                          struct backend **ret);
/* Drains, flushes, drops the root and frees.  NULL is fine.  Returns the
 * first write error that nobody was told of, or 0.  No other coroutine may
 * use, or wait for, the backend any more. */
int co_fn backend_co_free(struct backend *be);

struct node *backend_root(const struct backend *be);
unsigned backend_flags(const struct backend *be);
int64_t backend_length(const struct backend *be); /* never yields */
const struct node_limits *backend_limits(const struct backend *be);

/* -- Coroutine I/O ------------------------------------------------------- */

/*
 * As node_co_…() in block/node.h, and -EROFS for writes when read-only, -EIO
 * when the range passes the end.  A flush, write or write of zeroes that fails
 * in the block layer is remembered as a write error; one that is refused here,
 * and so changes nothing, is not.
 */
nodiscard int co_fn backend_co_preadv(struct backend *be, int64_t offset,
                                      const struct iovs *dst, unsigned flags);
nodiscard int co_fn backend_co_pwritev(struct backend *be, int64_t offset,
                                       const struct iovs *src, unsigned flags);
nodiscard int co_fn backend_co_pread(struct backend *be, int64_t offset,
                                     void *buf, int64_t bytes);
nodiscard int co_fn backend_co_pwrite(struct backend *be, int64_t offset,
                                      const void *buf, int64_t bytes);
nodiscard int co_fn backend_co_pwrite_zeroes(struct backend *be, int64_t offset,
                                             int64_t bytes, unsigned flags);
nodiscard int co_fn backend_co_pdiscard(struct backend *be, int64_t offset,
                                        int64_t bytes);
nodiscard int co_fn backend_co_allocate(struct backend *be, int64_t offset,
                                        int64_t bytes);
nodiscard int co_fn backend_co_flush(struct backend *be);
/* A part by which the device grows reads as zeroes. */
nodiscard int co_fn backend_co_truncate(struct backend *be, int64_t length,
                                        enum prealloc_mode prealloc,
                                        GError **err);
/* What the bytes are, looking through the backing chain. */
nodiscard int co_fn backend_co_block_status(struct backend *be, int64_t offset,
                                            int64_t bytes,
                                            struct block_status *ret);
nodiscard int co_fn backend_co_stat(struct backend *be, struct node_stat *ret);
/*
 * Copies on the host, or by reading and writing where it cannot.  Returns 0 or
 *   -EINVAL  the two ranges overlap on one node
 *   -EIO     a range passes the end of its device
 *   -EROFS   @dst is read-only
 * or the host's error; @dst is then undefined in its range.
 */
nodiscard int co_fn backend_co_copy_range(struct backend *src,
                                          int64_t src_offset,
                                          struct backend *dst,
                                          int64_t dst_offset, int64_t bytes);

/* -- Asynchronous I/O ---------------------------------------------------- */

enum backend_op {
    BACKEND_READ,
    BACKEND_WRITE,
    BACKEND_ZEROES,
    BACKEND_DISCARD,
    BACKEND_FLUSH,
};

/* Does a failure of @op mean that data may be lost? */
static inline bool backend_op_is_write(enum backend_op op)
{
    return op == BACKEND_WRITE || op == BACKEND_ZEROES || op == BACKEND_FLUSH;
}

/* A request in its submitter's memory, which stays valid until @done. */
struct backend_req {
    /* Set by the submitter, then constant. */
    enum backend_op op;
    int64_t offset;
    int64_t bytes;    /* READ, WRITE: iovs.bytes */
    struct iovs iovs; /* READ, WRITE */
    unsigned flags;   /* enum req_flags */
    /* The submitter tries again when this fails, so that failure is no write
     * error to remember yet. */
    bool will_retry;
    /* Called once, on the submitting loop's thread, outside of any coroutine
     * or in the request's own, and never inside backend_submit().  May free
     * @req or submit it again. */
    void (*done)(struct backend_req *req, int rc);

    /* The backend's own. */
    struct backend *be;
    int rc;
    bool submitted; /* backend_submit() has returned */
    struct list link;
};

/*
 * Starts @req in a coroutine of its own on this thread's loop.  A request that
 * finishes without yielding is completed by a bottom half, never inline, and
 * so is one for which there is no memory for a coroutine: with -ENOMEM.
 */
void backend_submit(struct backend *be, struct backend_req *req);

/* -- Drain --------------------------------------------------------------- */

/*
 * Waits until nothing is in flight and all done() have returned; requests that
 * come meanwhile wait until backend_co_drain_end().  Nests.  Whoever drains
 * must not do I/O on @be in between: it would wait for itself.
 */
void co_fn backend_co_drain_begin(struct backend *be);
void co_fn backend_co_drain_end(struct backend *be);
int64_t backend_in_flight(const struct backend *be);

/* -- Write errors that somebody must be told ----------------------------- */

/*
 * A cursor marks a point in the history of write errors; each open file keeps
 * one.  A new cursor stands behind the last error somebody was told of, so
 * that one of which nobody heard yet is told to the next who asks.
 *
 * backend_error_since() returns the first error (negative errno) after the
 * cursor, or 0, and moves it to now; all errors up to now count as told.
 */
uint64_t backend_error_cursor(const struct backend *be);
int backend_error_since(struct backend *be, uint64_t *cursor);
/* The first write error nobody was told of, or 0; counts as told now. */
int backend_error_take_untold(struct backend *be);
/* Records a failed write (the queue and the view may do so as well). */
void backend_error_record(struct backend *be, int rc);

/* -- Accounts ------------------------------------------------------------ */

struct backend_stats *backend_stats(const struct backend *be);
/* Under which type a request is counted. */
enum stats_type backend_op_type(enum backend_op op);

#endif /* BACKEND_BACKEND_H */
