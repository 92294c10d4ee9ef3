/* SPDX-License-Identifier: MIT */
/*
 * qcow2: one call to the file below fails, each in turn.
 *
 * A history that allocates, copies, frees, takes and deletes snapshots and
 * changes the size, runs once for each call that it makes to the file: that
 * one fails, before or after it has taken effect.  Then
 *
 *   - the file, as it is at that moment, has no errors but leaks,
 *   - the operation that failed works when it is done again,
 *   - in the end the disk reads as a model says, and the image is consistent.
 *
 * What an operation that failed has left in the file does not show around what
 * others write later.
 *
 * Several users at once, for whom calls fail now and then, do again what failed
 * until it works; in the end it is the same.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/driver.h"
#include "driver/driver_list.h"
#include "format/fan.h"
#include "format/qcow2/driver.h"
#include "qcow2-rig.h"

#define MAX_DISK (4608 * KiB)

/* -- A file, one of whose calls fails ------------------------------------ */

enum when {
    BEFORE,
    AFTER
};

static struct {
    int left; /* calls until then; below 0: it is over */
    enum when when;
    int rc;
    int one_in; /* if not 0: one call of so many fails, whichever */
} fault;

static struct driver driver_faulty;

static bool is_turn(void)
{
    return fault.one_in ? g_test_rand_int_range(0, fault.one_in) == 0
                        : fault.left-- == 0;
}

static bool begin(bool *after)
{
    bool turn = is_turn();

    *after = turn && fault.when == AFTER;
    return turn && fault.when == BEFORE;
}

/* What a call ends with that ended with @rc. */
static int end(int rc, bool after)
{
    return after && rc == 0 ? fault.rc : rc;
}

static int co_fn faulty_co_preadv(struct node *node, int64_t offset,
                                  const struct iovs *dst)
{
    if (is_turn()) {
        return fault.rc;
    }
    return driver_file.co_preadv(node, offset, dst); /* yields */
}

static int co_fn faulty_co_pwritev(struct node *node, int64_t offset,
                                   const struct iovs *src, unsigned flags)
{
    bool after;

    if (begin(&after)) {
        return fault.rc;
    }
    return end(driver_file.co_pwritev(node, offset, src, flags), after);
}

static int co_fn faulty_co_pwrite_zeroes(struct node *node, int64_t offset,
                                         int64_t bytes, unsigned flags)
{
    bool after;

    if (begin(&after)) {
        return fault.rc;
    }
    return end(driver_file.co_pwrite_zeroes(node, offset, bytes, flags), after);
}

/* Nothing here is lost when the machine stops. */
static int co_fn faulty_co_flush_to_disk(struct node *node)
{
    return is_turn() ? fault.rc : 0;
}

static int co_fn faulty_co_truncate(struct node *node, int64_t length,
                                    enum prealloc_mode prealloc, unsigned flags,
                                    GError **err)
{
    bool after;

    if (begin(&after)) {
        return fault.rc;
    }
    return end(driver_file.co_truncate(node, length, prealloc, flags, err),
               after);
}

/* Sets up a driver; calls none of its functions. */
TSA(no_thread_safety_analysis)
static void register_faulty(void)
{
    driver_faulty = driver_file;
    driver_faulty.name = "faulty";
    driver_faulty.co_preadv = faulty_co_preadv;
    driver_faulty.co_pwritev = faulty_co_pwritev;
    driver_faulty.co_pwrite_zeroes = faulty_co_pwrite_zeroes;
    driver_faulty.co_flush_to_disk = faulty_co_flush_to_disk;
    driver_faulty.co_truncate = faulty_co_truncate;
    driver_register(&driver_faulty);
}

/* -- Steps --------------------------------------------------------------- */

enum what {
    WRITE,
    PACK, /* write compressed */
    ZERO,
    DISCARD,
    FLUSH,
    RESIZE, /* to @offset */
    TAKE,   /* a snapshot */
    APPLY,
    DELETE,
};

struct step {
    enum what what;
    int64_t offset, bytes;
};

#define SNAPSHOTS 1 /* of a kind: it can have some */
#define PACKS     2

struct kind {
    const char *name, *options;
    unsigned can;
    int stride; /* one of so many calls fails, unless the environment says */
};

