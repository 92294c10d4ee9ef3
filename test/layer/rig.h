/* SPDX-License-Identifier: MIT */
/*
 * rig: a loop of this thread, a node of the driver in calls.h, and a
 * backend on it.
 */
#ifndef LAYER_RIG_H
#define LAYER_RIG_H

#include "backend/backend.h"
#include "calls.h"
#include "loop/loop.h"

struct rig {
    struct loop *loop;
    struct calls *calls;
    struct backend *be;
};

/* @flags: enum backend_flags. */
void rig_up(struct rig *r, const struct calls_opts *opts, unsigned flags);
/* Frees it all.  Returns what backend_co_free() did. */
int rig_down(struct rig *r);

/* Turns the loop until nothing is due. */
void rig_settle(void);
/* Starts @entry(@opaque) as a coroutine of this thread's loop. */
void rig_start(co_entry_fn *entry, void *opaque);
/* Starts it and turns the loop until it has ended. */
void rig_run(co_entry_fn *entry, void *opaque);

#endif /* LAYER_RIG_H */
