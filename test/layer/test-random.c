/* SPDX-License-Identifier: MIT */
/*
 * A random history of requests against a model.
 *
 * The bytes of a node are dealt out in small stripes to workers, each of which
 * writes, zeroes, discards and reads its own stripes at random and knows what
 * they must hold.  Stripes ignore blocks, so nearly every request shares a
 * block with somebody else's: a lost read-modify-write, a wrong edge of a
 * fragment or a copy to the wrong place changes bytes that their owner misses.
 * Meanwhile one more worker drains and flushes.
 *
 * The node is one in memory, or a file with direct I/O, whose length fills no
 * block either: its size must be the same at the end.
 *
 * With one loop the history follows from the seed alone; with two loops the
 * threads add their part, and the sanitizers look on.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver/driver_list.h"
#include "fixtures.h"
#include "loop/iothread.h"

#define STRIPE    700
#define N_WORKERS 6
#define N_STEPS   400
#define LENGTH    100300 /* fills no block */

struct history {
    struct node *node;
    struct node_parent parent;
    atomic_int in_flight; /* requests of the workers, and who looks whether */
    atomic_int active;    /* of these, requests */
    atomic_int drained;   /* how many drains hold the workers back */
    atomic_int running;   /* workers */
    uint8_t model[LENGTH];
};

struct worker {
    struct history *h;
    int id;
    GRand *dice;
    uint8_t buf[STRIPE];
};

/* -- The workers as users of the node ------------------------------------ */

static struct history *history_of(struct node_parent *p)
{
    return container_of(p, struct history, parent);
}

static void history_drained_begin(struct node_parent *p)
{
    history_of(p)->drained++;
}

static bool history_drained_busy(struct node_parent *p)
{
    return history_of(p)->in_flight > 0;
}

static void history_drained_end(struct node_parent *p)
{
    history_of(p)->drained--;
}

static void request_drop(struct history *h)
{
    if (--h->in_flight == 0 && h->drained > 0) {
        node_drain_kick(h->node);
    }
}

/* Waits while the node is drained, then counts in. */
static void co_fn request_begin(struct history *h)
{
    for (;;) {
        h->in_flight++;
        if (h->drained == 0) {
            h->active++;
            return;
        }
        request_drop(h);
        loop_co_relax(); /* yields */
    }
}

/* -- What they do -------------------------------------------------------- */

static int dice(struct worker *w, int below)
{
    return g_rand_int_range(w->dice, 0, below);
}

/* A range inside a stripe of the worker. */
static void random_range(struct worker *w, int64_t *offset, int64_t *bytes)
{
    int64_t stripes = LENGTH / STRIPE + 1;
    int64_t start, room;

    do {
        start =
            STRIPE * (dice(w, (int)stripes) / N_WORKERS * N_WORKERS + w->id);
    } while (start >= LENGTH);
    room = min_i64(STRIPE, LENGTH - start);
    *offset = start + dice(w, (int)room);
    *bytes = 1 + dice(w, (int)(start + room - *offset));
}

static int co_fn step_write(struct worker *w, int64_t offset, int64_t bytes)
{
    int split = dice(w, (int)bytes);
    struct iovec iov[] = {{w->buf, (size_t)split},
                          {w->buf + split, (size_t)(bytes - split)}};
    struct iovs src = iovs_of(iov, 2);
    int fill = 1 + dice(w, 255);

    memset(w->buf, fill, (size_t)bytes);
    memset(w->h->model + offset, fill, (size_t)bytes);
    return node_co_pwritev(w->h->node, offset, &src,
                           dice(w, 8) ? 0 : REQ_FUA); /* yields */
}

static int co_fn step_zeroes(struct worker *w, int64_t offset, int64_t bytes)
{
    memset(w->h->model + offset, 0, (size_t)bytes);
    return node_co_pwrite_zeroes(w->h->node, offset, bytes,
                                 dice(w, 2) ? REQ_MAY_UNMAP : 0); /* yields */
}

