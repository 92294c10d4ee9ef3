/* SPDX-License-Identifier: MIT */
/*
 * engine: what becomes of one request, on each of the engines.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <libaio.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/align.h"
#include "engine/engine.h"
#include "engine/libaio.h"
#include "engine/manual.h"
#include "engine/threads.h"
#include "loop/loop.h"

/* A request with all that its coroutine needs. */
struct task {
    struct engine *e;
    struct engine_io io;
    struct iovec iov;
    int64_t result;
    bool done;
};

struct fixture {
    struct loop *loop;
    char *path;
    int fd;
};

static void set_up(struct fixture *f, const void *unused)
{
    g_assert_cmpint(loop_new(&f->loop), ==, 0);
    loop_adopt(f->loop);
    f->fd = g_file_open_tmp("coblk-engine-XXXXXX", &f->path, NULL);
    g_assert_cmpint(f->fd, >=, 0);
}

static void tear_down(struct fixture *f, const void *unused)
{
    loop_free(f->loop);
    (void)close(f->fd);
    (void)g_unlink(f->path);
    g_free(f->path);
}

static void task_run(void *opaque)
{
    struct task *t = opaque;

    co_assert_role();
    t->result = engine_co_submit(t->e, &t->io);
    t->done = true;
}

static void task_start(struct task *t, struct engine *e)
{
    struct co *co = co_new(task_run, t);

    g_assert_nonnull(co);
    t->e = e;
    t->done = false;
    loop_co_start(co);
}

static int64_t task_finish(struct fixture *f, struct task *t)
{
    while (!t->done) {
        loop_turn(f->loop, true);
    }
    return t->result;
}

static int64_t task_do(struct fixture *f, struct task *t, struct engine *e)
{
    task_start(t, e);
    return task_finish(f, t);
}

static void task_prepare(struct task *t, enum engine_op op, int fd,
                         int64_t offset, void *buf, int64_t bytes)
{
    *t = (struct task){.io = {.op = op, .fd = fd, .offset = offset}};
    t->io.iovs = iovs_one(&t->iov, buf, bytes);
}

static void task_prepare_call(struct task *t, int64_t (*call)(void *),
                              void *opaque)
{
    *t = (struct task){
        .io = {.op = ENGINE_CALL, .call = call, .opaque = opaque},
    };
}

static void fill(char *buf, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf[i] = "abcdefghijklmnopqrstuvwxyz"[(i * 7 + i / 26) % 26];
    }
}

static void assert_file(struct fixture *f, const char *want, int64_t bytes)
{
    g_autofree char *got = g_malloc((gsize)bytes + 1);

    g_assert_cmpint(pread(f->fd, got, (size_t)bytes + 1, 0), ==, bytes);
    g_assert_cmpmem(got, (int)bytes, want, (int)bytes);
}

/* -- manual, and with it what engine_co_submit() does for every engine ---- */

static void test_manual_holds(struct fixture *f, const void *unused)
{
    struct manual *m = manual_new(f->loop);
    char data[] = "0123456789";
    struct task t;

    task_prepare(&t, ENGINE_WRITE, f->fd, 0, data, 10);
    task_start(&t, manual_engine(m));
    g_assert_cmpint(manual_pending(m), ==, 1);
    g_assert_cmpint(manual_peek(m, 0)->op, ==, ENGINE_WRITE);
    assert_file(f, "", 0);

    manual_complete(m, 0);
    g_assert_true(t.done);
    g_assert_cmpint(t.result, ==, 10);
    assert_file(f, data, 10);
    manual_free(m);
}

static void test_manual_any_order(struct fixture *f, const void *unused)
{
    struct manual *m = manual_new(f->loop);
    char a[] = "aaaa", b[] = "bb";
    struct task first, second;

    task_prepare(&first, ENGINE_WRITE, f->fd, 0, a, 4);
    task_prepare(&second, ENGINE_WRITE, f->fd, 1, b, 2);
    task_start(&first, manual_engine(m));
    task_start(&second, manual_engine(m));

    manual_complete(m, 1);
    g_assert_true(second.done && !first.done);
    manual_complete(m, 0);
    g_assert_true(first.done);
    assert_file(f, "aaaa", 4); /* the first one came last */
    manual_free(m);
}

static void test_manual_fail(struct fixture *f, const void *unused)
{
    struct manual *m = manual_new(f->loop);
    char data[] = "0123456789";
    struct task t;

    task_prepare(&t, ENGINE_WRITE, f->fd, 0, data, 10);
    task_start(&t, manual_engine(m));
    manual_fail(m, 0, -EIO);
    g_assert_true(t.done);
    g_assert_cmpint(t.result, ==, -EIO);
    assert_file(f, "", 0);
    manual_free(m);
}

static void test_manual_automatic(struct fixture *f, const void *unused)
{
    struct manual *m = manual_new(f->loop);
    char data[] = "0123456789";
    struct task t;

    manual_set_automatic(m, true);
    task_prepare(&t, ENGINE_WRITE, f->fd, 0, data, 10);
    task_start(&t, manual_engine(m));
    g_assert_true(t.done);
    assert_file(f, data, 10);
    manual_free(m);
}