static const struct kind kinds[] = {
    {"plain", "cluster_size=512,refcount_bits=64", SNAPSHOTS | PACKS, 13},
    {"v2", "cluster_size=512,compat=0.10", SNAPSHOTS | PACKS, 13},
    {"lazy", "cluster_size=512,refcount_bits=64,lazy_refcounts=on",
     SNAPSHOTS | PACKS, 13},
    {"subclusters", "cluster_size=16k,extended_l2=on", SNAPSHOTS | PACKS, 3},
    {"data-file", "cluster_size=512,refcount_bits=64,data_file=data", 0, 2},
};

#define BASE_DISK (3 * MiB)
#define BASE_FILL (1740 * KiB) /* that much of it has data */

/* With clusters of 512 bytes and counts of 64 bits an L2 table is for 32 KiB,
 * a refcount block as well, and the refcount table for 2 MiB. */
static const struct step steps[] = {
    {WRITE, 2 * MiB + 100, 40000},
    {.what = FLUSH},
    {WRITE, 2560 * KiB + 300, 300},
    {PACK, 2560 * KiB + 32 * KiB, 16 * KiB},
    {.what = TAKE},
    {WRITE, 64 * KiB + 100, 33000},
    {PACK, 2560 * KiB + 32 * KiB, 16 * KiB},
    {.what = FLUSH},
    {DISCARD, 64 * KiB, 64 * KiB},
    {ZERO, 256 * KiB + 100, 40000},
    {.what = FLUSH},
    {WRITE, 2 * MiB + 64 * KiB, 130 * KiB},
    {.what = FLUSH},
    {.what = DELETE},
    {RESIZE, MAX_DISK, 0},
    {WRITE, 4 * MiB, 40 * KiB},
    {WRITE, 4 * MiB + 64 * KiB, 130 * KiB},
    {WRITE, 32 * KiB, 40 * KiB},
    {.what = TAKE},
    {WRITE, 32 * KiB, 512},
    {.what = APPLY},
    {WRITE, 32 * KiB, 600},
    {.what = DELETE},
    {.what = FLUSH},
    {RESIZE, 2 * MiB, 0},
    {WRITE, 512 * KiB, 100 * KiB},
    {.what = FLUSH},
};

struct call {
    struct node *node;
    const char *name;
    enum what what;
    struct image_check check;
    guint n;
    int rc;
};

static void snapshot_entry(void *opaque)
{
    const struct image_ops *ops = driver_qcow2.image;
    struct call *c = opaque;
    GError *err = NULL;

    co_assert_role();
    if (c->what == TAKE) {
        c->rc = ops->co_snapshot_create(c->node, "s", &err); /* yields */
    } else if (c->what == APPLY) {
        c->rc = ops->co_snapshot_apply(c->node, "s", &err); /* yields */
    } else {
        c->rc = ops->co_snapshot_delete(c->node, "s", &err); /* yields */
    }
    g_clear_error(&err);
}

static void listing_entry(void *opaque)
{
    struct call *c = opaque;
    GArray *list = NULL;

    co_assert_role();
    g_assert_cmpint(driver_qcow2.image->co_snapshot_list(c->node, &list), ==,
                    0); /* yields */
    c->n = list->len;
    g_array_unref(list);
}

static bool has_snapshot(struct node *node)
{
    struct call c = {.node = node};

    rig_run(listing_entry, &c);
    return c.n > 0;
}

static int do_snapshot(struct node *node, enum what what)
{
    struct call c = {.node = node, .what = what};

    rig_run(snapshot_entry, &c);
    return c.rc;
}

static int do_step(struct node *node, const struct step *st, int fill)
{
    switch (st->what) {
    case WRITE:
        return rig_write(node, st->offset, st->bytes, fill, 0);
    case PACK:
        return rig_write(node, st->offset, st->bytes, fill,
                         REQ_WRITE_COMPRESSED);
    case ZERO:
        return rig_zero(node, st->offset, st->bytes, REQ_MAY_UNMAP);
    case DISCARD:
        return rig_discard(node, st->offset, st->bytes);
    case FLUSH:
        return rig_flush(node);
    case RESIZE:
        return rig_truncate(node, st->offset, PREALLOC_OFF);
    case TAKE:
    case APPLY:
    case DELETE:
        return do_snapshot(node, st->what);
    }
    return -EINVAL;
}

static bool can(const struct kind *k, enum what what)
{
    unsigned need = what == PACK ? PACKS
                    : what == TAKE || what == APPLY || what == DELETE
                        ? SNAPSHOTS
                        : 0;

    return (k->can & need) == need;
}

