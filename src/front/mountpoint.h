/* SPDX-License-Identifier: MIT */
/*
 * mountpoint: what must be right before a mount, and how it is taken away.
 *
 * Errors:    GError, one line with the remedy; the negative errno is returned.
 * Threading: the controlling thread.  Blocks.
 */
#ifndef FRONT_MOUNTPOINT_H
#define FRONT_MOUNTPOINT_H

#include <glib.h>
#include <stdbool.h>

#include "base/compiler.h"

struct mount_entry;

/*
 * Checks that @mountpoint can be mounted on; a dead mount that is in the way
 * is taken away first.  Returns 0, or
 *   -EINVAL   the root directory
 *   -ENOENT   not there, or no fusermount3, or no /dev/fuse
 *   -ENOTDIR  neither a directory nor a regular file
 *   -EACCES   an ordinary user who may not write there
 */
nodiscard int mountpoint_prepare(const char *mountpoint, GError **err);

/*
 * The place where the mount @own is, for mountpoint_unmount(): @own->mountpoint
 * unless somebody has moved it.  Returns 0, -EINVAL when it has been unmounted
 * or detached, -EBUSY when another mount covers it.  Whatever else is mounted
 * at a path must not be taken for it.
 */
nodiscard int mountpoint_find_own(const struct mount_entry *own, char **ret);

/* Does what is mounted at @mountpoint have no daemon any more? */
bool mountpoint_is_dead(const char *mountpoint);

/*
 * Unmounts, with the help of fusermount3 for an ordinary user; @lazy detaches
 * at once and lets open files go on.  A program that looks at all mounts, as df
 * and desktops do, keeps each busy for a moment, so busy is what stays so for
 * half a second.  Returns 0, -EBUSY, -EPERM, -EINVAL (not a mount) or -ENOENT
 * (no fusermount3).
 */
int mountpoint_unmount(const char *mountpoint, bool lazy, GError **err);

#endif /* FRONT_MOUNTPOINT_H */
