/* SPDX-License-Identifier: MIT */

#include "format/qcow2/cache.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/iov.h"
#include "block/node.h"
#include "format/qcow2/cache_priv.h"

#define MIN_SHARD_SLICES 16 /* a cache too small for that has fewer shards */

/* -- Shards and buckets -------------------------------------------------- */

static uint64_t slice_hash(const struct cache *c, int64_t offset)
{
    uint64_t h = (uint64_t)(offset / c->slice_bytes);

    h *= UINT64_C(0x9e3779b97f4a7c15);
    return h ^ h >> 32;
}

static struct shard *shard_of(struct cache *c, int64_t offset)
{
    return &c->shards[slice_hash(c, offset) & (c->n_shards - 1)];
}

static struct slice **bucket_of(struct shard *sh, int64_t offset)
{
    uint64_t h = slice_hash(sh->cache, offset) >> 8;

    return &sh->buckets[h & sh->cache->bucket_mask];
}

static struct slice *shard_find(struct shard *sh, int64_t offset)
{
    struct slice *sl = *bucket_of(sh, offset);

    while (sl && sl->offset != offset) {
        sl = sl->next;
    }
    return sl;
}

static void slice_free(struct slice *sl)
{
    if (sl->writing != sl->data) {
        free(sl->writing);
    }
    free(sl->data);
    free(sl);
}

/* Takes @sl out of its bucket; it is freed with its last pin, or now. */
static void slice_remove(struct slice *sl)
{
    struct slice **p = bucket_of(sl->shard, sl->offset);

    while (*p != sl) {
        p = &(*p)->next;
    }
    *p = sl->next;
    list_del(&sl->link);
    sl->dirty = false;
    sl->gone = true;
    sl->shard->n--;
    if (sl->pins == 0) {
        slice_free(sl);
    }
}

static void slice_pin(struct slice *sl)
{
    if (sl->pins++ == 0 && !sl->dirty) {
        list_del(&sl->link);
    }
}

void slice_unpin_locked(struct slice *sl)
{
    assert(sl->pins > 0);
    if (--sl->pins > 0) {
        return;
    }
    if (sl->gone) {
        slice_free(sl);
    } else if (!sl->dirty) {
        list_add_tail(&sl->shard->idle, &sl->link);
        sl->used_in = sl->shard->period;
    }
}

/* -- A cache ------------------------------------------------------------- */

static bool shard_init(struct cache *c, struct shard *sh)
{
    sh->cache = c;
    sh->buckets = calloc((size_t)c->bucket_mask + 1, sizeof(*sh->buckets));
    list_init(&sh->idle);
    list_init(&sh->dirty);
    pthread_mutex_init(&sh->lock, NULL);
    return sh->buckets != NULL;
}

struct cache *cache_new(struct node *file, int64_t slice_bytes,
                        int64_t max_bytes, cache_clean_fn clean, void *opaque)
{
    int64_t n = max_i64(max_bytes / slice_bytes, 2);
    struct cache *c = calloc(1, sizeof(*c));
    bool ok = c != NULL;

    if (!ok) {
        return NULL;
    }
    c->file = file;
    c->slice_bytes = slice_bytes;
    c->clean = clean;
    c->opaque = opaque;
    c->n_shards = 1;
    while (c->n_shards < CACHE_MAX_SHARDS &&
           n / c->n_shards > MIN_SHARD_SLICES) {
        c->n_shards *= 2;
    }
    c->shard_max = max_i64(n / c->n_shards, 2);
    c->bucket_mask = 15;
    while (c->bucket_mask < c->shard_max) {
        c->bucket_mask = c->bucket_mask * 2 + 1;
    }
    for (unsigned i = 0; i < c->n_shards; i++) {
        ok = shard_init(c, &c->shards[i]) && ok;
    }
    if (!ok) {
        cache_free(c);
        c = NULL;
    }
    return c;
}

void cache_set_events(struct cache *c, enum node_event load,
                      enum node_event update)
{
    c->load = load;
    c->update = update;
}

static void shard_clear(struct shard *sh)
{
    for (unsigned i = 0; sh->buckets && i <= sh->cache->bucket_mask; i++) {
        while (sh->buckets[i]) {
            assert(sh->buckets[i]->pins == 0);
            slice_remove(sh->buckets[i]);
        }
    }
}

static void shard_fini(struct shard *sh)
{
    shard_clear(sh);
    free(sh->buckets);
    pthread_mutex_destroy(&sh->lock);
}

