/* SPDX-License-Identifier: MIT */
/*
 * What a request does once it runs: checks, then the root node.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "backend/backend_priv.h"
#include "base/align.h"
#include "base/error.h"
#include "base/log.h"
#include "loop/loop.h"

enum stats_type backend_op_type(enum backend_op op)
{
    static const enum stats_type types[] = {
        [BACKEND_READ] = STATS_READ,      [BACKEND_WRITE] = STATS_WRITE,
        [BACKEND_ZEROES] = STATS_DISCARD, [BACKEND_DISCARD] = STATS_DISCARD,
        [BACKEND_FLUSH] = STATS_FLUSH,
    };

    return types[op];
}

static const char *op_name(enum backend_op op)
{
    static const char *const names[] = {
        [BACKEND_READ] = "read",     [BACKEND_WRITE] = "write",
        [BACKEND_ZEROES] = "zeroes", [BACKEND_DISCARD] = "discard",
        [BACKEND_FLUSH] = "flush",
    };

    return names[op];
}

/* -- Checks -------------------------------------------------------------- */

static int check_range(const struct backend *be, int64_t offset, int64_t bytes)
{
    return range_ok(offset, bytes, backend_length(be)) ? 0 : -EIO;
}

static int check_change(const struct backend *be, int64_t offset, int64_t bytes)
{
    return be->flags & BACKEND_RDONLY ? -EROFS : check_range(be, offset, bytes);
}

static int check_req(const struct backend *be, const struct backend_req *req)
{
    switch (req->op) {
    case BACKEND_READ:
        return check_range(be, req->offset, req->iovs.bytes);
    case BACKEND_WRITE:
        return check_change(be, req->offset, req->iovs.bytes);
    case BACKEND_ZEROES:
    case BACKEND_DISCARD:
        return check_change(be, req->offset, req->bytes);
    case BACKEND_FLUSH:
        return 0;
    }
    return -EINVAL;
}

/* -- The five operations ------------------------------------------------- */

static unsigned write_flags(const struct backend *be, unsigned flags)
{
    return be->flags & BACKEND_WRITETHROUGH ? flags | REQ_FUA : flags;
}

static int co_fn backend_co_dispatch(struct backend *be,
                                     const struct backend_req *req)
{
    switch (req->op) {
    case BACKEND_READ:
        return node_co_preadv(be->root, req->offset, &req->iovs, req->flags);
    case BACKEND_WRITE:
        return node_co_pwritev(be->root, req->offset, &req->iovs,
                               write_flags(be, req->flags));
    case BACKEND_ZEROES:
        return node_co_pwrite_zeroes(be->root, req->offset, req->bytes,
                                     write_flags(be, req->flags));
    case BACKEND_DISCARD:
        return node_co_pdiscard(be->root, req->offset, req->bytes);
    case BACKEND_FLUSH:
        return node_co_flush(be->root);
    }
    return -EINVAL;
}

int co_fn backend_co_perform(struct backend *be, const struct backend_req *req)
{
    int rc = check_req(be, req);

    if (rc < 0) {
        return rc;
    }
    backend_stats_backend(be->stats, backend_op_type(req->op));
    rc = backend_co_dispatch(be, req); /* yields */
    trace(BACKEND, "%s offset=%" PRId64 " bytes=%" PRId64 " rc=%d",
          op_name(req->op), req->offset, req->bytes, rc);
    if (rc < 0 && backend_op_is_write(req->op) && !req->will_retry) {
        backend_error_record(be, rc);
    }
    return rc;
}

/* A whole request of the calling coroutine, with its account. */
static int co_fn backend_co_request(struct backend *be,
                                    const struct backend_req *req)
{
    enum stats_type type = backend_op_type(req->op);
    int64_t begun =
        backend_stats_begin(be->stats, type, max_i64(req->bytes, 0));
    int rc;

    backend_co_begin(be); /* yields */
    rc = backend_co_perform(be, req);
    backend_stats_end(be->stats, type, begun, rc);
    backend_end(be);
    return rc;
}

int co_fn backend_co_preadv(struct backend *be, int64_t offset,
                            const struct iovs *dst, unsigned flags)
{
    struct backend_req req = {
        .op = BACKEND_READ,
        .offset = offset,
        .bytes = dst->bytes,
        .iovs = *dst,
        .flags = flags,
    };

    return backend_co_request(be, &req);
}

int co_fn backend_co_pwritev(struct backend *be, int64_t offset,
                             const struct iovs *src, unsigned flags)
{
    struct backend_req req = {
        .op = BACKEND_WRITE,
        .offset = offset,
        .bytes = src->bytes,
        .iovs = *src,
        .flags = flags,
    };

    return backend_co_request(be, &req);
}

int co_fn backend_co_pread(struct backend *be, int64_t offset, void *buf,
                           int64_t bytes)
{
    struct iovec iov;
    struct iovs dst = iovs_one(&iov, buf, bytes);

    return backend_co_preadv(be, offset, &dst, 0);
}

int co_fn backend_co_pwrite(struct backend *be, int64_t offset, const void *buf,
                            int64_t bytes)
{
    struct iovec iov;
    struct iovs src = iovs_one(&iov, (void *)buf, bytes);

    return backend_co_pwritev(be, offset, &src, 0);
}

int co_fn backend_co_pwrite_zeroes(struct backend *be, int64_t offset,
                                   int64_t bytes, unsigned flags)
{
    struct backend_req req = {
        .op = BACKEND_ZEROES,
        .offset = offset,
        .bytes = bytes,
        .flags = flags,
    };

    return backend_co_request(be, &req);
}

