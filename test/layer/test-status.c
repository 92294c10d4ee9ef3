/* SPDX-License-Identifier: MIT */
/*
 * Block status: rounding, clamping, chains of nodes.
 */
#include <errno.h>
#include <string.h>

#include "fixtures.h"

/* -- A format whose answers the test gives ------------------------------- */

struct said {
    struct block_status answer;
};

static int co_fn said_co_open(struct node *node, struct options *opts,
                              GError **err)
{
    int rc = node_co_open_child(node, "file", opts, node_flags(node), err);

    if (rc == 0) {
        node_set_length(node, node_length(node_file(node)));
    }
    return rc;
}

static int co_fn said_co_preadv(struct node *node, int64_t offset,
                                const struct iovs *dst)
{
    return -EIO; /* nobody reads here */
}

static int co_fn said_co_block_status(struct node *node, bool precise,
                                      int64_t offset, int64_t bytes,
                                      struct block_status *ret)
{
    struct said *s = node_state(node);

    *ret = s->answer;
    ret->bytes = min_i64(bytes, s->answer.bytes);
    ret->file = node_file(node);
    return 0;
}

static const struct driver driver_said = {
    .name = "said",
    .state_size = sizeof(struct said),
    .co_open = said_co_open,
    .co_preadv = said_co_preadv,
    .co_block_status = said_co_block_status,
};

static struct node *open_said(const char *opts, unsigned flags, int64_t bytes)
{
    struct node *node = open_node(opts, NODE_RDWR);

    ((struct said *)node_state(node))->answer =
        (struct block_status){.flags = flags, .bytes = bytes};
    return node;
}

/* -- One node ------------------------------------------------------------ */

static struct block_status status_of(struct node *node, int64_t offset,
                                     int64_t bytes)
{
    struct job s = job(STATUS, node, offset, bytes);

    g_assert_cmpint(job_run(&s), ==, 0);
    return s.status;
}

/* 16 KiB of which the second 4 KiB hold data. */
static struct node *open_spotted(const char *opts)
{
    struct node *node = open_node(opts, NODE_RDWR);

    memset(mem_of(node)->data + 4096, 'd', 4096);
    return node;
}

static void test_holes(void)
{
    static const struct {
        int64_t offset, bytes;
        unsigned flags;
        int64_t want;
    } cases[] = {
        {0, 16384, BLOCK_ZERO, 4096},
        {100, 16384, BLOCK_ZERO, 3996},
        {0, 100, BLOCK_ZERO, 100},
        {4096, 16384, BLOCK_DATA, 4096},
        {8191, 16384, BLOCK_DATA, 1},
        {8192, 16384, BLOCK_ZERO | BLOCK_EOF, 8192},
        {16383, INT64_MAX, BLOCK_ZERO | BLOCK_EOF, 1},
    };
    struct node *node = open_spotted("driver=mem,size=16k,align=512");

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct block_status s =
            status_of(node, cases[i].offset, cases[i].bytes);

        g_assert_cmpint(s.bytes, ==, cases[i].want);
        g_assert_cmphex(s.flags, ==,
                        cases[i].flags | BLOCK_ALLOCATED | BLOCK_OFFSET_VALID);
        g_assert_cmpint(s.map, ==, cases[i].offset);
        g_assert_true(s.file == node);
    }
    close_node(node);
}

static void test_at_and_past_the_end(void)
{
    struct node *node = open_spotted("driver=mem,size=16k");
    struct block_status s = status_of(node, 16384, 512);
    struct job bad = job(STATUS, node, -1, 512);

    g_assert_cmphex(s.flags, ==, BLOCK_EOF);
    g_assert_cmpint(s.bytes, ==, 0);
    s = status_of(node, INT64_MAX, 512);
    g_assert_cmphex(s.flags, ==, BLOCK_EOF);
    s = status_of(node, 0, 0);
    g_assert_cmphex(s.flags, ==, 0);
    g_assert_cmpint(job_run(&bad), ==, -EIO);
    close_node(node);
}

/* A driver that cannot tell has data everywhere. */
static void test_default(void)
{
    struct node *node = open_node("driver=bare,size=16k", NODE_RDWR);
    struct block_status s = status_of(node, 4096, INT64_MAX);

    g_assert_cmphex(s.flags, ==, BLOCK_DATA | BLOCK_ALLOCATED | BLOCK_EOF);
    g_assert_cmpint(s.bytes, ==, 12288);
    close_node(node);
}