void cache_free(struct cache *c)
{
    for (unsigned i = 0; c && i < c->n_shards; i++) {
        shard_fini(&c->shards[i]);
    }
    free(c);
}

int64_t cache_slice_bytes(const struct cache *c)
{
    return c->slice_bytes;
}

int64_t cache_bytes(struct cache *c)
{
    int64_t n = 0;

    for (unsigned i = 0; i < c->n_shards; i++) {
        pthread_mutex_lock(&c->shards[i].lock);
        n += c->shards[i].n;
        pthread_mutex_unlock(&c->shards[i].lock);
    }
    return n * c->slice_bytes;
}

/* -- Getting slices ------------------------------------------------------ */

struct slice *cache_find_locked(struct cache *c, int64_t offset)
{
    struct shard *sh = shard_of(c, offset);
    struct slice *sl;

    pthread_mutex_lock(&sh->lock);
    sl = shard_find(sh, offset);
    if (!sl || sl->loading) {
        pthread_mutex_unlock(&sh->lock);
        return NULL;
    }
    if (sl->pins == 0 && !sl->dirty) {
        list_del(&sl->link); /* used last */
        list_add_tail(&sh->idle, &sl->link);
        sl->used_in = sh->period;
    }
    return sl;
}

/* Waits until @sl, which is pinned, is loaded.  Returns the load's result. */
static int co_fn slice_wait_locked(struct slice *sl)
{
    int rc;

    while (sl->loading) {
        co_queue_wait_pthread(&sl->waiters, &sl->shard->lock); /* yields */
    }
    rc = sl->load_rc;
    if (rc < 0) {
        slice_unpin_locked(sl);
    }
    return rc;
}

/*
 * Makes room for one more slice.  Drops the lock when it has to write back,
 * and returns 1 then: look again.  Otherwise 0, or the error of writing back
 * when the shard is twice as large as it should be because of it.
 */
static int co_fn shard_make_room_locked(struct shard *sh, bool *cleaned)
{
    struct cache *c = sh->cache;
    struct slice *oldest;
    int rc;

    if (sh->n < c->shard_max) {
        return 0;
    }
    oldest = list_first(&sh->idle, struct slice, link);
    if (oldest) {
        slice_remove(oldest);
        return 0;
    }
    if (*cleaned || list_empty(&sh->dirty)) {
        return 0; /* all in use: grow */
    }
    *cleaned = true;
    pthread_mutex_unlock(&sh->lock);
    rc = c->clean(c->opaque); /* yields */
    pthread_mutex_lock(&sh->lock);
    return rc < 0 && sh->n >= 2 * c->shard_max ? rc : 1;
}

static struct slice *slice_new(struct shard *sh, int64_t offset)
{
    struct slice *sl = calloc(1, sizeof(*sl));
    struct slice **bucket = bucket_of(sh, offset);

    if (!sl) {
        return NULL;
    }
    sl->data = malloc((size_t)sh->cache->slice_bytes);
    if (!sl->data) {
        free(sl);
        return NULL;
    }
    sl->shard = sh;
    sl->offset = offset;
    sl->pins = 1;
    sl->loading = true;
    list_init(&sl->link);
    co_queue_init(&sl->waiters);
    sl->next = *bucket;
    *bucket = sl;
    sh->n++;
    return sl;
}

/* Reads the new slice @sl and wakes whoever came meanwhile. */
static int co_fn slice_load_locked(struct slice *sl)
{
    struct shard *sh = sl->shard;
    struct iovec iov;
    struct iovs dst = iovs_one(&iov, sl->data, sh->cache->slice_bytes);
    int rc;

    pthread_mutex_unlock(&sh->lock);
    if (sh->cache->load != EVENT_NONE) {
        node_event(sh->cache->file, sh->cache->load);
    }
    rc =
        node_co_preadv_past_end(sh->cache->file, sl->offset, &dst); /* yields */
    pthread_mutex_lock(&sh->lock);
    sl->loading = false;
    sl->load_rc = rc;
    co_queue_wake_all(&sl->waiters);
    if (rc < 0 && !sl->gone) {
        slice_remove(sl);
    }
    if (rc < 0) {
        slice_unpin_locked(sl);
    }
    return rc;
}

/* Sets *@ret to the slice at @offset, pinned.  Returns 1 when it is new: it is
 * to be loaded. */
