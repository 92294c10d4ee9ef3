/* SPDX-License-Identifier: MIT */

#include "block/event.h"

#include <string.h>

#include "block/node_priv.h"

static const char *const event_names[EVENTS] = {
    [EVENT_NONE] = "none",
    [EVENT_PWRITEV] = "pwritev",
    [EVENT_PWRITEV_ZERO] = "pwritev_zero",
    [EVENT_PWRITEV_DONE] = "pwritev_done",
    [EVENT_PWRITEV_RMW_HEAD] = "pwritev_rmw_head",
    [EVENT_PWRITEV_RMW_AFTER_HEAD] = "pwritev_rmw_after_head",
    [EVENT_PWRITEV_RMW_TAIL] = "pwritev_rmw_tail",
    [EVENT_PWRITEV_RMW_AFTER_TAIL] = "pwritev_rmw_after_tail",
    [EVENT_FLUSH_TO_OS] = "flush_to_os",
    [EVENT_FLUSH_TO_DISK] = "flush_to_disk",
    [EVENT_READ_AIO] = "read_aio",
    [EVENT_READ_BACKING_AIO] = "read_backing_aio",
    [EVENT_READ_COMPRESSED] = "read_compressed",
    [EVENT_WRITE_AIO] = "write_aio",
    [EVENT_WRITE_COMPRESSED] = "write_compressed",
    [EVENT_COW_READ] = "cow_read",
    [EVENT_COW_WRITE] = "cow_write",
    [EVENT_COR_WRITE] = "cor_write",
    [EVENT_VMSTATE_LOAD] = "vmstate_load",
    [EVENT_VMSTATE_SAVE] = "vmstate_save",
    [EVENT_EMPTY_IMAGE_PREPARE] = "empty_image_prepare",
    [EVENT_L1_UPDATE] = "l1_update",
    [EVENT_L1_GROW_ALLOC_TABLE] = "l1_grow_alloc_table",
    [EVENT_L1_GROW_WRITE_TABLE] = "l1_grow_write_table",
    [EVENT_L1_GROW_ACTIVATE_TABLE] = "l1_grow_activate_table",
    [EVENT_L1_SHRINK_WRITE_TABLE] = "l1_shrink_write_table",
    [EVENT_L1_SHRINK_FREE_L2_CLUSTERS] = "l1_shrink_free_l2_clusters",
    [EVENT_L2_LOAD] = "l2_load",
    [EVENT_L2_UPDATE] = "l2_update",
    [EVENT_L2_UPDATE_COMPRESSED] = "l2_update_compressed",
    [EVENT_L2_ALLOC_COW_READ] = "l2_alloc_cow_read",
    [EVENT_L2_ALLOC_WRITE] = "l2_alloc_write",
    [EVENT_REFTABLE_LOAD] = "reftable_load",
    [EVENT_REFTABLE_GROW] = "reftable_grow",
    [EVENT_REFTABLE_UPDATE] = "reftable_update",
    [EVENT_REFBLOCK_LOAD] = "refblock_load",
    [EVENT_REFBLOCK_UPDATE] = "refblock_update",
    [EVENT_REFBLOCK_UPDATE_PART] = "refblock_update_part",
    [EVENT_REFBLOCK_ALLOC] = "refblock_alloc",
    [EVENT_REFBLOCK_ALLOC_HOOKUP] = "refblock_alloc_hookup",
    [EVENT_REFBLOCK_ALLOC_WRITE] = "refblock_alloc_write",
    [EVENT_REFBLOCK_ALLOC_WRITE_BLOCKS] = "refblock_alloc_write_blocks",
    [EVENT_REFBLOCK_ALLOC_WRITE_TABLE] = "refblock_alloc_write_table",
    [EVENT_REFBLOCK_ALLOC_SWITCH_TABLE] = "refblock_alloc_switch_table",
    [EVENT_CLUSTER_ALLOC] = "cluster_alloc",
    [EVENT_CLUSTER_ALLOC_BYTES] = "cluster_alloc_bytes",
    [EVENT_CLUSTER_ALLOC_SPACE] = "cluster_alloc_space",
    [EVENT_CLUSTER_FREE] = "cluster_free",
};

void co_fn node_event(struct node *node, enum node_event event)
{
    while (node && !node->drv->co_event &&
           (node->drv->traits & DRIVER_FILTER)) {
        node = node->file;
    }
    if (unlikely(node && node->drv->co_event)) {
        node->drv->co_event(node, event); /* yields */
    }
}

int node_event_find(const char *name, enum node_event *ret)
{
    g_autofree char *plain = g_strdelimit(g_strdup(name), ".", '_');

    for (int i = 0; i < EVENTS; i++) {
        if (strcmp(event_names[i], plain) == 0) {
            *ret = (enum node_event)i;
            return 0;
        }
    }
    return -ENOENT;
}
