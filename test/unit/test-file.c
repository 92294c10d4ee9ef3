/* SPDX-License-Identifier: MIT */
/*
 * driver file: what it does to a file on the host, seen from outside, on a
 * file system on disk and one in memory, with each way of doing I/O.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/align.h"
#include "base/error.h"
#include "block/driver.h"
#include "block/node.h"
#include "driver/driver_list.h"
#include "engine/engine.h"
#include "engine/manual.h"
#include "loop/iothread.h"
#include "loop/loop.h"
#include "loop/sync.h"

/* Where the file is and how it is opened. */
struct way {
    const char *name;
    const char *folder; /* NULL: that for temporary files */
    const char *aio;
    unsigned flags; /* enum node_flags */
};

static const struct way ways[] = {
    {"disk-buffered", NULL, "threads", 0},
    {"disk-direct-threads", NULL, "threads", NODE_DIRECT},
    {"disk-direct-native", NULL, "native", NODE_DIRECT},
    {"memory-buffered", "/dev/shm", "threads", 0},
    {"memory-direct-native", "/dev/shm", "native", NODE_DIRECT},
};

struct fixture {
    const struct way *way;
    void (*body)(struct fixture *f);
    struct loop *loop;
    char *path;
    int fd; /* the test's own, buffered */
    GError *err;
};

/* -- The frame of each test ----------------------------------------------- */

static void run_body(void *opaque)
{
    struct fixture *f = opaque;

    co_assert_role();
    f->body(f);
}

