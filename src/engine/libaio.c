/* SPDX-License-Identifier: MIT */
/*
 * libaio: the engine on Linux AIO.
 *
 * What coroutines submit while the thread is plugged gathers on a list and
 * goes out in one io_submit.  Each completion makes the kernel signal an
 * eventfd, which the loop watches edge-triggered: every signal is an edge, so
 * the counter never has to be read.  The completions themselves are read from
 * the ring that the kernel maps at the address of the context, without a
 * system call; the loop looks there too while it busy-polls, and when requests
 * are done as soon as they are submitted.  The signal of a completion found
 * that way costs one empty wake-up at most.
 *
 * Calls, and what the kernel refuses to do asynchronously on a file, go to the
 * loop's thread pool.
 *
 * An AIO context does not survive fork(): make loops after going to the
 * background.
 */

#include "engine/libaio.h"

#include <assert.h>
#include <errno.h>
#include <libaio.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/param.h>
#include <unistd.h>

#include "base/list.h"
#include "loop/loop.h"

/*
 * Requests in the kernel at once, per loop.  All programs of the host share
 * fs.aio-max-nr, by default 65536, so the loops of a process that has many get
 * less, and where little is left, little is asked for.  What does not fit
 * waits.
 */
#define LIBAIO_DEPTH      1024
#define LIBAIO_DEPTH_MANY 128
#define LIBAIO_DEPTH_MIN  64
#define LIBAIO_FEW_LOOPS  8

static atomic_uint n_contexts;

/* So many go out at once even while plugged, to keep the device busy. */
#define LIBAIO_BATCH 32

/*
 * Completions handed up at a time.  A device that has ended everything idles
 * until the answers have gone up and the next requests have come down, so the
 * loop looks for these after each few.  Where requests are done as soon as they
 * are submitted there is nothing to keep busy, and fewer, larger batches win.
 */
#define LIBAIO_REAP      32
#define LIBAIO_REAP_SOME 2

/* The ring at the address of a context, as the kernel lays it out. */
#define AIO_RING_MAGIC             0xa10a10a1
#define AIO_RING_COMPAT_FEATURES   1
#define AIO_RING_INCOMPAT_FEATURES 0

struct aio_ring {
    unsigned id;
    unsigned nr;           /* size of @events */
    _Atomic unsigned head; /* ours: the next event to read */
    _Atomic unsigned tail; /* the kernel's: the next event to write */
    unsigned magic;
    unsigned compat_features;
    unsigned incompat_features;
    unsigned header_length;
    struct io_event events[];
};

#define RWF_NOBODY_KNOWS (1 << 30) /* the kernel says -EOPNOTSUPP */

/* What the kernel was found to refuse on a file descriptor.  A number that is
 * used again for another file may inherit that; it costs speed, no more. */
enum fd_refuses {
    FD_NO_DSYNC = 1 << 0,
    FD_NO_FDSYNC = 1 << 1,
};

struct libaio {
    struct engine e;
    unsigned flags; /* enum libaio_flags */
    io_context_t ctx;
    struct aio_ring *ring;      /* NULL: use io_getevents() */
    struct loop_fd completions; /* the eventfd */
    bool watching;
    struct bh *again; /* for what is in the ring and was not signalled anew */

    struct list pending; /* struct engine_io, not yet in the kernel */
    int n_pending;
    int n_in_kernel;
    bool at_once;    /* all was done during submission, the last time */
    bool blocked;    /* the kernel would take no more: wait for completions */
    bool submitting; /* libaio_flush() is on the stack */

    uint8_t *refuses; /* enum fd_refuses, by descriptor */
    int n_refuses;
};

static const char libaio_key; /* its address names the engine of a loop */

_Static_assert(sizeof(struct iocb) <= sizeof(((struct engine_io *)0)->scratch),
               "an iocb fits into the engine's part of a request");

static struct libaio *libaio_of(struct engine *e)
{
    return container_of(e, struct libaio, e);
}

static struct iocb *iocb_of(struct engine_io *io)
{
    return (struct iocb *)(void *)io->scratch;
}

/* -- What descriptors cannot do ------------------------------------------ */

static bool fd_refuses(const struct libaio *a, int fd, enum fd_refuses what)
{
    return fd < a->n_refuses && (a->refuses[fd] & what);
}

