/* SPDX-License-Identifier: MIT */
/*
 * mount-image: opens the image of a mount as its options say, and finds out
 * what they leave open: whether the image takes direct I/O, and who does it.
 *
 * Threading: the controlling thread; the work is done on the first loop.
 */
#ifndef CMD_MOUNT_IMAGE_H
#define CMD_MOUNT_IMAGE_H

#include <glib.h>
#include <stdbool.h>

#include "base/compiler.h"

struct backend;
struct json;
struct loop;
struct mount_opts;

struct mount_image {
    const struct mount_opts *opts; /* not owned */
    char *filename;                /* absolute */
    struct backend *be;
    bool direct;     /* O_DIRECT */
    bool native;     /* Linux AIO */
    int sector_size; /* of a block device; 0: a file */
};

/*
 * Opens @filename for @opts, to be used by @n running @loops.  What was chosen
 * other than by default is logged as a warning, one line.  Returns 0 or a
 * negative errno.
 */
nodiscard int mount_image_open(struct mount_image *image, const char *filename,
                               const struct mount_opts *opts,
                               struct loop *const *loops, unsigned n,
                               GError **err);

/* All that was written is durable: 0 or the error. */
nodiscard int mount_image_flush(struct mount_image *image,
                                struct loop *const *loops);

/* Flushes and closes; returns the first write error that nobody was told of,
 * or 0.  Nothing to do when it is not open. */
int mount_image_close(struct mount_image *image, struct loop *const *loops);

/* Adds what the image is and how it is used to the object in @out. */
void mount_image_describe(const struct mount_image *image, struct json *out);

#endif /* CMD_MOUNT_IMAGE_H */
