/* SPDX-License-Identifier: MIT */

#include "engine/perform.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int64_t perform_read(const struct engine_io *io)
{
    ssize_t n;

    do {
        n = preadv(io->fd, io->iovs.iov, io->iovs.n, io->offset);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static int64_t perform_write(const struct engine_io *io, int rwf)
{
    ssize_t n;

    do {
        n = pwritev2(io->fd, io->iovs.iov, io->iovs.n, io->offset, rwf);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static int64_t perform_fdsync(const struct engine_io *io)
{
    int rc;

    do {
        rc = fdatasync(io->fd);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

static int64_t perform_write_fua(const struct engine_io *io)
{
    int64_t n = perform_write(io, RWF_DSYNC);
    int64_t rc;

    if (n != -EOPNOTSUPP && n != -EINVAL && n != -ENOSYS) {
        return n;
    }
    /* This file takes no flags per write.  (When -EINVAL meant something
     * else, the plain write says so again.) */
    n = perform_write(io, 0);
    rc = n > 0 ? perform_fdsync(io) : 0;
    return rc < 0 ? rc : n;
}

int64_t engine_perform(const struct engine_io *io)
{
    switch (io->op) {
    case ENGINE_READ:
        return perform_read(io);
    case ENGINE_WRITE:
        return io->flags & ENGINE_FUA ? perform_write_fua(io)
                                      : perform_write(io, 0);
    case ENGINE_FDSYNC:
        return perform_fdsync(io);
    case ENGINE_CALL:
        return io->call(io->opaque);
    }
    abort();
}
