/* SPDX-License-Identifier: MIT */
/*
 * mount: a session of libfuse and its mount, from the mountpoint until nothing
 * is left of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "front/front_priv.h"
#include "front/mountinfo.h"
#include "front/mountpoint.h"

#define DEFAULT_MAX_BACKGROUND 256

/* -- Mounting ------------------------------------------------------------- */

static void add_arg(struct fuse_args *args, const char *arg)
{
    (void)fuse_opt_add_arg(args, "-o");
    (void)fuse_opt_add_arg(args, arg);
}

/* A comma or a backslash in a value must be escaped for libfuse. */
static char *fsname_option(const char *fsname)
{
    GString *s = g_string_new("fsname=");

    for (; *fsname; fsname++) {
        if (*fsname == ',' || *fsname == '\\') {
            g_string_append_c(s, '\\');
        }
        g_string_append_c(s, *fsname);
    }
    return g_string_free(s, FALSE);
}

static void front_make_args(struct front *f, const struct front_opts *opts)
{
    g_autofree char *fsname = fsname_option(opts->fsname);

    (void)fuse_opt_add_arg(&f->args, "coblk");
    add_arg(&f->args, fsname);
    add_arg(&f->args, "subtype=coblk");
    add_arg(&f->args, "default_permissions");
    if (opts->rdonly) {
        add_arg(&f->args, "ro");
    }
    if (opts->allow_other) {
        add_arg(&f->args, "allow_other");
    }
    if (opts->fuse_options && *opts->fuse_options) {
        add_arg(&f->args, opts->fuse_options);
    }
    if (opts->debug) {
        (void)fuse_opt_add_arg(&f->args, "-d");
    }
}

/*
 * libfuse and fusermount3 say on standard error why a mount failed, and return
 * only that it did.  Catches what they say, so that the caller can report it
 * once.  No other thread may write to standard error meanwhile.
 */
static int mount_quietly(struct front *f, char **ret_said)
{
    auto_close int said = memfd_create("said", MFD_CLOEXEC);
    auto_close int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    char buf[512];
    ssize_t n;
    int rc;

    if (said < 0 || saved < 0 || dup2(said, STDERR_FILENO) < 0) {
        return fuse_session_mount(f->session, f->mountpoint);
    }
    rc = fuse_session_mount(f->session, f->mountpoint);
    (void)dup2(saved, STDERR_FILENO);
    n = pread(said, buf, sizeof(buf) - 1, 0);
    buf[n > 0 ? n : 0] = '\0';
    buf[strcspn(buf, "\n")] = '\0';
    *ret_said = g_strdup(buf);
    return rc;
}

static int front_mount_session(struct front *f, GError **err)
{
    g_autofree char *said = NULL;
    const char *why;

    if (mount_quietly(f, &said) == 0) {
        return 0;
    }
    why = said && *said ? said : g_strerror(errno);
    if (strstr(why, "user_allow_other")) {
        return error_set(err, -EPERM,
                         "%s: allow_other is for root, or for everybody when "
                         "/etc/fuse.conf says user_allow_other",
                         f->mountpoint);
    }
    return error_set(err, -EIO, "%s: cannot mount: %s", f->mountpoint, why);
}

/* Right after the mount, so that what lies on top is ours. */
static void front_find_entry(struct front *f)
{
    if (mountinfo_find(f->mountpoint, &f->own) < 0) {
        f->own.mountpoint = g_strdup(f->mountpoint);
    }
}

/* Makes the session and mounts it at f->mountpoint. */
static int front_make_session(struct front *f, const struct front_opts *opts,
                              GError **err)
{
    int rc;

    front_make_args(f, opts);
    f->session = fuse_session_new(&f->args, &front_ops, sizeof(front_ops), f);
    if (!f->session) {
        return error_set(err, -EINVAL,
                         "%s: FUSE does not know an option of '%s'",
                         f->mountpoint, opts->fuse_options);
    }
    rc = front_mount_session(f, err);
    if (rc < 0) {
        return rc;
    }
    front_find_entry(f);
    f->devfd = fuse_session_fd(f->session);
    rc = fuse_session_custom_io(f->session, &front_io, f->devfd);
    return rc < 0 ? error_set_errno(err, rc, "%s: cannot take over /dev/fuse",
                                    f->mountpoint)
                  : 0;
}

int front_mount(const char *mountpoint, const struct front_opts *opts,
                struct front **ret, GError **err)
{
    struct front *f;
    int rc = mountpoint_prepare(mountpoint, err);

    if (rc < 0) {
        return rc;
    }
    f = g_new0(struct front, 1);
    f->devfd = -1;
    f->transport = &transport_dev;
    f->opts = *opts;
    if (f->opts.max_background == 0) {
        f->opts.max_background = DEFAULT_MAX_BACKGROUND;
    }
    f->mountpoint = realpath(mountpoint, NULL);
    rc = f->mountpoint ? front_make_session(f, opts, err)
                       : error_set_errno(err, -errno, "%s", mountpoint);
    if (rc < 0) {
        front_free(f);
        return rc;
    }
    *ret = f;
    return 0;
}

/* -- Unmounting ----------------------------------------------------------- */

/* Has the kernel send what was changed through mappings, in large requests;
 * front_stop() gets the rest page by page. */
static void front_write_back(const char *mountpoint)
{
    auto_close int fd = open(mountpoint, O_RDONLY | O_CLOEXEC);

    /* An error is remembered where it happens, with all write errors. */
    (void)!(fd >= 0 && syncfs(fd) < 0);
}

int front_unmount(struct front *f, bool lazy)
{
    g_autofree char *where = NULL;
    int rc = mountpoint_find_own(&f->own, &where);

    if (rc < 0) {
        return rc;
    }
    if (lazy) {
        front_write_back(where);
    }
    return mountpoint_unmount(where, lazy, NULL);
}

/* What is left of the mount: all of it when nobody has unmounted it, and a dead
 * one when the kernel was told to abort the connection. */
static void front_clear_mount(struct front *f)
{
    g_autofree char *where = NULL;

    if (!f->own.mountpoint || mountpoint_find_own(&f->own, &where) < 0) {
        return;
    }
    /* A mount that is new may have the number of one that has ended. */
    if (!atomic_load(&f->has_ended) || mountpoint_is_dead(where)) {
        (void)mountpoint_unmount(where, true, NULL);
    }
}

void front_free(struct front *f)
{
    if (!f) {
        return;
    }
    front_clear_mount(f);
    if (f->session) {
        if (atomic_load(&f->has_ended)) {
            fuse_session_unmount(f->session); /* finds it gone; frees a name */
        }
        fuse_session_destroy(f->session); /* closes devfd */
    }
    fuse_opt_free_args(&f->args);
    g_free(f->workers);
    mount_entry_clear(&f->own);
    free(f->mountpoint);
    g_free(f);
}

/* -- What it is ----------------------------------------------------------- */

const char *front_mountpoint(const struct front *f)
{
    return f->mountpoint;
}

int front_device(const struct front *f, unsigned *major, unsigned *minor)
{
    *major = f->own.major;
    *minor = f->own.minor;
    return *major || *minor ? 0 : -ENOENT;
}
