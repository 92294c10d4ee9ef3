/* SPDX-License-Identifier: MIT */
/*
 * Filters above an image: blkverify, which compares, and copy-on-read, which
 * keeps what it reads.
 */
#include <errno.h>
#include <string.h>

#include "block/image.h"
#include "fixtures.h"
#include "format/blkdebug.h"
#include "format/blkverify.h"
#include "format/copy_on_read.h"

/* -- blkverify ----------------------------------------------------------- */

#define VERIFY                                      \
    "driver=blkverify,raw.driver=mem,raw.size=64k," \
    "test.driver=mem,test.size=64k"

static struct mem *raw_of(struct node *node)
{
    return mem_of(node_child(node, "raw"));
}

static void test_verify_writes_both(void)
{
    struct node *node = open_node(VERIFY, NODE_RDWR);

    g_assert_cmpint(job_run(&job(WRITE, node, 512, 1024, .fill = 'w')), ==, 0);
    g_assert_cmpint(job_run(&job(ZEROES, node, 1024, 100)), ==, 0);
    g_assert_cmpmem(mem_of(node)->data, 65536, raw_of(node)->data, 65536);
    g_assert_true(bytes_are(mem_of(node)->data + 512, 'w', 512));
    g_assert_cmpint(job_run(&job(READ, node, 0, 4096)), ==, 0);
    close_node(node);
}

/* The first byte that differs is told, wherever the parts of the buffer end,
 * and only once. */
static void test_verify_finds(void)
{
    static const int64_t places[] = {0, 1, 99, 100, 101, 4095};

    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        struct node *node = open_node(VERIFY, NODE_RDWR);
        struct blkverify_mismatch m;
        static uint8_t buf[4096];
        struct iovec iov[] = {{buf, 100}, {buf + 100, 1}, {buf + 101, 3995}};
        struct iovs parts = iovs_of(iov, 3);

        g_assert_false(blkverify_take_mismatch(node, &m));
        mem_of(node)->data[8192 + places[i]] ^= 1;
        g_assert_cmpint(job_run(&job(READ, node, 8192, 4096, .iovs = &parts)),
                        ==, -EIO);
        g_assert_true(blkverify_take_mismatch(node, &m));
        g_assert_cmpint(m.offset, ==, 8192);
        g_assert_cmpint(m.bytes, ==, 4096);
        g_assert_cmpint(m.at, ==, 8192 + places[i]);
        g_assert_false(blkverify_take_mismatch(node, &m));
        g_assert_cmpint(job_run(&job(READ, node, 0, 8192)), ==, 0);
        close_node(node);
    }
}

/* Of two mismatches the first one is told. */
static void test_verify_first(void)
{
    struct node *node = open_node(VERIFY, NODE_RDWR);
    struct blkverify_mismatch m;

    mem_of(node)->data[100] ^= 1;
    raw_of(node)->data[5000] ^= 1;
    g_assert_cmpint(job_run(&job(READ, node, 4096, 4096)), ==, -EIO);
    g_assert_cmpint(job_run(&job(READ, node, 0, 4096)), ==, -EIO);
    g_assert_true(blkverify_take_mismatch(node, &m));
    g_assert_cmpint(m.at, ==, 5000);
    close_node(node);
}

/* A write that fails on one side fails, but goes to the other. */
static void test_verify_write_error(void)
{
    struct node *node = open_node(VERIFY, NODE_RDWR);
    struct mem *image = mem_of(node), *raw = raw_of(node);
    struct job w = job(WRITE, node, 0, 512, .fill = 'w');

    raw->hold = true;
    job_start(&w);
    mem_fail(raw, 0, -ENOSPC);
    g_assert_cmpint(job_finish(&w), ==, -ENOSPC);
    g_assert_true(bytes_are(image->data, 'w', 512));
    raw->hold = false;
    image->hold = true;
    w = job(WRITE, node, 512, 512, .fill = 'x');
    job_start(&w);
    mem_fail(image, 0, -EIO);
    g_assert_cmpint(job_finish(&w), ==, -EIO);
    g_assert_true(bytes_are(raw->data + 512, 'x', 512));
    close_node(node);
}

static void test_verify_read_error(void)
{
    struct node *node = open_node(VERIFY, NODE_RDWR);
    struct blkverify_mismatch m;
    struct job r = job(READ, node, 0, 512);

    raw_of(node)->hold = true;
    job_start(&r);
    mem_fail(raw_of(node), 0, -ENODEV);
    g_assert_cmpint(job_finish(&r), ==, -ENODEV);
    g_assert_false(blkverify_take_mismatch(node, &m));
    raw_of(node)->hold = false;
    close_node(node);
}

static void test_verify_flushes_both(void)
{
    struct node *node = open_node(VERIFY, NODE_RDWR);

    g_assert_cmpint(job_run(&job(WRITE, node, 0, 512)), ==, 0);
    g_assert_cmpint(job_run(&job(FLUSH, node)), ==, 0);
    mem_expect(mem_of(node), "W0+512 F");
    mem_expect(raw_of(node), "W0+512 F");
    close_node(node);
}