static void test_manual_provider(struct fixture *f, const void *unused)
{
    const struct engine_provider *p;
    struct manual *m = manual_new(f->loop);
    struct engine *e = NULL;

    p = engine_provider_find("manual");
    g_assert_nonnull(p);
    g_assert_cmpint(p->get(f->loop, &e), ==, 0);
    g_assert_true(e == manual_engine(m));
    manual_free(m);
    g_assert_cmpint(p->get(f->loop, &e), ==, -ENOSYS);
}

static void test_providers(struct fixture *f, const void *unused)
{
    g_assert_true(engine_provider_find("native") == &engine_libaio);
    g_assert_true(engine_provider_find("threads") == &engine_threads);
    g_assert_null(engine_provider_find("nothing"));
}

static void test_short_write_goes_on(struct fixture *f, const void *unused)
{
    struct manual *m = manual_new(f->loop);
    char data[] = "0123456789";
    struct task t;

    task_prepare(&t, ENGINE_WRITE, f->fd, 0, data, 10);
    task_start(&t, manual_engine(m));
    manual_complete_short(m, 0, 3);
    g_assert_false(t.done);
    g_assert_cmpint(manual_pending(m), ==, 1);
    g_assert_cmpint(manual_peek(m, 0)->offset, ==, 3);
    g_assert_cmpint(manual_peek(m, 0)->iovs.bytes, ==, 7);
    manual_complete_short(m, 0, 6);
    manual_complete(m, 0);
    g_assert_cmpint(t.result, ==, 10);
    assert_file(f, data, 10);
    manual_free(m);
}

/* What is continued is as durable as what was asked for. */
static void test_short_durable_write(struct fixture *f, const void *unused)
{
    struct manual *m = manual_new(f->loop);
    char data[] = "0123456789";
    struct task t;

    task_prepare(&t, ENGINE_WRITE, f->fd, 0, data, 10);
    t.io.flags = ENGINE_FUA;
    task_start(&t, manual_engine(m));
    manual_complete_short(m, 0, 3);
    g_assert_cmpuint(manual_peek(m, 0)->flags, ==, ENGINE_FUA);
    manual_complete(m, 0);
    g_assert_cmpint(task_finish(f, &t), ==, 10);
    manual_free(m);
}

static void test_short_write_then_full(struct fixture *f, const void *unused)
{
    struct manual *m = manual_new(f->loop);
    char data[] = "0123456789";
    struct task t;

    task_prepare(&t, ENGINE_WRITE, f->fd, 0, data, 10);
    task_start(&t, manual_engine(m));
    manual_complete_short(m, 0, 3);
    manual_complete_short(m, 0, 0);
    g_assert_cmpint(task_finish(f, &t), ==, -ENOSPC);

    task_start(&t, manual_engine(m));
    manual_complete_short(m, 0, 0);
    g_assert_cmpint(task_finish(f, &t), ==, -ENOSPC);
    manual_free(m);
}

static void test_short_write_then_error(struct fixture *f, const void *unused)
{
    struct manual *m = manual_new(f->loop);
    char data[] = "0123456789";
    struct task t;

    task_prepare(&t, ENGINE_WRITE, f->fd, 0, data, 10);
    task_start(&t, manual_engine(m));
    manual_complete_short(m, 0, 3);
    manual_fail(m, 0, -EINVAL); /* no end of the file: this is a write */
    g_assert_cmpint(task_finish(f, &t), ==, -EINVAL);
    manual_free(m);
}

static void test_read_ends_at_eof(struct fixture *f, const void *unused)
{
    struct manual *m = manual_new(f->loop);
    char got[16] = {0};
    struct task t;

    g_assert_cmpint(pwrite(f->fd, "0123456789", 10, 0), ==, 10);
    task_prepare(&t, ENGINE_READ, f->fd, 4, got, 16);
    task_start(&t, manual_engine(m));
    manual_complete_all(m);
    g_assert_true(t.done);
    g_assert_cmpint(t.result, ==, 6);
    g_assert_cmpstr(got, ==, "456789");

    task_prepare(&t, ENGINE_READ, f->fd, 10, got, 16);
    task_start(&t, manual_engine(m));
    manual_complete_all(m);
    g_assert_cmpint(t.result, ==, 0);
    manual_free(m);
}

static void test_direct_read_ends_at_eof(struct fixture *f, const void *unused)
{
    struct manual *m = manual_new(f->loop);
    char got[16];
    struct task t;

    /* With O_DIRECT the kernel refuses to go on from the middle of a block. */
    g_assert_cmpint(pwrite(f->fd, "0123456789", 10, 0), ==, 10);
    task_prepare(&t, ENGINE_READ, f->fd, 0, got, 16);
    task_start(&t, manual_engine(m));
    manual_complete_short(m, 0, 10);
    manual_fail(m, 0, -EINVAL);
    g_assert_cmpint(task_finish(f, &t), ==, 10);

    task_start(&t, manual_engine(m));
    manual_fail(m, 0, -EINVAL); /* nothing was read: an error it is */
    g_assert_cmpint(task_finish(f, &t), ==, -EINVAL);

    task_start(&t, manual_engine(m));
    manual_complete_short(m, 0, 3);
    manual_fail(m, 0, -EIO); /* half a read is none */
    g_assert_cmpint(task_finish(f, &t), ==, -EIO);
    manual_free(m);
}