static void fd_set_refuses(struct libaio *a, int fd, enum fd_refuses what)
{
    if (fd >= a->n_refuses) {
        int n = fd + 64;
        uint8_t *grown = realloc(a->refuses, (size_t)n);

        if (!grown) {
            return; /* then it is found out again next time */
        }
        memset(grown + a->n_refuses, 0, (size_t)(n - a->n_refuses));
        a->refuses = grown;
        a->n_refuses = n;
    }
    a->refuses[fd] |= (uint8_t)what;
}

static bool libaio_can(const struct libaio *a, const struct engine_io *io)
{
    switch (io->op) {
    case ENGINE_READ:
        return true;
    case ENGINE_WRITE:
        return !(io->flags & ENGINE_FUA) || !fd_refuses(a, io->fd, FD_NO_DSYNC);
    case ENGINE_FDSYNC:
        return !fd_refuses(a, io->fd, FD_NO_FDSYNC);
    case ENGINE_CALL:
        return false;
    }
    abort();
}

static void libaio_hand_to_threads(struct libaio *a, struct engine_io *io)
{
    struct engine *threads;
    int rc = engine_threads.get(a->e.loop, &threads);

    if (rc < 0) {
        engine_complete(io, rc);
        return;
    }
    a->e.stats.handed++;
    threads->ops->submit(threads, io);
}

/*
 * The kernel gave @io the result @res.  Completes it, unless @res says that
 * this file cannot do it asynchronously: then a thread does it.
 */
static void libaio_finish(struct libaio *a, struct engine_io *io, int64_t res)
{
    bool refused = res == -EINVAL || res == -EOPNOTSUPP || res == -ENOSYS;

    if (refused && io->op == ENGINE_FDSYNC) {
        fd_set_refuses(a, io->fd, FD_NO_FDSYNC);
        libaio_hand_to_threads(a, io);
    } else if (refused && (io->flags & ENGINE_FUA)) {
        /* -EINVAL may also mean bad alignment, which is no reason to give up
         * asynchronous writes on this file. */
        if (res != -EINVAL) {
            fd_set_refuses(a, io->fd, FD_NO_DSYNC);
        }
        libaio_hand_to_threads(a, io);
    } else {
        engine_complete(io, res);
    }
}

/* -- The completion ring ------------------------------------------------- */

static int libaio_ring_count(const struct aio_ring *ring)
{
    unsigned head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    unsigned tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);

    return (int)(tail >= head ? tail - head : ring->nr - head + tail);
}

/* Takes up to @max completions out of the ring. */
static int libaio_take_from_ring(struct aio_ring *ring, struct io_event *events,
                                 int max)
{
    unsigned head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    unsigned tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    int n = 0;

    while (head != tail && n < max) {
        events[n++] = ring->events[head];
        head = head + 1 == ring->nr ? 0 : head + 1;
    }
    /* The kernel may overwrite the slots as soon as it sees this. */
    if (n > 0) {
        atomic_store_explicit(&ring->head, head, memory_order_release);
    }
    return n;
}

/* -- Submission ---------------------------------------------------------- */

static void libaio_prepare(struct libaio *a, struct engine_io *io)
{
    struct iocb *iocb = iocb_of(io);
    const struct iovec *iov = io->iovs.iov;
    int n = io->iovs.n;

    switch (io->op) {
    case ENGINE_READ:
        if (n == 1) {
            io_prep_pread(iocb, io->fd, iov->iov_base, iov->iov_len,
                          io->offset);
        } else {
            io_prep_preadv(iocb, io->fd, iov, n, io->offset);
        }
        break;
    case ENGINE_WRITE:
        if (n == 1) {
            io_prep_pwrite(iocb, io->fd, iov->iov_base, iov->iov_len,
                           io->offset);
        } else {
            io_prep_pwritev(iocb, io->fd, iov, n, io->offset);
        }
        if (io->flags & ENGINE_FUA) {
            iocb->aio_rw_flags =
                a->flags & LIBAIO_BAD_DSYNC ? RWF_NOBODY_KNOWS : RWF_DSYNC;
        }
        break;
    case ENGINE_FDSYNC:
        io_prep_fdsync(iocb, io->fd);
        break;
    case ENGINE_CALL:
        abort();
    }
    iocb->data = io;
    io_set_eventfd(iocb, a->completions.fd);
}

