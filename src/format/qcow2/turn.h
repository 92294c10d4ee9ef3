/* SPDX-License-Identifier: MIT */
/*
 * turn: an operation on the snapshots of an image, as a shadow (shadow.h) of
 * which the snapshot table and the active L1 table are a part.
 *
 *     turn_co_begin()
 *         t->table, t->sh        to be changed
 *     turn_co_end() or turn_co_cancel()
 *
 * Errors:    negative errno, some with a GError; the image is as it was then.
 * Threading: a coroutine; nobody else uses the node.
 */
#ifndef FORMAT_QCOW2_TURN_H
#define FORMAT_QCOW2_TURN_H

#include <stdbool.h>
#include <stdint.h>

#include "format/qcow2/qcow2.h"
#include "format/qcow2/shadow.h"
#include "format/qcow2/snapshots.h"

struct turn {
    struct qcow2 *s;
    struct shadow sh;
    struct qcow2_snapshots table;
    int64_t old_table_bytes;
    uint8_t *l2;  /* a cluster */
    uint64_t *l1; /* the active table to be; NULL: as it is */
    uint32_t l1_entries;
};

nodiscard int co_fn turn_co_begin(struct turn *t, struct qcow2 *s,
                                  GError **err);
/* Makes it so, or with @rc < 0 not, which @err may say the reason of. */
int co_fn turn_co_end(struct turn *t, int rc, GError **err);
/* Leaves all as it is. */
void co_fn turn_co_cancel(struct turn *t);

/* Writes the snapshot table and drops the old one. */
nodiscard int co_fn turn_co_write_snapshots(struct turn *t, GError **err);
/* Makes t->l1 a copy of the active table. */
nodiscard int turn_copy_active(struct turn *t);
/* Writes the active L1 table and drops the old one. */
nodiscard int co_fn turn_co_write_active(struct turn *t);

/* Sets or clears the mark of entry @i in t->l2.  Returns whether it was
 * other. */
bool turn_mark_entry(struct turn *t, int i, bool copied);
/* After counts went down: makes all marks of the active tables right. */
nodiscard int co_fn turn_co_mark_active(struct turn *t);

#endif /* FORMAT_QCOW2_TURN_H */
