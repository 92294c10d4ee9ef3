/* SPDX-License-Identifier: MIT */
/*
 * measure: how large an image would be.
 */
#include <errno.h>

#include "base/error.h"
#include "format/qcow2/bitmaps.h"
#include "format/qcow2/create.h"
#include "format/qcow2/driver.h"
#include "format/qcow2/ops.h"
#include "format/qcow2/qcow2.h"

static int64_t div_up(int64_t n, int64_t by)
{
    return n / by + (n % by != 0);
}

/* Bytes of a file in which all of a disk of @bytes is allocated. */
static int64_t full_size(const struct qcow2_new *n, int64_t bytes)
{
    const struct qcow2_header *h = &n->header;
    int64_t cluster = qcow2_header_cluster_size(h);
    int64_t per_block = cluster * 8 >> h->refcount_order;
    int64_t tables = qcow2_l1_entries_for(h, bytes);
    int64_t l1 = div_up(tables * 8, cluster);
    int64_t data = h->data_file ? 0 : div_up(bytes, cluster);
    int64_t crypt = div_up(qcow2_new_crypt_bytes(&n->crypt), cluster);
    int64_t fixed = 1 + l1 + tables + data + crypt;
    int64_t counts = 0, before;

    /* What counts references is counted itself. */
    do {
        int64_t blocks = div_up(fixed + counts, per_block);

        before = counts;
        counts = blocks + div_up(blocks * 8, cluster);
    } while (counts != before);
    return (fixed + counts) * cluster;
}

/* Bytes of the clusters that have data in @src. */
static int co_fn used_bytes(struct node *src, int64_t cluster, int64_t *ret)
{
    int64_t length = node_length(src);
    int64_t last = -1; /* the cluster that was counted last */
    int64_t n = 0;

    for (int64_t pos = 0; pos < length;) {
        struct block_status st;
        int rc = node_co_status_above(src, NULL, pos, length - pos, &st, NULL);

        if (rc < 0) {
            return rc;
        }
        if (st.bytes == 0) {
            break;
        }
        if ((st.flags & BLOCK_DATA) && !(st.flags & BLOCK_ZERO)) {
            int64_t first = max_i64(pos / cluster, last + 1);

            last = max_i64(last, (pos + st.bytes - 1) / cluster);
            n += last + 1 - first;
        }
        pos += st.bytes;
    }
    *ret = n * cluster;
    return 0;
}

static bool can_have_bitmaps(const struct qcow2_header *h, struct node *src)
{
    return h->version >= 3 && src && node_driver(src) == &driver_qcow2 &&
           qcow2_of(src)->header.version >= 3;
}

static int co_fn measure(const struct qcow2_new *n, int64_t bytes,
                         struct node *src, struct image_measure *ret,
                         GError **err)
{
    const struct qcow2_header *h = &n->header;
    int64_t cluster = qcow2_header_cluster_size(h);
    int64_t all = div_up(bytes, cluster) * cluster;
    int64_t used = 0;
    int rc = 0;

    if (qcow2_l1_entries_for(h, bytes) > QCOW2_MAX_L1_BYTES / 8) {
        return error_set(err, -EFBIG,
                         "%" PRId64
                         " bytes are too many; give a larger cluster_size",
                         bytes);
    }
    if (src && h->backing_name) {
        used = all; /* zeroes need a cluster, too, to hide what is behind */
    } else if (src) {
        rc = used_bytes(src, cluster, &used); /* yields */
    }
    if (rc < 0) {
        return error_set_errno(err, rc, "%s: cannot find out what it holds",
                               node_filename(src));
    }
    ret->fully_allocated = full_size(n, bytes);
    ret->required = ret->fully_allocated;
    if (n->prealloc != PREALLOC_FULL && n->prealloc != PREALLOC_FALLOC &&
        !h->data_file) {
        ret->required -= all - min_i64(used, all);
    }
    ret->bitmaps = -1;
    return can_have_bitmaps(h, src) /* as both must */
               ? qcow2_co_bitmaps_measure(qcow2_of(src), h->cluster_bits,
                                          &ret->bitmaps, err) /* yields */
               : 0;
}

int co_fn qcow2_co_measure(struct options *opts, int64_t bytes,
                           struct node *src, struct image_measure *ret,
                           GError **err)
{
    struct qcow2_new n;
    int rc;

    if (options_peek(opts, "backing_file")) {
        options_set_default(opts, "backing_fmt", "raw"); /* nobody opens it */
    }
    rc = qcow2_take_create_options(opts, &n, err);
    if (rc == 0) {
        bytes = align_up(src ? node_length(src) : bytes, 512);
        rc = measure(&n, bytes, src, ret, err); /* yields */
        qcow2_new_fini(&n);
    }
    return rc;
}
