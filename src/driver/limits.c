/* SPDX-License-Identifier: MIT */
/*
 * limits: how direct I/O on a file or device must be aligned, and what a
 * device prefers.
 *
 * The alignment is what statx() says; else, for a device, its logical block;
 * else what a read gets away with.  The number and size of segments that a
 * device takes are no limits of ours: the kernel splits requests by itself.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/align.h"
#include "driver/file_priv.h"

/* Enough for any file system of today. */
#define SAFE_ALIGN INT64_C(4096)

/* File systems that take O_DIRECT and go through memory all the same.  (The
 * one that device nodes lie on is none of the matter.) */
static bool limits_fs_has_no_alignment(const struct file *f)
{
    struct statfs fs;

    if (!file_is_regular(f) || fstatfs(f->fd, &fs) < 0) {
        return false;
    }
    return fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC ||
           fs.f_type == NFS_SUPER_MAGIC;
}

/* On FUSE, Linux flushes after a synchronous write only, and leaves the rest
 * to the file system's daemon, of which few heed the flag. */
bool file_loses_dsync(const struct file *f)
{
    struct statfs fs;

    return f->direct && file_is_regular(f) &&
           (fstatfs(f->fd, &fs) < 0 || fs.f_type == FUSE_SUPER_MAGIC);
}

/* Those that are known to have what it tells in memory. */
bool file_stat_may_wait(const struct file *f)
{
    struct statfs fs;

    if (!file_is_regular(f) || fstatfs(f->fd, &fs) < 0) {
        return false;
    }
    return fs.f_type != EXT4_SUPER_MAGIC && fs.f_type != XFS_SUPER_MAGIC &&
           fs.f_type != BTRFS_SUPER_MAGIC && fs.f_type != F2FS_SUPER_MAGIC &&
           fs.f_type != TMPFS_MAGIC;
}

static bool limits_from_statx(struct file *f)
{
#ifdef STATX_DIOALIGN
    struct statx stx;

    if (statx(f->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) < 0 ||
        !(stx.stx_mask & STATX_DIOALIGN) || stx.stx_dio_offset_align == 0 ||
        stx.stx_dio_mem_align == 0) {
        return false;
    }
    f->offset_align = stx.stx_dio_offset_align;
    f->mem_align = stx.stx_dio_mem_align;
    return is_power_of_2(f->offset_align) && is_power_of_2(f->mem_align) &&
           f->offset_align <= BLOCK_MAX_ALIGNMENT;
#else
    return false;
#endif
}

static bool limits_from_ioctl(struct file *f)
{
    int bytes = 0;

    if (ioctl(f->fd, BLKSSZGET, &bytes) < 0 || !is_power_of_2(bytes)) {
        return false;
    }
    f->offset_align = f->mem_align = bytes;
    return true;
}

/* Would the kernel refuse a direct read like this as badly aligned? */
static bool limits_read_works(int fd, void *buf, int64_t bytes)
{
    return pread(fd, buf, (size_t)bytes, 0) >= 0 || errno != EINVAL;
}

/*
 * The smallest alignment that works.  When even 1 seems to work the read was
 * not looked at (an empty file, a hole, a remote file system), and the guess
 * must be a safe one.
 */
static int64_t limits_probe(int fd, char *buf, bool memory)
{
    static const int64_t candidates[] = {1, 512, 1024, 2048, 4096};

    for (size_t i = 0; i < G_N_ELEMENTS(candidates); i++) {
        int64_t n = candidates[i];
        bool works = memory ? limits_read_works(fd, buf + n, SAFE_ALIGN)
                            : limits_read_works(fd, buf, n);

        if (works) {
            return n == 1 ? SAFE_ALIGN : n;
        }
    }
    return SAFE_ALIGN;
}

int file_probe_alignment(struct file *f)
{
    void *buf;

    f->offset_align = f->mem_align = 1;
    if (!f->direct || limits_fs_has_no_alignment(f) || limits_from_statx(f) ||
        limits_from_ioctl(f)) {
        return 0;
    }
    if (posix_memalign(&buf, SAFE_ALIGN, 2 * SAFE_ALIGN)) {
        return -ENOMEM;
    }
    f->offset_align = limits_probe(f->fd, buf, false);
    f->mem_align = limits_probe(f->fd, buf, true);
    free(buf);
    return 0;
}

/* A number from the queue's folder in sysfs, of the disk when @dev is a
 * partition; 0 when there is none. */
static int64_t limits_queue_attribute(dev_t dev, const char *name)
{
    static const char *const folders[] = {"queue", "../queue"};
    int64_t value = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(folders) && value == 0; i++) {
        g_autofree char *path =
            g_strdup_printf("/sys/dev/block/%u:%u/%s/%s", major(dev),
                            minor(dev), folders[i], name);
        g_autofree char *text = NULL;

        if (g_file_get_contents(path, &text, NULL, NULL)) {
            value = g_ascii_strtoll(text, NULL, 10);
        }
    }
    return value;
}

static void limits_of_device(const struct file *f, struct node_limits *limits)
{
    int64_t block = limits_queue_attribute(f->rdev, "logical_block_size");
    int64_t granularity =
        limits_queue_attribute(f->rdev, "discard_granularity");
    int64_t optimal = limits_queue_attribute(f->rdev, "optimal_io_size");

    if (is_power_of_2(block)) {
        limits->zeroes_align = max_i64(block, limits->request_align);
        limits->discard_align = limits->zeroes_align;
    }
    if (is_power_of_2(granularity)) {
        limits->discard_align = max_i64(granularity, limits->discard_align);
    }
    if (is_power_of_2(optimal)) {
        limits->opt_transfer = optimal;
    }
}

void file_limits(struct node *node, struct node_limits *limits)
{
    const struct file *f = node_state(node);

    limits->request_align = max_i64(f->offset_align, limits->request_align);
    limits->mem_align = max_i64(f->mem_align, limits->mem_align);
    limits->opt_mem_align = max_i64(SAFE_ALIGN, limits->mem_align);
    limits->max_iov = IOV_MAX;
    if (!file_is_regular(f)) {
        limits_of_device(f, limits);
    }
}