static bool is_in_memory(const char *path)
{
    struct statfs fs;

    return statfs(path, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

static bool folder_is_usable(const char *folder)
{
    return !folder || (g_access(folder, W_OK) == 0 && is_in_memory(folder));
}

static bool open_works(const struct way *w, const char *path)
{
    int fd = open(path, O_RDWR | (w->flags & NODE_DIRECT ? O_DIRECT : 0));

    if (fd >= 0) {
        (void)close(fd);
    }
    return fd >= 0;
}

/* Runs @body as a coroutine, with an empty file for it. */
static void run(const struct way *w, void (*body)(struct fixture *f))
{
    const char *folder = w->folder ? w->folder : g_get_tmp_dir();
    struct fixture f = {.way = w, .body = body};

    if (!folder_is_usable(w->folder)) {
        g_test_skip("there is no tmpfs to write to");
        return;
    }
    f.path = g_build_filename(folder, "coblk-file-XXXXXX", NULL);
    f.fd = g_mkstemp(f.path);
    g_assert_cmpint(f.fd, >=, 0);
    if (open_works(w, f.path)) {
        g_assert_cmpint(loop_new(&f.loop), ==, 0);
        loop_adopt(f.loop);
        g_assert_cmpint(loop_co_run_blocking(f.loop, run_body, &f), ==, 0);
        loop_free(f.loop);
    } else {
        g_test_skip("the file system has no O_DIRECT");
    }
    (void)close(f.fd);
    (void)g_unlink(f.path);
    g_free(f.path);
}

/* -- Small things that tests do ------------------------------------------- */

static struct options *file_options(const char *path, const char *more)
{
    struct options *o = options_new();
    GError *err = NULL;

    options_set(o, "driver", "file");
    options_set(o, "filename", path);
    g_assert_cmpint(options_parse(o, more, &err), ==, 0);
    return o;
}

static struct node *co_fn file_open(struct fixture *f, unsigned flags)
{
    g_autofree char *more = g_strdup_printf("aio=%s", f->way->aio);
    struct node *n = node_co_open(file_options(f->path, more),
                                  f->way->flags | flags, &f->err);

    g_assert_no_error(f->err);
    g_assert_nonnull(n);
    return n;
}

static void co_fn file_close(struct node *n)
{
    g_assert_cmpint(node_co_unref(n), ==, 0);
}

static void fill(char *buf, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        buf[i] = "abcdefghijklmnopqrstuvwxyz"[(i * 7 + i / 26) % 26];
    }
}

static void make_file(struct fixture *f, int64_t bytes)
{
    g_autofree char *buf = g_malloc((gsize)bytes);

    fill(buf, bytes);
    g_assert_cmpint(pwrite(f->fd, buf, (size_t)bytes, 0), ==, bytes);
}

static struct stat stat_file(struct fixture *f)
{
    struct stat st;

    g_assert_cmpint(fstat(f->fd, &st), ==, 0);
    return st;
}

/* Checks the file itself: @bytes at @offset are as @want, or zero. */
static void assert_bytes(struct fixture *f, int64_t offset, const char *want,
                         int64_t bytes)
{
    g_autofree char *got = g_malloc((gsize)bytes);

    g_assert_cmpint(pread(f->fd, got, (size_t)bytes, offset), ==, bytes);
    if (want) {
        g_assert_cmpmem(got, (int)bytes, want, (int)bytes);
    } else {
        g_assert_true(buf_is_zero(got, bytes));
    }
}

/* -- Data ----------------------------------------------------------------- */

static void co_fn body_round_trip(struct fixture *f)
{
    static const struct {
        int64_t offset, bytes;
    } ranges[] = {{0, 4096},    {4096, 65536}, {8192, 512},
                  {100, 50000}, {70000, 1},    {4095, 2}};
    g_autofree char *data = g_malloc(65536);
    g_autofree char *got = g_malloc(65536);
    struct node *n;

    g_assert_cmpint(ftruncate(f->fd, 128 * KiB), ==, 0);
    n = file_open(f, NODE_RDWR);
    fill(data, 65536);
    for (size_t i = 0; i < G_N_ELEMENTS(ranges); i++) {
        int64_t offset = ranges[i].offset, bytes = ranges[i].bytes;

        data[0]++; /* each time a little different */
        g_assert_cmpint(node_co_pwrite(n, offset, data, bytes, 0), ==, 0);
        g_assert_cmpint(node_co_pread(n, offset, got, bytes), ==, 0);
        g_assert_cmpmem(got, (int)bytes, data, (int)bytes);
        assert_bytes(f, offset, data, bytes);
    }
    file_close(n);
    g_assert_cmpint(stat_file(f).st_size, ==, 128 * KiB);
}

static void co_fn body_fua_and_flush(struct fixture *f)
{
    g_autofree char *data = g_malloc(4096);
    struct node *n;

    make_file(f, 8192);
    n = file_open(f, NODE_RDWR);
    memset(data, 'x', 4096);
    g_assert_cmpint(node_co_pwrite(n, 4096, data, 4096, REQ_FUA), ==, 0);
    assert_bytes(f, 4096, data, 4096);
    g_assert_cmpint(node_co_flush(n), ==, 0);
    file_close(n);
}

/* The last bytes of a file that ends inside a block can be read and written,
 * and the file stays as long as it is. */
static void co_fn body_tail(struct fixture *f)
{
    static const struct {
        int64_t offset, bytes;
    } ranges[] = {{9999, 1}, {8192, 1808}, {0, 10000}, {5000, 5000}};
    g_autofree char *data = g_malloc(10000);
    g_autofree char *got = g_malloc(10000);
    struct node *n;

    make_file(f, 10000);
    n = file_open(f, NODE_RDWR);
    g_assert_cmpint(node_length(n), ==, 10000);
    fill(data, 10000);
    for (size_t i = 0; i < G_N_ELEMENTS(ranges); i++) {
        int64_t offset = ranges[i].offset, bytes = ranges[i].bytes;
        unsigned flags = i % 2 ? REQ_FUA : 0;

        data[0] = data[bytes - 1] = (char)('0' + i);
        g_assert_cmpint(node_co_pwrite(n, offset, data, bytes, flags), ==, 0);
        g_assert_cmpint(stat_file(f).st_size, ==, 10000);
        assert_bytes(f, offset, data, bytes);
        g_assert_cmpint(node_co_pread(n, offset, got, bytes), ==, 0);
        g_assert_cmpmem(got, (int)bytes, data, (int)bytes);
    }
    g_assert_cmpint(node_co_flush(n), ==, 0);
    file_close(n);
}

static void co_fn body_tail_zeroes(struct fixture *f)
{
    char got[16];
    struct node *n;

    make_file(f, 10000);
    n = file_open(f, NODE_RDWR | NODE_UNMAP);
    g_assert_cmpint(node_co_pwrite_zeroes(n, 9990, 10, 0), ==, 0);
    assert_bytes(f, 9990, NULL, 10);
    g_assert_cmpint(node_co_pwrite_zeroes(n, 4096, 5904, REQ_MAY_UNMAP), ==, 0);
    assert_bytes(f, 4096, NULL, 5904);
    g_assert_cmpint(node_co_pread(n, 9990, got, 10), ==, 0);
    g_assert_true(buf_is_zero(got, 10));
    g_assert_cmpint(stat_file(f).st_size, ==, 10000);
    file_close(n);
}

static void co_fn body_grow_by_write(struct fixture *f)
{
    char data[1000];
    struct node *n = file_open(f, NODE_RDWR);

    fill(data, sizeof(data));
    g_assert_cmpint(node_length(n), ==, 0);
    g_assert_cmpint(node_co_pwrite(n, 8192, data, 1000, 0), ==, 0);
    g_assert_cmpint(node_length(n), ==, 9192);
    g_assert_cmpint(stat_file(f).st_size, ==, 9192);
    assert_bytes(f, 0, NULL, 8192);
    assert_bytes(f, 8192, data, 1000);
    file_close(n);
}

/* Somebody else made the file shorter: what is gone reads as zeroes. */
static void co_fn body_truncated_underneath(struct fixture *f)
{
    g_autofree char *got = g_malloc(65536);
    g_autofree char *want = g_malloc(65536);
    struct node *n;

    make_file(f, 65536);
    n = file_open(f, 0);
    g_assert_cmpint(ftruncate(f->fd, 5000), ==, 0);
    fill(want, 65536);
    memset(want + 5000, 0, 65536 - 5000);
    g_assert_cmpint(node_co_pread(n, 0, got, 65536), ==, 0);
    g_assert_cmpmem(got, 65536, want, 65536);
    g_assert_cmpint(node_co_pread(n, 32768, got, 4096), ==, 0);
    g_assert_true(buf_is_zero(got, 4096));
    file_close(n);
}

/* What is left of such a file ends at a block, like each extent. */
static void co_fn body_status_truncated(struct fixture *f)
{
    int64_t align;
    struct block_status st;
    struct node *n;

    make_file(f, 65536);
    n = file_open(f, 0);
    align = node_limits(n)->request_align;
    g_assert_cmpint(ftruncate(f->fd, 5000), ==, 0);
    g_assert_cmpint(node_co_block_status(n, true, 0, 65536, &st), ==, 0);
    g_assert_true(st.flags & BLOCK_DATA);
    g_assert_cmpint(st.bytes, ==, align_up(5000, align));
    g_assert_cmpint(node_co_block_status(n, true, 8192, 57344, &st), ==, 0);
    g_assert_true(st.flags & BLOCK_ZERO);
    g_assert_cmpint(st.bytes, ==, 57344);
    file_close(n);
}

/* -- Holes ---------------------------------------------------------------- */

static struct block_status co_fn status_at(struct node *n, int64_t offset)
{
    struct block_status st;

    g_assert_cmpint(node_co_block_status(n, true, offset, INT64_MAX, &st), ==,
                    0);
    return st;
}

static void co_fn body_status(struct fixture *f)
{
    g_autofree char *data = g_malloc0(10000);
    struct block_status st;
    struct node *n;

    /* 64 KiB data, 64 KiB hole, 10000 bytes of data, hole up to 512 KiB */
    make_file(f, 64 * KiB);
    g_assert_cmpint(pwrite(f->fd, data, 10000, 128 * KiB), ==, 10000);
    g_assert_cmpint(ftruncate(f->fd, 512 * KiB), ==, 0);
    n = file_open(f, 0);

    st = status_at(n, 0);
    g_assert_true(st.flags & BLOCK_DATA);
    g_assert_cmpint(st.bytes, ==, 64 * KiB);
    g_assert_cmpint(st.map, ==, 0);

    st = status_at(n, 60 * KiB);
    g_assert_true(st.flags & BLOCK_DATA);
    g_assert_cmpint(st.bytes, ==, 4 * KiB);
    g_assert_cmpint(st.map, ==, 60 * KiB);

    st = status_at(n, 64 * KiB);
    g_assert_true(st.flags & BLOCK_ZERO);
    g_assert_cmpint(st.bytes, ==, 64 * KiB);

    st = status_at(n, 128 * KiB);
    g_assert_true(st.flags & BLOCK_DATA);
    g_assert_cmpint(st.bytes, ==, 12 * KiB);

    st = status_at(n, 256 * KiB);
    g_assert_true(st.flags & BLOCK_ZERO);
    g_assert_true(st.flags & BLOCK_EOF);
    g_assert_cmpint(st.bytes, ==, 256 * KiB);
    file_close(n);
}

static void co_fn body_status_tail(struct fixture *f)
{
    struct block_status st;
    struct node *n;

    make_file(f, 10000);
    n = file_open(f, 0);
    st = status_at(n, 8192);
    g_assert_true(st.flags & BLOCK_DATA);
    g_assert_true(st.flags & BLOCK_EOF);
    g_assert_cmpint(st.bytes, ==, 1808);
    file_close(n);
}

static void co_fn body_zeroes(struct fixture *f)
{
    struct node_stat before, after;
    struct node *n;

    make_file(f, 1 * MiB);
    g_assert_cmpint(fsync(f->fd), ==, 0);
    n = file_open(f, NODE_RDWR | NODE_UNMAP);
    g_assert_cmpint(node_co_stat(n, &before), ==, 0);

    g_assert_cmpint(node_co_pwrite_zeroes(n, 64 * KiB, 64 * KiB, 0), ==, 0);
    assert_bytes(f, 64 * KiB, NULL, 64 * KiB);
    g_assert_cmpint(node_co_flush(n), ==, 0);
    g_assert_cmpint(node_co_stat(n, &after), ==, 0);
    g_assert_cmpint(after.allocated, ==, before.allocated); /* kept */

    g_assert_cmpint(
        node_co_pwrite_zeroes(n, 256 * KiB, 256 * KiB, REQ_MAY_UNMAP), ==, 0);
    assert_bytes(f, 256 * KiB, NULL, 256 * KiB);
    g_assert_true(status_at(n, 256 * KiB).flags & BLOCK_ZERO);
    g_assert_cmpint(node_co_flush(n), ==, 0);
    g_assert_cmpint(node_co_stat(n, &after), ==, 0);
    g_assert_cmpint(after.allocated, ==, before.allocated - 256 * KiB);
    g_assert_cmpint(stat_file(f).st_size, ==, 1 * MiB);
    file_close(n);
}

static void co_fn body_zeroes_grow(struct fixture *f)
{
    struct node *n;

    make_file(f, 8192);
    n = file_open(f, NODE_RDWR | NODE_UNMAP);
    g_assert_cmpint(node_co_pwrite_zeroes(n, 4096, 12288, REQ_MAY_UNMAP), ==,
                    0);
    g_assert_cmpint(stat_file(f).st_size, ==, 16384);
    g_assert_cmpint(node_length(n), ==, 16384);
    assert_bytes(f, 4096, NULL, 12288);
    g_assert_cmpint(node_co_pwrite_zeroes(n, 32768, 4096, 0), ==, 0);
    g_assert_cmpint(stat_file(f).st_size, ==, 36864);
    file_close(n);
}

static void co_fn body_discard(struct fixture *f)
{
    struct node_stat before, after;
    struct node *n;

    make_file(f, 1 * MiB);
    g_assert_cmpint(fsync(f->fd), ==, 0);
    n = file_open(f, NODE_RDWR | NODE_UNMAP);
    g_assert_cmpint(node_co_stat(n, &before), ==, 0);
    g_assert_cmpint(node_co_pdiscard(n, 512 * KiB, 512 * KiB), ==, 0);
    g_assert_cmpint(node_co_stat(n, &after), ==, 0);
    g_assert_cmpint(after.allocated, ==, before.allocated - 512 * KiB);
    g_assert_cmpint(stat_file(f).st_size, ==, 1 * MiB);
    file_close(n);
}

static void co_fn body_allocate(struct fixture *f)
{
    g_autofree char *data = g_malloc(4096);
    struct node_stat st;
    struct node *n;

    make_file(f, 4096);
    g_assert_cmpint(ftruncate(f->fd, 1 * MiB), ==, 0);
    n = file_open(f, NODE_RDWR);
    g_assert_cmpint(node_co_allocate(n, 0, 1 * MiB), ==, 0);
    g_assert_cmpint(node_co_stat(n, &st), ==, 0);
    g_assert_cmpint(st.allocated, >=, 1 * MiB);
    g_assert_cmpint(stat_file(f).st_size, ==, 1 * MiB);
    fill(data, 4096);
    assert_bytes(f, 0, data, 4096);
    assert_bytes(f, 4096, NULL, 1 * MiB - 4096);
    file_close(n);
}

/* -- Size and copies ------------------------------------------------------ */

static void co_fn body_truncate(struct fixture *f)
{
    static const struct {
        int64_t length;
        enum prealloc_mode prealloc;
        bool allocates;
    } steps[] = {
        {100000, PREALLOC_OFF, false},   {50000, PREALLOC_OFF, false},
        {200000, PREALLOC_FALLOC, true}, {10000, PREALLOC_OFF, false},
        {300000, PREALLOC_FULL, true},   {300000, PREALLOC_OFF, false},
    };
    struct node *n = file_open(f, NODE_RDWR);

    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        int64_t old = node_length(n), length = steps[i].length;
        struct node_stat st;

        g_assert_cmpint(
            node_co_truncate(n, length, steps[i].prealloc, 0, &f->err), ==, 0);
        g_assert_no_error(f->err);
        g_assert_cmpint(node_length(n), ==, length);
        g_assert_cmpint(stat_file(f).st_size, ==, length);
        g_assert_cmpint(node_co_stat(n, &st), ==, 0);
        if (steps[i].allocates) {
            g_assert_cmpint(st.allocated, >=, length - old);
            assert_bytes(f, old, NULL, length - old);
        }
    }
    file_close(n);
}

