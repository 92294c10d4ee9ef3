/* SPDX-License-Identifier: MIT */
/*
 * Requests that overlap: who waits for whom, and in which order they take
 * effect.  Time runs down the tables; "..." is a request that waits.
 */
#include <errno.h>
#include <string.h>

#include "fixtures.h"

#define OPTS "driver=mem,size=64k,align=512"

static struct node *open_holding(void)
{
    struct node *node = open_node(OPTS, NODE_RDWR | NODE_UNMAP);

    mem_of(node)->hold = true;
    return node;
}

/* Two plain requests of the same bytes race in the driver, as on a disk. */
static void test_plain_writes_race(void)
{
    struct node *node = open_holding();
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, node, 0, 512, .fill = 'a');
    struct job b = job(WRITE, node, 0, 1024, .fill = 'b');
    struct job r = job(READ, node, 512, 512);
    struct job elsewhere = job(ZEROES, node, 4096, 512);

    job_start(&elsewhere); /* changes nothing for the others */
    job_start(&a);
    job_start(&b);
    job_start(&r);
    mem_expect(m, "Z4096+512 W0+512 W0+1024 R512+512");
    mem_complete_all(m);
    g_assert_cmpint(job_finish(&elsewhere), ==, 0);
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(job_finish(&b), ==, 0);
    g_assert_cmpint(job_finish(&r), ==, 0);
    close_node(node);
}

/*
 *   A write     Z zeroes    B write     driver
 *   begins                              W0+4096
 *               begins, ...
 *                           begins, ...
 *   ends        goes on                 Z0+4096
 *               ends        goes on     W0+512
 */
static void test_write_zeroes_write(void)
{
    struct node *node = open_holding();
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, node, 0, 4096, .fill = 'a');
    struct job z = job(ZEROES, node, 0, 4096);
    struct job b = job(WRITE, node, 0, 512, .fill = 'b');

    job_start(&a);
    job_start(&z);
    job_start(&b);
    mem_step(m, "W0+4096");
    mem_step(m, "Z0+4096");
    mem_step(m, "W0+512");
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(job_finish(&z), ==, 0);
    g_assert_cmpint(job_finish(&b), ==, 0);
    g_assert_true(bytes_are(m->data, 'b', 512));
    g_assert_true(bytes_are(m->data + 512, 0, 3584));
    close_node(node);
}

/* The same with a discard, whose end is what was written last. */
static void test_write_discard_write(void)
{
    struct node *node = open_holding();
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, node, 0, 512, .fill = 'a');
    struct job d = job(DISCARD, node, 0, 4096);
    struct job b = job(WRITE, node, 512, 512, .fill = 'b');

    job_start(&a);
    job_start(&d);
    job_start(&b);
    mem_step(m, "W0+512");
    mem_step(m, "D0+4096");
    mem_step(m, "W512+512");
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(job_finish(&d), ==, 0);
    g_assert_cmpint(job_finish(&b), ==, 0);
    g_assert_true(bytes_are(m->data + 512, 'b', 512));
    close_node(node);
}

/* Neighbours do not wait for each other. */
static void test_neighbours(void)
{
    struct node *node = open_holding();
    struct mem *m = mem_of(node);
    struct job z = job(ZEROES, node, 4096, 4096);
    struct job before = job(WRITE, node, 3584, 512, .fill = 'b');
    struct job after = job(READ, node, 8192, 512);

    job_start(&z);
    job_start(&before);
    job_start(&after);
    mem_expect(m, "Z4096+4096 W3584+512 R8192+512");
    mem_complete_all(m);
    g_assert_cmpint(job_finish(&z), ==, 0);
    g_assert_cmpint(job_finish(&before), ==, 0);
    g_assert_cmpint(job_finish(&after), ==, 0);
    close_node(node);
}

/*
 *   R read      Z zeroes     S read      driver
 *   begins                               R0+512
 *               begins, ...
 *                            begins, ...
 *   ends        goes on                  Z0+512
 *               ends         goes on     R0+512
 * R sees what was there before Z, and S what is there after it.
 */
