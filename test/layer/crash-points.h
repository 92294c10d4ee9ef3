/* SPDX-License-Identifier: MIT */
/*
 * crash-points: tries the crashes that a log allows.
 *
 * These are every prefix, with nothing, all and some of what was in flight;
 * and where most is loose, before each flush ends: writes lost alone, writes
 * alone there, and random subsets.
 */
#ifndef TEST_LAYER_CRASH_POINTS_H
#define TEST_LAYER_CRASH_POINTS_H

#include "crash-log.h"

struct crash_points {
    struct crash_log *log;
    const char *const *names; /* of the files as a crash leaves them */
    int percent;              /* of crashes that are tried */
    /* Looks at these files; log->cut is when it happened. */
    void (*look)(void *opaque);
    void *opaque;

    int n;           /* how many were tried */
    int n_in_flight; /* with writes in flight */
};

void crash_everywhere(struct crash_points *p);

/* A random number from 0 to @end - 1. */
int64_t pick(int64_t end);

/* What COBLK_CRASH_PERCENT says, or 50. */
int crash_percent(void);

#endif /* TEST_LAYER_CRASH_POINTS_H */
