/* SPDX-License-Identifier: MIT */
/*
 * Zeroes and discards: what the driver is asked for, and what is left out.
 */
#include <errno.h>
#include <string.h>

#include "fixtures.h"

static struct node *open_full(const char *opts, unsigned flags)
{
    struct node *node = open_node(opts, NODE_RDWR | flags);
    struct mem *m = mem_of(node);

    memset(m->data, 'o', (size_t)m->capacity);
    return node;
}

/* Edges that do not fill zeroes_align are written, the middle is the
 * driver's. */
static void test_edges(void)
{
    struct node *node =
        open_full("driver=mem,size=64k,align=512,zeroes-align=4k", 0);
    struct mem *m = mem_of(node);

    g_assert_cmpint(job_run(&job(ZEROES, node, 512, 12288)), ==, 0);
    mem_expect(m, "W512+3584 Z4096+8192 W12288+512");
    g_assert_true(bytes_are(m->data, 'o', 512));
    g_assert_true(bytes_are(m->data + 512, 0, 12288));
    g_assert_true(bytes_are(m->data + 12800, 'o', 512));
    close_node(node);
}

/* Edges inside blocks are read-modify-write. */
static void test_unaligned(void)
{
    struct node *node = open_full("driver=mem,size=64k,align=512", 0);
    struct mem *m = mem_of(node);

    g_assert_cmpint(job_run(&job(ZEROES, node, 100, 1000)), ==, 0);
    mem_expect(m, "R0+512 W0+512 Z512+512 R1024+512 W1024+512");
    g_assert_true(bytes_are(m->data, 'o', 100));
    g_assert_true(bytes_are(m->data + 100, 0, 1000));
    g_assert_true(bytes_are(m->data + 1100, 'o', 512));
    close_node(node);
}

/* The end of the node counts as aligned, and the tail as zeroed. */
static void test_tail(void)
{
    struct node *node =
        open_full("driver=mem,size=10000,align=512,zeroes-align=4k", 0);
    struct mem *m = mem_of(node);

    g_assert_cmpint(job_run(&job(ZEROES, node, 0, 10000)), ==, 0);
    mem_expect(m, "Z0+10000");
    g_assert_true(bytes_are(m->data, 0, 10000));
    g_assert_cmpint(m->data[10000], ==, 'o');
    g_assert_cmpint(m->size, ==, 10000);
    close_node(node);
}

static void test_max_zeroes(void)
{
    struct node *node = open_full("driver=mem,size=64k,max-zeroes=10000,"
                                  "zeroes-align=4k",
                                  0);

    g_assert_cmpint(job_run(&job(ZEROES, node, 0, 20480)), ==, 0);
    mem_expect(mem_of(node), "Z0+8192 Z8192+8192 Z16384+4096");
    close_node(node);
}

/* A driver without a way of its own is written to, 1 MiB at a time. */
static void test_fallback(void)
{
    static const char *const opts[] = {
        "driver=bare,size=4M,align=512,mem-align=512",
        "driver=mem,size=4M,align=512,mem-align=512,zeroes=off",
    };
    static const char *const want[] = {
        "W512+1048064 W1048576+1048576 W2097152+512",
        "Z512+2097152 W512+1048064 W1048576+1048576 W2097152+512",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(opts); i++) {
        struct node *node = open_full(opts[i], 0);
        struct mem *m = mem_of(node);

        g_assert_cmpint(job_run(&job(ZEROES, node, 512, 2 * MiB)), ==, 0);
        mem_expect(m, want[i]);
        g_assert_true(bytes_are(m->data, 'o', 512));
        g_assert_true(bytes_are(m->data + 512, 0, 2 * MiB));
        g_assert_true(bytes_are(m->data + 512 + 2 * MiB, 'o', 512));
        close_node(node);
    }
}

static void test_no_fallback(void)
{
    struct node *node = open_full("driver=mem,size=64k,zeroes=off", 0);
    struct node *bare = open_full("driver=bare,size=64k", 0);
    struct mem *m = mem_of(node);

    g_assert_cmpint(job_run(&job(ZEROES, node, 0, 512, REQ_NO_FALLBACK)), ==,
                    -EOPNOTSUPP);
    mem_expect(m, "Z0+512");
    g_assert_cmpint(job_run(&job(ZEROES, bare, 0, 512, REQ_NO_FALLBACK)), ==,
                    -EOPNOTSUPP);
    mem_expect(mem_of(bare), "");
    g_assert_true(bytes_are(m->data, 'o', 512));
    close_node(node);
    close_node(bare);
}

/* An error other than "cannot" is not papered over. */
static void test_error(void)
{
    struct node *node = open_full("driver=mem,size=64k", 0);
    struct mem *m = mem_of(node);
    struct job z = job(ZEROES, node, 0, 512);

    m->hold = true;
    job_start(&z);
    mem_fail(m, 0, -ENOSPC);
    g_assert_cmpint(job_finish(&z), ==, -ENOSPC);
    mem_expect(m, "Z0+512");
    close_node(node);
}

/* -- Unmapping ----------------------------------------------------------- */

