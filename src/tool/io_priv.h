/* SPDX-License-Identifier: MIT */
/*
 * io_priv: what the source files of io share.
 *
 *   io.c          opening and closing, and what the image is
 *   io_request.c  requests
 */
#ifndef TOOL_IO_PRIV_H
#define TOOL_IO_PRIV_H

#include "tool/io.h"

struct io_image {
    struct io_how how; /* its strings and options are the image's own */
    struct backend *be;
    bool rdonly;
    unsigned in_flight; /* requests of io_start() */
    struct co *waiter;  /* the controlling coroutine while it waits */
};

#endif /* TOOL_IO_PRIV_H */
