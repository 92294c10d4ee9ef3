/* SPDX-License-Identifier: MIT */
/*
 * front: serves a mount: libfuse's reads and writes, INIT, one worker per loop,
 * the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "front/front_priv.h"

/* INIT flags newer than Debian 12's headers. */
#define INIT_DIRECT_IO_ALLOW_MMAP (UINT64_C(1) << 36)
#define INIT_TIMEOUT_MS           10000

/* -- What libfuse reads and writes with ----------------------------------- */

/* libfuse's own receive loop is not used. */
static ssize_t front_read(int fd, void *buf, size_t size, void *userdata)
{
    return read(fd, buf, size);
}

static uint64_t wanted_flags(const struct front *f)
{
    return (INIT_DIRECT_IO_ALLOW_MMAP | f->transport->want(f->kernel_offers)) &
           f->kernel_offers;
}

/* libfuse 3.14 knows flags up to bit 31: adds ours to its answer to INIT. */
static void patch_init(const struct front *f, const struct iovec *iov, int n)
{
    struct fuse_init_out *out;
    uint64_t want = wanted_flags(f);

    if (n < 2 || iov[1].iov_len < sizeof(*out)) {
        return;
    }
    out = iov[1].iov_base;
    out->flags |= (uint32_t)want;
    if (want >> 32) {
        out->flags |= FUSE_INIT_EXT;
        out->flags2 |= (uint32_t)(want >> 32);
    }
}

/* The slot that an answer with the header @out belongs to: one that reply.c
 * answers, or the one in process, when libfuse answers by itself (ENOSYS). */
static struct slot *slot_of_answer(const struct fuse_out_header *out)
{
    if (slot_in_reply && slot_in_reply->unique == out->unique) {
        return slot_in_reply;
    }
    if (slot_in_process && slot_in_process->unique == out->unique) {
        return slot_in_process;
    }
    return NULL;
}

/*
 * Answers go to where their request came from: the kernel looks for it nowhere
 * else, and a client whose answer went astray waits for ever.  The answer to
 * INIT, and notifications (whose unique is 0), go to the session's descriptor.
 */
static ssize_t front_writev(int fd, struct iovec *iov, int n, void *userdata)
{
    struct front *f = userdata;
    const struct fuse_out_header *out = iov[0].iov_base;
    struct slot *s = slot_of_answer(out);

    if (s) {
        ssize_t rc = f->transport->reply(s, iov, n);

        if (rc < 0) {
            errno = (int)-rc;
            return -1;
        }
        return rc;
    }
    /* Notices come from another thread; the answer to INIT before it runs. */
    if (out->unique != 0 && !f->init_replied) {
        f->init_replied = true;
        patch_init(f, iov, n);
    }
    return writev(fd, iov, n);
}

const struct fuse_custom_io front_io = {
    .read = front_read,
    .writev = front_writev,
};

void front_process(struct slot *s, size_t bytes)
{
    struct fuse_buf buf = {.size = bytes, .mem = s->payload - SLOT_HEADER};

    slot_in_process = s;
    fuse_session_process_buf(s->worker->front->session, &buf);
    slot_in_process = NULL;
    /* FORGET, and what libfuse answered by itself (ENOSYS). */
    if (!s->async) {
        slot_put(s);
    }
}

/* -- INIT ----------------------------------------------------------------- */

/* Reads one request of the session's descriptor and gives it to libfuse, which
 * answers INIT at once. */
static int front_take_init(struct front *f, char *buf, size_t size)
{
    struct pollfd p = {.fd = f->devfd, .events = POLLIN};
    const struct fuse_in_header *in = (void *)buf;
    const struct fuse_init_in *arg = (void *)(in + 1);
    struct fuse_buf fbuf = {.mem = buf};
    ssize_t n;

    if (poll(&p, 1, INIT_TIMEOUT_MS) <= 0) {
        return -ETIMEDOUT;
    }
    n = read(f->devfd, buf, size);
    if (n < 0) {
        return errno == EINTR || errno == EAGAIN ? 0 : -errno;
    }
    if (in->opcode != FUSE_INIT || (size_t)n < sizeof(*in) + sizeof(*arg)) {
        return -EPROTO;
    }
    f->kernel_offers = arg->flags;
    if (arg->flags & FUSE_INIT_EXT) {
        f->kernel_offers |= (uint64_t)arg->flags2 << 32;
    }
    fbuf.size = (size_t)n;
    fuse_session_process_buf(f->session, &fbuf);
    return 0;
}

static int front_init(struct front *f)
{
    size_t size = SLOT_HEADER + SLOT_MAX_PAYLOAD + 4096;
    g_autofree char *buf = g_malloc(size);
    int rc = 0;

    (void)fcntl(f->devfd, F_SETFL, O_NONBLOCK);
    while (!f->init_done && rc == 0) {
        rc = front_take_init(f, buf, size);
    }
    return rc;
}

