/* SPDX-License-Identifier: MIT */
/*
 * Read-modify-write and padding, stepped by hand: which calls reach the
 * driver, in which order, and what is on the disk afterwards.
 *
 * In the tables, time runs down; a column is a request or the driver, and
 * "..." is a request that waits.
 */
#include <errno.h>
#include <string.h>

#include "fixtures.h"

#define OPTS "driver=mem,size=64k,align=512,mem-align=512"

static struct node *open_holding(const char *opts)
{
    struct node *node = open_node(opts, NODE_RDWR);
    struct mem *m = mem_of(node);

    memset(m->data, 'o', (size_t)m->size);
    m->hold = true;
    return node;
}

/* -- One write ----------------------------------------------------------- */

static const struct write_case {
    const char *name;
    int64_t offset, bytes;
    const char *calls[4]; /* one after the other; the last one writes */
} write_cases[] = {
    {"inside-one-block", 100, 50, {"R0+512", "W0+512"}},
    /* Both edges in neighbouring blocks are one read. */
    {"two-blocks-one-read", 500, 100, {"R0+1024", "W0+1024"}},
    /* What lies between the edges is not read. */
    {"edges-apart", 500, 4096, {"R0+512", "R4096+512", "W0+4608"}},
    /* Not even one block. */
    {"one-block-between", 500, 600, {"R0+512", "R1024+512", "W0+1536"}},
    /* An edge that is aligned needs no read. */
    {"one-edge", 512, 1000, {"R1024+512", "W512+1024"}},
};

static void test_write(gconstpointer opaque)
{
    const struct write_case *c = opaque;
    struct node *node = open_holding(OPTS);
    struct mem *m = mem_of(node);
    struct job w = job(WRITE, node, c->offset, c->bytes, .fill = 'w');
    int64_t end = c->offset + c->bytes;

    job_start(&w);
    for (int i = 0; c->calls[i]; i++) {
        g_assert_false(w.done);
        mem_step(m, c->calls[i]);
    }
    mem_expect(m, "");
    g_assert_cmpint(job_finish(&w), ==, 0);
    g_assert_true(bytes_are(m->data, 'o', c->offset));
    g_assert_true(bytes_are(m->data + c->offset, 'w', c->bytes));
    g_assert_true(bytes_are(m->data + end, 'o', m->size - end));
    close_node(node);
}

/* The @n-th call fails; nothing comes after it. */
static void check_failed_read(const struct write_case *c, int n)
{
    struct node *node = open_holding(OPTS);
    struct mem *m = mem_of(node);
    struct job w = job(WRITE, node, c->offset, c->bytes, .fill = 'w');

    job_start(&w);
    for (int i = 0; i < n; i++) {
        mem_step(m, c->calls[i]);
    }
    mem_expect(m, c->calls[n]);
    mem_fail(m, 0, -EIO);
    mem_expect(m, "");
    g_assert_cmpint(job_finish(&w), ==, -EIO);
    g_assert_true(bytes_are(m->data, 'o', m->size));
    close_node(node);
}

/* A write whose edges cannot be read writes nothing, whichever read fails. */
static void test_failed_read(gconstpointer opaque)
{
    const struct write_case *c = opaque;

    for (int n = 0; c->calls[n + 1]; n++) {
        check_failed_read(c, n);
    }
}

/* -- Requests that meet -------------------------------------------------- */

/*
 *   A write 0+100   B write 200+100   driver
 *   begins                            R0+512
 *                   begins, ...       (nothing: they share a block)
 *   ...             ...               W0+512
 *   ends            goes on           R0+512
 *                   ...               W0+512
 *                   ends
 */
static void test_two_in_one_block(void)
{
    struct node *node = open_holding(OPTS);
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, node, 0, 100, .fill = 'a');
    struct job b = job(WRITE, node, 200, 100, .fill = 'b');

    job_start(&a);
    job_start(&b);
    mem_step(m, "R0+512");
    mem_step(m, "W0+512");
    g_assert_true(a.done);
    mem_step(m, "R0+512");
    mem_step(m, "W0+512");
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(job_finish(&b), ==, 0);
    g_assert_true(bytes_are(m->data, 'a', 100));
    g_assert_true(bytes_are(m->data + 100, 'o', 100));
    g_assert_true(bytes_are(m->data + 200, 'b', 100));
    g_assert_true(bytes_are(m->data + 300, 'o', 512));
    close_node(node);
}

