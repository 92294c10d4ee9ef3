/* SPDX-License-Identifier: MIT */
/*
 * qcow2: what a check finds in images that were damaged on purpose, and what
 * repair makes of it.
 *
 * All images are made alike (clusters of 64 KiB, see make_image()), so fields
 * are where the table of damages says.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/endian.h"
#include "block/driver.h"
#include "format/blkdebug.h"
#include "format/qcow2/driver.h"
#include "format/qcow2/entry.h"
#include "qcow2-rig.h"

#define DISK MiB

/* Where things are in an image of make_image(). */
enum {
    HEADER = 0,
    REFTABLE = 0x10000,
    REFBLOCK = 0x20000,
    L1 = 0x30000,
    L2 = 0x40000, /* maps three clusters of data */
    DATA = 0x50000,
    FILE_END = 0x100000,
};

#define INCOMPATIBLE 72 /* in the header */
#define DIRTY        1
#define CORRUPT      2
/* Behind the names of features. */
#define EXTENSIONS_END 504

static void poke(const char *name, int64_t offset, uint64_t value, int bytes)
{
    g_autofree char *path = rig_path(name);
    uint8_t buf[8];
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    store_be64(buf, value);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pwrite(fd, buf + 8 - bytes, (size_t)bytes, offset), ==,
                    bytes);
    g_assert_cmpint(close(fd), ==, 0);
}

static uint64_t peek(const char *name, int64_t offset)
{
    g_autofree char *path = rig_path(name);
    uint8_t buf[8];
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pread(fd, buf, sizeof(buf), offset), ==, sizeof(buf));
    g_assert_cmpint(close(fd), ==, 0);
    return load_be64(buf);
}

/* Three clusters of data, 1, 2 and 3, from the beginning of the disk on. */
static void make_image(const char *name, const char *text)
{
    g_autofree char *path = rig_path(name);
    struct node *node;

    rig_create(name, DISK, text);
    node = rig_open(name, NULL, NODE_RDWR);
    for (int i = 0; i < 3; i++) {
        g_assert_cmpint(rig_write(node, i * 64 * KiB, 64 * KiB, i + 1, 0), ==,
                        0);
    }
    g_assert_cmpint(rig_close(node), ==, 0);
    g_assert_cmpint(truncate(path, FILE_END), ==, 0); /* room for leaks */
}

static void expect_data(const char *name)
{
    struct node *node = rig_open(name, NULL, 0);

    for (int i = 0; i < 3; i++) {
        rig_expect(node, i * 64 * KiB, 64 * KiB, i + 1);
    }
    g_assert_cmpint(rig_close(node), ==, 0);
}

/* -- A check ------------------------------------------------------------- */

struct call {
    const char *name;
    unsigned fix;
    struct image_check r;
    GString *lines;
    GError *err;
    int rc;
};

static void collect(void *opaque, const char *line)
{
    g_string_append_printf(opaque, "%s\n", line);
}

static void check_entry(void *opaque)
{
    struct call *c = opaque;
    g_autofree char *path = rig_path(c->name);
    struct options *o = options_new();
    struct node *node;

    co_assert_role();
    options_set(o, "driver", "qcow2");
    node = node_co_open_file(path, o, NODE_CHECK | (c->fix ? NODE_RDWR : 0),
                             &c->err); /* yields */
    g_assert_no_error(c->err);
    c->r.report = collect;
    c->r.opaque = c->lines;
    c->rc = driver_qcow2.image->co_check(node, c->fix, &c->r, &c->err);
    g_assert_cmpint(node_co_unref(node), ==, 0); /* yields */
}

/* Checks @name; g_string_free() the lines. */
static struct call check(const char *name, unsigned fix)
{
    struct call c = {
        .name = name,
        .fix = fix,
        .lines = g_string_new(NULL),
    };

    rig_run(check_entry, &c);
    return c;
}

static void expect_clean(const char *name)
{
    struct call c = check(name, 0);

    g_assert_no_error(c.err);
    g_assert_cmpstr(c.lines->str, ==, "");
    g_assert_cmpint(c.r.corruptions, ==, 0);
    g_assert_cmpint(c.r.leaks, ==, 0);
    g_assert_cmpint(c.r.check_errors, ==, 0);
    g_string_free(c.lines, TRUE);
    rig_check(name);
}

/* -- Damages ------------------------------------------------------------- */

static const unsigned all = IMAGE_FIX_LEAKS | IMAGE_FIX_ERRORS;

