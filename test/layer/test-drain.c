/* SPDX-License-Identifier: MIT */
/*
 * Drain: parents stop, what is under way ends, and then nothing moves.
 */
#include <errno.h>

#include "fixtures.h"

#define OPTS     "driver=mem,size=64k,align=512"
#define RAW_OPTS "driver=raw,file.driver=mem,file.size=64k,file.align=512"

static struct node *open_holding(const char *opts)
{
    struct node *node = open_node(opts, NODE_RDWR);

    mem_of(node)->hold = true;
    return node;
}

/* A user who counts what is asked of him. */
struct user {
    struct node_parent parent;
    int begun, ended;
    bool busy;
};

static void user_drained_begin(struct node_parent *p)
{
    container_of(p, struct user, parent)->begun++;
}

static bool user_drained_busy(struct node_parent *p)
{
    return container_of(p, struct user, parent)->busy;
}

static void user_drained_end(struct node_parent *p)
{
    container_of(p, struct user, parent)->ended++;
}

#define USER                                     \
    {                                            \
        .parent = {                              \
            .drained_begin = user_drained_begin, \
            .drained_busy = user_drained_busy,   \
            .drained_end = user_drained_end,     \
        },                                       \
    }

static void test_idle(void)
{
    struct node *node = open_holding(OPTS);

    g_assert_cmpint(job_run(&job(DRAIN, node)), ==, 0);
    g_assert_cmpint(job_run(&job(UNDRAIN, node)), ==, 0);
    close_node(node);
}

/*
 *   A write 100+50   drain        driver
 *   begins                        R0+512
 *                    begins, ...
 *   ...              ...          W0+512   the second half is let through
 *   ends             ends
 */
static void test_waits_for_requests(void)
{
    struct node *node = open_holding(OPTS);
    struct mem *m = mem_of(node);
    struct job w = job(WRITE, node, 100, 50, .fill = 'w');
    struct job d = job(DRAIN, node);

    job_start(&w);
    job_start(&d);
    mem_complete(m, 0);
    mem_expect(m, "R0+512 W0+512");
    g_assert_false(d.done);
    mem_complete(m, 0);
    g_assert_cmpint(job_finish(&w), ==, 0);
    g_assert_cmpint(job_finish(&d), ==, 0);
    job_run(&job(UNDRAIN, node));
    close_node(node);
}

/*
 *   A write 0+512   B write 0+100   drain        driver
 *   begins                                       W0+512
 *                   begins, ...
 *                                   begins, ...
 *   ends            goes on         ...          R0+512
 *                   ...             ...          W0+512
 *                   ends            ends
 * B had begun: it is waited for although it was waiting itself.
 */
static void test_waits_for_waiters(void)
{
    struct node *node = open_holding(OPTS);
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, node, 0, 512);
    struct job b = job(WRITE, node, 0, 100);
    struct job d = job(DRAIN, node);

    job_start(&a);
    job_start(&b);
    job_start(&d);
    mem_complete(m, 0);
    mem_complete(m, 0);
    mem_expect(m, "W0+512 R0+512 W0+512");
    g_assert_false(d.done);
    mem_complete(m, 0);
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(job_finish(&b), ==, 0);
    g_assert_cmpint(job_finish(&d), ==, 0);
    job_run(&job(UNDRAIN, node));
    close_node(node);
}

static void test_waits_for_flush(void)
{
    struct node *node = open_holding(OPTS);
    struct mem *m = mem_of(node);
    struct job w = job(WRITE, node, 0, 512);
    struct job f = job(FLUSH, node);
    struct job d = job(DRAIN, node);

    job_start(&w);
    mem_complete(m, 0);
    g_assert_cmpint(job_finish(&w), ==, 0);
    job_start(&f);
    job_start(&d);
    g_assert_false(d.done);
    mem_complete(m, 0);
    g_assert_cmpint(job_finish(&f), ==, 0);
    g_assert_cmpint(job_finish(&d), ==, 0);
    job_run(&job(UNDRAIN, node));
    close_node(node);
}

/* A drain of the file reaches the user of the format above it, once. */
static void test_parents_are_quiesced(void)
{
    struct node *node = open_holding(RAW_OPTS);
    struct node *file = node_file(node);
    struct user u = USER;

    node_add_parent(node, &u.parent);
    job_run(&job(DRAIN, file));
    g_assert_cmpint(u.begun, ==, 1);
    job_run(&job(DRAIN, file));
    job_run(&job(DRAIN, node));
    g_assert_cmpint(u.begun, ==, 1);
    job_run(&job(UNDRAIN, file));
    job_run(&job(UNDRAIN, file));
    g_assert_cmpint(u.ended, ==, 0);
    job_run(&job(UNDRAIN, node));
    g_assert_cmpint(u.ended, ==, 1);
    node_del_parent(node, &u.parent);
    close_node(node);
}

/*
 *   user     drain of the file
 *   busy     begins, ...
 *   kicks    ... (still busy)
 *   idle
 *   kicks    ends
 */
