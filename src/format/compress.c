/* SPDX-License-Identifier: MIT */

#include "format/compress.h"

#include <errno.h>
#include <glib.h>

#include "base/error.h"
#include "block/driver.h"
#include "block/image.h"
#include "block/node.h"
#include "format/pass.h"

struct compress {
    int64_t cluster; /* what is compressed as one, a power of 2 */
};

/* Asks the image beneath @file, and filters above it, how large its clusters
 * are; 0: it cannot compress. */
static int co_fn find_cluster(struct node *file, int64_t *ret)
{
    struct image_info info = {.cluster_size = 0};
    const struct driver *drv = node_driver(file);
    int rc = 0;

    while ((drv->traits & DRIVER_FILTER) &&
           (drv->write_flags & REQ_WRITE_COMPRESSED) && node_file(file)) {
        file = node_file(file);
        drv = node_driver(file);
    }
    if ((drv->write_flags & REQ_WRITE_COMPRESSED) && drv->image &&
        drv->image->co_info) {
        rc = drv->image->co_info(file, &info); /* yields */
    }
    *ret = info.cluster_size;
    image_info_fini(&info);
    return rc;
}

static int co_fn compress_co_open(struct node *node, struct options *opts,
                                  GError **err)
{
    struct compress *c = node_state(node);
    int rc = node_co_open_child(node, "file", opts, node_flags(node), err);

    if (rc < 0) {
        return rc;
    }
    rc = find_cluster(node_file(node), &c->cluster); /* yields */
    if (rc < 0) {
        return error_set_errno(err, rc, "%s: cannot tell how it is compressed",
                               node_filename(node));
    }
    if (c->cluster == 0) {
        return error_set(
            err, -EOPNOTSUPP, "%s: %s images cannot be compressed; use qcow2",
            node_filename(node), node_driver(node_file(node))->name);
    }
    node_set_length(node, node_length(node_file(node)));
    return 0;
}

/* Whole clusters are what the image takes; the core completes others.  The
 * last one may pass the end. */
static void compress_limits(struct node *node, struct node_limits *limits)
{
    const struct compress *c = node_state(node);

    limits->request_align = c->cluster;
}

static int co_fn compress_co_pwritev(struct node *node, int64_t offset,
                                     const struct iovs *src, unsigned flags)
{
    return node_co_pwritev(node_file(node), offset, src,
                           flags | REQ_WRITE_COMPRESSED); /* yields */
}

const struct driver driver_compress = {
    .name = "compress",
    .state_size = sizeof(struct compress),
    .traits = DRIVER_FILTER,
    .write_flags = REQ_FUA | REQ_WRITE_UNCHANGED | REQ_WRITE_COMPRESSED,
    .zeroes_flags = REQ_FUA | REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .co_open = compress_co_open,
    .limits = compress_limits,
    .co_preadv = pass_co_preadv,
    .co_pwritev = compress_co_pwritev,
    .co_pwrite_zeroes = pass_co_pwrite_zeroes,
    .co_pdiscard = pass_co_pdiscard,
    .co_truncate = pass_co_truncate,
};
