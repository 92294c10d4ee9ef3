/* SPDX-License-Identifier: MIT */
/*
 * threads: what tests of the thread pool need beside engine.h.
 */
#ifndef ENGINE_THREADS_H
#define ENGINE_THREADS_H

#include <stdint.h>

#include "base/compiler.h"

struct loop;

/* How long a worker of @loop's pool stays without work.  Like
 * engine_threads_set_bounds(). */
nodiscard int threads_set_idle_time(struct loop *loop, int64_t ns);

#endif /* ENGINE_THREADS_H */