static void test_waits_for_parents(void)
{
    struct node *node = open_holding(RAW_OPTS);
    struct user u = USER;
    struct job d = job(DRAIN, node_file(node));

    u.busy = true;
    node_add_parent(node, &u.parent);
    job_start(&d);
    g_assert_false(d.done);
    node_drain_kick(node);
    g_assert_false(d.done);
    u.busy = false;
    node_drain_kick(node);
    g_assert_cmpint(job_finish(&d), ==, 0);
    job_run(&job(UNDRAIN, node_file(node)));
    node_del_parent(node, &u.parent);
    close_node(node);
}

/* A drain of the file waits for a request that the format has begun, also
 * while that has nothing under way in the file. */
static void test_waits_for_nodes_above(void)
{
    struct node *node = open_holding(RAW_OPTS);
    struct mem *m = mem_of(node);
    struct job a = job(ZEROES, node, 0, 512);
    struct job b = job(WRITE, node, 0, 512);
    struct job d = job(DRAIN, node_file(node));

    job_start(&a);
    job_start(&b); /* waits in raw; the file has not heard of it */
    job_start(&d);
    mem_step(m, "Z0+512");
    mem_expect(m, "W0+512");
    g_assert_false(d.done);
    mem_complete(m, 0);
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(job_finish(&b), ==, 0);
    g_assert_cmpint(job_finish(&d), ==, 0);
    job_run(&job(UNDRAIN, node_file(node)));
    close_node(node);
}

/* Who comes to a drained node is quiesced, and who leaves it is not. */
static void test_parents_come_and_go(void)
{
    struct node *node = open_holding(OPTS);
    struct user early = USER, late = USER;

    node_add_parent(node, &early.parent);
    job_run(&job(DRAIN, node));
    node_add_parent(node, &late.parent);
    g_assert_cmpint(late.begun, ==, 1);
    node_del_parent(node, &early.parent);
    g_assert_cmpint(early.ended, ==, 1);
    job_run(&job(UNDRAIN, node));
    g_assert_cmpint(late.ended, ==, 1);
    g_assert_cmpint(early.ended, ==, 1);
    node_del_parent(node, &late.parent);
    close_node(node);
}

/* A drain ends when the parent it waits for goes away. */
static void test_busy_parent_leaves(void)
{
    struct node *node = open_holding(OPTS);
    struct user u = USER;
    struct job d = job(DRAIN, node);

    u.busy = true;
    node_add_parent(node, &u.parent);
    job_start(&d);
    g_assert_false(d.done);
    node_del_parent(node, &u.parent);
    g_assert_cmpint(job_finish(&d), ==, 0);
    job_run(&job(UNDRAIN, node));
    close_node(node);
}

struct leaver {
    struct node_parent parent;
    struct node *node;
    int asked;
};

/* Busy the first time; but its request ends, on another thread, as soon as
 * that was said. */
static bool leaver_drained_busy(struct node_parent *p)
{
    struct leaver *l = container_of(p, struct leaver, parent);

    if (l->asked++ == 0) {
        node_drain_kick(l->node);
        return true;
    }
    return false;
}

static void leaver_drained(struct node_parent *p)
{
}

/* What ends after a drain has looked and before it sleeps is not missed. */
static void test_ends_while_looked_at(void)
{
    struct node *node = open_holding(OPTS);
    struct leaver l = {
        .parent =
            {
                .drained_begin = leaver_drained,
                .drained_busy = leaver_drained_busy,
                .drained_end = leaver_drained,
            },
        .node = node,
    };

    node_add_parent(node, &l.parent);
    g_assert_cmpint(job_run(&job(DRAIN, node)), ==, 0);
    g_assert_cmpint(l.asked, ==, 2);
    job_run(&job(UNDRAIN, node));
    node_del_parent(node, &l.parent);
    close_node(node);
}

/* Two drains at once end together. */
static void test_two_drains(void)
{
    struct node *node = open_holding(RAW_OPTS);
    struct mem *m = mem_of(node);
    struct job w = job(WRITE, node, 0, 512);
    struct job a = job(DRAIN, node);
    struct job b = job(DRAIN, node_file(node));

    job_start(&w);
    job_start(&a);
    job_start(&b);
    g_assert_false(a.done || b.done);
    mem_complete(m, 0);
    g_assert_cmpint(job_finish(&w), ==, 0);
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(job_finish(&b), ==, 0);
    job_run(&job(UNDRAIN, node));
    job_run(&job(UNDRAIN, node_file(node)));
    close_node(node);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    fixture_register();
    g_test_add_func("/drain/idle", test_idle);
    g_test_add_func("/drain/waits-for-requests", test_waits_for_requests);
    g_test_add_func("/drain/waits-for-waiters", test_waits_for_waiters);
    g_test_add_func("/drain/waits-for-flush", test_waits_for_flush);
    g_test_add_func("/drain/parents-are-quiesced", test_parents_are_quiesced);
    g_test_add_func("/drain/waits-for-parents", test_waits_for_parents);
    g_test_add_func("/drain/waits-for-nodes-above", test_waits_for_nodes_above);
    g_test_add_func("/drain/parents-come-and-go", test_parents_come_and_go);
    g_test_add_func("/drain/busy-parent-leaves", test_busy_parent_leaves);
    g_test_add_func("/drain/ends-while-looked-at", test_ends_while_looked_at);
    g_test_add_func("/drain/two-drains", test_two_drains);
    rc = g_test_run();
    fixture_loop_free();
    return rc;
}