static const struct damage {
    const char *name;
    int64_t offset;
    uint64_t value;
    int bytes;
    int64_t corruptions, leaks;
    bool lasts; /* cannot be repaired */
    const char *line;
} damages[] = {
    {"leak", REFBLOCK + 2 * 12, 1, 2, 0, 1, false,
     "Leaked cluster 12 refcount=1 reference=0\n"},
    {"count-too-high", REFBLOCK + 2 * 6, 3, 2, 1, 1, false,
     "Leaked cluster 6 refcount=3 reference=1\n"},
    {"count-missing", REFBLOCK + 2 * 6, 0, 2, 2, 0, false,
     "ERROR cluster 6 refcount=0 reference=1\n"},
    {"used-twice", L2 + 8, UINT64_C(0x8000000000050000), 8, 1, 1, false,
     "ERROR cluster 5 refcount=1 reference=2\n"},
    {"not-marked", L2, 0x50000, 8, 1, 0, false,
     "ERROR OFLAG_COPIED data cluster: l2_entry=50000 refcount=1\n"},
    {"l1-not-marked", L1, 0x40000, 8, 1, 0, false,
     "ERROR OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=40000 refcount=1\n"},
    {"data-not-aligned", L2 + 16, UINT64_C(0x8000000000070200), 8, 2, 0, true,
     "ERROR offset=70200: Data cluster is not properly aligned; L2 entry "
     "corrupted.\n"},
    {"zeroes-not-aligned", L2 + 16, UINT64_C(0x8000000000070201), 8, 2, 0,
     false,
     "ERROR offset=70200: Preallocated cluster is not properly aligned; L2 "
     "entry corrupted.\n"},
    {"data-behind-end", L2 + 16, UINT64_C(0x8000000100000000), 8, 2, 1, true,
     "ERROR: counting reference for region exceeding the end of the file by "
     "one cluster or more: offset 0x100000000 size 0x10000\n"},
    {"data-at-end", L2 + 16, UINT64_C(0x8000000000100000), 8, 2, 1, true,
     "ERROR: counting reference for region exceeding the end of the file by "
     "one cluster or more: offset 0x100000 size 0x10000\n"},
    {"l2-not-aligned", L1, UINT64_C(0x8000000000040200), 8, 129, 2, true,
     "ERROR l2_offset=40200: Table is not cluster aligned; L1 entry "
     "corrupted\n"},
    {"l1-reserved", L1, UINT64_C(0x8000000000040001), 8, 1, 0, true,
     "ERROR found L1 entry with reserved bits set: 1\n"},
    {"l2-reserved", L2, UINT64_C(0x8000000000050010), 8, 1, 0, true,
     "ERROR found l2 entry with reserved bits set: 8000000000050010\n"},
    {"no-block", REFTABLE, 0, 8, 11, 0, false,
     "ERROR cluster 7 refcount=0 reference=1\n"},
    {"block-not-aligned", REFTABLE, 0x20200, 8, 1, 0, false,
     "ERROR refcount block 0 is not cluster aligned; refcount table entry "
     "corrupted\n"},
    {"block-is-data", REFTABLE, 0x50000, 8, 5, 16, false,
     "ERROR refcount block 0 refcount=2\n"},
    {"block-reserved", REFTABLE, 0x20001, 8, 1, 0, false,
     "ERROR refcount table entry 0 has reserved bits set\n"},
    {"extensions-end-too-long", EXTENSIONS_END + 4, 0xffffffff, 4, 1, 0, false,
     "ERROR the end of the header extensions is too long\n"},
    {"block-outside", REFTABLE + 8, 0x100000, 8, 1, 0, false,
     "ERROR refcount block 1 is outside image\n"},
};

static void test_damage(gconstpointer opaque)
{
    const struct damage *d = opaque;
    struct call c;

    make_image("d.qcow2", NULL);
    expect_clean("d.qcow2");
    poke("d.qcow2", d->offset, d->value, d->bytes);
    c = check("d.qcow2", 0);
    g_assert_no_error(c.err);
    if (!strstr(c.lines->str, d->line)) {
        g_error("'%s' is not in:\n%s", d->line, c.lines->str);
    }
    g_assert_cmpint(c.r.corruptions, ==, d->corruptions);
    g_assert_cmpint(c.r.leaks, ==, d->leaks);
    g_assert_cmpint(c.r.corruptions_fixed + c.r.leaks_fixed, ==, 0);
    g_string_free(c.lines, TRUE);

    c = check("d.qcow2", all);
    g_assert_no_error(c.err);
    g_string_free(c.lines, TRUE);
    if (d->lasts) {
        g_assert_cmpint(c.r.corruptions, >, 0);
        return;
    }
    g_assert_cmpint(c.r.corruptions + c.r.leaks + c.r.check_errors, ==, 0);
    g_assert_cmpint(c.r.corruptions_fixed + c.r.leaks_fixed, >, 0);
    expect_clean("d.qcow2");
}

