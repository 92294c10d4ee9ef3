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

/*
 * Lists a process of each other mount name space that has the mount of the
 * device @major:@minor, in the same form.  NULL when none is to be seen.
 * g_free() it.
 */
char *holders_elsewhere(unsigned major, unsigned minor);

#endif /* CMD_HOLDERS_H */
