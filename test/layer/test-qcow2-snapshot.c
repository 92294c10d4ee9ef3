/* SPDX-License-Identifier: MIT */
/*
 * qcow2: snapshots inside an image, against models in memory.
 *
 * The disk, and each snapshot shown read-only, read as their models say, and
 * qemu-img finds the image consistent and without leaks after each operation
 * on snapshots.  The seed is printed; --seed=R… repeats one.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/endian.h"
#include "block/driver.h"
#include "format/qcow2/driver.h"
#include "qcow2-rig.h"

#define DISK      (2 * MiB)
#define MAX_DISK  (3 * MiB)
#define MAX_NAMES 6
#define STEPS     40

/* -- Calls --------------------------------------------------------------- */

typedef int change_fn(struct node *node, const char *name, GError **err);

struct call {
    struct node *node;
    change_fn *fn;
    const char *name;
    GArray *list;
    GError *err;
    int rc;
};

static void change_entry(void *opaque)
{
    struct call *c = opaque;

    co_assert_role();
    c->rc = c->fn(c->node, c->name, &c->err); /* yields */
}

static void change(struct node *node, change_fn *fn, const char *name)
{
    struct call c = {.node = node, .fn = fn, .name = name};

    rig_run(change_entry, &c);
    g_assert_no_error(c.err);
    g_assert_cmpint(c.rc, ==, 0);
}

static void change_fails(struct node *node, change_fn *fn, const char *name,
                         const char *want)
{
    struct call c = {.node = node, .fn = fn, .name = name};

    rig_run(change_entry, &c);
    g_assert_cmpint(c.rc, <, 0);
    g_assert_nonnull(c.err);
    if (!strstr(c.err->message, want)) {
        g_error("'%s' does not say '%s'", c.err->message, want);
    }
    g_error_free(c.err);
}

static void listing_entry(void *opaque)
{
    struct call *c = opaque;

    co_assert_role();
    c->rc = driver_qcow2.image->co_snapshot_list(c->node, &c->list);
}

static GArray *listing(struct node *node)
{
    struct call c = {.node = node};

    rig_run(listing_entry, &c);
    g_assert_cmpint(c.rc, ==, 0);
    return c.list;
}

/* These only look up what coroutines will call. */
TSA(no_thread_safety_analysis)
static change_fn *create_fn(void)
{
    return driver_qcow2.image->co_snapshot_create;
}

TSA(no_thread_safety_analysis)
static change_fn *apply_fn(void)
{
    return driver_qcow2.image->co_snapshot_apply;
}

TSA(no_thread_safety_analysis)
static change_fn *delete_fn(void)
{
    return driver_qcow2.image->co_snapshot_delete;
}

TSA(no_thread_safety_analysis)
static change_fn *load_fn(void)
{
    return driver_qcow2.image->co_snapshot_load;
}

/* -- Histories ----------------------------------------------------------- */

struct state {
    bool used;
    int64_t size;
    uint8_t *disk; /* MAX_DISK */
};

struct history {
    struct node *node;
    bool v3;
    struct state now;
    struct state saved[MAX_NAMES]; /* named s0, s1, … */
};

static int64_t pick(int64_t end)
{
    return end <= 0 ? 0 : g_test_rand_int_range(0, (gint32)end);
}

static void copy_state(struct state *to, const struct state *from)
{
    memcpy(to->disk, from->disk, MAX_DISK);
    to->size = from->size;
    to->used = true;
}

static void expect(struct node *node, const struct state *st)
{
    g_autofree uint8_t *buf = g_malloc(MAX_DISK);

    g_assert_cmpint(node_length(node), ==, st->size);
    g_assert_cmpint(rig_read(node, 0, buf, st->size), ==, 0);
    for (int64_t i = 0; i < st->size; i++) {
        if (buf[i] != st->disk[i]) {
            g_error("byte %" PRId64 " is 0x%02x instead of 0x%02x", i, buf[i],
                    st->disk[i]);
        }
    }
}

static void reopen(struct history *h)
{
    g_assert_cmpint(rig_close(h->node), ==, 0);
    rig_check("s.qcow2");
    h->node = rig_open("s.qcow2", NULL, NODE_RDWR | NODE_UNMAP);
}

