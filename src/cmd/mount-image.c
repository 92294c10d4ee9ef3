/* SPDX-License-Identifier: MIT */

#include "cmd/mount-image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "block/driver.h"
#include "block/node.h"
#include "block/secret.h"
#include "cmd/mount-opts.h"
#include "engine/engine.h"
#include "loop/loop.h"

#define BUSY_TRIES       25
#define BUSY_INTERVAL_US 20000

static bool cache_is_writethrough(const struct mount_opts *opts)
{
    return opts->cache == MOUNT_CACHE_WRITETHROUGH ||
           opts->cache == MOUNT_CACHE_DIRECTSYNC;
}

/* -- Linux AIO: is there room for one context per loop? ------------------- */

static void co_probe_native(void *opaque)
{
    int *rc = opaque;
    struct engine *e;

    co_assert_role();
    *rc = engine_libaio.get(loop_co_home(), &e);
}

static int probe_native(struct loop *const *loops, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        int rc = 0;
        int started = loop_co_run_blocking(loops[i], co_probe_native, &rc);

        if (started < 0 || rc < 0) {
            return started < 0 ? started : rc;
        }
    }
    return 0;
}

/* Settles who does the I/O; @image->direct is known. */
static int choose_engine(struct mount_image *image, struct loop *const *loops,
                         unsigned n, GError **err)
{
    const char *remedy;
    int rc;

    image->native = image->direct && image->opts->aio != MOUNT_AIO_THREADS;
    if (!image->native) {
        return 0;
    }
    rc = probe_native(loops, n);
    if (rc == 0) {
        return 0;
    }
    remedy = rc == -EAGAIN
                 ? "no contexts are left; raise the sysctl fs.aio-max-nr"
                 : g_strerror(-rc);
    if (image->opts->aio == MOUNT_AIO_NATIVE) {
        return error_set(err, rc,
                         "%s: aio=native: %s, or mount with aio=threads",
                         image->filename, remedy);
    }
    log_warning("%s: no Linux AIO (%s); using aio=threads", image->filename,
                remedy);
    image->native = false;
    return 0;
}

/* -- Opening, in a coroutine of the first loop ---------------------------- */

struct open_job {
    struct mount_image *image;
    const char *filename; /* as given: errors name it as the user does */
    int rc;
    GError *err;
};

static bool is_block_device(const char *filename)
{
    struct stat st;

    return stat(filename, &st) == 0 && S_ISBLK(st.st_mode);
}

/* Options of the driver that reads the host's file: the one that was named, or
 * the one below it. */
static void image_host_options(const struct mount_image *image,
                               struct options *o)
{
    const struct mount_opts *opts = image->opts;
    const struct driver *drv = opts->format ? driver_find(opts->format) : NULL;
    bool leaf = drv && (drv->traits & DRIVER_LEAF);

    if (leaf && !(drv->traits & DRIVER_HOST)) {
        return;
    }
    options_set(o, leaf ? "aio" : "file.aio",
                image->native ? "native" : "threads");
    options_set(o, leaf ? "locking" : "file.locking",
                mount_locking_name(opts->locking));
    if (opts->force && is_block_device(image->filename)) {
        options_set(o, leaf ? "force" : "file.force", "on");
    }
}

/* -- Encrypted images ----------------------------------------------------- */

#define KEY_SECRET "mount" /* the id of what key-file= holds */

/* Reads the passphrase; before the first try to open the image. */
static int read_key_file(const struct mount_opts *opts, GError **err)
{
    g_autoptr(options) o = options_new();

    if (!opts->key_file) {
        return 0;
    }
    options_set(o, "id", KEY_SECRET);
    options_set(o, "file", opts->key_file);
    return secret_add(o, err);
}

