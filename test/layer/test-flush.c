/* SPDX-License-Identifier: MIT */
/*
 * Flush and FUA: how many flushes reach the disk, whom each serves, and what
 * an error of one means.
 */
#include <errno.h>
#include <string.h>

#include "fixtures.h"

static struct node *open_holding(const char *opts, unsigned flags)
{
    struct node *node = open_node(opts, NODE_RDWR | flags);

    mem_of(node)->hold = true;
    return node;
}

#define OPTS "driver=mem,size=64k,align=512"

static void write_now(struct node *node)
{
    struct mem *m = mem_of(node);
    bool hold = m->hold;

    m->hold = false;
    g_assert_cmpint(job_run(&job(WRITE, node, 0, 512)), ==, 0);
    m->hold = hold;
    mem_expect(m, "W0+512");
}

/* Nothing written, nothing to do; and nothing to do twice. */
static void test_only_when_dirty(void)
{
    struct node *node = open_node(OPTS, NODE_RDWR);
    struct mem *m = mem_of(node);

    g_assert_cmpint(job_run(&job(FLUSH, node)), ==, 0);
    mem_expect(m, "");
    write_now(node);
    g_assert_cmpint(job_run(&job(FLUSH, node)), ==, 0);
    mem_expect(m, "F");
    g_assert_cmpint(job_run(&job(FLUSH, node)), ==, 0);
    mem_expect(m, "");
    close_node(node);
}

/* Zeroes, discards and truncation make dirty as well, and failed writes. */
static void test_what_makes_dirty(void)
{
    struct node *node = open_holding(OPTS, NODE_UNMAP);
    struct mem *m = mem_of(node);
    struct job jobs[] = {
        job(WRITE, node, 0, 512),
        job(ZEROES, node, 0, 512),
        job(DISCARD, node, 0, 512),
        job(TRUNCATE, node, 32768),
    };

    for (size_t i = 0; i < G_N_ELEMENTS(jobs); i++) {
        struct job f = job(FLUSH, node);
        g_autofree char *log = NULL;

        job_start(&jobs[i]);
        mem_fail(m, 0, i == 0 ? -EIO : 0);
        g_assert_cmpint(job_finish(&jobs[i]), ==, i == 0 ? -EIO : 0);
        log = mem_log_take(m);
        job_start(&f);
        mem_step(m, "F");
        g_assert_cmpint(job_finish(&f), ==, 0);
    }
    close_node(node);
}

/* A write that had to wait for another counts like any. */
static void test_waiting_makes_dirty(void)
{
    struct node *node = open_holding(OPTS, 0);
    struct mem *m = mem_of(node);
    struct job z = job(ZEROES, node, 0, 512);
    struct job w = job(WRITE, node, 0, 512);
    struct job f = job(FLUSH, node), g = f;

    job_start(&z);
    job_start(&w);
    mem_complete(m, 0);
    mem_expect(m, "Z0+512 W0+512");
    g_assert_cmpint(job_finish(&z), ==, 0);
    job_start(&f);
    mem_expect(m, "F");
    mem_complete(m, 1);
    g_assert_cmpint(job_finish(&f), ==, 0);
    mem_complete(m, 0);
    g_assert_cmpint(job_finish(&w), ==, 0);
    job_start(&g);
    mem_step(m, "F");
    g_assert_cmpint(job_finish(&g), ==, 0);
    close_node(node);
}

/*
 *   A flush     B flush     C flush     driver
 *   begins                              F
 *               begins, ...
 *                           begins, ...
 *   ends, 0     ends, 0     ends, 0     done
 */
static void test_one_serves_all(void)
{
    struct node *node = open_holding(OPTS, 0);
    struct mem *m = mem_of(node);
    struct job a = job(FLUSH, node), b = a, c = a;

    write_now(node);
    job_start(&a);
    job_start(&b);
    job_start(&c);
    mem_step(m, "F");
    mem_expect(m, "");
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(job_finish(&b), ==, 0);
    g_assert_cmpint(job_finish(&c), ==, 0);
    close_node(node);
}

/*
 *   A flush   writes    B flush     C flush     driver
 *   begins                                      F (of what was there)
 *             W1, W2
 *                       begins, ...
 *                                   begins, ...
 *   ends                goes on     ...         F (of W1, W2)
 *                       ends        ends        done
 */
static void test_later_writes_need_another(void)
{
    struct node *node = open_holding(OPTS, 0);
    struct mem *m = mem_of(node);
    struct job a = job(FLUSH, node), b = a, c = a;

    write_now(node);
    job_start(&a);
    mem_expect(m, "F");
    write_now(node);
    write_now(node);
    job_start(&b);
    job_start(&c);
    mem_step(m, "");
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_false(b.done || c.done);
    mem_step(m, "F");
    g_assert_cmpint(job_finish(&b), ==, 0);
    g_assert_cmpint(job_finish(&c), ==, 0);
    mem_expect(m, "");
    close_node(node);
}

