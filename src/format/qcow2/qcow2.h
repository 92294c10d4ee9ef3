/* SPDX-License-Identifier: MIT */
/*
 * qcow2: what the files of this folder share.
 *
 * One file per concern.
 *
 *   pure               header.c, header_*.c (the first cluster), entry.c (L2
 *                      entries, reference counts), codec.c (deflate, zstd),
 *                      bitmap_dir.c (the directory of bitmaps)
 *   state in memory    cache.c, cache_write.c (slices of tables), guard.c
 *                      (which host clusters are metadata), busy.c (guest
 *                      clusters whose mapping is being changed),
 *                      bitmap_bits.c, counts.c (numbers per cluster)
 *   on disk            disk.c (the header and the file as such), refcount.c,
 *                      refcount_grow.c (which host clusters are in use),
 *                      alloc.c (using them), free.c (giving them back),
 *                      table.c (L1 and L2 tables: from guest to host),
 *                      writeback.c (in which order metadata reach the disk)
 *   requests           read.c, write.c, write_fresh.c (clusters that get a
 *                      place), zero.c (zeroes and discard), packed.c
 *                      (compressed clusters), crypt.c (encrypted ones),
 *                      vm_state.c, status.c
 *   images as a whole  driver.c (the tables of ops.h), open.c, open_*.c, create.c,
 *                      resize.c, preallocate.c, change.c, info.c, measure.c,
 *                      check.c, check_*.c, amend.c, recount.c (a new refcount
 *                      structure), shadow.c (many tables at one moment)
 *   what they hold     snapshots.c (their table), snapshot.c (changing them),
 *                      turn.c (what all changes have in common), expand.c (no
 *                      zeroes in them), snapshot_show.c; bitmaps.c (which
 *                      parts of the disk were written to), bitmap_store.c,
 *                      bitmap_ops.c
 *
 * ---- In which order things reach the disk
 *
 * A crash may at any time leave every subset of the writes since the last
 * flush on the disk.  Whatever subset it is, the image must be consistent but
 * for leaked clusters, and must have all data that a flush has made durable.
 * So:
 *
 *   a refcount block   before   the refcount table names it
 *   refcounts of a cluster,
 *   and what it holds  before   a table refers to it
 *   tables that no longer
 *   refer to a cluster before   its refcount goes down
 *
 * Requests change data on disk and metadata in memory: they allocate (counts
 * go up in memory), write data, link (L2 entries in memory refer to it), and
 * hand what they replaced to free.c.  qcow2_co_write_back() takes a picture of
 * the metadata at one moment and writes it in four steps with as few flushes
 * in between as the picture needs, usually one:
 *
 *   refcount blocks | refcount table | L2 slices, L1 table | freed clusters
 *
 * A '|' is a flush, left out when nothing follows that needs it.  What is
 * freed is counted down in memory only after the last one, and no sooner
 * becomes free to allocate.
 *
 * A new L2 table or refcount block is filled on disk when it is allocated, so
 * before the flush that precedes the first reference to it.
 *
 * ---- Locks, outermost first
 *
 *   busy          a range of guest clusters; held over a whole allocating write
 *   meta          co_mutex: allocation, refcounts, header, L1 growth
 *   writeback     co_mutex: one write-back at a time
 *   header_write  co_mutex: one write to the header at a time
 *   pthread mutexes (cache, l1_lock, free_lock, busy_lock): leaves
 *
 * A read, or a write to a cluster that is allocated, takes none but the lock
 * of one part of the cache.
 */
#ifndef FORMAT_QCOW2_QCOW2_H
#define FORMAT_QCOW2_QCOW2_H

#include <glib.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/align.h"
#include "base/compiler.h"
#include "base/iov.h"
#include "base/list.h"
#include "base/options.h"
#include "block/block.h"
#include "block/driver.h"
#include "block/image.h"
#include "block/node.h"
#include "co/co.h"
#include "format/qcow2/cache.h"
#include "format/qcow2/entry.h"
#include "format/qcow2/header.h"
#include "loop/loop.h"
#include "loop/sync.h"

struct guard;
struct qcow2_bitmaps;
struct qcow2_keys;

/* The L1 table in memory.  Readers take the pointer and look; a longer one
 * replaces it, and the old one stays until the node is closed. */
struct qcow2_l1 {
    struct qcow2_l1 *retired; /* the one before */
    uint32_t n;
    _Atomic uint64_t entries[];
};

