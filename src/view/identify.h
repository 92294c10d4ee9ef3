/* SPDX-License-Identifier: MIT */
/*
 * identify: which file system (or swap, RAID member, …) a range of a backend
 * holds.
 *
 * libblkid reads a file descriptor and knows nothing of image formats, so it
 * is shown a sparse file in memory that has the size of the range and of its
 * content only the places where such things have their superblocks.  The work
 * is bounded: some 1.5 MiB are read, whatever the size of the range.
 */
#ifndef VIEW_IDENTIFY_H
#define VIEW_IDENTIFY_H

#include <stdint.h>

#include "co/co.h"

struct backend;

/* Each NULL when unknown.  Owned; any bytes but NUL, taken from the disk. */
struct identity {
    char *type, *label, *uuid;
};

/*
 * Identifies [@offset, @offset + @bytes).  Returns 0 and fills *@ret, which
 * has no type when nothing is recognised, or something is but not for sure; or
 * a negative errno of reading or of memory.
 */
nodiscard int co_fn identify_co(struct backend *be, int64_t offset,
                                int64_t bytes, struct identity *ret);

void identity_clear(struct identity *id);

/* A range relative to the start of the file system. */
struct probe_range {
    int64_t offset, bytes;
};

/*
 * Some file systems keep their label far behind the start.  Where that is
 * follows from their first sector, @boot (512 bytes), of which nothing is
 * trusted.  Returns whether there is such a place.  Pure.
 */
bool identify_label_range(const uint8_t *boot, struct probe_range *ret);

#endif /* VIEW_IDENTIFY_H */
