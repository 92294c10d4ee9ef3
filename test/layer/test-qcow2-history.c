/* SPDX-License-Identifier: MIT */
/*
 * qcow2: random histories of one user, against a model in memory.
 *
 * Whatever is done, the disk reads as the model says, and qemu-img finds the
 * image consistent and without leaks each time it is closed.  Images are of
 * chosen options and of random ones.  The seed is printed; --seed=R… repeats
 * one.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/driver.h"
#include "format/qcow2/driver.h"
#include "history-kind.h"
#include "qcow2-rig.h"

#define DISK     (3 * MiB + 512)
#define MAX_DISK (5 * MiB)
#define STEPS    250

#define DRAWN     12 /* histories of images of random options */
#define SNAPSHOTS 3

static const struct named_kind {
    const char *name;
    struct history_kind kind;
} kinds[] = {
    {"plain", {.create = ""}},
    {"v2", {.create = "compat=0.10,cluster_size=4096"}},
    {"small clusters", {.create = "cluster_size=512,refcount_bits=64"}},
    {"large clusters", {.create = "cluster_size=2M"}},
    {"one-bit counts", {.create = "refcount_bits=1,cluster_size=4k"}},
    {"lazy", {.create = "lazy_refcounts=on"}},
    {"zstd", {.create = "compression_type=zstd,cluster_size=8k"}},
    {"subclusters", {.create = "extended_l2=on,cluster_size=16k"}},
    {"preallocated", {.create = "preallocation=metadata"}},
    {"data file", {.create = "data_file=h.raw"}},
    {"raw data file", {.create = "data_file=h.raw,data_file_raw=on"}},
    {"backing",
     {.create = "backing_fmt=raw,backing_file=b.raw", .backing = DISK}},
    {"short backing",
     {.create = "backing_fmt=raw,backing_file=b.raw,cluster_size=4k",
      .backing = MiB + 1000}},
    {"long backing",
     {.create = "backing_fmt=raw,backing_file=b.raw", .backing = MAX_DISK}},
    {"v2 backing",
     {.create = "backing_fmt=raw,backing_file=b.raw,compat=0.10",
      .backing = 2 * MiB + 77}},
    {"subclusters with backing",
     {.create = "backing_fmt=raw,backing_file=b.raw,extended_l2=on",
      .backing = 2 * MiB + 77}},
};

struct history {
    const struct history_kind *kind;
    GRand *dice;
    struct node *node;
    int64_t size;
    uint8_t *model;
    uint8_t *backing; /* zeroes behind its end */
    struct saved {
        uint8_t *model; /* NULL: there is no such snapshot */
        int64_t size;
    } saved[SNAPSHOTS];
};

static int64_t pick(struct history *h, int64_t end)
{
    return end <= 0 ? 0 : g_rand_int_range(h->dice, 0, (gint32)end);
}

/* A range within the disk; often aligned, often short. */
static void pick_range(struct history *h, int64_t *offset, int64_t *bytes)
{
    static const int64_t units[] = {1, 512, 512, 4096, 65536};
    int64_t unit = units[pick(h, G_N_ELEMENTS(units))];
    int64_t most = pick(h, 3) ? 20000 : MiB;

    *offset = pick(h, h->size / unit) * unit;
    *bytes = min_i64((1 + pick(h, most / unit)) * unit, h->size - *offset);
}

static void open_history(struct history *h)
{
    h->node = rig_open("h.qcow2", h->kind->open, NODE_RDWR | NODE_UNMAP);
    g_assert_cmpint(node_length(h->node), ==, h->size);
}

static void verify(struct history *h, int64_t offset, int64_t bytes)
{
    g_autofree uint8_t *buf = g_malloc((gsize)bytes + 1);

    g_assert_cmpint(rig_read(h->node, offset, buf, bytes), ==, 0);
    for (int64_t i = 0; i < bytes; i++) {
        if (buf[i] != h->model[offset + i]) {
            g_error("byte %" PRId64 " (read from %" PRId64
                    ") is 0x%02x instead of 0x%02x",
                    offset + i, offset, buf[i], h->model[offset + i]);
        }
    }
}

static void do_write(struct history *h, int64_t offset, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i++) {
        h->model[offset + i] = (uint8_t)g_rand_int(h->dice);
    }
    g_assert_cmpint(rig_write_buf(h->node, offset, h->model + offset, bytes, 0),
                    ==, 0);
}

