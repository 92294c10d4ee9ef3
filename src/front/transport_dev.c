/* SPDX-License-Identifier: MIT */
/*
 * transport_dev: /dev/fuse, one cloned descriptor per worker.
 *
 * A worker reads until the kernel has nothing more for it and only then lets
 * its queue go, so that requests which arrived together leave as one batch.
 * An answer goes to the descriptor its request was read from: the kernel looks
 * for it there only.
 *
 * With several workers, the first one takes everything as long as it can: two
 * that share a trickle of requests only wake each other, and split what could
 * have been merged.  Each further one stands by, its descriptor unwatched,
 * until the one before it is overloaded; when that has not been so for a
 * while, it stands by again.  The first always watches, so no request is left
 * to somebody who does not look.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "front/front_priv.h"

#define DEV_READ_SIZE (SLOT_HEADER + SLOT_MAX_PAYLOAD + 4096)
/* Taken before what was taken is sent on its way: more requests, or more data,
 * would only push the first ones out of the processor's caches. */
#define DEV_BATCH       64
#define DEV_BATCH_BYTES (1024 * 1024)

/* More requests at once, or more data, than one worker does well alone.  For
 * less, a second one costs more than it brings: it splits what would have been
 * merged, and both spin for the next request. */
#define DEV_OVERLOAD       33
#define DEV_OVERLOAD_BYTES (256 * 1024)
/* A worker stands by again when its help was not asked for this long. */
#define DEV_HELP_NS (INT64_C(2) * 1000 * 1000)

static uint64_t dev_want(uint64_t offered)
{
    return 0;
}

/* -- Help between workers ------------------------------------------------- */

/* Any thread, but only that of the worker before @w wakes it. */
static void dev_wake_standby(struct worker *w)
{
    if (atomic_load(&w->standby) && atomic_exchange(&w->standby, false)) {
        bh_schedule(w->help);
    }
}

static void dev_overloaded(struct worker *w)
{
    struct worker *next = w + 1;

    atomic_fetch_add_explicit(&w->overloads, 1, memory_order_relaxed);
    if (next < w->front->workers + w->front->n_workers) {
        dev_wake_standby(next);
    }
}

static int dev_watch(struct worker *w)
{
    int rc;

    if (w->watching || atomic_load(&w->full)) {
        return 0; /* dev_resume() does it then */
    }
    rc = loop_add_fd(w->loop, &w->watch);
    w->watching = rc == 0;
    return rc;
}

static void dev_unwatch(struct worker *w)
{
    if (w->watching) {
        loop_del_fd(w->loop, &w->watch);
        w->watching = false;
    }
}

/* All slots are in use.  What comes now waits in the kernel, which would call
 * us all the time. */
static void dev_full(struct worker *w)
{
    atomic_store(&w->full, true);
    dev_unwatch(w);
    dev_overloaded(w);
}

/* Has the worker before @w been overloaded since this was asked last? */
static bool dev_is_needed(struct worker *w)
{
    unsigned overloads =
        atomic_load_explicit(&w[-1].overloads, memory_order_relaxed);
    bool needed = overloads != w->overloads_seen || atomic_load(&w[-1].full);

    w->overloads_seen = overloads;
    return needed;
}

static void dev_help(void *opaque)
{
    struct worker *w = opaque;

    if (w->stopping) {
        return;
    }
    if (dev_watch(w) < 0) {
        atomic_store(&w->standby, true); /* asked again, it tries again */
        return;
    }
    loop_timer_arm(&w->check_help, loop_now() + DEV_HELP_NS);
}

/* -- Taking requests ------------------------------------------------------ */

/* INTERRUPT needs no answer, so it is handled here, without libfuse, which
 * would keep a lock and a list for it on the way of every request. */
static void dev_take(struct slot *s, size_t bytes)
{
    const struct fuse_in_header *in = (void *)(s->payload - SLOT_HEADER);

    s->unique = in->unique;
    if (bytes > SLOT_HEADER) {
        slot_touched(s, bytes - SLOT_HEADER);
    }
    if (in->opcode == FUSE_INTERRUPT) {
        const struct fuse_interrupt_in *arg = (const void *)(in + 1);

        if (bytes >= sizeof(*in) + sizeof(*arg)) {
            front_interrupt(s->worker->front, arg->unique);
        }
        slot_put(s);
        return;
    }
    front_process(s, bytes);
}

/* Reads one request.  Returns 1, 0 when there is none or no room for one, or a
 * negative errno. */