static void co_fn body_truncate_refused(struct fixture *f)
{
    struct node *n;

    make_file(f, 8192);
    n = file_open(f, NODE_RDWR);
    g_assert_cmpint(node_co_truncate(n, 4096, PREALLOC_FULL, 0, &f->err), <, 0);
    g_assert_error(f->err, COBLK_ERROR, EOPNOTSUPP);
    g_clear_error(&f->err);
    g_assert_cmpint(node_co_truncate(n, 16384, PREALLOC_METADATA, 0, &f->err),
                    <, 0);
    g_assert_error(f->err, COBLK_ERROR, EOPNOTSUPP);
    g_clear_error(&f->err);

    /* More than there is room for: fails, and leaves the file as it was. */
    g_assert_cmpint(
        node_co_truncate(n, INT64_C(1) << 46, PREALLOC_FALLOC, 0, &f->err), <,
        0);
    g_assert_nonnull(f->err);
    g_assert_nonnull(strstr(f->err->message, f->path));
    g_clear_error(&f->err);
    g_assert_cmpint(stat_file(f).st_size, ==, 8192);
    g_assert_cmpint(node_length(n), ==, 8192);
    file_close(n);
}

static void co_fn body_copy_range(struct fixture *f)
{
    g_autofree char *want = g_malloc(65536);
    struct node *n;
    int rc;

    make_file(f, 65536);
    g_assert_cmpint(ftruncate(f->fd, 256 * KiB), ==, 0);
    n = file_open(f, NODE_RDWR);
    rc = node_co_copy_range(n, 0, n, 128 * KiB, 65536, REQ_FUA);
    if (rc == -EOPNOTSUPP) {
        g_test_skip("the file system cannot copy ranges");
    } else {
        g_assert_cmpint(rc, ==, 0);
        fill(want, 65536);
        assert_bytes(f, 128 * KiB, want, 65536);
        assert_bytes(f, 192 * KiB, NULL, 64 * KiB);
    }
    file_close(n);
}

