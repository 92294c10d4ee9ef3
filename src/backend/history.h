/* SPDX-License-Identifier: MIT */
/*
 * history: the write errors of a backend, and who was told of them.
 *
 * Errors are numbered from 1.  Equal ones in a row are kept as one entry, and
 * the last HISTORY_ENTRIES entries are kept, so a reader that is further
 * behind than so many changes is told the oldest error still known.
 *
 * Pure; the owner locks.
 */
#ifndef BACKEND_HISTORY_H
#define BACKEND_HISTORY_H

#include <stdint.h>

#define HISTORY_ENTRIES 16

struct history {
    uint64_t errors; /* number of the last error, 0: none yet */
    uint64_t told;   /* somebody was told of all up to this one */
    int n_entries;
    struct history_entry {
        int rc;
        uint64_t last; /* number of the last error of this entry */
    } entries[HISTORY_ENTRIES];
};

/* A zeroed struct is an empty history. */

/* Adds the negative errno @rc. */
void history_add(struct history *h, int rc);

/* Where a new reader stands: behind the last error that was told. */
uint64_t history_cursor(const struct history *h);

/* The first error after *@cursor, or 0.  Moves the cursor to the end; all
 * errors count as told. */
int history_since(struct history *h, uint64_t *cursor);

#endif /* BACKEND_HISTORY_H */
