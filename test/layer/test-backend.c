/* SPDX-License-Identifier: MIT */
/*
 * backend → block → driver: completion, drain, refusals, write errors, copies,
 * and all of it from several loops at once.
 */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "block/driver.h"
#include "block/node.h"
#include "calls.h"
#include "loop/iothread.h"
#include "rig.h"

#define LENGTH   1024
#define MAX_REQS 16
#define PENDING  1 /* user.rc until done() */

struct user {
    struct backend_req req;
    struct iovec iov;
    uint8_t data[64];
    int rc;
};

static struct rig rig;
static struct user users[MAX_REQS];
static int n_users;
static bool submitting; /* inside backend_submit() */

static const struct calls_opts simple_opts = {
    .length = LENGTH,
    .flags = NODE_RDWR | NODE_UNMAP,
};

static void up(unsigned flags)
{
    n_users = 0;
    rig_up(&rig, &simple_opts, flags);
}

static void user_done(struct backend_req *req, int rc)
{
    struct user *u = container_of(req, struct user, req);

    g_assert_false(submitting);
    g_assert_cmpint(u->rc, ==, PENDING);
    /* Whoever drains waits for this call, too. */
    g_assert_cmpint(backend_in_flight(req->be), >, 0);
    u->rc = rc;
}

static struct user *submit(enum backend_op op, int64_t offset, int64_t bytes)
{
    struct user *u = &users[n_users++];

    g_assert_cmpint(n_users, <=, MAX_REQS);
    u->rc = PENDING;
    u->req = (struct backend_req){
        .op = op,
        .offset = offset,
        .bytes = bytes,
        .iovs = iovs_one(&u->iov, u->data, bytes),
        .done = user_done,
    };
    submitting = true;
    backend_submit(rig.be, &u->req);
    submitting = false;
    return u;
}

/* Runs a request to its end and returns its result. */
static int run(enum backend_op op, int64_t offset, int64_t bytes)
{
    struct user *u = submit(op, offset, bytes);

    calls_let_all_go(rig.calls);
    rig_settle();
    g_assert_cmpint(u->rc, !=, PENDING);
    n_users--;
    return u->rc;
}

/* -- Completion ---------------------------------------------------------- */

