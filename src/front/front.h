/* SPDX-License-Identifier: MIT */
/*
 * front: the only user of libfuse.  Serves a view to the kernel.
 *
 * libfuse decodes requests and encodes replies; reading /dev/fuse, the request
 * buffers and one cloned descriptor per loop are ours.  Each loop reads its
 * own descriptor until it is drained, gives reads and writes to its request
 * queue, runs the rest as coroutines, and answers on the descriptor that a
 * request came from.
 *
 * Threading: front_mount(), front_start(), front_stop() and front_free() on
 *            the thread that controls the program, which must not be one of
 *            the loops.
 */
#ifndef FRONT_FRONT_H
#define FRONT_FRONT_H

#include <glib.h>
#include <stdbool.h>

#include "base/compiler.h"

struct backend;
struct front;
struct loop;
struct view;

struct front_opts {
    const char *fsname; /* what mount(8) and df(1) show as the device */
    bool rdonly;
    bool allow_other;
    bool no_merge;
    unsigned max_background;  /* 0: a good default */
    bool debug;               /* libfuse prints each request */
    const char *fuse_options; /* more of fuse's own, comma separated, or NULL */
};

/*
 * Mounts at @mountpoint.  Nothing is served yet, so nobody may look at the
 * mount from this program before front_start().  The error names what to do:
 * mountpoint missing, not empty, busy; /dev/fuse or fusermount3 missing; a
 * dead mount in the way (it is unmounted first).
 */
nodiscard int front_mount(const char *mountpoint, const struct front_opts *opts,
                          struct front **ret, GError **err);

/* What a mount serves, and where. */
struct front_service {
    struct view *view;
    struct backend *backend; /* of the view's data */
    struct loop *const *loops;
    unsigned n_loops;
    /* Called once, on some loop's thread, when the kernel has ended the
     * connection (umount, abort). */
    void (*ended)(void *opaque);
    void *opaque;
};

/* Serves @service on its loops, which are running, until front_stop().  What
 * it points to outlives that; the struct itself is copied. */
nodiscard int front_start(struct front *f, const struct front_service *service,
                          GError **err);

/*
 * Unmounts this very mount.  Returns 0, -EBUSY while files are open or another
 * mount covers it, or -EINVAL when somebody else has unmounted or detached it.
 * With @lazy detaches at once, after what mappings have changed was written
 * back.
 */
nodiscard int front_unmount(struct front *f, bool lazy);

/*
 * Ends the service: has the kernel write what was changed through mappings
 * (unless it has ended the connection), answers what is in flight, closes
 * descriptors, ends the helper thread.  All requests have completed when this
 * returns.
 */
void front_stop(struct front *f);
void front_free(struct front *f); /* NULL is fine */

const char *front_mountpoint(const struct front *f);
/* The device number that the kernel gave to the mount: 0, or -ENOENT when
 * /proc does not tell. */
nodiscard int front_device(const struct front *f, unsigned *major,
                           unsigned *minor);

#endif /* FRONT_FRONT_H */
