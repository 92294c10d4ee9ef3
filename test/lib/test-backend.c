/* SPDX-License-Identifier: MIT */
/*
 * libcoblk: images, and drivers of one's own, seen through the installed
 * headers only.
 */
#include <coblk/backend.h>
#include <coblk/driver.h>
#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define KiB INT64_C(1024)

static struct coblk_loop *loop;
static char *image; /* 64 KiB: each byte is the number of its KiB */

static void make_image(void)
{
    char *data = g_malloc(64 * KiB);

    for (int i = 0; i < 64; i++) {
        memset(data + i * KiB, i, KiB);
    }
    g_assert_true(g_file_set_contents(image, data, 64 * KiB, NULL));
    g_free(data);
}

static struct coblk_backend *open_image(const char *opts, unsigned flags)
{
    struct coblk_backend *be;
    char *error = NULL;
    int rc = coblk_backend_open_blocking(loop, image, opts, flags, &be, &error);

    if (rc < 0) {
        g_error("%s", error);
    }
    return be;
}

/* Opening @filename must fail with @want and a message that names @what. */
static void assert_open_fails(const char *filename, const char *opts,
                              unsigned flags, int want, const char *what)
{
    struct coblk_backend *be = NULL;
    char *error = NULL;

    g_assert_cmpint(
        coblk_backend_open_blocking(loop, filename, opts, flags, &be, &error),
        ==, want);
    g_assert_null(be);
    g_assert_nonnull(strstr(error, what));
    free(error);
    g_assert_cmpint(
        coblk_backend_open_blocking(loop, filename, opts, flags, &be, NULL), ==,
        want);
}

/* -- Images -------------------------------------------------------------- */

static void test_round_trip(void)
{
    static const char text[] = "across sectors";
    struct coblk_backend *be;
    char *data, buf[sizeof(text)];
    gsize n;

    make_image();
    be = open_image(NULL, COBLK_RDWR);
    g_assert_cmpint(coblk_backend_length(be), ==, 64 * KiB);
    g_assert_cmpstr(coblk_backend_format(be), ==, "raw");
    g_assert_cmpint(
        coblk_backend_write_blocking(be, 8 * KiB - 3, text, sizeof(text)), ==,
        0);
    g_assert_cmpint(
        coblk_backend_read_blocking(be, 8 * KiB - 3, buf, sizeof(buf)), ==, 0);
    g_assert_cmpmem(buf, sizeof(buf), text, sizeof(text));
    g_assert_cmpint(coblk_backend_flush_blocking(be), ==, 0);
    g_assert_cmpint(coblk_backend_close_blocking(be), ==, 0);

    g_assert_true(g_file_get_contents(image, &data, &n, NULL));
    g_assert_cmpuint(n, ==, 64 * KiB);
    g_assert_cmpint(data[8 * KiB - 4], ==, 7);
    g_assert_cmpmem(data + 8 * KiB - 3, sizeof(text), text, sizeof(text));
    g_assert_cmpint(data[8 * KiB - 3 + sizeof(text)], ==, 8);
    g_free(data);
    g_assert_cmpint(coblk_backend_close_blocking(NULL), ==, 0);
}

static void test_refuses(void)
{
    struct coblk_backend *be;
    char buf[2] = "";

    make_image();
    be = open_image(NULL, 0);
    g_assert_cmpint(coblk_backend_write_blocking(be, 0, buf, 2), ==, -EROFS);
    g_assert_cmpint(coblk_backend_read_blocking(be, 64 * KiB - 1, buf, 2), ==,
                    -EIO);
    g_assert_cmpint(coblk_backend_close_blocking(be), ==, 0);
}

static void test_open_errors(void)
{
    make_image();
    assert_open_fails("/nonexistent/image", NULL, 0, -ENOENT,
                      "/nonexistent/image");
    assert_open_fails(image, "driver=floppy", 0, -ENOENT, "floppy");
    assert_open_fails(image, "colour=blue", 0, -EINVAL, "colour");
    assert_open_fails(NULL, NULL, 0, -EINVAL, "driver=");
}