static void test_reads_keep_the_order(void)
{
    struct node *node = open_holding();
    struct mem *m = mem_of(node);
    struct job r = job(READ, node, 0, 512);
    struct job z = job(ZEROES, node, 0, 512);
    struct job s = job(READ, node, 0, 512);

    memset(m->data, 'o', 512);
    job_start(&r);
    job_start(&z);
    job_start(&s);
    mem_step(m, "R0+512");
    g_assert_true(r.done && bytes_are(r.buf, 'o', 512));
    mem_step(m, "Z0+512");
    mem_step(m, "R0+512");
    g_assert_true(s.done && bytes_are(s.buf, 0, 512));
    g_assert_cmpint(job_finish(&r), ==, 0);
    g_assert_cmpint(job_finish(&z), ==, 0);
    g_assert_cmpint(job_finish(&s), ==, 0);
    close_node(node);
}

/*
 *   A write 0+512   Z zeroes 0+1024   B write 512+512   driver
 *   begins                                              W0+512
 *                   begins, ...
 *                                     begins, ...
 *   ends            goes on                             Z0+1024
 *                   ends              goes on           W512+512
 * B does not touch what A writes, but it came after Z, which waits for A: to
 * overtake would be to be lost.
 */
static void test_no_overtaking(void)
{
    struct node *node = open_holding();
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, node, 0, 512, .fill = 'a');
    struct job z = job(ZEROES, node, 0, 1024);
    struct job b = job(WRITE, node, 512, 512, .fill = 'b');

    job_start(&a);
    job_start(&z);
    job_start(&b);
    mem_step(m, "W0+512");
    mem_step(m, "Z0+1024");
    mem_step(m, "W512+512");
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(job_finish(&z), ==, 0);
    g_assert_cmpint(job_finish(&b), ==, 0);
    g_assert_true(bytes_are(m->data + 512, 'b', 512));
    close_node(node);
}

/*
 *   A write 0+100   B 400+200     C 700+50   D 300+50      driver
 *   begins                                                 R0+512
 *                   begins, ...
 *                                 begins                   R512+512
 *   ends            ... for C                              W0+512
 *                                            begins, ...
 *                                 ends                     W512+512
 *                   goes on                                R0+1024 W0+1024
 *                   ends                     goes on       R0+512
 * C shares a block with B, but none of its bytes: it need not wait.  B has to
 * wait for it then, and is passed no more: so D waits.
 */
static void test_passing(void)
{
    struct node *node = open_holding();
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, node, 0, 100, .fill = 'a');
    struct job b = job(WRITE, node, 400, 200, .fill = 'b');
    struct job c = job(WRITE, node, 700, 50, .fill = 'c');
    struct job d = job(WRITE, node, 300, 50, .fill = 'd');

    job_start(&a);
    job_start(&b);
    job_start(&c);
    mem_step(m, "R0+512 R512+512");
    mem_expect(m, "W0+512");
    mem_complete(m, 1); /* A ends: now B waits for C */
    mem_expect(m, "");
    job_start(&d);
    mem_step(m, "");
    mem_step(m, "W512+512");
    mem_step(m, "R0+1024");
    mem_step(m, "W0+1024");
    mem_expect(m, "R0+512");
    mem_complete_all(m);
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(job_finish(&b), ==, 0);
    g_assert_cmpint(job_finish(&c), ==, 0);
    g_assert_cmpint(job_finish(&d), ==, 0);
    g_assert_true(bytes_are(m->data, 'a', 100));
    g_assert_true(bytes_are(m->data + 300, 'd', 50));
    g_assert_true(bytes_are(m->data + 400, 'b', 200));
    g_assert_true(bytes_are(m->data + 700, 'c', 50));
    close_node(node);
}

