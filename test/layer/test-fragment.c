/* SPDX-License-Identifier: MIT */
/*
 * Requests that are too long, or in too many pieces, for one call of the
 * driver.
 */
#include <errno.h>
#include <string.h>

#include "fixtures.h"

/* A scattered buffer: element i is filled with 'a' + i. */
struct scatter {
    uint8_t *buf;
    struct iovec iov[16];
    struct iovs v;
};

static struct scatter scatter_new(const int *sizes, int n)
{
    struct scatter s = {.buf = g_aligned_alloc0(1, 65536, 4096)};
    uint8_t *p = s.buf;

    for (int i = 0; i < n; i++) {
        memset(p, 'a' + i, (size_t)sizes[i]);
        s.iov[i] = (struct iovec){p, (size_t)sizes[i]};
        p += 4096; /* apart, so that elements cannot run into each other */
    }
    return s;
}

static void scatter_view(struct scatter *s, int n)
{
    s->v = iovs_of(s->iov, n);
}

static void test_max_transfer(void)
{
    struct node *node = open_node("driver=mem,size=64k,align=512,"
                                  "mem-align=512,max-transfer=4096",
                                  NODE_RDWR);
    struct mem *m = mem_of(node);
    struct job w = job(WRITE, node, 512, 9216, .fill = 'w');
    struct job r = job(READ, node, 512, 9216);

    g_assert_cmpint(job_run(&w), ==, 0);
    mem_expect(m, "W512+4096 W4608+4096 W8704+1024");
    g_assert_true(bytes_are(m->data + 512, 'w', 9216));
    g_assert_true(bytes_are(m->data + 512 + 9216, 0, 512));
    job_start(&r);
    g_assert_true(bytes_are(r.buf, 'w', 9216));
    g_assert_cmpint(job_finish(&r), ==, 0);
    mem_expect(m, "R512+4096 R4608+4096 R8704+1024");
    close_node(node);
}

/* A max_transfer that is no multiple of the block is rounded down. */
static void test_max_transfer_is_rounded(void)
{
    struct node *node = open_node("driver=mem,size=64k,align=512,"
                                  "max-transfer=1500",
                                  NODE_RDWR);

    g_assert_cmpint(node_limits(node)->max_transfer, ==, 1024);
    g_assert_cmpint(job_run(&job(WRITE, node, 0, 1536)), ==, 0);
    mem_expect(mem_of(node), "W0+1024 W1024+512");
    close_node(node);
}

static void test_max_iov(void)
{
    static const int sizes[] = {512, 1024, 512, 512, 2048};
    struct node *node = open_node("driver=mem,size=64k,align=512,"
                                  "mem-align=512,max-iov=2",
                                  NODE_RDWR);
    struct mem *m = mem_of(node);
    struct scatter s = scatter_new(sizes, 5);
    struct job w, r;

    scatter_view(&s, 5);
    w = job(WRITE, node, 0, .iovs = &s.v);
    g_assert_cmpint(job_run(&w), ==, 0);
    mem_expect(m, "W0+1536 W1536+1024 W2560+2048");
    g_assert_true(bytes_are(m->data, 'a', 512));
    g_assert_true(bytes_are(m->data + 512, 'b', 1024));
    g_assert_true(bytes_are(m->data + 1536, 'c', 512));
    g_assert_true(bytes_are(m->data + 2048, 'd', 512));
    g_assert_true(bytes_are(m->data + 2560, 'e', 2048));
    iovs_memset(&s.v, 0, 0, s.v.bytes);
    r = job(READ, node, 0, .iovs = &s.v);
    g_assert_cmpint(job_run(&r), ==, 0);
    mem_expect(m, "R0+1536 R1536+1024 R2560+2048");
    g_assert_true(bytes_are(s.iov[1].iov_base, 'b', 1024));
    g_assert_true(bytes_are(s.iov[4].iov_base, 'e', 2048));
    g_assert_cmpint(s.buf[512], ==, 0); /* between the elements */
    g_aligned_free(s.buf);
    close_node(node);
}

