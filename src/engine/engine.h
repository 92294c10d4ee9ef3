/* SPDX-License-Identifier: MIT */
/*
 * engine: host I/O.  One request goes in, the coroutine yields, the result
 * comes out.
 *
 * An engine belongs to one loop.  A provider makes one instance per loop the
 * first time it is asked for, and frees it with the loop.  Neither threads nor
 * what the kernel keeps for Linux AIO survive a fork(): go to the background
 * first.
 *
 *   libaio    Linux AIO; reads, writes and (where the file can) fdsync.  What
 *             it cannot do goes to the loop's thread engine.
 *   threads   a pool of worker threads; can do everything.
 *   manual    for tests: completes requests when, how and in the order that
 *             the test says.
 *
 * Errors:    negative errno.  -EINTR and -EAGAIN of an I/O never leave this
 *            layer, nor does a short count that could be continued.
 * Threading: everything on the loop's home thread.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdint.h>

#include "base/compiler.h"
#include "base/iov.h"
#include "base/list.h"
#include "co/co.h"

struct engine;
struct loop;

enum engine_op {
    ENGINE_READ,
    ENGINE_WRITE,
    ENGINE_FDSYNC,
    ENGINE_CALL, /* any blocking function: fallocate, ioctl, lseek, … */
};

enum engine_flags {
    ENGINE_FUA = 1 << 0, /* ENGINE_WRITE: durable when it completes */
};

/* A request; lives on the stack of the coroutine that submits it. */
struct engine_io {
    enum engine_op op;
    int fd;
    unsigned flags;   /* enum engine_flags */
    int64_t offset;   /* READ, WRITE: in the file */
    struct iovs iovs; /* READ, WRITE: the buffer; iovs.bytes is the length */
    int64_t (*call)(void *opaque); /* CALL: result or negative errno */
    void *opaque;

    /* The engine's own, from submission to completion. */
    struct engine *engine;
    struct co *co;
    int64_t result;
    struct list link;
    uint64_t scratch[8]; /* libaio: the struct iocb */
};

struct engine_ops {
    const char *name;
    /* Accepts @io (it may be completed before this returns, with
     * engine_complete()).  Never fails: failure is a completion. */
    void (*submit)(struct engine *e, struct engine_io *io);
    void (*free)(struct engine *e);
};

/* Counters of one engine since it was made. */
struct engine_stats {
    uint64_t requests; /* accepted */
    uint64_t batches;  /* libaio: io_submit calls that took something */
    uint64_t polled;   /* libaio: completions found without a wake-up */
    uint64_t blocked;  /* libaio: times the kernel would take no more */
    uint64_t handed;   /* libaio: requests that went to the thread pool */
};

/* The head of each engine's own struct. */
struct engine {
    const struct engine_ops *ops;
    struct loop *loop; /* not owned */
    struct engine_stats stats;
};

struct engine_provider {
    const char *name; /* as in aio=NAME */
    /*
     * The instance of @loop, made on first use.  Returns 0, or
     *   -EAGAIN  fs.aio-max-nr is used up
     *   -ENOSYS  the kernel has no such thing
     *   -ENOMEM
     */
    int (*get)(struct loop *loop, struct engine **ret);
};

extern const struct engine_provider engine_libaio;  /* "native" */
extern const struct engine_provider engine_threads; /* "threads" */

/* The provider called @name, or NULL.  Any thread. */
const struct engine_provider *engine_provider_find(const char *name);
/* Makes @p known by its name, once; for start-up and tests, one thread. */
void engine_provider_add(const struct engine_provider *p);

/*
 * Does @io and yields until it is complete.  A short transfer is continued.
 *
 * Returns
 *   READ    bytes read; fewer than asked for only at the end of the file
 *   WRITE   all bytes, or -ENOSPC when the kernel would take no more
 *   FDSYNC  0
 *   CALL    what the function returned
 * or the negative errno of the kernel.
 */
int64_t co_fn engine_co_submit(struct engine *e, struct engine_io *io);

/*
 * Runs @call(@opaque) where it may block (with libaio and threads: in the
 * loop's thread pool); yields until it returned.
 */
int64_t co_fn engine_co_call(struct engine *e, int64_t (*call)(void *opaque),
                             void *opaque);

/* For engines: gives @io its result and wakes its coroutine.  Loop thread. */
void engine_complete(struct engine_io *io, int64_t result);

/* "libaio", "threads" or "manual": for people. */
const char *engine_name(const struct engine *e);

/*
 * Bounds of the thread pool of @loop: threads kept while idle (0 at first) and
 * most threads (64 at first).  With @max 0 requests are done, blocking, on the
 * loop's own thread, as they are when no thread can be made.  Returns 0, or
 * -ENOMEM when the loop has no pool yet and none can be made.
 */
nodiscard int engine_threads_set_bounds(struct loop *loop, int min, int max);

/* What the thread pool of @loop does now; all 0 when it has none. */
struct engine_threads_info {
    int threads; /* alive */
    int idle;    /* of those, waiting for work */
    int queued;  /* requests that no thread has taken yet */
};
void engine_threads_info(struct loop *loop, struct engine_threads_info *ret);

#endif /* ENGINE_ENGINE_H */
