/* SPDX-License-Identifier: MIT */
/*
 * qcow2: crashes.
 *
 * Random histories are written to images through a write log.  Cutting the log
 * anywhere, and losing or tearing any of the writes that no flush had covered
 * by then, or that were in flight, gives what a crash could leave: an image that, if it says that
 * it is dirty, can be repaired, whose reference counts may be too high but
 * with which nothing else is wrong; on which what had been flushed is there,
 * and what had not is old or new.
 *
 * The seed is printed; --seed=R… repeats a run.  COBLK_CRASH_PERCENT is how
 * many of the crashes are tried (50), COBLK_CRASH_HISTORIES how many histories each
 * kind of image gets at least.
 */
#include <stdlib.h>
#include <string.h>

#include "block/driver.h"
#include "crash-history.h"
#include "crash-points.h"
#include "format/qcow2/driver.h"
#include "qcow2-bits.h"
#include "qcow2-rig.h"

#define MIN_CRASHES 4000 /* of all kinds together, if all are tried */
#define MIN_EACH    120

#define SMALL "'l2-cache-size':1024,'refcount-cache-size':1024,"

static const struct kind kinds[] = {
    {"64k", "1.1", "", 768 * KiB, 0, 0},
    {"4k", "1.1,cluster_size=4k", "'pass-discard-other':true,", 512 * KiB, 0,
     0},
    {"512", "1.1,cluster_size=512", SMALL, 256 * KiB, 0, 0},
    {"full", "1.1,cluster_size=512,refcount_bits=64", "", 3 * MiB, 0,
     FULL | NO_RESIZE | NO_SNAPSHOTS},
    {"v2", "0.10,cluster_size=4k", "", 512 * KiB, 0, NO_RESIZE},
    {"one-bit counts", "1.1,cluster_size=512,refcount_bits=1", "", 256 * KiB, 0,
     NO_SNAPSHOTS},
    {"lazy", "1.1,lazy_refcounts=on,cluster_size=4k", "", 512 * KiB, 0, LAZY},
    {"lazy 512", "1.1,lazy_refcounts=on,cluster_size=512", SMALL, 256 * KiB, 0,
     LAZY},
    {"subclusters", "1.1,extended_l2=on,cluster_size=16k", "", 512 * KiB, 0, 0},
    {"zstd", "1.1,compression_type=zstd,cluster_size=8k", "", 512 * KiB, 0, 0},
    {"preallocated", "1.1,preallocation=metadata,cluster_size=4k", "",
     512 * KiB, 0, 0},
    {"falloc", "1.1,preallocation=falloc,cluster_size=4k", "", 512 * KiB, 0, 0},
    {"full 512", "1.1,preallocation=full,cluster_size=512", SMALL, 256 * KiB, 0,
     0},
    {"2m", "1.1,cluster_size=2M", "", 5 * MiB, 0, 0},
    {"2m subclusters with backing", "1.1,extended_l2=on,cluster_size=2M", "",
     5 * MiB, 3 * MiB, 0},
    {"amended", "1.1,cluster_size=512", SMALL, 256 * KiB, 0, AMEND},
    {"amended with backing", "1.1,cluster_size=4k", "", 512 * KiB, 300 * KiB,
     AMEND},
    {"versions", "0.10,cluster_size=512", "", 256 * KiB, 100 * KiB,
     COMPAT | NO_SNAPSHOTS},
    {"versions of snapshots", "1.1,cluster_size=512", "", 128 * KiB, 64 * KiB,
     COMPAT | NO_RESIZE},
    {"backing", "1.1,cluster_size=4k", "", 512 * KiB, 512 * KiB, 0},
    {"short backing", "1.1", "", 768 * KiB, 300 * KiB, 0},
    {"subclusters with long backing", "1.1,extended_l2=on,cluster_size=16k", "",
     512 * KiB, 700 * KiB, 0},
    {"lazy with backing", "1.1,lazy_refcounts=on,cluster_size=512", "",
     256 * KiB, 100 * KiB, LAZY},
    {"data file", "1.1,data_file=o.raw,cluster_size=4k", "", 512 * KiB, 0,
     EXTERNAL | NO_SNAPSHOTS},
    {"raw data file", "1.1,data_file=o.raw,data_file_raw=on,cluster_size=4k",
     "", 512 * KiB, 0, EXTERNAL | NO_SNAPSHOTS},
    {"encrypted",
     "1.1,cluster_size=4k,encrypt.format=aes,encrypt.key-secret=rig",
     "'encrypt.key-secret':'rig',", 512 * KiB, 0, ENCRYPTED},
    {"bitmaps", "1.1,cluster_size=4k", "", 512 * KiB, 0,
     BITMAPS | NO_SNAPSHOTS},
    {"bitmaps 512", "1.1,cluster_size=512", SMALL, 256 * KiB, 0,
     BITMAPS | NO_SNAPSHOTS},
    {"lazy bitmaps", "1.1,lazy_refcounts=on,cluster_size=512", SMALL, 256 * KiB,
     0, LAZY | BITMAPS | NO_SNAPSHOTS},
};