/*
 *   W write     A flush     B flush     driver
 *   begins                              W0+512
 *               begins, ends            (nothing had completed)
 *   ends
 *                           begins      F
 */
static void test_write_under_way(void)
{
    struct node *node = open_holding(OPTS, 0);
    struct mem *m = mem_of(node);
    struct job w = job(WRITE, node, 0, 512);
    struct job a = job(FLUSH, node), b = a;

    job_start(&w);
    g_assert_cmpint(job_run(&a), ==, 0);
    mem_step(m, "W0+512");
    g_assert_cmpint(job_finish(&w), ==, 0);
    job_start(&b);
    mem_step(m, "F");
    g_assert_cmpint(job_finish(&b), ==, 0);
    close_node(node);
}

/*
 *   A flush     B flush     write, C flush    driver
 *   begins      begins, ...                   F
 *                           W, begins, ...
 *   ends, -EIO  ends, -EIO  goes on           F (fails; then the next)
 *                           ends, 0           done
 * B's data were what the failed flush may have lost; C's were not in it.
 */
static void test_failure(void)
{
    struct node *node = open_holding(OPTS, 0);
    struct mem *m = mem_of(node);
    struct job a = job(FLUSH, node), b = a, c = a;

    write_now(node);
    job_start(&a);
    job_start(&b);
    mem_expect(m, "F");
    write_now(node);
    job_start(&c);
    mem_fail(m, 0, -EIO);
    g_assert_cmpint(job_finish(&a), ==, -EIO);
    g_assert_cmpint(job_finish(&b), ==, -EIO);
    g_assert_false(c.done);
    mem_step(m, "F");
    g_assert_cmpint(job_finish(&c), ==, 0);
    close_node(node);
}

/* After an error the next flush tries again. */
static void test_failure_is_tried_again(void)
{
    struct node *node = open_holding(OPTS, 0);
    struct mem *m = mem_of(node);
    struct job a = job(FLUSH, node), b = a;

    write_now(node);
    job_start(&a);
    mem_fail(m, 0, -ENOSPC);
    g_assert_cmpint(job_finish(&a), ==, -ENOSPC);
    mem_expect(m, "F");
    job_start(&b);
    mem_step(m, "F");
    g_assert_cmpint(job_finish(&b), ==, 0);
    close_node(node);
}

/* -- FUA ----------------------------------------------------------------- */

/*
 *   write FUA   driver
 *   begins      W0+512
 *   ...         F
 *   ends        done
 */
static void test_fua_is_write_and_flush(void)
{
    struct node *node = open_holding(OPTS, 0);
    struct mem *m = mem_of(node);
    struct job w = job(WRITE, node, 0, 512, REQ_FUA);

    job_start(&w);
    mem_step(m, "W0+512");
    mem_expect(m, "F");
    g_assert_false(w.done);
    mem_fail(m, 0, -EIO);
    g_assert_cmpint(job_finish(&w), ==, -EIO);
    close_node(node);
}

static void test_fua_of_the_driver(void)
{
    struct node *node =
        open_holding("driver=mem-fua,size=64k,max-transfer=4k", 0);
    struct mem *m = mem_of(node);
    struct job w = job(WRITE, node, 0, 8192, REQ_FUA);

    job_start(&w);
    mem_complete_all(m);
    mem_expect(m, "W0+4096! W4096+4096!");
    g_assert_cmpint(job_finish(&w), ==, 0);
    close_node(node);
}

/* In pieces, one flush at the end is enough; after an error there is none. */
static void test_fua_in_pieces(void)
{
    struct node *node = open_holding("driver=mem,size=64k,max-transfer=4k", 0);
    struct mem *m = mem_of(node);
    struct job w = job(WRITE, node, 0, 8192, REQ_FUA);
    struct job z = job(ZEROES, node, 0, 8192, REQ_FUA);
    struct job bad = job(WRITE, node, 0, 8192, REQ_FUA);

    job_start(&w);
    mem_complete_all(m);
    mem_expect(m, "W0+4096 W4096+4096 F");
    g_assert_cmpint(job_finish(&w), ==, 0);
    job_start(&z);
    mem_complete_all(m);
    mem_expect(m, "Z0+8192 F");
    g_assert_cmpint(job_finish(&z), ==, 0);
    job_start(&bad);
    mem_complete(m, 0);
    mem_fail(m, 0, -EIO);
    mem_expect(m, "W0+4096 W4096+4096");
    g_assert_cmpint(job_finish(&bad), ==, -EIO);
    close_node(node);
}