/* Submits up to LIBAIO_BATCH of @pending; returns what io_submit() did. */
static int libaio_submit_batch(struct libaio *a)
{
    struct iocb *batch[LIBAIO_BATCH];
    struct engine_io *io;
    int n = 0;

    list_for_each(io, &a->pending, link) {
        batch[n++] = iocb_of(io);
        if (n == LIBAIO_BATCH) {
            break;
        }
    }
    /* libaio returns the negative errno and leaves errno alone. */
    return io_submit(a->ctx, n, batch);
}

static struct engine_io *libaio_pop_pending(struct libaio *a)
{
    struct engine_io *io = list_entry(a->pending.next, struct engine_io, link);

    assert(a->n_pending > 0);
    list_del(&io->link);
    a->n_pending--;
    return io;
}

/* Gives everything pending to the kernel, as far as it takes it. */
static void libaio_flush(void *opaque)
{
    struct libaio *a = opaque;
    int done;

    /* Completing a failed request may run a coroutine that submits more. */
    if (a->submitting) {
        return;
    }
    a->submitting = true;
    while (a->n_pending > 0 && !a->blocked) {
        int n = libaio_submit_batch(a);

        if (n == -EAGAIN && a->n_in_kernel > 0) {
            a->blocked = true;
            a->e.stats.blocked++;
        } else if (n < 0 && n != -EINTR) {
            /* The error is the first one's; the others may be fine. */
            libaio_finish(a, libaio_pop_pending(a), n);
        } else if (n > 0) {
            a->e.stats.batches++;
            a->n_in_kernel += n;
            for (; n > 0; n--) {
                (void)libaio_pop_pending(a);
            }
        }
    }
    a->submitting = false;

    /* In memory, a request may be done as soon as it is submitted. */
    done = a->ring ? libaio_ring_count(a->ring) : 0;
    a->at_once = done > 0 && done == a->n_in_kernel;
    if (done > 0) {
        bh_schedule(a->again);
    }
}

static void libaio_submit(struct engine *e, struct engine_io *io)
{
    struct libaio *a = libaio_of(e);

    if (!libaio_can(a, io)) {
        libaio_hand_to_threads(a, io);
        return;
    }
    libaio_prepare(a, io);
    list_add_tail(&a->pending, &io->link);
    a->n_pending++;
    if (a->blocked) {
        return; /* libaio_reap() goes on */
    }
    if (a->n_pending >= LIBAIO_BATCH) {
        libaio_flush(a);
    } else {
        loop_defer(libaio_flush, a);
    }
}

/* -- Completion ---------------------------------------------------------- */

/* Up to @max completions. */
static int libaio_take(struct libaio *a, struct io_event *events, int max)
{
    struct timespec now = {0};
    int n;

    if (a->ring) {
        return libaio_take_from_ring(a->ring, events, max);
    }
    do {
        n = io_getevents(a->ctx, 0, max, events, &now);
    } while (n == -EINTR);
    assert(n >= 0); /* the arguments are valid */
    return n;
}

/*
 * Completes some of what the kernel has done; returns how many that were.
 *
 * Never more than were under way at the start: waking a coroutine runs it, its
 * next request may be done in no time, and other work of the loop must not
 * wait for the end of that.
 */
static int libaio_reap(struct libaio *a)
{
    struct io_event events[LIBAIO_REAP];
    int max =
        a->at_once ? a->n_in_kernel : MIN(a->n_in_kernel, LIBAIO_REAP_SOME);
    int total = 0;
    int n;

    /* The next requests gather behind this plug. */
    loop_plug();
    while (total < max &&
           (n = libaio_take(a, events, MIN(max - total, LIBAIO_REAP))) > 0) {
        total += n;
        a->n_in_kernel -= n;
        for (int i = 0; i < n; i++) {
            libaio_finish(a, events[i].data, (int64_t)(long)events[i].res);
        }
    }
    if (total == max && a->n_in_kernel > 0) {
        bh_schedule(a->again);
    }
    if (total > 0 && a->blocked) {
        a->blocked = false;
        loop_defer(libaio_flush, a);
    }
    loop_unplug();
    return total;
}

static void libaio_ready(void *opaque, uint32_t events)
{
    (void)libaio_reap(opaque);
}

