/* SPDX-License-Identifier: MIT */
/*
 * qcow2: which requests wait for which, and what they do to the file, stepped
 * by hand.
 *
 * The image lies in memory: clusters of 4 KiB, of which the first ones are
 *
 *   0  header          3  L1 table
 *   1  refcount table  4  L2 table
 *   2  refcount block  5  free from here on
 */
#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "base/options.h"
#include "block/image.h"
#include "fixtures.h"
#include "format/qcow2/codec.h"
#include "format/qcow2/driver.h"
#include "format/qcow2/entry.h"
#include "format/qcow2/header.h"

#define CLUSTER  4096
#define CLUSTERS 256
#define L2       (4 * CLUSTER)
#define DATA     (5 * CLUSTER) /* the first cluster that is free */
#define PACKED   8

static const char driver_opts[] =
    "driver=qcow2,file.driver=image,file.size=20480,file.align=1";

/* -- The image ----------------------------------------------------------- */

/* "image" is "mem-grows" that begins with an image in it. */
static int (*mem_open)(struct node *node, struct options *opts, GError **err)
    co_fn_ptr;

/* Whether the next one has a cluster at DATA that counts 2, no L2 table,
 * compressed data of guest cluster PACKED at DATA, the refcount block as guest
 * cluster 2, or entries that cannot be. */
static bool shared, without_table, packed, tangled, broken;

static void put_packed(struct mem *m)
{
    const struct qcow2_entry_format format = {.cluster_bits = 12};
    struct codec *codec = codec_new(QCOW2_DEFLATE);
    g_autofree uint8_t *plain = g_malloc(CLUSTER);
    int64_t n;

    memset(plain, 7, CLUSTER);
    n = codec_pack(codec, plain, CLUSTER, m->data + DATA, CLUSTER);
    g_assert_cmpint(n, >, 0);
    codec_free(codec);
    store_be64(m->data + L2 + 8 * PACKED, qcow2_entry_pack(&format, DATA, n));
    store_be16(m->data + 2 * CLUSTER + 2 * 5, 1);
}

static int co_fn image_co_open(struct node *node, struct options *opts,
                               GError **err)
{
    struct qcow2_header h = {
        .version = 3,
        .cluster_bits = 12,
        .size = CLUSTERS * CLUSTER,
        .l1_entries = 1,
        .l1_offset = 3 * CLUSTER,
        .reftable_offset = CLUSTER,
        .reftable_clusters = 1,
        .refcount_order = 4,
    };
    int rc = mem_open(node, opts, err);
    struct mem *m = node_state(node);

    g_assert_cmpint(qcow2_header_serialise(&h, m->data), ==, 0);
    store_be64(m->data + CLUSTER, 2 * CLUSTER);
    for (int i = 0; i < (without_table ? 4 : 5); i++) {
        store_be16(m->data + 2 * CLUSTER + 2 * i, 1);
    }
    if (!without_table) {
        store_be64(m->data + h.l1_offset, QCOW2_COPIED | L2);
    }
    if (shared) {
        store_be64(m->data + L2, DATA);
        store_be16(m->data + 2 * CLUSTER + 2 * 5, 2);
        memset(m->data + DATA, 1, CLUSTER);
    }
    if (packed) {
        put_packed(m);
    }
    if (tangled) {
        store_be64(m->data + L2 + 8 * 2, QCOW2_COPIED | 2 * CLUSTER);
    }
    if (broken) {
        store_be64(m->data + L2 + 8, QCOW2_COPIED | (DATA + 512));
        store_be64(m->data + L2 + 16, QCOW2_COPIED | (DATA + CLUSTER));
        store_be16(m->data + 2 * CLUSTER + 2 * 5, 1);
        store_be16(m->data + 2 * CLUSTER + 2 * 6, 1);
    }
    return rc;
}

static struct driver driver_image;

/* Sets up a driver; calls none of its functions. */
TSA(no_thread_safety_analysis)
static void register_image(void)
{
    co_assert_role(); /* so that the slots of drivers may be looked at */
    driver_image = *driver_find("mem-grows");
    driver_image.name = "image";
    mem_open = driver_image.co_open;
    driver_image.co_open = image_co_open;
    driver_register(&driver_image);
    driver_register(&driver_qcow2);
}

/* Opens it, with what is read first in memory. */
static struct node *open_image(void)
{
    struct node *node = open_node(driver_opts, NODE_RDWR | NODE_UNMAP);
    struct job read = job(READ, .node = node, .bytes = 1);
    struct job write = job(WRITE, .node = node, .bytes = CLUSTER, .fill = 1);

    g_assert_cmpint(job_run(&read), ==, 0);
    g_assert_cmpint(job_run(&write), ==, 0);
    g_free(mem_log_take(mem_of(node)));
    return node;
}

/* The same, where somebody else refers to the first cluster as well, and the
 * one behind it is taken. */
static struct node *open_shared_image(void)
{
    struct job write =
        job(WRITE, .offset = 9 * CLUSTER, .bytes = CLUSTER, .fill = 3);

