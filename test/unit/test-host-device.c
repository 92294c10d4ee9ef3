/* SPDX-License-Identifier: MIT */
/*
 * driver host_device, on loop devices.  Skipped where none can be made.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/align.h"
#include "base/error.h"
#include "block/driver.h"
#include "block/node.h"
#include "driver/driver_list.h"
#include "loop/loop.h"

#define SIZE (16 * MiB)

struct fixture {
    void (*body)(struct fixture *f);
    struct loop *loop;
    char *backing;
    char *device;
    GError *err;
};

/* Runs "@command"; returns its output, or NULL when it failed. */
static char *command(const char *format, ...) G_GNUC_PRINTF(1, 2);

static char *command(const char *format, ...)
{
    g_autofree char *line = NULL;
    char *out = NULL;
    int status = -1;
    va_list args;

    va_start(args, format);
    line = g_strdup_vprintf(format, args);
    va_end(args);
    if (!g_spawn_command_line_sync(line, &out, NULL, &status, NULL) ||
        status != 0) {
        g_free(out);
        return NULL;
    }
    return g_strchomp(out);
}

static void run_body(void *opaque)
{
    struct fixture *f = opaque;

    co_assert_role();
    f->body(f);
}

/* Runs @body as a coroutine, with a loop device made by losetup @args. */
static void run(const char *args, void (*body)(struct fixture *f))
{
    struct fixture f = {.body = body};
    g_autofree char *detached = NULL;
    int fd;

    if (geteuid() != 0) {
        g_test_skip("only root can make loop devices");
        return;
    }
    fd = g_file_open_tmp("coblk-device-XXXXXX", &f.backing, NULL);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, SIZE), ==, 0);
    (void)close(fd);
    f.device = command("losetup -f --show %s %s", args, f.backing);
    if (f.device) {
        /* Let go at once: it lasts until it is closed, however this ends. */
        fd = open(f.device, O_RDONLY | O_CLOEXEC);
        detached = command("losetup -d %s", f.device);
        g_assert_nonnull(detached);
        g_assert_cmpint(loop_new(&f.loop), ==, 0);
        loop_adopt(f.loop);
        g_assert_cmpint(loop_co_run_blocking(f.loop, run_body, &f), ==, 0);
        loop_free(f.loop);
        (void)close(fd);
    } else {
        g_test_skip("no loop device can be made here");
    }
    (void)g_unlink(f.backing);
    g_free(f.backing);
    g_free(f.device);
}

static struct node *co_fn device_open(struct fixture *f, unsigned flags,
                                      const char *more)
{
    struct options *o = options_new();

    g_assert_cmpint(options_parse(o, more, NULL), ==, 0);
    options_set(o, "driver", "host_device");
    options_set(o, "filename", f->device);
    return node_co_open(o, flags, &f->err);
}

static struct node *co_fn device_open_ok(struct fixture *f, unsigned flags)
{
    struct node *n = device_open(f, flags, "");

    g_assert_no_error(f->err);
    return n;
}

static void co_fn device_close(struct node *n)
{
    g_assert_cmpint(node_co_unref(n), ==, 0);
}

static void co_fn assert_refused(struct fixture *f, unsigned flags, int code,
                                 const char *says)
{
    g_assert_null(device_open(f, flags, ""));
    g_assert_error(f->err, COBLK_ERROR, code);
    g_assert_nonnull(strstr(f->err->message, f->device));
    if (!strstr(f->err->message, says)) {
        g_test_message("%s", f->err->message);
    }
    g_assert_nonnull(strstr(f->err->message, says));
    g_clear_error(&f->err);
}

/* Writes, reads and checks @bytes at @offset. */
static void co_fn assert_round_trip(struct node *n, int64_t offset,
                                    int64_t bytes, unsigned flags)
{
    g_autofree char *data = g_malloc((gsize)bytes);
    g_autofree char *got = g_malloc((gsize)bytes);

    memset(data, 'a' + (int)(offset % 26), (size_t)bytes);
    g_assert_cmpint(node_co_pwrite(n, offset, data, bytes, flags), ==, 0);
    g_assert_cmpint(node_co_pread(n, offset, got, bytes), ==, 0);
    g_assert_cmpmem(got, (int)bytes, data, (int)bytes);
}

