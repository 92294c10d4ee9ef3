/* SPDX-License-Identifier: MIT */
/*
 * cache: slices of metadata tables (L2 tables, refcount blocks) in memory.
 *
 * A slice is a part of a table, in the byte order of the disk, known by its
 * offset in the file.  Looking at one that is there takes one short lock that
 * is shared with few other slices.  Changed slices stay in memory until they
 * are written back; who writes them, and in which order with other things, is
 * the business of the owner:
 *
 *   capture   takes note of all slices that are dirty now
 *   write     writes those, as they were when they were captured
 *
 * A slice that is changed after it was captured is copied first, so what is
 * written is a picture of one moment however long the writing takes.
 *
 * Memory: at most the size given, least recently used slices go first, except
 * that slices in use or dirty are never dropped: when only those are left, the
 * owner is asked to write back, and if that does not help the cache grows.
 *
 * Threading: any loop.  Between slice_lock() and slice_unlock(), which are a
 *            pthread mutex, nothing may yield.
 */
#ifndef FORMAT_QCOW2_CACHE_H
#define FORMAT_QCOW2_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "block/event.h"
#include "co/co.h"

struct cache;
struct node;
struct slice;

/* Writes back what is dirty.  Called without locks of the cache. */
typedef int (*cache_clean_fn)(void *opaque);

/* Slices of @slice_bytes (a power of 2) of @file, at most @max_bytes of them.
 * NULL when there is no memory. */
struct cache *cache_new(struct node *file, int64_t slice_bytes,
                        int64_t max_bytes, cache_clean_fn clean, void *opaque);
/* Which events to raise before slices are read and written; EVENT_NONE:
 * none. */
void cache_set_events(struct cache *c, enum node_event load,
                      enum node_event update);
/* What is dirty is lost.  NULL is fine. */
void cache_free(struct cache *c);

int64_t cache_slice_bytes(const struct cache *c);

/*
 * The slice at @offset of the file, read if need be and pinned: it stays
 * until slice_put().  Past the end of the file are zeroes.  Returns 0, or the
 * negative errno of reading, or -ENOMEM.
 */
nodiscard int co_fn cache_co_get(struct cache *c, int64_t offset,
                                 struct slice **ret);
/* The same for a slice that is all zeroes on disk: it is not read. */
nodiscard int co_fn cache_co_get_zeroes(struct cache *c, int64_t offset,
                                        struct slice **ret);
void slice_put(struct slice *sl);

/* The slice at @offset, locked but not pinned, or NULL (and not locked) when
 * it is not in memory.  For a quick look; never yields. */
struct slice *cache_find_locked(struct cache *c, int64_t offset);

int64_t slice_offset(const struct slice *sl);
/* The content, while locked; slice_lock() takes the lock. */
const uint8_t *slice_data_locked(const struct slice *sl);
const uint8_t *slice_lock(struct slice *sl);
/* The content to be changed, while locked: the slice is dirty now.  NULL when
 * there is no memory to keep what is being written. */
uint8_t *slice_edit_locked(struct slice *sl);
void slice_unlock(struct slice *sl);

/* -- Writing back -------------------------------------------------------- */

/* The slices captured; made by cache_capture(), emptied by
 * cache_co_write(). */
struct capture {
    struct slice **slices; /* pinned, ordered by offset */
    int n;
};

bool cache_is_dirty(struct cache *c);
/* Adds all dirty slices to @ret.  Returns 0, or -ENOMEM.  One capture of a
 * cache at a time. */
nodiscard int cache_capture(struct cache *c, struct capture *ret);
/* Writes them; after a failure those not written are dirty again. */
nodiscard int co_fn cache_co_write(struct cache *c, struct capture *cap);
/* Makes them dirty again without writing. */
void cache_uncapture(struct cache *c, struct capture *cap);

/* Forgets all slices in a range, dirty or not: it is no table any more.  None
 * may be in use or captured. */
void cache_forget(struct cache *c, int64_t offset, int64_t bytes);
/* Forgets all slices, dirty or not; none may be in use or captured. */
void cache_clear(struct cache *c);
/* Forgets all slices that were not used since the last call, and are not
 * dirty. */
void cache_drop_unused(struct cache *c);

/* Bytes of memory that slices take now. */
int64_t cache_bytes(struct cache *c);

#endif /* FORMAT_QCOW2_CACHE_H */