static void co_fn body_stat(struct fixture *f)
{
    struct node_stat st;
    struct stat host;
    struct node *n;

    make_file(f, 100000);
    g_assert_cmpint(fsync(f->fd), ==, 0);
    n = file_open(f, 0);
    host = stat_file(f);
    g_assert_cmpint(node_co_stat(n, &st), ==, 0);
    g_assert_cmpint(st.allocated, ==, host.st_blocks * 512);
    g_assert_cmpint(st.mtime.sec, ==, host.st_mtim.tv_sec);
    g_assert_cmpint(st.mtime.nsec, ==, host.st_mtim.tv_nsec);
    g_assert_cmpint(st.ctime.nsec, ==, host.st_ctim.tv_nsec);
    file_close(n);
}

static void co_fn body_invalidate(struct fixture *f)
{
    g_autofree char *data = g_malloc(4096);
    g_autofree char *got = g_malloc(4096);
    struct node *n;

    make_file(f, 8192);
    n = file_open(f, NODE_RDWR);
    g_assert_cmpint(node_co_pread(n, 0, got, 4096), ==, 0);
    memset(data, 'y', 4096);
    g_assert_cmpint(pwrite(f->fd, data, 4096, 0), ==, 4096);
    g_assert_cmpint(node_co_invalidate(n), ==, 0);
    g_assert_cmpint(node_co_pread(n, 0, got, 4096), ==, 0);
    g_assert_cmpmem(got, 4096, data, 4096);
    file_close(n);
}

/* What lies in the page cache needs no thread. */
static void co_fn body_cached_read(struct fixture *f)
{
    char got[100];
    struct iovec iov = {got, sizeof(got)};
    struct engine *e;
    struct node *n;
    uint64_t before;

    make_file(f, 8192);
    if (preadv2(f->fd, &iov, 1, 0, RWF_NOWAIT) != sizeof(got)) {
        g_test_skip("the file system cannot read without waiting");
        return;
    }
    n = file_open(f, 0);
    g_assert_cmpint(engine_threads.get(f->loop, &e), ==, 0);
    before = e->stats.requests;
    g_assert_cmpint(node_co_pread(n, 1000, got, 100), ==, 0);
    assert_bytes(f, 1000, got, 100);
    g_assert_cmpuint(e->stats.requests, ==, before);

    /* At the end of the file it is one, and reads what is there. */
    g_assert_cmpint(ftruncate(f->fd, 8150), ==, 0);
    g_assert_cmpint(node_co_pread(n, 8092, got, 100), ==, 0);
    g_assert_cmpuint(e->stats.requests, >, before);
    assert_bytes(f, 8092, got, 58);
    g_assert_true(buf_is_zero(got + 58, 42));
    file_close(n);
}