/* -- Through nodes ------------------------------------------------------- */

static void test_window(void)
{
    struct node *node = open_spotted("driver=raw,offset=1k,size=6000,"
                                     "file.driver=mem,file.size=16k");
    struct block_status s = status_of(node, 0, 6000);

    g_assert_cmphex(s.flags, ==,
                    BLOCK_ZERO | BLOCK_ALLOCATED | BLOCK_OFFSET_VALID);
    g_assert_cmpint(s.bytes, ==, 3072);
    g_assert_cmpint(s.map, ==, 1024);
    g_assert_true(s.file == node_file(node));
    s = status_of(node, 3072, 6000);
    g_assert_cmphex(s.flags, ==,
                    BLOCK_DATA | BLOCK_ALLOCATED | BLOCK_OFFSET_VALID |
                        BLOCK_EOF);
    g_assert_cmpint(s.bytes, ==, 2928);
    close_node(node);
}

/* A file that was made shorter under a raw node reads as zeroes there. */
static void test_file_is_shorter(void)
{
    struct node *node =
        open_spotted("driver=raw,file.driver=mem,file.size=16k");
    struct block_status s;

    g_assert_cmpint(job_run(&job(TRUNCATE, node_file(node), 8192)), ==, 0);
    s = status_of(node, 8192, 16384);
    g_assert_cmphex(s.flags, ==, BLOCK_ZERO | BLOCK_ALLOCATED | BLOCK_EOF);
    g_assert_cmpint(s.bytes, ==, 8192);
    close_node(node);
}

/* A format says "data in my file", and the file knows them to be zeroes. */
static void test_recursion(void)
{
    struct node *node =
        open_said("driver=said,file.driver=mem,file.size=16k",
                  BLOCK_DATA | BLOCK_OFFSET_VALID | BLOCK_RECURSE, 16384);
    struct said *said = node_state(node);
    struct block_status s;

    memset(mem_of(node)->data + 4096, 'd', 4096);
    s = status_of(node, 0, 16384);
    g_assert_cmphex(s.flags, ==,
                    BLOCK_DATA | BLOCK_ZERO | BLOCK_ALLOCATED |
                        BLOCK_OFFSET_VALID);
    g_assert_cmpint(s.bytes, ==, 4096);
    said->answer.map = 4096;
    s = status_of(node, 0, 16384);
    g_assert_cmphex(s.flags, ==,
                    BLOCK_DATA | BLOCK_ALLOCATED | BLOCK_OFFSET_VALID);
    g_assert_cmpint(s.bytes, ==, 4096);
    said->answer.map = 16384; /* past the end of the file */
    s = status_of(node, 0, 16384);
    g_assert_true(s.flags & BLOCK_ZERO);
    g_assert_cmpint(s.bytes, ==, 16384);
    close_node(node);
}

/* -- Chains -------------------------------------------------------------- */

static void set_backing(void *opaque)
{
    struct node **pair = opaque;

    co_assert_role();
    node_co_set_child(pair[0], "backing", pair[1]);
}

/* Puts @backing under @node and hands over the caller's reference. */
static void chain(struct node *node, struct node *backing)
{
    struct node *pair[2] = {node, backing};

    job_run(&job(CALL, .call = set_backing, .opaque = pair));
    if (backing) {
        close_node(backing);
    }
}

struct above {
    struct node *node, *base;
    int64_t offset, bytes;
    struct block_status st;
    int depth, rc;
};

static void above_entry(void *opaque)
{
    struct above *a = opaque;

    co_assert_role();
    a->rc = node_co_status_above(a->node, a->base, a->offset, a->bytes, &a->st,
                                 &a->depth);
}

static struct above above(struct node *node, struct node *base, int64_t offset,
                          int64_t bytes)
{
    struct above a = {
        .node = node, .base = base, .offset = offset, .bytes = bytes};

    job_run(&job(CALL, .call = above_entry, .opaque = &a));
    g_assert_cmpint(a.rc, ==, 0);
    return a;
}

/* Nothing behind a node: what it does not hold is zero. */
static void test_no_backing(void)
{
    struct node *top =
        open_said("driver=said,file.driver=mem,file.size=16k", 0, 16384);
    struct block_status s = status_of(top, 0, 512);

    g_assert_cmphex(s.flags, ==, BLOCK_ZERO);
    close_node(top);
}