/* A snapshot whose L1 table no file can have. */
static void test_snapshot_beyond(void)
{
    const int64_t table = 0xf0000;
    struct call c;

    make_image("s.qcow2", NULL);
    poke("s.qcow2", 60, 1, 4);                    /* one snapshot */
    poke("s.qcow2", 64, (uint64_t)table, 8);      /* is here */
    poke("s.qcow2", table, UINT64_C(1) << 63, 8); /* its L1 table */
    poke("s.qcow2", table + 8, 1, 4);             /* has one entry */
    poke("s.qcow2", table + 12, 1 << 16 | 1, 4);  /* id, name */
    poke("s.qcow2", table + 36, 16, 4);           /* extra data: */
    poke("s.qcow2", table + 48, DISK, 8);         /* size of the disk */
    poke("s.qcow2", table + 56, '1' << 8 | 's', 2);
    c = check("s.qcow2", 0);
    g_assert_no_error(c.err);
    g_assert_nonnull(strstr(c.lines->str,
                            "ERROR snapshot 1 (s) l1_offset="
                            "0x8000000000000000: L1 table is where no file "
                            "can reach"));
    g_string_free(c.lines, TRUE);
}

/* Counts of one bit: a second user of a cluster cannot be counted. */
static void test_count_overflows(void)
{
    struct call c;

    make_image("v.qcow2", "refcount_bits=1");
    expect_clean("v.qcow2");
    poke("v.qcow2", L2 + 8, UINT64_C(0x8000000000000000) | DATA, 8);
    c = check("v.qcow2", 0);
    g_assert_no_error(c.err);
    g_assert_nonnull(
        strstr(c.lines->str, "ERROR: overflow cluster offset=0x50000\n"));
    g_assert_cmpint(c.r.corruptions, >, 0);
    g_string_free(c.lines, TRUE);
}

/* What is in a data file has no counts, and is to be marked as if it had. */
static void test_marks_of_data_file(void)
{
    struct call c;

    make_image("x.qcow2", "data_file=x.data");
    expect_clean("x.qcow2");
    poke("x.qcow2", L2 + 8, 0x10000, 8);
    c = check("x.qcow2", 0);
    g_assert_no_error(c.err);
    g_assert_cmpstr(
        c.lines->str, ==,
        "ERROR OFLAG_COPIED data cluster: l2_entry=10000 refcount=1\n");
    g_assert_cmpint(c.r.corruptions, ==, 1);
    g_string_free(c.lines, TRUE);

    c = check("x.qcow2", all);
    g_assert_no_error(c.err);
    g_assert_cmpint(c.r.corruptions_fixed, ==, 1);
    g_string_free(c.lines, TRUE);
    expect_data("x.qcow2");
    expect_clean("x.qcow2");
}

/* -- Repair -------------------------------------------------------------- */

static void test_repair_keeps_data(void)
{
    static const int64_t wipe[] = {REFTABLE, REFBLOCK, REFBLOCK + 8};

    for (size_t i = 0; i < G_N_ELEMENTS(wipe); i++) {
        struct call c;

        make_image("k.qcow2", NULL);
        poke("k.qcow2", wipe[i], 0, 8);
        c = check("k.qcow2", all);
        g_assert_no_error(c.err);
        g_string_free(c.lines, TRUE);
        expect_data("k.qcow2");
        expect_clean("k.qcow2");
    }
}

