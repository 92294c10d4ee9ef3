/* SPDX-License-Identifier: MIT */
/*
 * cache_priv: what cache.c and cache_write.c share.
 */
#ifndef FORMAT_QCOW2_CACHE_PRIV_H
#define FORMAT_QCOW2_CACHE_PRIV_H

#include <pthread.h>

#include "base/list.h"
#include "format/qcow2/cache.h"
#include "loop/sync.h"

#define CACHE_MAX_SHARDS 16

struct slice {
    /* Constant. */
    struct shard *shard;
    int64_t offset;

    /* Under the shard's lock. */
    struct slice *next; /* in its bucket */
    struct list link;   /* shard->idle or shard->dirty, or none */
    uint8_t *data;
    uint8_t *writing; /* what is being written; may be @data; or NULL */
    unsigned pins;
    uint64_t used_in; /* the shard's period when it was used last */
    bool loading;
    bool dirty;
    bool gone;   /* no longer in its bucket: freed with the last pin */
    int load_rc; /* when @gone: why loading failed */
    struct co_queue waiters; /* for the end of loading */
};

struct shard {
    struct cache *cache;
    pthread_mutex_t lock; /* guards the rest, and the slices */
    struct slice **buckets;
    struct list idle;  /* struct slice that can be dropped, oldest first */
    struct list dirty; /* struct slice to be written */
    uint64_t period;   /* calls of cache_drop_unused() */
    int64_t n;
};

struct cache {
    struct node *file;
    int64_t slice_bytes;
    int64_t shard_max; /* slices per shard */
    unsigned n_shards;
    unsigned bucket_mask;
    cache_clean_fn clean;
    void *opaque;
    enum node_event load, update;
    struct shard shards[CACHE_MAX_SHARDS];
};

/* Gives a pin back; the last one of a slice that is gone frees it. */
void slice_unpin_locked(struct slice *sl);
void slice_set_dirty_locked(struct slice *sl);

#endif /* FORMAT_QCOW2_CACHE_PRIV_H */
