/* SPDX-License-Identifier: MIT */
/*
 * bench: sends requests of one kind to an image and takes the time.
 *
 * Threading: coroutine.
 */
#ifndef TOOL_BENCH_H
#define TOOL_BENCH_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "co/co.h"

struct node;

struct bench_request {
    bool write;          /* else read */
    int pattern;         /* the byte that is written */
    int64_t count;       /* requests */
    int64_t bytes;       /* of each */
    int64_t offset;      /* of the first */
    int64_t step;        /* from one to the next; wraps at the end */
    int depth;           /* how many run at once */
    int64_t flush_every; /* requests between flushes; 0: none */
    bool no_drain;       /* go on while a flush runs */
    bool writethrough;   /* each write is durable */
};

/* Sends all of them; *@ret_ns is how long that took.  0, or the first error. */
nodiscard int co_fn bench_co_run(struct node *node,
                                 const struct bench_request *rq,
                                 int64_t *ret_ns);

#endif /* TOOL_BENCH_H */