static void co_fn body_limits(struct fixture *f)
{
    const struct node_limits *l;
    struct node *n;

    make_file(f, 8192);
    n = file_open(f, NODE_RDWR);
    l = node_limits(n);
    /* Temporary files are often in memory, too. */
    if (!(f->way->flags & NODE_DIRECT) || is_in_memory(f->path)) {
        g_assert_cmpint(l->request_align, ==, 1);
        g_assert_cmpint(l->mem_align, ==, 1);
    } else {
        /* What is said to work does work. */
        void *buf = node_try_alloc(n, 2 * l->request_align);
        int fd = open(f->path, O_RDONLY | O_DIRECT);

        g_assert_cmpint(l->request_align, >, 1);
        g_assert_cmpint(pread(fd, (char *)buf + l->mem_align,
                              (size_t)l->request_align, l->request_align),
                        ==, l->request_align);
        (void)close(fd);
        free(buf);
    }
    file_close(n);
}

/* -- Flush errors --------------------------------------------------------- */

struct flush_case {
    unsigned flags; /* enum node_flags */
    bool sticks;
};

static const struct flush_case flush_buffered = {0, true};
static const struct flush_case flush_direct = {NODE_DIRECT, false};

/* One request of a coroutine that the test steps by the manual engine. */
struct step {
    const struct flush_case *flush;
    const char *path;
    struct node *node;
    int rc;
    bool done;
};

static void step_open(void *opaque)
{
    struct step *s = opaque;

    co_assert_role();
    s->node = node_co_open(file_options(s->path, "aio=manual"),
                           NODE_RDWR | s->flush->flags, NULL);
    s->done = true;
}

static void step_write(void *opaque)
{
    struct step *s = opaque;
    char *buf = node_try_alloc(s->node, 4096);

    co_assert_role();
    memset(buf, 'x', 4096);
    s->rc = node_co_pwrite(s->node, 0, buf, 4096, 0);
    free(buf);
    s->done = true;
}

static void step_flush(void *opaque)
{
    struct step *s = opaque;

    co_assert_role();
    s->rc = node_co_flush(s->node);
    s->done = true;
}

static void step_close(void *opaque)
{
    struct step *s = opaque;

    co_assert_role();
    s->rc = node_co_unref(s->node);
    s->done = true;
}

static void step_read(void *opaque)
{
    struct step *s = opaque;
    char *buf = node_try_alloc(s->node, 4096);

    co_assert_role();
    s->rc = node_co_pread(s->node, 0, buf, 4096);
    free(buf);
    s->done = true;
}

static void step_start(struct step *s, co_entry_fn *fn)
{
    s->done = false;
    loop_co_start(co_new(fn, s));
}

/* Does all of it at once. */
static void step_do(struct step *s, struct manual *m, co_entry_fn *fn)
{
    step_start(s, fn);
    manual_complete_all(m);
    g_assert_true(s->done);
}

/* A flush that fails below the page cache has lost data: no later flush may
 * say that all is well.  Direct I/O has no such cache. */
static void flush_fails(struct step *s, struct manual *m)
{
    step_do(s, m, step_write);
    g_assert_cmpint(s->rc, ==, 0);
    step_start(s, step_flush);
    g_assert_cmpint(manual_pending(m), ==, 1);
    g_assert_cmpint(manual_peek(m, 0)->op, ==, ENGINE_FDSYNC);
    manual_fail(m, 0, -EIO);
    g_assert_true(s->done);
    g_assert_cmpint(s->rc, ==, -EIO);

    step_do(s, m, step_write);
    g_assert_cmpint(s->rc, ==, 0);
    step_start(s, step_flush);
    g_assert_cmpint(manual_pending(m), ==, s->flush->sticks ? 0 : 1);
    manual_complete_all(m);
    g_assert_true(s->done);
    g_assert_cmpint(s->rc, ==, s->flush->sticks ? -EIO : 0);

    step_do(s, m, step_close);
    g_assert_cmpint(s->rc, ==, s->flush->sticks ? -EIO : 0);
}

/* A read that ends where the file does not is an error, and not zeroes. */
static void read_ends_early(struct step *s, struct manual *m)
{
    step_start(s, step_read);
    manual_complete_short(m, 0, 512);
    manual_complete_short(m, 0, 0);
    g_assert_true(s->done);
    g_assert_cmpint(s->rc, ==, -EIO);
}

/* The last two blocks, of which the file has 100 bytes of the second. */
#define TAIL_BYTES 100

static void step_write_tail(void *opaque)
{
    struct step *s = opaque;
    char *buf = node_try_alloc(s->node, 4096 + TAIL_BYTES);

    co_assert_role();
    memset(buf, 't', 4096 + TAIL_BYTES);
    s->rc = node_co_pwrite(s->node, 4096, buf, 4096 + TAIL_BYTES, REQ_FUA);
    free(buf);
    s->done = true;
}

/*
 * What ends within a block is written in two parts.  When the first fails, so
 * does the whole, before the second; durable means both; and the second went
 * through the page cache, so that a flush that fails has lost it.
 */
