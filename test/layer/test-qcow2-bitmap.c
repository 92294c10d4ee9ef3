/* SPDX-License-Identifier: MIT */
/*
 * qcow2: bitmaps, against a model in memory.
 *
 * Random histories: an image is written to, its bitmaps are changed, its disk
 * is resized, it is closed and opened again.  The bits are those of the model
 * at any time, and qemu-img finds the image consistent and without leaks
 * whenever it is closed.  The seed is printed; --seed=R… repeats one.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/endian.h"
#include "block/driver.h"
#include "format/blkdebug.h"
#include "format/qcow2/bitmap_dir.h"
#include "qcow2-bits.h"
#include "qcow2-rig.h"

#define DISK     (2 * MiB)
#define MAX_DISK (4 * MiB)
#define NAMES    4
#define STEPS    150
#define SECTOR   512

/* -- Histories ----------------------------------------------------------- */

/* A bitmap: a byte for each sector, so granules are those of the model. */
struct shade {
    bool used, enabled;
    int64_t granularity;
    uint8_t *bits; /* MAX_DISK / granularity */
};

struct history {
    struct node *node;
    int64_t disk;
    struct shade shades[NAMES];
};

static const char *const names[NAMES] = {"monday", "b", "long name", "x"};

static int64_t pick(int64_t end)
{
    return end <= 1 ? 0 : g_test_rand_int_range(0, (gint32)end);
}

static int64_t bits_of(const struct history *h, const struct shade *m)
{
    return (h->disk + m->granularity - 1) / m->granularity;
}

static void expect_shade(struct history *h, int i)
{
    const struct shade *m = &h->shades[i];
    int64_t n = 0;
    g_autofree uint8_t *bits = bits_get(h->node, names[i], &n);

    g_assert_cmpint(bits != NULL, ==, m->used);
    if (m->used) {
        g_assert_cmpint(n, ==, bits_of(h, m));
        for (int64_t k = 0; k < n; k++) {
            if (bits[k] != m->bits[k]) {
                g_error("bit %" PRId64 " of '%s' is %d", k, names[i], bits[k]);
            }
        }
    }
}

static void expect_all(struct history *h)
{
    for (int i = 0; i < NAMES; i++) {
        expect_shade(h, i);
    }
}

static void shade_range(struct history *h, int64_t offset, int64_t bytes)
{
    for (int i = 0; i < NAMES; i++) {
        struct shade *m = &h->shades[i];
        int64_t first, last;

        if (m->used && m->enabled && bytes > 0) {
            first = offset / m->granularity;
            last = (offset + bytes - 1) / m->granularity;
            memset(m->bits + first, 1, (size_t)(last - first + 1));
        }
    }
}

static void do_request(struct history *h)
{
    int64_t offset = pick(h->disk / SECTOR) * SECTOR;
    int64_t bytes = min_i64((1 + pick(200)) * SECTOR, h->disk - offset);
    int64_t cluster = node_limits(h->node)->discard_align;

    switch (pick(4)) {
    case 0:
        g_assert_cmpint(rig_zero(h->node, offset, bytes, REQ_MAY_UNMAP), ==, 0);
        break;
    case 1: /* what is no whole cluster is not discarded */
        offset = align_down(offset, cluster);
        bytes = min_i64(align_up(bytes, cluster), h->disk - offset);
        g_assert_cmpint(rig_discard(h->node, offset, bytes), ==, 0);
        break;
    default:
        g_assert_cmpint(rig_write(h->node, offset, bytes, 'x', 0), ==, 0);
        break;
    }
    shade_range(h, offset, bytes);
}

static void do_resize(struct history *h)
{
    int64_t old = h->disk;

    h->disk = (1 + pick(MAX_DISK / SECTOR)) * SECTOR;
    g_assert_cmpint(rig_truncate(h->node, h->disk, PREALLOC_OFF), ==, 0);
    for (int i = 0; i < NAMES && h->disk < old; i++) {
        struct shade *m = &h->shades[i];
        int64_t n = m->used ? bits_of(h, m) : 0;

        if (m->used) {
            memset(m->bits + n, 0, (size_t)(MAX_DISK / m->granularity - n));
        }
    }
}

static void shade_add(struct history *h, int i)
{
    struct shade *m = &h->shades[i];

    m->granularity = INT64_C(1) << (9 + pick(9));
    m->enabled = pick(4) > 0;
    m->used = true;
    m->bits = g_malloc0((gsize)(MAX_DISK / m->granularity));
    bits_change(h->node, (struct bits_change){.verb = BITS_ADD,
                                              .name = names[i],
                                              .granularity = m->granularity,
                                              .disabled = !m->enabled});
}