/* A bit per 512 bytes of a table that is held in memory: what is dirty. */
struct dirty_map {
    uint64_t *words;
    int64_t n_bits;
    bool any;
};

/* Why clusters are freed: whether the host is told to discard them. */
enum qcow2_free_why {
    QCOW2_FREE_REQUEST,  /* a guest's discard or zeroes */
    QCOW2_FREE_SNAPSHOT, /* a snapshot that was deleted */
    QCOW2_FREE_OTHER,    /* replaced by another cluster */
    QCOW2_FREE_SHRINK,   /* the disk is getting shorter */
    QCOW2_FREE_WHYS,
};

struct qcow2 {
    /* -- Set by open, then constant, or changed while nobody else uses the
     * node */
    struct node *node;
    struct node *file; /* metadata */
    struct node *data; /* guest data: @file, or the external data file */
    bool external;     /* @data is not @file: host offset = guest offset */
    bool data_raw;     /* and it is a raw image as well */
    bool lazy;         /* lazy refcounts */
    bool encrypted;    /* guest data are (crypt.h) */
    struct qcow2_keys *crypt; /* NULL: not, or locked */
    bool passes_discard[QCOW2_FREE_WHYS];
    unsigned guarded; /* a bit for each enum guard_what that is checked */

    struct qcow2_entry_format entry;
    unsigned cluster_bits;
    int64_t cluster_size;
    unsigned sub_bits; /* log2 of subcluster size; = cluster_bits without */
    int64_t sub_size;
    unsigned n_subs;      /* subclusters in a cluster: 32 or 1 */
    unsigned entry_bytes; /* of an L2 entry: 8 or 16 */
    unsigned table_bits;  /* log2 of entries of an L2 table */
    unsigned slice_bits;  /* log2 of entries of a slice of one */
    unsigned order;       /* refcounts have 2^order bits */
    unsigned block_bits;  /* log2 of entries of a refcount block */
    uint64_t refcount_max;

    struct cache *l2_cache;
    struct cache *refcount_cache;
    struct guard *guard;
    int64_t clean_interval; /* ns; 0: @clean_timer is not used */
    struct loop_timer clean_timer;

    /* -- Any thread */
    atomic_bool changed; /* the image is marked as being written to */
    atomic_bool corrupt; /* no more writes: metadata would be overwritten */
    atomic_bool damaged; /* and the header on disk is to say so */
    atomic_int n_frees;  /* on both lists of free.c; for a quick look */
    _Atomic int64_t free_bytes; /* that those are about */
    atomic_int sparse; /* status.c: 1 the file is, -1 it is not, 0 ask */
    _Atomic int64_t vm_state_at; /* guest offset where VM state begins */

    /* -- Under @meta */
    struct co_mutex meta;
    struct qcow2_header header;    /* as on disk */
    struct qcow2_bitmaps *bitmaps; /* NULL: not loaded; see bitmaps.h */
    int64_t free_hint;             /* no cluster below is free */
    int64_t used_end;              /* from here on nothing was ever written */
    bool fresh_is_zero;            /* and those read as zeroes */
    int64_t reached;               /* what the file was last made to reach */
    int64_t packed_next; /* where compressed data go next; 0: nowhere */

    /* -- Changed under @meta, read under @l1_lock or atomically */
    pthread_mutex_t l1_lock;
    struct qcow2_l1 *_Atomic l1;
    struct dirty_map l1_dirty;       /* under @l1_lock */
    uint64_t *reftable;              /* host byte order */
    _Atomic int64_t reftable_n;      /* entries */
    struct dirty_map reftable_dirty; /* under @l1_lock */

    struct co_mutex writeback;
    struct co_mutex header_write; /* disk.c */

    pthread_mutex_t free_lock; /* free.c */
    struct list frees;         /* struct freed: tables still refer to it */
    struct list safe_frees;    /* no table on disk does */
    struct list packed_reads;  /* struct packed_read under way */

    pthread_mutex_t busy_lock; /* busy.c */
    struct list busy;          /* struct busy */

    struct {
        pthread_mutex_t lock; /* guards the rest */
        struct list idle;     /* struct bench */
        struct co_queue waiters;
        int n;               /* benches, idle or not */
        uint64_t generation; /* a compressed cluster was given back */
    } packing;               /* packed.c */
};

