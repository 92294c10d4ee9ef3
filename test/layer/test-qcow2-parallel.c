/* SPDX-License-Identifier: MIT */
/*
 * qcow2: many users of one image at once, on several loops.
 *
 * The disk is cut into stripes that fit no cluster, dealt out in turn, so that
 * each cluster has bytes of several users: each sees its own bytes as it left
 * them, whatever the others do, and the image is consistent at the end.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "loop/iothread.h"
#include "loop/loop.h"
#include "loop/sync.h"
#include "qcow2-rig.h"

#define DISK    (4 * MiB)
#define STRIPE  1536
#define STRIPES (DISK / STRIPE)
#define USERS   12
#define LOOPS   3 /* and the test's own */
#define STEPS   500

static const struct kind {
    const char *name;
    const char *create;
    const char *open;
} kinds[] = {
    {"plain", "", NULL},
    {"small clusters", "cluster_size=512,refcount_bits=1", NULL},
    {"tiny cache", "cluster_size=1k",
     "l2-cache-size=1k,refcount-cache-size=1k"},
    {"subclusters", "extended_l2=on,cluster_size=64k", NULL},
    {"lazy", "lazy_refcounts=on,cluster_size=4k", NULL},
    {"data file", "data_file=p.raw", NULL},
    {"luks", "encrypt.format=luks,encrypt.iter-time=1,encrypt.key-secret=rig",
     "encrypt.key-secret=rig"},
    {"aes", "cluster_size=4k,encrypt.format=aes,encrypt.key-secret=rig",
     "encrypt.key-secret=rig"},
    {"backing", "backing_file=pb.raw,backing_fmt=raw", NULL},
};

struct user {
    struct node *node;
    struct loop *loop;
    struct loop *home; /* of the test, to be told */
    atomic_int *running;
    uint8_t *model; /* all users'; each touches its own stripes only */
    int number;
    GRand *rand;
};

static int64_t pick(struct user *u, int64_t end)
{
    return g_rand_int_range(u->rand, 0, (gint32)end);
}

static void co_fn user_read(struct user *u, int64_t offset, int64_t bytes)
{
    uint8_t buf[STRIPE];

    g_assert_cmpint(node_co_pread(u->node, offset, buf, bytes), ==, 0);
    for (int64_t i = 0; i < bytes; i++) {
        if (buf[i] != u->model[offset + i]) {
            g_error("user %d: byte %" PRId64 " is 0x%02x instead of 0x%02x",
                    u->number, offset + i, buf[i], u->model[offset + i]);
        }
    }
}

static void co_fn user_step(struct user *u)
{
    int64_t stripe =
        pick(u, (STRIPES - u->number - 1) / USERS + 1) * USERS + u->number;
    int64_t first = pick(u, STRIPE);
    int64_t bytes = 1 + pick(u, STRIPE - first);
    int64_t offset = stripe * STRIPE + first;
    int rc = 0;

    switch (pick(u, 16)) {
    case 0 ... 6:
        for (int64_t i = 0; i < bytes; i++) {
            u->model[offset + i] = (uint8_t)g_rand_int(u->rand);
        }
        rc = node_co_pwrite(u->node, offset, u->model + offset, bytes, 0);
        break;
    case 7 ... 8:
        memset(u->model + offset, 0, (size_t)bytes);
        rc = node_co_pwrite_zeroes(u->node, offset, bytes,
                                   pick(u, 2) ? REQ_MAY_UNMAP : 0);
        break;
    case 9:
        rc = node_co_flush(u->node);
        break;
    default:
        user_read(u, offset, bytes);
        break;
    }
    g_assert_cmpint(rc, ==, 0);
}

static void nothing(void *opaque)
{
}

static void user_entry(void *opaque)
{
    struct user *u = opaque;

    co_assert_role();
    for (int i = 0; i < STEPS; i++) {
        user_step(u); /* yields */
    }
    atomic_fetch_sub(u->running, 1);
    bh_oneshot(u->home, nothing, NULL);
}

static void user_start(void *opaque)
{
    struct co *co = co_new(user_entry, opaque);

    g_assert_nonnull(co);
    loop_co_start(co);
}

static void run_users(struct node *node, struct iothread **threads,
                      uint8_t *model)
{
    struct loop *home = loop_current();
    atomic_int running = USERS;
    struct user users[USERS];

    for (int i = 0; i < USERS; i++) {
        int t = i % (LOOPS + 1);

        users[i] = (struct user){
            .node = node,
            .loop = t < LOOPS ? iothread_loop(threads[t]) : home,
            .home = home,
            .running = &running,
            .model = model,
            .number = i,
            .rand = g_rand_new_with_seed((guint32)g_test_rand_int()),
        };
    }
    for (int i = 0; i < USERS; i++) {
        bh_oneshot(users[i].loop, user_start, &users[i]);
    }
    while (atomic_load(&running) > 0) {
        (void)loop_turn(home, true);
    }
    for (int i = 0; i < USERS; i++) {
        g_rand_free(users[i].rand);
    }
}

static void expect_model(struct node *node, const uint8_t *model)
{
    g_autofree uint8_t *buf = g_malloc(DISK);

    g_assert_cmpint(rig_read(node, 0, buf, DISK), ==, 0);
    g_assert_cmpmem(buf, DISK, model, DISK);
}

static void test_parallel(gconstpointer opaque)
{
    const struct kind *kind = opaque;
    g_autofree uint8_t *model = g_malloc0(DISK);
    g_autofree char *backing = rig_path("pb.raw");
    struct iothread *threads[LOOPS];
    struct node *node;

    if (strstr(kind->create, "backing")) {
        memset(model, 7, DISK);
        g_assert_true(
            g_file_set_contents(backing, (const char *)model, DISK, NULL));
    }
    for (int i = 0; i < LOOPS; i++) {
        g_assert_cmpint(iothread_new("test", &threads[i]), ==, 0);
    }
    rig_create("p.qcow2", DISK, kind->create);
    node = rig_open("p.qcow2", kind->open, NODE_RDWR | NODE_UNMAP);
    run_users(node, threads, model);
    expect_model(node, model);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("p.qcow2");
    node = rig_open("p.qcow2", kind->open, 0);
    expect_model(node, model);
    g_assert_cmpint(rig_close(node), ==, 0);
    for (int i = 0; i < LOOPS; i++) {
        iothread_free(threads[i]);
    }
}

static void add_tests(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        rig_add_row("/qcow2-parallel", kinds[i].name, &kinds[i], test_parallel);
    }
}

int main(int argc, char **argv)
{
    return rig_main(argc, argv, add_tests);
}
