/* SPDX-License-Identifier: MIT */
/*
 * vm_state: the state of a machine, which an image can hold beside the disk.
 *
 * It is mapped as the disk is, from the first guest offset on that has an L1
 * entry of its own behind the disk's end; the L1 table becomes longer as it
 * needs.  No backing file shows through it, and a snapshot keeps it.
 */
#include <errno.h>
#include <stdlib.h>

#include "crypt/cipher.h"
#include "format/qcow2/ops.h"
#include "format/qcow2/qcow2.h"

/* log2 of the guest bytes that an L1 entry is for. */
static unsigned l1_shift(const struct qcow2 *s)
{
    return s->table_bits + s->cluster_bits;
}

void qcow2_place_vm_state(struct qcow2 *s, int64_t length)
{
    s->vm_state_at = qcow2_l1_entries_for(&s->header, length) << l1_shift(s);
}

int64_t qcow2_mappable_end(const struct qcow2 *s)
{
    return max_i64((int64_t)s->header.l1_entries << l1_shift(s),
                   s->header.size);
}

/* Makes an offset in the state one of the guest.  A data file that is a raw
 * image has no room for it: it ends where the disk does. */
static int find_place(const struct qcow2 *s, int64_t bytes, int64_t *offset)
{
    if (s->data_raw) {
        return -EOPNOTSUPP;
    }
    if (*offset < 0 || *offset > BLOCK_MAX_LENGTH - s->vm_state_at - bytes) {
        return -EFBIG;
    }
    *offset += s->vm_state_at;
    return 0;
}

/*
 * Reads @dst, or writes @src, at guest offset @offset: one of them is NULL.
 * What is encrypted is so in whole sectors, which go through a buffer.
 */
static int co_fn access_sectors(struct qcow2 *s, int64_t offset,
                                const struct iovs *dst, const struct iovs *src)
{
    int64_t from = align_down(offset, CIPHER_SECTOR);
    int64_t end = align_up(offset + (dst ? dst : src)->bytes, CIPHER_SECTOR);
    uint8_t *buf = malloc((size_t)(end - from));
    struct iovec iov;
    struct iovs all = iovs_one(&iov, buf, end - from);
    int rc = buf ? qcow2_co_read(s, from, &all) : -ENOMEM; /* yields */

    if (rc == 0 && dst) {
        iovs_from_buf(dst, 0, buf + (offset - from), dst->bytes);
    } else if (rc == 0) {
        iovs_to_buf(src, 0, buf + (offset - from), src->bytes);
        rc = qcow2_co_write(s, from, &all); /* yields */
    }
    free(buf);
    return rc;
}

int co_fn qcow2_co_vm_state_readv(struct node *node, int64_t offset,
                                  const struct iovs *dst)
{
    struct qcow2 *s = qcow2_of(node);
    int rc = find_place(s, dst->bytes, &offset);

    if (rc < 0) {
        return rc;
    }
    node_event(s->file, EVENT_VMSTATE_LOAD);
    return s->encrypted ? access_sectors(s, offset, dst, NULL)
                        : qcow2_co_read(s, offset, dst); /* yields */
}

/* Makes the L1 table, and a data file, reach guest offset @end. */
static int co_fn reach(struct qcow2 *s, int64_t end)
{
    int64_t entries = qcow2_l1_entries_for(&s->header, end);
    int rc;

    if (entries > QCOW2_MAX_L1_BYTES / 8) {
        return -EFBIG;
    }
    co_mutex_lock(&s->meta); /* yields */
    rc = qcow2_co_grow_l1(s, (uint32_t)entries);
    end = cluster_up(s, end);
    if (rc == 0 && s->external && node_length(s->data) < end) {
        rc = node_co_truncate(s->data, end, PREALLOC_OFF, 0, NULL);
    }
    co_mutex_unlock(&s->meta);
    return rc;
}

int co_fn qcow2_co_vm_state_writev(struct node *node, int64_t offset,
                                   const struct iovs *src)
{
    struct qcow2 *s = qcow2_of(node);
    int rc = find_place(s, src->bytes, &offset);

    rc = rc ? rc : qcow2_co_begin_change(s); /* yields */
    if (rc < 0) {
        return rc;
    }
    node_event(s->file, EVENT_VMSTATE_SAVE);
    rc = reach(s, offset + src->bytes); /* yields */
    if (rc < 0) {
        return rc;
    }
    return s->encrypted ? access_sectors(s, offset, NULL, src)
                        : qcow2_co_write(s, offset, src); /* yields */
}
