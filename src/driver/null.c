/* SPDX-License-Identifier: MIT */
/*
 * null: a leaf without data, for benchmarks of what is above it.  Reads are
 * zeroes, writes go nowhere.  A model for drivers of one's own.
 */

#include <time.h>

#include "base/align.h"
#include "block/node.h"
#include "driver/driver_list.h"
#include "loop/sync.h"

struct null {
    bool read_zeroes;
    int64_t latency_ns;
    struct timespec opened;
};

static int co_fn null_co_open(struct node *node, struct options *opts,
                              GError **err)
{
    struct null *s = node_state(node);
    int64_t size = 1 * GiB;

    /* Whoever opens by name gives one. */
    g_free(options_take(opts, "filename"));
    s->read_zeroes = true;
    if (options_take_size(opts, "size", &size, err) < 0 ||
        options_take_bool(opts, "read-zeroes", &s->read_zeroes, err) < 0 ||
        options_take_int(opts, "latency-ns", 0, INT64_MAX / 2, &s->latency_ns,
                         err) < 0) {
        return -EINVAL;
    }
    (void)clock_gettime(CLOCK_REALTIME, &s->opened);
    node_set_length(node, size);
    node_set_filename(node, "null");
    return 0;
}

static int co_fn null_co_wait(struct node *node)
{
    const struct null *s = node_state(node);

    if (s->latency_ns > 0) {
        co_sleep_ns(s->latency_ns);
    }
    return 0;
}

static int co_fn null_co_preadv(struct node *node, int64_t offset,
                                const struct iovs *dst)
{
    const struct null *s = node_state(node);

    if (s->read_zeroes) {
        iovs_memset(dst, 0, 0, dst->bytes);
    }
    return null_co_wait(node);
}

static int co_fn null_co_pwritev(struct node *node, int64_t offset,
                                 const struct iovs *src, unsigned flags)
{
    return null_co_wait(node);
}

static int co_fn null_co_range(struct node *node, int64_t offset, int64_t bytes)
{
    return null_co_wait(node);
}

static int co_fn null_co_pwrite_zeroes(struct node *node, int64_t offset,
                                       int64_t bytes, unsigned flags)
{
    return null_co_wait(node);
}

static int co_fn null_co_block_status(struct node *node, bool precise,
                                      int64_t offset, int64_t bytes,
                                      struct block_status *ret)
{
    const struct null *s = node_state(node);

    *ret = (struct block_status){
        .flags =
            BLOCK_OFFSET_VALID | (s->read_zeroes ? BLOCK_ZERO : BLOCK_DATA),
        .bytes = bytes,
        .map = offset,
        .file = node,
    };
    return 0;
}

static int co_fn null_co_truncate(struct node *node, int64_t length,
                                  enum prealloc_mode prealloc, unsigned flags,
                                  GError **err)
{
    node_set_length(node, length);
    return 0;
}

static int co_fn null_co_stat(struct node *node, struct node_stat *ret)
{
    const struct null *s = node_state(node);
    int64_t sec = s->opened.tv_sec;
    int64_t nsec = s->opened.tv_nsec;

    *ret = (struct node_stat){
        .atime = {sec, nsec},
        .mtime = {sec, nsec},
        .ctime = {sec, nsec},
    };
    return 0;
}

/* QEMU has two names for it. */
#define NULL_DRIVER(NAME)                                               \
    {                                                                   \
        .name = NAME, .state_size = sizeof(struct null),                \
        .traits = DRIVER_LEAF | DRIVER_GROWS, .write_flags = REQ_FUA,   \
        .zeroes_flags = REQ_MAY_UNMAP | REQ_NO_FALLBACK | REQ_FUA,      \
        .co_open = null_co_open, .co_preadv = null_co_preadv,           \
        .co_pwritev = null_co_pwritev,                                  \
        .co_pwrite_zeroes = null_co_pwrite_zeroes,                      \
        .co_pdiscard = null_co_range, .co_flush_to_disk = null_co_wait, \
        .co_block_status = null_co_block_status,                        \
        .co_truncate = null_co_truncate, .co_stat = null_co_stat,       \
    }

const struct driver driver_null = NULL_DRIVER("null");
const struct driver driver_null_co = NULL_DRIVER("null-co");
const struct driver driver_null_aio = NULL_DRIVER("null-aio");