/* A driver that takes FUA with writes only: for zeroes of its own a flush is
 * needed, at the end of all pieces. */
static void test_fua_of_zeroes(void)
{
    struct node *node =
        open_holding("driver=mem-fua,size=64k,zeroes-align=4k", 0);
    struct mem *m = mem_of(node);
    struct job z = job(ZEROES, node, 512, 8192 - 512, REQ_FUA);

    job_start(&z);
    mem_complete_all(m);
    mem_expect(m, "W512+3584! Z4096+4096 F");
    g_assert_cmpint(job_finish(&z), ==, 0);
    close_node(node);
}

/* cache=unsafe */
static void test_no_flush(void)
{
    struct node *node = open_node(OPTS, NODE_RDWR | NODE_NO_FLUSH);
    struct node *fua =
        open_node("driver=mem-fua,size=64k", NODE_RDWR | NODE_NO_FLUSH);

    g_assert_cmpint(job_run(&job(WRITE, node, 0, 512, REQ_FUA)), ==, 0);
    g_assert_cmpint(job_run(&job(FLUSH, node)), ==, 0);
    mem_expect(mem_of(node), "W0+512");
    g_assert_cmpint(job_run(&job(WRITE, fua, 0, 512, REQ_FUA)), ==, 0);
    mem_expect(mem_of(fua), "W0+512");
    close_node(node);
    close_node(fua);
}

/* -- Through a node above ------------------------------------------------ */

static void test_through_raw(void)
{
    struct node *node = open_holding("driver=raw,file.driver=mem,"
                                     "file.size=64k",
                                     0);
    struct mem *m = mem_of(node);
    struct job w = job(WRITE, node, 0, 512, REQ_FUA);
    struct job f = job(FLUSH, node);

    write_now(node);
    job_start(&f);
    mem_step(m, "F");
    g_assert_cmpint(job_finish(&f), ==, 0);
    job_start(&w);
    mem_complete_all(m);
    mem_expect(m, "W0+512 F"); /* one flush, where it is emulated */
    g_assert_cmpint(job_finish(&w), ==, 0);
    close_node(node);
}

/* An error of the file is one of the flush above it, each time. */
static void test_failure_below(void)
{
    struct node *node = open_holding("driver=raw,file.driver=mem,"
                                     "file.size=64k",
                                     0);
    struct mem *m = mem_of(node);
    struct job a = job(FLUSH, node), b = a;

    write_now(node);
    job_start(&a);
    mem_expect(m, "F");
    mem_fail(m, 0, -EIO);
    g_assert_cmpint(job_finish(&a), ==, -EIO);
    job_start(&b);
    mem_expect(m, "F");
    mem_fail(m, 0, -EIO);
    g_assert_cmpint(job_finish(&b), ==, -EIO);
    close_node(node);
}

/* The last reference flushes, and tells when that fails. */
static void test_close_flushes(void)
{
    struct node *node =
        open_node("driver=raw,file.driver=mem,file.size=64k", NODE_RDWR);

    write_now(node);
    mem_of(node)->fail_flush = -EIO;
    g_assert_cmpint(close_node(node), ==, -EIO);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    fixture_register();
    g_test_add_func("/flush/only-when-dirty", test_only_when_dirty);
    g_test_add_func("/flush/what-makes-dirty", test_what_makes_dirty);
    g_test_add_func("/flush/waiting-makes-dirty", test_waiting_makes_dirty);
    g_test_add_func("/flush/one-serves-all", test_one_serves_all);
    g_test_add_func("/flush/later-writes-need-another",
                    test_later_writes_need_another);
    g_test_add_func("/flush/write-under-way", test_write_under_way);
    g_test_add_func("/flush/failure", test_failure);
    g_test_add_func("/flush/failure-is-tried-again",
                    test_failure_is_tried_again);
    g_test_add_func("/flush/fua-is-write-and-flush",
                    test_fua_is_write_and_flush);
    g_test_add_func("/flush/fua-of-the-driver", test_fua_of_the_driver);
    g_test_add_func("/flush/fua-in-pieces", test_fua_in_pieces);
    g_test_add_func("/flush/fua-of-zeroes", test_fua_of_zeroes);
    g_test_add_func("/flush/no-flush", test_no_flush);
    g_test_add_func("/flush/through-raw", test_through_raw);
    g_test_add_func("/flush/failure-below", test_failure_below);
    g_test_add_func("/flush/close-flushes", test_close_flushes);
    rc = g_test_run();
    fixture_loop_free();
    return rc;
}
