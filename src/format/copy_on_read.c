/* SPDX-License-Identifier: MIT */

#include "format/copy_on_read.h"

#include <errno.h>
#include <stdlib.h>

#include "base/align.h"
#include "base/error.h"
#include "block/driver.h"
#include "block/image.h"
#include "block/node.h"
#include "loop/sync.h"

struct cor {
    int64_t cluster; /* what is copied is a multiple of this */
    /*
     * Shared: whoever changes data.  Exclusive: a copy, from reading what the
     * backing file has to writing it; a write in between would be undone.
     */
    struct co_rwlock lock;
};

/* The size of the clusters of the image below @node, beneath filters. */
static int co_fn cor_cluster(struct node *node, int64_t *ret)
{
    struct image_info info = {.cluster_size = 0};
    const struct image_ops *image;
    int rc = 0;

    while ((node_driver(node)->traits & DRIVER_FILTER) && node_file(node)) {
        node = node_file(node);
    }
    image = node_driver(node)->image;
    if (image && image->co_info) {
        rc = image->co_info(node, &info); /* yields */
    }
    *ret = max_i64(info.cluster_size, 4 * KiB);
    image_info_fini(&info);
    return rc;
}

static int co_fn cor_co_open(struct node *node, struct options *opts,
                             GError **err)
{
    struct cor *c = node_state(node);
    int rc = node_co_open_child(node, "file", opts, node_flags(node), err);

    if (rc < 0) {
        return rc;
    }
    if (node_is_rdonly(node_file(node))) {
        return error_set(err, -EACCES,
                         "%s: is open read-only, so that copy-on-read has "
                         "nowhere to copy to; open it read-write",
                         node_filename(node));
    }
    rc = cor_cluster(node_file(node), &c->cluster); /* yields */
    if (rc < 0) {
        return rc;
    }
    co_rwlock_init(&c->lock);
    node_set_length(node, node_length(node_file(node)));
    return 0;
}

static void co_fn cor_co_close(struct node *node)
{
    struct cor *c = node_state(node);

    co_rwlock_fini(&c->lock);
}

/* -- Reads --------------------------------------------------------------- */

/* Reads a range that the image lacks into @buf and writes it to the image. */
static int co_fn cor_keep(struct node *file, int64_t offset, void *buf,
                          int64_t bytes)
{
    int rc = node_co_pread(file, offset, buf, bytes); /* yields */

    if (rc < 0) {
        return rc;
    }
    node_event(file, EVENT_COR_WRITE); /* yields */
    if (buf_is_zero(buf, bytes)) {
        return node_co_pwrite_zeroes(file, offset, bytes,
                                     REQ_WRITE_UNCHANGED | REQ_MAY_UNMAP);
    }
    return node_co_pwrite(file, offset, buf, bytes, REQ_WRITE_UNCHANGED);
}

/* Does the image lack the first *@run bytes at @offset? */
static int co_fn cor_lacks(struct node *file, int64_t offset, int64_t bytes,
                           bool *lacks, int64_t *run)
{
    struct block_status st;
    int rc = node_co_block_status(file, false, offset, bytes, &st);

    *lacks = rc == 0 && !(st.flags & BLOCK_ALLOCATED);
    *run = rc == 0 && st.bytes > 0 ? st.bytes : bytes;
    return rc;
}

/*
 * Reads the clusters around @offset, of which the image lacks some, through
 * @buf of @room bytes and keeps them.  Sets *@ret to how many of the @bytes at
 * @offset are in @buf then, and *@at to where.
 */
static int co_fn cor_copy(struct node *node, int64_t offset, int64_t bytes,
                          char *buf, int64_t room, int64_t *at, int64_t *ret)
{
    struct cor *c = node_state(node);
    struct node *file = node_file(node);
    int64_t start = round_down(offset, c->cluster);
    int64_t end =
        min_i64(round_up(offset + bytes, c->cluster), node_length(file));
    int64_t run;
    bool lacks;
    int rc;

    co_rwlock_wrlock(&c->lock); /* yields */
    rc = cor_lacks(file, start, min_i64(room, end - start), &lacks, &run);
    while (rc == 0 && start + run <= offset) { /* part of a cluster is there */
        start += run;
        rc = cor_lacks(file, start, min_i64(room, end - start), &lacks, &run);
    }
    if (rc == 0) {
        rc = lacks ? cor_keep(file, start, buf, run)
                   : node_co_pread(file, start, buf, run); /* yields */
    }
    co_rwlock_unlock(&c->lock);
    *at = offset - start;
    *ret = min_i64(run - *at, bytes);
    return rc;
}

