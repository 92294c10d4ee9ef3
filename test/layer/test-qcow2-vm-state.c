/* SPDX-License-Identifier: MIT */
/*
 * qcow2: the state of a machine beside the disk.  It is no part of the disk,
 * whatever happens to that, and the image stays consistent and without leaks.
 */
#include <errno.h>
#include <string.h>

#include "block/driver.h"
#include "format/qcow2/driver.h"
#include "qcow2-rig.h"

#define DISK  (2 * MiB)
#define STATE (64 * KiB)

/* -- Calls --------------------------------------------------------------- */

struct call {
    struct node *node;
    int64_t offset;
    struct iovs iovs;
    const char *name;
    bool write;
    int rc;
};

static void state_entry(void *opaque)
{
    struct call *c = opaque;
    const struct image_ops *ops = driver_qcow2.image;

    co_assert_role();
    c->rc = c->write ? ops->co_vm_state_writev(c->node, c->offset, &c->iovs)
                     : ops->co_vm_state_readv(c->node, c->offset, &c->iovs);
}

static int write_state(struct node *node, int64_t offset, int64_t bytes,
                       int fill)
{
    g_autofree void *buf = g_malloc((gsize)bytes);
    struct iovec iov;
    struct call c = {
        .node = node,
        .offset = offset,
        .iovs = iovs_one(&iov, buf, bytes),
        .write = true,
    };

    memset(buf, fill, (size_t)bytes);
    rig_run(state_entry, &c);
    return c.rc;
}

static void expect_state(struct node *node, int64_t offset, int64_t bytes,
                         int fill)
{
    g_autofree uint8_t *buf = g_malloc((gsize)bytes);
    struct iovec iov;
    struct call c = {
        .node = node,
        .offset = offset,
        .iovs = iovs_one(&iov, buf, bytes),
    };

    memset(buf, 0xee, (size_t)bytes);
    rig_run(state_entry, &c);
    g_assert_cmpint(c.rc, ==, 0);
    for (int64_t i = 0; i < bytes; i++) {
        g_assert_cmpint(buf[i], ==, fill);
    }
}

static void take_entry(void *opaque)
{
    struct call *c = opaque;

    co_assert_role();
    c->rc = driver_qcow2.image->co_snapshot_create(c->node, c->name, NULL);
}

static void apply_entry(void *opaque)
{
    struct call *c = opaque;

    co_assert_role();
    c->rc = driver_qcow2.image->co_snapshot_apply(c->node, c->name, NULL);
}

static void empty_entry(void *opaque)
{
    struct call *c = opaque;

    co_assert_role();
    c->rc = driver_qcow2.image->co_make_empty(c->node);
}

static void change(struct node *node, void (*entry)(void *opaque))
{
    struct call c = {.node = node, .name = "s"};

    rig_run(entry, &c);
    g_assert_cmpint(c.rc, ==, 0);
}

static struct node *reopen(struct node *node)
{
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("a.qcow2");
    return rig_open("a.qcow2", NULL, NODE_RDWR | NODE_UNMAP);
}

/* An image whose disk is full of 1 and whose state begins with 2. */
static struct node *with_state(const char *how)
{
    struct node *node;

    rig_create("a.qcow2", DISK, how);
    node = rig_open("a.qcow2", NULL, NODE_RDWR | NODE_UNMAP);
    g_assert_cmpint(rig_write(node, 0, DISK, 1, 0), ==, 0);
    g_assert_cmpint(write_state(node, 0, STATE, 2), ==, 0);
    return reopen(node);
}

/* -- Tests --------------------------------------------------------------- */

