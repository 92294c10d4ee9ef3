/* SPDX-License-Identifier: MIT */
/*
 * reply: the only place that answers the kernel, and where a negative errno
 * becomes FUSE's.
 *
 * libfuse encodes and calls back into front_writev() with the bytes; a
 * thread-local says which slot they answer.  A reply that fails because the
 * client is gone (ENOENT) or the mount is (ENODEV) needs nothing done.
 */
#include <errno.h>
#include <linux/fuse.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/log.h"
#include "front/front_priv.h"

/* Names and attributes change only through this mount, or with a notification
 * (see notify.c); times of the image are allowed to be a second old. */
#define ENTRY_TIMEOUT 60.0
#define ATTR_TIMEOUT  1.0

_Thread_local struct slot *slot_in_process;
_Thread_local struct slot *slot_in_reply;

static fuse_req_t reply_begin(struct slot *s)
{
    slot_in_reply = s;
    return s->req;
}

static void reply_end(struct slot *s, int rc)
{
    slot_in_reply = NULL;
    if (rc != 0 && rc != -ENOENT && rc != -ENODEV) {
        log_error("%s: the kernel refused an answer: %s",
                  s->worker->front->mountpoint, g_strerror(-rc));
    }
    trace(FRONT, "reply unique=%" PRIu64 " rc=%d", s->unique, rc);
    slot_put(s);
}

void reply_err(struct slot *s, int rc)
{
    /* Nobody outside may be told to try again or that we gave up. */
    if (rc == -EAGAIN || rc == -ECANCELED) {
        rc = -EIO;
    }
    reply_end(s, fuse_reply_err(reply_begin(s), -rc));
}

void reply_buf(struct slot *s, const void *buf, size_t bytes)
{
    reply_end(s, fuse_reply_buf(reply_begin(s), buf, bytes));
}

void reply_stat_from_attr(const struct view_attr *attr, struct stat *st)
{
    *st = (struct stat){
        .st_ino = attr->ino,
        .st_mode = attr->mode,
        .st_nlink = attr->nlink,
        .st_uid = attr->uid,
        .st_gid = attr->gid,
        .st_size = attr->size,
        .st_blocks = attr->allocated / 512,
        .st_blksize = (blksize_t)attr->blksize,
        .st_atim = attr->atime,
        .st_mtim = attr->mtime,
        .st_ctim = attr->ctime,
    };
}

void reply_attr(struct slot *s, const struct view_attr *attr)
{
    struct stat st;

    reply_stat_from_attr(attr, &st);
    reply_end(s, fuse_reply_attr(reply_begin(s), &st, ATTR_TIMEOUT));
}

void reply_entry(struct slot *s, const struct view_attr *attr)
{
    struct fuse_entry_param e = {
        .ino = attr->ino,
        .attr_timeout = ATTR_TIMEOUT,
        .entry_timeout = ENTRY_TIMEOUT,
    };

    reply_stat_from_attr(attr, &e.attr);
    reply_end(s, fuse_reply_entry(reply_begin(s), &e));
}

/* Composed by hand: libfuse 3.14 does not know PARALLEL_DIRECT_WRITES. */
void reply_open(struct slot *s, const struct view_file *file)
{
    struct fuse_open_out out = {.fh = (uintptr_t)file};

    if (file->direct_io) {
        out.open_flags |= FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
    }
    if (file->keep_cache) {
        out.open_flags |= FOPEN_KEEP_CACHE;
    }
    reply_buf(s, &out, sizeof(out));
}

void reply_written(struct slot *s, int64_t bytes)
{
    reply_end(s, fuse_reply_write(reply_begin(s), (size_t)bytes));
}

void reply_lseek(struct slot *s, int64_t offset)
{
    reply_end(s, fuse_reply_lseek(reply_begin(s), offset));
}

void reply_readlink(struct slot *s, const char *target)
{
    reply_end(s, fuse_reply_readlink(reply_begin(s), target));
}

void reply_statfs(struct slot *s, const struct view_statfs *st)
{
    struct statvfs out = {
        .f_bsize = (unsigned long)st->blksize,
        .f_frsize = (unsigned long)st->blksize,
        .f_blocks = (fsblkcnt_t)(st->bytes / st->blksize),
        .f_files = (fsfilcnt_t)st->files,
        .f_namemax = VIEW_NAME_MAX,
    };

    reply_end(s, fuse_reply_statfs(reply_begin(s), &out));
}