static int co_fn cache_find_or_add_locked(struct cache *c, struct shard *sh,
                                          int64_t offset, struct slice **ret)
{
    bool cleaned = false;
    int rc;

    do {
        *ret = shard_find(sh, offset);
        if (*ret) {
            slice_pin(*ret);
            return slice_wait_locked(*ret); /* yields */
        }
        rc = shard_make_room_locked(sh, &cleaned); /* yields */
    } while (rc > 0);
    if (rc < 0) {
        return rc;
    }
    *ret = slice_new(sh, offset);
    return *ret ? 1 : -ENOMEM;
}

/* Fills the new slice @sl with zeroes.  Nobody can have come meanwhile. */
static void slice_clear_locked(struct slice *sl)
{
    memset(sl->data, 0, (size_t)sl->shard->cache->slice_bytes);
    sl->loading = false;
}

static int co_fn slice_get(struct cache *c, int64_t offset, bool zeroes,
                           struct slice **ret)
{
    struct shard *sh = shard_of(c, offset);
    struct slice *sl;
    int rc;

    assert(offset % c->slice_bytes == 0);
    pthread_mutex_lock(&sh->lock);
    rc = cache_find_or_add_locked(c, sh, offset, &sl); /* yields */
    if (rc > 0 && zeroes) {
        slice_clear_locked(sl);
        rc = 0;
    } else if (rc > 0) {
        rc = slice_load_locked(sl); /* yields */
    }
    pthread_mutex_unlock(&sh->lock);
    if (rc == 0) {
        *ret = sl;
    }
    return rc;
}

int co_fn cache_co_get(struct cache *c, int64_t offset, struct slice **ret)
{
    return slice_get(c, offset, false, ret); /* yields */
}

int co_fn cache_co_get_zeroes(struct cache *c, int64_t offset,
                              struct slice **ret)
{
    return slice_get(c, offset, true, ret); /* yields */
}

void slice_put(struct slice *sl)
{
    struct shard *sh = sl->shard;

    pthread_mutex_lock(&sh->lock);
    slice_unpin_locked(sl);
    pthread_mutex_unlock(&sh->lock);
}

/* -- Looking and changing ------------------------------------------------ */

int64_t slice_offset(const struct slice *sl)
{
    return sl->offset;
}

const uint8_t *slice_lock(struct slice *sl)
{
    pthread_mutex_lock(&sl->shard->lock);
    return sl->data;
}

const uint8_t *slice_data_locked(const struct slice *sl)
{
    return sl->data;
}

void slice_unlock(struct slice *sl)
{
    pthread_mutex_unlock(&sl->shard->lock);
}

void slice_set_dirty_locked(struct slice *sl)
{
    if (!sl->dirty) {
        sl->dirty = true;
        list_add_tail(&sl->shard->dirty, &sl->link);
    }
}

uint8_t *slice_edit_locked(struct slice *sl)
{
    size_t bytes = (size_t)sl->shard->cache->slice_bytes;

    assert(sl->pins > 0);
    if (sl->writing == sl->data) {
        uint8_t *copy = malloc(bytes);

        if (!copy) {
            return NULL;
        }
        memcpy(copy, sl->data, bytes);
        sl->data = copy;
    }
    if (!sl->gone) {
        slice_set_dirty_locked(sl);
    }
    return sl->data;
}

/* -- Forgetting ---------------------------------------------------------- */

void cache_forget(struct cache *c, int64_t offset, int64_t bytes)
{
    for (int64_t pos = offset; pos < offset + bytes; pos += c->slice_bytes) {
        struct shard *sh = shard_of(c, pos);
        struct slice *sl;

        pthread_mutex_lock(&sh->lock);
        sl = shard_find(sh, pos);
        if (sl) {
            assert(!sl->writing);
            slice_remove(sl);
        }
        pthread_mutex_unlock(&sh->lock);
    }
}

void cache_clear(struct cache *c)
{
    for (unsigned i = 0; i < c->n_shards; i++) {
        pthread_mutex_lock(&c->shards[i].lock);
        shard_clear(&c->shards[i]);
        pthread_mutex_unlock(&c->shards[i].lock);
    }
}

void cache_drop_unused(struct cache *c)
{
    for (unsigned i = 0; i < c->n_shards; i++) {
        struct shard *sh = &c->shards[i];
        struct slice *sl;

        pthread_mutex_lock(&sh->lock);
        while ((sl = list_first(&sh->idle, struct slice, link)) &&
               sl->used_in < sh->period) {
            slice_remove(sl);
        }
        sh->period++;
        pthread_mutex_unlock(&sh->lock);
    }
}
