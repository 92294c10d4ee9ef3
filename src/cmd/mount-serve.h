/* SPDX-License-Identifier: MIT */
/*
 * mount-serve: what the controlling thread does while a mount is served:
 * signals, requests of `coblk umount` and `coblk stat`, the end.
 *
 *   SIGTERM, SIGINT  flush and unmount; while it is in use, try again until it
 *                    is not.  A second one does not wait: detach, end.
 *   SIGHUP           as SIGTERM in the foreground, else ignored
 *
 * Threading: the controlling thread, which runs none of the loops.
 */
#ifndef CMD_MOUNT_SERVE_H
#define CMD_MOUNT_SERVE_H

#include <glib.h>
#include <stdbool.h>

#include "base/compiler.h"

struct front;
struct loop;
struct mount_image;
struct serve;
struct view;

/* What a mount is made of.  Nothing is owned. */
struct serve_mount {
    struct front *front;
    struct view *view;
    struct mount_image *image;
    struct loop *const *loops;
    bool foreground;
};

/* Blocks the signals above in this thread and all that it starts.  Before the
 * first thread is made. */
void serve_block_signals(void);

/* Returns 0 or a negative errno.  The mount works already, or soon will. */
nodiscard int serve_new(const struct serve_mount *mount, struct serve **ret,
                        GError **err);

/* The ended() of front_start(); @opaque is the struct serve.  Any thread. */
void serve_ended(void *opaque);

/* Begins to listen to the control socket; logs a warning when it cannot: the
 * mount works without. */
void serve_listen(struct serve *s);

/* Serves until the mount has ended, or must. */
void serve_run(struct serve *s);

/* Tells those who asked for the end how it went: @lost is 0, or the negative
 * errno of the first write that was lost.  After everything is closed. */
void serve_report(struct serve *s, int lost);

/* The first error of a flush that serve_run() made, or 0. */
int serve_flush_error(const struct serve *s);

void serve_free(struct serve *s); /* NULL is fine */

#endif /* CMD_MOUNT_SERVE_H */