static void test_beside_the_disk(gconstpointer how)
{
    struct node *node = with_state(how);

    expect_state(node, 0, STATE, 2);
    expect_state(node, STATE, STATE, 0);
    g_assert_cmpint(write_state(node, 1000, 1, 3), ==, 0);
    g_assert_cmpint(write_state(node, GiB + 7, STATE, 4), ==, 0);
    node = reopen(node);
    expect_state(node, 0, 1000, 2);
    expect_state(node, 1000, 1, 3);
    expect_state(node, 1001, STATE - 1001, 2);
    expect_state(node, GiB, 7, 0);
    expect_state(node, GiB + 7, STATE, 4);
    expect_state(node, GiB + 7 + STATE, 1, 0);
    rig_expect(node, 0, DISK, 1);
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void test_where_qemu_finds_it(void)
{
    struct node *node;

    if (!rig_has_qemu()) {
        g_test_skip("there is no qemu-img");
        return;
    }
    node = with_state("cluster_size=4096");
    g_assert_cmpint(rig_close(node), ==, 0);
    g_assert_cmpint(rig_shell(NULL, "qemu-io -f qcow2 -c 'read -b -P 2 0 64k' "
                                    "-c 'write -b -P 5 64k 64k' a.qcow2"),
                    ==, 0);
    node = rig_open("a.qcow2", NULL, 0);
    expect_state(node, 0, STATE, 2);
    expect_state(node, STATE, STATE, 5);
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void test_snapshot_keeps_it(void)
{
    struct node *node = with_state("cluster_size=4096");

    change(node, take_entry);
    g_assert_cmpint(write_state(node, 0, STATE, 3), ==, 0);
    node = reopen(node);
    expect_state(node, 0, STATE, 3);
    change(node, apply_entry);
    node = reopen(node);
    expect_state(node, 0, STATE, 2);
    g_assert_cmpint(rig_close(node), ==, 0);
}

/* What the disk gains is zeroes, also where the state was. */
static void test_longer_disk(gconstpointer how)
{
    struct node *node = with_state(how);

    g_assert_cmpint(rig_truncate(node, GiB, PREALLOC_OFF), ==, 0);
    node = reopen(node);
    rig_expect(node, 0, DISK, 1);
    rig_expect(node, DISK, 8 * MiB, 0);
    expect_state(node, 0, STATE, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void test_shorter_disk(gconstpointer how)
{
    struct node *node = with_state(how);

    g_assert_cmpint(rig_truncate(node, DISK / 2, PREALLOC_OFF), ==, 0);
    node = reopen(node);
    rig_expect(node, 0, DISK / 2, 1);
    expect_state(node, 0, STATE, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void test_empty_disk(void)
{
    struct node *node = with_state("");

    change(node, empty_entry);
    node = reopen(node);
    rig_expect(node, 0, DISK, 0);
    expect_state(node, 0, STATE, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
}

/* A backing file that is longer than the disk shows in the disk only: not in
 * the state, but in what the state's place becomes a part of. */
static void test_backing_does_not_show(void)
{
    struct node *node;

    rig_create("base.qcow2", 8 * MiB, "");
    node = rig_open("base.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 8 * MiB, 9, 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_create("a.qcow2", DISK,
               "cluster_size=4096,backing_file=base.qcow2,backing_fmt=qcow2");
    node = rig_open("a.qcow2", NULL, NODE_RDWR | NODE_UNMAP);
    expect_state(node, 0, STATE, 0);
    g_assert_cmpint(write_state(node, 5000, 1, 2), ==, 0);
    expect_state(node, 4096, 5000 - 4096, 0);
    expect_state(node, 5001, 8192 - 5001, 0);
    rig_expect(node, 0, DISK, 9);

    g_assert_cmpint(rig_truncate(node, 16 * MiB, PREALLOC_OFF), ==, 0);
    node = reopen(node);
    rig_expect(node, 0, DISK, 9);
    rig_expect(node, DISK, 16 * MiB - DISK, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void test_too_large(void)
{
    struct node *node = with_state("cluster_size=512");

    g_assert_cmpint(write_state(node, 1 * TiB, 1, 3), ==, -EFBIG);
    g_assert_cmpint(write_state(node, INT64_MAX - 10, 1, 3), ==, -EFBIG);
    expect_state(node, 0, STATE, 2);
    node = reopen(node);
    g_assert_cmpint(rig_close(node), ==, 0);
}

/* There it lies behind the disk, and a longer disk has nothing of it. */
static void test_data_file(void)
{
    struct node *node;

    rig_create("a.qcow2", DISK, "data_file=data.raw,cluster_size=4k");
    node = rig_open("a.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, DISK, 1, 0), ==, 0);
    g_assert_cmpint(write_state(node, 0, STATE, 2), ==, 0);
    g_assert_cmpint(write_state(node, STATE, 100, 3), ==, 0);
    node = reopen(node);
    expect_state(node, 0, STATE, 2);
    expect_state(node, STATE, 100, 3);
    expect_state(node, STATE + 100, 1000, 0);
    rig_expect(node, 0, DISK, 1);
    g_assert_cmpint(rig_truncate(node, DISK + 4 * MiB, PREALLOC_METADATA), ==,
                    0);
    rig_expect(node, 0, DISK, 1);
    rig_expect(node, DISK, 4 * MiB, 0);
    expect_state(node, 0, STATE, 0);
    g_assert_cmpint(write_state(node, 0, STATE, 4), ==, 0);
    g_assert_cmpint(rig_truncate(node, DISK, PREALLOC_OFF), ==, 0);
    rig_expect(node, 0, DISK, 1);
    expect_state(node, 0, STATE, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("a.qcow2");
}

static void test_no_place_in_a_raw_image(void)
{
    struct node *node;

    rig_create("a.qcow2", DISK, "data_file=data.raw,data_file_raw=on");
    node = rig_open("a.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(write_state(node, 0, STATE, 2), ==, -EOPNOTSUPP);
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void add_kinds(const char *what, void (*fn)(gconstpointer))
{
    static const char *const kinds[] = {
        "compat=1.1",        "compat=0.10",
        "cluster_size=512",  "extended_l2=on",
        "lazy_refcounts=on", "compression_type=zstd,cluster_size=4096",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autofree char *name =
            g_strdup_printf("/qcow2-vm-state/%s/%s", what, kinds[i]);

        g_test_add_data_func(name, kinds[i], fn);
    }
}

static void add_tests(void)
{
    add_kinds("beside-the-disk", test_beside_the_disk);
    add_kinds("longer-disk", test_longer_disk);
    add_kinds("shorter-disk", test_shorter_disk);
    g_test_add_func("/qcow2-vm-state/qemu", test_where_qemu_finds_it);
    g_test_add_func("/qcow2-vm-state/snapshot", test_snapshot_keeps_it);
    g_test_add_func("/qcow2-vm-state/empty-disk", test_empty_disk);
    g_test_add_func("/qcow2-vm-state/backing", test_backing_does_not_show);
    g_test_add_func("/qcow2-vm-state/too-large", test_too_large);
    g_test_add_func("/qcow2-vm-state/data-file", test_data_file);
    g_test_add_func("/qcow2-vm-state/raw-data-file",
                    test_no_place_in_a_raw_image);
}

int main(int argc, char **argv)
{
    return rig_main(argc, argv, add_tests);
}
