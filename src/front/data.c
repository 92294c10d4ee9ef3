/* SPDX-License-Identifier: MIT */
/*
 * data: reads, writes and fallocate of data files become requests of the
 * worker's queue.  The slot is the request: its payload is the buffer, and its
 * completion is the answer.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>

#include "base/align.h"
#include "base/log.h"
#include "front/front_priv.h"

static void data_submit(struct slot *s)
{
    s->worker->batch_bytes += s->io.bytes;
    queue_submit(s->worker->queue, &s->io);
}

static void read_done(struct queue_req *io, int rc)
{
    struct slot *s = container_of(io, struct slot, io);

    if (rc < 0) {
        reply_err(s, rc);
    } else {
        reply_buf(s, s->payload, (size_t)io->bytes);
    }
}

static void write_done(struct queue_req *io, int rc)
{
    struct slot *s = container_of(io, struct slot, io);

    if (rc < 0) {
        reply_err(s, rc);
    } else {
        reply_written(s, io->bytes);
    }
}

static void zeroes_done(struct queue_req *io, int rc)
{
    reply_err(container_of(io, struct slot, io), rc);
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
             struct fuse_file_info *fi)
{
    struct slot *s = slot_claim(req);
    struct view_file *file = file_of(fi);
    int64_t bytes = min_i64((int64_t)size, SLOT_MAX_PAYLOAD);

    bytes = view_file_readable(file, off, bytes);
    trace(FRONT,
          "read unique=%" PRIu64 " ino=%" PRIu64 " offset=%" PRId64
          " bytes=%" PRId64,
          s->unique, (uint64_t)ino, (int64_t)off, bytes);
    if (bytes == 0 || file->text) {
        reply_buf(s, bytes ? file->text + off : NULL, (size_t)bytes);
        return;
    }
    slot_touched(s, (size_t)bytes);
    s->io = (struct queue_req){
        .op = BACKEND_READ,
        .offset = file->offset + off,
        .bytes = bytes,
        .buf = s->payload,
        .done = read_done,
    };
    data_submit(s);
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size,
              off_t off, struct fuse_file_info *fi)
{
    struct slot *s = slot_claim(req);
    struct view_file *file = file_of(fi);
    int64_t bytes = view_file_will_write(file, off, (int64_t)size);

    trace(FRONT,
          "write unique=%" PRIu64 " ino=%" PRIu64 " offset=%" PRId64
          " bytes=%zu",
          s->unique, (uint64_t)ino, (int64_t)off, size);
    if (bytes < 0) {
        reply_err(s, (int)bytes);
        return;
    }
    if (bytes == 0) {
        reply_written(s, 0);
        return;
    }
    s->io = (struct queue_req){
        .op = BACKEND_WRITE,
        .offset = file->offset + off,
        .bytes = bytes,
        .buf = (char *)buf, /* points into our own payload */
        /* The kernel passes the flags of the open file, and O_DSYNC also for
         * a single write with RWF_DSYNC. */
        .flags = fi->flags & O_DSYNC ? REQ_FUA : 0,
        .done = write_done,
    };
    data_submit(s);
}

static void co_allocate(void *opaque)
{
    struct slot *s = opaque;

    co_assert_role();
    reply_err(s, view_co_allocate(s->file, s->offset, s->bytes,
                                  !(s->flags & FALLOC_FL_KEEP_SIZE)));
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset,
                  off_t length, struct fuse_file_info *fi)
{
    struct slot *s = slot_claim(req);
    int how = mode & ~FALLOC_FL_KEEP_SIZE;
    int64_t writable;

    s->file = file_of(fi);
    s->offset = offset;
    s->bytes = length;
    s->flags = (unsigned)mode;
    if (how == 0) {
        slot_run(s, co_allocate);
        return;
    }
    if (how != FALLOC_FL_PUNCH_HOLE && how != FALLOC_FL_ZERO_RANGE) {
        reply_err(s, -EOPNOTSUPP);
        return;
    }
    /* A hole may be asked for past the end of a file; there is nothing. */
    if (how == FALLOC_FL_PUNCH_HOLE) {
        length = view_file_readable(s->file, offset, length);
    }
    writable = length ? view_file_will_write(s->file, offset, length) : 0;
    if (writable < length || length == 0) {
        reply_err(s, writable < 0 ? (int)writable : length ? -ENOSPC : 0);
        return;
    }
    s->io = (struct queue_req){
        .op = BACKEND_ZEROES,
        .offset = s->file->offset + offset,
        .bytes = length,
        .flags = how == FALLOC_FL_PUNCH_HOLE ? REQ_MAY_UNMAP : 0,
        .done = zeroes_done,
    };
    data_submit(s);
}