/*
 *   A write 0+512   B write 100+50   driver
 *   begins                           W0+512
 *                   begins, ...
 *   ends            goes on          R0+512
 *                   ...              W0+512
 *                   ends
 * A is a plain write, but it came first: B must not read the block while A is
 * writing it.
 */
static void test_waits_for_plain_write(void)
{
    struct node *node = open_holding(OPTS);
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, node, 0, 512, .fill = 'a');
    struct job b = job(WRITE, node, 100, 50, .fill = 'b');

    job_start(&a);
    job_start(&b);
    mem_step(m, "W0+512");
    mem_step(m, "R0+512");
    mem_complete(m, 0);
    mem_expect(m, "W0+512");
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(job_finish(&b), ==, 0);
    g_assert_true(bytes_are(m->data, 'a', 100));
    g_assert_true(bytes_are(m->data + 100, 'b', 50));
    g_assert_true(bytes_are(m->data + 150, 'a', 362));
    close_node(node);
}

/* An unaligned read is one padded read, and conflicts with nobody. */
static void test_unaligned_read(void)
{
    struct node *node = open_holding(OPTS);
    struct mem *m = mem_of(node);
    struct job r = job(READ, node, 500, 100);

    memset(m->data + 500, 'r', 100);
    job_start(&r);
    mem_step(m, "R0+1024");
    g_assert_true(r.done);
    g_assert_true(bytes_are(r.buf, 'r', 100));
    g_assert_cmpint(job_finish(&r), ==, 0);
    close_node(node);
}

/* Nothing to do is done at once, wherever it is. */
static void test_zero_length(void)
{
    struct node *node = open_holding(OPTS);
    struct mem *m = mem_of(node);

    g_assert_cmpint(job_run(&job(WRITE, node, 100, 0)), ==, 0);
    g_assert_cmpint(job_run(&job(READ, node, 65536, 0)), ==, 0);
    g_assert_cmpint(job_run(&job(ZEROES, node, 1, 0)), ==, 0);
    g_assert_cmpint(job_run(&job(READ, node, 65537, 0)), ==, -EIO);
    mem_expect(m, "");
    close_node(node);
}

/* -- Memory that is not aligned ------------------------------------------ */

static void test_misaligned_memory(void)
{
    struct node *node = open_holding(OPTS);
    struct mem *m = mem_of(node);
    g_autofree uint8_t *buf = g_malloc(2048);
    uint8_t *odd = buf + 1;
    struct iovec iov[] = {{odd, 100}, {odd + 100, 924}};
    struct iovs v = iovs_of(iov, 2);
    struct job w = job(WRITE, node, 512, 1024, .iovs = &v);
    struct job r = job(READ, node, 512, 1024, .iovs = &v);

    memset(buf, 'w', 2048);
    job_start(&w);
    mem_expect(m, "W512+1024"); /* aligned range: nothing is read */
    mem_complete(m, 0);
    g_assert_cmpint(job_finish(&w), ==, 0);
    g_assert_true(bytes_are(m->data + 512, 'w', 1024));

    memset(m->data + 512, 'x', 1024);
    job_start(&r);
    mem_step(m, "R512+1024");
    g_assert_cmpint(job_finish(&r), ==, 0);
    g_assert_true(bytes_are(odd, 'x', 1024));
    g_assert_cmpint(buf[0], ==, 'w');
    g_assert_cmpint(odd[1024], ==, 'w');
    close_node(node);
}

