/* SPDX-License-Identifier: MIT */
/*
 * convert_priv: what the source files of convert share.
 *
 *   convert.c       which range is next; starting and ending
 *   convert_copy.c  what a worker does with a range
 */
#ifndef TOOL_CONVERT_PRIV_H
#define TOOL_CONVERT_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "loop/sync.h"
#include "tool/convert.h"
#include "tool/extent.h"

/* A range for one worker. */
struct range {
    int64_t offset; /* in the target */
    int64_t bytes;  /* a cluster may take its from several inputs */
    bool zero;      /* known to be zeroes */
    uint64_t seq;   /* its turn to write */
};

struct convert {
    /* Set at the start, then constant. */
    const struct convert_request *rq;
    int64_t total;    /* length of the target's part */
    int64_t work;     /* what the progress counts */
    int64_t chunk;    /* most bytes of a range of data */
    int64_t unit;     /* blocks that are zeroes or not */
    bool target_zero; /* it reads as zeroes where nothing was written */
    bool in_order;

    /* Under @claim. */
    struct co_mutex claim;
    unsigned source; /* the current one */
    int64_t start;   /* where it begins in the target */
    struct extent_cursor cursor;
    int64_t next;     /* what nobody has taken yet */
    uint64_t seq;     /* of the next range */
    int64_t due_time; /* with a rate: when the next may start */

    atomic_bool stop;
    atomic_bool no_copy_range;
    atomic_llong done; /* for the progress */

    pthread_mutex_t lock;
    /* Under @lock. */
    struct convert_result result;
    uint64_t turn;         /* the range that may be written now */
    struct co_queue turns; /* those that wait for another turn */
};

/* @bytes of c->work are done. */
void convert_progress(struct convert *c, int64_t bytes);

/* Salvage: tells the caller of @bytes of an input. */
void convert_lost(struct convert *c, enum convert_step step, int64_t offset,
                  int64_t bytes, int rc);

/* Takes the next range.  False at the end, or when it is over. */
bool co_fn convert_co_claim(struct convert *c, struct range *ret);

/* Records the first error and makes all stop. */
void convert_fail(struct convert *c, enum convert_step step, int64_t offset,
                  int rc);

/* The work of one worker: copies ranges until there is none. */
void convert_work(void *opaque);

#endif /* TOOL_CONVERT_PRIV_H */