static void expect_saved(const struct history *h, int i)
{
    g_autofree char *name = g_strdup_printf("s%d", i);
    struct node *node = rig_open("s.qcow2", NULL, NODE_FORCE_SHARE);

    change(node, load_fn(), name);
    expect(node, &h->saved[i]);
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void expect_all(struct history *h)
{
    reopen(h);
    expect(h->node, &h->now);
    for (int i = 0; i < MAX_NAMES; i++) {
        if (h->saved[i].used) {
            expect_saved(h, i);
        }
    }
}

static void write_some(struct history *h)
{
    int64_t offset = pick(h->now.size / 512) * 512;
    int64_t bytes = min_i64((1 + pick(200)) * 512, h->now.size - offset);

    if (pick(4) == 0) {
        memset(h->now.disk + offset, 0, (size_t)bytes);
        g_assert_cmpint(rig_zero(h->node, offset, bytes, REQ_MAY_UNMAP), ==, 0);
        return;
    }
    for (int64_t i = 0; i < bytes; i++) {
        h->now.disk[offset + i] = (uint8_t)g_test_rand_int();
    }
    g_assert_cmpint(
        rig_write_buf(h->node, offset, h->now.disk + offset, bytes, 0), ==, 0);
}

static void write_packed(struct history *h)
{
    int64_t cluster = node_limits(h->node)->discard_align;
    int64_t offset = align_down(pick(h->now.size), cluster);
    int64_t bytes = min_i64(cluster, h->now.size - offset);

    memset(h->now.disk + offset, (int)pick(256), (size_t)bytes);
    g_assert_cmpint(rig_write_buf(h->node, offset, h->now.disk + offset, bytes,
                                  REQ_WRITE_COMPRESSED),
                    ==, 0);
}

static void resize(struct history *h)
{
    int64_t size = (1 + pick(MAX_DISK / 512)) * 512;

    if (!h->v3) {
        return; /* not with snapshots */
    }
    g_assert_cmpint(rig_truncate(h->node, size, PREALLOC_OFF), ==, 0);
    if (size > h->now.size) {
        memset(h->now.disk + h->now.size, 0, (size_t)(size - h->now.size));
    }
    h->now.size = size;
}

static void snapshot_step(struct history *h)
{
    int i = (int)pick(MAX_NAMES);
    g_autofree char *name = g_strdup_printf("s%d", i);

    if (!h->saved[i].used) {
        change(h->node, create_fn(), name);
        copy_state(&h->saved[i], &h->now);
    } else if (pick(2)) {
        change(h->node, apply_fn(), name);
        copy_state(&h->now, &h->saved[i]);
    } else {
        change(h->node, delete_fn(), name);
        h->saved[i].used = false;
    }
    expect_all(h);
}

static void step(struct history *h)
{
    switch (pick(8)) {
    case 0 ... 3:
        write_some(h);
        break;
    case 4:
        write_packed(h);
        break;
    case 5:
        if (pick(3) == 0) {
            resize(h);
        }
        break;
    default:
        snapshot_step(h);
        break;
    }
}

static void test_history(gconstpointer opaque)
{
    struct history h = {.v3 = !strstr(opaque, "0.10")};

    h.now = (struct state){.size = DISK, .disk = g_malloc0(MAX_DISK)};
    for (int i = 0; i < MAX_NAMES; i++) {
        h.saved[i].disk = g_malloc0(MAX_DISK);
    }
    rig_create("s.qcow2", DISK, opaque);
    h.node = rig_open("s.qcow2", NULL, NODE_RDWR | NODE_UNMAP);
    for (int i = 0; i < STEPS; i++) {
        step(&h);
    }
    expect_all(&h);
    for (int i = 0; i < MAX_NAMES; i++) {
        g_autofree char *name = g_strdup_printf("s%d", i);

        if (h.saved[i].used) {
            change(h.node, delete_fn(), name);
        }
        g_free(h.saved[i].disk);
    }
    reopen(&h);
    g_assert_cmpint(rig_close(h.node), ==, 0);
    g_free(h.now.disk);
}

/* -- One thing each ------------------------------------------------------ */

static void test_list_tells_what_was_taken(void)
{
    const struct image_snapshot *sn;
    struct node *node;
    GArray *all;

    rig_create("l.qcow2", MiB, NULL);
    node = rig_open("l.qcow2", NULL, NODE_RDWR);
    change(node, create_fn(), "first");
    change(node, create_fn(), "second");
    change(node, delete_fn(), "first");
    change(node, create_fn(), "third");
    all = listing(node);
    g_assert_cmpuint(all->len, ==, 2);
    sn = &g_array_index(all, struct image_snapshot, 0);
    g_assert_cmpstr(sn->id, ==, "2");
    g_assert_cmpstr(sn->name, ==, "second");
    g_assert_cmpint(sn->disk_bytes, ==, MiB);
    g_assert_cmpint(sn->vm_state_bytes, ==, 0);
    g_assert_cmpint(sn->date_sec, >, 1000000000);
    sn = &g_array_index(all, struct image_snapshot, 1);
    g_assert_cmpstr(sn->id, ==, "3");
    g_assert_cmpstr(sn->name, ==, "third");
    g_array_unref(all);
    g_assert_cmpint(rig_close(node), ==, 0);
}

#define TABLE (16 * MiB)

static void put(const char *name, uint64_t offset, const void *buf, size_t n)
{
    g_autofree char *path = rig_path(name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pwrite(fd, buf, n, (off_t)offset), ==, (ssize_t)n);
    g_assert_cmpint(close(fd), ==, 0);
}

/* An entry with 736 bytes of extra data, an id of 4 and a name of 12 bytes: what
 * is read at once, 256 KiB, ends within a name. */
#define ENTRY 792

/* Makes t.qcow2 with a table of @n snapshots of a disk of @disk bytes. */
static void make_table(uint32_t n, uint64_t disk)
{
    uint8_t entry[ENTRY + 1], head[12];

    rig_create("t.qcow2", MiB, "");
    for (uint32_t i = 0; i < n; i++) {
        memset(entry, 0, sizeof(entry));
        store_be16(entry + 12, 4);
        store_be16(entry + 14, 12);
        store_be32(entry + 36, 736);
        store_be64(entry + 48, disk);
        (void)g_snprintf((char *)entry + 776, 17, "%04us%011u", i, i);
        put("t.qcow2", TABLE + i * ENTRY, entry, ENTRY);
    }
    store_be32(head, n);
    store_be64(head + 4, TABLE);
    put("t.qcow2", 60, head, sizeof(head));
}

/* One that is not read at once. */
static void test_long_table(void)
{
    struct node *node;
    GArray *list;

    make_table(600, MiB);
    node = rig_open("t.qcow2", NULL, 0);
    list = listing(node);
    g_assert_cmpuint(list->len, ==, 600);
    for (guint i = 0; i < list->len; i++) {
        g_autofree char *want = g_strdup_printf("s%011u", i);

        g_assert_cmpstr(g_array_index(list, struct image_snapshot, i).name, ==,
                        want);
    }
    g_array_unref(list);
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void test_impossible_size(void)
{
    g_autofree char *message = NULL;

    make_table(1, UINT64_C(1) << 63);
    message = rig_open_error("t.qcow2", NULL, NODE_RDWR);
    g_assert_nonnull(strstr(message, "impossible size"));
}

static void test_an_id_goes_before_a_name(void)
{
    struct node *node;

    rig_create("i.qcow2", MiB, NULL);
    node = rig_open("i.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 512, 1, 0), ==, 0);
    change(node, create_fn(), "2");
    g_assert_cmpint(rig_write(node, 0, 512, 2, 0), ==, 0);
    change(node, create_fn(), "1");
    change(node, apply_fn(), "1");
    rig_expect(node, 0, 512, 1);
    change(node, apply_fn(), "2");
    rig_expect(node, 0, 512, 2);
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void test_what_cannot_be_is_refused(void)
{
    g_autofree char *long_name = g_strnfill(256, 'x');
    struct node *node;

    rig_create("r.qcow2", MiB, "refcount_bits=1");
    node = rig_open("r.qcow2", NULL, NODE_RDWR);
    change_fails(node, delete_fn(), "none", "snapshot -l");
    change_fails(node, apply_fn(), "none", "snapshot -l");
    change_fails(node, create_fn(), long_name, "255 bytes");
    g_assert_cmpint(rig_write(node, 0, 512, 1, 0), ==, 0);
    change_fails(node, create_fn(), "s", "refcount_bits");
    change_fails(node, load_fn(), "s", "read-only");
    rig_expect(node, 0, 512, 1);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("r.qcow2");

    rig_create("d.qcow2", MiB, "data_file=d.raw");
    node = rig_open("d.qcow2", NULL, NODE_RDWR);
    change_fails(node, create_fn(), "s", "data file");
    g_assert_cmpint(rig_close(node), ==, 0);
}

/* A snapshot that could not be has written tables at the end of the file.  They
 * do not show around what is written there next. */
static void test_refused_leaves_nothing(void)
{
    struct node *node;

    rig_create("n.qcow2", MiB, "refcount_bits=1,cluster_size=512");
    node = rig_open("n.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 64 * KiB, 1, 0), ==, 0);
    change_fails(node, create_fn(), "s", "refcount_bits");
    for (int64_t at = 64 * KiB; at < 192 * KiB; at += 512) {
        g_assert_cmpint(rig_write(node, at, 1, 2, 0), ==, 0);
    }
    for (int64_t at = 64 * KiB; at < 192 * KiB; at += 512) {
        rig_expect(node, at, 1, 2);
        rig_expect(node, at + 1, 511, 0);
    }
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("n.qcow2");
}

/* Something else may have stored the state of a machine behind the disk. */
static void test_machine_state_stays(void)
{
    struct node *node;

    if (!rig_has_qemu()) {
        g_test_skip("no qemu-io");
        return;
    }
    rig_create("v.qcow2", MiB, NULL);
    g_assert_cmpint(rig_shell(NULL, "qemu-io -f qcow2 -c 'write -P 3 0 64k' "
                                    "-c 'write -b -P 7 2M 128k' v.qcow2"),
                    ==, 0);
    node = rig_open("v.qcow2", NULL, NODE_RDWR);
    change(node, create_fn(), "s");
    g_assert_cmpint(rig_write(node, 0, 64 * KiB, 4, 0), ==, 0);
    change(node, apply_fn(), "s");
    change(node, delete_fn(), "s");
    rig_expect(node, 0, 64 * KiB, 3);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("v.qcow2");
    g_assert_cmpint(rig_shell(NULL, "qemu-io -f qcow2 -c 'read -b -P 7 2M "
                                    "128k' v.qcow2 | grep -q '^read 131072'"),
                    ==, 0);
}

/* -- On disk ------------------------------------------------------------ */

static uint64_t be64_at(FILE *f, uint64_t offset)
{
    uint8_t buf[8];

    g_assert_cmpint(fseek(f, (long)offset, SEEK_SET), ==, 0);
    g_assert_cmpuint(fread(buf, 1, sizeof(buf), f), ==, sizeof(buf));
    return load_be64(buf);
}

/* -- Snapshots that do not say how large their disk is -------------------- */

static uint64_t table_of(const char *name)
{
    g_autofree char *path = rig_path(name);
    FILE *f = g_fopen(path, "rb");
    uint64_t table;

    g_assert_nonnull(f);
    table = be64_at(f, 64);
    g_assert_cmpint(fclose(f), ==, 0);
    return table;
}

/* Lets the second of the snapshots "one" and "two" say nothing of its size. */
static void forget_size(const char *name)
{
    uint64_t entry = table_of(name) + 72;

    put(name, entry + 36, "\0\0\0\10", 4); /* bytes of extra data */
    put(name, entry + 48, "2two", 4);
}

static void no_progress(void *opaque, int64_t done, int64_t total)
{
}

static int co_fn amend_version(struct node *node, const char *text,
                               GError **err)
{
    g_autoptr(options) o = options_new();

    g_assert_cmpint(options_parse(o, text, NULL), ==, 0);
    return driver_qcow2.image->co_amend(node, o, false, no_progress, NULL, err);
}

/* Only looks up what a coroutine will call. */
TSA(no_thread_safety_analysis)
static change_fn *amend_fn(void)
{
    return amend_version;
}

/* Makes an image of two snapshots, of which "one" says that its disk is half as
 * large as it is now. */
static void make_sizes(const char *name, const char *text)
{
    struct node *node;
    uint8_t half[8];

    store_be64(half, MiB);
    rig_create(name, 2 * MiB, text);
    node = rig_open(name, NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 2 * MiB, 1, 0), ==, 0);
    change(node, create_fn(), "one");
    change(node, create_fn(), "two");
    g_assert_cmpint(rig_close(node), ==, 0);
    put(name, table_of(name) + 48, half, sizeof(half));
    forget_size(name);
}

/* What is behind the end of a smaller disk is not lost to those. */
static void test_sizes(void)
{
    struct node *node;

    make_sizes("z.qcow2", "compat=0.10");
    node = rig_open("z.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_truncate(node, 3 * MiB, PREALLOC_OFF), ==, -EOPNOTSUPP);
    change_fails(node, apply_fn(), "one", "compat=1.1");
    change(node, amend_fn(), "compat=1.1");
    change(node, apply_fn(), "one");
    g_assert_cmpint(node_length(node), ==, MiB);
    change(node, apply_fn(), "two");
    rig_expect(node, 0, 2 * MiB, 1);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("z.qcow2");

    make_sizes("z.qcow2", "compat=1.1");
    node = rig_open("z.qcow2", NULL, NODE_RDWR);
    change_fails(node, apply_fn(), "one", "'two' does not say");
    g_assert_cmpint(rig_truncate(node, MiB, PREALLOC_OFF), ==, -EINVAL);
    change(node, apply_fn(), "two");
    g_assert_cmpint(rig_close(node), ==, 0);
}

/* -- Tables of a snapshot that count as free ----------------------------- */

/* Lets the first L2 table of the only snapshot count 0. */
static void uncount_table(const char *name)
{
    const uint64_t cluster = 64 * KiB;
    g_autofree char *path = rig_path(name);
    FILE *f = g_fopen(path, "r+b");
    uint64_t l1, l2, block;

    g_assert_nonnull(f);
    l1 = be64_at(f, be64_at(f, 64)); /* where the snapshot table begins */
    l2 = be64_at(f, l1);
    block = be64_at(f, be64_at(f, 48)); /* the refcount table */
    g_assert_cmpuint(l2 % cluster, ==, 0);
    g_assert_cmpint(fseek(f, (long)(block + l2 / cluster * 2), SEEK_SET), ==,
                    0);
    g_assert_cmpuint(fwrite("\0\0", 1, 2, f), ==, 2);
    g_assert_cmpint(fclose(f), ==, 0);
}

/* Opens an image of which an L2 table that only its snapshot has counts 0, and
 * writes until that would be taken. */
static int write_over_table(const char *text)
{
    struct node *node;
    int rc = 0;

    rig_create("over.qcow2", 4 * MiB, "");
    node = rig_open("over.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 512, 1, 0), ==, 0);
    change(node, create_fn(), "old");
    g_assert_cmpint(rig_write(node, 0, 512, 2, 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    uncount_table("over.qcow2");

    node = rig_open("over.qcow2", text, NODE_RDWR);
    for (int64_t at = 64 * KiB; at < 4 * MiB && rc == 0; at += 64 * KiB) {
        rc = rig_write(node, at, 64 * KiB, 3, 0);
    }
    (void)rig_close(node);
    return rc;
}

static void test_tables_are_guarded(void)
{
    g_assert_cmpint(write_over_table("overlap-check=all"), ==, -EIO);
    g_assert_cmpint(write_over_table("overlap-check.template=all"), ==, -EIO);
    g_assert_cmpint(write_over_table("overlap-check.inactive-l2=on"), ==, -EIO);
    g_assert_cmpint(write_over_table("overlap-check=cached"), ==, 0);
    g_assert_cmpint(
        write_over_table("overlap-check=all,overlap-check.inactive-l2=off"), ==,
        0);
}

static void add_tests(void)
{
    g_test_add_data_func("/qcow2-snapshot/history/plain", "", test_history);
    g_test_add_data_func("/qcow2-snapshot/history/v2",
                         "compat=0.10,cluster_size=4k", test_history);
    g_test_add_data_func("/qcow2-snapshot/history/small-clusters",
                         "cluster_size=512,refcount_bits=64", test_history);
    g_test_add_data_func("/qcow2-snapshot/history/subclusters",
                         "extended_l2=on,cluster_size=16k", test_history);
    g_test_add_data_func("/qcow2-snapshot/history/lazy", "lazy_refcounts=on",
                         test_history);
    g_test_add_func("/qcow2-snapshot/list", test_list_tells_what_was_taken);
    g_test_add_func("/qcow2-snapshot/long-table", test_long_table);
    g_test_add_func("/qcow2-snapshot/impossible-size", test_impossible_size);
    g_test_add_func("/qcow2-snapshot/id-or-name",
                    test_an_id_goes_before_a_name);
    g_test_add_func("/qcow2-snapshot/refused", test_what_cannot_be_is_refused);
    g_test_add_func("/qcow2-snapshot/refused-leaves-nothing",
                    test_refused_leaves_nothing);
    g_test_add_func("/qcow2-snapshot/sizes", test_sizes);
    g_test_add_func("/qcow2-snapshot/guarded", test_tables_are_guarded);
    g_test_add_func("/qcow2-snapshot/machine-state", test_machine_state_stays);
}

int main(int argc, char **argv)
{
    return rig_main(argc, argv, add_tests);
}