/* Whole clusters, whose content may or may not get shorter. */
static void do_write_compressed(struct history *h, int64_t offset,
                                int64_t bytes)
{
    int64_t cluster = node_limits(h->node)->discard_align;
    bool random = pick(h, 4) == 0;
    int rc;

    if (!kind_packs(h->kind)) {
        return;
    }
    offset = align_down(offset, cluster);
    bytes = min_i64(align_up(bytes, cluster), h->size - offset);
    for (int64_t i = 0; i < bytes; i++) {
        h->model[offset + i] =
            (uint8_t)(random ? g_rand_int(h->dice) : i / 64 + offset);
    }
    rc = rig_write_buf(h->node, offset, h->model + offset, bytes,
                       REQ_WRITE_COMPRESSED);
    g_assert_cmpint(rc, ==, 0);
}

static void do_zero(struct history *h, int64_t offset, int64_t bytes)
{
    unsigned flags = pick(h, 2) ? REQ_MAY_UNMAP : 0;

    memset(h->model + offset, 0, (size_t)bytes);
    g_assert_cmpint(rig_zero(h->node, offset, bytes, flags), ==, 0);
}

/* What was discarded is as it was, or zeroes, or what is behind it. */
static void do_discard(struct history *h, int64_t offset, int64_t bytes)
{
    g_autofree uint8_t *buf = g_malloc((gsize)bytes + 1);

    g_assert_cmpint(rig_discard(h->node, offset, bytes), ==, 0);
    g_assert_cmpint(rig_read(h->node, offset, buf, bytes), ==, 0);
    for (int64_t i = 0; i < bytes; i++) {
        g_assert_true(buf[i] == h->model[offset + i] || buf[i] == 0 ||
                      buf[i] == h->backing[offset + i]);
    }
    memcpy(h->model + offset, buf, (size_t)bytes);
}

static void do_reopen(struct history *h)
{
    g_assert_cmpint(rig_close(h->node), ==, 0);
    rig_check("h.qcow2");
    open_history(h);
}

/* A disk of version 2 has the size of all of its snapshots. */
static bool size_is_bound(const struct history *h)
{
    bool any = false;

    for (int i = 0; i < SNAPSHOTS; i++) {
        any = any || h->saved[i].model;
    }
    return any && kind_has(h->kind, "compat=0.10");
}

static void do_truncate(struct history *h)
{
    int64_t size = (1 + pick(h, MAX_DISK / 512 - 1)) * 512;
    enum prealloc_mode mode = PREALLOC_OFF;

    if (size_is_bound(h)) {
        return;
    }
    if (size > h->size && h->kind->backing == 0 &&
        !kind_has(h->kind, "compat=0.10")) {
        mode = (enum prealloc_mode)pick(h, PREALLOC_FULL + 1);
    }
    g_assert_cmpint(rig_truncate(h->node, size, mode), ==, 0);
    g_assert_cmpint(node_length(h->node), ==, size);
    if (size > h->size) {
        memset(h->model + h->size, 0, (size_t)(size - h->size));
    }
    h->size = size;
}

/* -- Snapshots ----------------------------------------------------------- */

struct change {
    enum {
        TAKE,
        APPLY,
        DELETE
    } what;
    struct node *node;
    const char *name;
    GError *err;
};

static void change_entry(void *opaque)
{
    const struct image_ops *ops = driver_qcow2.image;
    struct change *c = opaque;
    int rc = 0;

    co_assert_role();
    switch (c->what) {
    case TAKE:
        rc = ops->co_snapshot_create(c->node, c->name, &c->err); /* yields */
        break;
    case APPLY:
        rc = ops->co_snapshot_apply(c->node, c->name, &c->err); /* yields */
        break;
    case DELETE:
        rc = ops->co_snapshot_delete(c->node, c->name, &c->err); /* yields */
        break;
    }
    g_assert_cmpint(rc == 0, ==, c->err == NULL);
}

/* What became of the model when the snapshot was taken, applied or deleted. */
static void note_change(struct history *h, const struct change *c,
                        struct saved *saved)
{
    switch (c->what) {
    case TAKE:
        saved->model = g_memdup2(h->model, MAX_DISK);
        saved->size = h->size;
        break;
    case APPLY:
        memcpy(h->model, saved->model, MAX_DISK);
        h->size = saved->size;
        break;
    case DELETE:
        g_clear_pointer(&saved->model, g_free);
        break;
    }
}