    shared = true;
    write.node = open_node(driver_opts, NODE_RDWR | NODE_UNMAP);
    shared = false;
    g_assert_cmpint(job_run(&write), ==, 0);
    g_free(mem_log_take(mem_of(write.node)));
    return write.node;
}

/* The entry of cluster 1 is not aligned; what it covers is cluster 2's. */
static struct node *open_broken_image(void)
{
    struct node *node;

    broken = true;
    node = open_node(driver_opts, NODE_RDWR | NODE_UNMAP);
    broken = false;
    return node;
}

static uint64_t l2_entry(const struct mem *m, int i)
{
    return load_be64(m->data + L2 + 8 * i);
}

static int refcount(const struct mem *m, int i)
{
    return load_be16(m->data + 2 * CLUSTER + 2 * i);
}

/* -- Who waits for whom -------------------------------------------------- */

static void test_different_clusters(void)
{
    struct node *node = open_image();
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, .node = node, .offset = 2 * CLUSTER, .bytes = 512,
                       .fill = 2);
    struct job b = job(WRITE, .node = node, .offset = 4 * CLUSTER, .bytes = 512,
                       .fill = 3);

    m->hold = true;
    job_start(&a);
    job_start(&b);
    g_assert_cmpint(mem_pending(m), ==, 2);
    mem_complete(m, 1);
    g_assert_cmpint(job_finish(&b), ==, 0);
    g_assert_false(a.done);
    mem_complete(m, 0);
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(close_node(node), ==, 0);
}

/*
 *   a  allocates cluster 2 |        write of its data        | done
 *   b  same cluster         waits for a ..................... writes in place
 */
static void test_same_cluster(void)
{
    struct node *node = open_image();
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, .node = node, .offset = 2 * CLUSTER, .bytes = 512,
                       .fill = 2);
    struct job b = job(WRITE, .node = node, .offset = 2 * CLUSTER + 1024,
                       .bytes = 512, .fill = 3);

    m->hold = true;
    job_start(&a);
    job_start(&b);
    mem_step(m, "W24576+512");
    g_assert_cmpint(job_finish(&a), ==, 0);
    mem_step(m, "W25600+512");
    g_assert_cmpint(job_finish(&b), ==, 0);
    g_assert_true(bytes_are(m->data + 24576, 2, 512));
    g_assert_true(bytes_are(m->data + 24576 + 512, 0, 512));
    g_assert_true(bytes_are(m->data + 24576 + 1024, 3, 512));
    g_assert_cmpint(close_node(node), ==, 0);
}

/* When the one that allocates fails, the next one does it. */
static void test_same_cluster_failed(void)
{
    struct node *node = open_image();
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, .node = node, .offset = 2 * CLUSTER, .bytes = 512,
                       .fill = 2);
    struct job b = job(WRITE, .node = node, .offset = 2 * CLUSTER + 1024,
                       .bytes = 512, .fill = 3);
    struct job read =
        job(READ, .node = node, .offset = 2 * CLUSTER, .bytes = CLUSTER);

    m->hold = true;
    job_start(&a);
    job_start(&b);
    mem_fail(m, 0, -EIO);
    g_assert_cmpint(job_finish(&a), ==, -EIO);
    mem_complete_all(m);
    g_assert_cmpint(job_finish(&b), ==, 0);
    m->hold = false;
    job_start(&read);
    g_assert_true(bytes_are(read.buf, 0, 1024));
    g_assert_true(bytes_are(read.buf + 1024, 3, 512));
    g_assert_true(bytes_are(read.buf + 1536, 0, CLUSTER - 1536));
    g_assert_cmpint(job_finish(&read), ==, 0);
    g_assert_cmpint(close_node(node), ==, 0);
}

/* Reads, and writes in place, pass by one that allocates. */
static void test_mapped_does_not_wait(void)
{
    struct node *node = open_image();
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, .node = node, .offset = 2 * CLUSTER, .bytes = 512,
                       .fill = 2);
    struct job b =
        job(WRITE, .node = node, .offset = 100, .bytes = 10, .fill = 3);
    struct job read = job(READ, .node = node, .offset = 200, .bytes = 10);

    m->hold = true;
    job_start(&a);
    g_free(mem_log_take(m));
    job_start(&b);
    job_start(&read);
    mem_expect(m, "W20580+10 R20680+10");
    mem_complete(m, 2);
    g_assert_true(bytes_are(read.buf, 1, 10));
    g_assert_cmpint(job_finish(&read), ==, 0);
    mem_complete(m, 1);
    g_assert_cmpint(job_finish(&b), ==, 0);
    mem_complete(m, 0);
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(close_node(node), ==, 0);
}

/* Clusters 0 to 2 in a row, the second one zeroes that keep their place. */
static struct node *open_image_with_gap(void)
{
    struct node *node = open_image();
    struct job write = job(WRITE, .node = node, .offset = CLUSTER,
                           .bytes = 2 * CLUSTER, .fill = 1);
    struct job zero =
        job(ZEROES, .node = node, .offset = CLUSTER, .bytes = CLUSTER);

    g_assert_cmpint(job_run(&write), ==, 0);
    g_assert_cmpint(job_run(&zero), ==, 0);
    g_free(mem_log_take(mem_of(node)));
    return node;
}