static void test_verify_names(void)
{
    g_autofree char *one = open_node_error("filename=blkverify:raw", 0);
    g_autofree char *none = open_node_error("filename=blkverify::image", 0);
    g_autofree char *raw =
        open_node_error("filename=blkverify:/nonexistent/raw:image", 0);
    g_autofree char *image =
        open_node_error("driver=blkverify,raw.driver=mem,raw.size=4k,"
                        "test.filename=/nonexistent/image",
                        0);

    g_assert_nonnull(strstr(one, "two files"));
    g_assert_nonnull(strstr(none, "two files"));
    g_assert_nonnull(strstr(raw, "/nonexistent/raw"));
    g_assert_nonnull(strstr(image, "/nonexistent/image"));
}

/* -- copy-on-read -------------------------------------------------------- */

/*
 * An image of four clusters of 64 KiB above a backing file of 'b': a driver
 * that has a cluster or part of one, in pieces of 4 KiB, if something was
 * written there.
 */
#define CLUSTER 65536
#define PIECE   4096
#define PIECES  (4 * CLUSTER / PIECE)

struct thin {
    bool there[PIECES];
    uint8_t data[4 * CLUSTER];
    int writes, zeroes; /* calls */
};

static int co_fn thin_co_open(struct node *node, struct options *opts,
                              GError **err)
{
    node_set_filename(node, "thin");
    node_set_length(node, sizeof(((struct thin *)NULL)->data));
    memset(((struct thin *)node_state(node))->data, 'b', 4 * CLUSTER);
    return 0;
}

static int co_fn thin_co_preadv(struct node *node, int64_t offset,
                                const struct iovs *dst)
{
    struct thin *t = node_state(node);

    iovs_from_buf(dst, 0, t->data + offset, dst->bytes);
    return 0;
}

static void thin_set(struct thin *t, int64_t offset, int64_t bytes)
{
    g_assert_cmpint(offset % PIECE, ==, 0);
    g_assert_cmpint(bytes % PIECE, ==, 0);
    for (int64_t i = offset / PIECE; i < (offset + bytes) / PIECE; i++) {
        t->there[i] = true;
    }
}

static int co_fn thin_co_pwritev(struct node *node, int64_t offset,
                                 const struct iovs *src, unsigned flags)
{
    struct thin *t = node_state(node);

    t->writes++;
    thin_set(t, offset, src->bytes);
    iovs_to_buf(src, 0, t->data + offset, src->bytes);
    return 0;
}

static int co_fn thin_co_pwrite_zeroes(struct node *node, int64_t offset,
                                       int64_t bytes, unsigned flags)
{
    struct thin *t = node_state(node);

    t->zeroes++;
    thin_set(t, offset, bytes);
    memset(t->data + offset, 0, (size_t)bytes);
    return 0;
}

static int co_fn thin_co_block_status(struct node *node, bool precise,
                                      int64_t offset, int64_t bytes,
                                      struct block_status *ret)
{
    const struct thin *t = node_state(node);
    int64_t i = offset / PIECE, end = (i + 1) * PIECE;

    while (end < offset + bytes && t->there[end / PIECE] == t->there[i]) {
        end += PIECE;
    }
    *ret = (struct block_status){
        .flags = t->there[i] ? BLOCK_DATA | BLOCK_ALLOCATED : 0,
        .bytes = MIN(end - offset, bytes),
    };
    return 0;
}

static void thin_limits(struct node *node, struct node_limits *l)
{
    l->request_align = PIECE;
}

static int co_fn thin_co_info(struct node *node, struct image_info *ret)
{
    *ret = (struct image_info){.cluster_size = CLUSTER};
    return 0;
}

static const struct image_ops thin_image = {.co_info = thin_co_info};

static const struct driver driver_thin = {
    .name = "thin",
    .state_size = sizeof(struct thin),
    .traits = DRIVER_LEAF,
    .image = &thin_image,
    .limits = thin_limits,
    .co_open = thin_co_open,
    .co_preadv = thin_co_preadv,
    .co_pwritev = thin_co_pwritev,
    .co_pwrite_zeroes = thin_co_pwrite_zeroes,
    .co_block_status = thin_co_block_status,
};

static struct node *open_cor(void)
{
    return open_node("driver=copy-on-read,file.driver=thin", NODE_RDWR);
}

static struct thin *thin_of(struct node *node)
{
    while (node_file(node)) {
        node = node_file(node);
    }
    return node_state(node);
}

/* Reads, and asserts that every byte is @want. */
static void expect_read(struct node *node, int64_t offset, int64_t bytes,
                        int want)
{
    struct job r = job(READ, node, offset, bytes);

    job_start(&r);
    g_assert_true(r.done);
    g_assert_true(bytes_are(r.buf, want, bytes));
    g_assert_cmpint(job_finish(&r), ==, 0);
}