static void test_never_completes_inline(void)
{
    up(0);
    calls_set_mode(rig.calls, CALLS_DO);
    submit(BACKEND_WRITE, 0, 4);
    submit(BACKEND_READ, 0, 4);
    submit(BACKEND_READ, LENGTH, 4);
    for (int i = 0; i < n_users; i++) {
        g_assert_cmpint(users[i].rc, ==, PENDING);
    }
    calls_assert(rig.calls, "W 0+4, R 0+4");
    g_assert_cmpint(backend_in_flight(rig.be), ==, 3);
    rig_settle();
    g_assert_cmpint(users[0].rc, ==, 0);
    g_assert_cmpint(users[1].rc, ==, 0);
    g_assert_cmpint(users[2].rc, ==, -EIO);
    g_assert_cmpint(backend_in_flight(rig.be), ==, 0);
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

/* What has yielded completes as soon as the driver does, in no extra step. */
static void test_completes_with_the_driver(void)
{
    up(0);
    submit(BACKEND_READ, 0, 4);
    submit(BACKEND_READ, 8, 4);
    calls_let_go(rig.calls, 1);
    g_assert_cmpint(users[0].rc, ==, PENDING);
    g_assert_cmpint(users[1].rc, ==, 0);
    calls_fail(rig.calls, 0, -ETIMEDOUT);
    g_assert_cmpint(users[0].rc, ==, -ETIMEDOUT);
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

/* Stands for co_new() in this program (see meson.build). */
static bool no_memory;
struct co *__real_co_new(co_entry_fn *entry, void *opaque);
struct co *__wrap_co_new(co_entry_fn *entry, void *opaque);

struct co *__wrap_co_new(co_entry_fn *entry, void *opaque)
{
    return no_memory ? NULL : __real_co_new(entry, opaque);
}

static void test_no_memory(void)
{
    up(0);
    no_memory = true;
    submit(BACKEND_WRITE, 0, 4);
    submit(BACKEND_READ, 0, 4);
    no_memory = false;
    g_assert_cmpint(users[0].rc, ==, PENDING);
    g_assert_cmpint(users[1].rc, ==, PENDING);
    rig_settle();
    g_assert_cmpint(users[0].rc, ==, -ENOMEM);
    g_assert_cmpint(users[1].rc, ==, -ENOMEM);
    g_assert_cmpint(backend_in_flight(rig.be), ==, 0);
    calls_assert(rig.calls, "");
    g_assert_cmpint(rig_down(&rig), ==, -ENOMEM); /* the write is lost */
}

/* -- Refusals ------------------------------------------------------------ */

static void test_range(void)
{
    static const struct {
        int64_t offset, bytes;
        int want;
    } cases[] = {
        {0, 0, 0},
        {0, 64, 0},
        {LENGTH - 1, 1, 0},
        {LENGTH, 0, 0},
        {LENGTH, 1, -EIO},
        {LENGTH - 1, 2, -EIO},
        {-1, 1, -EIO},
        {LENGTH + 1, 0, -EIO},
        {INT64_MAX, 1, -EIO},
    };
    static const enum backend_op ops[] = {
        BACKEND_READ,
        BACKEND_WRITE,
        BACKEND_ZEROES,
        BACKEND_DISCARD,
    };

    up(0);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        for (size_t op = 0; op < G_N_ELEMENTS(ops); op++) {
            g_assert_cmpint(run(ops[op], cases[i].offset, cases[i].bytes), ==,
                            cases[i].want);
        }
    }
    /* What was refused is no lost write. */
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

struct truncation {
    int rc;
    GError *err;
};

static void truncate_entry(void *opaque)
{
    struct truncation *t = opaque;

    co_assert_role();
    t->rc = backend_co_truncate(rig.be, 2 * LENGTH, PREALLOC_OFF, &t->err);
}

static void allocate_entry(void *opaque)
{
    co_assert_role();
    *(int *)opaque = backend_co_allocate(rig.be, 0, 4);
}

static void test_read_only(void)
{
    struct truncation t = {0};
    int rc = 0;

    up(BACKEND_RDONLY);
    g_assert_cmpint(run(BACKEND_READ, 0, 4), ==, 0);
    g_assert_cmpint(run(BACKEND_FLUSH, 0, 0), ==, 0);
    g_assert_cmpint(run(BACKEND_WRITE, 0, 4), ==, -EROFS);
    g_assert_cmpint(run(BACKEND_ZEROES, 0, 4), ==, -EROFS);
    g_assert_cmpint(run(BACKEND_DISCARD, 0, 4), ==, -EROFS);
    rig_run(truncate_entry, &t);
    g_assert_cmpint(t.rc, ==, -EROFS);
    g_assert_nonnull(t.err);
    g_error_free(t.err);
    rig_run(allocate_entry, &rc);
    g_assert_cmpint(rc, ==, -EROFS);
    calls_assert(rig.calls, "R 0+4");
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

static void rdonly_node_entry(void *opaque)
{
    static const struct calls_opts opts = {.length = LENGTH};
    struct backend *be = NULL;
    struct node *node;

    co_assert_role();
    node = calls_co_open(&opts);
    g_assert_cmpint(backend_new(node, 0, &be), ==, -EACCES);
    g_assert_null(be);
    g_assert_cmpint(backend_new(node, BACKEND_RDONLY, &be), ==, 0);
    g_assert_cmpint(backend_co_free(be), ==, 0);
    g_assert_cmpint(node_co_unref(node), ==, 0);
}

static void test_read_only_node(void)
{
    up(0);
    rig_run(rdonly_node_entry, NULL);
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

static void test_write_through(void)
{
    up(BACKEND_WRITETHROUGH);
    g_assert_cmpint(run(BACKEND_WRITE, 0, 4), ==, 0);
    g_assert_cmpint(run(BACKEND_ZEROES, 8, 4), ==, 0);
    g_assert_cmpint(run(BACKEND_READ, 0, 4), ==, 0);
    calls_assert(rig.calls, "W 0+4 fua, Z 8+4 fua, R 0+4");
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

/* -- Drain --------------------------------------------------------------- */

/* A coroutine that drains, and tells how far it came. */
struct drainer {
    bool drained;
    bool end; /* drain_end() as well */
};

static void drain_entry(void *opaque)
{
    struct drainer *d = opaque;

    co_assert_role();
    backend_co_drain_begin(rig.be);
    g_assert_cmpint(backend_in_flight(rig.be), ==, 0);
    d->drained = true;
    if (d->end) {
        backend_co_drain_end(rig.be);
    }
}

static void drain_end_entry(void *opaque)
{
    co_assert_role();
    backend_co_drain_end(rig.be);
}

/*
 *   read 0+4   │ driver ──────────▶ ends
 *   drain      │ waits ··············· drained ──────────▶ end
 *   read 8+4   │          held ································ driver
 */
static void test_drain(void)
{
    struct drainer d = {0};

    up(0);
    submit(BACKEND_READ, 0, 4);
    rig_start(drain_entry, &d);
    submit(BACKEND_READ, 8, 4);
    g_assert_false(d.drained);
    calls_assert(rig.calls, "R 0+4");
    calls_let_go(rig.calls, 0);
    rig_settle();
    g_assert_true(d.drained);
    g_assert_cmpint(users[0].rc, ==, 0);
    g_assert_cmpint(users[1].rc, ==, PENDING);
    calls_assert(rig.calls, "");

    rig_start(drain_end_entry, NULL);
    rig_settle();
    calls_assert(rig.calls, "R 8+4");
    g_assert_cmpint(backend_in_flight(rig.be), ==, 1);
    calls_let_all_go(rig.calls);
    g_assert_cmpint(users[1].rc, ==, 0);
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

static void test_drain_of_idle_is_at_once(void)
{
    struct drainer d = {.end = true};

    up(0);
    rig_start(drain_entry, &d);
    g_assert_true(d.drained);
    g_assert_cmpint(run(BACKEND_READ, 0, 4), ==, 0);
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

static void test_drain_nests(void)
{
    struct drainer a = {0}, b = {0};

    up(0);
    submit(BACKEND_READ, 0, 4);
    rig_start(drain_entry, &a);
    rig_start(drain_entry, &b);
    calls_let_all_go(rig.calls);
    g_assert_true(a.drained && b.drained);
    submit(BACKEND_READ, 8, 4);
    rig_start(drain_end_entry, NULL);
    rig_settle();
    calls_assert(rig.calls, "R 0+4");
    rig_start(drain_end_entry, NULL);
    rig_settle();
    calls_assert(rig.calls, "R 8+4");
    calls_let_all_go(rig.calls);
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

/* A completion that a bottom half has still to make is in flight too. */
static void test_drain_waits_for_done(void)
{
    struct drainer d = {.end = true};

    up(0);
    calls_set_mode(rig.calls, CALLS_DO);
    submit(BACKEND_READ, 0, 4);
    rig_start(drain_entry, &d);
    g_assert_false(d.drained);
    rig_settle();
    g_assert_true(d.drained);
    g_assert_cmpint(users[0].rc, ==, 0);
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

static void node_drain_entry(void *opaque)
{
    co_assert_role();
    node_co_drain_begin(backend_root(rig.be));
    *(bool *)opaque = true;
}

static void node_drain_end_entry(void *opaque)
{
    co_assert_role();
    node_co_drain_end(backend_root(rig.be));
}

/* Who drains the node below has the backend hold its requests back. */
static void test_drain_of_the_node(void)
{
    bool drained = false;

    up(0);
    submit(BACKEND_READ, 0, 4);
    rig_start(node_drain_entry, &drained);
    rig_settle();
    g_assert_false(drained);
    submit(BACKEND_READ, 8, 4);
    calls_let_all_go(rig.calls);
    rig_settle();
    g_assert_true(drained);
    calls_assert(rig.calls, "R 0+4");
    rig_start(node_drain_end_entry, NULL);
    rig_settle();
    calls_assert(rig.calls, "R 8+4");
    calls_let_all_go(rig.calls);
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

/* -- Write errors -------------------------------------------------------- */

static int fail(enum backend_op op, int rc)
{
    struct user *u = submit(op, 0, op == BACKEND_FLUSH ? 0 : 4);

    calls_fail(rig.calls, 0, rc);
    rig_settle();
    n_users--;
    return u->rc;
}

static void test_errors_are_told_once(void)
{
    uint64_t a, b;

    up(0);
    a = backend_error_cursor(rig.be);
    b = backend_error_cursor(rig.be);
    g_assert_cmpint(fail(BACKEND_WRITE, -ENOSPC), ==, -ENOSPC);
    g_assert_cmpint(fail(BACKEND_ZEROES, -EIO), ==, -EIO);
    g_assert_cmpint(backend_error_since(rig.be, &a), ==, -ENOSPC);
    g_assert_cmpint(backend_error_since(rig.be, &a), ==, 0);
    g_assert_cmpint(backend_error_since(rig.be, &b), ==, -ENOSPC);
    g_assert_cmpint(backend_error_take_untold(rig.be), ==, 0);
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

static void test_which_failures_count(void)
{
    up(0);
    g_assert_cmpint(fail(BACKEND_READ, -EIO), ==, -EIO);
    g_assert_cmpint(fail(BACKEND_DISCARD, -EIO), ==, -EIO);
    g_assert_cmpint(backend_error_take_untold(rig.be), ==, 0);
    g_assert_cmpint(run(BACKEND_WRITE, 0, 4), ==, 0);
    g_assert_cmpint(fail(BACKEND_FLUSH, -EDQUOT), ==, -EDQUOT);
    g_assert_cmpint(backend_error_take_untold(rig.be), ==, -EDQUOT);
    g_assert_cmpint(backend_error_take_untold(rig.be), ==, 0);
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

static void test_will_retry_is_no_error_yet(void)
{
    struct user *u = &users[0];

    up(0);
    u->rc = PENDING;
    u->req = (struct backend_req){
        .op = BACKEND_WRITE,
        .bytes = 4,
        .iovs = iovs_one(&u->iov, u->data, 4),
        .will_retry = true,
        .done = user_done,
    };
    backend_submit(rig.be, &u->req);
    calls_fail(rig.calls, 0, -EIO);
    g_assert_cmpint(u->rc, ==, -EIO);
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

static void test_free_tells_what_nobody_heard(void)
{
    up(0);
    g_assert_cmpint(fail(BACKEND_WRITE, -ENOSPC), ==, -ENOSPC);
    g_assert_cmpint(rig_down(&rig), ==, -ENOSPC);
}

/* A format that has something left to write when it is closed. */
static void co_fn late_co_close(struct node *node)
{
    g_assert_cmpint(node_co_pwrite(node_file(node), 0, "x", 1, 0), ==, 0);
}

static int co_fn late_co_open(struct node *node, struct options *opts,
                              GError **err)
{
    node_set_length(node, LENGTH);
    return 0;
}

static int co_fn late_co_preadv(struct node *node, int64_t offset,
                                const struct iovs *dst)
{
    return -EIO;
}

static int co_fn late_co_pwritev(struct node *node, int64_t offset,
                                 const struct iovs *src, unsigned flags)
{
    return -EIO;
}

static const struct driver driver_late = {
    .name = "late",
    .co_open = late_co_open,
    .co_close = late_co_close,
    .co_preadv = late_co_preadv,
    .co_pwritev = late_co_pwritev,
};

static void late_entry(void *opaque)
{
    struct options *opts = options_new();
    struct backend *be;
    struct node *file, *node;

    co_assert_role();
    file = calls_co_open(&simple_opts);
    calls_set_mode(calls_of(file), CALLS_DO);
    driver_register(&driver_late);
    options_set(opts, "driver", "late");
    node = node_co_open(opts, NODE_RDWR, NULL);
    g_assert_nonnull(node);
    node_co_set_child(node, "file", file);
    g_assert_cmpint(backend_new(node, 0, &be), ==, 0);
    g_assert_cmpint(node_co_unref(node), ==, 0);
    calls_fail_next_flush(calls_of(file), -ENOSPC);
    g_assert_cmpint(node_co_unref(file), ==, 0); /* the format has its own */
    g_assert_cmpint(backend_co_free(be), ==, -ENOSPC);
}

/* Also of the very last writes, those of closing. */
static void test_free_tells_of_closing(void)
{
    up(0);
    rig_run(late_entry, NULL);
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

static void test_free_flushes(void)
{
    up(0);
    g_assert_cmpint(run(BACKEND_WRITE, 0, 4), ==, 0);
    calls_fail_next_flush(rig.calls, -EIO);
    g_assert_cmpint(rig_down(&rig), ==, -EIO);
}

/* -- Coroutine I/O ------------------------------------------------------- */

static void co_io_entry(void *opaque)
{
    uint8_t buf[8] = "";
    struct block_status status;
    struct node_stat st;

    co_assert_role();
    g_assert_cmpint(backend_co_pwrite(rig.be, 4, "abcdefgh", 8), ==, 0);
    g_assert_cmpint(backend_co_pwrite_zeroes(rig.be, 6, 2, 0), ==, 0);
    g_assert_cmpint(backend_co_pdiscard(rig.be, 8, 1), ==, 0);
    g_assert_cmpint(backend_co_pread(rig.be, 4, buf, 8), ==, 0);
    g_assert_cmpmem(buf, 8,
                    "ab\0\0\xdd"
                    "fgh",
                    8);
    g_assert_cmpint(backend_co_flush(rig.be), ==, 0);
    g_assert_cmpint(backend_co_pread(rig.be, LENGTH, buf, 1), ==, -EIO);
    g_assert_cmpint(backend_co_block_status(rig.be, 0, LENGTH, &status), ==, 0);
    g_assert_cmpint(status.bytes, ==, LENGTH);
    g_assert_true(status.flags & BLOCK_DATA);
    g_assert_cmpint(backend_co_block_status(rig.be, 0, LENGTH + 1, &status), ==,
                    -EIO);
    g_assert_cmpint(backend_co_stat(rig.be, &st), ==, 0);
    g_assert_cmpint(st.allocated, ==, LENGTH);
    g_assert_cmpint(backend_in_flight(rig.be), ==, 0);
}

static void test_co_io(void)
{
    static struct stats_snapshot snap;

    up(0);
    calls_set_mode(rig.calls, CALLS_RELAX);
    rig_run(co_io_entry, NULL);
    calls_assert(rig.calls, "W 4+8, Z 6+2, D 8+1, R 4+8, F");
    backend_stats_read(backend_stats(rig.be), &snap);
    g_assert_cmpuint(snap.type[STATS_READ].requests, ==, 2);
    g_assert_cmpuint(snap.type[STATS_READ].failed, ==, 1);
    g_assert_cmpuint(snap.type[STATS_READ].backend_requests, ==, 1);
    g_assert_cmpuint(snap.type[STATS_WRITE].bytes, ==, 8);
    g_assert_cmpuint(snap.type[STATS_DISCARD].requests, ==, 2);
    g_assert_cmpuint(snap.type[STATS_FLUSH].requests, ==, 1);
    g_assert_cmpint(snap.queue_depth, ==, 0);
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

/* -- Copy ---------------------------------------------------------------- */

#define COPY_LENGTH (4 * MiB)
#define COPY_BYTES  (2 * MiB + 123)

struct copy {
    struct backend *dst;
    int64_t from, to, bytes;
    int rc;
};

static void copy_entry(void *opaque)
{
    struct copy *c = opaque;

    co_assert_role();
    c->rc = backend_co_copy_range(rig.be, c->from, c->dst, c->to, c->bytes);
}

static int copy(struct backend *dst, int64_t from, int64_t to, int64_t bytes)
{
    struct copy c = {dst, from, to, bytes, PENDING};

    rig_run(copy_entry, &c);
    return c.rc;
}

static void up_for_copy(void)
{
    static const struct calls_opts opts = {
        .length = COPY_LENGTH,
        .flags = NODE_RDWR,
    };

    rig_up(&rig, &opts, 0);
    calls_set_mode(rig.calls, CALLS_DO);
}

/* The driver cannot copy: by way of memory, of which there is a bound. */
static void test_copy_through_memory(void)
{
    uint8_t *data;
    g_autofree char *log = NULL;

    up_for_copy();
    data = calls_data(rig.calls);
    for (int64_t i = 0; i < COPY_LENGTH; i++) {
        data[i] = (uint8_t)(i * 7 + (i >> 8));
    }
    g_assert_cmpint(copy(rig.be, 1, COPY_LENGTH - COPY_BYTES, COPY_BYTES - 500),
                    ==, 0);
    g_assert_cmpmem(data + 1, COPY_BYTES - 500, data + COPY_LENGTH - COPY_BYTES,
                    COPY_BYTES - 500);
    log = calls_take_log(rig.calls);
    g_assert_true(
        g_str_has_prefix(log, "R 1+1048576, W 2097029+1048576, R 1048577+"));
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

static void test_copy_is_checked(void)
{
    up_for_copy();
    g_assert_cmpint(copy(rig.be, 0, 50, 51), ==, -EINVAL);
    g_assert_cmpint(copy(rig.be, 50, 0, 51), ==, -EINVAL);
    g_assert_cmpint(copy(rig.be, 0, COPY_LENGTH - 9, 10), ==, -EIO);
    g_assert_cmpint(copy(rig.be, COPY_LENGTH - 9, 0, 10), ==, -EIO);
    g_assert_cmpint(copy(rig.be, 0, 50, 0), ==, 0);
    calls_assert(rig.calls, "");
    g_assert_cmpint(copy(rig.be, 0, 50, 50), ==, 0);
    calls_assert(rig.calls, "R 0+50, W 50+50");
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

static void rdonly_dst_entry(void *opaque)
{
    struct backend *dst;

    co_assert_role();
    g_assert_cmpint(backend_new(backend_root(rig.be), BACKEND_RDONLY, &dst), ==,
                    0);
    g_assert_cmpint(backend_co_copy_range(rig.be, 0, dst, 50, 4), ==, -EROFS);
    g_assert_cmpint(backend_co_free(dst), ==, 0);
}

static void test_copy_to_read_only(void)
{
    up_for_copy();
    rig_run(rdonly_dst_entry, NULL);
    calls_assert(rig.calls, "");
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

static void test_copy_stops_at_an_error(void)
{
    up_for_copy();
    calls_set_bad_range(rig.calls, 3 * MiB, 1, -EIO);
    g_assert_cmpint(copy(rig.be, 0, 2 * MiB, 2 * MiB), ==, -EIO);
    calls_assert(rig.calls, "R 0+1048576, W 2097152+1048576, "
                            "R 1048576+1048576, W 3145728+1048576");
    g_assert_cmpint(rig_down(&rig), ==, -EIO);
}

/* The host can copy: its errors are remembered, and it knows of
 * write-through. */
static void test_copy_on_host(void)
{
    up(BACKEND_WRITETHROUGH);
    calls_set_mode(rig.calls, CALLS_DO);
    calls_can_copy(rig.calls);
    g_assert_cmpint(copy(rig.be, 0, 50, 4), ==, 0);
    calls_assert(rig.calls, "C 50+4 fua");
    calls_set_bad_range(rig.calls, 50, 1, -ENOSPC);
    g_assert_cmpint(copy(rig.be, 0, 50, 4), ==, -ENOSPC);
    calls_set_bad_range(rig.calls, 0, 0, 0);
    g_assert_cmpint(rig_down(&rig), ==, -ENOSPC);
}

static void other_entry(void *opaque)
{
    struct backend **other = opaque;

    co_assert_role();
    g_assert_cmpint(backend_new(backend_root(rig.be), 0, other), ==, 0);
    backend_co_drain_begin(*other);
}

static void other_end_entry(void *opaque)
{
    struct backend *other = opaque;

    co_assert_role();
    backend_co_drain_end(other);
}

static void other_free_entry(void *opaque)
{
    co_assert_role();
    g_assert_cmpint(backend_co_free(opaque), ==, 0);
}

/*
 *   drain of the target │ drained ──────────────────▶ end
 *   copy                │     waits ···················· ──▶ driver
 *   drain of the source │         drained at once ─────▶ end
 * A copy that waits for one of its backends is in flight on none.
 */
static void test_copy_waits_for_drain(void)
{
    struct copy c = {.to = 50, .bytes = 4, .rc = PENDING};
    struct drainer d = {.end = true};

    up(0);
    calls_set_mode(rig.calls, CALLS_DO);
    rig_run(other_entry, &c.dst);
    rig_start(copy_entry, &c);
    rig_start(drain_entry, &d);
    rig_settle();
    g_assert_true(d.drained);
    g_assert_cmpint(c.rc, ==, PENDING);
    calls_assert(rig.calls, "");
    rig_run(other_end_entry, c.dst);
    rig_settle();
    g_assert_cmpint(c.rc, ==, 0);
    calls_assert(rig.calls, "R 0+4, W 50+4");
    rig_run(other_free_entry, c.dst);
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

/* -- Several loops ------------------------------------------------------- */

#define N_LOOPS   2
#define N_WRITERS 4 /* per loop */
#define N_WRITES  400
#define N_DRAINS  50

/* Writes again and again to its own byte, from done() to submit. */
struct writer {
    struct backend_req req;
    struct iovec iov;
    uint8_t byte;
    int left;
};

static struct writer writers[N_LOOPS][N_WRITERS];
static int writers_left; /* atomic */

static void writer_done(struct backend_req *req, int rc)
{
    struct writer *w = container_of(req, struct writer, req);

    g_assert_cmpint(rc, ==, 0);
    if (--w->left > 0) {
        w->byte++;
        backend_submit(rig.be, &w->req);
    } else {
        __atomic_sub_fetch(&writers_left, 1, __ATOMIC_SEQ_CST);
    }
}

static void start_writers(void *opaque)
{
    struct writer *first = opaque;

    for (int i = 0; i < N_WRITERS; i++) {
        backend_submit(rig.be, &first[i].req);
    }
}

/* Nothing may run between begin and end, however long that takes. */
static void drain_often(void *opaque)
{
    co_assert_role();
    for (int i = 0; i < N_DRAINS; i++) {
        backend_co_drain_begin(rig.be);
        for (int turn = 0; turn < 3; turn++) {
            g_assert_cmpint(backend_in_flight(rig.be), ==, 0);
            g_assert_cmpint(calls_active(rig.calls), ==, 0);
            loop_co_relax();
        }
        backend_co_drain_end(rig.be);
        loop_co_relax();
    }
}

static void test_drain_of_several_loops(void)
{
    struct iothread *threads[N_LOOPS];
    static struct stats_snapshot snap;

    up(0);
    calls_set_mode(rig.calls, CALLS_RELAX);
    writers_left = N_LOOPS * N_WRITERS;
    for (int i = 0; i < N_LOOPS; i++) {
        for (int j = 0; j < N_WRITERS; j++) {
            struct writer *w = &writers[i][j];

            *w = (struct writer){.left = N_WRITES};
            w->req = (struct backend_req){
                .op = BACKEND_WRITE,
                .offset = i * N_WRITERS + j,
                .bytes = 1,
                .iovs = iovs_one(&w->iov, &w->byte, 1),
                .done = writer_done,
            };
        }
        g_assert_cmpint(iothread_new("test", &threads[i]), ==, 0);
        bh_oneshot(iothread_loop(threads[i]), start_writers, writers[i]);
    }
    rig_run(drain_often, NULL);
    while (__atomic_load_n(&writers_left, __ATOMIC_SEQ_CST) > 0) {
        g_usleep(100);
    }
    for (int i = 0; i < N_LOOPS; i++) {
        iothread_free(threads[i]);
    }
    for (int i = 0; i < N_LOOPS * N_WRITERS; i++) {
        g_assert_cmpint(calls_data(rig.calls)[i], ==, (uint8_t)(N_WRITES - 1));
    }
    backend_stats_read(backend_stats(rig.be), &snap);
    g_assert_cmpuint(snap.type[STATS_WRITE].backend_requests, ==,
                     N_LOOPS * N_WRITERS * N_WRITES);
    g_assert_cmpint(backend_in_flight(rig.be), ==, 0);
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

#define N_FREES 200

static void submit_one(void *opaque)
{
    struct user *u = opaque;

    backend_submit(u->req.be, &u->req);
    __atomic_store_n(&submitting, false, __ATOMIC_RELEASE);
}

/* Whoever frees a backend does so the moment the last request has let go. */
static void free_often(void *opaque)
{
    struct iothread *thread = opaque;
    struct user *u = &users[0];

    co_assert_role();
    for (int i = 0; i < N_FREES; i++) {
        struct backend *be;

        g_assert_cmpint(backend_new(backend_root(rig.be), 0, &be), ==, 0);
        u->rc = PENDING;
        u->req = (struct backend_req){
            .op = BACKEND_READ,
            .bytes = 1,
            .iovs = iovs_one(&u->iov, u->data, 1),
            .done = user_done,
            .be = be,
        };
        submitting = true;
        bh_oneshot(iothread_loop(thread), submit_one, u);
        while (__atomic_load_n(&submitting, __ATOMIC_ACQUIRE)) {
            loop_co_relax();
        }
        g_assert_cmpint(backend_co_free(be), ==, 0);
        g_assert_cmpint(u->rc, ==, 0);
    }
}

static void test_free_while_another_loop_ends(void)
{
    struct iothread *thread;

    up(0);
    calls_set_mode(rig.calls, CALLS_RELAX);
    g_assert_cmpint(iothread_new("test", &thread), ==, 0);
    rig_run(free_often, thread);
    iothread_free(thread);
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/backend/never-completes-inline",
                    test_never_completes_inline);
    g_test_add_func("/backend/completes-with-the-driver",
                    test_completes_with_the_driver);
    g_test_add_func("/backend/no-memory", test_no_memory);
    g_test_add_func("/backend/range", test_range);
    g_test_add_func("/backend/read-only", test_read_only);
    g_test_add_func("/backend/read-only-node", test_read_only_node);
    g_test_add_func("/backend/write-through", test_write_through);
    g_test_add_func("/backend/drain", test_drain);
    g_test_add_func("/backend/drain-of-idle", test_drain_of_idle_is_at_once);
    g_test_add_func("/backend/drain-nests", test_drain_nests);
    g_test_add_func("/backend/drain-waits-for-done", test_drain_waits_for_done);
    g_test_add_func("/backend/drain-of-the-node", test_drain_of_the_node);
    g_test_add_func("/backend/errors-told-once", test_errors_are_told_once);
    g_test_add_func("/backend/which-failures-count", test_which_failures_count);
    g_test_add_func("/backend/will-retry", test_will_retry_is_no_error_yet);
    g_test_add_func("/backend/free-tells", test_free_tells_what_nobody_heard);
    g_test_add_func("/backend/free-tells-of-closing",
                    test_free_tells_of_closing);
    g_test_add_func("/backend/free-flushes", test_free_flushes);
    g_test_add_func("/backend/co-io", test_co_io);
    g_test_add_func("/backend/copy-through-memory", test_copy_through_memory);
    g_test_add_func("/backend/copy-is-checked", test_copy_is_checked);
    g_test_add_func("/backend/copy-to-read-only", test_copy_to_read_only);
    g_test_add_func("/backend/copy-stops-at-error",
                    test_copy_stops_at_an_error);
    g_test_add_func("/backend/copy-on-host", test_copy_on_host);
    g_test_add_func("/backend/copy-waits-for-drain", test_copy_waits_for_drain);
    g_test_add_func("/backend/several-loops", test_drain_of_several_loops);
    g_test_add_func("/backend/free-while-another-loop-ends",
                    test_free_while_another_loop_ends);
    return g_test_run();
}