static void shade_remove(struct history *h, int i)
{
    g_clear_pointer(&h->shades[i].bits, g_free);
    h->shades[i].used = false;
    bits_change(h->node,
                (struct bits_change){.verb = BITS_REMOVE, .name = names[i]});
}

/* Adds to granules of @to those that have a granule of @from in them. */
static void shade_merge(struct history *h, int to, int from)
{
    struct shade *t = &h->shades[to], *f = &h->shades[from];

    if (!f->used) {
        return;
    }
    bits_change(h->node, (struct bits_change){.verb = BITS_MERGE,
                                              .name = names[to],
                                              .src_name = names[from]});
    for (int64_t k = 0; k < bits_of(h, f); k++) {
        int64_t first = k * f->granularity;
        int64_t end = min_i64(first + f->granularity, h->disk);

        for (int64_t at = first; f->bits[k] && at < end; at += SECTOR) {
            t->bits[at / t->granularity] = 1;
        }
    }
}

static void do_change(struct history *h)
{
    int i = (int)pick(NAMES);
    struct shade *m = &h->shades[i];
    struct bits_change c = {.name = names[i]};

    if (!m->used) {
        shade_add(h, i);
        return;
    }
    switch (pick(6)) {
    case 0:
        shade_remove(h, i);
        break;
    case 1:
        c.verb = BITS_CLEAR;
        memset(m->bits, 0, (size_t)(MAX_DISK / m->granularity));
        bits_change(h->node, c);
        break;
    case 2:
    case 3:
        m->enabled = !m->enabled;
        c.verb = m->enabled ? BITS_ENABLE : BITS_DISABLE;
        bits_change(h->node, c);
        break;
    default:
        shade_merge(h, i, (int)pick(NAMES));
        break;
    }
}

static void reopen(struct history *h)
{
    g_assert_cmpint(rig_close(h->node), ==, 0);
    rig_check("b.qcow2");
    h->node = rig_open("b.qcow2", "driver=qcow2", NODE_RDWR | NODE_UNMAP);
}

static void step(struct history *h)
{
    switch (pick(16)) {
    case 0:
        do_resize(h);
        break;
    case 1:
        reopen(h);
        break;
    case 2:
        bits_change(h->node, (struct bits_change){.verb = BITS_STORE});
        break;
    case 3:
    case 4:
    case 5:
        do_change(h);
        break;
    default:
        do_request(h);
        break;
    }
}

static void test_history(gconstpointer kind)
{
    struct history h = {.disk = DISK};

    rig_create("b.qcow2", DISK, kind);
    h.node = rig_open("b.qcow2", "driver=qcow2", NODE_RDWR | NODE_UNMAP);
    for (int i = 0; i < STEPS; i++) {
        step(&h);
        expect_all(&h);
    }
    reopen(&h);
    expect_all(&h);
    g_assert_cmpint(rig_close(h.node), ==, 0);
    for (int i = 0; i < NAMES; i++) {
        g_free(h.shades[i].bits);
    }
}

/* -- One image with a bitmap --------------------------------------------- */

static struct node *open_rdwr(void)
{
    return rig_open("i.qcow2", "driver=qcow2", NODE_RDWR);
}

/* "b" has bits 0 and 1 set. */
static struct node *make_image(void)
{
    struct node *node;