/* Are exactly the pieces of [@from, @to) there? */
static void expect_there(struct node *node, int64_t from, int64_t to)
{
    const struct thin *t = thin_of(node);

    for (int64_t i = 0; i < PIECES; i++) {
        g_assert_cmpint(t->there[i], ==, i * PIECE >= from && i * PIECE < to);
    }
}

/* Whole clusters are kept, in one write each time; then there is no more to
 * keep. */
static void test_cor_keeps(void)
{
    struct node *node = open_cor();

    expect_read(node, CLUSTER + 5, 10, 'b');
    expect_there(node, CLUSTER, 2 * CLUSTER);
    g_assert_cmpint(thin_of(node)->writes, ==, 1);
    expect_read(node, CLUSTER, CLUSTER, 'b');
    g_assert_cmpint(thin_of(node)->writes, ==, 1);
    expect_read(node, 2 * CLUSTER - 1, 2, 'b');
    expect_there(node, CLUSTER, 3 * CLUSTER);
    g_assert_cmpint(thin_of(node)->writes, ==, 2);
    close_node(node);
}

/* What the image has stays, within a cluster as well. */
static void test_cor_leaves(void)
{
    struct node *node = open_cor();
    struct job r = job(READ, node, 0, 2 * CLUSTER);

    g_assert_cmpint(job_run(&job(WRITE, node, 8192, 4096, .fill = 'w')), ==, 0);
    expect_read(node, 8192, 4096, 'w');
    expect_there(node, 8192, 12288); /* a read of that keeps nothing */
    expect_read(node, 12288, 1, 'b');
    expect_there(node, 8192, CLUSTER);
    job_start(&r);
    g_assert_true(bytes_are(r.buf, 'b', 8192));
    g_assert_true(bytes_are(r.buf + 8192, 'w', 4096));
    g_assert_true(bytes_are(r.buf + 12288, 'b', 2 * CLUSTER - 12288));
    g_assert_cmpint(job_finish(&r), ==, 0);
    expect_there(node, 0, 2 * CLUSTER);
    g_assert_true(bytes_are(thin_of(node)->data + 8192, 'w', 4096));
    close_node(node);
}

static void test_cor_zeroes(void)
{
    struct node *node = open_cor();

    memset(thin_of(node)->data, 0, CLUSTER);
    expect_read(node, 100, 100, 0);
    expect_there(node, 0, CLUSTER);
    g_assert_cmpint(thin_of(node)->zeroes, ==, 1);
    g_assert_cmpint(thin_of(node)->writes, ==, 0);
    close_node(node);
}

static void ignore(void *opaque, const char *tag, bool held)
{
}

/*
 *   read            write            image
 *   begins                           is read
 *   is held         begins
 *                   waits
 *   goes on                          is written: what was read
 *   ends                             is written: the write
 *                   ends
 * Had the write not waited, the read would have undone it.
 */
static void test_cor_write_waits(void)
{
    struct node *node = open_node(
        "driver=copy-on-read,file.driver=blkdebug,file.image.driver=thin",
        NODE_RDWR);
    struct job r = job(READ, node, 0, 512);
    struct job w = job(WRITE, node, 4096, 4096, .fill = 'w');

    g_assert_cmpint(blkdebug_break(node, "cor_write", "x", ignore, NULL), ==,
                    0);
    job_start(&r);
    g_assert_true(blkdebug_is_held(node, "x"));
    job_start(&w);
    g_assert_false(w.done);
    expect_there(node, 0, 0);
    g_assert_cmpint(blkdebug_resume(node, "x"), ==, 0);
    g_assert_cmpint(job_finish(&r), ==, 0);
    g_assert_cmpint(job_finish(&w), ==, 0);
    expect_there(node, 0, CLUSTER);
    g_assert_true(bytes_are(thin_of(node)->data + 4096, 'w', 4096));
    close_node(node);
}

static void test_cor_read_only(void)
{
    g_autofree char *message =
        open_node_error("driver=copy-on-read,file.driver=thin", 0);

    g_assert_nonnull(strstr(message, "read-only"));
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    fixture_register();
    driver_register(&driver_blkdebug);
    driver_register(&driver_blkverify);
    driver_register(&driver_copy_on_read);
    driver_register(&driver_thin);
    g_test_add_func("/blkverify/writes-both", test_verify_writes_both);
    g_test_add_func("/blkverify/finds", test_verify_finds);
    g_test_add_func("/blkverify/first", test_verify_first);
    g_test_add_func("/blkverify/write-error", test_verify_write_error);
    g_test_add_func("/blkverify/read-error", test_verify_read_error);
    g_test_add_func("/blkverify/flush", test_verify_flushes_both);
    g_test_add_func("/blkverify/names", test_verify_names);
    g_test_add_func("/copy-on-read/keeps", test_cor_keeps);
    g_test_add_func("/copy-on-read/leaves", test_cor_leaves);
    g_test_add_func("/copy-on-read/zeroes", test_cor_zeroes);
    g_test_add_func("/copy-on-read/write-waits", test_cor_write_waits);
    g_test_add_func("/copy-on-read/read-only", test_cor_read_only);
    rc = g_test_run();
    fixture_loop_free();
    return rc;
}
