/* SPDX-License-Identifier: MIT */
/*
 * commit: writes what images of a chain hold to the one below them.
 *
 * Threading: coroutine.
 */
#ifndef TOOL_COMMIT_H
#define TOOL_COMMIT_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "co/co.h"
#include "tool/open.h"

struct commit_request {
    struct tool_image image; /* the top of the chain */
    const char *base;        /* where to write; NULL: its backing file */
    bool keep;               /* do not empty the image afterwards */
    int64_t rate;            /* bytes per second; 0: no limit */
    const struct tool_watch *watch;
};

nodiscard int co_fn commit_co_run(const struct commit_request *rq,
                                  GError **err);

#endif /* TOOL_COMMIT_H */
