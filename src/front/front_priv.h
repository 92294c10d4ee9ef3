/* SPDX-License-Identifier: MIT */
/*
 * front_priv: what the files of this folder share.
 *
 *   mount.c          the session and its mount
 *   front.c          what libfuse reads and writes with; INIT, start, stop
 *   transport_dev.c  /dev/fuse: one cloned descriptor per worker
 *   slot.c           request buffers
 *   data.c           read, write, fallocate: mapped onto the request queue
 *   meta.c           everything else: a coroutine that asks the view
 *   reply.c          the only place that answers
 *   notify.c         tells the kernel what to forget
 */
#ifndef FRONT_FRONT_PRIV_H
#define FRONT_FRONT_PRIV_H

#define FUSE_USE_VERSION 312

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "co/co.h"
#include "front/front.h"
#include "front/mountinfo.h"
#include "loop/loop.h"
#include "loop/sync.h"
#include "queue/queue.h"
#include "view/view.h"

#define SLOT_MAX_PAYLOAD (1024 * 1024)
/* fuse_in_header + fuse_write_in: so that the data of a write begins exactly
 * at the payload. */
#define SLOT_HEADER 80
/* Requests that one worker may have in flight; then it stops reading. */
#define SLOT_MAX 1024

struct transport;

/* One loop's share of the mount.  Its loop's thread only. */
struct worker {
    struct front *front;
    struct loop *loop;
    struct queue *queue;
    int fd; /* owned; the cloned /dev/fuse */
    struct loop_fd watch;
    bool watching;

    /* Help between workers, see transport_dev.c. */
    atomic_bool standby;   /* does not watch; any thread may set it to false */
    struct bh *help;       /* stops standing by */
    atomic_uint overloads; /* times it had more than it could do at once */
    unsigned overloads_seen; /* of the worker before this one */
    struct loop_timer check_help;

    int64_t batch_bytes;    /* of data in the requests taken just now */
    bool stopping;          /* reads no more requests */
    atomic_bool full;       /* reads none until a slot is given back */
    struct list free_slots; /* most recently used first */
    struct list busy_slots; /* in flight, in no order */
    unsigned n_slots, n_busy;
    uint64_t served;        /* slots given back, ever ... */
    uint64_t served_before; /* ... and when @trim was armed */
    int64_t idle_bytes;     /* resident memory of free slots */
    struct loop_timer trim; /* gives it back when the mount is idle */
    struct co *stopper;     /* waits until n_busy is 0, or NULL */
};

/*
 * A request of the kernel and the memory it came in.
 *
 * The payload is page-aligned, so neither a write's data nor what a read
 * returns is copied between here and an O_DIRECT image.
 */
struct slot {
    struct queue_req io; /* data requests */
    struct worker *worker;
    fuse_req_t req;
    uint64_t unique;
    char *payload;   /* owned: SLOT_MAX_PAYLOAD bytes and one page after it */
    size_t resident; /* how much of it has been touched */
    bool async;      /* the operation keeps the slot after it returned */
    bool busy;

    /* Arguments of the operation, for its coroutine. */
    uint64_t ino;
    const char *name;
    struct view_file *file, *file2;
    int64_t offset, offset2, bytes;
    unsigned flags;
    struct view_attr attr;
    struct list link;
};

struct front {
    char *mountpoint;
    struct front_opts opts; /* strings not kept */
    struct fuse_session *session;
    struct fuse_args args;
    int devfd; /* the session's; it closes it */
    const struct transport *transport;
    uint64_t kernel_offers; /* INIT flags of the kernel */
    bool init_done, init_replied;
    struct mount_entry own; /* mountpoint: NULL until mounted */

    struct front_service service;
    struct worker *workers; /* one per loop of @service */
    unsigned n_workers;
    atomic_bool has_ended;

    struct notifier *notifier;
};

/* How requests come in and answers go out. */
struct transport {
    const char *name;
    /* The INIT flags it wants, of those that the kernel offers. */
    uint64_t (*want)(uint64_t offered);
    /* Begins to take requests on the worker's loop.  0 or a negative errno. */
    int (*start)(struct worker *w);
    /* Takes no more requests; those in flight are still answered. */
    void (*stop)(struct worker *w);
    /* A worker that was full has a slot again. */
    void (*resume)(struct worker *w);
    /* Undoes start(), however far that came; nothing is in flight. */
    void (*free)(struct worker *w);
    /* Answers a request; 0 or a negative errno, as writev(2) would. */
    ssize_t (*reply)(struct slot *s, const struct iovec *iov, int n);
};

extern const struct transport transport_dev;

/* -- front.c -------------------------------------------------------------- */
/* For libfuse's reads and writes; its userdata is the struct front. */
extern const struct fuse_custom_io front_io;
/* Gives one request, @bytes long with its header, to libfuse. */
void front_process(struct slot *s, size_t bytes);
/* The connection has ended. */
void front_has_ended(struct front *f);
/* An INTERRUPT for request @unique came in, on whatever worker. */
void front_interrupt(struct front *f, uint64_t unique);

/* -- slot.c --------------------------------------------------------------- */
/* NULL: too many, or no memory.  Once it has given one, there is always one
 * unless some are in flight. */
struct slot *slot_get(struct worker *w);
void slot_put(struct slot *s);
void slot_touched(struct slot *s, size_t bytes);
void slots_init(struct worker *w);
void slots_fini(struct worker *w);

/* -- reply.c -------------------------------------------------------------- */
/* Each answers and gives the slot back.  @rc: negative errno or 0. */
extern _Thread_local struct slot *slot_in_process;
extern _Thread_local struct slot *slot_in_reply;
void reply_err(struct slot *s, int rc);
void reply_buf(struct slot *s, const void *buf, size_t bytes);
void reply_attr(struct slot *s, const struct view_attr *attr);
void reply_entry(struct slot *s, const struct view_attr *attr);
void reply_open(struct slot *s, const struct view_file *file);
void reply_written(struct slot *s, int64_t bytes);
void reply_lseek(struct slot *s, int64_t offset);
void reply_readlink(struct slot *s, const char *target);
void reply_statfs(struct slot *s, const struct view_statfs *st);
void reply_stat_from_attr(const struct view_attr *attr, struct stat *st);

/* -- data.c, meta.c: the operations --------------------------------------- */
static inline struct view_file *file_of(const struct fuse_file_info *fi)
{
    return (struct view_file *)(uintptr_t)fi->fh; /* NOLINT: fuse's handle */
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
             struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size,
              off_t off, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset,
                  off_t length, struct fuse_file_info *fi);
extern const struct fuse_lowlevel_ops front_ops;
/* The slot of the request in process, which will be answered later. */
struct slot *slot_claim(fuse_req_t req);
/* Runs @entry(@s) as a coroutine; it answers. */
void slot_run(struct slot *s, co_entry_fn *entry);

/* -- notify.c ------------------------------------------------------------- */
struct notifier *notifier_new(struct front *f);
/* Waits until the kernel has been told of all that has come so far; nothing is
 * told from then on.  For both NULL is fine. */
void notifier_stop(struct notifier *n);
void notifier_free(struct notifier *n); /* after notifier_stop() */
void notifier_data(void *opaque, uint64_t ino, int64_t offset, int64_t bytes);
void notifier_entry(void *opaque, uint64_t parent, const char *name);

#endif /* FRONT_FRONT_PRIV_H */