/* The first change makes it an image that others open. */
static void test_extensions_end(void)
{
    struct node *node;

    make_image("e.qcow2", NULL);
    g_assert_cmphex(peek("e.qcow2", EXTENSIONS_END), ==, 0);
    poke("e.qcow2", EXTENSIONS_END + 4, 0x10000, 4);
    node = rig_open("e.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 512, 1, 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    g_assert_cmphex(peek("e.qcow2", EXTENSIONS_END), ==, 0);
    expect_clean("e.qcow2");
    expect_data("e.qcow2");
}

static void test_leaks_alone(void)
{
    struct call c;

    make_image("l.qcow2", NULL);
    poke("l.qcow2", REFBLOCK + 2 * 12, 1, 2);
    poke("l.qcow2", L2, 0x50000, 8);
    c = check("l.qcow2", IMAGE_FIX_LEAKS);
    g_assert_no_error(c.err);
    g_assert_cmpint(c.r.leaks_fixed, ==, 1);
    g_assert_cmpint(c.r.leaks, ==, 0);
    g_string_free(c.lines, TRUE);

    /* Counts that cannot be trusted are not touched. */
    make_image("l.qcow2", NULL);
    poke("l.qcow2", REFTABLE, 0x20200, 8);
    c = check("l.qcow2", IMAGE_FIX_LEAKS);
    g_assert_cmpint(c.rc, <, 0);
    g_assert_nonnull(strstr(c.err->message, "check -r all"));
    g_error_free(c.err);
    g_string_free(c.lines, TRUE);
    g_assert_cmpuint(peek("l.qcow2", REFTABLE), ==, 0x20200);
}

static void test_marks_go_when_all_is_well(void)
{
    struct call c;

    make_image("m.qcow2", NULL);
    poke("m.qcow2", INCOMPATIBLE, DIRTY | CORRUPT, 8);
    c = check("m.qcow2", all);
    g_assert_no_error(c.err);
    g_string_free(c.lines, TRUE);
    g_assert_cmpuint(peek("m.qcow2", INCOMPATIBLE), ==, 0);

    poke("m.qcow2", INCOMPATIBLE, CORRUPT, 8);
    poke("m.qcow2", L2 + 16, UINT64_C(0x8000000000070200), 8);
    c = check("m.qcow2", all);
    g_assert_no_error(c.err);
    g_string_free(c.lines, TRUE);
    g_assert_cmpuint(peek("m.qcow2", INCOMPATIBLE), ==, CORRUPT);
}

static void test_opening_counts_again(void)
{
    struct node *node;

    make_image("o.qcow2", "lazy_refcounts=on");
    poke("o.qcow2", INCOMPATIBLE, DIRTY, 8);
    poke("o.qcow2", REFBLOCK + 2 * 7, 0, 2);
    node = rig_open("o.qcow2", NULL, 0); /* reading needs no counts */
    rig_expect(node, 2 * 64 * KiB, 64 * KiB, 3);
    g_assert_cmpint(rig_close(node), ==, 0);
    g_assert_cmpuint(peek("o.qcow2", INCOMPATIBLE), ==, DIRTY);

    node = rig_open("o.qcow2", NULL, NODE_RDWR);
    g_assert_cmpuint(peek("o.qcow2", INCOMPATIBLE), ==, 0);
    g_assert_cmpint(rig_write(node, 512 * KiB, 64 * KiB, 9, 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    expect_data("o.qcow2");
    expect_clean("o.qcow2");
}

/* Room for new counts is only behind all that is in use, as after a crash that
 * came before new refcount blocks were written. */
static void make_uncounted(const char *name)
{
    g_autofree char *path = rig_path(name);

    make_image(name, "lazy_refcounts=on");
    g_assert_cmpint(truncate(path, DATA + 3 * 64 * KiB), ==, 0);
    poke(name, INCOMPATIBLE, DIRTY, 8);
    poke(name, REFTABLE, 0, 8);
    poke(name, L2 + 3 * 8, QCOW2_COPIED | REFBLOCK, 8);
}

/* The file is not cut before counts that were made anew at its end. */
static void test_new_counts_stay(void)
{
    struct node *node;

    make_uncounted("s.qcow2");
    node = rig_open("s.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 512 * KiB, 64 * KiB, 9, 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    expect_data("s.qcow2");
    expect_clean("s.qcow2");
    rig_check("s.qcow2");
}

/* While an image is being written lazily: what a crash would leave. */
static void test_tables_are_counted_at_once(void)
{
    struct node *node;

    rig_create("t.qcow2", DISK, "lazy_refcounts=on");
    node = rig_open("t.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 64 * KiB, 1, 0), ==, 0);
    g_assert_cmpint(rig_flush(node), ==, 0);
    g_assert_cmpuint(peek("t.qcow2", INCOMPATIBLE), ==, DIRTY);
    g_assert_cmpuint(peek("t.qcow2", L1), ==, QCOW2_COPIED | L2);
    g_assert_cmpuint(peek("t.qcow2", L2), ==, QCOW2_COPIED | DATA);
    /* four counts: of the tables, and of the cluster of data */
    g_assert_cmpuint(peek("t.qcow2", REFBLOCK + 2 * 2), ==,
                     UINT64_C(0x0001000100010000));
    g_assert_cmpint(rig_close(node), ==, 0);
    g_assert_cmpuint(peek("t.qcow2", REFBLOCK + 2 * 2), ==,
                     UINT64_C(0x0001000100010001));
}

/* When the counts cannot be written at last, the mark stays: who opens the
 * image next counts again. */
static void test_mark_stays(void)
{
    struct node *node;

    make_image("f.qcow2", "lazy_refcounts=on");
    node = rig_open("f.qcow2",
                    "driver=qcow2,file.driver=blkdebug,"
                    "file.inject-error.0.event=refblock_update_part,"
                    "file.inject-error.0.iotype=write,"
                    "file.inject-error.0.once=on",
                    NODE_RDWR);
    g_assert_cmpint(rig_write(node, 512 * KiB, 64 * KiB, 9, 0), ==, 0);
    (void)rig_close(node);
    g_assert_cmpuint(peek("f.qcow2", INCOMPATIBLE), ==, DIRTY);
    node = rig_open("f.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_close(node), ==, 0);
    g_assert_cmpuint(peek("f.qcow2", INCOMPATIBLE), ==, 0);
    expect_data("f.qcow2");
    expect_clean("f.qcow2");
}

static void test_opening_gives_up(void)
{
    g_autofree char *message = NULL;

    make_image("g.qcow2", "lazy_refcounts=on");
    poke("g.qcow2", INCOMPATIBLE, DIRTY, 8);
    poke("g.qcow2", L2 + 16, UINT64_C(0x8000000000070200), 8);
    message = rig_open_error("g.qcow2", NULL, NODE_RDWR);
    g_assert_nonnull(strstr(message, "only be read"));
}

/* -- Numbers ------------------------------------------------------------- */

static void test_clusters_are_counted(void)
{
    struct node *node;
    struct call c;

    rig_create("n.qcow2", DISK, NULL);
    node = rig_open("n.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 64 * KiB, 1, 0), ==, 0);
    g_assert_cmpint(rig_write(node, 128 * KiB, 64 * KiB, 1, 0), ==, 0);
    g_assert_cmpint(rig_write(node, 64 * KiB, 64 * KiB, 1, 0), ==, 0);
    g_assert_cmpint(
        rig_write(node, 512 * KiB, 64 * KiB, 7, REQ_WRITE_COMPRESSED), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    c = check("n.qcow2", 0);
    g_assert_no_error(c.err);
    g_assert_cmpint(c.r.total_clusters, ==, 16);
    g_assert_cmpint(c.r.allocated_clusters, ==, 4);
    g_assert_cmpint(c.r.compressed_clusters, ==, 1);
    g_assert_cmpint(c.r.fragmented_clusters, ==, 3);
    g_assert_cmpint(c.r.image_end_offset, ==, 0x90000);
    g_string_free(c.lines, TRUE);
}

static void add_tests(void)
{
    driver_register(&driver_blkdebug);
    for (size_t i = 0; i < G_N_ELEMENTS(damages); i++) {
        rig_add_row("/qcow2-check", damages[i].name, &damages[i], test_damage);
    }
    g_test_add_func("/qcow2-check/repair-keeps-data", test_repair_keeps_data);
    g_test_add_func("/qcow2-check/extensions-end", test_extensions_end);
    g_test_add_func("/qcow2-check/leaks-alone", test_leaks_alone);
    g_test_add_func("/qcow2-check/marks", test_marks_go_when_all_is_well);
    g_test_add_func("/qcow2-check/open-counts-again",
                    test_opening_counts_again);
    g_test_add_func("/qcow2-check/new-counts-stay", test_new_counts_stay);
    g_test_add_func("/qcow2-check/lazy-tables",
                    test_tables_are_counted_at_once);
    g_test_add_func("/qcow2-check/mark-stays", test_mark_stays);
    g_test_add_func("/qcow2-check/open-gives-up", test_opening_gives_up);
    g_test_add_func("/qcow2-check/numbers", test_clusters_are_counted);
    g_test_add_func("/qcow2-check/snapshot-beyond", test_snapshot_beyond);
    g_test_add_func("/qcow2-check/count-overflows", test_count_overflows);
    g_test_add_func("/qcow2-check/data-file-marks", test_marks_of_data_file);
}

int main(int argc, char **argv)
{
    return rig_main(argc, argv, add_tests);
}