static bool co_fn reads_zero(struct node *n, int64_t offset, int64_t bytes)
{
    g_autofree char *got = g_malloc((gsize)bytes);

    g_assert_cmpint(node_co_pread(n, offset, got, bytes), ==, 0);
    return buf_is_zero(got, bytes);
}

static void co_fn check_io(struct fixture *f, unsigned flags)
{
    struct node *n = device_open_ok(f, NODE_RDWR | flags);

    g_assert_cmpint(node_length(n), ==, SIZE);
    assert_round_trip(n, 0, 64 * KiB, 0);
    assert_round_trip(n, 5000, 10000, REQ_FUA);
    assert_round_trip(n, SIZE - 1, 1, 0);
    g_assert_cmpint(node_co_flush(n), ==, 0);
    device_close(n);
}

static void co_fn body_io(struct fixture *f)
{
    check_io(f, 0);
    check_io(f, NODE_DIRECT);
}

static void co_fn body_large_blocks(struct fixture *f)
{
    struct node *n = device_open_ok(f, NODE_RDWR | NODE_DIRECT);

    g_assert_cmpint(node_limits(n)->request_align, ==, 4096);
    assert_round_trip(n, 5000, 10000, 0);
    device_close(n);
}

static void co_fn body_zeroes(struct fixture *f)
{
    static const unsigned flags[] = {0, REQ_MAY_UNMAP};
    struct node *n = device_open_ok(f, NODE_RDWR | NODE_DIRECT | NODE_UNMAP);

    for (size_t i = 0; i < G_N_ELEMENTS(flags); i++) {
        assert_round_trip(n, 0, 1 * MiB, 0);
        g_assert_cmpint(node_co_pwrite_zeroes(n, 4096, 512 * KiB, flags[i]), ==,
                        0);
        g_assert_false(reads_zero(n, 0, 4096));
        g_assert_true(reads_zero(n, 4096, 512 * KiB));
        g_assert_false(reads_zero(n, 4096 + 512 * KiB, 4096));
    }
    device_close(n);
}

static void co_fn body_discard(struct fixture *f)
{
    struct node *n = device_open_ok(f, NODE_RDWR | NODE_DIRECT | NODE_UNMAP);
    struct stat before, after;

    assert_round_trip(n, 0, 8 * MiB, 0);
    g_assert_cmpint(node_co_flush(n), ==, 0);
    g_assert_cmpint(stat(f->backing, &before), ==, 0);
    g_assert_cmpint(node_co_pdiscard(n, 0, 8 * MiB), ==, 0);
    g_assert_cmpint(stat(f->backing, &after), ==, 0);
    g_assert_cmpint(after.st_blocks, <, before.st_blocks);
    device_close(n);
}

static void co_fn body_status_and_stat(struct fixture *f)
{
    struct node *n = device_open_ok(f, 0);
    struct block_status st;
    struct node_stat host;

    g_assert_cmpint(node_co_block_status(n, true, 0, INT64_MAX, &st), ==, 0);
    g_assert_true(st.flags & BLOCK_DATA); /* a device does not tell */
    g_assert_cmpint(st.bytes, ==, SIZE);
    g_assert_cmpint(node_co_stat(n, &host), ==, 0);
    g_assert_cmpint(host.allocated, ==, -1);
    device_close(n);
}

static void co_fn body_truncate(struct fixture *f)
{
    struct node *n = device_open_ok(f, NODE_RDWR);

    g_assert_cmpint(
        node_co_truncate(n, SIZE, PREALLOC_OFF, TRUNCATE_EXACT, &f->err), ==,
        0);
    g_assert_no_error(f->err);
    g_assert_cmpint(node_co_truncate(n, 2 * SIZE, PREALLOC_OFF, 0, &f->err), ==,
                    -EINVAL);
    g_assert_nonnull(strstr(f->err->message, f->device));
    g_clear_error(&f->err);
    g_assert_cmpint(
        node_co_truncate(n, SIZE / 2, PREALLOC_OFF, TRUNCATE_EXACT, &f->err), <,
        0);
    g_clear_error(&f->err);
    g_assert_cmpint(node_length(n), ==, SIZE);
    device_close(n);
}

