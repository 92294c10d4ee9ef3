/* SPDX-License-Identifier: MIT */
/*
 * transport_dev: /dev/fuse, one cloned descriptor per worker.
 *
 * A worker reads until the kernel has nothing more for it and only then lets
 * its queue go, so that requests which arrived together leave as one batch.
 * An answer goes to the descriptor its request was read from: the kernel looks
 * for it there only.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "front/front_priv.h"

#define DEV_READ_SIZE (SLOT_HEADER + SLOT_MAX_PAYLOAD + 4096)
/* Taken before what was taken is sent on its way: more requests, or more data,
 * would only push the first ones out of the processor's caches. */
#define DEV_BATCH       64
#define DEV_BATCH_BYTES (1024 * 1024)

static uint64_t dev_want(uint64_t offered)
{
    return 0;
}

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

/* Reads one request.  Returns 1, 0 when there is none, or a negative errno. */
static int dev_read(struct worker *w)
{
    struct slot *s = slot_get(w);
    ssize_t n;
    int rc = 1;

    if (!s) {
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

static bool dev_drain(void *opaque)
{
    struct worker *w = opaque;
    int n = 0, rc = 1;

    if (w->stopping) {
        return false;
    }
    w->batch_bytes = 0;
    loop_plug();
    queue_plug(w->queue);
    while (rc > 0 && n < DEV_BATCH && w->batch_bytes < DEV_BATCH_BYTES) {
        rc = dev_read(w);
        n += rc > 0;
    }
    queue_unplug(w->queue);
    loop_unplug();
    if (rc < 0) {
        if (rc != -ENODEV) {
            log_error("%s: reading /dev/fuse failed: %s", w->front->mountpoint,
                      g_strerror(-rc));
        }
        transport_dev.stop(w);
        front_has_ended(w->front);
    }
    return n > 0;
}

static void dev_ready(void *opaque, uint32_t events)
{
    (void)dev_drain(opaque);
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
    int rc;

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
    rc = loop_add_fd(w->loop, &w->watch);
    w->watching = rc == 0;
    return rc;
}

static void dev_stop(struct worker *w)
{
    w->stopping = true;
    if (w->watching) {
        loop_del_fd(w->loop, &w->watch);
        w->watching = false;
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
    .reply = dev_reply,
};
