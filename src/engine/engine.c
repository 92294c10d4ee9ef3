/* SPDX-License-Identifier: MIT */

#include "engine/engine.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "base/log.h"
#include "loop/loop.h"

/* "Not complete yet": no kernel call and no count is this. */
#define RESULT_PENDING INT64_MIN

/* A transfer that was cut short goes on in slices of so many elements, so that
 * their array fits on the stack however long the request's own vector is. */
#define SLICE_IOVS 16

#define MAX_PROVIDERS 8

static const struct engine_provider *providers[MAX_PROVIDERS] = {
    &engine_libaio,
    &engine_threads,
};

const struct engine_provider *engine_provider_find(const char *name)
{
    for (int i = 0; i < MAX_PROVIDERS && providers[i]; i++) {
        if (strcmp(providers[i]->name, name) == 0) {
            return providers[i];
        }
    }
    return NULL;
}

void engine_provider_add(const struct engine_provider *p)
{
    int i = 0;

    while (providers[i] && providers[i] != p) {
        i++;
        assert(i < MAX_PROVIDERS);
    }
    providers[i] = p;
}

const char *engine_name(const struct engine *e)
{
    return e->ops->name;
}

void engine_complete(struct engine_io *io, int64_t result)
{
    assert(io->result == RESULT_PENDING);
    trace(ENGINE, "%s complete op=%d fd=%d offset=%" PRId64 " result=%" PRId64,
          io->engine->ops->name, io->op, io->fd, io->offset, result);

    /* Once it is awake the coroutine, and @io on its stack, may be gone. */
    io->result = result;
    if (io->co != co_self()) {
        loop_co_wake(io->co);
    }
}

static bool engine_must_retry(const struct engine_io *io)
{
    return io->op != ENGINE_CALL &&
           (io->result == -EINTR || io->result == -EAGAIN);
}

/* Hands @io to the engine until it has a result of its own. */
static int64_t co_fn engine_co_once(struct engine *e, struct engine_io *io)
{
    for (;;) {
        io->engine = e;
        io->co = co_self();
        io->result = RESULT_PENDING;
        e->stats.requests++;
        trace(ENGINE, "%s submit op=%d fd=%d offset=%" PRId64 " bytes=%" PRId64,
              e->ops->name, io->op, io->fd, io->offset, io->iovs.bytes);

        e->ops->submit(e, io);
        if (io->result == RESULT_PENDING) {
            co_yield();
        }
        assert(io->result != RESULT_PENDING);

        if (!engine_must_retry(io)) {
            return io->result;
        }
        loop_co_relax();
    }
}

/* Fills @out with up to SLICE_IOVS elements of @src from @offset on. */
static struct iovs slice_some(const struct iovs *src, int64_t offset,
                              struct iovec *out)
{
    int n = 0;

    for (int i = 0; i < src->n && n < SLICE_IOVS; i++) {
        int64_t bytes = (int64_t)src->iov[i].iov_len;

        if (offset >= bytes) {
            offset -= bytes;
            continue;
        }
        out[n].iov_base = (char *)src->iov[i].iov_base + offset;
        out[n].iov_len = (size_t)(bytes - offset);
        offset = 0;
        n++;
    }
    return iovs_of(out, n);
}

/* The kernel did @done bytes of @io and stopped: does the rest, as far as it
 * goes. */
static int64_t co_fn engine_co_continue(struct engine *e,
                                        const struct engine_io *io,
                                        int64_t done)
{
    struct iovec iov[SLICE_IOVS];

    while (done < io->iovs.bytes) {
        struct engine_io rest = {
            .op = io->op,
            .fd = io->fd,
            .flags = io->flags,
            .offset = io->offset + done,
            .iovs = slice_some(&io->iovs, done, iov),
        };
        int64_t n = engine_co_once(e, &rest);

        if (io->op == ENGINE_READ && (n == 0 || n == -EINVAL)) {
            /* At the end of the file.  With O_DIRECT that is where the offset
             * is not aligned any more, which the kernel refuses. */
            break;
        }
        if (n <= 0) {
            return n < 0 ? n : -ENOSPC;
        }
        done += n;
    }
    return done;
}

int64_t co_fn engine_co_submit(struct engine *e, struct engine_io *io)
{
    bool transfer = io->op == ENGINE_READ || io->op == ENGINE_WRITE;
    int64_t n;

    assert(!transfer || io->iovs.bytes > 0);
    n = engine_co_once(e, io);

    if (!transfer || n < 0 || n == io->iovs.bytes) {
        return n;
    }
    if (n == 0) {
        return io->op == ENGINE_READ ? 0 : -ENOSPC;
    }
    return engine_co_continue(e, io, n);
}

int64_t co_fn engine_co_call(struct engine *e, int64_t (*call)(void *opaque),
                             void *opaque)
{
    struct engine_io io = {
        .op = ENGINE_CALL,
        .fd = -1,
        .call = call,
        .opaque = opaque,
    };

    return engine_co_submit(e, &io);
}
