/* SPDX-License-Identifier: MIT */
/*
 * What a 4k request costs on its way queue → backend → block → driver and
 * back, without any I/O: nanoseconds of one thread per request, for drivers
 * that complete at once ("null") and after a yield, in batches, as an engine
 * does ("yield").  Depth 32, plugged as the front does it.
 *
 *   bench-queue [REQUESTS] [DRIVER] [WORKLOAD]
 */
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "base/align.h"
#include "block/driver.h"
#include "block/node.h"
#include "driver/driver_list.h"
#include "loop/loop.h"
#include "queue/queue.h"

#define DEPTH   32
#define BLOCK   (4 * KiB)
#define LENGTH  (1 * GiB)
#define REPEATS 5

/* -- A driver that completes a batch from a bottom half ------------------ */

static struct list yielded = {&yielded, &yielded};
static struct bh *yield_bh;

static void yield_complete(void *opaque)
{
    struct list batch;

    list_init(&batch);
    list_splice_tail(&batch, &yielded);
    while (!list_empty(&batch)) {
        struct list *link = batch.next;

        list_del(link);
        loop_co_wake(co_from_link(link));
    }
}

static int co_fn yield_co_wait(void)
{
    if (list_empty(&yielded)) {
        bh_schedule(yield_bh);
    }
    list_add_tail(&yielded, co_link(co_self()));
    co_yield();
    return 0;
}

static int co_fn yield_co_open(struct node *node, struct options *opts,
                               GError **err)
{
    node_set_length(node, LENGTH);
    return 0;
}

static int co_fn yield_co_preadv(struct node *node, int64_t offset,
                                 const struct iovs *dst)
{
    return yield_co_wait();
}

static int co_fn yield_co_pwritev(struct node *node, int64_t offset,
                                  const struct iovs *src, unsigned flags)
{
    return yield_co_wait();
}

static const struct driver driver_yield = {
    .name = "yield",
    .traits = DRIVER_LEAF,
    .co_open = yield_co_open,
    .co_preadv = yield_co_preadv,
    .co_pwritev = yield_co_pwritev,
};

/* -- Workloads ----------------------------------------------------------- */

static const struct workload {
    const char *name;
    enum backend_op op;
    bool sequential;
    unsigned queue_flags;
} workloads[] = {
    {"randread", BACKEND_READ, false, 0},
    {"randwrite", BACKEND_WRITE, false, 0},
    {"seqwrite", BACKEND_WRITE, true, 0},
    {"seqwrite-nomerge", BACKEND_WRITE, true, QUEUE_NO_MERGE},
};

static struct backend *backend;
static struct queue *queue;
static struct queue_req reqs[DEPTH];
static struct queue_req *idle[DEPTH];
static int n_idle;
static uint64_t random_state = 88172645463325252u;

static void request_done(struct queue_req *req, int rc)
{
    if (rc < 0) {
        fprintf(stderr, "bench-queue: %s\n", strerror(-rc));
        exit(1);
    }
    idle[n_idle++] = req;
}

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Submits as many as are idle, in one plug. */
static int64_t submit_idle(const struct workload *w, int64_t next, int64_t max)
{
    int64_t n = 0;

    queue_plug(queue);
    for (; n_idle > 0 && n < max; n++) {
        struct queue_req *req = idle[--n_idle];
        uint64_t block = w->sequential ? (uint64_t)(next + n) : next_random();

        req->op = w->op;
        req->offset = (int64_t)(block % (LENGTH / BLOCK)) * BLOCK;
        queue_submit(queue, req);
    }
    queue_unplug(queue);
    return n;
}

/* Returns nanoseconds per request. */
static double run_once(struct loop *loop, const struct workload *w, int64_t n)
{
    int64_t begun = loop_now();

    for (int64_t i = 0; i < n;) {
        i += submit_idle(w, i, n - i);
        loop_turn(loop, false);
    }
    while (n_idle < DEPTH) {
        loop_turn(loop, false);
    }
    return (double)(loop_now() - begun) / (double)n;
}

static void run_workload(struct loop *loop, const char *driver,
                         const struct workload *w, int64_t n)
{
    double best = 0;

    queue = queue_new(backend, w->queue_flags);
    for (int i = 0; i < REPEATS; i++) {
        double ns = run_once(loop, w, n);

        best = i == 0 ? ns : MIN(best, ns);
    }
    printf("%-6s %-18s %7.0f ns\n", driver, w->name, best);
    queue_free(queue);
}

/* -- Set-up -------------------------------------------------------------- */

static void open_entry(void *opaque)
{
    struct options *opts = options_new();
    g_autoptr(GError) err = NULL;
    struct node *node;

    co_assert_role();
    options_set(opts, "driver", opaque);
    if (g_str_equal(opaque, "null")) {
        options_set(opts, "read-zeroes", "off");
    }
    node = node_co_open(opts, NODE_RDWR, &err);
    if (!node || backend_new(node, 0, &backend) < 0 ||
        node_co_unref(node) < 0) {
        fprintf(stderr, "bench-queue: %s\n", err ? err->message : "backend");
        exit(1);
    }
}

static void close_entry(void *opaque)
{
    co_assert_role();
    (void)backend_co_free(backend);
}

static void run_in_loop(struct loop *loop, co_entry_fn *entry, void *opaque)
{
    if (loop_co_run_blocking(loop, entry, opaque) < 0) {
        exit(1);
    }
}

static void run_driver(struct loop *loop, const char *driver, int64_t n,
                       const char *only)
{
    run_in_loop(loop, open_entry, (void *)driver);
    for (size_t i = 0; i < G_N_ELEMENTS(workloads); i++) {
        if (!only || g_str_equal(only, workloads[i].name)) {
            run_workload(loop, driver, &workloads[i], n);
        }
    }
    run_in_loop(loop, close_entry, NULL);
}

int main(int argc, char **argv)
{
    static const char *const drivers[] = {"null", "yield"};
    int64_t n = argc > 1 ? atoll(argv[1]) : 1000000;
    void *memory = aligned_alloc(BLOCK, DEPTH * BLOCK);
    struct loop *loop;

    if (!memory || loop_new(&loop) < 0) {
        return 1;
    }
    loop_adopt(loop);
    yield_bh = bh_new(loop, yield_complete, NULL);
    driver_register(&driver_null);
    driver_register(&driver_yield);
    for (int i = 0; i < DEPTH; i++) {
        reqs[i] = (struct queue_req){
            .bytes = BLOCK,
            .buf = (char *)memory + i * BLOCK,
            .done = request_done,
        };
        idle[n_idle++] = &reqs[i];
    }
    for (size_t i = 0; i < G_N_ELEMENTS(drivers); i++) {
        if (argc < 3 || g_str_equal(argv[2], drivers[i])) {
            run_driver(loop, drivers[i], n, argc > 3 ? argv[3] : NULL);
        }
    }
    bh_free(yield_bh);
    loop_free(loop);
    free(memory);
    return 0;
}
