/* SPDX-License-Identifier: MIT */
/*
 * fan: parts of one request, done by several coroutines at once.
 *
 * Threading: all on the loop of the coroutine that owns the fan.
 */
#ifndef FORMAT_FAN_H
#define FORMAT_FAN_H

#include "co/co.h"

/* Does one part and frees it.  Returns 0 or a negative errno. */
typedef int fan_fn(void *part);

struct fan {
    int running;
    int rc;            /* the first error */
    struct co *waiter; /* the owner, while it waits */
};

/* Runs @fn(@part) beside the caller; waits first while too many run. */
void co_fn fan_start(struct fan *f, fan_fn *fn, void *part);
/* Waits for all.  Returns the first error. */
int co_fn fan_finish(struct fan *f);

#endif /* FORMAT_FAN_H */
