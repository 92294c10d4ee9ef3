/* SPDX-License-Identifier: MIT */
/*
 * counts: a number per host cluster, in memory: how often something refers to
 * it, or by how much that is to change.
 *
 * Takes a byte for each cluster near one that counts: numbers that do not fit
 * in there are rare and kept elsewhere.  Clusters that nobody counted are 0.
 *
 * Errors:    -ENOMEM only.
 * Threading: one user at a time.
 */
#ifndef FORMAT_QCOW2_COUNTS_H
#define FORMAT_QCOW2_COUNTS_H

#include <stdint.h>

#include "base/compiler.h"

/* More clusters than that cannot be counted: the index would take too much. */
#define COUNTS_MAX_CLUSTERS (INT64_C(1) << 34)

struct counts;

/* For clusters [0, @clusters).  NULL when there is no memory, or when they are
 * more than COUNTS_MAX_CLUSTERS. */
struct counts *counts_new(int64_t clusters);
void counts_free(struct counts *c); /* NULL is fine */

int64_t counts_clusters(const struct counts *c);
/* Makes room for clusters [0, @clusters).  0, or -ENOMEM. */
nodiscard int counts_reach(struct counts *c, int64_t clusters);

/* 0 past the end. */
int64_t counts_get(const struct counts *c, int64_t cluster);
nodiscard int counts_add(struct counts *c, int64_t cluster, int64_t delta);

/* The first cluster from @cluster on, but before @end, that may be other than
 * 0: all before it are 0.  Returns @end if there is none. */
int64_t counts_next(const struct counts *c, int64_t cluster, int64_t end);

#endif /* FORMAT_QCOW2_COUNTS_H */