/* More than the bounce buffer goes in steps, whose middle is not read. */
static void test_large_unaligned(void)
{
    struct node *node = open_node("driver=mem,size=4M,align=512", NODE_RDWR);
    struct mem *m = mem_of(node);
    int64_t bytes = 2 * MiB + 200;
    struct job w = job(WRITE, node, 100, bytes, .fill = 'w');
    struct job r = job(READ, node, 100, bytes);

    memset(m->data, 'o', (size_t)m->size);
    g_assert_cmpint(job_run(&w), ==, 0);
    mem_expect(m, "R0+512 W0+1048576 W1048576+1048576 "
                  "R2097152+512 W2097152+512");
    g_assert_true(bytes_are(m->data, 'o', 100));
    g_assert_true(bytes_are(m->data + 100, 'w', bytes));
    g_assert_true(bytes_are(m->data + 100 + bytes, 'o', 1024));
    job_start(&r);
    mem_expect(m, "R0+1048576 R1048576+1048576 R2097152+512");
    g_assert_true(bytes_are(r.buf, 'w', bytes));
    g_assert_cmpint(job_finish(&r), ==, 0);
    close_node(node);
}

/* -- A length that fills no block ---------------------------------------- */

#define TAIL_OPTS "driver=mem,size=1000,align=512"

static void test_tail_is_readable(void)
{
    struct node *node = open_holding(TAIL_OPTS);
    struct mem *m = mem_of(node);
    struct job r = job(READ, node, 0, 1000);

    memset(m->data + 1000, 'X', 1000); /* must not be seen */
    job_start(&r);
    mem_step(m, "R0+1024");
    g_assert_true(r.done && bytes_are(r.buf, 'o', 1000));
    g_assert_cmpint(job_finish(&r), ==, 0);
    close_node(node);
}

/*
 *   write 900+100        driver
 *   begins               R512+512    the block, past the end
 *   ...                  W512+488    up to the end, not one byte more
 */
static void test_tail_is_writable(void)
{
    struct node *node = open_holding(TAIL_OPTS);
    struct mem *m = mem_of(node);
    struct job w = job(WRITE, node, 900, 100, .fill = 'w');

    job_start(&w);
    mem_step(m, "R512+512");
    mem_step(m, "W512+488");
    g_assert_cmpint(job_finish(&w), ==, 0);
    g_assert_true(bytes_are(m->data, 'o', 900));
    g_assert_true(bytes_are(m->data + 900, 'w', 100));
    g_assert_cmpint(m->size, ==, 1000);
    g_assert_cmpint(node_length(node), ==, 1000);
    close_node(node);
}

/* All of the tail, from a block boundary, needs no read. */
static void test_whole_tail(void)
{
    struct node *node = open_holding(TAIL_OPTS);
    struct mem *m = mem_of(node);
    struct job w = job(WRITE, node, 0, 1000, .fill = 'w');

    job_start(&w);
    mem_step(m, "W0+1000");
    g_assert_cmpint(job_finish(&w), ==, 0);
    g_assert_cmpint(m->size, ==, 1000);
    close_node(node);
}

/*
 *   A write 67990+10   B write 65536+512   C write 65024+512   driver
 *   begins                                                     R67584+512
 *                      begins, ...
 *                                          begins, ends        W65024+512
 *   ...                ...                                     W67584+416
 *   ends               goes on                                 W65536+512
 * The host may write the tail, A, through its page cache, which B in the same
 * granule must not meet; C is in the granule before.
 */
static void test_tail_keeps_neighbours_away(void)
{
    struct node *node = open_holding("driver=mem,size=68000,align=512");
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, node, 67990, 10, .fill = 'a');
    struct job b = job(WRITE, node, 65536, 512, .fill = 'b');
    struct job c = job(WRITE, node, 65024, 512, .fill = 'c');

    job_start(&a);
    job_start(&b);
    job_start(&c);
    mem_step(m, "R67584+512 W65024+512");
    mem_expect(m, "W67584+416");
    mem_complete(m, 1);
    mem_expect(m, "W65536+512");
    mem_complete_all(m);
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(job_finish(&b), ==, 0);
    g_assert_cmpint(job_finish(&c), ==, 0);
    close_node(node);
}