static void test_interrupted_is_retried(struct fixture *f, const void *unused)
{
    static const int rcs[] = {-EINTR, -EAGAIN};
    struct manual *m = manual_new(f->loop);
    char data[] = "0123456789";
    struct task t;

    for (size_t i = 0; i < G_N_ELEMENTS(rcs); i++) {
        task_prepare(&t, ENGINE_WRITE, f->fd, 0, data, 10);
        task_start(&t, manual_engine(m));
        manual_fail(m, 0, rcs[i]);
        while (manual_pending(m) == 0) {
            loop_turn(f->loop, true);
        }
        g_assert_false(t.done);
        manual_complete(m, 0);
        g_assert_cmpint(task_finish(f, &t), ==, 10);
    }
    manual_free(m);
}

static int64_t call_that_is_busy(void *unused)
{
    return -EAGAIN;
}

static void test_call_keeps_its_result(struct fixture *f, const void *unused)
{
    struct manual *m = manual_new(f->loop);
    struct task t;

    task_prepare_call(&t, call_that_is_busy, NULL);
    task_start(&t, manual_engine(m));
    manual_complete(m, 0);
    g_assert_cmpint(task_finish(f, &t), ==, -EAGAIN);
    manual_free(m);
}

/* Short counts of a vector of IOV_MAX elements of odd sizes. */
static void test_short_long_vector(struct fixture *f, const void *unused)
{
    struct manual *m = manual_new(f->loop);
    struct iovec *iov = g_new(struct iovec, IOV_MAX);
    struct task t = {.io = {.op = ENGINE_WRITE, .fd = f->fd}};
    g_autofree char *data = g_malloc(4 * IOV_MAX);
    size_t at = 0;

    fill(data, 4 * IOV_MAX);
    for (size_t i = 0; i < IOV_MAX; i++) {
        iov[i] = (struct iovec){data + at, i % 4};
        at += i % 4;
    }
    t.io.iovs = iovs_of(iov, IOV_MAX);

    task_start(&t, manual_engine(m));
    for (int64_t n = 1; !t.done; n += 2) {
        if (n < manual_peek(m, 0)->iovs.bytes) {
            manual_complete_short(m, 0, n);
        } else {
            manual_complete(m, 0);
        }
    }
    g_assert_cmpint(t.result, ==, (int64_t)at);
    assert_file(f, data, (int64_t)at);
    g_free(iov);
    manual_free(m);
}

/* -- What threads and libaio have in common ------------------------------- */

static struct engine *engine_of(struct fixture *f, const char *name)
{
    struct engine *e = NULL;

    if (strcmp(name, "libaio-without-ring") == 0) {
        g_assert_cmpint(libaio_new(f->loop, 64, LIBAIO_NO_RING, &e), ==, 0);
        g_assert_false(libaio_uses_ring(e));
    } else if (strcmp(name, "libaio") == 0) {
        g_assert_cmpint(libaio_new(f->loop, 64, 0, &e), ==, 0);
        g_assert_true(libaio_uses_ring(e));
    } else {
        g_assert_cmpint(engine_threads.get(f->loop, &e), ==, 0);
    }
    return e;
}

static void engine_done(struct engine *e)
{
    if (strcmp(engine_name(e), "libaio") == 0) {
        e->ops->free(e); /* that of threads is freed with the loop */
    }
}

static void test_vectors(struct fixture *f, const void *name)
{
    struct engine *e = engine_of(f, name);
    char data[1000], got[1000];
    struct iovec out[3] = {{data, 1}, {data + 1, 600}, {data + 601, 399}};
    struct iovec in[2] = {{got, 999}, {got + 999, 1}};
    struct task t = {.io = {.op = ENGINE_WRITE, .fd = f->fd, .offset = 5}};

    fill(data, sizeof(data));
    t.io.iovs = iovs_of(out, 3);
    g_assert_cmpint(task_do(f, &t, e), ==, 1000);
    t.io.op = ENGINE_READ;
    t.io.iovs = iovs_of(in, 2);
    g_assert_cmpint(task_do(f, &t, e), ==, 1000);
    g_assert_cmpmem(got, 1000, data, 1000);
    engine_done(e);
}

static void test_durable(struct fixture *f, const void *name)
{
    struct engine *e = engine_of(f, name);
    char data[] = "0123456789";
    struct task t;

    task_prepare(&t, ENGINE_WRITE, f->fd, 0, data, 10);
    t.io.flags = ENGINE_FUA;
    g_assert_cmpint(task_do(f, &t, e), ==, 10);
    t.io = (struct engine_io){.op = ENGINE_FDSYNC, .fd = f->fd};
    g_assert_cmpint(task_do(f, &t, e), ==, 0);
    assert_file(f, data, 10);
    engine_done(e);
}

static void test_read_past_end(struct fixture *f, const void *name)
{
    struct engine *e = engine_of(f, name);
    char got[20] = {0};
    struct task t;

    g_assert_cmpint(pwrite(f->fd, "0123456789", 10, 0), ==, 10);
    task_prepare(&t, ENGINE_READ, f->fd, 6, got, 20);
    g_assert_cmpint(task_do(f, &t, e), ==, 4);
    g_assert_cmpstr(got, ==, "6789");
    engine_done(e);
}