static inline struct qcow2 *qcow2_of(struct node *node)
{
    return node_state(node);
}

static inline int64_t cluster_down(const struct qcow2 *s, int64_t n)
{
    return align_down(n, s->cluster_size);
}

static inline int64_t cluster_up(const struct qcow2 *s, int64_t n)
{
    return align_up(n, s->cluster_size);
}

/* How many clusters @bytes fill or begin. */
static inline int64_t clusters_of(const struct qcow2 *s, int64_t bytes)
{
    return cluster_up(s, bytes) >> s->cluster_bits;
}

/* -- Dirty maps (writeback.c) -------------------------------------------- */

/* For a table of @bytes.  False when there is no memory. */
nodiscard bool dirty_map_init(struct dirty_map *m, int64_t bytes);
void dirty_map_fini(struct dirty_map *m);
void dirty_map_set(struct dirty_map *m, int64_t entry); /* of 8 bytes */

/* -- Header (disk.c) ----------------------------------------------------- */

/* Makes @to the header, durable after everything else is; a crash leaves it or
 * the one before.  @meta held.  When it fails nobody knows which one is on
 * disk: the old one is written again, and if that fails as well, nothing more
 * is. */
nodiscard int co_fn qcow2_co_switch_header(struct qcow2 *s,
                                           const struct qcow2_header *to);
/* Before the first change of anything: clears the autoclear bits that we do
 * not keep, and with lazy refcounts sets the dirty bit; flushes. */
nodiscard int co_fn qcow2_co_begin_change(struct qcow2 *s);
/* The image contradicts itself, as the printf-like text says: writes are
 * refused from now on, and the image is marked, if it can be.  Returns
 * -EIO. */