/* Both limits at once, cutting elements in the middle. */
static void test_both(void)
{
    static const int sizes[] = {1024, 3072, 512, 512};
    struct node *node = open_node("driver=mem,size=64k,align=512,"
                                  "mem-align=512,max-iov=2,max-transfer=2048",
                                  NODE_RDWR);
    struct mem *m = mem_of(node);
    struct scatter s = scatter_new(sizes, 4);
    struct job w;

    scatter_view(&s, 4);
    w = job(WRITE, node, 0, .iovs = &s.v);
    g_assert_cmpint(job_run(&w), ==, 0);
    mem_expect(m, "W0+2048 W2048+2048 W4096+1024");
    g_assert_true(bytes_are(m->data, 'a', 1024));
    g_assert_true(bytes_are(m->data + 1024, 'b', 3072));
    g_assert_true(bytes_are(m->data + 4096, 'c', 512));
    g_assert_true(bytes_are(m->data + 4608, 'd', 512));
    g_aligned_free(s.buf);
    close_node(node);
}

/* Elements so small that max_iov of them fill no block: what fits goes as it
 * is, the rest is copied together. */
static void test_elements_too_small(void)
{
    static const int sizes[] = {512, 100, 200, 100, 112};
    struct node *node =
        open_node("driver=mem,size=64k,align=512,max-iov=2", NODE_RDWR);
    struct mem *m = mem_of(node);
    struct scatter s = scatter_new(sizes, 5);
    struct job w, r;

    scatter_view(&s, 5);
    w = job(WRITE, node, 0, .iovs = &s.v);
    g_assert_cmpint(job_run(&w), ==, 0);
    mem_expect(m, "W0+512 W512+512");
    g_assert_true(bytes_are(m->data, 'a', 512));
    g_assert_true(bytes_are(m->data + 512, 'b', 100));
    g_assert_true(bytes_are(m->data + 912, 'e', 112));
    iovs_memset(&s.v, 0, 0, s.v.bytes);
    r = job(READ, node, 0, .iovs = &s.v);
    g_assert_cmpint(job_run(&r), ==, 0);
    mem_expect(m, "R0+512 R512+512");
    g_assert_true(bytes_are(s.iov[2].iov_base, 'c', 200));
    g_aligned_free(s.buf);
    close_node(node);
}

/*
 *   write 0+3072   driver (at most 1024)
 *   begins         W0+1024
 *   ...            W1024+1024 fails
 *   ends, -EIO     and nothing more is tried
 */
static void test_error_stops(void)
{
    struct node *node = open_node("driver=mem,size=64k,align=512,"
                                  "max-transfer=1024",
                                  NODE_RDWR);
    struct mem *m = mem_of(node);
    struct job w = job(WRITE, node, 0, 3072, .fill = 'w');
    struct job r = job(READ, node, 0, 3072);

    m->hold = true;
    job_start(&w);
    mem_complete(m, 0);
    mem_fail(m, 0, -EIO);
    mem_expect(m, "W0+1024 W1024+1024");
    g_assert_cmpint(job_finish(&w), ==, -EIO);
    g_assert_true(bytes_are(m->data + 1024, 0, 2048));
    job_start(&r);
    mem_fail(m, 0, -ENODEV);
    mem_expect(m, "R0+1024");
    g_assert_cmpint(job_finish(&r), ==, -ENODEV);
    close_node(node);
}

/* A parent splits early: it has the limits of its child. */
static void test_limits_go_up(void)
{
    struct node *node = open_node("driver=raw,file.driver=mem,file.size=64k,"
                                  "file.align=512,file.mem-align=512,"
                                  "file.max-transfer=4k,file.max-iov=7",
                                  NODE_RDWR);
    const struct node_limits *l = node_limits(node);

    g_assert_cmpint(l->max_transfer, ==, 4096);
    g_assert_cmpint(l->max_iov, ==, 7);
    g_assert_cmpint(l->opt_mem_align, ==, 512);
    /* But it aligns nothing: its child does, once. */
    g_assert_cmpint(l->request_align, ==, 1);
    g_assert_cmpint(l->mem_align, ==, 1);
    g_assert_cmpint(job_run(&job(WRITE, node, 100, 50)), ==, 0);
    mem_expect(mem_of(node), "R0+512 W0+512");
    close_node(node);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    fixture_register();
    g_test_add_func("/fragment/max-transfer", test_max_transfer);
    g_test_add_func("/fragment/max-transfer-is-rounded",
                    test_max_transfer_is_rounded);
    g_test_add_func("/fragment/max-iov", test_max_iov);
    g_test_add_func("/fragment/both", test_both);
    g_test_add_func("/fragment/elements-too-small", test_elements_too_small);
    g_test_add_func("/fragment/error-stops", test_error_stops);
    g_test_add_func("/fragment/limits-go-up", test_limits_go_up);
    rc = g_test_run();
    fixture_loop_free();
    return rc;
}
