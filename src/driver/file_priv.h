/* SPDX-License-Identifier: MIT */
/*
 * file_priv: what the source files of the drivers file and host_device share.
 *
 *   file.c     the two tables, and what is too short for a file of its own
 *   open.c     options, opening, error messages
 *   rw.c       read, write, flush
 *   zero.c     write zeroes, discard, reserve space
 *   status.c   holes
 *   resize.c   length, truncate, copy_range
 *   create.c   new files
 *   limits.c   alignment, what the device prefers
 *   lock.c     image locks
 */
#ifndef DRIVER_FILE_PRIV_H
#define DRIVER_FILE_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "block/block.h"
#include "block/driver.h"
#include "block/node.h"
#include "co/co.h"
#include "engine/engine.h"

/* What the host was found not to do on this file. */
enum file_cannot {
    FILE_NO_PUNCH = 1 << 0,      /* FALLOC_FL_PUNCH_HOLE */
    FILE_NO_ZERO_RANGE = 1 << 1, /* FALLOC_FL_ZERO_RANGE, BLKZEROOUT */
    FILE_NO_ALLOCATE = 1 << 2,   /* plain fallocate() */
    FILE_NO_DISCARD = 1 << 3,    /* BLKDISCARD */
    FILE_NO_SEEK_DATA = 1 << 4,
    FILE_NO_COPY_RANGE = 1 << 5,
    FILE_NO_AIO = 1 << 6,    /* the engine asked for cannot be set up */
    FILE_NO_NOWAIT = 1 << 7, /* RWF_NOWAIT */
};

/* The state of a node of either driver. */
struct file {
    /* Set at open, then constant. */
    int fd;          /* owned */
    int buffered_fd; /* the same file without O_DIRECT; is @fd if that is */
    mode_t type;     /* S_IFREG, S_IFBLK or S_IFCHR */
    dev_t rdev;      /* of a device */
    bool direct;
    bool locked;
    bool loses_dsync;                  /* see file_loses_dsync() */
    bool stat_waits;                   /* see file_stat_may_wait() */
    const struct engine_provider *aio; /* as asked for */
    int64_t offset_align;              /* of offsets and lengths */
    int64_t mem_align;                 /* of buffers */

    /* Any thread. */
    _Atomic unsigned cannot;   /* enum file_cannot */
    _Atomic int aio_error;     /* why FILE_NO_AIO */
    _Atomic int flush_error;   /* what all flushes return from now on */
    atomic_bool cache_dirtied; /* something was written by @buffered_fd */
};

static inline bool file_is_regular(const struct file *f)
{
    return S_ISREG(f->type);
}

static inline bool file_can(const struct file *f, enum file_cannot what)
{
    return !(atomic_load_explicit(&f->cannot, memory_order_relaxed) & what);
}

static inline void file_set_cannot(struct file *f, enum file_cannot what)
{
    (void)atomic_fetch_or_explicit(&f->cannot, what, memory_order_relaxed);
}

/* Does @rc mean that the host has no such operation on this file? */
bool file_rc_is_unsupported(int rc);

/* The engine for I/O of @f on the running coroutine's loop.  Returns 0, or
 * -ENOMEM. */
nodiscard int co_fn file_co_engine(struct file *f, struct engine **ret);

/* The engine for what must not go to Linux AIO: I/O on @buffered_fd, calls. */
nodiscard int co_fn file_co_call_engine(struct file *f, struct engine **ret);

/* Runs @call(@job) where it may block. */
int64_t co_fn file_co_call(struct file *f, int64_t (*call)(void *job),
                           void *job);

/* open.c */
int co_fn file_co_open(struct node *node, struct options *opts, GError **err);
int co_fn host_device_co_open(struct node *node, struct options *opts,
                              GError **err);

/* rw.c */
int co_fn file_co_preadv(struct node *node, int64_t offset,
                         const struct iovs *dst);
int co_fn file_co_pwritev(struct node *node, int64_t offset,
                          const struct iovs *src, unsigned flags);
int co_fn file_co_flush_to_disk(struct node *node);

/* zero.c */
int co_fn file_co_pwrite_zeroes(struct node *node, int64_t offset,
                                int64_t bytes, unsigned flags);
int co_fn file_co_pdiscard(struct node *node, int64_t offset, int64_t bytes);
int co_fn file_co_allocate(struct node *node, int64_t offset, int64_t bytes);

/* status.c */
int co_fn file_co_block_status(struct node *node, bool precise, int64_t offset,
                               int64_t bytes, struct block_status *ret);

/* resize.c */
int64_t co_fn file_co_length(struct node *node);
int co_fn file_co_truncate(struct node *node, int64_t length,
                           enum prealloc_mode prealloc, unsigned flags,
                           GError **err);
int co_fn file_co_copy_range(struct node *src, int64_t src_offset,
                             struct node *dst, int64_t dst_offset,
                             int64_t bytes, unsigned flags);
/* The length of what @f is now; negative errno. */
int64_t file_get_length(const struct file *f);
/* Makes the file @fd, of @old bytes, @length bytes long.  Blocks. */
int file_grow(int fd, int64_t old, int64_t length, enum prealloc_mode prealloc);

/* create.c */
extern const struct image_ops file_image_ops;
extern const struct image_ops host_device_image_ops;

/* limits.c */
/* Finds @offset_align and @mem_align.  Returns 0 or a negative errno. */
nodiscard int file_probe_alignment(struct file *f);
void file_limits(struct node *node, struct node_limits *limits);
/* May fstat() have to ask a server, or another daemon? */
bool file_stat_may_wait(const struct file *f);
/* Does an asynchronous write with RWF_DSYNC complete before it is durable? */
bool file_loses_dsync(const struct file *f);

#endif /* DRIVER_FILE_PRIV_H */
