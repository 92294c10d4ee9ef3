/* SPDX-License-Identifier: MIT */

#include "front/mountpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "front/mountinfo.h"

#define BUSY_TRIES       25
#define BUSY_INTERVAL_US 20000

/* Runs fusermount3; returns 0, or -EBUSY / -EPERM with what it said. */
static int fusermount_unmount(const char *mountpoint, bool lazy, GError **err)
{
    const char *argv[] = {"fusermount3",
                          "-u",
                          lazy ? "-z" : "--",
                          lazy ? "--" : mountpoint,
                          lazy ? mountpoint : NULL,
                          NULL};
    g_autofree char *said = NULL;
    g_autoptr(GError) spawn = NULL;
    int status = 0;

    if (!g_spawn_sync(NULL, (char **)argv, NULL,
                      G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL, NULL,
                      NULL, NULL, &said, &status, &spawn)) {
        return error_set(err, -ENOENT,
                         "%s: cannot run fusermount3 (%s); install the "
                         "package fuse3",
                         mountpoint, spawn->message);
    }
    if (status != 0) {
        return error_set(err, strstr(said, "busy") ? -EBUSY : -EPERM, "%s: %s",
                         mountpoint, g_strstrip(said));
    }
    return 0;
}

static int mountpoint_try_unmount(const char *mountpoint, bool lazy,
                                  GError **err)
{
    int flags = UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0);

    if (umount2(mountpoint, flags) == 0) {
        return 0;
    }
    if (errno == EPERM) {
        return fusermount_unmount(mountpoint, lazy, err);
    }
    return error_set_errno(err, -errno, "%s: cannot unmount", mountpoint);
}

int mountpoint_unmount(const char *mountpoint, bool lazy, GError **err)
{
    g_autoptr(GError) error = NULL;
    int rc = mountpoint_try_unmount(mountpoint, lazy, &error);

    for (int i = 0; i < BUSY_TRIES && rc == -EBUSY; i++) {
        g_clear_error(&error);
        g_usleep(BUSY_INTERVAL_US);
        rc = mountpoint_try_unmount(mountpoint, lazy, &error);
    }
    if (error) {
        g_propagate_error(err, g_steal_pointer(&error));
    }
    return rc;
}

int mountpoint_find_own(const struct mount_entry *own, char **ret)
{
    g_auto(mount_entry) somewhere = {0};
    g_auto(mount_entry) top = {0};
    int rc;

    rc = mountinfo_find(own->mountpoint, &top);
    if (rc < 0 && rc != -ENOENT) { /* no /proc, and no way to tell */
        *ret = g_strdup(own->mountpoint);
        return 0;
    }
    if (rc == -ENOENT || !mount_entry_same(&top, own)) {
        if (mountinfo_find_device(own->major, own->minor, &somewhere) < 0) {
            return -EINVAL;
        }
        mount_entry_clear(&top);
        if (mountinfo_find(somewhere.mountpoint, &top) < 0 ||
            !mount_entry_same(&top, own)) {
            return -EBUSY;
        }
    }
    *ret = g_steal_pointer(&top.mountpoint);
    return 0;
}

bool mountpoint_is_dead(const char *mountpoint)
{
    struct statfs st;

    /* Not stat(2): the kernel may remember what that would say. */
    return statfs(mountpoint, &st) < 0 &&
           (errno == ENOTCONN || errno == ECONNABORTED);
}

static int mountpoint_clear_dead(const char *mountpoint, GError **err)
{
    /* umount2() is told to follow no link. */
    g_autofree char *path = mountinfo_canonical(mountpoint);

    if (!path || !mountpoint_is_dead(path)) {
        return 0;
    }
    return mountpoint_unmount(path, true, err);
}

/* A mount there would be out of sight, and to unmount "/" means to make the
 * root file system read-only. */
static bool mountpoint_is_root(const char *mountpoint)
{
    char *real = realpath(mountpoint, NULL);
    bool is_root = real && strcmp(real, "/") == 0;

    free(real);
    return is_root;
}

static int mountpoint_check_access(const char *mountpoint,
                                   const struct stat *st, GError **err)
{
    if (mountpoint_is_root(mountpoint)) {
        return error_set(err, -EINVAL,
                         "%s: is the root directory; choose another one",
                         mountpoint);
    }
    if (geteuid() != 0 && access(mountpoint, W_OK) < 0) {
        return error_set(err, -EACCES,
                         "%s: you may not write here, so you may not mount "
                         "here; choose a directory of your own",
                         mountpoint);
    }
    if (!S_ISDIR(st->st_mode) && !S_ISREG(st->st_mode)) {
        return error_set(err, -ENOTDIR,
                         "%s: neither a directory nor a regular file; mount "
                         "on one of these",
                         mountpoint);
    }
    return 0;
}

static int mountpoint_check_system(GError **err)
{
    auto_close int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    g_autofree char *helper = NULL;

    if (fd < 0 && (errno == EACCES || errno == EPERM)) {
        return error_set(err, -errno,
                         "/dev/fuse: no permission to open it; as root, "
                         "'chmod 666 /dev/fuse'");
    }
    if (fd < 0) {
        return error_set_errno(err, -errno,
                               "/dev/fuse cannot be opened; load the module "
                               "with 'modprobe fuse', or give the container "
                               "--device /dev/fuse");
    }
    if (geteuid() == 0) {
        return 0;
    }
    helper = g_find_program_in_path("fusermount3");
    if (!helper) {
        return error_set(err, -ENOENT,
                         "fusermount3 is not installed, and without it only "
                         "root can mount; install the package fuse3");
    }
    return 0;
}

int mountpoint_prepare(const char *mountpoint, GError **err)
{
    struct stat st;
    int rc;

    rc = mountpoint_check_system(err);
    if (rc == 0) {
        rc = mountpoint_clear_dead(mountpoint, err);
    }
    if (rc < 0) {
        return rc;
    }
    if (stat(mountpoint, &st) < 0) {
        rc = -errno;
        if (rc == -ENOENT) {
            return error_set(err, rc,
                             "%s: no such directory; create it with "
                             "'mkdir %s'",
                             mountpoint, mountpoint);
        }
        return error_set_errno(err, rc, "%s", mountpoint);
    }
    return mountpoint_check_access(mountpoint, &st, err);
}
