/* SPDX-License-Identifier: MIT */
/*
 * io: an image that requests are tried on, one by one or several at once, as
 * `coblk io` does.
 *
 * The image is as long as image tools see it: whole sectors of 512 bytes.  A
 * write to the part of the last sector that the image lacks makes it longer.
 *
 * Units:     bytes; times in ns.
 * Errors:    0 or a negative errno; GError where a person must be told.
 * Threading: one loop; coroutines.  One coroutine controls (opens, waits,
 *            closes), others are the requests.
 */
#ifndef TOOL_IO_H
#define TOOL_IO_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "backend/backend.h"
#include "base/iov.h"
#include "co/co.h"
#include "tool/open.h"

struct io_image;
struct node;
struct options;

/* How an image is opened. */
struct io_how {
    struct tool_image image; /* strings and options stay the caller's */
    bool writethrough;       /* each write is durable when it ends */
    bool copy_on_read;
    bool snapshot; /* writes go to a temporary file that is dropped */
};

struct io_image *co_fn io_co_open(const struct io_how *how, GError **err);

/* Lets go what is held, waits for all requests, flushes and closes.  Returns
 * 0, or a negative errno and *@err: a line for each part of the image that is
 * not known to be on disk. */
nodiscard int co_fn io_co_close(struct io_image *image, GError **err);

/* Changes to how an image is open. */
struct io_change {
    int rdwr;              /* 1: read-write, 0: read-only, -1: as it is */
    const char *cache;     /* a cache mode; NULL: as it is */
    struct options *added; /* options, maybe none; not consumed */
};

/*
 * Closes *@image and opens it anew.  When that fails it is opened as it was;
 * should that fail too, *@image is NULL.  Returns 0, or a negative errno and
 * *@err.
 */
nodiscard int co_fn io_co_reopen(struct io_image **image,
                                 const struct io_change *change, GError **err);

struct node *io_root(const struct io_image *image);
int64_t io_length(const struct io_image *image);
bool io_is_rdonly(const struct io_image *image);

/* -- Requests ------------------------------------------------------------ */

/* A request in its owner's memory, which stays until it has ended. */
struct io_request {
    /* Set by the owner. */
    enum backend_op op;
    int64_t offset;
    int64_t bytes;    /* READ, WRITE: iovs.bytes */
    struct iovs iovs; /* READ, WRITE */
    unsigned flags;   /* enum req_flags */
    bool vm_state;    /* READ, WRITE: of the VM state, not of the disk */
    /* For io_start(): called in the coroutine of the request; may free it. */
    void (*done)(struct io_request *rq);

    /* Results. */
    int rc;
    int64_t ns; /* how long it took */

    struct io_image *image; /* io.c only */
};

/* Does @rq: @rq->rc and @rq->ns. */
void co_fn io_co_run(struct io_image *image, struct io_request *rq);
/* Starts @rq in a coroutine of its own.  0 or -ENOMEM. */
nodiscard int io_start(struct io_image *image, struct io_request *rq);
/* Waits until none is left that io_start() took. */
void co_fn io_co_wait(struct io_image *image);
/* Waits until a request is held at the break @tag.  0, or -ENOENT when none
 * is left that could come there. */
nodiscard int co_fn io_co_wait_break(struct io_image *image, const char *tag);
/* Wakes who waits for a break: for the notification that one was hit. */
void io_kick(struct io_image *image);

/*
 * Does this image itself (and not a backing file) say what the bytes at
 * @offset are, and for how many (at most @bytes) is that so?
 */
nodiscard int co_fn io_co_allocated(struct io_image *image, int64_t offset,
                                    int64_t bytes, bool *allocated,
                                    int64_t *run);

/* Changes the length. */
nodiscard int co_fn io_co_truncate(struct io_image *image, int64_t length,
                                   enum prealloc_mode prealloc, GError **err);

#endif /* TOOL_IO_H */
