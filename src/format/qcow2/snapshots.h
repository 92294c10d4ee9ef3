/* SPDX-License-Identifier: MIT */
/*
 * snapshots: the table of internal snapshots, from the disk and back.
 *
 * An entry is of no fixed length:
 *
 *    0  8  offset of its L1 table          20  4  date, nanoseconds
 *    8  4  entries of that                 24  8  clock of the machine, ns
 *   12  2  bytes of the id                 32  4  bytes of machine state
 *   14  2  bytes of the name               36  4  bytes of extra data
 *   16  4  date, seconds                   40     extra data, id, name
 *
 *   extra data:  0  8  bytes of machine state
 *                8  8  size of the disk    (version 3 must have this)
 *               16  8  instructions counted, all ones: none
 *               24     not known here; kept
 *
 * and begins at a multiple of 8.
 */
#ifndef FORMAT_QCOW2_SNAPSHOTS_H
#define FORMAT_QCOW2_SNAPSHOTS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "block/image.h"
#include "co/co.h"

struct qcow2;

/* What we take, which is what others take as well. */
#define SNAPSHOT_MAX_TABLE_BYTES (64 * MiB)
#define SNAPSHOT_MAX_EXTRA_BYTES 1024
#define SNAPSHOT_MAX_NAME_BYTES  255 /* of new ones */

#define SNAPSHOT_HEAD_BYTES     40
#define SNAPSHOT_V3_EXTRA_BYTES 16 /* the least of version 3 */
#define SNAPSHOT_EXTRA_BYTES    24 /* what we write */

struct qcow2_snapshot {
    struct image_snapshot info;
    int64_t l1_offset;
    uint32_t l1_entries;
    uint32_t extra_bytes;   /* on disk */
    GByteArray *more_extra; /* behind what we know; may be NULL */
};

struct qcow2_snapshots {
    GArray *list;  /* struct qcow2_snapshot */
    int64_t bytes; /* of the table on disk */
};

/* Is told of @n things that are wrong, and how they are put right in memory;
 * the line is as in the output of check. */
typedef void snapshots_damage_fn(void *opaque, int64_t n, const char *line);

/*
 * Reads the table.  What is wrong is an error, or with @damage put right and
 * told.  Returns 0, or
 *   -EFBIG   it has more than we take
 *   -EINVAL  an entry has a disk size that is not possible
 */
nodiscard int co_fn qcow2_co_load_snapshots(struct qcow2 *s,
                                            snapshots_damage_fn *damage,
                                            void *opaque,
                                            struct qcow2_snapshots *ret,
                                            GError **err);
void qcow2_snapshots_fini(struct qcow2_snapshots *t);

/* The table as it is to be on disk; its length is *@ret_bytes.  NULL when it
 * would be longer than we take.  free() it. */
uint8_t *qcow2_snapshots_serialise(const struct qcow2_snapshots *t,
                                   int64_t *ret_bytes);

struct qcow2_snapshot *qcow2_snapshots_at(const struct qcow2_snapshots *t,
                                          int i);
/* Does each say how large its disk is?  One that does not has the size of the
 * disk, which must not change then: the snapshot would lose what is behind its
 * end, or gain what it never had.  0, or -EINVAL. */
nodiscard int qcow2_snapshots_check_sizes(const struct qcow2 *s,
                                          const struct qcow2_snapshots *t,
                                          GError **err);
/* Is its L1 table where one can be?  Otherwise says in a few words why. */
const char *qcow2_snapshot_bad_l1(const struct qcow2 *s,
                                  const struct qcow2_snapshot *sn);
/* Finds the one whose id, or else whose name, is @id.  Returns 0, or
 *   -ENOENT  there is none
 *   -EINVAL  its L1 table is not where one can be */
nodiscard int qcow2_snapshots_find(const struct qcow2 *s,
                                   const struct qcow2_snapshots *t,
                                   const char *id, int *ret, GError **err);

#endif /* FORMAT_QCOW2_SNAPSHOTS_H */