/* -- The model ----------------------------------------------------------- */

struct model {
    int64_t size, saved_size;
    uint8_t disk[MAX_DISK], saved[MAX_DISK];
};

static void model_resize(struct model *m, int64_t size)
{
    memset(m->disk + size, 0, (size_t)(MAX_DISK - size));
    m->size = size;
}

static void model_step(struct model *m, const struct step *st, int fill)
{
    switch (st->what) {
    case WRITE:
    case PACK:
        memset(m->disk + st->offset, fill, (size_t)st->bytes);
        break;
    case ZERO:
    case DISCARD:
        memset(m->disk + st->offset, 0, (size_t)st->bytes);
        break;
    case RESIZE:
        model_resize(m, st->offset);
        break;
    case TAKE:
        m->saved_size = m->size;
        memcpy(m->saved, m->disk, MAX_DISK);
        break;
    case APPLY:
        m->size = m->saved_size;
        memcpy(m->disk, m->saved, MAX_DISK);
        break;
    case FLUSH:
    case DELETE:
        break;
    }
}

static void model_expect(const struct model *m, struct node *node)
{
    g_autofree uint8_t *buf = g_malloc((gsize)m->size);

    g_assert_cmpint(node_length(node), ==, m->size);
    g_assert_cmpint(rig_read(node, 0, buf, m->size), ==, 0);
    for (int64_t i = 0; i < m->size; i++) {
        if (buf[i] != m->disk[i]) {
            g_error("byte %" G_GINT64_FORMAT " is 0x%02x instead of 0x%02x", i,
                    buf[i], m->disk[i]);
        }
    }
}

/* -- Checks -------------------------------------------------------------- */

static void say(void *opaque, const char *line)
{
    g_test_message("%s", line);
}

static void check_entry(void *opaque)
{
    struct call *c = opaque;
    g_autofree char *path = rig_path(c->name);
    struct options *o = options_new();
    struct node *node;

    co_assert_role();
    options_set(o, "driver", "qcow2");
    node = node_co_open_file(path, o, NODE_CHECK | NODE_FORCE_SHARE,
                             NULL); /* yields */
    g_assert_nonnull(node);
    c->check.report = say;
    c->rc = driver_qcow2.image->co_check(node, 0, &c->check, NULL);
    g_assert_cmpint(node_co_unref(node), ==, 0); /* yields */
}

/* What is in the file now may have leaks, and with lazy refcounts, which a
 * mark in the header tells of, any counts. */
static void check(const char *name, bool counts)
{
    struct call c = {.name = name};

    rig_run(check_entry, &c);
    g_assert_cmpint(c.rc, ==, 0);
    g_assert_cmpint(c.check.check_errors, ==, 0);
    if (counts) {
        g_assert_cmpint(c.check.corruptions, ==, 0);
    }
}