/* What a discard leaves is not known; zeroes behind it are. */
static int co_fn step_discard(struct worker *w, int64_t offset, int64_t bytes)
{
    int rc = node_co_pdiscard(w->h->node, offset, bytes); /* yields */

    return rc < 0 ? rc : step_zeroes(w, offset, bytes);
}

static int co_fn step_read(struct worker *w, int64_t offset, int64_t bytes)
{
    int rc = node_co_pread(w->h->node, offset, w->buf, bytes); /* yields */

    g_assert_cmpmem(w->buf, (int)bytes, w->h->model + offset, (int)bytes);
    return rc;
}

static void co_fn worker_step(struct worker *w)
{
    int64_t offset, bytes;
    int rc;

    random_range(w, &offset, &bytes);
    request_begin(w->h); /* yields */
    switch (dice(w, 8)) {
    case 0:
        rc = step_zeroes(w, offset, bytes);
        break;
    case 1:
        rc = step_discard(w, offset, bytes);
        break;
    case 2:
    case 3:
        rc = step_read(w, offset, bytes);
        break;
    case 4:
        rc = node_co_flush(w->h->node);
        break;
    default:
        rc = step_write(w, offset, bytes);
        break;
    }
    g_assert_cmpint(rc, ==, 0);
    w->h->active--;
    request_drop(w->h);
}

static void worker_done(struct worker *w)
{
    w->h->running--;
    g_rand_free(w->dice);
    g_free(w);
}

static void worker_entry(void *opaque)
{
    struct worker *w = opaque;

    co_assert_role();
    for (int i = 0; i < N_STEPS; i++) {
        worker_step(w); /* yields */
    }
    worker_done(w);
}

/* Drains now and then, and sees that nothing moves meanwhile. */
static void drainer_entry(void *opaque)
{
    struct worker *w = opaque;

    co_assert_role();
    while (w->h->running > 1) {
        struct node *node = dice(w, 2) ? w->h->node : node_file(w->h->node);

        node_co_drain_begin(node); /* yields */
        for (int i = dice(w, 4); i >= 0; i--) {
            g_assert_cmpint(w->h->active, ==, 0);
            loop_co_relax(); /* yields */
        }
        node_co_drain_end(node);
        for (int i = dice(w, 50); i >= 0; i--) {
            loop_co_relax(); /* yields */
        }
    }
    worker_done(w);
}

/* -- The histories ------------------------------------------------------- */

struct start {
    co_entry_fn *entry;
    struct worker *worker;
};

static void start_bh(void *opaque)
{
    g_autofree struct start *s = opaque;
    struct co *co = co_new(s->entry, s->worker);

    g_assert_nonnull(co);
    loop_co_start(co);
}

static void start_worker(struct history *h, int id, struct loop *loop,
                         co_entry_fn *entry)
{
    struct worker *w = g_new0(struct worker, 1);
    struct start *s = g_new0(struct start, 1);

    *w = (struct worker){
        .h = h,
        .id = id,
        .dice = g_rand_new_with_seed((guint32)g_test_rand_int()),
    };
    *s = (struct start){.entry = entry, .worker = w};
    h->running++;
    bh_oneshot(loop, start_bh, s);
}

static void check_mem(const struct history *h)
{
    const struct mem *m = mem_of(h->node);

    g_assert_cmpmem(m->data, LENGTH, h->model, LENGTH);
    g_assert_true(bytes_are(m->data + LENGTH, 0, 4096));
    g_assert_cmpint(m->size, ==, LENGTH);
}

/* Runs the workers on two loops, which may be the same one. */
static void play(struct history *h, struct loop *a, struct loop *b)
{
    h->parent = (struct node_parent){
        .drained_begin = history_drained_begin,
        .drained_busy = history_drained_busy,
        .drained_end = history_drained_end,
    };
    node_add_parent(h->node, &h->parent);
    for (int i = 0; i < N_WORKERS; i++) {
        start_worker(h, i, i % 2 ? a : b, worker_entry);
    }
    start_worker(h, N_WORKERS, a, drainer_entry);
    /* The drainer ends last, and on this loop. */
    while (h->running > 0) {
        loop_turn(a, true);
    }
    node_del_parent(h->node, &h->parent);
}