static void test_error(struct fixture *f, const void *name)
{
    struct engine *e = engine_of(f, name);
    char got[20];
    struct task t;

    task_prepare(&t, ENGINE_READ, -1, 0, got, 20);
    g_assert_cmpint(task_do(f, &t, e), ==, -EBADF);
    engine_done(e);
}

/* Many more than go out at once, all under way together. */
static void test_many(struct fixture *f, const void *name)
{
    enum {
        N = 500,
        BYTES = 64,
    };
    struct engine *e = engine_of(f, name);
    struct task *t = g_new0(struct task, N);
    g_autofree char *data = g_malloc(N * BYTES);

    fill(data, N * BYTES);
    loop_plug();
    for (int i = 0; i < N; i++) {
        int64_t at = (int64_t)((i * 7) % N) * BYTES;

        task_prepare(&t[i], ENGINE_WRITE, f->fd, at, data + at, BYTES);
        task_start(&t[i], e);
    }
    loop_unplug();
    for (int i = 0; i < N; i++) {
        g_assert_cmpint(task_finish(f, &t[i]), ==, BYTES);
    }
    assert_file(f, data, N * BYTES);
    g_free(t);
    engine_done(e);
}

static int64_t call_thread(void *opaque)
{
    *(pthread_t *)opaque = pthread_self();
    return 42;
}

static void test_call(struct fixture *f, const void *name)
{
    struct engine *e = engine_of(f, name);
    pthread_t thread = pthread_self();
    struct task t;

    task_prepare_call(&t, call_thread, &thread);
    g_assert_cmpint(task_do(f, &t, e), ==, 42);
    g_assert_false(pthread_equal(thread, pthread_self()));
    engine_done(e);
}

/* -- threads -------------------------------------------------------------- */

/* A call that waits until the test opens the gate. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    int inside;
    bool open;
};

static int64_t call_gate(void *opaque)
{
    struct gate *g = opaque;

    pthread_mutex_lock(&g->lock);
    g->inside++;
    pthread_cond_broadcast(&g->moved);
    while (!g->open) {
        pthread_cond_wait(&g->moved, &g->lock);
    }
    pthread_mutex_unlock(&g->lock);
    return 0;
}

static void gate_wait_inside(struct gate *g, int n)
{
    pthread_mutex_lock(&g->lock);
    while (g->inside < n) {
        pthread_cond_wait(&g->moved, &g->lock);
    }
    pthread_mutex_unlock(&g->lock);
}

static void gate_open(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->open = true;
    pthread_cond_broadcast(&g->moved);
    pthread_mutex_unlock(&g->lock);
}

static void test_threads_max(struct fixture *f, const void *unused)
{
    struct gate g = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};
    struct engine *e = engine_of(f, "threads");
    struct engine_threads_info info;
    struct task t[5];

    g_assert_cmpint(engine_threads_set_bounds(f->loop, 0, 3), ==, 0);
    for (int i = 0; i < 5; i++) {
        task_prepare_call(&t[i], call_gate, &g);
        task_start(&t[i], e);
    }
    gate_wait_inside(&g, 3);
    engine_threads_info(f->loop, &info);
    g_assert_cmpint(info.threads, ==, 3);
    g_assert_cmpint(info.queued, ==, 2);

    gate_open(&g);
    for (int i = 0; i < 5; i++) {
        g_assert_cmpint(task_finish(f, &t[i]), ==, 0);
    }
    g_assert_cmpint(g.inside, ==, 5);
}

static void test_threads_min(struct fixture *f, const void *unused)
{
    struct engine_threads_info info;

    engine_threads_info(f->loop, &info);
    g_assert_cmpint(info.threads, ==, 0);
    g_assert_cmpint(engine_threads_set_bounds(f->loop, 2, 4), ==, 0);
    engine_threads_info(f->loop, &info);
    g_assert_cmpint(info.threads, ==, 2);
}

static void wait_for_threads(struct fixture *f, int n)
{
    struct engine_threads_info info;

    for (;;) {
        engine_threads_info(f->loop, &info);
        if (info.threads == n) {
            return;
        }
        loop_turn(f->loop, true); /* a worker that leaves wakes the loop */
    }
}

static void test_threads_leave_when_idle(struct fixture *f, const void *unused)
{
    struct engine *e = engine_of(f, "threads");
    pthread_t thread;
    struct task t;

    g_assert_cmpint(threads_set_idle_time(f->loop, 1000), ==, 0);
    task_prepare_call(&t, call_thread, &thread);
    g_assert_cmpint(task_do(f, &t, e), ==, 42);
    wait_for_threads(f, 0);
    g_assert_cmpint(task_do(f, &t, e), ==, 42); /* and come again */
}

