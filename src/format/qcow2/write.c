/* SPDX-License-Identifier: MIT */
/*
 * write: data to clusters that are there, and to ones that have to be
 * allocated.
 *
 * A write of clusters that are ours alone goes to their place, whoever else
 * writes there.  All others are those of write_fresh.c.
 */
#include <errno.h>
#include <stdlib.h>

#include "format/fan.h"
#include "format/qcow2/bitmaps.h"
#include "format/qcow2/crypt.h"
#include "format/qcow2/ops.h"
#include "format/qcow2/qcow2.h"
#include "format/qcow2/write_priv.h"

/* -- In place ------------------------------------------------------------ */

int co_fn qcow2_co_write_data(struct qcow2 *s, int64_t guest, int64_t host,
                              const struct iovs *src)
{
    int rc = qcow2_co_guard_data(s, host, src->bytes);

    if (rc < 0) {
        return rc;
    }
    node_event(s->file, EVENT_WRITE_AIO);
    return s->encrypted ? qcow2_co_write_cipher(s, guest, host, src)
                        : node_co_pwritev(s->data, host, src, 0); /* yields */
}

/* One of several extents of a request. */
struct write_part {
    struct qcow2 *s;
    int64_t guest, host;
    struct iovs src;
    struct iovec iov[];
};

static int co_fn write_part(void *opaque)
{
    struct write_part *p = opaque;
    int rc = qcow2_co_write_data(p->s, p->guest, p->host, &p->src); /* yields */

    free(p);
    return rc;
}

static struct write_part *write_part_new(struct qcow2 *s, int64_t guest,
                                         int64_t host, const struct iovs *src,
                                         int64_t at, int64_t bytes)
{
    int n = iovs_count(src, at, bytes);
    struct write_part *p = malloc(sizeof(*p) + (size_t)n * sizeof(p->iov[0]));

    if (p) {
        p->s = s;
        p->guest = guest;
        p->host = host;
        p->src = iovs_of(p->iov, iovs_slice(src, at, bytes, p->iov));
    }
    return p;
}

static bool is_in_place(const struct extent *e)
{
    return e->kind == QCOW2_DATA && e->copied;
}

/* -- Any clusters -------------------------------------------------------- */

/* Do clusters follow @e, which is in place, that have a place right behind it
 * but are not in use yet?  Then one write can do for both. */
static bool co_fn goes_on(struct qcow2 *s, const struct extent *e,
                          int64_t offset, int64_t bytes)
{
    struct extent next;

    return bytes > e->bytes && is_aligned(offset + e->bytes, s->cluster_size) &&
           qcow2_co_map(s, offset + e->bytes, bytes - e->bytes, &next) == 0 &&
           (next.kind == QCOW2_ZEROES_ALLOC || next.kind == QCOW2_HOLE_ALLOC) &&
           next.copied && next.host == e->host + e->bytes; /* yields */
}

/* Writes a range of several extents, the first of which is @e. */
static int co_fn write_parts(struct qcow2 *s, struct extent *e, int64_t offset,
                             const struct iovs *src)
{
    struct fan fan = {.running = 0};
    int64_t at = 0, n = 0;
    int fan_rc;

    while (n >= 0 && fan.rc == 0) {
        int64_t left = src->bytes - at;

        n = 0;
        if (!is_in_place(e) || goes_on(s, e, offset + at, left)) {
            n = qcow2_co_write_fresh(s, offset + at, src, at,
                                     left); /* yields */
        }
        if (n == 0 && is_in_place(e)) {
            struct write_part *p =
                write_part_new(s, offset + at, e->host, src, at, e->bytes);

            n = p ? e->bytes : -ENOMEM;
            if (p) {
                fan_start(&fan, write_part, p); /* yields */
            }
        }
        at += max_i64(n, 0);
        if (n < 0 || at == src->bytes) {
            break;
        }
        n = qcow2_co_map(s, offset + at, src->bytes - at, e); /* yields */
    }
    fan_rc = fan_finish(&fan); /* yields */
    return n < 0 ? (int)n : fan_rc;
}

int co_fn qcow2_co_write(struct qcow2 *s, int64_t offset,
                         const struct iovs *src)
{
    struct extent e;
    int rc = qcow2_co_map(s, offset, src->bytes, &e); /* yields */

    if (rc < 0) {
        return rc;
    }
    if (likely(e.bytes == src->bytes && is_in_place(&e))) {
        return qcow2_co_write_data(s, offset, e.host, src); /* yields */
    }
    return write_parts(s, &e, offset, src); /* yields */
}

int co_fn qcow2_co_pwritev(struct node *node, int64_t offset,
                           const struct iovs *src, unsigned flags)
{
    struct qcow2 *s = qcow2_of(node);
    int rc;

    if ((flags & REQ_WRITE_COMPRESSED) && s->encrypted) {
        return -EOPNOTSUPP; /* nobody reads both at once */
    }
    rc = qcow2_co_begin_change(s);                         /* yields */
    rc = rc ? rc : qcow2_co_record(s, offset, src->bytes); /* yields */
    if (rc < 0) {
        return rc;
    }
    rc = flags & REQ_WRITE_COMPRESSED
             ? qcow2_co_write_packed(s, offset, src)
             : qcow2_co_write(s, offset, src); /* yields */
    if (rc == 0 && unlikely(qcow2_has_many_frees(s))) {
        rc = qcow2_co_settle(s); /* yields */
    }
    return rc;
}
