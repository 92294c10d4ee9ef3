/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/iov.h"
#include "block/node.h"
#include "tool/convert_priv.h"
#include "tool/open.h"

#define SECTOR 512

/* -- Reading ------------------------------------------------------------- */

/* What one input has of a range. */
struct piece {
    struct node *node;
    int64_t offset, bytes; /* in @node */
};

/* The piece at @offset of the target, at most @bytes of it. */
static struct piece find_piece(const struct convert *c, int64_t offset,
                               int64_t bytes)
{
    const struct convert_source *s = c->rq->sources;

    for (; offset >= s->bytes; s++) {
        offset -= s->bytes;
    }
    return (struct piece){s->node, s->offset + offset,
                          min_i64(bytes, s->bytes - offset)};
}

/* Reads what can be read of a piece that failed: half as much after a failure,
 * twice as much after a success. */
static void co_fn read_salvage(struct convert *c, const struct piece *p,
                               char *buf)
{
    int64_t step = p->bytes;

    for (int64_t at = 0; at < p->bytes;) {
        int64_t n = min_i64(step, p->bytes - at);
        int rc = tool_co_read(p->node, p->offset + at, buf + at, n);

        if (rc < 0 && n > SECTOR) {
            step = align_up(n / 2, SECTOR);
            continue;
        }
        if (rc < 0) {
            memset(buf + at, 0, (size_t)n);
            convert_lost(c, CONVERT_READ, p->offset + at, n, rc);
        } else {
            step = n * 2;
        }
        at += n;
    }
}

static int co_fn copy_read(struct convert *c, const struct range *r, char *buf)
{
    for (int64_t at = 0; at < r->bytes;) {
        struct piece p = find_piece(c, r->offset + at, r->bytes - at);
        int rc = tool_co_read(p.node, p.offset, buf + at, p.bytes);

        if (rc < 0 && (c->rq->flags & CONVERT_SALVAGE)) {
            read_salvage(c, &p, buf + at); /* yields */
        } else if (rc < 0) {
            convert_fail(c, CONVERT_READ, r->offset + at, rc);
            return rc;
        }
        at += p.bytes;
    }
    return 0;
}

/* -- Writing ------------------------------------------------------------- */

static unsigned write_flags(const struct convert *c)
{
    return c->rq->flags & CONVERT_WRITETHROUGH ? REQ_FUA : 0;
}

/* A target that ends inside a sector has no room for its padding. */
static int64_t clip(const struct convert *c, int64_t offset, int64_t bytes)
{
    int64_t room = node_length(c->rq->target) - offset;

    return bytes - room < SECTOR ? min_i64(bytes, room) : bytes;
}

static int co_fn write_data(struct convert *c, int64_t offset, const char *buf,
                            int64_t bytes)
{
    unsigned flags = write_flags(c);

    if (c->rq->flags & CONVERT_COMPRESS) {
        flags |= REQ_WRITE_COMPRESSED;
    }
    return node_co_pwrite(c->rq->target, offset, buf, clip(c, offset, bytes),
                          flags);
}

static int co_fn write_zeroes(struct convert *c, int64_t offset, int64_t bytes)
{
    if (c->target_zero) {
        return 0;
    }
    return node_co_pwrite_zeroes(c->rq->target, offset, clip(c, offset, bytes),
                                 write_flags(c) | REQ_MAY_UNMAP);
}

int64_t convert_run(const char *buf, int64_t offset, int64_t bytes,
                    int64_t sparse, int64_t unit, bool *zero)
{
    int64_t at = 0;   /* end of the run so far */
    int64_t skip = 0; /* zeroes behind it that are too short yet */

    *zero = false;
    if (sparse == 0) {
        return bytes;
    }
    while (at + skip < bytes) {
        int64_t pos = at + skip;
        int64_t n = min_i64(align_up(offset + pos + 1, unit) - offset - pos,
                            bytes - pos);

        if (buf_is_zero(buf + pos, n)) {
            skip += n;
            if (at > 0 && skip >= sparse) {
                return at; /* data up to zeroes that are long enough */
            }
            continue;
        }
        if (at == 0 && skip >= sparse) {
            break;
        }
        at = pos + n;
        skip = 0;
    }
    /* Zeroes at the end of @buf may go on behind it. */
    *zero = at == 0;
    return at == 0 ? skip : at;
}

static int co_fn write_sparse(struct convert *c, const struct range *r,
                              const char *buf)
{
    int64_t sparse = c->rq->sparse;
    int rc = 0;

    for (int64_t at = 0; at < r->bytes && rc == 0;) {
        bool zero;
        int64_t n = convert_run(buf + at, r->offset + at, r->bytes - at, sparse,
                                c->unit, &zero);

        rc = zero ? write_zeroes(c, r->offset + at, n)
                  : write_data(c, r->offset + at, buf + at, n); /* yields */
        at += n;
    }
    return rc;
}

