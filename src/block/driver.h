/* SPDX-License-Identifier: MIT */
/*
 * driver: the table of functions a driver or format implements.
 *
 * The block core calls these after its own checks, so a driver holds none:
 * ranges lie within the node (DRIVER_GROWS: a write may pass its end), offsets
 * and lengths are multiples of limits.request_align, lengths are > 0 and at
 * most limits.max_transfer, vectors have at most limits.max_iov elements, and
 * buffers are aligned to limits.mem_align (where that is more than 1, the
 * lengths of a vector's elements are multiples of request_align as well).
 *
 * A node whose length is no multiple of request_align has a tail: the bytes
 * behind the last full block.  For it, and only for it, the rule bends:
 *   - a read of the last block asks for all of it and thus passes the length
 *     by less than request_align; bytes past the length are to be zero;
 *   - a write (or zeroes, or a discard) that covers the tail ends exactly at
 *     the length (as it was when the request began, should another one have
 *     made the node longer), so its own length fills no block.  The
 *     driver stores it without making the node longer: the size of an image
 *     never changes unless it is truncated or grows by what was written.
 * While a write of the tail runs, no other request runs in the same 64 KiB:
 * the driver may do it through the page cache next to direct I/O.
 *
 * All functions run on the loop of the coroutine that called; a driver may be
 * called from several loops at once.
 *
 * Errors: 0 or a negative errno.  -EOPNOTSUPP from a function with a fallback
 * makes the core use the fallback.
 */
#ifndef BLOCK_DRIVER_H
#define BLOCK_DRIVER_H

#include <glib.h>
#include <stddef.h>
#include <stdint.h>

#include "base/iov.h"
#include "base/options.h"
#include "block/block.h"
#include "block/event.h"
#include "co/co.h"

enum driver_traits {
    DRIVER_LEAF = 1 << 0,   /* has no child "file" */
    DRIVER_FILTER = 1 << 1, /* passes all of its child's data through */
    DRIVER_GROWS = 1 << 2,  /* a write past the end makes it longer */
    DRIVER_HOST = 1 << 3,   /* a leaf on a file or device of this host, which
                             * takes the options filename, aio and locking */
    DRIVER_NOISE = 1 << 4,  /* what was never written reads as anything:
                             * zeroes cost as much as data */
};

struct image_ops;

struct driver {
    const char *name;      /* as in format=NAME and driver=NAME */
    size_t state_size;     /* of node_state(); zeroed before co_open */
    unsigned traits;       /* enum driver_traits */
    unsigned write_flags;  /* of enum req_flags: understood by co_pwritev */
    unsigned zeroes_flags; /* understood by co_pwrite_zeroes */

    /* What an image format can do besides; see block/image.h.  Optional. */
    const struct image_ops *image;

    /*
     * How sure this driver is, 0 to 100, that a file that begins with @n
     * bytes @head (at most 4 KiB) and is called @filename is its own.
     * Optional: without it the driver is only used when named.
     */
    int (*probe)(const uint8_t *head, size_t n, const char *filename);

    /* Puts what a name "NAME:…" says behind its colon into @opts, to be opened
     * with those.  Optional. */
    int (*parse_name)(const char *rest, struct options *opts, GError **err);

    /*
     * Opens: takes its options out of @opts, opens children with
     * node_co_open_child(), sets the length with node_set_length().  When it
     * fails it has cleaned up, except for children, which the core closes.
     */
    int (*co_open)(struct node *node, struct options *opts, GError **err)
        co_fn_ptr;
    /* Releases what co_open made.  The node is flushed and idle. */
    void (*co_close)(struct node *node) co_fn_ptr;

    /*
     * Adjusts @limits, which hold what follows from the children: alignments
     * of 1 (a child aligns for itself), the largest opt_mem_align and
     * opt_transfer, the smallest max_transfer and max_iov.  Optional.
     */
    void (*limits)(struct node *node, struct node_limits *limits);

    /* Begins within the node; see the head of this file about its end. */
    int (*co_preadv)(struct node *node, int64_t offset, const struct iovs *dst)
        co_fn_ptr;
    /* @flags: those of write_flags that the caller gave.  Optional: without
     * it the node is read-only. */
    int (*co_pwritev)(struct node *node, int64_t offset, const struct iovs *src,
                      unsigned flags) co_fn_ptr;
    /* Optional; fallback: co_pwritev of zeroes. */
    int (*co_pwrite_zeroes)(struct node *node, int64_t offset, int64_t bytes,
                            unsigned flags) co_fn_ptr;
    /* A hint; content is undefined afterwards.  Optional; fallback: none. */
    int (*co_pdiscard)(struct node *node, int64_t offset, int64_t bytes)
        co_fn_ptr;

    /* Reserves space on the host, so that later writes to the range do not
     * fail with -ENOSPC; content stays.  Optional; without it a success. */
    int (*co_allocate)(struct node *node, int64_t offset, int64_t bytes)
        co_fn_ptr;

    /* Hands caches of our own down.  Optional. */
    int (*co_flush_to_os)(struct node *node) co_fn_ptr;
    /* Makes all completed writes durable.  Optional; the core flushes the
     * children anyway. */
    int (*co_flush_to_disk)(struct node *node) co_fn_ptr;

    /* Fills @ret for a range that starts at @offset; @ret->bytes <= @bytes.
     * The range is any within the node, aligned or not.  With @precise false
     * it may answer DATA cheaply.  Optional: all data. */
    int (*co_block_status)(struct node *node, bool precise, int64_t offset,
                           int64_t bytes, struct block_status *ret) co_fn_ptr;

    /* Changes the length; sets it with node_set_length().  Optional. */
    int (*co_truncate)(struct node *node, int64_t length,
                       enum prealloc_mode prealloc, unsigned flags,
                       GError **err) co_fn_ptr;
    /* The length now, asked from the host.  Optional. */
    int64_t (*co_length)(struct node *node) co_fn_ptr;
    /* Optional; filters and formats: their child's. */
    int (*co_stat)(struct node *node, struct node_stat *ret) co_fn_ptr;
    /* Copies within the host, both nodes of this driver.  Optional.  Copies
     * all of @bytes, or fails (then @dst is undefined in that range). */
    int (*co_copy_range)(struct node *src, int64_t src_offset, struct node *dst,
                         int64_t dst_offset, int64_t bytes, unsigned flags)
        co_fn_ptr;
    /* Drops caches so that the next read sees what others wrote.  Optional. */
    int (*co_invalidate)(struct node *node) co_fn_ptr;

    /* Learns what the next request to this node will be about; may hold the
     * caller.  Optional; a filter without it hands the event to its child. */
    void (*co_event)(struct node *node, enum node_event event) co_fn_ptr;

    /* Adds what is specific to the driver to a text for people and scripts:
     * calls @add(key, value) per item.  Optional. */
    void (*describe)(struct node *node,
                     void (*add)(void *opaque, const char *key,
                                 const char *value),
                     void *opaque);
};

/* Makes @drv known by its name.  At start-up, one thread. */
void driver_register(const struct driver *drv);
const struct driver *driver_find(const char *name); /* NULL: unknown */
/* The i-th driver in order of registration, or NULL. */
const struct driver *driver_nth(unsigned i);
/* The driver surest of itself, or NULL when none is.  */
const struct driver *driver_probe(const uint8_t *head, size_t n,
                                  const char *filename);
/* The name of a well-known format that begins with @head and that no driver
 * here reads, or NULL. */
const char *driver_foreign_format(const uint8_t *head, size_t n);

#endif /* BLOCK_DRIVER_H */