static void tail_by_hand(struct step *s, struct manual *m)
{
    bool fua;

    if (is_in_memory(s->path)) {
        step_do(s, m, step_close);
        g_test_skip("the file system has no blocks");
        return;
    }
    step_start(s, step_write_tail);
    g_assert_cmpint(manual_peek(m, 0)->iovs.bytes, ==, 4096);
    manual_fail(m, 0, -EIO);
    g_assert_true(s->done);
    g_assert_cmpint(s->rc, ==, -EIO);

    step_start(s, step_write_tail);
    fua = manual_peek(m, 0)->flags & ENGINE_FUA;
    manual_complete(m, 0);
    if (!fua) { /* where the host cannot, it syncs */
        g_assert_cmpint(manual_peek(m, 0)->op, ==, ENGINE_FDSYNC);
        manual_complete(m, 0);
    }
    g_assert_cmpint(manual_peek(m, 0)->iovs.bytes, ==, TAIL_BYTES);
    g_assert_cmpint(!!(manual_peek(m, 0)->flags & ENGINE_FUA), ==, fua);
    manual_complete(m, 0);
    g_assert_cmpint(manual_pending(m), ==, !fua);
    manual_complete_all(m);
    g_assert_true(s->done);
    g_assert_cmpint(s->rc, ==, 0);

    step_start(s, step_flush);
    manual_fail(m, 0, -EIO);
    g_assert_cmpint(s->rc, ==, -EIO);
    step_do(s, m, step_write_tail);
    step_start(s, step_flush);
    g_assert_true(s->done);
    g_assert_cmpint(s->rc, ==, -EIO);
    step_do(s, m, step_close);
    g_assert_cmpint(s->rc, ==, -EIO);
}

