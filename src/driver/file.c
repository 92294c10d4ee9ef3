/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "driver/driver_list.h"
#include "driver/file_priv.h"
#include "engine/engine.h"
#include "loop/loop.h"

bool file_rc_is_unsupported(int rc)
{
    return rc == -EOPNOTSUPP || rc == -ENOSYS || rc == -ENODEV || rc == -ENOTTY;
}

int co_fn file_co_engine(struct file *f, struct engine **ret)
{
    int rc;

    if (file_can(f, FILE_NO_AIO)) {
        rc = f->aio->get(loop_co_home(), ret);
        if (rc == 0 || f->aio == &engine_threads) {
            return rc;
        }
        atomic_store(&f->aio_error, rc);
        file_set_cannot(f, FILE_NO_AIO);
    }
    return engine_threads.get(loop_co_home(), ret);
}

int co_fn file_co_call_engine(struct file *f, struct engine **ret)
{
    if (f->aio == &engine_libaio) {
        return engine_threads.get(loop_co_home(), ret);
    }
    return file_co_engine(f, ret);
}

int64_t co_fn file_co_call(struct file *f, int64_t (*call)(void *job),
                           void *job)
{
    struct engine *e;
    int rc = file_co_call_engine(f, &e);

    return rc < 0 ? rc : engine_co_call(e, call, job);
}

static void co_fn file_co_close(struct node *node)
{
    struct file *f = node_state(node);

    /* Releases the locks as well. */
    if (f->buffered_fd != f->fd) {
        (void)close(f->buffered_fd);
    }
    (void)close(f->fd);
}

struct stat_job {
    int fd;
    struct stat st;
};

static int64_t file_stat(void *opaque)
{
    struct stat_job *job = opaque;

    return fstat(job->fd, &job->st) < 0 ? -errno : 0;
}

static int co_fn file_co_stat(struct node *node, struct node_stat *ret)
{
    struct file *f = node_state(node);
    struct stat_job job = {.fd = f->fd};
    const struct stat *st = &job.st;
    /* No thread where it takes less than waking one. */
    int rc = (int)(f->stat_waits ? file_co_call(f, file_stat, &job)
                                 : file_stat(&job));

    if (rc < 0) {
        return rc;
    }
    *ret = (struct node_stat){
        .allocated = file_is_regular(f) ? (int64_t)st->st_blocks * 512 : -1,
        .atime = {st->st_atim.tv_sec, st->st_atim.tv_nsec},
        .mtime = {st->st_mtim.tv_sec, st->st_mtim.tv_nsec},
        .ctime = {st->st_ctim.tv_sec, st->st_ctim.tv_nsec},
        .blksize = st->st_blksize,
    };
    return 0;
}

static int64_t file_drop_cache(void *job)
{
    struct file *f = job;

    if (fdatasync(f->fd) < 0) {
        return -errno;
    }
    return -posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static int co_fn file_co_invalidate(struct node *node)
{
    struct file *f = node_state(node);

    return (int)file_co_call(f, file_drop_cache, f);
}

static void file_describe(struct node *node,
                          void (*add)(void *opaque, const char *key,
                                      const char *value),
                          void *opaque)
{
    struct file *f = node_state(node);
    bool native = f->aio != &engine_threads && file_can(f, FILE_NO_AIO);

    add(opaque, "aio", native ? f->aio->name : "threads");
    add(opaque, "direct", f->direct ? "on" : "off");
    add(opaque, "locking", f->locked ? "on" : "off");
    if (!file_can(f, FILE_NO_AIO)) {
        int rc = atomic_load(&f->aio_error);
        g_autofree char *text = g_strdup_printf(
            "%s: Linux AIO is not available (%s), using threads%s",
            node_filename(node), g_strerror(-rc),
            rc == -EAGAIN ? "; raise the sysctl fs.aio-max-nr" : "");

        add(opaque, "warning", text);
    }
}

const struct driver driver_file = {
    .name = "file",
    .image = &file_image_ops,
    .state_size = sizeof(struct file),
    .traits = DRIVER_LEAF | DRIVER_HOST | DRIVER_GROWS,
    .write_flags = REQ_FUA,
    .zeroes_flags = REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .co_open = file_co_open,
    .co_close = file_co_close,
    .limits = file_limits,
    .co_preadv = file_co_preadv,
    .co_pwritev = file_co_pwritev,
    .co_pwrite_zeroes = file_co_pwrite_zeroes,
    .co_pdiscard = file_co_pdiscard,
    .co_allocate = file_co_allocate,
    .co_flush_to_disk = file_co_flush_to_disk,
    .co_block_status = file_co_block_status,
    .co_truncate = file_co_truncate,
    .co_length = file_co_length,
    .co_stat = file_co_stat,
    .co_copy_range = file_co_copy_range,
    .co_invalidate = file_co_invalidate,
    .describe = file_describe,
};

/* QEMU has another name for those that hold compact discs. */
#define HOST_DEVICE(NAME)                                             \
    {                                                                 \
        .name = NAME, .image = &host_device_image_ops,                \
        .state_size = sizeof(struct file),                            \
        .traits = DRIVER_LEAF | DRIVER_HOST, .write_flags = REQ_FUA,  \
        .zeroes_flags = REQ_MAY_UNMAP | REQ_NO_FALLBACK,              \
        .co_open = host_device_co_open, .co_close = file_co_close,    \
        .limits = file_limits, .co_preadv = file_co_preadv,           \
        .co_pwritev = file_co_pwritev,                                \
        .co_pwrite_zeroes = file_co_pwrite_zeroes,                    \
        .co_pdiscard = file_co_pdiscard,                              \
        .co_flush_to_disk = file_co_flush_to_disk,                    \
        .co_block_status = file_co_block_status,                      \
        .co_truncate = file_co_truncate, .co_length = file_co_length, \
        .co_stat = file_co_stat, .co_invalidate = file_co_invalidate, \
        .describe = file_describe,                                    \
    }

const struct driver driver_host_device = HOST_DEVICE("host_device");
const struct driver driver_host_cdrom = HOST_DEVICE("host_cdrom");
