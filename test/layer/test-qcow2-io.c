/* SPDX-License-Identifier: MIT */
/*
 * qcow2: what is written is read again, whatever kind of cluster it meets, and
 * the image stays consistent.
 */
#include <glib/gstdio.h>
#include <string.h>

#include "base/endian.h"
#include "format/qcow2/entry.h"
#include "qcow2-rig.h"

#define DISK (8 * MiB)

static const char *const formats[] = {
    "compat=1.1",
    "compat=0.10",
    "cluster_size=512",
    "cluster_size=2M",
    "extended_l2=on",
    "extended_l2=on,cluster_size=16k",
    "refcount_bits=1",
    "refcount_bits=64,cluster_size=512",
    "refcount_bits=8,cluster_size=4096,compression_type=zstd",
    "lazy_refcounts=on",
    "preallocation=metadata",
    "preallocation=falloc,cluster_size=4096",
    "data_file=data.raw",
    "data_file=data.raw,data_file_raw=on",
};

static void test_write_and_read(gconstpointer opaque)
{
    const char *how = opaque;
    struct node *node;

    rig_create("a.qcow2", DISK, how);
    rig_check("a.qcow2");
    node = rig_open("a.qcow2", NULL, NODE_RDWR | NODE_UNMAP);
    rig_expect(node, 0, DISK, 0);
    g_assert_cmpint(rig_write(node, 0, 4096, 1, 0), ==, 0);
    g_assert_cmpint(rig_write(node, 100000, 300000, 2, 0), ==, 0);
    g_assert_cmpint(rig_write(node, 150001, 1, 3, 0), ==, 0);
    g_assert_cmpint(rig_write(node, DISK - 10, 10, 4, 0), ==, 0);
    g_assert_cmpint(rig_zero(node, 200000, 150000, REQ_MAY_UNMAP), ==, 0);
    g_assert_cmpint(rig_zero(node, 350000, 1000, 0), ==, 0);
    g_assert_cmpint(rig_write(node, 300000, 10, 5, 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("a.qcow2");

    node = rig_open("a.qcow2", NULL, 0);
    rig_expect(node, 0, 4096, 1);
    rig_expect(node, 4096, 100000 - 4096, 0);
    rig_expect(node, 100000, 50001, 2);
    rig_expect(node, 150001, 1, 3);
    rig_expect(node, 150002, 200000 - 150002, 2);
    rig_expect(node, 200000, 100000, 0);
    rig_expect(node, 300000, 10, 5);
    rig_expect(node, 300010, 51000 - 10, 0);
    rig_expect(node, 351000, 49000, 2);
    rig_expect(node, 400000, DISK - 10 - 400000, 0);
    rig_expect(node, DISK - 10, 10, 4);
    g_assert_cmpint(rig_close(node), ==, 0);
}

/* Version 2 can say that a cluster is a hole, not that it is zeroes: then old
 * data of the backing file would be seen. */
static void test_discard_shows_no_backing(gconstpointer opaque)
{
    const char *how = opaque;
    bool v2 = strstr(how, "0.10") != NULL;
    struct node *node;

    rig_create("base.qcow2", MiB, "compat=1.1");
    node = rig_open("base.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, MiB, 1, 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_create("a.qcow2", 2 * MiB, how);
    node = rig_open("a.qcow2", NULL, NODE_RDWR | NODE_UNMAP);
    g_assert_cmpint(rig_write(node, 0, 2 * MiB, 2, 0), ==, 0);
    g_assert_cmpint(rig_discard(node, 0, 2 * MiB), ==, 0);
    rig_expect(node, 0, MiB, v2 ? 2 : 0);
    rig_expect(node, MiB, MiB, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("a.qcow2");
}

/* Only what is left of a request outside of whole subclusters is written. */
static void test_zero_subclusters(void)
{
    struct node *node;

    rig_create("base.qcow2", MiB, "compat=1.1");
    node = rig_open("base.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, MiB, 1, 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_create("a.qcow2", MiB,
               "extended_l2=on,backing_file=base.qcow2,backing_fmt=qcow2");
    node = rig_open("a.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_zero(node, 31 * KiB, 10 * KiB, 0), ==, 0);
    rig_expect(node, 0, 31 * KiB, 1);
    rig_expect(node, 31 * KiB, 10 * KiB, 0);
    rig_expect(node, 41 * KiB, 23 * KiB, 1);
    g_assert_false(rig_status(node, 31 * KiB, KiB).flags & BLOCK_ZERO);
    g_assert_true(rig_status(node, 32 * KiB, 8 * KiB).flags & BLOCK_ZERO);
    g_assert_cmpint(rig_status(node, 32 * KiB, 8 * KiB).bytes, ==, 8 * KiB);
    g_assert_false(rig_status(node, 40 * KiB, KiB).flags & BLOCK_ZERO);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("a.qcow2");
}

/* Part of a cluster that shows zeroes around it is not written. */
static void test_zero_above_zeroes(void)
{
    struct node *node;

    rig_create("lowest.qcow2", MiB, "");
    rig_create("base.qcow2", MiB,
               "backing_file=lowest.qcow2,backing_fmt=qcow2");
    node = rig_open("base.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 64 * KiB, 1, 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_create("a.qcow2", MiB, "backing_file=base.qcow2,backing_fmt=qcow2");
    node = rig_open("a.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_zero(node, KiB, KiB, 0), ==, 0);
    g_assert_cmpint(rig_zero(node, 65 * KiB, KiB, 0), ==, 0);
    rig_expect(node, 0, KiB, 1);
    rig_expect(node, 2 * KiB, 62 * KiB, 1);
    rig_expect(node, 64 * KiB, 960 * KiB, 0);
    g_assert_true(rig_status(node, 0, KiB).flags & BLOCK_DATA);
    g_assert_true(rig_status(node, 64 * KiB, KiB).flags & BLOCK_ZERO);
    g_assert_true(rig_status(node, 64 * KiB, KiB).flags & BLOCK_ALLOCATED);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("a.qcow2");
}

/* What a disk gains is zeroes, though the backing file has something there and
 * clusters get a place: one each. */
static void test_preallocated_above_backing(gconstpointer opaque)
{
    static const enum prealloc_mode modes[] = {
        PREALLOC_OFF,
        PREALLOC_METADATA,
        PREALLOC_FALLOC,
        PREALLOC_FULL,
    };
    const char *create = opaque;
    g_autofree char *text =
        g_strdup_printf("%s,backing_file=b.raw,backing_fmt=raw", create);
    struct node *node;

    g_assert_cmpint(rig_shell(NULL, "tr '\\0' '\\1' </dev/zero | "
                                    "head -c 1M >b.raw"),
                    ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
        rig_create("a.qcow2", 100 * KiB, text);
        node = rig_open("a.qcow2", NULL, NODE_RDWR);
        g_assert_cmpint(rig_truncate(node, 2 * MiB, modes[i]), ==, 0);
        rig_expect(node, 0, 100 * KiB, 1);
        rig_expect(node, 100 * KiB, 1948 * KiB, 0);
        g_assert_cmpint(rig_close(node), ==, 0);
        rig_check("a.qcow2");
    }
}

/* Zeroes of version 2 that begin above a backing file and end behind it, which
 * ends within a cluster: that cluster stays as it was written. */
static void test_zero_v2_across_backing(void)
{
    struct node *node;

    g_assert_cmpint(rig_shell(NULL, "tr '\\0' '\\1' </dev/zero | "
                                    "head -c 100K >b.raw"),
                    ==, 0);
    rig_create("a.qcow2", MiB,
               "compat=0.10,backing_file=b.raw,backing_fmt=raw");
    node = rig_open("a.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_zero(node, 64 * KiB, 512 * KiB, 0), ==, 0);
    rig_expect(node, 0, 64 * KiB, 1);
    rig_expect(node, 64 * KiB, 960 * KiB, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("a.qcow2");
}

/* The be64 at @offset of a.qcow2. */
static uint64_t peek(int64_t offset)
{
    struct node *node = rig_open("a.qcow2", "driver=raw", 0);
    uint8_t buf[8];

    g_assert_cmpint(rig_read(node, offset, buf, sizeof(buf)), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    return load_be64(buf);
}

/* A write to a cluster of which another subcluster cannot be is an error. */
static void test_broken_subcluster(void)
{
    struct node *node, *raw;
    uint8_t bitmap[8];
    int64_t entry;

    rig_create("a.qcow2", MiB, "extended_l2=on,cluster_size=64k");
    node = rig_open("a.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 2 * KiB, 5, 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);

    entry = (int64_t)(peek((int64_t)peek(40)) & QCOW2_OFFSET_MASK);
    store_be64(bitmap, peek(entry + 8) | qcow2_sub_mask(5, 6) |
                           qcow2_sub_mask(5, 6) << QCOW2_SUBCLUSTERS);
    raw = rig_open("a.qcow2", "driver=raw", NODE_RDWR);
    g_assert_cmpint(rig_write_buf(raw, entry + 8, bitmap, 8, 0), ==, 0);
    g_assert_cmpint(rig_close(raw), ==, 0);

    node = rig_open("a.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 16 * KiB, 2 * KiB, 6, 0), ==, -EIO);
    rig_expect(node, 0, 2 * KiB, 5);
    g_assert_cmpint(rig_write(node, 0, 2 * KiB, 6, 0), ==, -EIO);
    (void)rig_close(node); /* it is marked as corrupt */
}

/* A raw data file is read without the image, too: neither discards nor zeroes
 * say in the image what that file does not. */
static void test_raw_data_file(void)
{
    g_autofree uint8_t *buf = g_malloc(MiB);
    struct node *node, *raw;
    int64_t l1;

    (void)rig_shell(NULL, "rm -f data.raw");
    rig_create("a.qcow2", MiB, "data_file=data.raw,data_file_raw=on");
    node = rig_open("a.qcow2", NULL, NODE_RDWR | NODE_UNMAP);
    g_assert_cmpint(rig_write(node, 0, MiB, 5, 0), ==, 0);
    g_assert_cmpint(rig_discard(node, 0, 128 * KiB), ==, 0);
    g_assert_cmpint(rig_zero(node, 256 * KiB, 64 * KiB, 0), ==, 0);
    g_assert_cmpint(rig_zero(node, 512 * KiB, 64 * KiB, REQ_MAY_UNMAP), ==, 0);
    g_assert_cmpint(rig_zero(node, 777, 1000, 0), ==, 0);
    g_assert_cmpint(rig_read(node, 0, buf, MiB), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("a.qcow2");

    l1 = (int64_t)peek(40);
    g_assert_cmphex(peek((int64_t)(peek(l1) & QCOW2_OFFSET_MASK)), ==,
                    QCOW2_COPIED);
    raw = rig_open("data.raw", "driver=raw", 0);
    for (int64_t i = 0; i < MiB; i += KiB) {
        uint8_t there[KiB];

        g_assert_cmpint(rig_read(raw, i, there, KiB), ==, 0);
        g_assert_cmpmem(there, KiB, buf + i, KiB);
    }
    g_assert_cmpint(rig_close(raw), ==, 0);
}

/* A table that was replaced is forgotten before another one comes to its place:
 * one that does not say that it is ours alone is replaced at the first write. */
static void test_table_anew(void)
{
    const int64_t table = 32 * KiB; /* what one maps */
    struct node *node;
    int64_t l1, old;

    rig_create("a.qcow2", 256 * KiB, "cluster_size=512");
    node = rig_open("a.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 512, 1, 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    l1 = (int64_t)peek(40);
    old = (int64_t)(peek(l1) & QCOW2_OFFSET_MASK);
    g_assert_cmpint(rig_shell(NULL,
                              "printf '\\0' | dd of=a.qcow2 bs=1 seek=%d "
                              "conv=notrunc 2>/dev/null",
                              (int)l1),
                    ==, 0);
    node = rig_open("a.qcow2", NULL, NODE_RDWR);
    rig_expect(node, 0, 512, 1);
    g_assert_cmpint(rig_write(node, 512, 512, 2, 0), ==, 0);
    g_assert_cmpint(rig_flush(node), ==, 0);
    g_assert_cmpint(rig_write(node, table + 1024, 512, 3, 0), ==, 0);
    rig_expect(node, 0, 512, 1);
    rig_expect(node, table, 1024, 0);
    rig_expect(node, table + 1024, 512, 3);
    g_assert_cmpint(rig_close(node), ==, 0);
    g_assert_cmphex(peek(l1 + 8) & QCOW2_OFFSET_MASK, ==, old);
    rig_check("a.qcow2");
}

/* More clusters at once than are compressed at the same time: those that have
 * to wait get their turn. */
static void test_compress_many_at_once(void)
{
    int64_t size = 2 * MiB;
    struct node *node;

    rig_create("a.qcow2", 8 * size, "cluster_size=2M");
    node = rig_open("a.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 8 * size, 6, REQ_WRITE_COMPRESSED), ==,
                    0);
    for (int i = 0; i < 8; i++) {
        g_assert_true(rig_status(node, i * size, 1).flags & BLOCK_COMPRESSED);
    }
    rig_expect(node, 0, 8 * size, 6);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("a.qcow2");
}

/* What was expanded is not taken for other data that come to its place.  Who
 * compresses those works where something else was expanded. */
static void test_packed_anew(void)
{
    struct block_status st;
    struct node *node;
    int64_t size = 64 * KiB;
    g_autofree uint8_t *buf = g_malloc((gsize)(2 * size));

    rig_create("a.qcow2", MiB, "");
    node = rig_open("a.qcow2", NULL, NODE_RDWR | NODE_UNMAP);
    g_assert_cmpint(rig_write(node, 0, size, 1, REQ_WRITE_COMPRESSED), ==, 0);
    g_assert_cmpint(rig_write(node, size, size, 9, REQ_WRITE_COMPRESSED), ==,
                    0);
    g_assert_cmpint(rig_read(node, 0, buf, 2 * size), ==, 0); /* both at once */
    rig_expect(node, 0, size, 1);
    g_assert_cmpint(rig_discard(node, 0, 2 * size), ==, 0);
    g_assert_cmpint(rig_flush(node), ==, 0);
    g_assert_cmpint(rig_write(node, size, size, 2, REQ_WRITE_COMPRESSED), ==,
                    0);
    rig_expect(node, size, size, 2);
    /* It was the same place: the next one is just behind it. */
    g_assert_cmpint(rig_write(node, 2 * size, size, 3, 0), ==, 0);
    st = rig_status(node, 2 * size, size);
    g_assert_cmpint(st.map, ==, 6 * size);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("a.qcow2");
}

/* A new refcount block does not come between clusters of one write: they are
 * 5 to 68 of the file, of which a block counts 64. */
static void test_row_across_refcount_blocks(void)
{
    struct node *node;

    rig_create("a.qcow2", MiB, "cluster_size=512,refcount_bits=64");
    node = rig_open("a.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 32 * KiB, 1, 0), ==, 0);
    g_assert_cmpint(rig_status(node, 0, 32 * KiB).bytes, ==, 32 * KiB);
    rig_expect(node, 0, 32 * KiB, 1);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("a.qcow2");
}

static int64_t file_bytes(const char *name, bool on_disk)
{
    g_autofree char *path = rig_path(name);
    GStatBuf st;

    g_assert_cmpint(g_stat(path, &st), ==, 0);
    return on_disk ? st.st_blocks * 512 : st.st_size;
}

/* What was discarded is taken again before the file gets longer, also when
 * nobody flushes in between. */
static void test_freed_is_taken_again(void)
{
    struct node *node;

    rig_create("a.qcow2", 64 * MiB, "");
    node = rig_open("a.qcow2", NULL, NODE_RDWR | NODE_UNMAP);
    g_assert_cmpint(rig_write(node, 0, 16 * MiB, 1, 0), ==, 0);
    g_assert_cmpint(rig_discard(node, 0, 16 * MiB), ==, 0);
    g_assert_cmpint(rig_write(node, 32 * MiB, 16 * MiB, 2, 0), ==, 0);
    rig_expect(node, 0, 32 * MiB, 0);
    rig_expect(node, 32 * MiB, 16 * MiB, 2);
    g_assert_cmpint(rig_close(node), ==, 0);
    g_assert_cmpint(file_bytes("a.qcow2", false), <, 18 * MiB);
    rig_check("a.qcow2");
}

/* A shorter disk takes less of the host, also where the file cannot be cut. */
static void test_shrink_gives_back(void)
{
    struct node *node;

    rig_create("a.qcow2", 16 * MiB, "");
    node = rig_open("a.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 8 * MiB, 8 * MiB, 1, 0), ==, 0);
    g_assert_cmpint(rig_write(node, 0, 8 * MiB, 2, 0), ==, 0);
    g_assert_cmpint(rig_truncate(node, 4 * MiB, PREALLOC_OFF), ==, 0);
    rig_expect(node, 0, 4 * MiB, 2);
    g_assert_cmpint(rig_close(node), ==, 0);
    g_assert_cmpint(file_bytes("a.qcow2", true), <, 6 * MiB);
    rig_check("a.qcow2");
}

static const char compress_opts[] = "driver=compress,file.driver=qcow2";

/* Does the image itself say that the cluster at @offset is compressed? */
static bool is_compressed(int64_t offset)
{
    struct node *node = rig_open("a.qcow2", NULL, 0);
    bool yes = rig_status(node, offset, 1).flags & BLOCK_COMPRESSED;

    g_assert_cmpint(rig_close(node), ==, 0);
    return yes;
}

/* What is written through the filter is compressed, also parts of clusters and
 * the last one, which the disk does not fill. */
static void test_compress(void)
{
    const int64_t disk = MiB + 512;
    struct node *node;

    rig_create("a.qcow2", disk, "");
    node = rig_open("a.qcow2", compress_opts, NODE_RDWR);
    g_assert_cmpint(node_length(node), ==, disk);
    g_assert_cmpint(rig_write(node, 100 * KiB, 200 * KiB, 1, 0), ==, 0);
    g_assert_cmpint(rig_write(node, 110 * KiB, 512, 2, 0), ==, 0);
    g_assert_cmpint(rig_write(node, MiB, 512, 3, 0), ==, 0);
    g_assert_cmpint(rig_write(node, 512 * KiB, KiB, 4, 0), ==, 0);
    g_assert_cmpint(rig_zero(node, 512 * KiB, 64 * KiB, 0), ==, 0);
    rig_expect(node, 0, 100 * KiB, 0);
    rig_expect(node, 100 * KiB, 10 * KiB, 1);
    rig_expect(node, 110 * KiB, 512, 2);
    rig_expect(node, 110 * KiB + 512, 190 * KiB - 512, 1);
    rig_expect(node, 300 * KiB, MiB - 300 * KiB, 0);
    rig_expect(node, MiB, 512, 3);
    g_assert_cmpint(rig_close(node), ==, 0);
    g_assert_false(is_compressed(0));
    g_assert_true(is_compressed(64 * KiB));
    g_assert_true(is_compressed(128 * KiB));
    g_assert_true(is_compressed(256 * KiB));
    g_assert_false(is_compressed(512 * KiB));
    g_assert_true(is_compressed(MiB));
    rig_check("a.qcow2");
}

static void test_compress_needs_format(void)
{
    g_autofree char *message = NULL;

    g_assert_cmpint(rig_shell(NULL, "truncate -s 1M a.raw"), ==, 0);
    message =
        rig_open_error("a.raw", "driver=compress,file.driver=raw", NODE_RDWR);
    g_assert_nonnull(strstr(message, "raw images cannot be compressed"));
}

static void add_tests(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        rig_add_row("/qcow2-io/write-and-read", formats[i], formats[i],
                    test_write_and_read);
    }
    g_test_add_data_func(
        "/qcow2-io/discard-shows-no-backing/v2",
        "compat=0.10,backing_file=base.qcow2,backing_fmt=qcow2",
        test_discard_shows_no_backing);
    g_test_add_data_func("/qcow2-io/discard-shows-no-backing/v3",
                         "compat=1.1,backing_file=base.qcow2,backing_fmt=qcow2",
                         test_discard_shows_no_backing);
    g_test_add_func("/qcow2-io/freed-again", test_freed_is_taken_again);
    g_test_add_func("/qcow2-io/shrink-gives-back", test_shrink_gives_back);
    g_test_add_func("/qcow2-io/compress", test_compress);
    g_test_add_func("/qcow2-io/compress-raw", test_compress_needs_format);
    g_test_add_func("/qcow2-io/row-across-refcount-blocks",
                    test_row_across_refcount_blocks);
    g_test_add_data_func("/qcow2-io/preallocated-above-backing/v2",
                         "compat=0.10,cluster_size=4k",
                         test_preallocated_above_backing);
    g_test_add_data_func("/qcow2-io/preallocated-above-backing/subclusters",
                         "extended_l2=on", test_preallocated_above_backing);
    g_test_add_func("/qcow2-io/zero-subclusters", test_zero_subclusters);
    g_test_add_func("/qcow2-io/zero-above-zeroes", test_zero_above_zeroes);
    g_test_add_func("/qcow2-io/packed-anew", test_packed_anew);
    g_test_add_func("/qcow2-io/zero-v2-across-backing",
                    test_zero_v2_across_backing);
    g_test_add_func("/qcow2-io/raw-data-file", test_raw_data_file);
    g_test_add_func("/qcow2-io/broken-subcluster", test_broken_subcluster);
    g_test_add_func("/qcow2-io/table-anew", test_table_anew);
    g_test_add_func("/qcow2-io/compress-many-at-once",
                    test_compress_many_at_once);
}

int main(int argc, char **argv)
{
    return rig_main(argc, argv, add_tests);
}