static int dev_read(struct worker *w)
{
    struct slot *s = slot_get(w);
    ssize_t n;
    int rc = 1;

    if (unlikely(!s)) {
        dev_full(w);
        return 0;
    }
    n = read(w->fd, s->payload - SLOT_HEADER, DEV_READ_SIZE);
    if (n >= (ssize_t)sizeof(struct fuse_in_header)) {
        dev_take(s, (size_t)n);
        return 1;
    }
    /* ENOENT: the request was taken back by its client. */
    if (n < 0 && errno != EINTR && errno != ENOENT) {
        rc = errno == EAGAIN ? 0 : -errno;
    }
    slot_put(s);
    return rc;
}

static void dev_failed(struct worker *w, int rc)
{
    if (rc != -ENODEV) {
        log_error("%s: reading /dev/fuse failed: %s", w->front->mountpoint,
                  g_strerror(-rc));
    }
    transport_dev.stop(w);
    front_has_ended(w->front);
}

static bool dev_drain(void *opaque)
{
    struct worker *w = opaque;
    int n = 0, rc = 1;

    if (w->stopping || atomic_load_explicit(&w->full, memory_order_relaxed)) {
        return false;
    }
    w->batch_bytes = 0;
    loop_plug();
    queue_plug(w->queue);
    while (rc > 0 && n < DEV_BATCH && w->batch_bytes < DEV_BATCH_BYTES) {
        rc = dev_read(w);
        n += rc > 0;
    }
    if (n >= DEV_OVERLOAD || w->batch_bytes >= DEV_OVERLOAD_BYTES) {
        dev_overloaded(w);
    }
    queue_unplug(w->queue);
    loop_unplug();
    if (rc < 0) {
        dev_failed(w, rc);
    }
    return n > 0;
}

static void dev_check_help(void *opaque)
{
    struct worker *w = opaque;

    if (dev_is_needed(w) || atomic_load(&w->full)) {
        loop_timer_arm(&w->check_help, loop_now() + DEV_HELP_NS);
        return;
    }
    dev_unwatch(w);
    /* A request may just have woken us, and nobody else. */
    if (dev_drain(w)) {
        dev_help(w);
        return;
    }
    atomic_store(&w->standby, true);
}

static void dev_ready(void *opaque, uint32_t events)
{
    (void)dev_drain(opaque);
}

static void dev_resume(struct worker *w)
{
    int rc = 0;

    atomic_store(&w->full, false);
    if (!w->stopping && !atomic_load(&w->standby)) {
        rc = dev_watch(w);
    }
    if (rc < 0) {
        dev_failed(w, rc);
    }
}

static int dev_clone(int devfd)
{
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    uint32_t master = (uint32_t)devfd;

    if (fd >= 0 && ioctl(fd, FUSE_DEV_IOC_CLONE, &master) < 0) {
        int rc = -errno;

        (void)close(fd);
        return rc;
    }
    return fd >= 0 ? fd : -errno;
}

static int dev_start(struct worker *w)
{
    bool first = w == w->front->workers;
    struct slot *reserve = slot_get(w);

    if (!reserve) {
        return -ENOMEM;
    }
    slot_put(reserve);
    w->help = bh_new(w->loop, dev_help, w);
    loop_timer_init(&w->check_help, w->loop, dev_check_help, w);
    w->fd = dev_clone(w->front->devfd);
    if (w->fd < 0) {
        return w->fd;
    }
    w->watch = (struct loop_fd){
        .fd = w->fd,
        .events = EPOLLIN,
        .ready = dev_ready,
        .poll = dev_drain,
        .opaque = w,
    };
    /* All clones share the kernel's one queue: a request must wake one. */
    if (w->front->n_workers > 1) {
        w->watch.events |= EPOLLEXCLUSIVE;
    }
    atomic_store(&w->standby, !first);
    return first ? dev_watch(w) : 0;
}

static void dev_stop(struct worker *w)
{
    w->stopping = true;
    dev_unwatch(w);
    if (w->help) {
        loop_timer_cancel(&w->check_help);
    }
}

/* The worker before this one is gone already: nobody wakes us any more. */
static void dev_free(struct worker *w)
{
    bh_free(w->help);
    if (w->fd >= 0) {
        (void)close(steal_fd(&w->fd));
    }
}

static ssize_t dev_reply(struct slot *s, const struct iovec *iov, int n)
{
    ssize_t rc = writev(s->worker->fd, iov, n);

    return rc < 0 ? -errno : rc;
}

const struct transport transport_dev = {
    .name = "dev",
    .want = dev_want,
    .start = dev_start,
    .stop = dev_stop,
    .resume = dev_resume,
    .free = dev_free,
    .reply = dev_reply,
};