int co_fn backend_co_pdiscard(struct backend *be, int64_t offset, int64_t bytes)
{
    struct backend_req req = {
        .op = BACKEND_DISCARD,
        .offset = offset,
        .bytes = bytes,
    };

    return backend_co_request(be, &req);
}

int co_fn backend_co_flush(struct backend *be)
{
    struct backend_req req = {.op = BACKEND_FLUSH};

    return backend_co_request(be, &req);
}

/* -- Operations without an account --------------------------------------- */

int co_fn backend_co_allocate(struct backend *be, int64_t offset, int64_t bytes)
{
    int rc;

    backend_co_begin(be); /* yields */
    rc = check_change(be, offset, bytes);
    if (rc == 0) {
        rc = node_co_allocate(be->root, offset, bytes);
    }
    backend_end(be);
    return rc;
}

int co_fn backend_co_truncate(struct backend *be, int64_t length,
                              enum prealloc_mode prealloc, GError **err)
{
    int rc;

    if (be->flags & BACKEND_RDONLY) {
        return error_set_errno(err, -EROFS, "%s", node_filename(be->root));
    }
    backend_co_begin(be); /* yields */
    rc = node_co_truncate(be->root, length, prealloc,
                          TRUNCATE_EXACT | TRUNCATE_ZERO_NEW, err);
    backend_end(be);
    return rc;
}

int co_fn backend_co_block_status(struct backend *be, int64_t offset,
                                  int64_t bytes, struct block_status *ret)
{
    int rc;

    backend_co_begin(be); /* yields */
    rc = check_range(be, offset, bytes);
    if (rc == 0) {
        rc = node_co_status_above(be->root, NULL, offset, bytes, ret, NULL);
    }
    backend_end(be);
    return rc;
}

int co_fn backend_co_stat(struct backend *be, struct node_stat *ret)
{
    int rc;

    backend_co_begin(be); /* yields */
    rc = node_co_stat(be->root, ret);
    backend_end(be);
    return rc;
}

/* -- Copy ---------------------------------------------------------------- */

/*
 * Counts in on both, without waiting for one while in flight on the other: a
 * drain of both would wait for ever.
 */
static void co_fn backend_co_begin_two(struct backend *a, struct backend *b)
{
    for (;;) {
        backend_co_begin(a); /* yields */
        if (a == b || backend_try_begin(b)) {
            return;
        }
        backend_end(a);
        backend_co_begin(b); /* yields until b may go on */
        backend_end(b);
    }
}

static void backend_end_two(struct backend *a, struct backend *b)
{
    backend_end(a);
    if (a != b) {
        backend_end(b);
    }
}

/* Counts one request that has been done already. */
static void account(struct backend *be, enum stats_type type, int64_t begun,
                    int64_t bytes, int rc)
{
    (void)backend_stats_begin(be->stats, type, bytes);
    backend_stats_backend(be->stats, type);
    backend_stats_end(be->stats, type, begun, rc);
}

/* Returns -EOPNOTSUPP when the host cannot copy between the two. */
static int co_fn copy_on_host(struct backend *src, int64_t src_offset,
                              struct backend *dst, int64_t dst_offset,
                              int64_t bytes)
{
    int64_t begun = loop_now();
    int rc;

    backend_co_begin_two(src, dst); /* yields */
    rc = check_range(src, src_offset, bytes);
    if (rc == 0) {
        rc = check_change(dst, dst_offset, bytes);
    }
    if (rc == 0) {
        rc = node_co_copy_range(src->root, src_offset, dst->root, dst_offset,
                                bytes, write_flags(dst, 0));
        if (rc < 0 && rc != -EOPNOTSUPP) {
            backend_error_record(dst, rc);
        }
    }
    if (rc != -EOPNOTSUPP) {
        account(src, STATS_READ, begun, bytes, rc);
        account(dst, STATS_WRITE, begun, bytes, rc);
    }
    backend_end_two(src, dst);
    return rc;
}

static int co_fn copy_through_memory(struct backend *src, int64_t src_offset,
                                     struct backend *dst, int64_t dst_offset,
                                     int64_t bytes)
{
    int64_t room = min_i64(bytes, BLOCK_MAX_BOUNCE);
    void *buf = node_try_alloc(dst->root, room);
    int rc = buf ? 0 : -ENOMEM;

    for (int64_t done = 0; rc == 0 && done < bytes; done += room) {
        int64_t n = min_i64(room, bytes - done);

        rc = backend_co_pread(src, src_offset + done, buf, n);
        if (rc == 0) {
            rc = backend_co_pwrite(dst, dst_offset + done, buf, n);
        }
    }
    free(buf);
    return rc;
}

int co_fn backend_co_copy_range(struct backend *src, int64_t src_offset,
                                struct backend *dst, int64_t dst_offset,
                                int64_t bytes)
{
    int rc;

    if (check_range(src, src_offset, bytes) < 0 ||
        check_range(dst, dst_offset, bytes) < 0) {
        return -EIO;
    }
    if (src->root == dst->root &&
        ranges_overlap(src_offset, bytes, dst_offset, bytes)) {
        return -EINVAL;
    }
    if (bytes == 0) {
        return dst->flags & BACKEND_RDONLY ? -EROFS : 0;
    }
    rc = copy_on_host(src, src_offset, dst, dst_offset, bytes); /* yields */
    if (rc == -EOPNOTSUPP) {
        rc = copy_through_memory(src, src_offset, dst, dst_offset, bytes);
    }
    return rc;
}
