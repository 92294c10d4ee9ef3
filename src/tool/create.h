/* SPDX-License-Identifier: MIT */
/*
 * create: makes new images.
 *
 * A plan says all of what is to be made, so that a caller can show it before
 * anything happens.
 *
 * Errors:    GError, one line that names the image and the remedy.
 * Threading: coroutines.
 */
#ifndef TOOL_CREATE_H
#define TOOL_CREATE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "co/co.h"

struct driver;
struct image_option;
struct node;
struct options;

/* What the caller asks for; nothing is owned. */
struct create_request {
    const char *filename;
    const char *format;
    const char *options;        /* KEY=VALUE,…; NULL: none */
    const char *backing;        /* NULL: none, or in @options */
    const char *backing_format; /* NULL: none, or in @options */
    int64_t bytes;              /* -1: in @options, or as large as @backing */
    bool backing_unchecked;     /* do not look at the backing file */
};

struct create_plan {
    const struct driver *drv;
    char *filename;       /* owned */
    struct options *opts; /* owned; all options, also size and backing */
    int64_t bytes;
};

/* Finds out what @rq means.  Returns 0 or a negative errno; on success @ret is
 * to be freed with create_plan_fini(). */
nodiscard int co_fn create_co_plan(const struct create_request *rq,
                                   struct create_plan *ret, GError **err);
void create_plan_fini(struct create_plan *plan);

/* "fmt=raw size=1048576": the format, and each option that is set or has a
 * default.  g_free() it. */
char *create_plan_text(const struct create_plan *plan);

/* Makes the image. */
nodiscard int co_fn create_co_run(const struct create_plan *plan, GError **err);

/* The driver of @format if it can make images, else NULL and *@err. */
const struct driver *create_driver(const char *format, GError **err);

/* Can @o be given to a new image or, with @amend, to one that exists? */
bool create_option_is_for(const struct image_option *o, bool amend);

/* Checks that @drv knows all of @opts for a new image.  0 or -EINVAL. */
nodiscard int create_check_options(const struct driver *drv,
                                   const struct options *opts, GError **err);

/* The same for an image that exists, and that they may be changed there. */
nodiscard int create_check_amend(const struct driver *drv,
                                 const struct options *opts, GError **err);

/* @name as a file of the directory of @image means it: paths are relative to
 * that directory.  g_free() it. */
char *create_resolve(const char *image, const char *name);

#endif /* TOOL_CREATE_H */