/* One of many coroutines, each of which has a KiB of its own. */
struct writer {
    struct coblk_backend *be;
    struct coblk_co *waiter;
    int *running;
    int number;
};

static void write_own(void *opaque)
{
    struct writer *w = opaque;
    char a[512], b[512], got[KiB];
    struct iovec src[] = {{a, sizeof(a)}, {b, sizeof(b)}};
    struct iovec dst[] = {{got, 100}, {got + 100, KiB - 100}};

    memset(a, 'a', sizeof(a));
    memset(b, w->number, sizeof(b));
    g_assert_cmpint(coblk_backend_co_writev(w->be, w->number * KiB, src, 2), ==,
                    0);
    g_assert_cmpint(coblk_backend_co_readv(w->be, w->number * KiB, dst, 2), ==,
                    0);
    g_assert_cmpmem(got, 512, a, 512);
    g_assert_cmpmem(got + 512, 512, b, 512);
    if (--*w->running == 0) {
        coblk_co_wake(w->waiter);
    }
}

static void write_many(void *opaque)
{
    struct coblk_backend *be = opaque;
    struct writer writers[64];
    int running = 64;

    for (int i = 0; i < 64; i++) {
        writers[i] = (struct writer){be, coblk_co_self(), &running, i};
        coblk_co_enter(coblk_co_new(write_own, &writers[i]));
    }
    g_assert_cmpint(running, >, 0); /* they are under way at once */
    coblk_co_yield();
    g_assert_cmpint(running, ==, 0);
    g_assert_cmpint(coblk_backend_co_flush(be), ==, 0);
}

static void test_concurrent(void)
{
    struct coblk_backend *be;

    make_image();
    be = open_image("driver=raw", COBLK_RDWR);
    g_assert_cmpint(coblk_loop_run_co(loop, write_many, be), ==, 0);
    g_assert_cmpint(coblk_backend_close_blocking(be), ==, 0);
}

static void zero_and_discard(void *opaque)
{
    static const char zeroes[2048];
    struct coblk_backend *be = opaque;
    char buf[2048 + 2];

    g_assert_cmpint(coblk_backend_co_write_zeroes(be, 8 * KiB, 2048), ==, 0);
    g_assert_cmpint(coblk_backend_co_read(be, 8 * KiB - 1, buf, sizeof(buf)),
                    ==, 0);
    g_assert_cmpint(buf[0], ==, 7);
    g_assert_cmpmem(buf + 1, 2048, zeroes, 2048);
    g_assert_cmpint(buf[2049], ==, 10);

    /* Without COBLK_UNMAP a discard leaves everything as it is. */
    g_assert_cmpint(coblk_backend_co_discard(be, 16 * KiB, 4096), ==, 0);
    g_assert_cmpint(coblk_backend_co_read(be, 16 * KiB, buf, 1), ==, 0);
    g_assert_cmpint(buf[0], ==, 16);
}

static void test_zeroes_and_discard(void)
{
    struct coblk_backend *be;

    make_image();
    be = open_image("driver=raw", COBLK_RDWR);
    g_assert_cmpint(coblk_loop_run_co(loop, zero_and_discard, be), ==, 0);
    g_assert_cmpint(coblk_backend_close_blocking(be), ==, 0);
}

/* -- Threads ------------------------------------------------------------- */

static void *use_from_thread(void *opaque)
{
    struct coblk_backend *be;
    char c = 0;

    g_assert_cmpint(
        coblk_backend_open_blocking(loop, image, NULL, 0, &be, NULL), ==, 0);
    g_assert_cmpint(coblk_backend_read_blocking(be, 9 * KiB, &c, 1), ==, 0);
    g_assert_cmpint(c, ==, 9);
    g_assert_cmpint(coblk_backend_close_blocking(be), ==, 0);
    coblk_loop_stop(loop);
    return NULL;
}