/* Of writes that share a byte none passes the other. */
static void test_no_passing(void)
{
    struct node *node = open_holding();
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, node, 0, 100, .fill = 'a');
    struct job b = job(WRITE, node, 400, 200, .fill = 'b');
    struct job c = job(WRITE, node, 599, 50, .fill = 'c');

    job_start(&a);
    job_start(&b);
    job_start(&c);
    mem_step(m, "R0+512");
    mem_step(m, "W0+512");
    mem_expect(m, "R0+1024");
    mem_complete_all(m);
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(job_finish(&b), ==, 0);
    g_assert_cmpint(job_finish(&c), ==, 0);
    g_assert_true(bytes_are(m->data + 400, 'b', 199));
    g_assert_true(bytes_are(m->data + 599, 'c', 50));
    close_node(node);
}

/*
 *   A 0+512   B 512+512   Z zeroes 0+1024   driver
 *   begins    begins      begins, ...       W0+512 W512+512
 *             ends        ... for A
 *   ends                  goes on           Z0+1024
 */
static void test_waits_for_all(void)
{
    struct node *node = open_holding();
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, node, 0, 512, .fill = 'a');
    struct job b = job(WRITE, node, 512, 512, .fill = 'b');
    struct job z = job(ZEROES, node, 0, 1024);

    job_start(&a);
    job_start(&b);
    job_start(&z);
    mem_expect(m, "W0+512 W512+512");
    mem_complete(m, 1);
    mem_step(m, "");
    mem_step(m, "Z0+1024");
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(job_finish(&b), ==, 0);
    g_assert_cmpint(job_finish(&z), ==, 0);
    close_node(node);
}

/* All that wait for one request go on when it ends, in their order. */
static void test_all_waiters_go_on(void)
{
    struct node *node = open_holding();
    struct mem *m = mem_of(node);
    struct job z = job(ZEROES, node, 0, 4096);
    struct job w[3];

    job_start(&z);
    for (int i = 0; i < 3; i++) {
        w[i] = job(WRITE, node, i * 512, 512, .fill = 'a');
        job_start(&w[i]);
    }
    mem_step(m, "Z0+4096");
    mem_expect(m, "W0+512 W512+512 W1024+512");
    mem_complete_all(m);
    g_assert_cmpint(job_finish(&z), ==, 0);
    for (int i = 0; i < 3; i++) {
        g_assert_cmpint(job_finish(&w[i]), ==, 0);
    }
    close_node(node);
}

/* A request that fails lets the next one go on all the same. */
static void test_failure_lets_go(void)
{
    struct node *node = open_holding();
    struct mem *m = mem_of(node);
    struct job z = job(ZEROES, node, 0, 512);
    struct job w = job(WRITE, node, 0, 512, .fill = 'w');

    job_start(&z);
    job_start(&w);
    mem_fail(m, 0, -EIO);
    g_assert_cmpint(job_finish(&z), ==, -EIO);
    mem_step(m, "Z0+512 W0+512");
    g_assert_cmpint(job_finish(&w), ==, 0);
    close_node(node);
}

/* The caller can ask for it: also plain requests, also reads. */
static void test_serialising_flag(void)
{
    struct node *node = open_holding();
    struct mem *m = mem_of(node);
    struct job r = job(READ, node, 0, 512, REQ_SERIALISING);
    struct job w = job(WRITE, node, 0, 512, .fill = 'w');

    job_start(&r);
    job_start(&w);
    mem_step(m, "R0+512");
    mem_step(m, "W0+512");
    g_assert_cmpint(job_finish(&r), ==, 0);
    g_assert_cmpint(job_finish(&w), ==, 0);
    close_node(node);
}

