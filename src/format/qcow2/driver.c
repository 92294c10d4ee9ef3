/* SPDX-License-Identifier: MIT */

#include "format/qcow2/driver.h"

#include "crypt/cipher.h"
#include "format/qcow2/ops.h"
#include "format/qcow2/qcow2.h"

static int qcow2_probe(const uint8_t *head, size_t n, const char *filename)
{
    return qcow2_header_probe(head, n) ? 100 : 0;
}

static void qcow2_limits(struct node *node, struct node_limits *limits)
{
    const struct qcow2 *s = qcow2_of(node);

    limits->opt_transfer = max_i64(limits->opt_transfer, s->cluster_size);
    limits->discard_align = s->cluster_size;
    if (s->encrypted) {
        limits->request_align = CIPHER_SECTOR;
    }
}

static const struct image_ops qcow2_image_ops = {
    .options = qcow2_options,
    .co_create = qcow2_co_create,
    .co_measure = qcow2_co_measure,
    .co_info = qcow2_co_info,
    .co_info_json = qcow2_co_info_json,
    .co_check = qcow2_co_check,
    .co_amend = qcow2_co_amend,
    .co_change_backing = qcow2_co_change_backing,
    .co_make_empty = qcow2_co_make_empty,
    .co_unwritten = qcow2_co_unwritten,
    .co_vm_state_readv = qcow2_co_vm_state_readv,
    .co_vm_state_writev = qcow2_co_vm_state_writev,
    .co_snapshot_list = qcow2_co_snapshot_list,
    .co_snapshot_create = qcow2_co_snapshot_create,
    .co_snapshot_apply = qcow2_co_snapshot_apply,
    .co_snapshot_delete = qcow2_co_snapshot_delete,
    .co_snapshot_load = qcow2_co_snapshot_load,
    .co_bitmap_list = qcow2_co_bitmap_list,
    .co_bitmap_add = qcow2_co_bitmap_add,
    .co_bitmap_change = qcow2_co_bitmap_change,
    .co_bitmap_merge = qcow2_co_bitmap_merge,
    .co_bitmap_store = qcow2_co_bitmap_store,
};

const struct driver driver_qcow2 = {
    .name = "qcow2",
    .state_size = sizeof(struct qcow2),
    .write_flags = REQ_WRITE_COMPRESSED | REQ_WRITE_UNCHANGED,
    .zeroes_flags = REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .image = &qcow2_image_ops,
    .probe = qcow2_probe,
    .co_open = qcow2_co_open,
    .co_close = qcow2_co_close,
    .limits = qcow2_limits,
    .co_preadv = qcow2_co_preadv,
    .co_pwritev = qcow2_co_pwritev,
    .co_pwrite_zeroes = qcow2_co_pwrite_zeroes,
    .co_pdiscard = qcow2_co_pdiscard,
    .co_flush_to_os = qcow2_co_flush_to_os,
    .co_block_status = qcow2_co_block_status,
    .co_truncate = qcow2_co_truncate,
};