static void test_chain(void)
{
    struct node *top =
        open_said("driver=said,file.driver=mem,file.size=16k", 0, 4096);
    struct node *backing =
        open_said("driver=said,file.driver=mem,file.size=8k", BLOCK_DATA, 6000);
    struct above a;

    chain(top, node_ref(backing));

    /* Alone, the top only says that it does not know. */
    g_assert_cmphex(status_of(top, 0, 512).flags, ==, 0);

    a = above(top, NULL, 0, 16384);
    g_assert_cmphex(a.st.flags, ==, BLOCK_DATA | BLOCK_ALLOCATED);
    g_assert_cmpint(a.st.bytes, ==, 4096); /* as far as the top holds back */
    g_assert_cmpint(a.depth, ==, 2);

    a = above(top, backing, 0, 16384);
    g_assert_cmphex(a.st.flags, ==, 0);
    g_assert_cmpint(a.depth, ==, 1);

    /* The backing file is shorter: zeroes behind its end. */
    a = above(top, NULL, 8192, 16384);
    g_assert_true(a.st.flags & BLOCK_ZERO);
    g_assert_false(a.st.flags & BLOCK_DATA);
    g_assert_cmpint(a.st.bytes, ==, 4096);

    /* And the end of the backing file is not the end of the top. */
    a = above(top, NULL, 6144, 2048);
    g_assert_cmphex(a.st.flags, ==, BLOCK_DATA | BLOCK_ALLOCATED);
    g_assert_cmpint(a.st.bytes, ==, 2048);

    /* Nor does one answer reach over the end of the backing file. */
    g_assert_cmpint(status_of(top, 6144, 4096).bytes, ==, 2048);

    /* The top holds a part itself. */
    ((struct said *)node_state(top))->answer.flags = BLOCK_ZERO;
    a = above(top, NULL, 0, 512);
    g_assert_cmphex(a.st.flags, ==, BLOCK_ZERO | BLOCK_ALLOCATED);
    g_assert_cmpint(a.depth, ==, 1);

    chain(top, NULL);
    g_assert_null(node_child(top, "backing"));
    close_node(backing);
    close_node(top);
}

/* The top does not know up to its end; its backing file does, but not so
 * far: then the answer does not reach the end. */
static void test_chain_end(void)
{
    struct node *top =
        open_said("driver=said,file.driver=mem,file.size=16k", 0, 16384);
    struct node *backing = open_said(
        "driver=said,file.driver=mem,file.size=16k", BLOCK_DATA, 6000);
    struct above a;

    chain(top, backing);
    a = above(top, NULL, 0, 16384);
    g_assert_cmphex(a.st.flags, ==, BLOCK_DATA | BLOCK_ALLOCATED);
    g_assert_cmpint(a.st.bytes, ==, 6000);
    a = above(top, NULL, 12288, 16384);
    g_assert_cmphex(a.st.flags, ==, BLOCK_DATA | BLOCK_ALLOCATED | BLOCK_EOF);
    g_assert_cmpint(a.st.bytes, ==, 4096);
    close_node(top);
}

/* Filters are looked through and count for nothing. */
static void test_filters(void)
{
    struct node *node =
        open_spotted("driver=raw,file.driver=raw,file.file.driver=mem,"
                     "file.file.size=16k");
    struct above a = above(node, NULL, 4096, 512);

    g_assert_cmphex(a.st.flags, ==,
                    BLOCK_DATA | BLOCK_ALLOCATED | BLOCK_OFFSET_VALID);
    g_assert_cmpint(a.depth, ==, 0);
    a = above(node, NULL, 12288, 16384);
    g_assert_true(a.st.flags & BLOCK_EOF);
    close_node(node);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    fixture_register();
    driver_register(&driver_said);
    g_test_add_func("/status/holes", test_holes);
    g_test_add_func("/status/at-and-past-the-end", test_at_and_past_the_end);
    g_test_add_func("/status/default", test_default);
    g_test_add_func("/status/window", test_window);
    g_test_add_func("/status/file-is-shorter", test_file_is_shorter);
    g_test_add_func("/status/recursion", test_recursion);
    g_test_add_func("/status/no-backing", test_no_backing);
    g_test_add_func("/status/chain", test_chain);
    g_test_add_func("/status/chain-end", test_chain_end);
    g_test_add_func("/status/filters", test_filters);
    rc = g_test_run();
    fixture_loop_free();
    return rc;
}