static void test_no_wait(void)
{
    const unsigned flags = REQ_SERIALISING | REQ_NO_WAIT;
    struct node *node = open_holding();
    struct mem *m = mem_of(node);
    struct job r = job(READ, node, 0, 512);
    struct job busy = job(WRITE, node, 0, 1024, flags);
    struct job free_range = job(WRITE, node, 512, 512, flags);
    struct job again = job(WRITE, node, 0, 512, flags);

    job_start(&r);
    g_assert_cmpint(job_run(&busy), ==, -EBUSY);
    job_start(&free_range);
    mem_expect(m, "R0+512 W512+512");
    mem_complete_all(m);
    g_assert_cmpint(job_finish(&r), ==, 0);
    g_assert_cmpint(job_finish(&free_range), ==, 0);
    job_start(&again); /* the one that was turned away left nothing behind */
    mem_complete_all(m);
    g_assert_cmpint(job_finish(&again), ==, 0);
    close_node(node);
}

/*
 *   R read 8192+512   T truncate to 4096   S read 8192+512   driver
 *   begins                                                   R8192+512
 *                     begins, ...
 *                                          begins, ...
 *   ends              goes on                                T4096
 *                     ends                 ends, -EIO
 */
static void test_truncate(void)
{
    struct node *node = open_holding();
    struct mem *m = mem_of(node);
    struct job r = job(READ, node, 8192, 512);
    struct job t = job(TRUNCATE, node, 4096);
    struct job s = job(READ, node, 8192, 512);
    struct job w = job(WRITE, node, 8192, 512, .fill = 'w');
    struct job a = job(ALLOCATE, node, 8192, 512);
    struct job low = job(READ, node, 0, 512);

    job_start(&r);
    job_start(&t);
    job_start(&s);
    job_start(&w);
    job_start(&a);
    job_start(&low); /* below the new end: not concerned */
    mem_expect(m, "R8192+512 R0+512");
    mem_complete_all(m);
    mem_expect(m, "T4096");
    g_assert_cmpint(job_finish(&r), ==, 0);
    g_assert_cmpint(job_finish(&t), ==, 0);
    g_assert_cmpint(job_finish(&s), ==, -EIO);
    g_assert_cmpint(job_finish(&w), ==, -EIO);
    g_assert_cmpint(job_finish(&a), ==, 0); /* there is nothing to reserve */
    g_assert_cmpint(job_finish(&low), ==, 0);
    g_assert_cmpint(node_length(node), ==, 4096);
    close_node(node);
}

/*
 *   W write 900+100   T truncate to 99999  driver (1000 bytes, blocks of 512)
 *   begins                                 R512+512
 *                     begins, ...
 *   ...               ...                  W512+488
 *   ends              goes on              T99999
 * W stores a part of a block because that is the last one: it must not become
 * an inner one meanwhile.
 */
static void test_truncate_waits_for_tail(void)
{
    struct node *node = open_node("driver=mem,size=1000,align=512", NODE_RDWR);
    struct mem *m = mem_of(node);
    struct job w = job(WRITE, node, 900, 100, .fill = 'w');
    struct job t = job(TRUNCATE, node, 99999);

    m->hold = true;
    job_start(&w);
    job_start(&t);
    mem_complete(m, 0);
    mem_step(m, "R512+512 W512+488");
    mem_step(m, "T99999");
    g_assert_cmpint(job_finish(&w), ==, 0);
    g_assert_cmpint(job_finish(&t), ==, 0);
    g_assert_cmpint(node_length(node), ==, 99999);
    close_node(node);
}

/*
 *   C copy 0+512 to 4096   Z zeroes 0+8192   driver
 *   begins                                   C0+512>4096
 *                          begins, ...
 *   ends                   goes on           Z0+8192
 * Both ranges of C are taken at one moment, or Z could come in between: it
 * would wait for C's reading, and C's writing for it.
 */
