/* SPDX-License-Identifier: MIT */
/*
 * mountinfo: what the kernel says is mounted where, without touching the
 * mount itself: its daemon may be dead, or be this very process.
 */
#ifndef FRONT_MOUNTINFO_H
#define FRONT_MOUNTINFO_H

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/compiler.h"

#define MOUNTINFO_FSTYPE "fuse.coblk"

/* One line of /proc/self/mountinfo. */
struct mount_entry {
    unsigned major, minor; /* st_dev of the files in it */
    char *mountpoint;
    char *fstype;
    char *source;
    uid_t owner; /* fuse: who mounted; else (uid_t)-1 */
};

void mount_entry_clear(struct mount_entry *m);
typedef struct mount_entry mount_entry; /* for g_auto() only */
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(mount_entry, mount_entry_clear)

/* Finds the topmost mount at exactly @mountpoint in @mountinfo, the text of
 * the file in /proc.  Pure. */
bool mountinfo_parse(const char *mountinfo, const char *mountpoint,
                     struct mount_entry *ret);

/* The same for any mount of the device @major:@minor. */
bool mountinfo_parse_device(const char *mountinfo, unsigned major,
                            unsigned minor, struct mount_entry *ret);

/* Finds the topmost mount at exactly @mountpoint now.  Returns 0, -ENOENT, or
 * why /proc cannot be read. */
nodiscard int mountinfo_find(const char *mountpoint, struct mount_entry *ret);
nodiscard int mountinfo_find_device(unsigned major, unsigned minor,
                                    struct mount_entry *ret);

bool mount_entry_is_coblk(const struct mount_entry *m);
/* Are both of one device? */
bool mount_entry_same(const struct mount_entry *a, const struct mount_entry *b);

/* @path as the kernel names it in mountinfo: absolute, without links, and
 * without a look at what @path itself is when it is a mount point.  NULL and
 * errno when a directory on the way is missing.  g_free() it. */
char *mountinfo_canonical(const char *path);

#endif /* FRONT_MOUNTINFO_H */
