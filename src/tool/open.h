/* SPDX-License-Identifier: MIT */
/*
 * open: how an operation on images is told which image, and opens it.
 *
 * Units:     bytes.
 * Errors:    GError, one line that names the image and the remedy.
 * Threading: coroutines.
 */
#ifndef TOOL_OPEN_H
#define TOOL_OPEN_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/iov.h"
#include "co/co.h"

struct node;
struct options;

struct tool_image {
    const char *name;   /* a path or json:{…}; options with @image_opts; NULL:
                             @options name it */
    const char *format; /* NULL: probe */
    bool image_opts;    /* @name is driver=…,file.filename=… */
    unsigned flags;     /* enum node_flags */
    const struct options *options; /* more of them; NULL: none */
};

/* Opens @image.  NULL and *@err when it cannot be. */
struct node *co_fn tool_co_open(const struct tool_image *image, GError **err);

/*
 * What @image, whose name may be options, says of its backing file: what was
 * given as "backing.…".  NULL and *@err when the options are malformed.
 */
struct options *tool_backing_options(const struct tool_image *image,
                                     GError **err);

/* The backing file called @name, of @format (NULL: probe), with what @own, its
 * options, say besides or instead. */
struct tool_image tool_backing_image(const char *name, const char *format,
                                     const struct options *own, unsigned flags);

/* Flushes and closes @node.  Returns 0, or a negative errno and *@err when
 * data could not be made durable. */
nodiscard int co_fn tool_co_close(struct node *node, GError **err);

/*
 * Sets what the cache mode @name means: NODE_DIRECT and NODE_NO_FLUSH in
 * *@flags, and whether each write is to be durable.  Returns 0 or -EINVAL.
 */
nodiscard int tool_parse_cache(const char *name, unsigned *flags,
                               bool *writethrough, GError **err);

/*
 * The length that image tools see: whole sectors of 512 bytes.  What is behind
 * the end of the last one reads as zeroes.
 */
int64_t tool_length(const struct node *node);

/* The image itself, below filters. */
struct node *tool_format_node(struct node *node);

/* Reads within tool_length().  0 or a negative errno. */
nodiscard int co_fn tool_co_read(struct node *node, int64_t offset, void *buf,
                                 int64_t bytes);

/*
 * How a caller follows, and ends, what takes long.  @progress is called by one
 * at a time, on the caller's thread unless an operation says otherwise; NULL:
 * nobody wants to know.
 */
struct tool_watch {
    void (*progress)(void *opaque, int64_t done, int64_t total);
    void *opaque;
    /* Is it to be given up?  Any thread.  NULL: never. */
    bool (*stop)(void *opaque);
};

void tool_progress(const struct tool_watch *w, int64_t done, int64_t total);
bool tool_stopped(const struct tool_watch *w);

#endif /* TOOL_OPEN_H */
