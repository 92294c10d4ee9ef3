/* SPDX-License-Identifier: MIT */
/*
 * manual: the engine that tests step by hand.
 *
 * Requests stay where they are until the test completes them: in any order,
 * with an error, or after only a part of them was done.  Completing a request
 * really does it (pread, pwrite, fdatasync, the call), so data can be checked
 * in the file below.
 *
 * Threading: one loop's thread.
 */
#ifndef ENGINE_MANUAL_H
#define ENGINE_MANUAL_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"

struct manual;

/*
 * Makes the engine of @loop and the provider "manual", whose get() returns
 * -ENOSYS on loops that have none.  Free it before the loop, with no request
 * pending; NULL is fine.
 */
struct manual *manual_new(struct loop *loop);
void manual_free(struct manual *m);

/* For tests that talk to the engine without a driver. */
struct engine *manual_engine(struct manual *m);

/* How many requests wait; the @i-th, oldest first. */
int manual_pending(const struct manual *m);
const struct engine_io *manual_peek(const struct manual *m, int i);

/* Does the @i-th request whole and completes it. */
void manual_complete(struct manual *m, int i);
/* Completes the @i-th request with the negative errno @rc, undone. */
void manual_fail(struct manual *m, int i, int rc);
/* Does the first @bytes of the @i-th request (a read or write) only; with 0 it
 * completes as at the end of the file, or as on a full disk. */
void manual_complete_short(struct manual *m, int i, int64_t bytes);
/* Completes everything, and what comes of it, oldest first. */
void manual_complete_all(struct manual *m);
/* From now on complete new requests at once (@on) or hold them (!@on, as in
 * the beginning). */
void manual_set_automatic(struct manual *m, bool on);

#endif /* ENGINE_MANUAL_H */