/* One that is not there is taken, another one applied or deleted.  Reference
 * counts of few bits may not be enough for it. */
static void do_snapshot(struct history *h)
{
    static const char *names[SNAPSHOTS] = {"one", "two", "three"};
    int i = (int)pick(h, SNAPSHOTS);
    struct change c = {.node = h->node, .name = names[i]};

    if (!kind_takes_snapshots(h->kind)) {
        return;
    }
    c.what = !h->saved[i].model ? TAKE : pick(h, 2) ? APPLY : DELETE;
    rig_run(change_entry, &c);
    if (c.err && strstr(c.err->message, "too few for")) {
        g_clear_error(&c.err);
    } else {
        g_assert_no_error(c.err);
        note_change(h, &c, &h->saved[i]);
    }
    verify(h, 0, h->size);
}

/* ------------------------------------------------------------------------ */

static void step(struct history *h)
{
    int64_t offset, bytes;

    pick_range(h, &offset, &bytes);
    switch (pick(h, 16)) {
    case 0 ... 4:
        do_write(h, offset, bytes);
        break;
    case 5:
        do_write_compressed(h, offset, bytes);
        break;
    case 6 ... 7:
        do_zero(h, offset, bytes);
        break;
    case 8 ... 9:
        do_discard(h, offset, bytes);
        break;
    case 10:
        g_assert_cmpint(rig_flush(h->node), ==, 0);
        break;
    case 11:
        if (pick(h, 4) == 0) {
            do_reopen(h);
        }
        break;
    case 12:
        if (pick(h, 4) == 0) {
            do_truncate(h);
        } else if (pick(h, 2)) {
            do_snapshot(h);
        }
        break;
    default:
        verify(h, offset, bytes);
        break;
    }
}

static void make_backing(struct history *h)
{
    g_autofree char *path = rig_path("b.raw");
    int64_t n = h->kind->backing;

    for (int64_t i = 0; i < n; i++) {
        h->backing[i] = (uint8_t)(1 + i % 251);
    }
    memset(h->backing + n / 4, 0, (size_t)(n / 4));
    g_assert_true(g_file_set_contents(path, (const char *)h->backing, n, NULL));
}

static void live(struct history *h)
{
    h->size = DISK;
    h->model = g_malloc0(MAX_DISK);
    h->backing = g_malloc0(MAX_DISK);
    make_backing(h);
    memcpy(h->model, h->backing, (size_t)DISK);
    rig_create("h.qcow2", DISK, h->kind->create);
    open_history(h);
    for (int i = 0; i < STEPS; i++) {
        step(h);
    }
    verify(h, 0, h->size);
    do_reopen(h);
    verify(h, 0, h->size);
    g_assert_cmpint(rig_close(h->node), ==, 0);
    for (int i = 0; i < SNAPSHOTS; i++) {
        g_free(h->saved[i].model);
    }
    g_free(h->model);
    g_free(h->backing);
}

static void test_history(gconstpointer opaque)
{
    const struct named_kind *row = opaque;
    struct history h = {
        .kind = &row->kind,
        .dice = g_rand_new_with_seed((guint32)g_test_rand_int() +
                                     (guint32)(row - kinds)),
    };

    live(&h);
    g_rand_free(h.dice);
}

/* Each test begins with the same g_test_rand_int(), so the number counts. */
static void test_drawn(gconstpointer opaque)
{
    GRand *dice = g_rand_new_with_seed((guint32)g_test_rand_int() +
                                       GPOINTER_TO_UINT(opaque));
    struct history_kind *kind = kind_draw(dice, MAX_DISK);
    struct history h = {.kind = kind, .dice = dice};

    g_test_message("create: %s; open: %s; backing file: %" PRId64 " bytes",
                   kind->create, kind->open, kind->backing);
    live(&h);
    kind_free(kind);
    g_rand_free(dice);
}

static void add_tests(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        rig_add_row("/qcow2-history", kinds[i].name, &kinds[i], test_history);
    }
    for (unsigned i = 1; i <= DRAWN; i++) {
        g_autofree char *path = g_strdup_printf("/qcow2-history/drawn/%u", i);

        g_test_add_data_func(path, GUINT_TO_POINTER(i), test_drawn);
    }
}

int main(int argc, char **argv)
{
    return rig_main(argc, argv, add_tests);
}
