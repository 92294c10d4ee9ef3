/* SPDX-License-Identifier: MIT */

#include <errno.h>

#include "base/align.h"
#include "block/driver.h"
#include "block/image.h"
#include "block/node.h"
#include "format/blkdebug.h"
#include "loop/loop.h"
#include "tool/io_priv.h"

/* -- The end of the image ------------------------------------------------ */

/* Reads up to the end of the last sector; what the image lacks is zeroes. */
static int co_fn read_to_sector(struct io_image *image,
                                const struct io_request *rq)
{
    int64_t there = max_i64(backend_length(image->be) - rq->offset, 0);
    int n = iovs_count(&rq->iovs, 0, there);
    g_autofree struct iovec *iov = g_new(struct iovec, (size_t)n);
    struct iovs part;

    iovs_memset(&rq->iovs, there, 0, rq->iovs.bytes - there);
    part = iovs_of(iov, iovs_slice(&rq->iovs, 0, there, iov));
    return backend_co_preadv(image->be, rq->offset, &part, rq->flags);
}

static bool changes(enum backend_op op)
{
    return op != BACKEND_READ && op != BACKEND_FLUSH;
}

static int co_fn dispatch(struct io_image *image, const struct io_request *rq)
{
    switch (rq->op) {
    case BACKEND_READ:
        return backend_co_preadv(image->be, rq->offset, &rq->iovs, rq->flags);
    case BACKEND_WRITE:
        return backend_co_pwritev(image->be, rq->offset, &rq->iovs, rq->flags);
    case BACKEND_ZEROES:
        return backend_co_pwrite_zeroes(image->be, rq->offset, rq->bytes,
                                        rq->flags);
    case BACKEND_DISCARD:
        return backend_co_pdiscard(image->be, rq->offset, rq->bytes);
    case BACKEND_FLUSH:
        return backend_co_flush(image->be);
    }
    return -EINVAL;
}

/* The state of a machine lies beside the disk, as long as it is written. */
static int co_fn perform_vm_state(struct io_image *image,
                                  const struct io_request *rq)
{
    struct node *node = tool_format_node(io_root(image));
    const struct image_ops *ops = node_driver(node)->image;
    int rc;

    if (!ops || !ops->co_vm_state_readv || !ops->co_vm_state_writev) {
        return -EOPNOTSUPP;
    }
    if (rq->op == BACKEND_READ) {
        return ops->co_vm_state_readv(node, rq->offset, &rq->iovs);
    }
    rc = ops->co_vm_state_writev(node, rq->offset, &rq->iovs); /* yields */
    if (rc == 0 && image->how.writethrough) {
        rc = backend_co_flush(image->be); /* yields */
    }
    return rc;
}

static int co_fn perform(struct io_image *image, const struct io_request *rq)
{
    int64_t end;
    int rc = 0;

    if (rq->vm_state) {
        return perform_vm_state(image, rq); /* yields */
    }
    if (rq->op != BACKEND_FLUSH &&
        !range_ok(rq->offset, rq->bytes, io_length(image))) {
        return -EIO;
    }
    end = rq->offset + rq->bytes;
    if (end > backend_length(image->be) && rq->op == BACKEND_READ) {
        return read_to_sector(image, rq); /* yields */
    }
    if (end > backend_length(image->be) && changes(rq->op)) {
        rc = backend_co_truncate(image->be, end, PREALLOC_OFF, NULL);
    }
    return rc < 0 ? rc : dispatch(image, rq); /* yields */
}

void co_fn io_co_run(struct io_image *image, struct io_request *rq)
{
    int64_t begun = loop_now();

    rq->rc = perform(image, rq); /* yields */
    if (rq->rc < 0) {
        /* Who asked is told by the result: closing need not fail again. */
        (void)backend_error_take_untold(image->be);
    }
    rq->ns = loop_now() - begun;
}

/* -- Several at once ----------------------------------------------------- */

static void request_entry(void *opaque)
{
    struct io_request *rq = opaque;
    struct io_image *image = rq->image;

    co_assert_role();
    io_co_run(image, rq); /* yields */
    rq->done(rq);
    image->in_flight--;
    io_kick(image);
}

int io_start(struct io_image *image, struct io_request *rq)
{
    struct co *co;

    rq->image = image;
    co = co_new(request_entry, rq);
    if (!co) {
        return -ENOMEM;
    }
    image->in_flight++;
    loop_co_start(co);
    return 0;
}

void io_kick(struct io_image *image)
{
    struct co *waiter = image->waiter;

    image->waiter = NULL;
    if (waiter) {
        loop_co_wake(waiter);
    }
}

/* Until the next io_kick(). */
static void co_fn wait_for_kick(struct io_image *image)
{
    image->waiter = co_self();
    co_yield();
}

void co_fn io_co_wait(struct io_image *image)
{
    while (image->in_flight > 0) {
        wait_for_kick(image); /* yields */
    }
}

int co_fn io_co_wait_break(struct io_image *image, const char *tag)
{
    while (!blkdebug_is_held(io_root(image), tag)) {
        if (image->in_flight == 0) {
            return -ENOENT;
        }
        wait_for_kick(image); /* yields */
    }
    return 0;
}