    rig_create("i.qcow2", MiB, "");
    node = open_rdwr();
    bits_change(node, (struct bits_change){.verb = BITS_ADD, .name = "b"});
    g_assert_cmpint(rig_write(node, 0, 65537, 'x', 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    return open_rdwr();
}

static bool is_usable(const char *name)
{
    struct node *node = rig_open("i.qcow2", "driver=qcow2", 0);
    int64_t n;
    g_autofree uint8_t *bits = bits_get(node, name, &n);

    g_assert_cmpint(rig_close(node), ==, 0);
    return bits != NULL;
}

/* While an image is open, a copy of its file is what a crash would leave. */
static bool is_usable_after_crash(void)
{
    g_assert_cmpint(rig_shell(NULL, "mv i.qcow2 open && cp open i.qcow2"), ==,
                    0);
    bool usable = is_usable("b");

    g_assert_cmpint(rig_shell(NULL, "mv open i.qcow2"), ==, 0);
    return usable;
}

static void test_marks(void)
{
    struct node *node = make_image();

    /* Opened, but not written to. */
    g_assert_true(is_usable_after_crash());
    g_assert_cmpint(rig_write(node, 0, 512, 'y', 0), ==, 0);
    g_assert_false(is_usable_after_crash());
    bits_change(node, (struct bits_change){.verb = BITS_STORE});
    g_assert_true(is_usable_after_crash());
    g_assert_cmpint(rig_zero(node, 0, 512, 0), ==, 0);
    g_assert_false(is_usable_after_crash());
    g_assert_cmpint(rig_close(node), ==, 0);
    g_assert_true(is_usable("b"));
}

/* No data are written before the marks are durable: in one epoch, a crash
 * could leave those and lose these. */
static void test_marks_are_durable(void)
{
    struct node *node = make_image();

    g_assert_cmpint(rig_close(node), ==, 0);
    node = rig_open("i.qcow2",
                    "driver=qcow2,file.driver=blkdebug,"
                    "file.inject-error.0.event=none,"
                    "file.inject-error.0.iotype=flush",
                    NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 512, 'y', 0), ==, -EIO);
    g_assert_cmpint(rig_close(node), ==, -EIO);
}

/* The image of make_image(), where the first call of a kind fails. */
static struct node *open_failing(const char *iotype)
{
    g_autofree char *text = g_strdup_printf("driver=qcow2,file.driver=blkdebug,"
                                            "file.inject-error.0.event=none,"
                                            "file.inject-error.0.once=on,"
                                            "file.inject-error.0.iotype=%s",
                                            iotype);

