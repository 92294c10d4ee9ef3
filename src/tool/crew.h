/* SPDX-License-Identifier: MIT */
/*
 * crew: threads that share the work of one operation.
 *
 * Each worker is a coroutine on the loop of a thread of its own, where I/O may
 * simply block: the data that it reads, looks at and writes stay in the cache
 * of one processor, and nothing is handed from thread to thread.
 *
 * Threading: made, run and freed on one thread, which has a loop.
 */
#ifndef TOOL_CREW_H
#define TOOL_CREW_H

#include "base/compiler.h"
#include "co/co.h"

struct crew;
struct loop;

#define CREW_MAX 16

/*
 * Makes @n workers, 1..CREW_MAX.  @prepare (NULL: nothing) is called for each
 * of their loops.  Returns 0 or a negative errno.
 */
nodiscard int crew_new(unsigned n, int (*prepare)(struct loop *loop),
                       struct crew **ret);
void crew_free(struct crew *crew); /* idle; NULL is fine */
unsigned crew_size(const struct crew *crew);

/*
 * Runs @work(@opaque) in a coroutine of each worker and waits until all have
 * returned.  Meanwhile @tick(@opaque) (NULL: nothing) is called about ten
 * times a second on the caller's thread, and once at the end.
 */
void co_fn crew_co_run(struct crew *crew, co_entry_fn *work,
                       void (*tick)(void *opaque), void *opaque);

#endif /* TOOL_CREW_H */