/*
 * What lies in a row is written at once, in place or not.  What it leaves of
 * the edges, which are in place, is not touched: others write there meanwhile.
 */
static void test_in_a_row(void)
{
    struct node *node = open_image_with_gap();
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, .node = node, .offset = 512,
                       .bytes = 3 * CLUSTER - 1024, .fill = 2);
    struct job head = job(WRITE, .node = node, .bytes = 512, .fill = 3);
    struct job tail = job(WRITE, .node = node, .offset = 3 * CLUSTER - 512,
                          .bytes = 512, .fill = 4);
    struct job read = job(READ, .node = node, .bytes = 3 * CLUSTER);

    m->hold = true;
    job_start(&a);
    job_start(&head);
    job_start(&tail);
    mem_expect(m, "W20992+11264 W20480+512 W32256+512");
    mem_complete(m, 2);
    g_assert_cmpint(job_finish(&tail), ==, 0);
    mem_complete(m, 1);
    g_assert_cmpint(job_finish(&head), ==, 0);
    mem_complete(m, 0);
    g_assert_cmpint(job_finish(&a), ==, 0);
    m->hold = false;
    job_start(&read);
    g_assert_true(bytes_are(read.buf, 3, 512));
    g_assert_true(bytes_are(read.buf + 512, 2, 3 * CLUSTER - 1024));
    g_assert_true(bytes_are(read.buf + 3 * CLUSTER - 512, 4, 512));
    g_assert_cmpint(job_finish(&read), ==, 0);
    g_assert_cmpint(close_node(node), ==, 0);
}

/* Where that fails, what was zeroes still is. */
static void test_in_a_row_failed(void)
{
    struct node *node = open_image_with_gap();
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, .node = node, .bytes = 3 * CLUSTER, .fill = 2);
    struct job read =
        job(READ, .node = node, .offset = CLUSTER, .bytes = CLUSTER);

    m->hold = true;
    job_start(&a);
    mem_fail(m, 0, -EIO);
    g_assert_cmpint(job_finish(&a), ==, -EIO);
    m->hold = false;
    job_start(&read);
    g_assert_true(bytes_are(read.buf, 0, CLUSTER));
    g_assert_cmpint(job_finish(&read), ==, 0);
    g_assert_cmpint(close_node(node), ==, 0);
}

/* A write that lets go of a place waits for one that still goes there. */
static void test_compressed_waits(void)
{
    struct node *node = open_image();
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, .node = node, .bytes = 512, .fill = 2);
    struct job b = job(WRITE, .node = node, .bytes = CLUSTER, .fill = 3,
                       .flags = REQ_WRITE_COMPRESSED | REQ_NO_WAIT);

    m->hold = true;
    job_start(&a);
    job_start(&b);
    g_assert_cmpint(job_finish(&b), ==, -EBUSY);
    mem_complete_all(m);
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(close_node(node), ==, 0);
}

static void co_fn make_longer(void *opaque)
{
    struct node *node = opaque;

    g_assert_cmpint(node_co_truncate(node, (CLUSTERS + 2) * CLUSTER,
                                     PREALLOC_FALLOC, 0, NULL),
                    ==, 0); /* yields */
}

/*
 * The disk ended amid a cluster, which is to get a place with what it gains.
 * Whoever writes to the beginning of it meanwhile waits.
 */
static void test_preallocated_edge(void)
{
    struct node *node = open_image();
    struct mem *m = mem_of(node);
    struct job edge =
        job(TRUNCATE, .node = node, .offset = CLUSTERS * CLUSTER + 512);
    struct job longer =
        job(CALL, .node = node, .call = make_longer, .opaque = node);
    struct job write = job(WRITE, .node = node, .bytes = 512, .fill = 2,
                           .offset = CLUSTERS * CLUSTER);
    struct job read = write;

    read.kind = JOB_READ;
    g_assert_cmpint(job_run(&edge), ==, 0);
    m->hold = true;
    job_start(&longer);
    g_assert_cmpint(mem_pending(m), ==, 1);
    job_start(&write);
    while (mem_pending(m) > 1) {
        mem_complete(m, 1);
    }
    m->hold = false;
    mem_complete_all(m);
    g_assert_cmpint(job_finish(&longer), ==, 0);
    g_assert_cmpint(job_finish(&write), ==, 0);
    job_start(&read);
    g_assert_true(bytes_are(read.buf, 2, 512));
    g_assert_cmpint(job_finish(&read), ==, 0);
    g_assert_cmpint(close_node(node), ==, 0);
}

static struct node *growing;

static void co_fn make_twice_as_long(void *opaque)
{
    int *rc = opaque;

    *rc = node_co_truncate(growing, 2 * CLUSTERS * CLUSTER, PREALLOC_FALLOC, 0,
                           NULL); /* yields */
}