    g_assert_cmpint(rig_close(make_image()), ==, 0);
    return rig_open("i.qcow2", text, NODE_RDWR);
}

/* Marks that could not be written are written before the next data. */
static void test_marks_are_tried_again(void)
{
    struct node *node = open_failing("write");

    g_assert_cmpint(rig_write(node, 0, 512, 'y', 0), ==, -EIO);
    g_assert_true(is_usable_after_crash());
    g_assert_cmpint(rig_write(node, 0, 512, 'y', 0), ==, 0);
    g_assert_false(is_usable_after_crash());
    g_assert_cmpint(rig_close(node), ==, 0);
    g_assert_true(is_usable("b"));
}

/* When they cannot be stored, nothing has changed: what was to be written to
 * is free, and the next time they are stored. */
static void test_store_fails_once(gconstpointer iotype)
{
    const struct bits_change store = {.verb = BITS_STORE};
    struct node *node = open_failing(iotype);
    g_autofree char *message = NULL;

    bits_change(node, (struct bits_change){.verb = BITS_CLEAR, .name = "b"});
    message = bits_change_error(node, store);
    bits_change(node, store);
    g_assert_cmpint(rig_write(node, 256 * KiB, 512 * KiB, 'z', 0), ==, 0);
    rig_expect(node, 256 * KiB, 512 * KiB, 'z');
    g_assert_cmpint(rig_close(node), ==, 0);
    g_assert_true(is_usable("b"));
    rig_check("i.qcow2");
}

/* One that does not record is right whatever is written. */
static void test_disabled(void)
{
    struct node *node = make_image();

    bits_change(node, (struct bits_change){.verb = BITS_DISABLE, .name = "b"});
    bits_change(node, (struct bits_change){.verb = BITS_STORE});
    g_assert_cmpint(rig_write(node, 0, 512, 'y', 0), ==, 0);
    g_assert_true(is_usable_after_crash());
    /* Unless the disk changes its size, and it does not yet. */
    g_assert_cmpint(rig_truncate(node, 2 * MiB, PREALLOC_OFF), ==, 0);
    g_assert_false(is_usable_after_crash());
    g_assert_cmpint(rig_close(node), ==, 0);
    g_assert_true(is_usable("b"));
}

static void fails(struct node *node, struct bits_change change,
                  const char *want)
{
    g_autofree char *message = bits_change_error(node, change);

    if (!strstr(message, want)) {
        g_error("'%s' does not say '%s'", message, want);
    }
}

static void test_refused(void)
{
    struct node *node = make_image();
    g_autofree char *name = g_strnfill(1024, 'n');
    struct bits_change c = {.verb = BITS_ADD, .name = name};

    fails(node, c, "1023");
    name[1023] = 0;
    bits_change(node, c);
    c = (struct bits_change){.verb = BITS_ADD, .name = ""};
    fails(node, c, "needs a name");
    c.name = "b";
    fails(node, c, "already");
    c.name = "c";
    c.granularity = 256;
    fails(node, c, "512 to 2G");
    c.granularity = 1000;
    fails(node, c, "512 to 2G");
    c.granularity = INT64_C(1) << 32;
    fails(node, c, "512 to 2G");
    fails(node, (struct bits_change){.verb = BITS_REMOVE, .name = "c"},
          "no bitmap 'c'");
    fails(
        node,
        (struct bits_change){.verb = BITS_MERGE, .name = "b", .src_name = "c"},
        "no bitmap 'c'");
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("i.qcow2");
}

/* 512 MiB of bits are possible, and no memory is taken for them. */
static void test_large(void)
{
    struct node *node;
    struct bits_change c = {.verb = BITS_ADD, .name = "b", .granularity = 512};

    rig_create("i.qcow2", INT64_C(2) << 40, "");
    node = open_rdwr();
    bits_change(node, c);
    g_assert_cmpint(rig_write(node, (INT64_C(2) << 40) - 512, 512, 'x', 0), ==,
                    0);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("i.qcow2");

    node = open_rdwr();
    g_assert_cmpint(rig_truncate(node, INT64_C(3) << 40, PREALLOC_OFF), <, 0);
    c.verb = BITS_REMOVE;
    bits_change(node, c);
    g_assert_cmpint(rig_truncate(node, INT64_C(3) << 40, PREALLOC_OFF), ==, 0);
    c.verb = BITS_ADD;
    fails(node, c, "too many bits");
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("i.qcow2");
}

static void test_version_2(void)
{
    struct node *node;

    rig_create("i.qcow2", MiB, "compat=0.10");
    node = open_rdwr();
    fails(node, (struct bits_change){.verb = BITS_ADD, .name = "b"},
          "version 2");
    g_assert_cmpint(rig_close(node), ==, 0);
}

/* Overwrites the first entry of the table of "b", the last but one of the
 * clusters that were stored. */
static void damage_table(const char *entry)
{
    g_assert_cmpint(
        rig_shell(NULL,
                  "python3 - <<'PY'\n"
                  "import struct\n"
                  "f = open('i.qcow2', 'r+b')\n"
                  "head = f.read(65536)\n"
                  "at = head.index(struct.pack('>I', 0x23852875)) + 24\n"
                  "f.seek(struct.unpack_from('>Q', head, at)[0])\n"
                  "f.seek(struct.unpack('>Q', f.read(8))[0])\n"
                  "f.write(bytes.fromhex('%s'))\n"
                  "PY",
                  entry),
        ==, 0);
}

/* Bits that are said to lie where a table is, or nowhere, are lost; the table
 * is not, nor is what is written. */
static void test_damaged(gconstpointer entry)
{
    struct node *node = make_image();

    g_assert_cmpint(rig_close(node), ==, 0);
    damage_table(entry);
    node = open_rdwr();
    g_assert_cmpint(rig_write(node, 0, 512, 'y', 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    g_assert_false(is_usable("b"));

    node = open_rdwr();
    rig_expect(node, 0, 512, 'y');
    bits_change(node, (struct bits_change){.verb = BITS_REMOVE, .name = "b"});
    g_assert_cmpint(rig_close(node), ==, 0);
    if (rig_has_qemu()) { /* 3: the bits leaked */
        g_assert_cmpint(rig_shell(NULL, "qemu-img check -q i.qcow2 2>&1"), ==,
                        3);
    }
}

static void access_image(int64_t offset, void *buf, size_t n, bool write)
{
    g_autofree char *path = rig_path("i.qcow2");
    int fd = open(path, O_RDWR | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write ? pwrite(fd, buf, n, offset)
                          : pread(fd, buf, n, offset),
                    ==, (ssize_t)n);
    g_assert_cmpint(close(fd), ==, 0);
}

/* One with extra data that nobody knows, which may not be used: what is written
 * is not recorded in it, and it says so for ever. */
static void test_unknown_extra(void)
{
    struct node *node = make_image();
    uint8_t head[144], entry[40] = {0};
    int64_t directory;

    g_assert_cmpint(rig_close(node), ==, 0);
    access_image(0, head, sizeof(head), false);
    g_assert_cmphex(load_be32(head + 112), ==, 0x23852875); /* bitmaps */
    directory = (int64_t)load_be64(head + 136);
    access_image(directory, entry, 24, false);
    store_be32(entry + 20, 8); /* bytes of extra data, before the name */
    entry[32] = 'b';
    access_image(directory, entry, sizeof(entry), true);
    store_be64(head + 128, sizeof(entry));
    access_image(0, head, sizeof(head), true);

    g_assert_false(is_usable("b"));
    node = open_rdwr();
    g_assert_cmpint(rig_write(node, 0, 512, 'y', 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    access_image(0, head, sizeof(head), false);
    directory = (int64_t)load_be64(head + 136);
    access_image(directory, entry, sizeof(entry), false);
    g_assert_cmphex(load_be32(entry + 12), ==,
                    QCOW2_BITMAP_AUTO | QCOW2_BITMAP_IN_USE);
    g_assert_cmpuint(load_be32(entry + 20), ==, 8);
}

/* A disk of another length than its bitmap: who changed that did not keep the
 * bitmap.  It is not used, and what is written is there. */
static void test_other_length(void)
{
    struct node *node;
    GArray *list;

    rig_create("i.qcow2", 512 * MiB, "");
    node = open_rdwr();
    bits_change(node, (struct bits_change){
                          .verb = BITS_ADD, .name = "b", .granularity = 512});
    g_assert_cmpint(rig_close(node), ==, 0);
    /* The size, in the header: 256 MiB. */
    g_assert_cmpint(rig_shell(NULL, "printf '\\20' | dd of=i.qcow2 bs=1 "
                                    "seek=28 conv=notrunc status=none"),
                    ==, 0);
    node = open_rdwr();
    g_assert_cmpint(rig_write(node, 0, 512, 'y', 0), ==, 0);
    list = bits_list(node);
    g_assert_cmpuint(list->len, ==, 0);
    g_array_unref(list);
    g_assert_cmpint(rig_close(node), ==, 0);
    node = open_rdwr();
    rig_expect(node, 0, 512, 'y');
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void test_merge_from_other(void)
{
    struct node *node = make_image(), *other;
    int64_t n;
    g_autofree uint8_t *bits = NULL;

    rig_create("o.qcow2", MiB, "cluster_size=512");
    other = rig_open("o.qcow2", "driver=qcow2", NODE_RDWR);
    bits_change(other, (struct bits_change){
                           .verb = BITS_ADD, .name = "o", .granularity = 4096});
    bits_change(other, (struct bits_change){.verb = BITS_MERGE,
                                            .name = "o",
                                            .src = node,
                                            .src_name = "b"});
    bits = bits_get(other, "o", &n);
    g_assert_cmpint(n, ==, 256);
    for (int64_t i = 0; i < n; i++) {
        g_assert_cmpint(bits[i], ==, i < 32);
    }
    g_assert_cmpint(rig_truncate(node, 2 * MiB, PREALLOC_OFF), ==, 0);
    fails(other,
          (struct bits_change){
              .verb = BITS_MERGE, .name = "o", .src = node, .src_name = "b"},
          "cannot be merged");
    g_assert_cmpint(rig_close(other), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("o.qcow2");
}

static void add_tests(void)
{
    static const char *const kinds[] = {
        "cluster_size=512", "cluster_size=4k,lazy_refcounts=on",
        "cluster_size=64k", "extended_l2=on,cluster_size=16k",
        "refcount_bits=1,cluster_size=1k"};

    rig_ignore_log(); /* of what is lost */
    driver_register(&driver_blkdebug);
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        rig_add_row("/qcow2-bitmap/history", kinds[i], kinds[i], test_history);
    }
    g_test_add_func("/qcow2-bitmap/marks", test_marks);
    g_test_add_func("/qcow2-bitmap/disabled", test_disabled);
    g_test_add_func("/qcow2-bitmap/refused", test_refused);
    g_test_add_func("/qcow2-bitmap/large", test_large);
    g_test_add_func("/qcow2-bitmap/version-2", test_version_2);
    g_test_add_data_func("/qcow2-bitmap/damaged/metadata", "0000000000010000",
                         test_damaged);
    g_test_add_data_func("/qcow2-bitmap/damaged/nowhere", "0000100000000000",
                         test_damaged);
    g_test_add_data_func("/qcow2-bitmap/damaged/reserved", "0000000000000002",
                         test_damaged);
    g_test_add_func("/qcow2-bitmap/unknown-extra", test_unknown_extra);
    g_test_add_func("/qcow2-bitmap/other-length", test_other_length);
    g_test_add_func("/qcow2-bitmap/merge-from-other", test_merge_from_other);
    g_test_add_func("/qcow2-bitmap/marks-are-durable", test_marks_are_durable);
    g_test_add_func("/qcow2-bitmap/marks-are-tried-again",
                    test_marks_are_tried_again);
    g_test_add_data_func("/qcow2-bitmap/store-fails/write", "write",
                         test_store_fails_once);
    g_test_add_data_func("/qcow2-bitmap/store-fails/flush", "flush",
                         test_store_fails_once);
}

int main(int argc, char **argv)
{
    return rig_main(argc, argv, add_tests);
}