/* A thread without a loop uses this one's. */
static void test_from_other_thread(void)
{
    pthread_t thread;

    make_image();
    g_assert_cmpint(pthread_create(&thread, NULL, use_from_thread, NULL), ==,
                    0);
    coblk_loop_run(loop);
    g_assert_cmpint(pthread_join(thread, NULL), ==, 0);
}

/* -- A driver of one's own ----------------------------------------------- */

/* A disk in memory, in blocks of 512 bytes, at most 4 KiB at a time. */
struct mem {
    char *data;
};

static struct {
    int reads, writes, flushes, closes;
    int fail_writes; /* what they return */
} calls;

static int mem_co_open(struct coblk_node *node, struct coblk_options *opts,
                       char **error)
{
    struct mem *m = coblk_node_state(node);
    char *greeting = coblk_options_take(opts, "greeting");
    int64_t size = 8 * KiB;
    int rc = coblk_options_take_size(opts, "size", &size, error);

    g_assert_null(m->data);
    if (rc >= 0 && size % 512) {
        rc =
            coblk_error(error, -EINVAL, "mem: size=%d is no sector", (int)size);
    }
    if (rc >= 0) {
        m->data = g_malloc0(size);
        memcpy(m->data, greeting ? greeting : "", strlen(greeting ?: ""));
        coblk_node_set_length(node, size);
    }
    free(greeting);
    return rc < 0 ? rc : 0;
}

static void mem_co_close(struct coblk_node *node)
{
    struct mem *m = coblk_node_state(node);

    g_free(m->data);
    calls.closes++;
}

static void assert_aligned(struct coblk_node *node, int64_t offset,
                           const struct iovec *iov, int n, int64_t bytes)
{
    int64_t sum = 0;

    for (int i = 0; i < n; i++) {
        sum += iov[i].iov_len;
    }
    g_assert_cmpint(sum, ==, bytes);
    g_assert_cmpint(bytes, >, 0);
    g_assert_cmpint(bytes, <=, 4 * KiB);
    g_assert_cmpint(offset % 512, ==, 0);
    g_assert_cmpint(bytes % 512, ==, 0);
    g_assert_cmpint(offset + bytes, <=, coblk_node_length(node));
}

static int mem_co_readv(struct coblk_node *node, int64_t offset,
                        const struct iovec *iov, int n, int64_t bytes)
{
    struct mem *m = coblk_node_state(node);

    assert_aligned(node, offset, iov, n, bytes);
    calls.reads++;
    coblk_co_sleep(0);
    for (int i = 0; i < n; i++) {
        memcpy(iov[i].iov_base, m->data + offset, iov[i].iov_len);
        offset += iov[i].iov_len;
    }
    return 0;
}

static int mem_co_writev(struct coblk_node *node, int64_t offset,
                         const struct iovec *iov, int n, int64_t bytes)
{
    struct mem *m = coblk_node_state(node);

    assert_aligned(node, offset, iov, n, bytes);
    if (calls.fail_writes) {
        return calls.fail_writes;
    }
    calls.writes++;
    for (int i = 0; i < n; i++) {
        memcpy(m->data + offset, iov[i].iov_base, iov[i].iov_len);
        offset += iov[i].iov_len;
    }
    return 0;
}

static int mem_co_flush(struct coblk_node *node)
{
    calls.flushes++;
    return 0;
}

static const struct coblk_driver driver_mem = {
    .name = "mem",
    .state_size = sizeof(struct mem),
    .traits = COBLK_DRIVER_LEAF,
    .align = 512,
    .max_transfer = 4 * KiB,
    .co_open = mem_co_open,
    .co_close = mem_co_close,
    .co_readv = mem_co_readv,
    .co_writev = mem_co_writev,
    .co_flush = mem_co_flush,
};

/* Passes everything to its child but turns reads into upper case. */
static int upper_co_open(struct coblk_node *node, struct coblk_options *opts,
                         char **error)
{
    int rc = coblk_node_co_open_child(node, "file", opts, error);

    if (rc == 0) {
        coblk_node_set_length(
            node, coblk_node_length(coblk_node_child(node, "file")));
    }
    return rc;
}