static void co_fn body_read_only(struct fixture *f)
{
    struct node *n;

    assert_refused(f, NODE_RDWR, EROFS, "read-only (ro)");
    n = device_open_ok(f, 0);
    g_assert_true(node_is_rdonly(n));
    g_assert_true(reads_zero(n, 0, 4096));
    device_close(n);
}

/* Somebody has the device for himself, as the kernel has one it mounts. */
static void co_fn body_exclusive(struct fixture *f)
{
    int fd = open(f->device, O_RDONLY | O_EXCL | O_CLOEXEC);
    struct node *n;

    g_assert_cmpint(fd, >=, 0);
    assert_refused(f, NODE_RDWR, EBUSY, "in use");
    n = device_open_ok(f, 0);
    device_close(n);
    n = device_open(f, NODE_RDWR, "force=on");
    g_assert_no_error(f->err);
    device_close(n);
    (void)close(fd);

    /* And while we write nobody else gets it. */
    n = device_open_ok(f, NODE_RDWR);
    g_assert_cmpint(open(f->device, O_RDONLY | O_EXCL | O_CLOEXEC), <, 0);
    g_assert_cmpint(errno, ==, EBUSY);
    device_close(n);
}

static void co_fn body_mounted(struct fixture *f)
{
    g_autofree char *made = command("mkfs.ext4 -q -F %s", f->device);
    g_autofree char *folder = g_dir_make_tmp("coblk-mnt-XXXXXX", NULL);
    g_autofree char *says = g_strdup_printf("mounted on %s", folder);

    if (made && mount(f->device, folder, "ext4", 0, NULL) == 0) {
        assert_refused(f, NODE_RDWR, EBUSY, says);
        g_assert_cmpint(umount(folder), ==, 0);
        device_close(device_open_ok(f, NODE_RDWR));
    } else {
        g_test_skip("nothing can be mounted here");
    }
    (void)g_rmdir(folder);
}

static void co_fn body_partition_mounted(struct fixture *f)
{
    g_autofree char *part = g_strconcat(f->device, "p1", NULL);
    g_autofree char *folder = g_dir_make_tmp("coblk-mnt-XXXXXX", NULL);
    g_autofree char *says = g_strdup_printf("mounted on %s", folder);
    g_autofree char *cut = command(
        "sh -c 'echo ,,L | sfdisk -q %s && partx -u %s'", f->device, f->device);
    g_autofree char *made = cut ? command("mkfs.ext4 -q -F %s", part) : NULL;

    if (made && mount(part, folder, "ext4", 0, NULL) == 0) {
        assert_refused(f, NODE_RDWR, EBUSY, says);
        g_assert_cmpint(umount(folder), ==, 0);
    } else {
        g_test_skip("nothing can be mounted here");
    }
    (void)g_rmdir(folder);
}

static const struct device_case {
    const char *name;
    const char *losetup;
    void (*body)(struct fixture *f);
} cases[] = {
    {"io", "", body_io},
    {"large-blocks", "-b 4096", body_large_blocks},
    {"zeroes", "", body_zeroes},
    {"zeroes-large-blocks", "-b 4096", body_zeroes},
    {"discard", "", body_discard},
    {"status-and-stat", "", body_status_and_stat},
    {"truncate", "", body_truncate},
    {"read-only", "-r", body_read_only},
    {"exclusive", "", body_exclusive},
    {"mounted", "", body_mounted},
    {"partition-mounted", "-P", body_partition_mounted},
};

static void test_case(gconstpointer data)
{
    const struct device_case *c = data;

    run(c->losetup, c->body);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    driver_register(&driver_host_device);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path =
            g_strdup_printf("/host-device/%s", cases[i].name);

        g_test_add_data_func(path, &cases[i], test_case);
    }
    return g_test_run();
}
