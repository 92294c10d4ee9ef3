/* SPDX-License-Identifier: MIT */
/*
 * holders: who keeps a mount busy, as far as /proc and /sys tell this user.
 */
#ifndef CMD_HOLDERS_H
#define CMD_HOLDERS_H

/*
 * Lists processes that have a file or their working directory at or below
 * @mountpoint (canonical), and loop devices that are backed by one:
 * "vim (pid 12), /dev/loop0".  At most four, then "…".  NULL when none is to
 * be seen.  Does not touch the mount.  g_free() it.
 */
char *holders_list(const char *mountpoint);

#endif /* CMD_HOLDERS_H */
