/* SPDX-License-Identifier: MIT */
/*
 * perform: does one request with plain system calls, blocking.  The threads
 * and manual engines use it.
 */
#ifndef ENGINE_PERFORM_H
#define ENGINE_PERFORM_H

#include <stdint.h>

#include "engine/engine.h"

/*
 * Does @io, or as much of it as one system call does.  Any thread.  Returns
 * the count or the negative errno; -EINTR has been retried.
 */
int64_t engine_perform(const struct engine_io *io);

#endif /* ENGINE_PERFORM_H */
