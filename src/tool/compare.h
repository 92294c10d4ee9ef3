/* SPDX-License-Identifier: MIT */
/*
 * compare: do two images hold the same?
 *
 * What one image has behind the end of the other must be zeroes.  All workers
 * of a crew compare; the lowest offset with a difference, or an error, is the
 * result, whoever was first.
 *
 * Threading: coroutine.
 */
#ifndef TOOL_COMPARE_H
#define TOOL_COMPARE_H

#include <stdbool.h>
#include <stdint.h>

#include "co/co.h"

struct crew;
struct node;
struct tool_watch;

enum compare_outcome {
    COMPARE_SAME,
    COMPARE_CONTENT,      /* the sector at @offset differs */
    COMPARE_SIZE,         /* strict: the sizes differ */
    COMPARE_STATUS,       /* strict: allocated in one and not in the other */
    COMPARE_STATUS_ERROR, /* the status of image @image cannot be told */
    COMPARE_READ_ERROR,   /* image @image cannot be read */
    COMPARE_STOPPED,      /* the caller gave it up */
};

struct compare_result {
    enum compare_outcome outcome;
    int64_t offset; /* SAME: the end */
    int rc;         /* of an error */
    int image;      /* 0 or 1, of an error */
};

void co_fn compare_co_run(struct node *const images[2], bool strict,
                          struct crew *crew, const struct tool_watch *watch,
                          struct compare_result *ret);

/* The offset of the first 512-byte block of @a that differs from @b, or
 * @bytes.  Pure. */
int64_t compare_buffers(const void *a, const void *b, int64_t bytes);

#endif /* TOOL_COMPARE_H */