static int upper_co_readv(struct coblk_node *node, int64_t offset,
                          const struct iovec *iov, int n, int64_t bytes)
{
    int rc =
        coblk_node_co_readv(coblk_node_child(node, "file"), offset, iov, n);

    for (int i = 0; i < n; i++) {
        for (size_t j = 0; j < iov[i].iov_len; j++) {
            char *c = (char *)iov[i].iov_base + j;

            *c = g_ascii_toupper(*c);
        }
    }
    return rc;
}

static int upper_co_writev(struct coblk_node *node, int64_t offset,
                           const struct iovec *iov, int n, int64_t bytes)
{
    return coblk_node_co_writev(coblk_node_child(node, "file"), offset, iov, n);
}

static const struct coblk_driver driver_upper = {
    .name = "upper",
    .co_open = upper_co_open,
    .co_readv = upper_co_readv,
    .co_writev = upper_co_writev,
};

static const struct coblk_driver driver_reader = {
    .name = "reader",
    .co_open = upper_co_open,
    .co_readv = upper_co_readv,
};

static void test_register(void)
{
    struct coblk_driver bad = driver_mem;

    g_assert_cmpint(coblk_driver_register(&driver_mem), ==, -EEXIST);
    bad.name = "raw";
    g_assert_cmpint(coblk_driver_register(&bad), ==, -EEXIST);
    bad.name = "bad";
    bad.align = 513;
    g_assert_cmpint(coblk_driver_register(&bad), ==, -EINVAL);
    bad.align = 8192; /* more than max_transfer */
    g_assert_cmpint(coblk_driver_register(&bad), ==, -EINVAL);
    bad.align = 512;
    bad.co_readv = NULL;
    g_assert_cmpint(coblk_driver_register(&bad), ==, -EINVAL);
}

/* The block layer aligns and splits for it: see assert_aligned(). */
static void test_own_leaf(void)
{
    struct coblk_backend *be;
    static char out[6000], in[6000];

    memset(&calls, 0, sizeof(calls));
    memset(out, 'x', sizeof(out));
    g_assert_cmpint(coblk_backend_open_blocking(
                        loop, NULL, "driver=mem,greeting=a,,b,size=16k",
                        COBLK_RDWR, &be, NULL),
                    ==, 0);
    g_assert_cmpint(coblk_backend_length(be), ==, 16 * KiB);
    g_assert_cmpint(coblk_backend_read_blocking(be, 0, in, 3), ==, 0);
    g_assert_cmpmem(in, 3, "a,b", 3);
    g_assert_cmpint(coblk_backend_write_blocking(be, 1, out, sizeof(out)), ==,
                    0);
    g_assert_cmpint(coblk_backend_read_blocking(be, 0, in, sizeof(in)), ==, 0);
    g_assert_cmpint(in[0], ==, 'a');
    g_assert_cmpmem(in + 1, sizeof(in) - 1, out, sizeof(in) - 1);
    g_assert_cmpint(calls.writes, >=, 2);
    g_assert_cmpint(coblk_backend_flush_blocking(be), ==, 0);
    g_assert_cmpint(calls.flushes, ==, 1);
    g_assert_cmpint(coblk_backend_close_blocking(be), ==, 0);
    g_assert_cmpint(calls.closes, ==, 1);
}

/* What went wrong with a write is still known at the end. */
static void test_failed_write(void)
{
    struct coblk_backend *be;

    memset(&calls, 0, sizeof(calls));
    g_assert_cmpint(coblk_backend_open_blocking(loop, NULL, "driver=mem",
                                                COBLK_RDWR, &be, NULL),
                    ==, 0);
    calls.fail_writes = -ENOSPC;
    g_assert_cmpint(coblk_backend_write_blocking(be, 0, "x", 1), ==, -ENOSPC);
    calls.fail_writes = 0;
    g_assert_cmpint(coblk_backend_write_blocking(be, 0, "x", 1), ==, 0);
    g_assert_cmpint(coblk_backend_flush_blocking(be), ==, 0);
    g_assert_cmpint(coblk_backend_close_blocking(be), ==, -ENOSPC);
    g_assert_cmpint(calls.closes, ==, 1);
}