static void test_threads_leave_when_too_many(struct fixture *f,
                                             const void *unused)
{
    struct engine *e = engine_of(f, "threads");
    pthread_t thread;
    struct task t;

    g_assert_cmpint(engine_threads_set_bounds(f->loop, 4, 4), ==, 0);
    wait_for_threads(f, 4);
    g_assert_cmpint(engine_threads_set_bounds(f->loop, 0, 1), ==, 0);
    wait_for_threads(f, 1);
    task_prepare_call(&t, call_thread, &thread);
    g_assert_cmpint(task_do(f, &t, e), ==, 42);
}

static void test_threads_none(struct fixture *f, const void *unused)
{
    struct engine_threads_info info;
    struct engine *e = engine_of(f, "threads");
    pthread_t thread;
    struct task t;

    g_assert_cmpint(engine_threads_set_bounds(f->loop, 0, 0), ==, 0);
    task_prepare_call(&t, call_thread, &thread);
    task_start(&t, e);
    g_assert_true(t.done);
    g_assert_true(pthread_equal(thread, pthread_self()));
    engine_threads_info(f->loop, &info);
    g_assert_cmpint(info.queued, ==, 0);
}

/* A file that takes no flags per write, and cannot be synced either: what
 * cannot be made durable is not said to be. */
