/* SPDX-License-Identifier: MIT */
/*
 * coblk umount: asks the daemon to put everything on disk and to go, and
 * waits until it has.
 */
#include <errno.h>
#include <stdbool.h>
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

/* Is @m mounted, still? */
static bool umount_is_there(const struct mount_entry *m)
{
    g_auto(mount_entry) now = {0};

    return mountinfo_find(m->mountpoint, &now) == 0 &&
           mount_entry_same(&now, m) && mount_entry_is_coblk(&now);
}

/* The daemon died while we waited for it. */
static int umount_died(const struct mount_entry *m, struct control_peer *peer)
{
    control_wait_gone(peer);
    if (umount_is_there(m) && mountpoint_is_dead(m->mountpoint)) {
        (void)mountpoint_unmount(m->mountpoint, true, NULL);
    }
    return cmd_fail("%s: unmounted, but its daemon died before everything was "
                    "on disk; check the image",
                    m->mountpoint);
}

/* The daemon says that all is well.  It may be anybody's program: what it says
 * of itself is not all that we go by. */
static int umount_done(const struct mount_entry *m, struct control_peer *peer)
{
    control_wait_gone(peer);
    if (umount_is_there(m)) {
        return cmd_fail("%s: still mounted, although its daemon says that it "
                        "is not; use umount -l",
                        m->mountpoint);
    }
    return CMD_OK;
}

/* The daemon has not answered yet.  Where the mount has gone from here, it may
 * have been copied with another mount name space, as containers and services
 * have them: then the daemon serves that one until it is gone as well. */
static void umount_late(void *opaque)
{
    const struct mount_entry *m = opaque;
    g_autofree char *holders = NULL;

    if (umount_is_there(m)) {
        return;
    }
    holders = holders_elsewhere(m->major, m->minor);
    if (holders) {
        (void)cmd_fail("%s: unmounted here, but not in the mount name space of "
                       "%s; waiting until it has gone from there",
                       m->mountpoint, holders);
    }
}

static int umount_with_daemon(const struct mount_entry *m,
                              struct control_peer *peer)
{
    const char *mountpoint = m->mountpoint;
    g_autofree char *text = NULL;
    int rc = control_ask(peer, "umount", umount_late, (void *)m, &text);

    switch (rc) {
    case CONTROL_OK:
        return umount_done(m, peer);
    case CONTROL_BUSY:
        return umount_busy(mountpoint, text);
    case CONTROL_ERROR:
        return cmd_fail("%s: %s", mountpoint, text);
    default:
        return umount_died(m, peer);
    }
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
    int status = cmd_find_mount(path, &m);
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
    status = umount_with_daemon(&m, &peer);
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
    if (g_strv_length(args) != 1 || !*args[0]) {
        return cmd_usage("one MOUNTPOINT is needed");
    }
    return umount_path(args[0]);
}
