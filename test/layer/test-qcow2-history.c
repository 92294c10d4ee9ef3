/* SPDX-License-Identifier: MIT */
/*
 * qcow2: random histories of one user, against a model in memory.
 *
 * Whatever is done, the disk reads as the model says, and qemu-img finds the
 * image consistent and without leaks each time it is closed.  The seed is
 * printed; --seed=R… repeats one.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "qcow2-rig.h"

#define DISK     (3 * MiB + 512)
#define MAX_DISK (5 * MiB)
#define STEPS    250

static const struct kind {
    const char *name;
    const char *options;
    int64_t backing; /* bytes of the backing file; 0: none */
} kinds[] = {
    {"plain", "", 0},
    {"v2", "compat=0.10,cluster_size=4096", 0},
    {"small clusters", "cluster_size=512,refcount_bits=64", 0},
    {"large clusters", "cluster_size=2M", 0},
    {"one-bit counts", "refcount_bits=1,cluster_size=4k", 0},
    {"lazy", "lazy_refcounts=on", 0},
    {"zstd", "compression_type=zstd,cluster_size=8k", 0},
    {"subclusters", "extended_l2=on,cluster_size=16k", 0},
    {"preallocated", "preallocation=metadata", 0},
    {"data file", "data_file=h.raw", 0},
    {"raw data file", "data_file=h.raw,data_file_raw=on", 0},
    {"backing", "backing_fmt=raw,backing_file=b.raw", DISK},
    {"short backing", "backing_fmt=raw,backing_file=b.raw,cluster_size=4k",
     MiB + 1000},
    {"long backing", "backing_fmt=raw,backing_file=b.raw", MAX_DISK},
    {"v2 backing", "backing_fmt=raw,backing_file=b.raw,compat=0.10",
     2 * MiB + 77},
    {"subclusters with backing",
     "backing_fmt=raw,backing_file=b.raw,extended_l2=on", 2 * MiB + 77},
};

struct history {
    const struct kind *kind;
    struct node *node;
    int64_t size;
    uint8_t *model;
    uint8_t *backing; /* zeroes behind its end */
};

static int64_t pick(int64_t end)
{
    return end <= 0 ? 0 : g_test_rand_int_range(0, (gint32)end);
}

/* A range within the disk; often aligned, often short. */
static void pick_range(const struct history *h, int64_t *offset, int64_t *bytes)
{
    static const int64_t units[] = {1, 512, 512, 4096, 65536};
    int64_t unit = units[pick(G_N_ELEMENTS(units))];
    int64_t most = pick(3) ? 20000 : MiB;

    *offset = pick(h->size / unit) * unit;
    *bytes = min_i64((1 + pick(most / unit)) * unit, h->size - *offset);
}

static void open_history(struct history *h)
{
    h->node = rig_open("h.qcow2", NULL, NODE_RDWR | NODE_UNMAP);
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
        h->model[offset + i] = (uint8_t)g_test_rand_int();
    }
    g_assert_cmpint(rig_write_buf(h->node, offset, h->model + offset, bytes, 0),
                    ==, 0);
}

/* Whole clusters, whose content may or may not get shorter. */
static void do_write_compressed(struct history *h, int64_t offset,
                                int64_t bytes)
{
    int64_t cluster = node_limits(h->node)->discard_align;
    bool random = pick(4) == 0;
    int rc;

    if (strstr(h->kind->options, "data_file")) {
        return; /* cannot be */
    }
    offset = align_down(offset, cluster);
    bytes = min_i64(align_up(bytes, cluster), h->size - offset);
    for (int64_t i = 0; i < bytes; i++) {
        h->model[offset + i] =
            (uint8_t)(random ? g_test_rand_int() : i / 64 + offset);
    }
    rc = rig_write_buf(h->node, offset, h->model + offset, bytes,
                       REQ_WRITE_COMPRESSED);
    g_assert_cmpint(rc, ==, 0);
}

static void do_zero(struct history *h, int64_t offset, int64_t bytes)
{
    unsigned flags = pick(2) ? REQ_MAY_UNMAP : 0;

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

static void do_truncate(struct history *h)
{
    int64_t size = (1 + pick(MAX_DISK / 512 - 1)) * 512;

    g_assert_cmpint(rig_truncate(h->node, size, PREALLOC_OFF), ==, 0);
    g_assert_cmpint(node_length(h->node), ==, size);
    if (size > h->size) {
        memset(h->model + h->size, 0, (size_t)(size - h->size));
    }
    h->size = size;
}

static void step(struct history *h)
{
    int64_t offset, bytes;

    pick_range(h, &offset, &bytes);
    switch (pick(16)) {
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
        if (pick(4) == 0) {
            do_reopen(h);
        }
        break;
    case 12:
        if (pick(4) == 0) {
            do_truncate(h);
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

static void test_history(gconstpointer opaque)
{
    struct history h = {.kind = opaque, .size = DISK};

    h.model = g_malloc0(MAX_DISK);
    h.backing = g_malloc0(MAX_DISK);
    make_backing(&h);
    memcpy(h.model, h.backing, (size_t)DISK);
    rig_create("h.qcow2", DISK, h.kind->options);
    open_history(&h);
    for (int i = 0; i < STEPS; i++) {
        step(&h);
    }
    verify(&h, 0, h.size);
    do_reopen(&h);
    verify(&h, 0, h.size);
    g_assert_cmpint(rig_close(h.node), ==, 0);
    g_free(h.model);
    g_free(h.backing);
}

static void add_tests(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        rig_add_row("/qcow2-history", kinds[i].name, &kinds[i], test_history);
    }
}

int main(int argc, char **argv)
{
    return rig_main(argc, argv, add_tests);
}