static void test_copy(void)
{
    struct node *node = open_holding();
    struct mem *m = mem_of(node);
    struct job first = job(ZEROES, node, 0, 4096);
    struct job c = job(COPY, node, 0, 512, .dst = node, .dst_offset = 4096);
    struct job z = job(ZEROES, node, 0, 8192);
    struct job same = job(COPY, node, 0, 1024, .dst = node, .dst_offset = 512);

    job_start(&first);
    job_start(&c); /* waits for the zeroes where it reads */
    job_start(&z);
    mem_step(m, "Z0+4096");
    mem_step(m, "C0+512>4096");
    mem_step(m, "Z0+8192");
    g_assert_cmpint(job_finish(&first), ==, 0);
    g_assert_cmpint(job_finish(&c), ==, 0);
    g_assert_cmpint(job_finish(&z), ==, 0);
    g_assert_cmpint(job_run(&same), ==, -EOPNOTSUPP);
    close_node(node);
}

/* A copy waits for both: for who writes what it reads, and for who is where it
 * writes to. */
static void test_copy_waits_at_both(void)
{
    struct node *x = open_holding();
    struct node *y = open_holding();
    struct job zx = job(ZEROES, x, 0, 512);
    struct job zy = job(ZEROES, y, 0, 512);
    struct job c = job(COPY, x, 0, 512, .dst = y);

    job_start(&zx);
    job_start(&zy);
    job_start(&c);
    mem_complete(mem_of(x), 0);
    mem_expect(mem_of(x), "Z0+512");
    mem_complete(mem_of(y), 0);
    mem_expect(mem_of(x), "C0+512>0");
    mem_complete_all(mem_of(x));
    mem_complete_all(mem_of(y));
    g_assert_cmpint(job_finish(&zx), ==, 0);
    g_assert_cmpint(job_finish(&zy), ==, 0);
    g_assert_cmpint(job_finish(&c), ==, 0);
    close_node(x);
    close_node(y);
}

/* Two nodes that copy to each other, with somebody waiting at both. */
static void test_copy_crosswise(void)
{
    struct node *x = open_holding();
    struct node *y = open_holding();
    struct job ab = job(COPY, x, 0, 512, .dst = y);
    struct job zx = job(ZEROES, x, 0, 512);
    struct job ba = job(COPY, y, 0, 512, .dst = x);
    struct job zy = job(ZEROES, y, 0, 512);
    struct job *all[] = {&ab, &zx, &ba, &zy};

    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
        job_start(all[i]);
    }
    while (mem_pending(mem_of(x)) + mem_pending(mem_of(y)) > 0) {
        mem_complete_all(mem_of(x));
        mem_complete_all(mem_of(y));
    }
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
        g_assert_cmpint(job_finish(all[i]), ==, 0);
    }
    close_node(x);
    close_node(y);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    fixture_register();
    g_test_add_func("/overlap/plain-writes-race", test_plain_writes_race);
    g_test_add_func("/overlap/write-zeroes-write", test_write_zeroes_write);
    g_test_add_func("/overlap/write-discard-write", test_write_discard_write);
    g_test_add_func("/overlap/neighbours", test_neighbours);
    g_test_add_func("/overlap/reads-keep-the-order", test_reads_keep_the_order);
    g_test_add_func("/overlap/no-overtaking", test_no_overtaking);
    g_test_add_func("/overlap/passing", test_passing);
    g_test_add_func("/overlap/no-passing", test_no_passing);
    g_test_add_func("/overlap/waits-for-all", test_waits_for_all);
    g_test_add_func("/overlap/all-waiters-go-on", test_all_waiters_go_on);
    g_test_add_func("/overlap/failure-lets-go", test_failure_lets_go);
    g_test_add_func("/overlap/serialising-flag", test_serialising_flag);
    g_test_add_func("/overlap/no-wait", test_no_wait);
    g_test_add_func("/overlap/truncate", test_truncate);
    g_test_add_func("/overlap/truncate-waits-for-tail",
                    test_truncate_waits_for_tail);
    g_test_add_func("/overlap/copy", test_copy);
    g_test_add_func("/overlap/copy-waits-at-both", test_copy_waits_at_both);
    g_test_add_func("/overlap/copy-crosswise", test_copy_crosswise);
    rc = g_test_run();
    fixture_loop_free();
    return rc;
}