/* Makes the disk twice as long, where the @nth allocation on the host fails. */
static int grow_failing(struct node *node, int nth)
{
    struct mem *m = mem_of(node);
    int rc = 0, n = 0;
    struct job longer =
        job(CALL, .node = node, .call = make_twice_as_long, .opaque = &rc);

    growing = node;
    g_free(mem_log_take(m));
    m->hold = true;
    job_start(&longer);
    while (!longer.done) {
        g_autofree char *log = mem_log_take(m);

        n += log[0] == 'A';
        if (log[0] == 'A' && n == nth) {
            mem_fail(m, 0, -ENOSPC);
        } else {
            mem_complete(m, 0);
        }
    }
    m->hold = false;
    g_assert_cmpint(job_finish(&longer), ==, 0);
    return rc;
}

static int count_used(const struct mem *m)
{
    int n = 0;

    for (int i = 0; i < CLUSTER / 2; i++) {
        n += refcount(m, i) > 0;
    }
    return n;
}

/* Flushes twice: first what was freed is safe to count down, then it is. */
static void flush_counts(struct node *node)
{
    for (int i = 0; i < 2; i++) {
        struct job flush = job(FLUSH, .node = node);

        g_assert_cmpint(job_run(&flush), ==, 0);
    }
}

/*
 * What was allocated for a disk that could not be made longer is given back:
 * the run of clusters for which that failed, and the one before it, which was
 * mapped already.
 */
static void test_preallocation_fails(void)
{
    struct node *node = open_image();
    struct mem *m = mem_of(node);
    struct job write = job(WRITE, .node = node, .offset = CLUSTER,
                           .bytes = CLUSTER, .fill = 2);
    struct job discard = job(DISCARD, .node = node, .bytes = CLUSTER);

    g_assert_cmpint(job_run(&write), ==, 0);
    g_assert_cmpint(job_run(&discard), ==, 0);
    flush_counts(node);
    g_assert_cmpint(refcount(m, 5), ==, 0); /* the first run has one cluster */
    g_assert_cmpint(grow_failing(node, 2), ==, -ENOSPC);
    g_assert_cmpint(grow_failing(node, 1), ==, -ENOSPC);
    flush_counts(node);
    g_assert_cmpint(count_used(m), ==, 6);
    g_assert_cmpint(grow_failing(node, 0), ==, 0);
    flush_counts(node);
    g_assert_cmpint(count_used(m), ==, 6 + CLUSTERS);
    g_assert_cmpint(close_node(node), ==, 0);
}

/* A reader of a cluster that is being allocated sees what was there. */
static void test_read_before_link(void)
{
    struct node *node = open_image();
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, .node = node, .offset = 2 * CLUSTER, .bytes = 512,
                       .fill = 2);
    struct job read =
        job(READ, .node = node, .offset = 2 * CLUSTER, .bytes = 512);

    m->hold = true;
    job_start(&a);
    job_start(&read);
    g_assert_true(read.done);
    g_assert_true(bytes_are(read.buf, 0, 512));
    g_assert_cmpint(job_finish(&read), ==, 0);
    mem_complete(m, 0);
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(close_node(node), ==, 0);
}

/* -- What goes to the file ----------------------------------------------- */

/* Clusters that were never used are zeroes: only the data are written. */
static void test_fresh_cluster(void)
{
    struct node *node = open_image();
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, .node = node, .offset = 2 * CLUSTER + 512,
                       .bytes = 512, .fill = 2);

    g_assert_cmpint(job_run(&a), ==, 0);
    mem_expect(m, "W25088+512");
    g_assert_cmpint(close_node(node), ==, 0);
}

/* One that was used before is written whole, at once. */
static void test_used_cluster(void)
{
    struct node *node = open_image();
    struct mem *m = mem_of(node);
    struct job discard = job(DISCARD, .node = node, .bytes = CLUSTER);
    struct job flush = job(FLUSH, .node = node);
    struct job a = job(WRITE, .node = node, .offset = 2 * CLUSTER + 512,
                       .bytes = 512, .fill = 2);

    g_assert_cmpint(job_run(&discard), ==, 0);
    g_assert_cmpint(job_run(&flush), ==, 0);
    g_free(mem_log_take(m));
    g_assert_cmpint(job_run(&a), ==, 0);
    mem_expect(m, "W20480+4096");
    g_assert_true(bytes_are(m->data + DATA, 0, 512));
    g_assert_true(bytes_are(m->data + DATA + 512, 2, 512));
    g_assert_true(bytes_are(m->data + DATA + 1024, 0, CLUSTER - 1024));
    g_assert_cmpint(close_node(node), ==, 0);
}

/*
 * A cluster that is not ours alone moves.  Of the old one only that is read
 * which is not overwritten, and all of the new one goes out in one write.
 *
 *     |  old  | data |    old    |
 */
static void test_copy_on_write(void)
{
    struct node *node = open_shared_image();
    struct mem *m = mem_of(node);
    struct job a =
        job(WRITE, .node = node, .offset = 1024, .bytes = 512, .fill = 2);

    g_assert_cmpint(job_run(&a), ==, 0);
    mem_expect(m, "R20480+1024 R22016+2560 W28672+4096");
    g_assert_true(bytes_are(m->data + DATA + 2 * CLUSTER, 1, 1024));
    g_assert_true(bytes_are(m->data + DATA + 2 * CLUSTER + 1024, 2, 512));
    g_assert_true(bytes_are(m->data + DATA + 2 * CLUSTER + 1536, 1, 2560));
    g_assert_cmpint(close_node(node), ==, 0);
}