static void play_mem(const char *opts, struct loop *a, struct loop *b)
{
    g_autofree struct history *h = g_new0(struct history, 1);

    h->node = open_node(opts, NODE_RDWR | NODE_UNMAP);
    mem_set_relaxed(mem_of(h->node), 3, (guint32)g_test_rand_int());
    play(h, a, b);
    check_mem(h);
    g_assert_cmpint(close_node(h->node), ==, 0);
}

#define MEM(more) "driver=raw,file.driver=mem,file.size=100300" more

static const char *const variants[] = {
    MEM(",file.align=512,file.mem-align=512"),
    MEM(",file.align=512,file.max-transfer=1k,file.max-iov=1"),
    MEM(",file.align=4k,file.zeroes=off,file.discard-align=4k"),
    MEM(",file.align=512,detect-zeroes=unmap,file.zeroes-align=1k"),
    MEM(""),
};

static void test_one_loop(gconstpointer data)
{
    play_mem(data, fixture_loop(), fixture_loop());
}

static void test_two_loops(gconstpointer data)
{
    struct loop *loop = fixture_loop();
    struct iothread *t;

    g_assert_cmpint(iothread_new("second", &t), ==, 0);
    play_mem(data, loop, iothread_loop(t));
    iothread_free(t);
}

/* -- On a file ----------------------------------------------------------- */

static void check_file(const struct history *h, const char *path)
{
    g_autofree char *content = NULL;
    gsize bytes;

    g_assert_true(g_file_get_contents(path, &content, &bytes, NULL));
    g_assert_cmpint((int)bytes, ==, LENGTH);
    g_assert_cmpmem(content, LENGTH, h->model, LENGTH);
}

/* /var/tmp: O_DIRECT on tmpfs has no alignment, if it works at all. */
static char *make_file(void)
{
    g_autofree char *path = g_strdup("/var/tmp/coblk-random-XXXXXX");
    int fd = g_mkstemp_full(path, O_RDWR | O_DIRECT | O_CLOEXEC, 0600);

    if (fd < 0) {
        g_test_skip("no direct I/O in /var/tmp");
        return NULL;
    }
    g_assert_cmpint(ftruncate(fd, LENGTH), ==, 0);
    (void)close(fd);
    return g_steal_pointer(&path);
}

static void test_file(gconstpointer data)
{
    struct loop *loop = fixture_loop();
    g_autofree struct history *h = g_new0(struct history, 1);
    g_autofree char *path = make_file();
    g_autofree char *opts = NULL;
    struct iothread *t;

    if (!path) {
        return;
    }
    opts = g_strdup_printf("driver=raw,file.filename=%s,file.aio=%s", path,
                           (const char *)data);
    h->node = open_node(opts, NODE_RDWR | NODE_UNMAP | NODE_DIRECT);
    g_assert_cmpint(iothread_new("second", &t), ==, 0);
    play(h, loop, iothread_loop(t));
    g_assert_cmpint(close_node(h->node), ==, 0);
    iothread_free(t);
    check_file(h, path);
    (void)g_unlink(path);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    fixture_register();
    driver_register(&driver_file);
    for (size_t i = 0; i < G_N_ELEMENTS(variants); i++) {
        g_autofree char *one = g_strdup_printf("/random/one-loop/%zu", i);
        g_autofree char *two = g_strdup_printf("/random/two-loops/%zu", i);

        g_test_add_data_func(one, variants[i], test_one_loop);
        g_test_add_data_func(two, variants[i], test_two_loops);
    }
    g_test_add_data_func("/random/file/native", "native", test_file);
    g_test_add_data_func("/random/file/threads", "threads", test_file);
    rc = g_test_run();
    fixture_loop_free();
    return rc;
}