static void copy(const char *from, const char *to)
{
    g_autofree char *path = rig_path(from);
    g_autofree char *target = rig_path(to);
    g_autofree char *data = NULL;
    gsize bytes;

    g_assert_true(g_file_get_contents(path, &data, &bytes, NULL));
    g_assert_true(g_file_set_contents_full(
        target, data, (gssize)bytes, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
}

/* -- Runs ---------------------------------------------------------------- */

static void make_base(const struct kind *k, struct model *m)
{
    struct node *node;

    memset(m, 0, sizeof(*m));
    m->size = BASE_DISK;
    rig_create("base", BASE_DISK, k->options);
    node = rig_open("base", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, BASE_FILL, 0xbb, 0), ==, 0);
    memset(m->disk, 0xbb, BASE_FILL);
    g_assert_cmpint(rig_close(node), ==, 0);
    if (!(k->can & SNAPSHOTS)) {
        copy("data", "base-data");
    }
}

static struct node *open_work(void)
{
    return rig_open("work", "driver=qcow2,file.driver=faulty",
                    NODE_RDWR | NODE_UNMAP);
}

static void run_step(const struct kind *k, struct node *node, int i)
{
    const struct step *st = &steps[i];
    bool lazy = strstr(k->options, "lazy") != NULL;
    int rc = do_step(node, st, i + 1);

    if (rc == 0) {
        return;
    }
    g_test_message("step %d fails: %d", i, rc);
    g_assert_cmpint(fault.left, <, 0);
    check("work", !lazy);
    if (st->what == TAKE || st->what == DELETE) {
        g_assert_true(has_snapshot(node) == (st->what == DELETE));
    }
    rc = do_step(node, st, i + 1);
    g_assert_cmpint(rc, ==, 0);
}

/* One run.  Returns whether a call has failed. */
static bool run(const struct kind *k, const struct model *base, int left)
{
    static struct model m;
    struct node *node;
    bool over;

    m = *base;
    fault.left = -1;
    copy("base", "work");
    if (!(k->can & SNAPSHOTS)) {
        copy("base-data", "data");
    }
    node = open_work();
    fault.left = left;
    for (int i = 0; i < (int)G_N_ELEMENTS(steps); i++) {
        if (can(k, steps[i].what)) {
            run_step(k, node, i);
            model_step(&m, &steps[i], i + 1);
        }
    }
    over = fault.left >= 0;
    fault.left = -1;
    model_expect(&m, node);
    g_assert_cmpint(rig_close(node), ==, 0);
    check("work", true);
    node = rig_open("work", NULL, 0);
    model_expect(&m, node);
    g_assert_cmpint(rig_close(node), ==, 0);
    return !over;
}

static int stride_of(const struct kind *k)
{
    const char *text = g_getenv("COBLK_FAULT_STRIDE");

    return text ? MAX(atoi(text), 1) : k->stride;
}

static void test_kind(gconstpointer opaque)
{
    static const int errors[] = {-ENOSPC, -EIO};
    static struct model base;
    const struct kind *k = opaque;
    int stride = stride_of(k);
    int n = g_test_rand_int_range(0, stride);
    int runs = 0;
    bool more = true;

    make_base(k, &base);
    for (; more; n += stride) {
        int dice = g_test_rand_int_range(0, 4);

        fault.when = dice & 1 ? AFTER : BEFORE;
        fault.rc = errors[dice / 2];
        g_test_message("call %d, %s, %s", n, dice & 1 ? "after" : "before",
                       g_strerror(-fault.rc));
        more = run(k, &base, n);
        runs++;
    }
    g_test_message("%d runs", runs);
    g_assert_cmpint(runs, >, 50 / stride);
}

/* -- What is left -------------------------------------------------------- */

#define LEFT_FROM MiB
#define LEFT_END  (MiB + 128 * KiB)

static const struct left {
    const char *name;
    int64_t before; /* so much was written */
    struct step step;
} lefts[] = {
    {"block", 20 * KiB, {WRITE, 32 * KiB, 20 * KiB}},
    {"snapshot", 20 * KiB, {.what = TAKE}},
};

/* Something that writes tables at the end of the file fails at call @left, and
 * is not done again; then each cluster gets a byte.  Returns whether a call has
 * failed. */
static bool fail_and_go_on(const struct left *l, int left)
{
    struct node *node;
    bool over;
    int rc;

    fault.left = -1;
    rig_create("work", 4 * MiB, "cluster_size=512,refcount_bits=64");
    node = open_work();
    g_assert_cmpint(rig_write(node, 2 * MiB, l->before, 1, 0), ==, 0);
    fault.left = left;
    rc = do_step(node, &l->step, 2);
    g_assert_true(rc == 0 || (rc == fault.rc && fault.left < 0));
    over = fault.left >= 0;
    fault.left = -1;
    for (int64_t at = LEFT_FROM; at < LEFT_END; at += 512) {
        g_assert_cmpint(rig_write(node, at, 1, 3, 0), ==, 0);
    }
    for (int64_t at = LEFT_FROM; at < LEFT_END; at += 512) {
        rig_expect(node, at, 1, 3);
        rig_expect(node, at + 1, 511, 0);
    }
    g_assert_cmpint(rig_close(node), ==, 0);
    check("work", true);
    return !over;
}

static void test_left(gconstpointer opaque)
{
    int n = 0;

    fault.when = AFTER;
    fault.rc = -EIO;
    while (fail_and_go_on(opaque, n)) {
        n++;
    }
    g_assert_cmpint(n, >, 3);
}

/* -- Several at once ----------------------------------------------------- */

#define USERS      8
#define USER_STEPS 150
#define STRIPE     1000 /* clusters have bytes of several users */

static const struct kind crowds[] = {
    {"crowd", "cluster_size=512,refcount_bits=64", SNAPSHOTS, 0},
    {"crowd-lazy", "cluster_size=4k,lazy_refcounts=on", SNAPSHOTS, 0},
    {"crowd-subclusters", "cluster_size=16k,extended_l2=on", SNAPSHOTS, 0},
    {"crowd-data-file", "cluster_size=4k,data_file=data", 0, 0},
};

struct user {
    struct node *node;
    struct model *m;
    int number;
};

static int co_fn user_write(struct user *u, int64_t offset, int64_t bytes,
                            int fill)
{
    g_autofree uint8_t *buf = g_malloc((gsize)bytes);
    int rc;

    memset(buf, fill, (size_t)bytes);
    rc = node_co_pwrite(u->node, offset, buf, bytes, 0); /* yields */
    if (rc == 0) {
        memset(u->m->disk + offset, fill, (size_t)bytes);
    }
    return rc;
}

static int co_fn user_zero(struct user *u, int64_t offset, int64_t bytes)
{
    int rc = node_co_pwrite_zeroes(u->node, offset, bytes, REQ_MAY_UNMAP);

    if (rc == 0) {
        memset(u->m->disk + offset, 0, (size_t)bytes);
    }
    return rc;
}

static int co_fn user_read(struct user *u, int64_t offset, int64_t bytes)
{
    g_autofree uint8_t *buf = g_malloc((gsize)bytes);
    int rc = node_co_pread(u->node, offset, buf, bytes); /* yields */

    if (rc == 0) {
        g_assert_true(memcmp(buf, u->m->disk + offset, (size_t)bytes) == 0);
    }
    return rc;
}

static int co_fn user_entry(void *opaque)
{
    struct user *u = opaque;
    GRand *dice = g_rand_new_with_seed((guint32)g_test_rand_int());

    for (int i = 0; i < USER_STEPS; i++) {
        int stripe = g_rand_int_range(dice, 0, BASE_DISK / STRIPE / USERS);
        int64_t first = g_rand_int_range(dice, 0, STRIPE);
        int64_t bytes = g_rand_int_range(dice, 1, STRIPE - (int)first + 1);
        int64_t offset = (stripe * USERS + u->number) * STRIPE + first;
        int what = g_rand_int_range(dice, 0, 10);
        int rc = 0;

        for (int tries = 0; tries == 0 || rc < 0; tries++) {
            rc = what < 5   ? user_write(u, offset, bytes, i + 1)
                 : what < 7 ? user_zero(u, offset, bytes)
                 : what < 9 ? user_read(u, offset, bytes)
                            : node_co_flush(u->node);
            g_assert_cmpint(tries, <, 200);
        }
    }
    g_rand_free(dice);
    g_free(u);
    return 0;
}

static void crowd_entry(void *opaque)
{
    const struct user *all = opaque;
    struct fan fan = {.running = 0};

    co_assert_role();
    for (int i = 0; i < USERS; i++) {
        struct user *u = g_memdup2(all, sizeof(*all));

        u->number = i;
        fan_start(&fan, user_entry, u); /* yields */
    }
    g_assert_cmpint(fan_finish(&fan), ==, 0); /* yields */
}

static void test_crowd(gconstpointer opaque)
{
    static struct model m;
    const struct kind *k = opaque;
    struct user u = {.m = &m};

    make_base(k, &m);
    copy("base", "work");
    fault.left = -1;
    u.node = open_work();
    fault.when = g_test_rand_int_range(0, 2) ? AFTER : BEFORE;
    fault.rc = g_test_rand_int_range(0, 2) ? -EIO : -ENOSPC;
    fault.one_in = 40;
    rig_run(crowd_entry, &u);
    fault.one_in = 0;
    model_expect(&m, u.node);
    g_assert_cmpint(rig_close(u.node), ==, 0);
    check("work", true);
    u.node = rig_open("work", NULL, 0);
    model_expect(&m, u.node);
    g_assert_cmpint(rig_close(u.node), ==, 0);
}

static void add_tests(void)
{
    register_faulty();
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        rig_add_row("/qcow2-fault", kinds[i].name, &kinds[i], test_kind);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(lefts); i++) {
        g_autofree char *name =
            g_strconcat("/qcow2-fault/left/", lefts[i].name, NULL);

        g_test_add_data_func(name, &lefts[i], test_left);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(crowds); i++) {
        rig_add_row("/qcow2-fault", crowds[i].name, &crowds[i], test_crowd);
    }
}

int main(int argc, char **argv)
{
    return rig_main(argc, argv, add_tests);
}