static const char *const crashed_names[CRASH_FILES] = {"c.qcow2", "c.raw"};

static int n_crashes, n_in_flight; /* with writes in flight */
static int n_bitmaps, n_usable;    /* that were there, and consistent */
static int percent;

/* -- Calls --------------------------------------------------------------- */

struct call {
    struct node *node;
    unsigned fix;
    struct image_check check;
    GString *findings;
    GArray *list;
    GError *err;
    int rc;
};

/* Only looks up what a coroutine will call. */
TSA(no_thread_safety_analysis)
static snapshot_fn *load_fn(void)
{
    return driver_qcow2.image->co_snapshot_load;
}

static void listing_entry(void *opaque)
{
    struct call *c = opaque;

    co_assert_role();
    c->rc = driver_qcow2.image->co_snapshot_list(c->node, &c->list);
}

/* The names of all snapshots; g_strfreev() them. */
static char **listing(struct node *node)
{
    struct call c = {.node = node};
    GStrvBuilder *names = g_strv_builder_new();
    char **all;

    rig_run(listing_entry, &c);
    g_assert_cmpint(c.rc, ==, 0);
    for (guint i = 0; i < c.list->len; i++) {
        g_strv_builder_add(
            names, g_array_index(c.list, struct image_snapshot, i).name);
    }
    g_array_unref(c.list);
    all = g_strv_builder_end(names);
    g_strv_builder_unref(names);
    return all;
}

static void note_finding(void *opaque, const char *line)
{
    g_string_append_printf(opaque, "%s\n", line);
}

static void check_entry(void *opaque)
{
    struct call *c = opaque;

    co_assert_role();
    c->check.report = note_finding;
    c->check.opaque = c->findings;
    c->rc = driver_qcow2.image->co_check(c->node, c->fix, &c->check, &c->err);
}

/* Asserts that nothing is wrong but leaks; returns how many there are. */
static int64_t check(struct node *node, unsigned fix)
{
    g_autoptr(GString) findings = g_string_new(NULL);
    struct call c = {.node = node, .fix = fix, .findings = findings};

    rig_run(check_entry, &c);
    g_assert_no_error(c.err);
    g_assert_cmpint(c.rc, ==, 0);
    if (c.check.check_errors + c.check.corruptions + c.check.corruptions_fixed >
        0) {
        g_error("the image is corrupt:\n%s", findings->str);
    }
    return c.check.leaks;
}

/* -- Looking ------------------------------------------------------------- */

static struct node *open_crashed(const struct history *h, unsigned flags)
{
    g_autofree char *path = rig_path(crashed_names[1]);
    g_autofree char *text =
        h->kind->flags & EXTERNAL
            ? g_strdup_printf("driver=qcow2,data-file.driver=file,"
                              "data-file.filename=%s",
                              path)
            : g_strdup("driver=qcow2,encrypt.key-secret=rig");

    return rig_open(crashed_names[0], text, flags | NODE_NO_FLUSH);
}

static void expect_same(const uint64_t *got, const uint64_t *want,
                        int64_t sectors)
{
    for (int64_t i = 0; i < sectors; i++) {
        g_assert_cmphex(got[i], ==, want[i]);
    }
}

static void expect_saved(struct history *h, const struct saved *sn)
{
    g_autofree uint64_t *disk = g_new0(uint64_t, (gsize)h->m.max);
    struct node *node = open_crashed(h, 0);

    snapshot(node, load_fn(), sn->name);
    g_assert_cmpint(read_disk(h, node, disk), ==, sn->sectors);
    expect_same(disk, sn->disk, sn->sectors);
    g_assert_cmpint(rig_close(node), ==, 0);
}