/* Reads from the image itself into a part of @dst. */
static int co_fn cor_read_part(struct node *file, int64_t offset,
                               const struct iovs *dst, int64_t done,
                               int64_t bytes)
{
    g_autofree struct iovec *iov =
        g_try_new(struct iovec, (size_t)iovs_count(dst, done, bytes));
    struct iovs part;

    if (!iov) {
        return -ENOMEM;
    }
    part = iovs_of(iov, iovs_slice(dst, done, bytes, iov));
    return node_co_preadv(file, offset + done, &part, 0); /* yields */
}

/* Run by run. */
static int co_fn cor_read_runs(struct node *node, int64_t offset,
                               const struct iovs *dst)
{
    const struct cor *c = node_state(node);
    struct node *file = node_file(node);
    int64_t room = max_i64(BLOCK_MAX_BOUNCE, c->cluster);
    char *buf = node_try_alloc(file, room);
    int64_t done = 0;
    int rc = buf ? 0 : -ENOMEM;

    while (rc == 0 && done < dst->bytes) {
        int64_t run, at;
        bool lacks;

        rc = cor_lacks(file, offset + done, dst->bytes - done, &lacks, &run);
        if (rc == 0 && lacks) {
            rc = cor_copy(node, offset + done, dst->bytes - done, buf, room,
                          &at, &run); /* yields */
            if (rc == 0) {
                iovs_from_buf(dst, done, buf + at, run);
            }
        } else if (rc == 0) {
            rc = cor_read_part(file, offset, dst, done, run); /* yields */
        }
        done += run;
    }
    free(buf);
    return rc;
}

static int co_fn cor_co_preadv(struct node *node, int64_t offset,
                               const struct iovs *dst)
{
    struct node *file = node_file(node);
    bool lacks;
    int64_t run;
    int rc = cor_lacks(file, offset, dst->bytes, &lacks, &run);

    if (rc == 0 && !lacks && run == dst->bytes) {
        return node_co_preadv(file, offset, dst, 0); /* yields */
    }
    return rc < 0 ? rc : cor_read_runs(node, offset, dst);
}

/* -- Changes ------------------------------------------------------------- */

static int co_fn cor_co_pwritev(struct node *node, int64_t offset,
                                const struct iovs *src, unsigned flags)
{
    struct cor *c = node_state(node);
    int rc;

    co_rwlock_rdlock(&c->lock); /* yields */
    rc = node_co_pwritev(node_file(node), offset, src, flags);
    co_rwlock_unlock(&c->lock);
    return rc;
}

static int co_fn cor_co_pwrite_zeroes(struct node *node, int64_t offset,
                                      int64_t bytes, unsigned flags)
{
    struct cor *c = node_state(node);
    int rc;

    co_rwlock_rdlock(&c->lock); /* yields */
    rc = node_co_pwrite_zeroes(node_file(node), offset, bytes, flags);
    co_rwlock_unlock(&c->lock);
    return rc;
}

static int co_fn cor_co_pdiscard(struct node *node, int64_t offset,
                                 int64_t bytes)
{
    struct cor *c = node_state(node);
    int rc;

    co_rwlock_rdlock(&c->lock); /* yields */
    rc = node_co_pdiscard(node_file(node), offset, bytes);
    co_rwlock_unlock(&c->lock);
    return rc;
}

static int co_fn cor_co_truncate(struct node *node, int64_t length,
                                 enum prealloc_mode prealloc, unsigned flags,
                                 GError **err)
{
    struct cor *c = node_state(node);
    int rc;

    co_rwlock_rdlock(&c->lock); /* yields */
    rc = node_co_truncate(node_file(node), length, prealloc, flags, err);
    if (rc == 0) {
        node_set_length(node, length);
    }
    co_rwlock_unlock(&c->lock);
    return rc;
}

const struct driver driver_copy_on_read = {
    .name = "copy-on-read",
    .state_size = sizeof(struct cor),
    .traits = DRIVER_FILTER,
    .write_flags = REQ_FUA | REQ_WRITE_UNCHANGED | REQ_WRITE_COMPRESSED,
    .zeroes_flags = REQ_FUA | REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .co_open = cor_co_open,
    .co_close = cor_co_close,
    .co_preadv = cor_co_preadv,
    .co_pwritev = cor_co_pwritev,
    .co_pwrite_zeroes = cor_co_pwrite_zeroes,
    .co_pdiscard = cor_co_pdiscard,
    .co_truncate = cor_co_truncate,
};