/* What is overwritten as a whole is not read. */
static void test_overwrite_shared(void)
{
    struct node *node = open_shared_image();
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, .node = node, .bytes = CLUSTER, .fill = 2);

    g_assert_cmpint(job_run(&a), ==, 0);
    mem_expect(m, "W28672+4096");
    g_assert_cmpint(close_node(node), ==, 0);
}

/* Clusters in a row get places in a row, and one write. */
static void test_one_write(void)
{
    struct node *node = open_image();
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, .node = node, .offset = 2 * CLUSTER + 512,
                       .bytes = 10 * CLUSTER, .fill = 2);

    g_assert_cmpint(job_run(&a), ==, 0);
    mem_expect(m, "W25088+40960");
    g_assert_cmpint(close_node(node), ==, 0);
}

/* A new L2 table is not read: it is known to be empty. */
static void test_new_table(void)
{
    struct job a = job(WRITE, .bytes = CLUSTER, .fill = 2);
    struct mem *m;

    without_table = true;
    a.node = open_node(driver_opts, NODE_RDWR);
    without_table = false;
    m = mem_of(a.node);
    g_free(mem_log_take(m));
    g_assert_cmpint(job_run(&a), ==, 0);
    mem_expect(m, "R8192+4096 Z16384+4096 T1073152 W20480+4096");
    g_assert_cmpint(close_node(a.node), ==, 0);
}

/* Counts and data come before what refers to them, with a flush between. */
static void test_flush_order(void)
{
    struct node *node = open_image();
    struct mem *m = mem_of(node);
    struct job flush = job(FLUSH, .node = node);

    g_assert_cmpint(job_run(&flush), ==, 0);
    mem_expect(m, "W8192+4096 F W16384+4096 F");
    g_assert_cmpuint(l2_entry(m, 0), ==, QCOW2_COPIED | DATA);
    g_assert_cmpint(refcount(m, 5), ==, 1);
    g_assert_cmpint(close_node(node), ==, 0);
}

/* Without changes of metadata a flush is one flush. */
static void test_flush_in_place(void)
{
    struct node *node = open_image();
    struct mem *m = mem_of(node);
    struct job flush = job(FLUSH, .node = node);
    struct job again = job(FLUSH, .node = node);
    struct job a = job(WRITE, .node = node, .bytes = 512, .fill = 2);

    g_assert_cmpint(job_run(&flush), ==, 0);
    g_assert_cmpint(job_run(&a), ==, 0);
    g_free(mem_log_take(m));
    g_assert_cmpint(job_run(&again), ==, 0);
    mem_expect(m, "F");
    g_assert_cmpint(close_node(node), ==, 0);
}

/* What is linked while a flush is under way is not written by it: its data
 * may not be durable yet. */
static void test_link_during_flush(void)
{
    struct node *node = open_image();
    struct mem *m = mem_of(node);
    struct job flush = job(FLUSH, .node = node);
    struct job a = job(WRITE, .node = node, .offset = 2 * CLUSTER, .bytes = 512,
                       .fill = 2);

    m->hold = true;
    job_start(&flush); /* writes the refcount block */
    mem_complete(m, 0);
    job_start(&a);
    mem_complete(m, 1); /* @a is linked now; the flush is still at its first */
    g_assert_cmpint(job_finish(&a), ==, 0);
    mem_complete(m, 0); /* the first flush; the L2 table is written */
    mem_complete(m, 0);
    g_assert_cmpuint(l2_entry(m, 0), ==, QCOW2_COPIED | DATA);
    g_assert_cmpuint(l2_entry(m, 2), ==, 0);
    mem_complete_all(m);
    g_assert_cmpint(job_finish(&flush), ==, 0);
    g_assert_cmpint(close_node(node), ==, 0);
    /* The image is gone; that it has the entry in the end, histories test. */
}

/* Writes the clusters before PACKED so that no two of them lie in a row. */
static struct node *open_packed_image(void)
{
    struct node *node;

    packed = true;
    node = open_node(driver_opts, NODE_RDWR | NODE_UNMAP);
    packed = false;
    for (int i = 0; i < PACKED; i++) {
        struct job write = job(WRITE, .node = node, .bytes = CLUSTER,
                               .offset = i * 3 % PACKED * CLUSTER, .fill = 1);

        g_assert_cmpint(job_run(&write), ==, 0);
    }
    return node;
}

/*
 * A read of many extents does some at a time.  The last one, compressed, is
 * written elsewhere meanwhile, and its old place has other data.
 */