/* The image is used again, and its leaks are repaired. */
static void go_on(struct history *h, uint64_t *disk, int64_t sectors)
{
    struct node *node = open_crashed(h, NODE_RDWR | NODE_UNMAP);
    g_autofree uint64_t *got = g_new0(uint64_t, (gsize)h->m.max);

    for (int i = 0; i < 4; i++) {
        int64_t at = pick(sectors);

        model_values(&h->m, &disk[at], at, 1);
        fill_sectors(h->buf, &disk[at], 1);
        g_assert_cmpint(rig_write_buf(node, at * SECTOR, h->buf, SECTOR, 0), ==,
                        0);
    }
    g_assert_cmpint(rig_close(node), ==, 0);

    node = open_crashed(h, NODE_RDWR);
    (void)check(node, IMAGE_FIX_LEAKS);
    g_assert_cmpint(check(node, 0), ==, 0);
    g_assert_cmpint(read_disk(h, node, got), ==, sectors);
    expect_same(got, disk, sectors);
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void check_with_qemu(void)
{
    const char *name = crashed_names[0];

    if (rig_has_qemu()) { /* 3: there are leaks */
        g_assert_cmpint(
            rig_shell(NULL,
                      "qemu-img check -q --object secret,id=rig,data=word "
                      "--image-opts driver=qcow2,file.filename=%s,"
                      "encrypt.key-secret=rig 2>&1 || [ $? = 3 ]",
                      name),
            ==, 0);
    }
}

/* The bitmap is there.  Either it says that it is not consistent, or all that
 * was ever written is in it. */
static void expect_bitmap(struct node *node, const uint64_t *disk,
                          int64_t sectors)
{
    int64_t n = 0;
    g_autoptr(GArray) list = bits_list(node);
    g_autofree uint8_t *bits = bits_get(node, CRASH_BITMAP, &n);

    g_assert_cmpuint(list->len, >, 0);
    g_assert_cmpstr(g_array_index(list, struct image_bitmap, 0).name, ==,
                    CRASH_BITMAP);
    n_bitmaps++;
    if (bits) {
        n_usable++;
        g_assert_cmpint(n, ==, sectors);
        for (int64_t i = 0; i < n; i++) {
            g_assert_true(bits[i] || disk[i] == 0);
        }
    }
}

struct crashed {
    struct history h;
    struct crash_log log;
};

/* Looks at the image that a crash left. */
static void look(void *opaque)
{
    struct crashed *c = opaque;
    struct history *h = &c->h;
    bool lazy = h->kind->flags & (LAZY | AMEND | COMPAT);
    g_autofree uint64_t *disk = g_new0(uint64_t, (gsize)h->m.max);
    struct node *node = open_crashed(h, lazy ? NODE_RDWR : 0);
    g_auto(GStrv) names = listing(node);
    const GPtrArray *saved;
    int64_t leaks = check(node, 0);
    int64_t sectors = read_disk(h, node, disk);

    if (h->kind->flags & BITMAPS) {
        expect_bitmap(node, disk, sectors);
    }
    /* It has been counted again. */
    g_assert_true(!(h->kind->flags & LAZY) || leaks == 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    saved = model_expect(&h->m, c->log.cut, disk, sectors, names);
    for (guint i = 0; i < saved->len; i++) {
        expect_saved(h, saved->pdata[i]);
    }
    n_crashes++;
    if (n_crashes % 64 == 0 && !(h->kind->flags & EXTERNAL)) {
        check_with_qemu();
    }
    if (n_crashes % 8 == 0) {
        go_on(h, disk, sectors);
    }
}

/* -- Histories ----------------------------------------------------------- */

static void test_history(const struct kind *kind)
{
    struct crashed c;
    struct crash_points p = {
        .log = &c.log,
        .names = crashed_names,
        .percent = percent,
        .look = look,
        .opaque = &c,
    };

    history_record(&c.h, kind, &c.log);
    crash_everywhere(&p);
    n_in_flight += p.n_in_flight;
    crash_log_fini(&c.log);
    history_fini(&c.h);
}

static void test_kind(gconstpointer opaque)
{
    const char *text = g_getenv("COBLK_CRASH_HISTORIES");
    int n = text ? atoi(text) : 1;
    int before = n_crashes;

    for (int i = 0; i < n || n_crashes - before < MIN_EACH * percent / 100;
         i++) {
        test_history(opaque);
    }
    g_test_message("%d crashes", n_crashes - before);
}

static void test_number(void)
{
    g_test_message("%d crashes, %d with writes in flight", n_crashes,
                   n_in_flight);
    g_assert_cmpint(n_crashes, >=, MIN_CRASHES * percent / 100);
    g_assert_cmpint(n_in_flight, >=, MIN_CRASHES / 20 * percent / 100);
    g_test_message("%d bitmaps, %d of them consistent", n_bitmaps, n_usable);
    g_assert_cmpint(n_usable, >, n_bitmaps / 100);
    g_assert_cmpint(n_usable, <, n_bitmaps);
}

static void add_tests(void)
{
    percent = crash_percent();
    rig_ignore_log(); /* repairs tell what they find */
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        rig_add_row("/qcow2-crash", kinds[i].name, &kinds[i], test_kind);
    }
    g_test_add_func("/qcow2-crash/number", test_number);
}

int main(int argc, char **argv)
{
    return rig_main(argc, argv, add_tests);
}
