/* SPDX-License-Identifier: MIT */
/*
 * coblk umount: asks the daemon to put everything on disk and to go, and
 * waits until it has.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/control.h"
#include "cmd/holders.h"
#include "front/mountinfo.h"
#include "front/mountpoint.h"

/* Busy: says by whom, and what to do. */
static int umount_busy(const char *mountpoint, const char *holders)
{
    if (holders && *holders) {
        return cmd_fail("%s: busy, held by %s; close it and try again",
                        mountpoint, holders);
    }
    return cmd_fail("%s: busy; files in it are open, or it is somebody's "
                    "working directory (try: fuser -vm %s)",
                    mountpoint, mountpoint);
}

/* Without the daemon's help. */
static int umount_plain(const char *mountpoint, bool lazy)
{
    g_autofree char *holders = NULL;
    g_autoptr(GError) error = NULL;
    int rc = mountpoint_unmount(mountpoint, lazy, &error);

    if (rc == -EBUSY) {
        holders = holders_list(mountpoint);
        return umount_busy(mountpoint, holders);
    }
    return rc < 0 ? cmd_fail("%s", error->message) : CMD_OK;
}

/* No daemon answered: is it dead, or just out of reach? */
static int umount_without_daemon(const char *mountpoint)
{
    struct statfs st;
    int status;

    /* Not stat(2): the kernel may remember what that would say. */
    if (statfs(mountpoint, &st) < 0 && errno == ENOTCONN) {
        status = umount_plain(mountpoint, true);
        if (status == CMD_OK) {
            (void)cmd_fail("%s: its daemon had died; cleaned up", mountpoint);
        }
        return status;
    }
    status = umount_plain(mountpoint, false);
    if (status == CMD_OK) {
        (void)cmd_fail("%s: unmounted; its daemon, out of reach from here, "
                       "may still be writing",
                       mountpoint);
    }
    return status;
}

/* The daemon died while we waited for it. */
static int umount_died(const char *mountpoint, struct control_peer *peer)
{
    g_auto(mount_entry) m = {0};

    control_wait_gone(peer);
    if (mountinfo_find(mountpoint, &m) == 0) {
        (void)mountpoint_unmount(mountpoint, true, NULL);
    }
    return cmd_fail("%s: unmounted, but its daemon died before everything was "
                    "on disk; check the image",
                    mountpoint);
}

static int umount_with_daemon(const char *mountpoint, struct control_peer *peer)
{
    g_autofree char *text = NULL;
    int rc = control_ask(peer, "umount", &text);

    switch (rc) {
    case CONTROL_OK:
        control_wait_gone(peer);
        return CMD_OK;
    case CONTROL_BUSY:
        return umount_busy(mountpoint, text);
    case CONTROL_ERROR:
        return cmd_fail("%s: %s", mountpoint, text);
    default:
        return umount_died(mountpoint, peer);
    }
}

/* Is there a mount of ours at @path?  Returns 0 or, after the message, the
 * exit status. */
static int umount_find(const char *path, struct mount_entry *ret)
{
    g_autofree char *mountpoint = mountinfo_canonical(path);
    int rc;

    if (!mountpoint) {
        return cmd_fail("%s: %s", path, g_strerror(errno));
    }
    rc = mountinfo_find(mountpoint, ret);
    if (rc == -ENOENT) {
        return cmd_fail("%s: nothing is mounted there", path);
    }
    if (rc < 0) {
        return cmd_fail("%s: cannot read /proc/self/mountinfo", path);
    }
    if (!mount_entry_is_coblk(ret)) {
        return cmd_fail("%s: a mount of type %s, not of coblk; use umount",
                        path, ret->fstype);
    }
    return CMD_OK;
}

/* What this program inherited must not keep the mount busy. */
static void umount_let_go(void)
{
    (void)!chdir("/");
    (void)close_range(3, ~0u, 0);
}

static int umount_path(const char *path)
{
    g_auto(mount_entry) m = {0};
    struct control_peer peer = {-1, -1};
    int status = umount_find(path, &m);
    int rc;

    if (status != CMD_OK) {
        return status;
    }
    umount_let_go();
    rc = control_connect(m.major, m.minor, m.owner, &peer);
    if (rc == -EPERM) {
        return cmd_fail("%s: a stranger answers for its daemon; use umount",
                        path);
    }
    if (rc < 0) {
        return umount_without_daemon(m.mountpoint);
    }
    status = umount_with_daemon(m.mountpoint, &peer);
    control_disconnect(&peer);
    return status;
}

int cmd_umount(int argc, char **argv)
{
    g_auto(GStrv) args = NULL;
    int status = cmd_parse(
        argc, argv, NULL, "MOUNTPOINT",
        "Unmounts, and waits until everything is on disk and the daemon has\n"
        "gone.  Fails when a write was lost, or while the mount is in use.",
        NULL, &args);

    if (status != CMD_OK) {
        return status;
    }
    if (g_strv_length(args) != 1) {
        return cmd_usage("one MOUNTPOINT is needed");
    }
    return umount_path(args[0]);
}
