/* SPDX-License-Identifier: MIT */
/*
 * lock: image locks, as QEMU takes them, so that either program respects the
 * other's.
 *
 * An image has permissions that a user of it may hold and may refuse to share.
 * Holding permission i is a shared OFD lock on byte 100 + i of the file, not
 * sharing it one on byte 200 + i; an OFD lock is released when the last copy
 * of the descriptor is closed.
 *
 * Threading: any thread.  Functions may read much of /proc to explain a
 * conflict.
 */
#ifndef DRIVER_LOCK_H
#define DRIVER_LOCK_H

#include <glib.h>

#include "base/compiler.h"

/* The numbers are QEMU's. */
enum image_perm {
    IMAGE_CONSISTENT_READ = 1 << 0,
    IMAGE_WRITE = 1 << 1,
    IMAGE_WRITE_UNCHANGED = 1 << 2,
    IMAGE_RESIZE = 1 << 3,
};

/*
 * Takes the locks for holding @perms and not sharing @unshared (both are sets
 * of enum image_perm) on @fd.  Returns 0, or with no lock held
 *   -EBUSY       another open file has what we need alone; the message names
 *                @filename and, where it can be found, the process
 *   -EOPNOTSUPP  there are no such locks on this file
 */
nodiscard int image_lock(int fd, unsigned perms, unsigned unshared,
                         const char *filename, GError **err);

#endif /* DRIVER_LOCK_H */