static void by_hand(const struct flush_case *flush, int64_t length,
                    void (*steps)(struct step *s, struct manual *m))
{
    struct step s = {.flush = flush};
    g_autofree char *path = NULL;
    struct manual *m;
    struct loop *loop;
    int fd = g_file_open_tmp("coblk-file-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, length), ==, 0);
    g_assert_cmpint(loop_new(&loop), ==, 0);
    loop_adopt(loop);
    m = manual_new(loop);
    s.path = path;
    step_do(&s, m, step_open);
    if (s.node) {
        steps(&s, m);
    } else {
        g_test_skip("the file system has no O_DIRECT");
    }
    manual_free(m);
    loop_free(loop);
    (void)close(fd);
    (void)g_unlink(path);
}

static void errors_by_hand(struct step *s, struct manual *m)
{
    read_ends_early(s, m);
    flush_fails(s, m);
}

static void test_errors_by_hand(gconstpointer data)
{
    by_hand(data, 8192, errors_by_hand);
}

static void test_tail_by_hand(void)
{
    by_hand(&flush_direct, 8192 + TAIL_BYTES, tail_by_hand);
}

/* -- A full disk ---------------------------------------------------------- */

static void co_fn check_full(const char *path, const char *aio, unsigned flags)
{
    g_autofree char *more = g_strdup_printf("aio=%s", aio);
    g_autofree char *data = g_malloc(512 * KiB);
    struct stat st;
    GError *err = NULL;
    struct node *n =
        node_co_open(file_options(path, more), NODE_RDWR | flags, &err);

    g_assert_no_error(err);
    memset(data, 'x', 512 * KiB);
    g_assert_cmpint(node_co_pwrite(n, 0, data, 512 * KiB, 0), ==, -ENOSPC);
    g_assert_cmpint(node_length(n), ==, 1 * MiB);

    /* It goes on as soon as there is room. */
    g_assert_cmpint(node_co_pwrite_zeroes(n, 0, 1 * MiB, REQ_MAY_UNMAP), ==, 0);
    g_assert_cmpint(node_co_pwrite(n, 0, data, 64 * KiB, 0), ==, 0);
    g_assert_cmpint(node_co_pread(n, 64 * KiB, data, 64 * KiB), ==, 0);
    g_assert_true(buf_is_zero(data, 64 * KiB));

    /* A file that cannot grow as asked stays as it was. */
    g_assert_cmpint(node_co_truncate(n, 4 * MiB, PREALLOC_FULL, 0, &err), ==,
                    -ENOSPC);
    g_clear_error(&err);
    g_assert_cmpint(g_stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, 1 * MiB);
    g_assert_cmpint(node_length(n), ==, 1 * MiB);
    file_close(n);
}

static void co_fn body_full(struct fixture *f)
{
    g_autofree char *folder = g_dir_make_tmp("coblk-full-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, "image", NULL);
    int fd;

    if (mount("coblk-test", folder, "tmpfs", 0, "size=256k") == 0) {
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        g_assert_cmpint(ftruncate(fd, 1 * MiB), ==, 0);
        (void)close(fd);
        check_full(path, "threads", NODE_UNMAP);
        fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
        if (fd >= 0) {
            (void)close(fd);
            check_full(path, "native", NODE_UNMAP | NODE_DIRECT);
        }
        g_assert_cmpint(umount(folder), ==, 0);
    } else {
        g_test_skip("no file system can be mounted to be filled");
    }
    (void)g_rmdir(folder);
}

/* -- Several loops -------------------------------------------------------- */

enum {
    N_LOOPS = 3,
    LOOP_ROUNDS = 50,
    LOOP_BYTES = 16384,
};

/* One loop's share of the work on a node that all loops use. */
struct share {
    struct node *node;
    struct loop *main; /* counts down @left there */
    int64_t offset;
    int *left;
};

static void share_done(void *opaque)
{
    struct share *s = opaque;

    (*s->left)--;
}

static void share_run(void *opaque)
{
    struct share *s = opaque;
    g_autofree char *data = g_malloc(LOOP_BYTES);
    g_autofree char *got = g_malloc(LOOP_BYTES);

    co_assert_role();
    for (int i = 0; i < LOOP_ROUNDS; i++) {
        unsigned flags = i % 10 ? 0 : REQ_FUA;

        memset(data, 'a' + (i + (int)(s->offset / LOOP_BYTES)) % 26,
               LOOP_BYTES);
        g_assert_cmpint(
            node_co_pwrite(s->node, s->offset, data, LOOP_BYTES, flags), ==, 0);
        g_assert_cmpint(node_co_pread(s->node, s->offset, got, LOOP_BYTES), ==,
                        0);
        g_assert_cmpmem(got, LOOP_BYTES, data, LOOP_BYTES);
    }
    g_assert_cmpint(node_co_flush(s->node), ==, 0);
    bh_oneshot(s->main, share_done, s);
}

static void share_start(void *opaque)
{
    loop_co_start(co_new(share_run, opaque));
}

/* Each loop uses an engine of its own; they share the node. */
static void co_fn body_loops(struct fixture *f)
{
    struct iothread *threads[N_LOOPS];
    struct share shares[N_LOOPS];
    int left = N_LOOPS;
    struct node *n;

    make_file(f, N_LOOPS * LOOP_BYTES);
    n = file_open(f, NODE_RDWR);
    for (int i = 0; i < N_LOOPS; i++) {
        shares[i] = (struct share){n, f->loop, i * LOOP_BYTES, &left};
        g_assert_cmpint(iothread_new("test", &threads[i]), ==, 0);
        bh_oneshot(iothread_loop(threads[i]), share_start, &shares[i]);
    }
    while (left > 0) {
        co_sleep_ns(100000);
    }
    for (int i = 0; i < N_LOOPS; i++) {
        iothread_free(threads[i]);
    }
    file_close(n);
}

/* -- Opening -------------------------------------------------------------- */

static const struct open_case {
    const char *name;
    const char *path; /* NULL: a file that is there; "…/": beside it */
    const char *options;
    unsigned flags;
    int code;         /* of the error */
    const char *says; /* part of the message */
} open_cases[] = {
    {"no-name", "", "driver=file", 0, EINVAL, "filename=PATH"},
    {"missing", "/nonexistent/disk.img", "", 0, ENOENT, "no such file"},
    {"not-a-folder", "/dev/null/disk.img", "", 0, ENOTDIR, "no such file"},
    {"directory", "/", "", 0, EISDIR, "is a directory"},
    {"device", "/dev/null", "", 0, EINVAL, "use driver=host_device"},
    {"regular-as-device", NULL, "driver=host_device", 0, EINVAL,
     "use driver=file"},
    {"no-direct-io", "/proc/version", "locking=off", NODE_DIRECT, EOPNOTSUPP,
     "use cache=writeback"},
    {"native-needs-direct", NULL, "aio=native", 0, EINVAL,
     "aio=native works only with cache=none"},
    {"unknown-aio", NULL, "aio=steam", 0, EINVAL, "native, threads"},
    {"unknown-locking", NULL, "locking=maybe", 0, EINVAL, "auto, off, on"},
    {"force-is-for-devices", NULL, "force=on", 0, EINVAL, "'force'"},
};

static const struct open_case *open_case; /* that runs now */

static void co_fn body_open_error(struct fixture *f)
{
    const struct open_case *c = open_case;
    const char *path = c->path ? c->path : f->path;
    struct options *o = file_options(path, c->options);
    struct node *n = node_co_open(o, c->flags, &f->err);

    g_assert_null(n);
    g_assert_error(f->err, COBLK_ERROR, c->code);
    g_assert_nonnull(strstr(f->err->message, c->says));
    g_assert_null(strchr(f->err->message, '\n'));
    if (*path && !strchr(c->options, '=')) {
        g_assert_nonnull(strstr(f->err->message, path));
    }
    g_clear_error(&f->err);
}

static void test_open_error(gconstpointer data)
{
    static const struct way plain = {"", NULL, "threads", 0};

    open_case = data;
    run(&plain, body_open_error);
}

/* A device that has no data is open all the same, as in QEMU. */
static void co_fn body_empty_device(struct fixture *f)
{
    struct options *o = file_options("/dev/null", "driver=host_device");
    struct node *n = node_co_open(o, NODE_RDWR, &f->err);

    g_assert_no_error(f->err);
    g_assert_cmpint(node_length(n), ==, 0);
    g_assert_cmpint(node_co_unref(n), ==, 0);
}

/* The name of a node is one that a person could type. */
static void co_fn body_name_with_colon(struct fixture *f)
{
    g_autofree char *cwd = g_get_current_dir();
    g_autofree char *dir = g_path_get_dirname(f->path);
    struct node *n;

    g_assert_cmpint(g_chdir(dir), ==, 0);
    g_assert_true(g_file_set_contents("a:b", "x", 1, NULL));
    n = node_co_open(file_options("a:b", ""), 0, &f->err);
    g_assert_no_error(f->err);
    g_assert_cmpstr(node_filename(n), ==, "./a:b");
    g_assert_cmpint(node_co_unref(n), ==, 0);
    g_assert_cmpint(g_unlink("a:b"), ==, 0);
    g_assert_cmpint(g_chdir(cwd), ==, 0);
}

static void co_fn body_no_permission(struct fixture *f)
{
    struct node *n;

    g_assert_cmpint(fchmod(f->fd, 0444), ==, 0);
    if (geteuid() == 0) {
        g_assert_cmpint(seteuid(65534), ==, 0);
    }
    n = node_co_open(file_options(f->path, ""), NODE_RDWR, &f->err);
    g_assert_null(n);
    g_assert_error(f->err, COBLK_ERROR, EACCES);
    g_assert_nonnull(strstr(f->err->message, "read-only (ro)"));
    g_clear_error(&f->err);

    n = node_co_open(file_options(f->path, ""), 0, &f->err);
    g_assert_no_error(f->err);
    file_close(n);
    if (getuid() == 0) {
        g_assert_cmpint(seteuid(0), ==, 0);
    }
}

static int broken_get(struct loop *loop, struct engine **ret)
{
    return -EAGAIN;
}

static const struct engine_provider engine_broken = {"broken", broken_get};

static void collect(void *opaque, const char *key, const char *value)
{
    g_hash_table_replace(opaque, g_strdup(key), g_strdup(value));
}

/* When Linux AIO is used up, I/O goes on with threads, and says so. */
static void co_fn body_aio_used_up(struct fixture *f)
{
    GHashTable *said =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    char data[100];
    struct node *n;

    engine_provider_add(&engine_broken);
    n = node_co_open(file_options(f->path, "aio=broken"), NODE_RDWR, &f->err);
    g_assert_no_error(f->err);
    node_driver(n)->describe(n, collect, said);
    g_assert_cmpstr(g_hash_table_lookup(said, "aio"), ==, "threads");
    g_assert_nonnull(
        strstr(g_hash_table_lookup(said, "warning"), "aio-max-nr"));
    fill(data, sizeof(data));
    g_assert_cmpint(node_co_pwrite(n, 0, data, 100, 0), ==, 0);
    assert_bytes(f, 0, data, 100);
    file_close(n);
    g_hash_table_unref(said);
}

/* -- null ----------------------------------------------------------------- */

static void co_fn body_null(struct fixture *f)
{
    struct options *o = options_new();
    struct block_status st;
    char buf[100];
    struct node *n;

    options_set(o, "driver", "null");
    options_set(o, "size", "1M");
    n = node_co_open(o, NODE_RDWR, &f->err);
    g_assert_no_error(f->err);
    g_assert_cmpint(node_length(n), ==, 1 * MiB);
    memset(buf, 'x', sizeof(buf));
    g_assert_cmpint(node_co_pwrite(n, 50, buf, 100, 0), ==, 0);
    g_assert_cmpint(node_co_pread(n, 50, buf, 100), ==, 0);
    g_assert_true(buf_is_zero(buf, 100));
    st = status_at(n, 0);
    g_assert_true(st.flags & BLOCK_ZERO);
    g_assert_cmpint(st.bytes, ==, 1 * MiB);
    file_close(n);
}

static void co_fn body_null_options(struct fixture *f)
{
    struct options *o = options_new();
    char buf[2] = "x";
    int64_t start;
    struct node *n;

    options_set(o, "driver", "null");
    options_set(o, "read-zeroes", "off");
    options_set(o, "latency-ns", "2000000");
    n = node_co_open(o, 0, &f->err);
    g_assert_no_error(f->err);
    start = loop_now();
    g_assert_cmpint(node_co_pread(n, 0, buf, 1), ==, 0);
    g_assert_cmpint(loop_now() - start, >=, 2000000);
    g_assert_cmpstr(buf, ==, "x");
    file_close(n);
}

/* -- The list ------------------------------------------------------------- */

struct body {
    const char *name;
    void (*fn)(struct fixture *f);
};

static const struct body per_way[] = {
    {"round-trip", body_round_trip},
    {"fua-and-flush", body_fua_and_flush},
    {"tail", body_tail},
    {"tail-zeroes", body_tail_zeroes},
    {"grow-by-write", body_grow_by_write},
    {"truncated-underneath", body_truncated_underneath},
    {"status-truncated", body_status_truncated},
    {"status", body_status},
    {"status-tail", body_status_tail},
    {"zeroes", body_zeroes},
    {"zeroes-grow", body_zeroes_grow},
    {"discard", body_discard},
    {"allocate", body_allocate},
    {"truncate", body_truncate},
    {"truncate-refused", body_truncate_refused},
    {"copy-range", body_copy_range},
    {"stat", body_stat},
    {"invalidate", body_invalidate},
    {"limits", body_limits},
    {"loops", body_loops},
};

static const struct body once[] = {
    {"full", body_full},
    {"cached-read", body_cached_read},
    {"empty-device", body_empty_device},
    {"name-with-colon", body_name_with_colon},
    {"no-permission", body_no_permission},
    {"aio-used-up", body_aio_used_up},
    {"null", body_null},
    {"null-options", body_null_options},
};

struct run_data {
    const struct way *way;
    const struct body *body;
};

static void test_body(gconstpointer data)
{
    const struct run_data *r = data;

    run(r->way, r->body->fn);
}

static void add(const struct way *w, const struct body *b)
{
    struct run_data *r = g_new(struct run_data, 1);
    g_autofree char *path = g_strdup_printf("/file/%s/%s", w->name, b->name);

    *r = (struct run_data){w, b};
    g_test_add_data_func_full(path, r, test_body, g_free);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    driver_register(&driver_file);
    driver_register(&driver_host_device);
    driver_register(&driver_null);

    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++) {
        for (size_t j = 0; j < G_N_ELEMENTS(per_way); j++) {
            add(&ways[i], &per_way[j]);
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(once); i++) {
        add(&ways[0], &once[i]);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(open_cases); i++) {
        g_autofree char *path =
            g_strdup_printf("/file/open/%s", open_cases[i].name);

        g_test_add_data_func(path, &open_cases[i], test_open_error);
    }
    g_test_add_data_func("/file/errors/buffered", &flush_buffered,
                         test_errors_by_hand);
    g_test_add_data_func("/file/errors/direct", &flush_direct,
                         test_errors_by_hand);
    g_test_add_func("/file/errors/tail", test_tail_by_hand);
    return g_test_run();
}