/* A node that grows gets exactly as long as what was written. */
static void test_grows_exactly(void)
{
    struct node *node = open_holding("driver=mem-grows,size=1000,align=512");
    struct mem *m = mem_of(node);
    struct job w = job(WRITE, node, 2100, 50, .fill = 'w');

    job_start(&w);
    mem_complete_all(m);
    mem_expect(m, "W2048+102"); /* nothing there to be read */
    g_assert_cmpint(job_finish(&w), ==, 0);
    g_assert_cmpint(node_length(node), ==, 2150);
    g_assert_cmpint(m->size, ==, 2150);
    g_assert_true(bytes_are(m->data + 1000, 0, 1100));
    g_assert_true(bytes_are(m->data + 2100, 'w', 50));
    close_node(node);
}

/* But not by a write, or by zeroes, that failed. */
static void test_failure_does_not_grow(void)
{
    struct node *node = open_holding("driver=mem-grows,size=1024,align=512");
    struct mem *m = mem_of(node);
    struct job w = job(WRITE, node, 1024, 512, .fill = 'w');
    struct job z = job(ZEROES, node, 1024, 512);

    job_start(&w);
    job_start(&z);
    mem_fail(m, 0, -ENOSPC);
    mem_fail(m, 0, -ENOSPC);
    g_assert_cmpint(job_finish(&w), ==, -ENOSPC);
    g_assert_cmpint(job_finish(&z), ==, -ENOSPC);
    g_assert_cmpint(node_length(node), ==, 1024);
    close_node(node);
}

/*
 *   T truncate to 70000   W write 69700+300   N write 65536+512   driver
 *   begins                                                        T70000
 *                         begins, ...
 *   ends                  queues again                            R69632+512
 *                         ...                 begins, ...
 *                         ...                 ...                 W69632+368
 *                         ends                goes on             W65536+512
 * W was an ordinary unaligned write when it came, and is one of the tail when
 * it goes on: now it needs the whole granule.
 */
static void test_becomes_the_tail(void)
{
    struct node *node = open_holding("driver=mem,size=128k,align=512");
    struct mem *m = mem_of(node);
    struct job t = job(TRUNCATE, node, 70000);
    struct job w = job(WRITE, node, 69700, 300, .fill = 'w');
    struct job n = job(WRITE, node, 65536, 512, .fill = 'n');

    job_start(&t);
    job_start(&w);
    mem_step(m, "T70000");
    g_assert_cmpint(job_finish(&t), ==, 0);
    mem_expect(m, "R69632+512");
    job_start(&n);
    mem_complete(m, 0);
    mem_step(m, "W69632+368");
    g_assert_cmpint(job_finish(&w), ==, 0);
    mem_step(m, "W65536+512");
    g_assert_cmpint(job_finish(&n), ==, 0);
    g_assert_cmpint(m->size, ==, 70000);
    close_node(node);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    fixture_register();
    for (size_t i = 0; i < G_N_ELEMENTS(write_cases); i++) {
        const struct write_case *c = &write_cases[i];
        g_autofree char *path = g_strdup_printf("/rmw/%s", c->name);
        g_autofree char *failed = g_strdup_printf("%s/failed-read", path);

        g_test_add_data_func(path, c, test_write);
        g_test_add_data_func(failed, c, test_failed_read);
    }
    g_test_add_func("/rmw/two-in-one-block", test_two_in_one_block);
    g_test_add_func("/rmw/waits-for-plain-write", test_waits_for_plain_write);
    g_test_add_func("/rmw/unaligned-read", test_unaligned_read);
    g_test_add_func("/rmw/zero-length", test_zero_length);
    g_test_add_func("/rmw/misaligned-memory", test_misaligned_memory);
    g_test_add_func("/rmw/large-unaligned", test_large_unaligned);
    g_test_add_func("/rmw/tail-is-readable", test_tail_is_readable);
    g_test_add_func("/rmw/tail-is-writable", test_tail_is_writable);
    g_test_add_func("/rmw/whole-tail", test_whole_tail);
    g_test_add_func("/rmw/tail-keeps-neighbours-away",
                    test_tail_keeps_neighbours_away);
    g_test_add_func("/rmw/grows-exactly", test_grows_exactly);
    g_test_add_func("/rmw/failure-does-not-grow", test_failure_does_not_grow);
    g_test_add_func("/rmw/becomes-the-tail", test_becomes_the_tail);
    rc = g_test_run();
    fixture_loop_free();
    return rc;
}