/* Space is only given back where the user allowed it. */
static void test_may_unmap(void)
{
    struct node *keeps = open_full("driver=mem,size=64k", 0);
    struct node *unmaps = open_full("driver=mem,size=64k", NODE_UNMAP);

    g_assert_cmpint(job_run(&job(ZEROES, keeps, 0, 512, REQ_MAY_UNMAP)), ==, 0);
    mem_expect(mem_of(keeps), "Z0+512");
    g_assert_cmpint(job_run(&job(ZEROES, unmaps, 0, 512, REQ_MAY_UNMAP)), ==,
                    0);
    g_assert_cmpint(job_run(&job(ZEROES, unmaps, 0, 512)), ==, 0);
    mem_expect(mem_of(unmaps), "Z0+512u Z0+512");
    close_node(keeps);
    close_node(unmaps);
}

static void test_detect_zeroes(void)
{
    struct node *node = open_full("driver=mem,size=64k,align=512,"
                                  "detect-zeroes=on",
                                  NODE_UNMAP);
    struct node *unmap = open_full("driver=mem,size=64k,align=512,"
                                   "detect-zeroes=unmap",
                                   NODE_UNMAP);
    struct mem *m = mem_of(node);

    g_assert_cmpint(job_run(&job(WRITE, node, 0, 512)), ==, 0);
    g_assert_cmpint(job_run(&job(WRITE, node, 512, 512, .fill = 1)), ==, 0);
    g_assert_cmpint(job_run(&job(WRITE, node, 0, 512, REQ_FUA)), ==, 0);
    mem_expect(m, "Z0+512 W512+512 Z0+512 F");
    g_assert_true(bytes_are(m->data, 0, 512));
    g_assert_cmpint(job_run(&job(WRITE, unmap, 0, 512)), ==, 0);
    mem_expect(mem_of(unmap), "Z0+512u");
    node_set_detect_zeroes(unmap, DETECT_ZEROES_OFF);
    g_assert_cmpint(job_run(&job(WRITE, unmap, 0, 512)), ==, 0);
    mem_expect(mem_of(unmap), "W0+512");
    close_node(node);
    close_node(unmap);
}

/* -- Discard ------------------------------------------------------------- */

static void test_discard_needs_leave(void)
{
    struct node *node = open_full("driver=mem,size=64k", 0);

    g_assert_cmpint(job_run(&job(DISCARD, node, 0, 4096)), ==, 0);
    mem_expect(mem_of(node), "");
    g_assert_cmpint(job_run(&job(DISCARD, node, 0, 65537)), ==, -EIO);
    close_node(node);
}

/* What does not fill a granule is left alone. */
static void test_discard_edges(void)
{
    struct node *node = open_full("driver=mem,size=20000,align=512,"
                                  "discard-align=4k,max-discard=5000",
                                  NODE_UNMAP);
    struct mem *m = mem_of(node);

    g_assert_cmpint(job_run(&job(DISCARD, node, 100, 12800)), ==, 0);
    mem_expect(m, "D4096+4096 D8192+4096");
    g_assert_true(bytes_are(m->data, 'o', 4096));
    g_assert_true(bytes_are(m->data + 12288, 'o', 4096));
    g_assert_cmpint(job_run(&job(DISCARD, node, 100, 1000)), ==, 0);
    mem_expect(m, "");
    g_assert_cmpint(job_run(&job(DISCARD, node, 16384, 3616)), ==, 0);
    mem_expect(m, "D16384+3616"); /* up to the end of the node */
    close_node(node);
}

/* A driver that cannot is no error, one that fails is. */
static void test_discard_is_a_hint(void)
{
    struct node *cannot =
        open_full("driver=mem,size=64k,discards=off", NODE_UNMAP);
    struct node *bare = open_full("driver=bare,size=64k", NODE_UNMAP);
    struct node *fails = open_full("driver=mem,size=64k", NODE_UNMAP);
    struct job d = job(DISCARD, fails, 0, 4096);

    g_assert_cmpint(job_run(&job(DISCARD, cannot, 0, 4096)), ==, 0);
    mem_expect(mem_of(cannot), "D0+4096");
    g_assert_cmpint(job_run(&job(DISCARD, bare, 0, 4096)), ==, 0);
    mem_of(fails)->hold = true;
    job_start(&d);
    mem_fail(mem_of(fails), 0, -EIO);
    g_assert_cmpint(job_finish(&d), ==, -EIO);
    close_node(cannot);
    close_node(bare);
    close_node(fails);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    fixture_register();
    g_test_add_func("/zeroes/edges", test_edges);
    g_test_add_func("/zeroes/unaligned", test_unaligned);
    g_test_add_func("/zeroes/tail", test_tail);
    g_test_add_func("/zeroes/max-zeroes", test_max_zeroes);
    g_test_add_func("/zeroes/fallback", test_fallback);
    g_test_add_func("/zeroes/no-fallback", test_no_fallback);
    g_test_add_func("/zeroes/error", test_error);
    g_test_add_func("/zeroes/may-unmap", test_may_unmap);
    g_test_add_func("/zeroes/detect", test_detect_zeroes);
    g_test_add_func("/discard/needs-leave", test_discard_needs_leave);
    g_test_add_func("/discard/edges", test_discard_edges);
    g_test_add_func("/discard/is-a-hint", test_discard_is_a_hint);
    rc = g_test_run();
    fixture_loop_free();
    return rc;
}
