/* SPDX-License-Identifier: MIT */
/*
 * rebase: gives an image another backing file.
 *
 * Safe: what the two backing files have different is written to the image
 * first, so that it reads as before.  Unsafe: only the name is changed.
 *
 * Threading: coroutine.
 */
#ifndef TOOL_REBASE_H
#define TOOL_REBASE_H

#include <glib.h>
#include <stdbool.h>

#include "co/co.h"
#include "tool/open.h"

struct rebase_request {
    struct tool_image image;
    const char *backing; /* "" : none */
    const char *format;  /* of it; NULL: not given */
    bool unsafe;
    bool compress;         /* write what is copied compressed */
    unsigned source_flags; /* enum node_flags of the backing files */
    const struct tool_watch *watch;
};

nodiscard int co_fn rebase_co_run(const struct rebase_request *rq,
                                  GError **err);

#endif /* TOOL_REBASE_H */