static void test_threads_not_durable(struct fixture *f, const void *unused)
{
    int fd = open("/proc/self/coredump_filter", O_RDWR | O_CLOEXEC);
    char data[] = "0x33"; /* the default */
    struct task t;

    if (fd < 0 || pwrite(fd, data, 4, 0) != 4) {
        g_test_skip("/proc cannot be written to");
    } else {
        task_prepare(&t, ENGINE_WRITE, fd, 0, data, 4);
        t.io.flags = ENGINE_FUA;
        g_assert_cmpint(task_do(f, &t, engine_of(f, "threads")), ==, -EINVAL);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
}

static int64_t call_blocks_signals(void *unused)
{
    sigset_t set;

    (void)pthread_sigmask(SIG_SETMASK, NULL, &set);
    return sigismember(&set, SIGTERM) && sigismember(&set, SIGUSR1);
}

static void test_threads_block_signals(struct fixture *f, const void *unused)
{
    struct task t;

    task_prepare_call(&t, call_blocks_signals, NULL);
    g_assert_cmpint(task_do(f, &t, engine_of(f, "threads")), ==, 1);
    g_assert_cmpint(call_blocks_signals(NULL), ==, 0);
}

/* -- libaio --------------------------------------------------------------- */

static const struct batch_case {
    int requests;
    uint64_t batches;
} batch_cases[] = {{1, 1}, {20, 1}, {32, 1}, {40, 2}};

static void test_libaio_batches(struct fixture *f, const void *unused)
{
    struct engine *e = engine_of(f, "libaio");
    struct task *t = g_new(struct task, 64);
    char data[64] = "x";

    for (size_t c = 0; c < G_N_ELEMENTS(batch_cases); c++) {
        uint64_t before = e->stats.batches;
        int n = batch_cases[c].requests;

        loop_plug();
        for (int i = 0; i < n; i++) {
            task_prepare(&t[i], ENGINE_WRITE, f->fd, i, data + i, 1);
            task_start(&t[i], e);
        }
        loop_unplug();
        for (int i = 0; i < n; i++) {
            g_assert_cmpint(task_finish(f, &t[i]), ==, 1);
        }
        g_assert_cmpuint(e->stats.batches - before, ==, batch_cases[c].batches);
    }
    g_free(t);
    engine_done(e);
}

/* The kernel gives the smallest context about a page of events, and events
 * that nobody has read yet use them up. */
static void test_libaio_full_context(struct fixture *f, const void *unused)
{
    enum {
        N = 1000,
    };
    struct task *t = g_new0(struct task, N);
    char data[N];
    struct engine *e;

    fill(data, N);
    g_assert_cmpint(libaio_new(f->loop, 1, 0, &e), ==, 0);
    loop_plug();
    for (int i = 0; i < N; i++) {
        task_prepare(&t[i], ENGINE_WRITE, f->fd, i, data + i, 1);
        task_start(&t[i], e);
    }
    loop_unplug();
    g_assert_cmpuint(e->stats.blocked, >, 0);
    for (int i = 0; i < N; i++) {
        g_assert_cmpint(task_finish(f, &t[i]), ==, 1);
    }
    assert_file(f, data, N);
    g_free(t);
    engine_done(e);
}

static void test_libaio_error_fails_one(struct fixture *f, const void *unused)
{
    struct engine *e = engine_of(f, "libaio");
    char data[] = "0123456789";
    struct task t[4];

    loop_plug();
    for (int i = 0; i < 4; i++) {
        task_prepare(&t[i], ENGINE_WRITE, i == 1 || i == 2 ? -1 : f->fd, i,
                     data + i, 1);
        task_start(&t[i], e);
    }
    loop_unplug();
    g_assert_cmpint(task_finish(f, &t[0]), ==, 1);
    g_assert_cmpint(task_finish(f, &t[1]), ==, -EBADF);
    g_assert_cmpint(task_finish(f, &t[2]), ==, -EBADF);
    g_assert_cmpint(task_finish(f, &t[3]), ==, 1);
    assert_file(f, "0\0\0003", 4);
    engine_done(e);
}

/* A request that fails on submission wakes its coroutine, whose next request
 * joins the submission that is under way. */
struct stubborn {
    struct task good;
    struct task bad;
};

static void stubborn_run(void *opaque)
{
    struct stubborn *s = opaque;

    co_assert_role();
    s->bad.result = engine_co_submit(s->bad.e, &s->bad.io);
    s->good.result = engine_co_submit(s->bad.e, &s->good.io);
    s->good.done = true;
}

static void test_libaio_submit_after_error(struct fixture *f,
                                           const void *unused)
{
    struct engine *e = engine_of(f, "libaio");
    char data[] = "0123456789";
    struct stubborn s;

    task_prepare(&s.bad, ENGINE_WRITE, -1, 0, data, 10);
    task_prepare(&s.good, ENGINE_WRITE, f->fd, 0, data, 10);
    s.bad.e = e;
    loop_plug();
    loop_co_start(co_new(stubborn_run, &s));
    loop_unplug();
    g_assert_cmpint(task_finish(f, &s.good), ==, 10);
    g_assert_cmpint(s.bad.result, ==, -EBADF);
    engine_done(e);
}

static void test_libaio_fdsync_refused(struct fixture *f, const void *unused)
{
    struct engine *e = engine_of(f, "libaio");
    struct task t = {0};
    int fds[2];

    /* Nobody can sync a pipe, so the thread fails as well. */
    g_assert_cmpint(pipe(fds), ==, 0);
    t.io = (struct engine_io){.op = ENGINE_FDSYNC, .fd = fds[1]};
    g_assert_cmpint(task_do(f, &t, e), ==, -EINVAL);
    g_assert_cmpuint(e->stats.handed, ==, 1);
    g_assert_cmpint(task_do(f, &t, e), ==, -EINVAL);
    g_assert_cmpuint(e->stats.handed, ==, 2);
    g_assert_cmpuint(e->stats.batches, ==, 0);

    /* Another file is asked again. */
    t.io = (struct engine_io){.op = ENGINE_FDSYNC, .fd = f->fd};
    g_assert_cmpint(task_do(f, &t, e), ==, 0);
    g_assert_cmpuint(e->stats.handed, ==, 2);
    g_assert_cmpuint(e->stats.batches, ==, 1);
    (void)close(fds[0]);
    (void)close(fds[1]);
    engine_done(e);
}

static void test_libaio_dsync_refused(struct fixture *f, const void *unused)
{
    char data[] = "0123456789";
    struct engine *e;
    struct task t;

    g_assert_cmpint(libaio_new(f->loop, 64, LIBAIO_BAD_DSYNC, &e), ==, 0);
    for (uint64_t i = 1; i <= 2; i++) {
        task_prepare(&t, ENGINE_WRITE, f->fd, 0, data, 10);
        t.io.flags = ENGINE_FUA;
        g_assert_cmpint(task_do(f, &t, e), ==, 10);
        g_assert_cmpuint(e->stats.handed, ==, i);
    }
    t.io.flags = 0;
    g_assert_cmpint(task_do(f, &t, e), ==, 10);
    g_assert_cmpuint(e->stats.handed, ==, 2);
    assert_file(f, data, 10);
    engine_done(e);
}

/* These stand for the functions of libaio (see meson.build). */
static int busy_submits; /* so many calls of io_submit() end with -EAGAIN */
static bool other_ring;  /* the kernel lays out its ring in another way */
int __real_io_submit(io_context_t ctx, long n, struct iocb *batch[]);
int __wrap_io_submit(io_context_t ctx, long n, struct iocb *batch[]);
int __real_io_setup(int depth, io_context_t *ret);
int __wrap_io_setup(int depth, io_context_t *ret);

int __wrap_io_submit(io_context_t ctx, long n, struct iocb *batch[])
{
    if (busy_submits > 0) {
        busy_submits--;
        return -EAGAIN;
    }
    return __real_io_submit(ctx, n, batch);
}

int __wrap_io_setup(int depth, io_context_t *ret)
{
    int rc = __real_io_setup(depth, ret);
    unsigned *ring = (void *)*ret;

    if (rc == 0 && other_ring) {
        ring[4]++; /* the magic */
    }
    return rc;
}

/* With nothing under way, no completion would tell when to try again. */
static void test_libaio_busy_when_idle(struct fixture *f, const void *unused)
{
    struct engine *e = engine_of(f, "libaio");
    char data[] = "0123456789";
    struct task t;

    busy_submits = 2;
    task_prepare(&t, ENGINE_WRITE, f->fd, 0, data, 10);
    g_assert_cmpint(task_do(f, &t, e), ==, 10);
    g_assert_cmpint(busy_submits, ==, 0);
    g_assert_cmpuint(e->stats.blocked, ==, 0);
    engine_done(e);
}

/* A ring that does not look as it is known is left to the kernel. */
static void test_libaio_other_ring(struct fixture *f, const void *unused)
{
    char data[] = "0123456789";
    struct engine *e;
    struct task t;

    other_ring = true;
    g_assert_cmpint(libaio_new(f->loop, 64, 0, &e), ==, 0);
    other_ring = false;
    g_assert_false(libaio_uses_ring(e));
    task_prepare(&t, ENGINE_WRITE, f->fd, 0, data, 10);
    g_assert_cmpint(task_do(f, &t, e), ==, 10);
    engine_done(e);
}

/* A write with FUA that is refused because it is not aligned does not end
 * asynchronous writes with FUA on that file. */
static void test_libaio_misaligned(struct fixture *f, const void *unused)
{
    int fd = open(f->path, O_RDWR | O_DIRECT | O_CLOEXEC);
    g_autofree char *buf = g_malloc0(3 * 4096);
    char *aligned = buf + (4096 - (uintptr_t)buf % 4096);
    struct engine *e = engine_of(f, "libaio");
    struct task t;

    if (fd < 0 || pwrite(fd, aligned, 100, 0) != -1) {
        g_test_skip("the file system takes any alignment");
    } else {
        task_prepare(&t, ENGINE_WRITE, fd, 0, aligned, 100);
        t.io.flags = ENGINE_FUA;
        g_assert_cmpint(task_do(f, &t, e), ==, -EINVAL);
        g_assert_cmpuint(e->stats.handed, ==, 1);
        task_prepare(&t, ENGINE_WRITE, fd, 0, aligned, 4096);
        t.io.flags = ENGINE_FUA;
        g_assert_cmpint(task_do(f, &t, e), ==, 4096);
        g_assert_cmpuint(e->stats.handed, ==, 1);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    engine_done(e);
}

static void nothing(void *opaque)
{
}

/* While the loop busy-polls it finds completions without a wake-up. */
static void test_libaio_polled(struct fixture *f, const void *unused)
{
    struct engine *e = engine_of(f, "libaio-without-ring");
    char data[] = "0123456789";
    struct loop_timer timer;
    struct loop_stats stats;
    struct task t;

    /* The window opens after an event that came soon. */
    loop_set_polling(f->loop, INT64_C(3600) * 1000000000, 1000000, 0);
    loop_timer_init(&timer, f->loop, nothing, NULL);
    do {
        loop_timer_arm(&timer, loop_now() + 100 * 1000);
        loop_turn(f->loop, true);
        loop_stats(f->loop, &stats);
    } while (stats.poll_ns == 0);
    task_prepare(&t, ENGINE_WRITE, f->fd, 0, data, 10);
    g_assert_cmpint(task_do(f, &t, e), ==, 10);
    g_assert_cmpuint(e->stats.polled, ==, 1);
    engine_done(e);
}

/* What is done when io_submit returns does not wait for a wake-up either. */
static void test_libaio_done_at_once(struct fixture *f, const void *unused)
{
    struct engine *e = engine_of(f, "libaio");
    char data[] = "0123456789";
    struct loop_stats stats;
    struct task t;

    for (int i = 0; i < 5; i++) {
        task_prepare(&t, ENGINE_WRITE, f->fd, 0, data, 10);
        g_assert_cmpint(task_do(f, &t, e), ==, 10);
    }
    g_assert_cmpuint(e->stats.polled, ==, 5);
    loop_stats(f->loop, &stats);
    g_assert_cmpuint(stats.sleeps, ==, 0);
    engine_done(e);
}

/* The turns of the loop in which some of 16 reads, sent as one batch, end. */
static int turns_of_completions(struct fixture *f, struct engine *e)
{
    struct task tasks[16];
    char bufs[16][10];
    size_t n_done = 0;
    int turns = 0;

    g_assert_cmpint(pwrite(f->fd, "0123456789", 10, 0), ==, 10);
    loop_plug();
    for (size_t i = 0; i < G_N_ELEMENTS(tasks); i++) {
        task_prepare(&tasks[i], ENGINE_READ, f->fd, 0, bufs[i], 10);
        task_start(&tasks[i], e);
    }
    loop_unplug();
    while (n_done < G_N_ELEMENTS(tasks)) {
        size_t before = n_done;

        loop_turn(f->loop, true);
        n_done = 0;
        for (size_t i = 0; i < G_N_ELEMENTS(tasks); i++) {
            n_done += tasks[i].done;
        }
        turns += n_done > before;
    }
    return turns;
}

/* What was done during submission ends together; otherwise the loop can look
 * for the next requests after every few, to keep the device busy. */
static void test_libaio_some_at_a_time(struct fixture *f, const void *unused)
{
    struct engine *e = engine_of(f, "libaio");

    g_assert_cmpint(turns_of_completions(f, e), ==, 1);
    engine_done(e);
    /* Without the ring it cannot know when something was done. */
    e = engine_of(f, "libaio-without-ring");
    g_assert_cmpint(turns_of_completions(f, e), >=, 4);
    engine_done(e);
}

/* Reads for ever, and never has to wait for one. */
struct greedy {
    struct engine *e;
    int fd;
    bool *stop;
    bool done;
};

static void greedy_run(void *opaque)
{
    struct greedy *g = opaque;
    char buf[16];

    co_assert_role();
    while (!*g->stop) {
        struct iovec iov;
        struct engine_io io = {
            .op = ENGINE_READ,
            .fd = g->fd,
            .iovs = iovs_one(&iov, buf, 10),
        };

        g_assert_cmpint(engine_co_submit(g->e, &io), ==, 10);
    }
    g->done = true;
}

static void set_true(void *opaque)
{
    *(bool *)opaque = true;
}

/* Others get their turn although there is always something to complete. */
static void test_libaio_is_fair(struct fixture *f, const void *unused)
{
    struct engine *e = engine_of(f, "libaio");
    struct loop_timer timer;
    struct greedy g[64];
    bool stop = false;

    g_assert_cmpint(pwrite(f->fd, "0123456789", 10, 0), ==, 10);
    loop_timer_init(&timer, f->loop, set_true, &stop);
    loop_timer_arm(&timer, loop_now());
    for (size_t i = 0; i < G_N_ELEMENTS(g); i++) {
        g[i] = (struct greedy){.e = e, .fd = f->fd, .stop = &stop};
        loop_co_start(co_new(greedy_run, &g[i]));
    }
    for (size_t i = 0; i < G_N_ELEMENTS(g); i++) {
        while (!g[i].done) {
            loop_turn(f->loop, true);
        }
    }
    engine_done(e);
}

static void test_libaio_used_up(struct fixture *f, const void *unused)
{
    g_autofree char *text = NULL;
    struct engine *e = NULL;
    int64_t max;

    g_assert_true(
        g_file_get_contents("/proc/sys/fs/aio-max-nr", &text, NULL, NULL));
    max = g_ascii_strtoll(text, NULL, 10);
    if (max > 4 * MiB) {
        g_test_skip("fs.aio-max-nr is too large to be used up");
        return;
    }
    g_assert_cmpint(libaio_new(f->loop, (unsigned)max + 1, 0, &e), ==, -EAGAIN);
    g_assert_null(e);
}

static void test_libaio_one_per_loop(struct fixture *f, const void *unused)
{
    struct engine *e, *again;

    g_assert_cmpint(engine_libaio.get(f->loop, &e), ==, 0);
    g_assert_cmpint(engine_libaio.get(f->loop, &again), ==, 0);
    g_assert_true(e == again);
    g_assert_cmpstr(engine_name(e), ==, "libaio");
}

#define ADD(name, fn) \
    g_test_add("/engine/" name, struct fixture, NULL, set_up, fn, tear_down)

static void add_for_each(const char *what,
                         void (*fn)(struct fixture *, const void *))
{
    static const char *const names[] = {"threads", "libaio",
                                        "libaio-without-ring"};

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path =
            g_strdup_printf("/engine/%s/%s", names[i], what);

        g_test_add(path, struct fixture, names[i], set_up, fn, tear_down);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    ADD("manual/holds-until-told", test_manual_holds);
    ADD("manual/any-order", test_manual_any_order);
    ADD("manual/fails-undone", test_manual_fail);
    ADD("manual/automatic", test_manual_automatic);
    ADD("manual/provider", test_manual_provider);
    ADD("providers", test_providers);

    ADD("submit/short-write-goes-on", test_short_write_goes_on);
    ADD("submit/short-durable-write", test_short_durable_write);
    ADD("submit/short-write-then-full", test_short_write_then_full);
    ADD("submit/short-write-then-error", test_short_write_then_error);
    ADD("submit/read-ends-at-eof", test_read_ends_at_eof);
    ADD("submit/direct-read-ends-at-eof", test_direct_read_ends_at_eof);
    ADD("submit/interrupted-is-retried", test_interrupted_is_retried);
    ADD("submit/call-keeps-its-result", test_call_keeps_its_result);
    ADD("submit/short-long-vector", test_short_long_vector);

    add_for_each("vectors", test_vectors);
    add_for_each("durable", test_durable);
    add_for_each("read-past-end", test_read_past_end);
    add_for_each("error", test_error);
    add_for_each("many", test_many);
    add_for_each("call", test_call);

    ADD("threads/max", test_threads_max);
    ADD("threads/min", test_threads_min);
    ADD("threads/leave-when-idle", test_threads_leave_when_idle);
    ADD("threads/leave-when-too-many", test_threads_leave_when_too_many);
    ADD("threads/none", test_threads_none);
    ADD("threads/not-durable", test_threads_not_durable);
    ADD("threads/block-signals", test_threads_block_signals);

    ADD("libaio/batches", test_libaio_batches);
    ADD("libaio/full-context", test_libaio_full_context);
    ADD("libaio/error-fails-one", test_libaio_error_fails_one);
    ADD("libaio/submit-after-error", test_libaio_submit_after_error);
    ADD("libaio/fdsync-refused", test_libaio_fdsync_refused);
    ADD("libaio/dsync-refused", test_libaio_dsync_refused);
    ADD("libaio/busy-when-idle", test_libaio_busy_when_idle);
    ADD("libaio/other-ring", test_libaio_other_ring);
    ADD("libaio/misaligned", test_libaio_misaligned);
    ADD("libaio/polled", test_libaio_polled);
    ADD("libaio/done-at-once", test_libaio_done_at_once);
    ADD("libaio/some-at-a-time", test_libaio_some_at_a_time);
    ADD("libaio/is-fair", test_libaio_is_fair);
    ADD("libaio/used-up", test_libaio_used_up);
    ADD("libaio/one-per-loop", test_libaio_one_per_loop);
    return g_test_run();
}
