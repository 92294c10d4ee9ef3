/* SPDX-License-Identifier: MIT */
/*
 * read: from the mapping to the data.
 */
#include <errno.h>
#include <stdlib.h>

#include "format/fan.h"
#include "format/qcow2/crypt.h"
#include "format/qcow2/ops.h"
#include "format/qcow2/qcow2.h"

struct node *qcow2_backing_at(struct qcow2 *s, int64_t offset)
{
    struct node *backing = node_child(s->node, "backing");

    return backing && offset < node_length(backing) && offset < s->vm_state_at
               ? backing
               : NULL;
}

static int co_fn read_backing(struct qcow2 *s, int64_t offset,
                              const struct iovs *dst)
{
    struct node *backing = qcow2_backing_at(s, offset);

    if (!backing) {
        iovs_memset(dst, 0, 0, dst->bytes);
        return 0;
    }
    node_event(s->file, EVENT_READ_BACKING_AIO);
    return node_co_preadv_past_end(backing, offset, dst); /* yields */
}

/* Reads guest bytes at @offset, all of which @e describes, into @dst.  Returns
 * 1 when that is not so any more. */
static int co_fn read_extent(struct qcow2 *s, const struct extent *e,
                             int64_t offset, const struct iovs *dst)
{
    switch (e->kind) {
    case QCOW2_HOLE:
    case QCOW2_HOLE_ALLOC:
        return read_backing(s, offset, dst); /* yields */
    case QCOW2_ZEROES:
    case QCOW2_ZEROES_ALLOC:
        iovs_memset(dst, 0, 0, dst->bytes);
        return 0;
    case QCOW2_DATA:
        node_event(s->file, EVENT_READ_AIO);
        return s->encrypted ? qcow2_co_read_cipher(s, offset, e->host, dst)
                            : node_co_preadv_past_end(s->data, e->host, dst);
    case QCOW2_PACKED:
        if (s->encrypted) {
            break; /* nobody writes both at once */
        }
        return qcow2_co_read_packed(s, e, offset, dst); /* yields */
    case QCOW2_BROKEN:
        break;
    }
    return -EIO;
}

/* One of several extents of a request. */
struct read_part {
    struct qcow2 *s;
    struct extent e;
    int64_t offset;
    struct iovs dst;
    struct iovec iov[];
};

static int co_fn read_part(void *opaque)
{
    struct read_part *p = opaque;
    int rc = read_extent(p->s, &p->e, p->offset, &p->dst); /* yields */

    if (unlikely(rc > 0)) {
        rc = qcow2_co_read(p->s, p->offset, &p->dst); /* yields */
    }
    free(p);
    return rc;
}

static struct read_part *read_part_new(struct qcow2 *s, const struct extent *e,
                                       int64_t offset, const struct iovs *dst,
                                       int64_t at)
{
    int n = iovs_count(dst, at, e->bytes);
    struct read_part *p = malloc(sizeof(*p) + (size_t)n * sizeof(p->iov[0]));

    if (p) {
        p->s = s;
        p->e = *e;
        p->offset = offset;
        p->dst = iovs_of(p->iov, iovs_slice(dst, at, e->bytes, p->iov));
    }
    return p;
}

/* Reads a range of several extents, the first of which is @e. */
static int co_fn read_parts(struct qcow2 *s, struct extent *e, int64_t offset,
                            const struct iovs *dst)
{
    struct fan fan = {.running = 0};
    int rc = 0, fan_rc;

    for (int64_t at = 0; at < dst->bytes && rc == 0 && fan.rc == 0;
         at += e->bytes) {
        struct read_part *p;

        if (at > 0) {
            rc = qcow2_co_map(s, offset + at, dst->bytes - at, e); /* yields */
            if (rc < 0) {
                break;
            }
        }
        p = read_part_new(s, e, offset + at, dst, at);
        if (p) {
            fan_start(&fan, read_part, p); /* yields */
        }
        rc = p ? 0 : -ENOMEM;
    }
    fan_rc = fan_finish(&fan); /* yields */
    return rc ? rc : fan_rc;
}

int co_fn qcow2_co_read(struct qcow2 *s, int64_t offset, const struct iovs *dst)
{
    struct extent e;
    int rc;

    do {
        rc = qcow2_co_map(s, offset, dst->bytes, &e); /* yields */
        if (rc < 0) {
            return rc;
        }
        if (unlikely(e.bytes < dst->bytes)) {
            return read_parts(s, &e, offset, dst); /* yields */
        }
        rc = read_extent(s, &e, offset, dst); /* yields */
    } while (unlikely(rc > 0));
    return rc;
}

int co_fn qcow2_co_preadv(struct node *node, int64_t offset,
                          const struct iovs *dst)
{
    return qcow2_co_read(qcow2_of(node), offset, dst); /* yields */
}

bool co_fn qcow2_co_is_zero(struct qcow2 *s, int64_t offset, int64_t bytes)
{
    bool shines = qcow2_backing_at(s, offset) != NULL;

    while (bytes > 0) {
        struct extent e;
        int rc = qcow2_co_map(s, offset, bytes, &e); /* yields */

        if (rc < 0 || !(qcow2_kind_is_zero(e.kind) ||
                        (qcow2_kind_is_hole(e.kind) && !shines))) {
            return false;
        }
        offset += e.bytes;
        bytes -= e.bytes;
    }
    return true;
}
