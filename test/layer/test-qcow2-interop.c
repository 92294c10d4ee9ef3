/* SPDX-License-Identifier: MIT */
/*
 * qcow2: images that qemu-img and qemu-io write are read here, and the other
 * way round.  Skipped where these are not installed.
 */
#include <string.h>

#include "qcow2-rig.h"

#define DISK (6 * MiB)

static const char *const kinds[] = {
    "compat=1.1",
    "compat=0.10",
    "cluster_size=512",
    "cluster_size=2M",
    "cluster_size=16k,extended_l2=on",
    "extended_l2=on",
    "refcount_bits=1,cluster_size=4k",
    "refcount_bits=64",
    "lazy_refcounts=on",
    "compression_type=zstd",
    "compression_type=zstd,cluster_size=4k",
    "preallocation=metadata",
    "preallocation=full",
    "data_file=io.raw",
};

/* Asserts that the disk is what the raw file @raw has. */
static void expect_same(const char *name, const char *raw)
{
    g_autofree char *path = rig_path(raw);
    g_autofree char *want = NULL;
    g_autofree char *got = g_malloc(DISK);
    struct node *node = rig_open(name, NULL, 0);
    gsize bytes;

    g_assert_true(g_file_get_contents(path, &want, &bytes, NULL));
    g_assert_cmpuint(bytes, ==, DISK);
    g_assert_cmpint(node_length(node), ==, DISK);
    g_assert_cmpint(rig_read(node, 0, got, DISK), ==, 0);
    g_assert_true(memcmp(got, want, DISK) == 0);
    g_assert_cmpint(rig_close(node), ==, 0);
}

/* Can qemu-io?  Not into clusters that are allocated. */
static bool can_compress(const char *kind)
{
    return !strstr(kind, "data_file") && !strstr(kind, "preallocation");
}

static bool skip(void)
{
    if (!rig_has_qemu()) {
        g_test_skip("qemu-img or qemu-io is not installed");
        return true;
    }
    return false;
}

/* Theirs: written, in part compressed, with zeroes and discards; then ours
 * writes on, and they read all of it. */
static void test_theirs(gconstpointer opaque)
{
    const char *kind = opaque;
    const char *compressed =
        can_compress(kind)
            ? "-c 'write -c -P 9 2M 2M' -c 'write -P 10 2100k 3k'"
            : "";
    struct node *node;

    if (skip()) {
        return;
    }
    g_assert_cmpint(
        rig_shell(NULL,
                  "qemu-img create -q -f qcow2 -o %s t.qcow2 %d && "
                  "qemu-io -f qcow2 -d unmap -c 'write -P 1 0 600k' "
                  "-c 'write -P 2 700001 1' -c 'write -z 100k 130k' "
                  "-c 'discard 300k 128k' -c 'write -zu 450k 70k' %s "
                  "t.qcow2 && qemu-img convert -O raw t.qcow2 t.raw",
                  kind, (int)DISK, compressed),
        ==, 0);
    expect_same("t.qcow2", "t.raw");

    node = rig_open("t.qcow2", NULL, NODE_RDWR | NODE_UNMAP);
    g_assert_cmpint(rig_write(node, 50000, 100000, 3, 0), ==, 0);
    g_assert_cmpint(rig_write(node, 2 * MiB + 777, 200000, 4, 0), ==, 0);
    g_assert_cmpint(rig_zero(node, 400000, 100000, REQ_MAY_UNMAP), ==, 0);
    g_assert_cmpint(rig_discard(node, 3 * MiB, 300000), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("t.qcow2");
    g_assert_cmpint(rig_shell(NULL, "qemu-img convert -O raw t.qcow2 t.raw"),
                    ==, 0);
    expect_same("t.qcow2", "t.raw");
}

/* Ours: created, written and compressed here; read and changed by them. */
static void test_ours(gconstpointer opaque)
{
    const char *kind = opaque;
    g_autofree uint8_t *buf = g_malloc(2 * MiB);
    struct node *node;

    if (skip()) {
        return;
    }
    for (int64_t i = 0; i < 2 * MiB; i++) {
        buf[i] = (uint8_t)(i / 1000 + i % 7);
    }
    rig_create("o.qcow2", DISK, kind);
    node = rig_open("o.qcow2", NULL, NODE_RDWR | NODE_UNMAP);
    g_assert_cmpint(rig_write(node, 1000, 900000, 3, 0), ==, 0);
    g_assert_cmpint(rig_zero(node, 200000, 200000, 0), ==, 0);
    g_assert_cmpint(rig_discard(node, 500000, 200000), ==, 0);
    if (can_compress(kind)) {
        g_assert_cmpint(
            rig_write_buf(node, 2 * MiB, buf, 2 * MiB, REQ_WRITE_COMPRESSED),
            ==, 0);
    }
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("o.qcow2");
    g_assert_cmpint(rig_shell(NULL, "qemu-img convert -O raw o.qcow2 o.raw"),
                    ==, 0);
    expect_same("o.qcow2", "o.raw");
    g_assert_cmpint(rig_shell(NULL,
                              "qemu-io -f qcow2 -c 'write -P 6 2100k 50k' "
                              "-c 'write -P 7 10k 3k' o.qcow2 && "
                              "qemu-img convert -O raw o.qcow2 o.raw"),
                    ==, 0);
    rig_check("o.qcow2");
    expect_same("o.qcow2", "o.raw");
}

static void add_tests(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        rig_add_row("/qcow2-interop/theirs", kinds[i], kinds[i], test_theirs);
        rig_add_row("/qcow2-interop/ours", kinds[i], kinds[i], test_ours);
    }
}

int main(int argc, char **argv)
{
    return rig_main(argc, argv, add_tests);
}