static void test_own_filter(void)
{
    struct coblk_backend *be;
    char buf[5];

    make_image();
    be = open_image("driver=upper", COBLK_RDWR);
    g_assert_cmpint(coblk_backend_length(be), ==, 64 * KiB);
    g_assert_cmpint(coblk_backend_write_blocking(be, 1000, "loud!", 5), ==, 0);
    g_assert_cmpint(coblk_backend_read_blocking(be, 1000, buf, 5), ==, 0);
    g_assert_cmpmem(buf, 5, "LOUD!", 5);
    g_assert_cmpint(coblk_backend_close_blocking(be), ==, 0);

    be = open_image("driver=raw", 0);
    g_assert_cmpint(coblk_backend_read_blocking(be, 1000, buf, 5), ==, 0);
    g_assert_cmpmem(buf, 5, "loud!", 5);
    g_assert_cmpint(coblk_backend_close_blocking(be), ==, 0);

    /* On top of another driver of one's own. */
    g_assert_cmpint(coblk_backend_open_blocking(
                        loop, NULL,
                        "driver=upper,file.driver=mem,file.greeting=hello", 0,
                        &be, NULL),
                    ==, 0);
    g_assert_cmpint(coblk_backend_read_blocking(be, 0, buf, 5), ==, 0);
    g_assert_cmpmem(buf, 5, "HELLO", 5);
    g_assert_cmpint(coblk_backend_close_blocking(be), ==, 0);
}

static void test_own_errors(void)
{
    make_image();
    assert_open_fails(NULL, "driver=mem,size=1000", 0, -EINVAL, "size=1000");
    assert_open_fails(NULL, "driver=mem,size=lots", 0, -EINVAL, "size=lots");
    assert_open_fails(NULL, "driver=mem,shape=round", 0, -EINVAL, "shape");
    assert_open_fails(NULL, "driver=upper", 0, -EINVAL, "file.");
    assert_open_fails(image, "driver=reader", COBLK_RDWR, -EACCES, "reader");
}

int main(int argc, char **argv)
{
    char *dir = g_dir_make_tmp("coblk-test-lib-XXXXXX", NULL);
    int status;

    g_test_init(&argc, &argv, NULL);
    image = g_build_filename(dir, "image", NULL);
    g_assert_cmpint(coblk_driver_register(&driver_mem), ==, 0);
    g_assert_cmpint(coblk_driver_register(&driver_upper), ==, 0);
    g_assert_cmpint(coblk_driver_register(&driver_reader), ==, 0);
    g_assert_cmpint(coblk_loop_new(&loop), ==, 0);

    g_test_add_func("/lib/image/round-trip", test_round_trip);
    g_test_add_func("/lib/image/refuses", test_refuses);
    g_test_add_func("/lib/image/open-errors", test_open_errors);
    g_test_add_func("/lib/image/concurrent", test_concurrent);
    g_test_add_func("/lib/image/zeroes-and-discard", test_zeroes_and_discard);
    g_test_add_func("/lib/image/from-another-thread", test_from_other_thread);
    g_test_add_func("/lib/driver/register", test_register);
    g_test_add_func("/lib/driver/leaf", test_own_leaf);
    g_test_add_func("/lib/driver/failed-write", test_failed_write);
    g_test_add_func("/lib/driver/filter", test_own_filter);
    g_test_add_func("/lib/driver/errors", test_own_errors);
    status = g_test_run();

    coblk_loop_free(loop);
    (void)g_unlink(image);
    (void)g_rmdir(dir);
    g_free(image);
    g_free(dir);
    return status;
}