static bool libaio_poll(void *opaque)
{
    struct libaio *a = opaque;
    int n = a->n_in_kernel > 0 ? libaio_reap(a) : 0;

    a->e.stats.polled += (uint64_t)n;
    return n > 0;
}

static void libaio_again(void *opaque)
{
    (void)libaio_poll(opaque);
}

/* -- Life ---------------------------------------------------------------- */

/* The ring of @ctx if it looks as we know it, else NULL. */
static struct aio_ring *libaio_find_ring(io_context_t ctx)
{
    struct aio_ring *ring = (struct aio_ring *)(void *)ctx;

    if (ring->magic != AIO_RING_MAGIC ||
        ring->compat_features != AIO_RING_COMPAT_FEATURES ||
        ring->incompat_features != AIO_RING_INCOMPAT_FEATURES ||
        ring->header_length != sizeof(*ring)) {
        return NULL;
    }
    return ring;
}

/* Undoes libaio_new() however far that came. */
static void libaio_free(struct engine *e)
{
    struct libaio *a = libaio_of(e);

    assert(a->n_pending == 0 && a->n_in_kernel == 0);
    if (a->watching) {
        loop_del_fd(e->loop, &a->completions);
    }
    if (a->ctx) {
        (void)io_destroy(a->ctx);
        atomic_fetch_sub(&n_contexts, 1);
    }
    if (a->completions.fd >= 0) {
        (void)close(a->completions.fd);
    }
    bh_free(a->again);
    free(a->refuses);
    free(a);
}

static const struct engine_ops libaio_ops = {
    .name = "libaio",
    .submit = libaio_submit,
    .free = libaio_free,
};

static int libaio_start(struct libaio *a, unsigned depth)
{
    int rc;

    a->completions.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (a->completions.fd < 0) {
        return -errno;
    }
    rc = io_setup((int)depth, &a->ctx);
    if (rc < 0) {
        return rc;
    }
    atomic_fetch_add(&n_contexts, 1);
    if (!(a->flags & LIBAIO_NO_RING)) {
        a->ring = libaio_find_ring(a->ctx);
    }
    rc = loop_add_fd(a->e.loop, &a->completions);
    if (rc < 0) {
        return rc;
    }
    a->watching = true;
    return 0;
}

int libaio_new(struct loop *loop, unsigned depth, unsigned flags,
               struct engine **ret)
{
    struct libaio *a = calloc(1, sizeof(*a));
    int rc;

    if (!a) {
        return -ENOMEM;
    }
    a->e.ops = &libaio_ops;
    a->e.loop = loop;
    a->flags = flags;
    a->completions.events = EPOLLIN | EPOLLET;
    a->completions.ready = libaio_ready;
    a->completions.poll = libaio_poll;
    a->completions.opaque = a;
    list_init(&a->pending);
    a->again = bh_new(loop, libaio_again, a);

    rc = libaio_start(a, depth);
    if (rc < 0) {
        libaio_free(&a->e);
        return rc;
    }
    *ret = &a->e;
    return 0;
}

bool libaio_uses_ring(const struct engine *e)
{
    return container_of(e, const struct libaio, e)->ring != NULL;
}

/* As deep as can be had. */
static int libaio_new_modest(struct loop *loop, struct engine **ret)
{
    unsigned depth = atomic_load(&n_contexts) < LIBAIO_FEW_LOOPS
                         ? LIBAIO_DEPTH
                         : LIBAIO_DEPTH_MANY;
    int rc = libaio_new(loop, depth, 0, ret);

    while (rc == -EAGAIN && depth > LIBAIO_DEPTH_MIN) {
        depth /= 2;
        rc = libaio_new(loop, depth, 0, ret);
    }
    return rc;
}

static void libaio_free_local(void *value)
{
    libaio_free(value);
}

static int libaio_get(struct loop *loop, struct engine **ret)
{
    struct engine *e = loop_local(loop, &libaio_key);
    int rc;

    if (!e) {
        rc = libaio_new_modest(loop, &e);
        if (rc < 0) {
            return rc;
        }
        loop_set_local(loop, &libaio_key, e, libaio_free_local);
    }
    *ret = e;
    return 0;
}

const struct engine_provider engine_libaio = {
    .name = "native",
    .get = libaio_get,
};
