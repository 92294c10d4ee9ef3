/* SPDX-License-Identifier: MIT */
/*
 * convert: copies the data of images into another one.
 *
 * All workers of a crew take the next range that is not known to be empty,
 * read it, look for zeroes and write the rest.  Where the order of writes
 * decides how the target is laid out (formats that allocate clusters), each
 * waits for its turn to write unless the caller says that order is nothing.
 *
 * Threading: coroutine.  The watch is told of progress on any thread, by one
 *            at a time.
 */
#ifndef TOOL_CONVERT_H
#define TOOL_CONVERT_H

#include <stdbool.h>
#include <stdint.h>

#include "co/co.h"

struct crew;
struct node;
struct tool_watch;

/* One input; they follow each other in the target. */
struct convert_source {
    struct node *node;
    int64_t offset; /* where to begin in it */
    int64_t bytes;  /* offset + bytes <= tool_length(node) */
};

enum convert_flags {
    CONVERT_COMPRESS = 1 << 0,      /* write compressed clusters */
    CONVERT_OUT_OF_ORDER = 1 << 1,  /* write as it comes */
    CONVERT_COPY_RANGE = 1 << 2,    /* let the host copy where it can */
    CONVERT_SALVAGE = 1 << 3,       /* zeroes for what cannot be read */
    CONVERT_TARGET_ZERO = 1 << 4,   /* the target reads as zeroes now */
    CONVERT_TARGET_BACKED = 1 << 5, /* its backing file has what the source's
                                       backing file has: copy the rest */
    CONVERT_WRITETHROUGH = 1 << 6,  /* each write is to be durable */
    CONVERT_COUNT_FIRST = 1 << 7,   /* find out how much there is to copy, so
                                       that the progress counts only that */
};

enum convert_step {
    CONVERT_STATUS, /* asking where data are */
    CONVERT_READ,
    CONVERT_WRITE,
    CONVERT_OTHER, /* memory, or stopped */
};

struct convert_request {
    const struct convert_source *sources;
    unsigned n_sources;
    struct node *target;
    unsigned flags;         /* enum convert_flags */
    int64_t sparse;         /* zeroes this long are not written; 0: all are */
    int64_t cluster;        /* of the target's format; 0: none */
    int64_t backing_length; /* CONVERT_TARGET_BACKED: of the backing file */
    int64_t rate;           /* bytes per second; 0: no limit */
    const struct tool_watch *watch;
    /* Salvage: told of each range of an input of which the status cannot be
     * told (CONVERT_STATUS) or that is lost (CONVERT_READ).  Any thread, one
     * at a time.  May be NULL. */
    void (*lost)(void *opaque, enum convert_step step, int64_t offset,
                 int64_t bytes, int rc);
    void *opaque;
};

struct convert_result {
    int rc; /* 0, or the negative errno of the first error */
    enum convert_step step;
    int64_t offset; /* in the target */
    int64_t lost;   /* bytes */
};

/* Copies, and hands everything to the host; the caller flushes. */
void co_fn convert_co_run(const struct convert_request *rq, struct crew *crew,
                          struct convert_result *ret);

/*
 * The length of the first run of @buf that is all to be written, or all
 * zeroes (*@zero).  @buf stands at @offset; runs of zeroes shorter than
 * @sparse, and parts of blocks of @unit bytes, count as data.  Pure.
 */
int64_t convert_run(const char *buf, int64_t offset, int64_t bytes,
                    int64_t sparse, int64_t unit, bool *zero);

#endif /* TOOL_CONVERT_H */
