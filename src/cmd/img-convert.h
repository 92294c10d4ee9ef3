/* SPDX-License-Identifier: MIT */
/*
 * img-convert: what the two files of `convert` share: img-convert-opts.c, which
 * reads the command line, and img-convert.c, which does what it says.
 */
#ifndef CMD_IMG_CONVERT_H
#define CMD_IMG_CONVERT_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/img.h"
#include "cmd/progress.h"
#include "tool/bitmap.h"
#include "tool/convert.h"

#define CONVERT_MAX_SOURCES 256

struct crew;
struct node;

struct convert_cmd {
    /* From the command line. */
    struct img_common common;
    const char *target_format, *backing, *backing_format, *snapshot;
    const char *target_cache, *source_cache, *sparse, *rate, *workers;
    char *options; /* owned */
    bool compress, progress, no_create, out_of_order, copy_range, salvage;
    bool target_is_zero, target_opts, bitmaps;
    char **sources; /* not owned */
    unsigned n_sources;
    const char *target;

    /* What follows from it. */
    unsigned source_flags, target_flags; /* enum node_flags */
    bool writethrough;
    struct convert_request rq;
    struct convert_source inputs[CONVERT_MAX_SOURCES];
    int64_t total;
    struct node *node; /* the target */
    struct bitmap_copy bitmap_copy;
    bool created;
    bool started; /* something may have been written to it */
    struct crew *crew;
    struct progress show;
    int status;
};

/* Does it, @workers ranges at once.  Returns the exit status. */
int convert_run_cmd(struct convert_cmd *c, int64_t workers);

#endif /* CMD_IMG_CONVERT_H */