static void test_packed_moves(void)
{
    struct node *node = open_packed_image();
    struct mem *m = mem_of(node);
    struct job read = job(READ, .node = node, .bytes = PACKED * CLUSTER + 100);
    struct job move = job(WRITE, .node = node, .offset = PACKED * CLUSTER,
                          .bytes = CLUSTER, .fill = 2);
    struct job flush = job(FLUSH, .node = node);
    struct job other = job(WRITE, .node = node, .offset = 20 * CLUSTER,
                           .bytes = CLUSTER, .fill = 0x55);

    m->hold = true;
    job_start(&read);
    g_assert_cmpint(mem_pending(m), ==, PACKED);
    job_start(&move);
    mem_complete(m, PACKED);
    g_assert_cmpint(job_finish(&move), ==, 0);
    job_start(&flush);
    while (!flush.done) {
        mem_complete(m, PACKED);
    }
    g_assert_cmpint(job_finish(&flush), ==, 0);
    g_free(mem_log_take(m));
    job_start(&other);
    mem_expect(m, "W20480+4096");
    mem_complete(m, PACKED);
    g_assert_cmpint(job_finish(&other), ==, 0);
    m->hold = false;
    mem_complete_all(m);
    while (!read.done) {
        loop_turn(fixture_loop(), true);
    }
    g_assert_true(bytes_are(read.buf, 1, PACKED * CLUSTER));
    g_assert_true(bytes_are(read.buf + PACKED * CLUSTER, 2, 100));
    g_assert_cmpint(job_finish(&read), ==, 0);
    g_assert_cmpint(close_node(node), ==, 0);
}

/* Compressed data that are being read keep their place. */
static void test_packed_is_read(void)
{
    struct node *node = open_packed_image();
    struct mem *m = mem_of(node);
    struct job read =
        job(READ, .node = node, .offset = PACKED * CLUSTER, .bytes = 100);
    struct job move = job(WRITE, .node = node, .offset = PACKED * CLUSTER,
                          .bytes = CLUSTER, .fill = 2);
    struct job flush = job(FLUSH, .node = node);
    struct job other = job(WRITE, .node = node, .offset = 20 * CLUSTER,
                           .bytes = CLUSTER, .fill = 0x55);

    m->hold = true;
    job_start(&read);
    g_assert_cmpint(mem_pending(m), ==, 1);
    job_start(&move);
    mem_complete(m, 1);
    g_assert_cmpint(job_finish(&move), ==, 0);
    job_start(&flush);
    while (!flush.done) {
        mem_complete(m, 1);
    }
    g_assert_cmpint(job_finish(&flush), ==, 0);
    job_start(&other);
    mem_complete(m, 1);
    g_assert_cmpint(job_finish(&other), ==, 0);
    m->hold = false;
    mem_complete_all(m);
    while (!read.done) {
        loop_turn(fixture_loop(), true);
    }
    g_assert_true(bytes_are(read.buf, 7, 100));
    g_assert_cmpint(job_finish(&read), ==, 0);
    g_assert_cmpint(close_node(node), ==, 0);
}

/* A cluster is only given out again when nothing on disk refers to it. */
static void test_free_waits_for_flush(void)
{
    struct node *node = open_image();
    struct mem *m = mem_of(node);
    struct job flush = job(FLUSH, .node = node);
    struct job discard = job(DISCARD, .node = node, .bytes = CLUSTER);
    struct job a = job(WRITE, .node = node, .offset = 2 * CLUSTER,
                       .bytes = CLUSTER, .fill = 2);
    struct job again = job(FLUSH, .node = node);
    struct job b = job(WRITE, .node = node, .offset = 3 * CLUSTER,
                       .bytes = CLUSTER, .fill = 3);

    g_assert_cmpint(job_run(&flush), ==, 0);
    g_assert_cmpint(job_run(&discard), ==, 0);
    g_free(mem_log_take(m));
    g_assert_cmpint(job_run(&a), ==, 0);
    mem_expect(m, "W24576+4096");
    g_assert_cmpint(job_run(&again), ==, 0);
    g_free(mem_log_take(m));
    g_assert_cmpint(job_run(&b), ==, 0);
    mem_expect(m, "W20480+4096");
    g_assert_cmpint(close_node(node), ==, 0);
}

/*
 *   write 0+512       | data ........................ written
 *   zeroes 1024+512   |        waits: what the entry says is changing
 *
 * Both are in one cluster, which is a hole.
 */
static void test_zeroes_beside_write(void)
{
    struct node *node = open_image();
    struct mem *m = mem_of(node);
    int64_t at = 2 * CLUSTER;
    struct job write =
        job(WRITE, .node = node, .offset = at, .bytes = 512, .fill = 2);
    struct job zero =
        job(ZEROES, .node = node, .offset = at + 1024, .bytes = 512);
    struct job read = job(READ, .node = node, .offset = at, .bytes = CLUSTER);

    m->hold = true;
    job_start(&write);
    g_assert_cmpint(mem_pending(m), ==, 1);
    job_start(&zero);
    g_assert_cmpint(mem_pending(m), ==, 1);
    g_assert_false(zero.done);
    mem_complete_all(m);
    g_assert_cmpint(job_finish(&write), ==, 0);
    g_assert_cmpint(job_finish(&zero), ==, 0);
    m->hold = false;
    job_start(&read);
    g_assert_true(bytes_are(read.buf, 2, 512));
    g_assert_true(bytes_are(read.buf + 512, 0, CLUSTER - 512));
    g_assert_cmpint(job_finish(&read), ==, 0);
    g_assert_cmpint(close_node(node), ==, 0);
}