/* The driver that is to read the image, or NULL. */
static const struct driver *image_driver(const struct mount_image *image)
{
    uint8_t head[512]; /* formats that encrypt begin with their magic */
    auto_close int fd = -1;
    ssize_t n;

    if (image->opts->format) {
        return driver_find(image->opts->format);
    }
    fd = open(image->filename, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : pread(fd, head, sizeof(head), 0);
    return n > 0 ? driver_probe(head, (size_t)n, image->filename) : NULL;
}

/* A raw image has nothing that a passphrase would open. */
static int check_key_file(const struct mount_image *image, const char *filename,
                          GError **err)
{
    const struct driver *drv =
        image->opts->key_file ? image_driver(image) : NULL;

    if (drv && strcmp(drv->name, "raw") == 0) {
        return error_set(err, -EINVAL,
                         "%s: is not encrypted; leave key-file out", filename);
    }
    return 0;
}

/* Tells the driver where the passphrase is, each as it calls that. */
static void image_key_option(const struct mount_image *image, struct options *o)
{
    const struct driver *drv = image_driver(image);
    bool qcow2 = drv && strcmp(drv->name, "qcow2") == 0;

    options_set(o, qcow2 ? "encrypt.key-secret" : "key-secret", KEY_SECRET);
}

static struct options *image_options(const struct mount_image *image)
{
    const struct mount_opts *opts = image->opts;
    struct options *o = options_new();

    if (opts->format) {
        options_set(o, "driver", opts->format);
    }
    if (opts->offset) {
        g_autofree char *text = g_strdup_printf("%" PRId64, opts->offset);

        options_set(o, "offset", text);
    }
    if (opts->size >= 0) {
        g_autofree char *text = g_strdup_printf("%" PRId64, opts->size);

        options_set(o, "size", text);
    }
    if (opts->key_file) {
        image_key_option(image, o);
    }
    image_host_options(image, o);
    return o;
}

static unsigned image_flags(const struct mount_image *image)
{
    const struct mount_opts *opts = image->opts;

    return (opts->rdonly ? 0 : NODE_RDWR) | (image->direct ? NODE_DIRECT : 0) |
           (opts->discard ? NODE_UNMAP : 0) |
           (opts->cache == MOUNT_CACHE_UNSAFE ? NODE_NO_FLUSH : 0);
}

static int co_fn image_co_check(struct node *node, struct open_job *job)
{
    if (node_length(node) > 0) {
        return 0;
    }
    if (is_block_device(job->filename)) {
        return error_set(&job->err, -ENODATA,
                         "%s: is a device without a medium; insert one, or "
                         "attach an image to it with losetup",
                         job->filename);
    }
    return error_set(&job->err, -ENODATA,
                     "%s: is empty, there is nothing to show; give it a size "
                     "with 'truncate -s 1G %s'",
                     job->filename, job->filename);
}

static void co_open(void *opaque)
{
    struct open_job *job = opaque;
    struct mount_image *image = job->image;
    const struct mount_opts *opts = image->opts;
    const char *given = job->filename;
    unsigned flags = (opts->rdonly ? BACKEND_RDONLY : 0) |
                     (cache_is_writethrough(opts) ? BACKEND_WRITETHROUGH : 0);
    struct node *node;

    co_assert_role();
    node = node_co_open_file(given, image_options(image), image_flags(image),
                             &job->err);
    if (!node) {
        job->rc = -job->err->code;
        return;
    }
    job->rc = image_co_check(node, job);
    if (job->rc == 0) {
        node_set_detect_zeroes(node, (enum detect_zeroes)opts->detect_zeroes);
        job->rc = backend_new(node, flags, &image->be);
        if (job->rc < 0) {
            (void)error_set_errno(&job->err, job->rc,
                                  "%s: cannot be written; mount with -o ro",
                                  given);
        }
    }
    (void)node_co_unref(node); /* the backend has its own; nothing written */
}

static int image_try_open(struct mount_image *image, const char *filename,
                          struct loop *const *loops, unsigned n, GError **err)
{
    struct open_job job = {.image = image, .filename = filename};
    int rc = choose_engine(image, loops, n, err);

    if (rc < 0) {
        return rc;
    }
    rc = loop_co_run_blocking(loops[0], co_open, &job);
    if (rc < 0) {
        return error_set_errno(err, rc, "%s", filename);
    }
    if (job.err) {
        g_propagate_error(err, job.err);
    }
    return job.rc;
}

/*
 * Waits a little for an image that is in use: after a plain umount(8) the
 * daemon that had it is still writing what it holds.
 */
static int image_open_patiently(struct mount_image *image, const char *filename,
                                struct loop *const *loops, unsigned n,
                                GError **err)
{
    g_autoptr(GError) error = NULL;
    int rc = image_try_open(image, filename, loops, n, &error);

    for (int i = 0; i < BUSY_TRIES && rc == -EBUSY; i++) {
        g_clear_error(&error);
        g_usleep(BUSY_INTERVAL_US);
        rc = image_try_open(image, filename, loops, n, &error);
    }
    if (error) {
        g_propagate_error(err, g_steal_pointer(&error));
    }
    return rc;
}

/* Terminals and the like can be opened, but nothing is on them. */
static int check_has_size(const char *filename, GError **err)
{
    auto_close int fd = -1;
    struct stat st;

    if (stat(filename, &st) < 0 || !S_ISCHR(st.st_mode)) {
        return 0; /* opening it tells more */
    }
    fd = open(filename, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0 && lseek(fd, 0, SEEK_END) > 0) {
        return 0;
    }
    return error_set(err, -EINVAL,
                     "%s: a character device without a size; name a disk "
                     "image or a block device",
                     filename);
}

static int device_sector_size(const char *filename)
{
    auto_close int fd = -1;
    int bytes = 0;

    if (!is_block_device(filename)) {
        return 0;
    }
    fd = open(filename, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && ioctl(fd, BLKSSZGET, &bytes) == 0 ? bytes : 512;
}

static char *absolute(const char *filename)
{
    char *real = realpath(filename, NULL);
    char *copy = g_strdup(real ? real : filename);

    free(real);
    return copy;
}

int mount_image_open(struct mount_image *image, const char *filename,
                     const struct mount_opts *opts, struct loop *const *loops,
                     unsigned n, GError **err)
{
    g_autoptr(GError) error = NULL;
    int rc = check_has_size(filename, err);

    *image = (struct mount_image){
        .opts = opts,
        .filename = absolute(filename),
        .direct = mount_cache_is_direct(opts->cache),
        .sector_size = device_sector_size(filename),
    };
    rc = rc ? rc : read_key_file(opts, err);
    rc = rc ? rc : check_key_file(image, filename, err);
    if (rc < 0) {
        return rc;
    }
    rc = image_open_patiently(image, filename, loops, n, &error);
    if (rc == -EOPNOTSUPP && image->direct && opts->cache == MOUNT_CACHE_AUTO &&
        opts->aio != MOUNT_AIO_NATIVE) {
        g_clear_error(&error);
        image->direct = false;
        rc = image_open_patiently(image, filename, loops, n, &error);
        if (rc == 0) {
            log_warning("%s: no O_DIRECT on this file system; using "
                        "cache=writeback,aio=threads",
                        image->filename);
        }
    }
    if (rc < 0) {
        g_propagate_error(err, g_steal_pointer(&error));
    }
    return rc;
}

/* -- Flushing and closing ------------------------------------------------- */

struct image_job {
    struct backend *be;
    int rc;
};

static void co_flush(void *opaque)
{
    struct image_job *job = opaque;

    co_assert_role();
    job->rc = backend_co_flush(job->be);
}

int mount_image_flush(struct mount_image *image, struct loop *const *loops)
{
    struct image_job job = {.be = image->be};
    int rc;

    if (image->opts->rdonly) {
        return 0;
    }
    rc = loop_co_run_blocking(loops[0], co_flush, &job);
    return rc < 0 ? rc : job.rc;
}

static void co_close(void *opaque)
{
    struct image_job *job = opaque;

    co_assert_role();
    job->rc = backend_co_free(job->be);
}

int mount_image_close(struct mount_image *image, struct loop *const *loops)
{
    struct image_job job = {.be = image->be};
    int rc = 0;

    if (image->be) {
        rc = loop_co_run_blocking(loops[0], co_close, &job);
        rc = rc < 0 ? rc : job.rc;
        image->be = NULL;
    }
    g_clear_pointer(&image->filename, g_free);
    return rc;
}

/* -- Describing ----------------------------------------------------------- */

static const char *cache_name(const struct mount_image *image)
{
    if (image->opts->cache == MOUNT_CACHE_AUTO) {
        return mount_cache_name(image->direct ? MOUNT_CACHE_NONE
                                              : MOUNT_CACHE_WRITEBACK);
    }
    return mount_cache_name(image->opts->cache);
}

void mount_image_describe(const struct mount_image *image, struct json *out)
{
    const struct node *root = backend_root(image->be);

    json_string(out, "image", image->filename);
    json_string(out, "format", node_driver(root)->name);
    json_string(out, "cache", cache_name(image));
    json_string(out, "aio", image->native ? "native" : "threads");
    json_string(out, "discard", image->opts->discard ? "unmap" : "ignore");
    json_bool(out, "merge", image->opts->merge);
    json_int(out, "iothreads", image->opts->iothreads);
}