int co_fn qcow2_co_set_corrupt(struct qcow2 *s, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/* -- The file below (disk.c) --------------------------------------------- */

nodiscard int co_fn qcow2_co_read_table(struct qcow2 *s, int64_t offset,
                                        void *buf, int64_t bytes);
/* Writes metadata; makes the file longer if need be. */
nodiscard int co_fn qcow2_co_write_table(struct qcow2 *s, int64_t offset,
                                         const void *buf, int64_t bytes);
/* Makes the file reach @end, and then some.  @meta held. */
nodiscard int co_fn qcow2_co_reach(struct qcow2 *s, int64_t end);
/* At the end of writing: gives back what was too much. */
void co_fn qcow2_co_cut_ahead(struct qcow2 *s);

/* -- Which host clusters are metadata (guard.c) -------------------------- */

enum guard_what {
    GUARD_HEADER = 1,
    GUARD_L1,
    GUARD_L2,
    GUARD_REFTABLE,
    GUARD_REFBLOCK,
    GUARD_SNAPSHOTS, /* the snapshot table */
    GUARD_OLD_L1,    /* the L1 table of a snapshot */
    GUARD_OLD_L2,    /* an L2 table that only snapshots have */
    GUARD_BITMAPS,   /* the bitmap directory */
    GUARD_CRYPT,     /* the header of the encryption */
    GUARD_OTHER,
};

/*
 * A set of host clusters, each with what it holds.  Lookups take no lock;
 * changes are made under @meta.
 */
struct guard *guard_new(unsigned cluster_bits, int64_t expected_clusters);
void guard_free(struct guard *g);
/* Adds all clusters of a range.  A cluster that is there already stays what
 * it is and makes this return it; otherwise 0, or -ENOMEM. */
nodiscard int guard_add(struct guard *g, int64_t offset, int64_t bytes,
                        enum guard_what what);
void guard_remove(struct guard *g, int64_t offset, int64_t bytes);
/* What the first metadata cluster of a range is, or 0. */
int guard_find(const struct guard *g, int64_t offset, int64_t bytes);
const char *guard_name(int what);

/* Checks that guest data may go to a range of the image file: it holds no
 * metadata and can be counted.  0, or -EIO after qcow2_co_set_corrupt(). */
nodiscard int co_fn qcow2_co_guard_data(struct qcow2 *s, int64_t offset,
                                        int64_t bytes);
/* Checks that a cluster that is to be allocated is no metadata, and makes it
 * @what (0: data). */
nodiscard int co_fn qcow2_co_guard_new(struct qcow2 *s, int64_t offset,
                                       int64_t bytes, int what);

/* -- Reference counts (refcount.c); all with @meta held ------------------ */

/* Loads the refcount table.  GError: control path. */
nodiscard int co_fn qcow2_co_load_reftable(struct qcow2 *s, GError **err);

/* The count of host cluster @cluster (an index, not an offset). */
nodiscard int co_fn qcow2_co_refcount(struct qcow2 *s, int64_t cluster,
                                      uint64_t *ret);
/* How many of the first @clusters there are up to the last one in use. */
nodiscard int co_fn qcow2_co_used(struct qcow2 *s, int64_t clusters,
                                  int64_t *ret);
/* Adds @delta to the counts of clusters [@first, @first + @n).  Returns 0, or
 * -EIO (below zero, or no refcount block: corrupt), -ERANGE (more than fits;
 * nothing changed for that cluster and those after it; *@ret_done, if not NULL,
 * counts those changed), or an I/O error. */
nodiscard int co_fn qcow2_co_refcount_add(struct qcow2 *s, int64_t first,
                                          int64_t n, int delta,
                                          int64_t *ret_done);

/* -- Allocation (alloc.c); all with @meta held --------------------------- */

/* Allocates up to @want clusters in a row, the first that are free, with
 * counts of 1.  *@ret_fresh (may be NULL): they have never been written and
 * read as zeroes.  Returns how many (> 0), or a negative errno. */
nodiscard int64_t co_fn qcow2_co_alloc(struct qcow2 *s, int64_t want,
                                       int64_t *ret_offset, bool *ret_fresh);
/* The same, all of @clusters or nothing. */
nodiscard int co_fn qcow2_co_alloc_run(struct qcow2 *s, int64_t clusters,
                                       int64_t *ret_offset);
/* Exactly the clusters at @offset, as many of @want as are free there;
 * returns how many, which may be 0. */
nodiscard int64_t co_fn qcow2_co_alloc_at(struct qcow2 *s, int64_t offset,
                                          int64_t want);
/* Host bytes [@offset, @offset + @bytes) are going to be written, whatever
 * becomes of that: they are not fresh any more. */
void qcow2_note_use(struct qcow2 *s, int64_t offset, int64_t bytes);
/* Gives back clusters no table ever referred to, at once.  A failure leaks
 * them, which is why there is nothing to return. */
void co_fn qcow2_co_unalloc(struct qcow2 *s, int64_t offset, int64_t clusters);

/* -- Giving back (free.c) ------------------------------------------------ */

/* A reader of compressed data at a host range; see qcow2_free(). */
struct packed_read {
    int64_t offset, bytes;
    struct list link;
};
void packed_read_begin(struct qcow2 *s, struct packed_read *r, int64_t offset,
                       int64_t bytes);
void packed_read_end(struct qcow2 *s, struct packed_read *r);

/*
 * Drops one reference on each cluster of a host range once no table on disk
 * can refer to it: tables in memory no longer do.  Never yields; without
 * memory the clusters leak.
 */
void qcow2_free(struct qcow2 *s, int64_t offset, int64_t bytes,
                enum qcow2_free_why why);
/* What entry @e referred to: data, compressed data, or nothing. */
void qcow2_free_entry(struct qcow2 *s, struct qcow2_entry e,
                      enum qcow2_free_why why);
/* Counts down what is safe to.  @meta held. */
nodiscard int co_fn qcow2_co_apply_frees(struct qcow2 *s);
bool qcow2_has_safe_frees(struct qcow2 *s);
/* So many that memory, and the host's space, should be given back soon. */
bool qcow2_has_many_frees(struct qcow2 *s);
/* Before the file gets longer: if much was freed that cannot be allocated yet,
 * writes tables back so that it can.  Returns whether that was so.  @meta
 * held. */
bool co_fn qcow2_co_reclaim(struct qcow2 *s);
/* For write-back: takes all that tables on disk may still refer to, and gives
 * them back as safe (@rc is 0) or not. */
void qcow2_frees_capture(struct qcow2 *s, struct list *ret);
void qcow2_frees_release(struct qcow2 *s, struct list *captured, int rc);
/* At close: forgets what is left (it leaks). */
void qcow2_drop_frees(struct qcow2 *s);

/* -- Mapping (table.c) --------------------------------------------------- */

/* Guest bytes that are alike and, if they have a place, lie in a row. */
struct extent {
    enum qcow2_kind kind;
    bool copied;   /* the place is ours alone: it may be written */
    int64_t bytes; /* how far from the offset asked for */
    int64_t host;  /* of that offset; of PACKED: of the compressed data */
    int64_t packed_bytes; /* of PACKED */
};

/* Loads the active L1 table.  GError: control path. */
nodiscard int co_fn qcow2_co_load_l1(struct qcow2 *s, GError **err);
/* Makes s->l1 a table of @n entries: those there were, and zeroes. */
nodiscard int qcow2_set_l1_size(struct qcow2 *s, uint32_t n);
void qcow2_free_l1(struct qcow2 *s);
uint64_t qcow2_l1_get(struct qcow2 *s, int64_t index); /* 0 past the end */
/* Changes an entry in memory; it is dirty then. */
void qcow2_l1_set(struct qcow2 *s, int64_t index, uint64_t value);

/* What the guest bytes at @offset are, up to @bytes (> 0) of them. */
nodiscard int co_fn qcow2_co_map(struct qcow2 *s, int64_t offset, int64_t bytes,
                                 struct extent *ret);
/* The L2 entry of a guest byte is one that cannot be: marks the image corrupt.
 * -EIO. */
nodiscard int co_fn qcow2_co_set_broken(struct qcow2 *s, int64_t offset);

/* A slice of an L2 table that may be changed, and where in it a guest
 * cluster's entry is. */
struct l2_ref {
    struct slice *slice; /* pinned */
    int64_t first;       /* guest offset of the slice's first cluster */
    int index, end;      /* entries in the slice: ours, and behind the last */
};
/* Finds, or with @create makes, the slice for guest offset @offset.  With
 * @create false and no L2 table, ret->slice is NULL; a table that is shared
 * with a snapshot is replaced by a copy only with @create.  @meta held if
 * @create. */
nodiscard int co_fn qcow2_co_l2_get(struct qcow2 *s, int64_t offset,
                                    bool create, struct l2_ref *ret);
void l2_ref_put(struct l2_ref *ref);
struct qcow2_entry l2_load(const struct qcow2 *s, const uint8_t *data, int i);
void l2_store(const struct qcow2 *s, uint8_t *data, int i,
              struct qcow2_entry e);

/* -- Guest clusters being changed (busy.c) ------------------------------- */

/* A range of guest clusters that nobody else may map anew meanwhile; on the
 * stack of the coroutine that holds it.  A coroutine holds one at a time. */
struct busy {
    int64_t offset, bytes; /* whole clusters */
    struct list link;
    struct co_queue waiters;
};
/* Waits until nobody holds a cluster of the range, then holds it. */
void co_fn busy_begin(struct qcow2 *s, struct busy *b, int64_t offset,
                      int64_t bytes);
/* Gives all behind @bytes back. */
void busy_shrink(struct qcow2 *s, struct busy *b, int64_t bytes);
void busy_end(struct qcow2 *s, struct busy *b);

/* -- Writing back (writeback.c) ------------------------------------------ */

/* Makes metadata durable as they are now, in order; see above.  The last
 * step's flush is left to the caller unless something was freed.  Does not
 * need @meta, and may be called with it. */
nodiscard int co_fn qcow2_co_write_back(struct qcow2 *s);
/* The same with refcounts, even if they are lazy. */
nodiscard int co_fn qcow2_co_write_counts(struct qcow2 *s);
/* Refcounts only: they may be ahead of what they are for, but not durable. */
nodiscard int co_fn qcow2_co_write_counts_alone(struct qcow2 *s);
/* The first, and counts down what was freed.  @meta not held. */
nodiscard int co_fn qcow2_co_settle(struct qcow2 *s);
/* Everything, freed clusters too, durable: for operations on whole images. */
nodiscard int co_fn qcow2_co_flush_all(struct qcow2 *s);

/* -- Requests ------------------------------------------------------------ */

/* What shows where the image has nothing of its own at @offset: its backing
 * file, or NULL for zeroes, as behind that file's end and in VM state. */
struct node *qcow2_backing_at(struct qcow2 *s, int64_t offset);
/* Reads any range, also past the end of the disk, not through the core. */
nodiscard int co_fn qcow2_co_read(struct qcow2 *s, int64_t offset,
                                  const struct iovs *dst);

/* Sets where VM state (vm_state.c) begins behind a disk of @length. */
void qcow2_place_vm_state(struct qcow2 *s, int64_t length);
/* Where the guest offsets end that the L1 table has entries for, or the disk,
 * whatever is more. */
int64_t qcow2_mappable_end(const struct qcow2 *s);

/* Are guest bytes known to be zeroes without reading data? */
bool co_fn qcow2_co_is_zero(struct qcow2 *s, int64_t offset, int64_t bytes);
/* Writes data through the mapping, not compressed. */
nodiscard int co_fn qcow2_co_write(struct qcow2 *s, int64_t offset,
                                   const struct iovs *src);
/* Writes zeroes (@bytes > 0) so, where they cannot be marked. */
nodiscard int co_fn qcow2_co_write_zeroes(struct qcow2 *s, int64_t offset,
                                          int64_t bytes);
/* Makes whole guest clusters of a range unmapped, so that the backing file,
 * or zeroes, shine through. */
nodiscard int co_fn qcow2_co_unmap(struct qcow2 *s, int64_t offset,
                                   int64_t bytes, enum qcow2_free_why why);
/* Makes any range of the disk read as zeroes. */
nodiscard int co_fn qcow2_co_zero(struct qcow2 *s, int64_t offset,
                                  int64_t bytes, unsigned flags);

/* Compressed clusters (packed.c). */
void qcow2_packing_init(struct qcow2 *s);
void qcow2_packing_fini(struct qcow2 *s);
/* Host clusters have become free: what was expanded from there is void. */
void qcow2_packing_forget(struct qcow2 *s);
/* Reads guest bytes at @offset, which were found to be in @e.  Returns 1 when
 * they no longer are. */
nodiscard int co_fn qcow2_co_read_packed(struct qcow2 *s,
                                         const struct extent *e, int64_t offset,
                                         const struct iovs *dst);
nodiscard int co_fn qcow2_co_write_packed(struct qcow2 *s, int64_t offset,
                                          const struct iovs *src);

/* -- Images as a whole --------------------------------------------------- */

/* @name as an image @image that names it means it: relative to its folder. */
char *qcow2_resolve_name(const char *image, const char *name);
/* Where a data file called @name is made: that is no matter of the image's
 * folder, unlike with a backing file. */
const char *qcow2_data_file_path(const char *name);
/* Sets everything that follows from s->header; no I/O. */
void qcow2_set_geometry(struct qcow2 *s);
/* Makes the L1 table on disk and in memory one of @entries, which are not
 * fewer than now.  @meta held. */
nodiscard int co_fn qcow2_co_grow_l1(struct qcow2 *s, uint32_t entries);
/* Gives the disk from @offset, where it ended, to @end places, as far as it has
 * none.  When it fails nothing behind the cluster of @offset is mapped. */
nodiscard int co_fn qcow2_co_preallocate(struct qcow2 *s, int64_t offset,
                                         int64_t end, enum prealloc_mode how);
/* Frees L2 tables that are for what is behind @length only; nothing there is
 * mapped any more, and that is durable. */
void co_fn qcow2_co_drop_tables(struct qcow2 *s, int64_t length);
/* Cuts off what no cluster in use reaches.  An error means no more than that
 * the file stays longer than it could be. */
nodiscard int co_fn qcow2_co_cut_file(struct qcow2 *s);
/* Makes what is in memory for writing: which clusters are metadata, and where
 * nothing was written yet.  The tables are loaded. */
nodiscard int co_fn qcow2_co_prepare_writing(struct qcow2 *s, GError **err);

/* After tables were replaced behind the back of all this: reads them again as
 * s->header says.  Nothing may be dirty, nobody else use the node.  When it
 * fails the node cannot be used any more. */
nodiscard int co_fn qcow2_co_reload(struct qcow2 *s);
/* The same, but when it fails it is to be done again, with another header. */
nodiscard int co_fn qcow2_co_try_reload(struct qcow2 *s);

/* check.c: an image that was not closed is counted again before it is written
 * to; one that is only read, or is to be checked, stays as it is. */
nodiscard int co_fn qcow2_co_repair_dirty(struct qcow2 *s, GError **err);

/* Leaves no clusters of zeroes in snapshots (expand.c).  As turn_co_end(). */
nodiscard int co_fn qcow2_co_expand_snapshots(struct qcow2 *s, GError **err);

#endif /* FORMAT_QCOW2_QCOW2_H */