/* A cluster whose new mapping could not be written is still referred to by the
 * one on disk: nobody gets it. */
static void test_failed_flush_frees_nothing(void)
{
    struct node *node = open_image();
    struct mem *m = mem_of(node);
    struct job flush = job(FLUSH, .node = node), again = flush, last = flush;
    struct job discard = job(DISCARD, .node = node, .bytes = CLUSTER);
    struct job a = job(WRITE, .node = node, .offset = 2 * CLUSTER,
                       .bytes = CLUSTER, .fill = 2);
    struct job b = job(WRITE, .node = node, .offset = 3 * CLUSTER,
                       .bytes = CLUSTER, .fill = 3);

    g_assert_cmpint(job_run(&flush), ==, 0);
    g_assert_cmpint(job_run(&discard), ==, 0);
    m->hold = true;
    job_start(&again);
    while (!again.done) {
        mem_fail(m, 0, -EIO);
    }
    g_assert_cmpint(job_finish(&again), ==, -EIO);
    m->hold = false;
    g_free(mem_log_take(m));
    g_assert_cmpint(job_run(&a), ==, 0);
    mem_expect(m, "W24576+4096");
    g_assert_cmpint(job_run(&last), ==, 0);
    g_free(mem_log_take(m));
    g_assert_cmpint(job_run(&b), ==, 0);
    mem_expect(m, "W20480+4096");
    g_assert_cmpint(close_node(node), ==, 0);
}

/* A longer L1 table: counts and L2 tables are written first, then the table,
 * then the header that names it. */
static void test_longer_l1(void)
{
    struct node *node = open_image();
    struct mem *m = mem_of(node);
    struct job resize =
        job(TRUNCATE, .node = node, .offset = 1024 * CLUSTERS * CLUSTER);
    g_autofree char *log = NULL;

    g_assert_cmpint(job_run(&resize), ==, 0);
    log = mem_log_take(m);
    g_assert_true(g_str_has_prefix(
        log, "W8192+4096 F W16384+4096 W24576+4096 F R0+4096 W0+512 F"));
    g_assert_cmpint(close_node(node), ==, 0);
}

static struct node *open_tangled_image(void)
{
    struct node *node;

    tangled = true;
    node = open_image();
    tangled = false;
    return node;
}

/*
 *   resize  | header is being written ............... is written | done
 *   write             would overwrite a table: marks ... marked  | fails
 *
 * The header that knew nothing of it does not undo the mark.
 */
static void test_mark_during_header(void)
{
    struct node *node = open_tangled_image();
    struct mem *m = mem_of(node);
    struct job resize =
        job(TRUNCATE, .node = node, .offset = (CLUSTERS - 1) * CLUSTER);
    struct job write = job(WRITE, .node = node, .offset = 2 * CLUSTER,
                           .bytes = 512, .fill = 2);
    struct qcow2_header h;

    m->hold = true;
    job_start(&resize);
    while (!strstr(m->log->str, "W0+512")) {
        mem_complete(m, 0);
    }
    job_start(&write);
    while (mem_pending(m) > 0) {
        mem_complete(m, mem_pending(m) - 1); /* what began last */
    }
    g_assert_cmpint(job_finish(&resize), ==, 0);
    g_assert_cmpint(job_finish(&write), ==, -EIO);
    g_assert_cmpint(qcow2_header_parse(m->data, CLUSTER, "image", &h, NULL), ==,
                    0);
    g_assert_cmpint(h.size, ==, (CLUSTERS - 1) * CLUSTER);
    g_assert_true(h.incompatible & QCOW2_CORRUPT);
    qcow2_header_fini(&h);
    m->hold = false;
    (void)close_node(node);
}

static void no_progress(void *opaque, int64_t done, int64_t total)
{
}

static void co_fn amend_fails(void *opaque)
{
    g_autoptr(options) o = options_new();

    co_assert_role();
    g_assert_cmpint(options_parse(o, "lazy_refcounts=on", NULL), ==, 0);
    g_assert_cmpint(
        driver_qcow2.image->co_amend(opaque, o, false, no_progress, NULL, NULL),
        ==, -EIO); /* yields */
}

/* Nobody knows whether a header is on disk whose flush failed: the one before
 * takes its place again. */
static void test_amend_undone(void)
{
    struct node *node = open_image();
    struct mem *m = mem_of(node);
    struct job flush = job(FLUSH, .node = node);
    struct job amend =
        job(CALL, .node = node, .call = amend_fails, .opaque = node);
    struct qcow2_header h;

    g_assert_cmpint(job_run(&flush), ==, 0);
    g_free(mem_log_take(m));
    m->hold = true;
    job_start(&amend);
    while (!strstr(m->log->str, "W0+512 F")) {
        mem_complete(m, 0);
    }
    mem_fail(m, 0, -EIO);
    mem_complete_all(m);
    m->hold = false;
    g_assert_cmpint(job_finish(&amend), ==, 0);
    g_assert_cmpint(qcow2_header_parse(m->data, CLUSTER, "image", &h, NULL), ==,
                    0);
    g_assert_false(h.compatible & QCOW2_LAZY_REFCOUNTS);
    qcow2_header_fini(&h);
    g_assert_cmpint(close_node(node), ==, 0);
}

