/* SPDX-License-Identifier: MIT */
/*
 * event: moments inside of requests that a filter may want to know of.
 *
 * A format says what it is about to do with the file below it ("I update an L2
 * table"); a filter such as blkdebug uses that to make the next request fail
 * or to hold it there.  Names are those of QEMU's blkdebug rules.
 *
 * Threading: coroutines of any loop.
 */
#ifndef BLOCK_EVENT_H
#define BLOCK_EVENT_H

#include "co/co.h"

struct node;

enum node_event {
    EVENT_NONE, /* never raised; a rule for it holds at all times */

    /* The block core, on the node that is read or written. */
    EVENT_PWRITEV, /* before data are handed to the driver */
    EVENT_PWRITEV_ZERO,
    EVENT_PWRITEV_DONE,
    EVENT_PWRITEV_RMW_HEAD, /* before the block at the beginning is read */
    EVENT_PWRITEV_RMW_AFTER_HEAD,
    EVENT_PWRITEV_RMW_TAIL,
    EVENT_PWRITEV_RMW_AFTER_TAIL,
    /* The block core, on the child "file" of the node that is flushed. */
    EVENT_FLUSH_TO_OS,
    EVENT_FLUSH_TO_DISK,

    /* Formats, on the child that the next request goes to. */
    EVENT_READ_AIO, /* guest data */
    EVENT_READ_BACKING_AIO,
    EVENT_READ_COMPRESSED,
    EVENT_WRITE_AIO,
    EVENT_WRITE_COMPRESSED,
    EVENT_COW_READ,
    EVENT_COW_WRITE,
    EVENT_COR_WRITE,
    EVENT_VMSTATE_LOAD,
    EVENT_VMSTATE_SAVE,
    EVENT_EMPTY_IMAGE_PREPARE,
    EVENT_L1_UPDATE,
    EVENT_L1_GROW_ALLOC_TABLE,
    EVENT_L1_GROW_WRITE_TABLE,
    EVENT_L1_GROW_ACTIVATE_TABLE,
    EVENT_L1_SHRINK_WRITE_TABLE,
    EVENT_L1_SHRINK_FREE_L2_CLUSTERS,
    EVENT_L2_LOAD,
    EVENT_L2_UPDATE,
    EVENT_L2_UPDATE_COMPRESSED,
    EVENT_L2_ALLOC_COW_READ,
    EVENT_L2_ALLOC_WRITE,
    EVENT_REFTABLE_LOAD,
    EVENT_REFTABLE_GROW,
    EVENT_REFTABLE_UPDATE,
    EVENT_REFBLOCK_LOAD,
    EVENT_REFBLOCK_UPDATE,
    EVENT_REFBLOCK_UPDATE_PART,
    EVENT_REFBLOCK_ALLOC,
    EVENT_REFBLOCK_ALLOC_HOOKUP,
    EVENT_REFBLOCK_ALLOC_WRITE,
    EVENT_REFBLOCK_ALLOC_WRITE_BLOCKS,
    EVENT_REFBLOCK_ALLOC_WRITE_TABLE,
    EVENT_REFBLOCK_ALLOC_SWITCH_TABLE,
    EVENT_CLUSTER_ALLOC,
    EVENT_CLUSTER_ALLOC_BYTES,
    EVENT_CLUSTER_ALLOC_SPACE,
    EVENT_CLUSTER_FREE,

    EVENTS, /* how many there are */
};

/*
 * Tells @node (NULL is fine), to which the next request goes, what that is
 * about: its driver's co_event, or that of the first node below it that has
 * one, as far as there are only filters in between.  Yields when a filter
 * holds the caller; never fails.
 */
void co_fn node_event(struct node *node, enum node_event event);

/* Finds the event that rules call @name, as in "l2_alloc_write" or, as older
 * versions of QEMU had it, "l2_alloc.write".  Returns 0, or -ENOENT. */
nodiscard int node_event_find(const char *name, enum node_event *ret);

#endif /* BLOCK_EVENT_H */