/* -- Workers -------------------------------------------------------------- */

/* Runs on the worker's loop. */
struct worker_call {
    struct worker *w;
    struct backend *be;
    int rc;
};

static void co_worker_start(void *opaque)
{
    struct worker_call *call = opaque;
    struct worker *w = call->w;

    w->queue =
        queue_new(call->be, w->front->opts.no_merge ? QUEUE_NO_MERGE : 0);
    call->rc = w->front->transport->start(w);
}

static void co_worker_stop(void *opaque)
{
    struct worker_call *call = opaque;
    struct worker *w = call->w;

    co_assert_role();
    w->front->transport->stop(w);
    while (w->n_busy > 0) {
        w->stopper = co_self();
        co_yield(); /* slot_put() wakes us when the last one is free */
        w->stopper = NULL;
    }
    slots_fini(w);
    queue_free(w->queue);
    w->queue = NULL;
    w->front->transport->free(w);
}

static int worker_start(struct worker *w)
{
    struct worker_call call = {.w = w, .be = w->front->service.backend};
    int rc = loop_co_run_blocking(w->loop, co_worker_start, &call);

    return rc < 0 ? rc : call.rc;
}

static void front_make_workers(struct front *f)
{
    f->n_workers = f->service.n_loops;
    f->workers = g_new0(struct worker, f->n_workers);
    for (unsigned i = 0; i < f->n_workers; i++) {
        struct worker *w = &f->workers[i];

        w->front = f;
        w->loop = f->service.loops[i];
        w->fd = -1;
        slots_init(w);
    }
}

/* All are made before one starts: an INTERRUPT that the first one reads may be
 * for any of them. */
static int front_start_workers(struct front *f, GError **err)
{
    front_make_workers(f);
    for (unsigned i = 0; i < f->n_workers; i++) {
        int rc = worker_start(&f->workers[i]);

        if (rc < 0) {
            return error_set_errno(err, rc, "%s: cannot serve with %u threads",
                                   f->mountpoint, f->n_workers);
        }
    }
    return 0;
}

int front_start(struct front *f, const struct front_service *service,
                GError **err)
{
    struct view_events events = {
        .data_changed = notifier_data,
        .entry_gone = notifier_entry,
    };
    int rc;

    f->service = *service;
    f->notifier = notifier_new(f);
    events.opaque = f->notifier;
    view_set_events(service->view, &events);
    rc = front_init(f);
    if (rc < 0) {
        return error_set_errno(err, rc,
                               "%s: the kernel does not speak FUSE with us",
                               f->mountpoint);
    }
    return front_start_workers(f, err);
}

void front_has_ended(struct front *f)
{
    if (!atomic_exchange(&f->has_ended, true)) {
        f->service.ended(f->service.opaque);
    }
}

/* -- Interrupts ----------------------------------------------------------- */

struct interrupt {
    struct worker *w;
    uint64_t unique;
};

/* Only a request that has not left the queue can be taken back; others are on
 * their way and end soon. */
static void worker_interrupt(void *opaque)
{
    struct interrupt *i = opaque;
    struct slot *s;

    list_for_each(s, &i->w->busy_slots, link) {
        if (s->unique == i->unique && s->io.held) {
            (void)queue_cancel(i->w->queue, &s->io);
            break;
        }
    }
    g_free(i);
}

void front_interrupt(struct front *f, uint64_t unique)
{
    for (unsigned n = 0; n < f->n_workers; n++) {
        struct interrupt *i = g_new(struct interrupt, 1);

        *i = (struct interrupt){&f->workers[n], unique};
        if (f->workers[n].loop == loop_current()) {
            worker_interrupt(i);
        } else {
            bh_oneshot(f->workers[n].loop, worker_interrupt, i);
        }
    }
}

/* -- The end -------------------------------------------------------------- */

static void worker_stop(struct worker *w)
{
    struct worker_call call = {.w = w};

    /* Without memory for a coroutine there is no way to wait: leave the worker
     * as it is rather than free what is in use. */
    if (loop_co_run_blocking(w->loop, co_worker_stop, &call) < 0) {
        log_error("%s: out of memory while unmounting", w->front->mountpoint);
    }
}

void front_stop(struct front *f)
{
    /* Who still has mappings loses the mount, but no byte. */
    if (f->service.view && !atomic_load(&f->has_ended)) {
        view_recall(f->service.view);
    }
    /* Before the workers: a notice may wait for an answer of theirs. */
    notifier_stop(f->notifier);
    for (unsigned i = 0; i < f->n_workers; i++) {
        if (f->workers[i].queue) {
            worker_stop(&f->workers[i]);
        }
    }
    if (f->service.view) {
        view_set_events(f->service.view, &(struct view_events){0});
    }
    notifier_free(f->notifier);
    f->notifier = NULL;
}