/* Letting go of an entry that cannot be does not free what others have. */
static void test_free_broken(void)
{
    struct node *node = open_broken_image();
    struct job discard =
        job(DISCARD, .node = node, .offset = CLUSTER, .bytes = CLUSTER);
    struct job flush = job(FLUSH, .node = node);

    g_assert_cmpint(job_run(&discard), ==, 0);
    g_assert_cmpint(job_run(&flush), ==, 0);
    g_assert_cmpuint(l2_entry(mem_of(node), 1) & QCOW2_OFFSET_MASK, ==, 0);
    g_assert_cmpint(refcount(mem_of(node), 5), ==, 1);
    g_assert_cmpint(refcount(mem_of(node), 6), ==, 1);
    g_assert_cmpint(close_node(node), ==, 0);
}

/* Nor is it replaced by one among others that are allocated: it is an error,
 * which somebody is to see. */
static void test_write_over_broken(void)
{
    struct node *node = open_broken_image();
    struct job write =
        job(WRITE, .node = node, .bytes = 2 * CLUSTER, .fill = 2);
    struct job status = job(STATUS, .node = node, .bytes = CLUSTER);

    g_assert_cmpint(job_run(&write), ==, -EIO);
    status.offset = CLUSTER;
    g_assert_cmpint(job_run(&status), ==, -EIO);
    (void)close_node(node); /* what was written to cluster 0 is lost */
}

/* A flush that fails loses nothing: the next one writes all of it. */
static void test_failed_flush(void)
{
    struct node *node = open_image();
    struct mem *m = mem_of(node);
    struct job flush = job(FLUSH, .node = node);
    struct job again = job(FLUSH, .node = node);

    m->hold = true;
    job_start(&flush);
    mem_complete(m, 0);
    mem_fail(m, 0, -EIO);
    mem_complete_all(m);
    g_assert_cmpint(job_finish(&flush), ==, -EIO);
    g_assert_cmpuint(l2_entry(m, 0), ==, 0);
    m->hold = false;
    g_assert_cmpint(job_run(&again), ==, 0);
    g_assert_cmpuint(l2_entry(m, 0), ==, QCOW2_COPIED | DATA);
    g_assert_cmpint(close_node(node), ==, 0);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    fixture_register();
    register_image();
    g_test_add_func("/qcow2-step/different", test_different_clusters);
    g_test_add_func("/qcow2-step/same", test_same_cluster);
    g_test_add_func("/qcow2-step/same-failed", test_same_cluster_failed);
    g_test_add_func("/qcow2-step/mapped", test_mapped_does_not_wait);
    g_test_add_func("/qcow2-step/in-a-row", test_in_a_row);
    g_test_add_func("/qcow2-step/in-a-row-failed", test_in_a_row_failed);
    g_test_add_func("/qcow2-step/compressed-waits", test_compressed_waits);
    g_test_add_func("/qcow2-step/preallocated-edge", test_preallocated_edge);
    g_test_add_func("/qcow2-step/preallocation-fails",
                    test_preallocation_fails);
    g_test_add_func("/qcow2-step/read-before-link", test_read_before_link);
    g_test_add_func("/qcow2-step/fresh", test_fresh_cluster);
    g_test_add_func("/qcow2-step/used", test_used_cluster);
    g_test_add_func("/qcow2-step/copy-on-write", test_copy_on_write);
    g_test_add_func("/qcow2-step/overwrite-shared", test_overwrite_shared);
    g_test_add_func("/qcow2-step/one-write", test_one_write);
    g_test_add_func("/qcow2-step/new-table", test_new_table);
    g_test_add_func("/qcow2-step/flush-order", test_flush_order);
    g_test_add_func("/qcow2-step/flush-in-place", test_flush_in_place);
    g_test_add_func("/qcow2-step/link-during-flush", test_link_during_flush);
    g_test_add_func("/qcow2-step/packed-moves", test_packed_moves);
    g_test_add_func("/qcow2-step/packed-is-read", test_packed_is_read);
    g_test_add_func("/qcow2-step/free", test_free_waits_for_flush);
    g_test_add_func("/qcow2-step/mark-during-header", test_mark_during_header);
    g_test_add_func("/qcow2-step/amend-undone", test_amend_undone);
    g_test_add_func("/qcow2-step/free-broken", test_free_broken);
    g_test_add_func("/qcow2-step/write-over-broken", test_write_over_broken);
    g_test_add_func("/qcow2-step/failed-flush", test_failed_flush);
    g_test_add_func("/qcow2-step/zeroes-beside-write",
                    test_zeroes_beside_write);
    g_test_add_func("/qcow2-step/failed-flush-frees-nothing",
                    test_failed_flush_frees_nothing);
    g_test_add_func("/qcow2-step/longer-l1", test_longer_l1);
    rc = g_test_run();
    fixture_loop_free();
    return rc;
}