/* How many bytes from @at on are clusters that are all zeroes, or all not. */
static int64_t clusters_alike(const struct convert *c, const struct range *r,
                              const char *buf, int64_t at, bool *zero)
{
    int64_t cluster = c->rq->cluster;
    int64_t pos = at;

    while (pos < r->bytes) {
        int64_t n = min_i64(cluster, r->bytes - pos);
        bool z = c->rq->sparse > 0 && buf_is_zero(buf + pos, n);

        if (pos > at && z != *zero) {
            break;
        }
        *zero = z;
        pos += n;
    }
    return pos - at;
}

/* Whole clusters: each is compressed, or left out.  The format compresses
 * those of one write side by side. */
static int co_fn write_compressed(struct convert *c, const struct range *r,
                                  const char *buf)
{
    int rc = 0;

    for (int64_t at = 0; at < r->bytes && rc == 0;) {
        bool zero = false;
        int64_t n = clusters_alike(c, r, buf, at, &zero);

        rc = zero ? write_zeroes(c, r->offset + at, n)
                  : write_data(c, r->offset + at, buf + at, n); /* yields */
        at += n;
    }
    return rc;
}

/* With sparse 0, zeroes are written like data. */
static int co_fn write_range(struct convert *c, const struct range *r,
                             char *buf)
{
    if (r->zero && c->rq->sparse > 0) {
        return write_zeroes(c, r->offset, r->bytes);
    }
    if (r->zero) {
        memset(buf, 0, (size_t)r->bytes);
    }
    if (c->rq->flags & CONVERT_COMPRESS) {
        return write_compressed(c, r, buf);
    }
    return write_sparse(c, r, buf);
}

/* -- Order --------------------------------------------------------------- */

static void co_fn wait_turn(struct convert *c, const struct range *r)
{
    if (!c->in_order) {
        return;
    }
    pthread_mutex_lock(&c->lock);
    while (c->turn != r->seq) {
        co_queue_wait_pthread(&c->turns, &c->lock); /* yields */
    }
    pthread_mutex_unlock(&c->lock);
}

/* Also after an error: those behind must not wait for ever. */
static void end_turn(struct convert *c)
{
    if (c->in_order) {
        pthread_mutex_lock(&c->lock);
        c->turn++;
        co_queue_wake_all(&c->turns);
        pthread_mutex_unlock(&c->lock);
    }
}

/* -- A range ------------------------------------------------------------- */

/* Has the host copied it? */
static bool co_fn copy_on_host(struct convert *c, const struct range *r)
{
    struct piece p = find_piece(c, r->offset, r->bytes);
    int rc;

    if (!(c->rq->flags & CONVERT_COPY_RANGE) ||
        atomic_load(&c->no_copy_range) || p.bytes < r->bytes ||
        p.offset + p.bytes > node_length(p.node)) {
        return false;
    }
    rc = node_co_copy_range(p.node, p.offset, c->rq->target, r->offset,
                            r->bytes, write_flags(c)); /* yields */
    if (rc < 0) {
        /* Whatever it was, reading and writing will tell. */
        atomic_store(&c->no_copy_range, true);
    }
    return rc == 0;
}

static void co_fn copy_range(struct convert *c, const struct range *r,
                             char *buf)
{
    bool copied = !r->zero && copy_on_host(c, r); /* yields */
    int rc = 0;

    if (!copied && !r->zero) {
        rc = copy_read(c, r, buf); /* yields */
    }
    wait_turn(c, r); /* yields */
    if (!copied && rc == 0 && !atomic_load(&c->stop)) {
        rc = write_range(c, r, buf); /* yields */
        if (rc < 0) {
            convert_fail(c, CONVERT_WRITE, r->offset, rc);
        }
    }
    end_turn(c);
    if (!r->zero || !(c->rq->flags & CONVERT_COUNT_FIRST)) {
        convert_progress(c, r->bytes);
    }
}

void convert_work(void *opaque)
{
    struct convert *c = opaque;
    char *buf = node_try_alloc(c->rq->target, c->chunk);
    struct range r;

    co_assert_role();
    if (!buf) {
        convert_fail(c, CONVERT_OTHER, 0, -ENOMEM);
        return;
    }
    while (convert_co_claim(c, &r)) { /* yields */
        copy_range(c, &r, buf);       /* yields */
    }
    free(buf);
}
