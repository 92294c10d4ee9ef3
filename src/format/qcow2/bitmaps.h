/* SPDX-License-Identifier: MIT */
/*
 * bitmaps: which parts of the disk were written to, for incremental backups.
 *
 * A bitmap has a name, a bit for each granule of the disk, and is enabled
 * (then it records all writes) or not.  The bits lie in clusters that a table
 * names, the tables are named by the directory, that by the header.
 *
 * In memory a bitmap is what its table on disk says, and the bits that were
 * set since.  Nothing of it is read before it is needed: an image without
 * bitmaps pays for a look at one flag per write, one with bitmaps for the bits
 * of what is written.
 *
 * ---- What a crash may leave
 *
 * A bitmap that is not marked in use on disk has all bits it should have:
 *
 *   enabled ones are marked, and that is durable, before the first request
 *   that changes data (qcow2_co_record()); all are before the disk changes its
 *   size
 *
 *   storing changes nothing that the directory on disk refers to.  New bits,
 *   tables and a directory, without marks, are written where nothing is; when
 *   they and their counts are durable the header, which is one sector, names
 *   them; when that is, what only the old directory referred to is freed.
 *
 * So a crash leaves the old bitmaps or the new ones, maybe marked in use, and
 * maybe leaked clusters.  What is marked is not consistent any more and can
 * only be removed.
 *
 * Units:     bytes of the disk, unless a name says bits.
 * Errors:    negative errno; GError on control paths.
 * Threading: qcow2_co_record() on any loop; all else while nobody else uses the
 *            node.
 */
#ifndef FORMAT_QCOW2_BITMAPS_H
#define FORMAT_QCOW2_BITMAPS_H

#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "co/co.h"
#include "format/qcow2/bitmap_bits.h"
#include "format/qcow2/bitmap_dir.h"

struct json;
struct qcow2;

struct qcow2_bitmap {
    /* Its place is that on disk; in use here means that it is lost. */
    struct qcow2_bitmap_entry entry;
    struct bitmap_bits bits; /* set since; may be uninitialised */
    bool emptied;            /* what is on disk does not count any more */
    bool resized;            /* the disk is of another length than it */
    bool marked;             /* as in use, on disk */
};

struct qcow2_bitmaps {
    GPtrArray *list;       /* struct qcow2_bitmap, in the directory's order */
    GArray *garbage;       /* struct bitmap_place: of those removed */
    bool changed;          /* the directory is to be written */
    atomic_bool recording; /* any is enabled, and not lost */
    atomic_bool marked;    /* all of those are, on disk */
    pthread_mutex_t lock;  /* guards bits and being lost */
};

/* Clusters of the file. */
struct bitmap_place {
    int64_t offset, bytes;
};

/* Has the image, as its header says, bitmaps that count? */
bool qcow2_has_bitmaps(const struct qcow2 *s);

/* Makes s->bitmaps what the directory says.  @meta held.  Returns 0, or as
 * qcow2_bitmap_dir_parse(), or an I/O error. */
nodiscard int co_fn qcow2_co_bitmaps_load(struct qcow2 *s);
void qcow2_bitmaps_free(struct qcow2_bitmaps *b); /* NULL is fine */

/* A request is about to change data in a range; the image is being changed
 * (qcow2_co_begin_change()).  When this fails the request must not go on. */
nodiscard int co_fn qcow2_co_record(struct qcow2 *s, int64_t offset,
                                    int64_t bytes);

/* Before the disk gets another length: refuses that, or marks all. */
nodiscard int co_fn qcow2_co_bitmaps_begin_resize(struct qcow2 *s,
                                                  int64_t length, GError **err);
/* And after: bits behind the end are gone, new ones clear. */
void qcow2_bitmaps_resized(struct qcow2 *s);

/* Puts on disk what has changed, and takes the marks away.  0 when there is
 * nothing to do. */
nodiscard int co_fn qcow2_co_bitmaps_store(struct qcow2 *s);
/* The same with @meta held, also when there is nothing to do. */
nodiscard int co_fn qcow2_co_bitmaps_store_locked(struct qcow2 *s);

/* -- Of bitmaps.c, for bitmap_ops.c and bitmap_store.c ------------------- */

/* What a table has for a part whose bits are all set; 0: all are clear. */
#define QCOW2_BITMAP_ONES UINT64_C(1)

/* Sets bits for a range of the disk; without memory the bitmap is lost. */
void qcow2_bitmap_set(struct qcow2 *s, struct qcow2_bitmap *b, int64_t offset,
                      int64_t bytes);
/* The table of @b in the byte order of this machine; free() it.  -EINVAL when
 * it is not one. */
nodiscard int co_fn qcow2_co_bitmap_table(struct qcow2 *s,
                                          const struct qcow2_bitmap *b,
                                          uint64_t **ret);
/* The bits of part @i of @b, whose table is @table, into @buf, a cluster. */
nodiscard int co_fn qcow2_co_bitmap_part(struct qcow2 *s,
                                         const struct qcow2_bitmap *b,
                                         const uint64_t *table, int64_t i,
                                         uint8_t *buf);
/* What the table says of part @i, and the bits that were set in it since (NULL:
 * none). */
uint64_t qcow2_bitmap_table_entry(const struct qcow2_bitmap *b,
                                  const uint64_t *table, int64_t i);
const uint8_t *qcow2_bitmap_new_bits(const struct qcow2_bitmap *b, int64_t i);
/* What a table's entry stands for, into @buf. */
nodiscard int co_fn qcow2_co_bitmap_cluster(struct qcow2 *s, uint64_t entry,
                                            uint8_t *buf);
/* How many parts @b has with the disk as it is. */
int64_t qcow2_bitmap_parts(const struct qcow2 *s, const struct qcow2_bitmap *b);
/* Can it be used and changed, or only be removed or kept as it is? */
bool qcow2_bitmap_is_usable(const struct qcow2_bitmap *b);
/* After @list has changed, or what is enabled: it is to be stored. */
void qcow2_bitmaps_touch(struct qcow2_bitmaps *all);
/* Finds out who records. */
void qcow2_bitmaps_count(struct qcow2_bitmaps *all);
/* The directory as bytes, with or without marks; free() it.  NULL: no
 * memory. */
uint8_t *qcow2_bitmaps_serialise(const struct qcow2_bitmaps *all, bool marks,
                                 int64_t *ret_bytes);

/* -- bitmap_ops.c -------------------------------------------------------- */

/* Adds the array "bitmaps", if there are any. */
nodiscard int co_fn qcow2_co_bitmaps_json(struct qcow2 *s, struct json *out,
                                          GError **err);
/* How many bytes they would take in an image of other clusters. */
nodiscard int co_fn qcow2_co_bitmaps_measure(struct qcow2 *s,
                                             unsigned cluster_bits,
                                             int64_t *ret, GError **err);

#endif /* FORMAT_QCOW2_BITMAPS_H */
