/* SPDX-License-Identifier: MIT */
/*
 * qcow2: opening, creating and describing images: options, backing files,
 * data files, and what is refused with which words.
 */
#include <errno.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "block/driver.h"
#include "qcow2-rig.h"

#define DISK MiB

static void expect_words(const char *message, const char *words)
{
    if (!strstr(message, words)) {
        g_error("'%s' does not say '%s'", message, words);
    }
}

/* -- Creating ------------------------------------------------------------ */

static const struct refused {
    const char *options;
    const char *words;
} refused[] = {
    {"cluster_size=256", "cluster_size=256"},
    {"cluster_size=3M", "512 to 2M"},
    {"cluster_size=48k", "power of two"},
    {"refcount_bits=3", "refcount_bits=3"},
    {"refcount_bits=128", "1 to 64"},
    {"compat=0.9", "compat"},
    {"compat=0.10,refcount_bits=1", "refcount_bits needs compat=1.1"},
    {"compat=0.10,lazy_refcounts=on", "lazy_refcounts needs"},
    {"compat=0.10,extended_l2=on", "extended_l2 needs"},
    {"compression_type=lzma", "compression_type"},
    {"extended_l2=on,cluster_size=8k", "16k"},
    {"encryption=on", "encrypt.key-secret"},
    {"encrypt.format=luks", "encrypt.key-secret"},
    {"encrypt.format=luks,encrypt.key-secret=none", "no secret 'none'"},
    {"encrypt.format=luks,encrypt.cipher-alg=rot13", "cipher-alg=rot13"},
    {"encrypt.format=aes,encrypt.cipher-alg=aes-256", "encrypt.format=luks"},
    {"encrypt.format=aes,encryption=on", "leave one of them out"},
    {"encrypt.format=luks,data_file=d,data_file_raw=on", "exclude each other"},
    {"encrypt.format=luks,compat=0.10,preallocation=metadata", "compat=1.1"},
    {"backing_file=b", "backing_fmt=raw"},
    {"backing_fmt=raw", "without backing_file"},
    {"data_file_raw=on", "needs data_file"},
    {"backing_file=b,backing_fmt=raw,preallocation=full", "extended_l2=on"},
    {"backing_file=b,backing_fmt=raw,data_file=d,data_file_raw=on",
     "exclude each other"},
    {"preallocation=some", "preallocation"},
};

static void test_create_refused(gconstpointer opaque)
{
    const struct refused *r = opaque;
    g_autofree char *path = rig_path("no.qcow2");
    g_autofree char *message = rig_create_error("no.qcow2", DISK, r->options);

    expect_words(message, r->words);
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

static void test_create_too_large(void)
{
    g_autofree char *path = rig_path("no.qcow2");
    g_autofree char *message =
        rig_create_error("no.qcow2", TiB, "cluster_size=512");

    expect_words(message, "cluster_size");
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

static void test_create_name_too_long(void)
{
    g_autofree char *name = g_strnfill(450, 'n');
    g_autofree char *how = g_strdup_printf(
        "cluster_size=512,backing_file=%s,backing_fmt=raw", name);
    g_autofree char *message = rig_create_error("no.qcow2", DISK, how);

    expect_words(message, "header");
}

static void test_create_takes_size_of_backing(void)
{
    struct node *node;

    rig_create("b.qcow2", 3 * MiB, "");
    rig_create("o.qcow2", -1, "backing_file=b.qcow2,backing_fmt=qcow2");
    node = rig_open("o.qcow2", NULL, 0);
    g_assert_cmpint(node_length(node), ==, 3 * MiB);
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void test_create_rounds_up(void)
{
    struct node *node;

    rig_create("r.qcow2", 1000, "");
    node = rig_open("r.qcow2", NULL, 0);
    g_assert_cmpint(node_length(node), ==, 1024);
    g_assert_cmpint(rig_close(node), ==, 0);
}

/* The layout of a new image is that of other programs, so that what a script
 * knows of it holds. */
static void test_create_layout(void)
{
    struct node *node;
    struct block_status st;

    rig_create("l.qcow2", GiB, "");
    node = rig_open("l.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 65536, 1, 0), ==, 0);
    st = rig_status(node, 0, 65536);
    g_assert_cmpint(st.map, ==, 0x50000);
    g_assert_true(st.flags & BLOCK_DATA);
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void test_preallocation(gconstpointer opaque)
{
    const char *how = opaque;
    g_autofree char *text = g_strdup_printf("preallocation=%s", how);
    struct node *node;
    GStatBuf st;
    g_autofree char *path = rig_path("pre.qcow2");

    rig_create("pre.qcow2", 8 * MiB, text);
    rig_check("pre.qcow2");
    g_assert_cmpint(g_stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_size, >=, 8 * MiB);
    if (strcmp(how, "metadata") != 0) {
        g_assert_cmpint(st.st_blocks * 512, >=, 8 * MiB);
    } else {
        g_assert_cmpint(st.st_blocks * 512, <, MiB);
    }
    node = rig_open("pre.qcow2", NULL, NODE_RDWR);
    g_assert_true(rig_status(node, 0, 8 * MiB).flags & BLOCK_ALLOCATED);
    rig_expect(node, 0, 8 * MiB, 0);
    g_assert_cmpint(rig_write(node, 12345, 100, 5, 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    g_assert_cmpint(g_stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_size, <, 9 * MiB);
    rig_check("pre.qcow2");
}

/* -- Backing files ------------------------------------------------------- */

static void make_raw(const char *name, int fill, gsize bytes)
{
    g_autofree char *path = rig_path(name);
    g_autofree char *data = g_malloc(bytes);

    memset(data, fill, bytes);
    g_assert_true(g_file_set_contents(path, data, (gssize)bytes, NULL));
}

static void test_backing_chain(void)
{
    struct node *node;

    make_raw("c0.raw", 1, DISK);
    rig_create("c1.qcow2", DISK, "backing_file=c0.raw,backing_fmt=raw");
    rig_create("c2.qcow2", 2 * DISK, "backing_file=c1.qcow2,backing_fmt=qcow2");
    node = rig_open("c1.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 1000, 1000, 2, 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    node = rig_open("c2.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 1500, 100, 3, 0), ==, 0);
    rig_expect(node, 0, 1000, 1);
    rig_expect(node, 1000, 500, 2);
    rig_expect(node, 1500, 100, 3);
    rig_expect(node, 1600, 400, 2);
    rig_expect(node, 2000, DISK - 2000, 1);
    rig_expect(node, DISK, DISK, 0);
    g_assert_true(node_is_rdonly(node_child(node, "backing")));
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("c2.qcow2");
}

/* The name is relative to the folder of the image, not to ours. */
static void test_backing_relative(void)
{
    g_autofree char *sub = rig_path("sub");
    struct node *node;

    g_assert_cmpint(g_mkdir_with_parents(sub, 0755), ==, 0);
    make_raw("sub/b.raw", 9, DISK);
    rig_create("sub/o.qcow2", DISK, "backing_file=b.raw,backing_fmt=raw");
    node = rig_open("sub/o.qcow2", NULL, 0);
    rig_expect(node, 0, DISK, 9);
    g_assert_cmpint(rig_close(node), ==, 0);
}

/* The name of a data file is one in the current folder; where there is no such
 * file it is sought beside the image. */
static void test_data_file_names(void)
{
    g_autofree char *message = NULL;
    struct node *node;

    g_assert_cmpint(rig_shell(NULL, "mkdir -p sub"), ==, 0);
    rig_create("sub/d.qcow2", MiB, "data_file=sub/d.raw");
    node = rig_open("sub/d.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 512, 1, 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    g_assert_cmpint(rig_shell(NULL, "test -s sub/d.raw"), ==, 0);

    rig_create("e.qcow2", MiB, "data_file=e.raw");
    g_assert_cmpint(rig_shell(NULL, "mv e.qcow2 e.raw sub"), ==, 0);
    node = rig_open("sub/e.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_close(node), ==, 0);

    g_assert_cmpint(rig_shell(NULL, "rm sub/e.raw"), ==, 0);
    message = rig_open_error("sub/e.qcow2", NULL, 0);
    g_assert_nonnull(strstr(message, "sub/e.raw"));
    g_assert_cmpint(rig_shell(NULL, "rm -r sub"), ==, 0);
}

static void test_backing_missing(void)
{
    g_autofree char *message = NULL, *message2 = NULL;
    struct node *node;

    rig_create("m.qcow2", DISK, "backing_file=gone.raw,backing_fmt=raw");
    message = rig_open_error("m.qcow2", NULL, 0);
    expect_words(message, "m.qcow2: cannot open its backing file");
    expect_words(message, "gone.raw");

    /* Of a chain, the image is named where something can be done. */
    rig_create("over.qcow2", DISK, "backing_file=m.qcow2,backing_fmt=qcow2");
    message2 = rig_open_error("over.qcow2", NULL, 0);
    g_assert_cmpstr(message2, ==, message);

    node = rig_open("m.qcow2", NULL, NODE_NO_BACKING);
    rig_expect(node, 0, DISK, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    node = rig_open("m.qcow2", "backing=", 0);
    rig_expect(node, 0, DISK, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void test_backing_option(void)
{
    g_autofree char *path = rig_path("other.raw");
    g_autofree char *how = g_strdup_printf("backing.filename=%s", path);
    struct node *node;

    make_raw("other.raw", 4, DISK);
    rig_create("bo.qcow2", DISK, "backing_file=gone.raw,backing_fmt=raw");
    node = rig_open("bo.qcow2", how, 0);
    rig_expect(node, 0, DISK, 4);
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void test_backing_loop(unsigned flags)
{
    g_autofree char *message = NULL;

    rig_create("l1.qcow2", DISK, "backing_file=l2.qcow2,backing_fmt=qcow2");
    rig_create("l2.qcow2", DISK, "backing_file=./l1.qcow2,backing_fmt=qcow2");
    message = rig_open_error("l1.qcow2", NULL, flags);
    expect_words(message, "leads back");
}

static void test_backing_loop_ro(void)
{
    test_backing_loop(0);
}

static void test_backing_loop_rw(void)
{
    test_backing_loop(NODE_RDWR);
}

static void test_backing_itself(void)
{
    g_autofree char *message = NULL;

    rig_create("self.qcow2", DISK, "backing_file=self.qcow2,backing_fmt=qcow2");
    message = rig_open_error("self.qcow2", NULL, NODE_RDWR);
    expect_words(message, "leads back");
}

static void change_backing(void *opaque)
{
    struct node *node = opaque;

    co_assert_role();
    g_assert_cmpint(node_driver(node)->image->co_change_backing(node, "new.raw",
                                                                "raw", NULL),
                    ==, 0);
}

static void test_change_backing(void)
{
    struct node *node;

    make_raw("first.raw", 1, DISK);
    make_raw("new.raw", 2, DISK);
    rig_create("cb.qcow2", DISK, "backing_file=first.raw,backing_fmt=raw");
    node = rig_open("cb.qcow2", NULL, NODE_RDWR);
    rig_run(change_backing, node);
    g_assert_cmpint(rig_close(node), ==, 0);
    node = rig_open("cb.qcow2", NULL, 0);
    rig_expect(node, 0, DISK, 2);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("cb.qcow2");
}

static void make_empty(void *opaque)
{
    struct node *node = opaque;

    co_assert_role();
    g_assert_cmpint(node_driver(node)->image->co_make_empty(node), ==, 0);
}

static void test_make_empty(void)
{
    g_autofree char *path = rig_path("me.qcow2");
    struct node *node;
    GStatBuf st;

    make_raw("me.raw", 1, DISK);
    rig_create("me.qcow2", DISK, "backing_file=me.raw,backing_fmt=raw");
    node = rig_open("me.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, DISK, 2, 0), ==, 0);
    rig_run(make_empty, node);
    rig_expect(node, 0, DISK, 1);
    g_assert_cmpint(rig_write(node, 5, 5, 3, 0), ==, 0);
    rig_run(make_empty, node);
    rig_expect(node, 0, DISK, 1);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("me.qcow2");
    g_assert_cmpint(g_stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_size, <=, 4 * 65536);
}

/* -- What cannot be opened ----------------------------------------------- */

/* Changes @n bytes of an image. */
static void poke(const char *name, long offset, const void *bytes, size_t n)
{
    g_autofree char *path = rig_path(name);
    FILE *f = g_fopen(path, "r+b");

    g_assert_nonnull(f);
    g_assert_cmpint(fseek(f, offset, SEEK_SET), ==, 0);
    g_assert_cmpuint(fwrite(bytes, 1, n, f), ==, n);
    g_assert_cmpint(fclose(f), ==, 0);
}

/* Old images do not say what their backing file is: that is found out. */
static void test_backing_probed(void)
{
    struct node *node;

    make_raw("pb.raw", 6, DISK);
    rig_create("old.qcow2", DISK, "backing_file=pb.raw,backing_fmt=qcow2");
    /* That format is wrong, but now it is an extension nobody knows. */
    poke("old.qcow2", 112, "\x12\x34\x56\x78", 4);
    node = rig_open("old.qcow2", NULL, NODE_RDWR);
    rig_expect(node, 0, DISK, 6);
    g_assert_true(node_probed_raw(node_child(node, "backing")));
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void test_corrupt_bit(void)
{
    g_autofree char *message = NULL;
    struct node *node;

    rig_create("cor.qcow2", DISK, "");
    poke("cor.qcow2", 79, "\2", 1);
    message = rig_open_error("cor.qcow2", NULL, NODE_RDWR);
    expect_words(message, "corrupt");
    expect_words(message, "check -r all");
    node = rig_open("cor.qcow2", NULL, 0);
    rig_expect(node, 0, DISK, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void test_encrypted(void)
{
    g_autofree char *message = NULL;
    struct node *node;

    rig_create("enc.qcow2", DISK, "");
    poke("enc.qcow2", 35, "\1", 1);
    message = rig_open_error("enc.qcow2", NULL, 0);
    expect_words(message, "encrypted with AES; give its passphrase");
    node = rig_open("enc.qcow2", NULL, NODE_NO_IO);
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void test_tables_overlap(void)
{
    g_autofree char *message = NULL;

    /* The L1 table where the refcount block is. */
    rig_create("ov.qcow2", DISK, "");
    poke("ov.qcow2", 45, "\2", 1);
    message = rig_open_error("ov.qcow2", NULL, NODE_RDWR);
    expect_words(message, "overlap");
}

static void test_unknown_option(void)
{
    g_autofree char *message = NULL;

    rig_create("u.qcow2", DISK, "");
    message = rig_open_error("u.qcow2", "cache-sise=1M", 0);
    expect_words(message, "cache-sise");
}

static void test_cache_options(void)
{
    g_autofree char *slice = NULL;
    g_autofree char *large = NULL;
    g_autofree char *both = NULL;

    rig_create("u.qcow2", DISK, "");
    slice = rig_open_error("u.qcow2", "l2-cache-entry-size=128k", 0);
    expect_words(slice, "to the cluster size, 65536");
    large = rig_open_error("u.qcow2", "l2-cache-size=1G", 0);
    expect_words(large, "l2-cache-size");
    both = rig_open_error("u.qcow2", "cache-size=1M,l2-cache-size=2M", 0);
    expect_words(both, "cache-size");
}

/* An image that nobody wrote to is not changed, not even opened for it. */
static void test_autoclear(void)
{
    g_autofree char *path = rig_path("ac.qcow2");
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;
    struct node *node;
    gsize n, m;

    rig_create("ac.qcow2", DISK, "");
    poke("ac.qcow2", 95, "\x80", 1);
    g_assert_true(g_file_get_contents(path, &before, &n, NULL));
    node = rig_open("ac.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_flush(node), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    g_assert_true(g_file_get_contents(path, &after, &m, NULL));
    g_assert_cmpmem(before, (int)n, after, (int)m);

    node = rig_open("ac.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 1, 1, 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    g_clear_pointer(&after, g_free);
    g_assert_true(g_file_get_contents(path, &after, &m, NULL));
    g_assert_cmpint(after[95], ==, 0);
}

/* -- What is written over metadata --------------------------------------- */

/* The L2 entry of the first cluster says that it is at @place. */
static void make_broken(const char *name, uint32_t place)
{
    uint8_t entry[8] = {0x80, 0, 0, 0};
    struct node *node;

    rig_create(name, DISK, "");
    node = rig_open(name, NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 65536, 1, 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    entry[4] = (uint8_t)(place >> 24);
    entry[5] = (uint8_t)(place >> 16);
    entry[6] = (uint8_t)(place >> 8);
    entry[7] = (uint8_t)place;
    poke(name, 0x40000, entry, sizeof(entry));
}

static void test_write_over_metadata(gconstpointer opaque)
{
    uint32_t place = (uint32_t)GPOINTER_TO_INT(opaque);
    g_autofree char *message = NULL;
    struct node *node;

    make_broken("wo.qcow2", place);
    node = rig_open("wo.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 100, 100, 2, 0), ==, -EIO);
    g_assert_cmpint(rig_write(node, 500000, 100, 2, 0), ==, -EIO);
    (void)rig_close(node);
    message = rig_open_error("wo.qcow2", NULL, NODE_RDWR);
    expect_words(message, "corrupt");
}

/* A cluster that holds a table counts as free. */
static void test_allocate_over_metadata(void)
{
    struct node *node;

    rig_create("ao.qcow2", DISK, "");
    poke("ao.qcow2", 0x20006, "\0\0", 2); /* the L1 table */
    node = rig_open("ao.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 100, 2, 0), ==, -EIO);
    (void)rig_close(node);
}

/* An entry of a table is one that no image can have. */
static const struct {
    const char *name;
    long place;
    const char *entry; /* 8 bytes */
} impossible[] = {
    {"refcount block between clusters", 0x10000, "\0\0\0\0\1\0\2\0"},
    {"L2 table between clusters", 0x30000, "\x80\0\0\0\1\0\2\0"},
    {"L2 table with reserved bits", 0x30000, "\xc0\0\0\0\0\4\0\0"},
};

static void test_impossible_entry(gconstpointer opaque)
{
    int i = GPOINTER_TO_INT(opaque);
    g_autofree char *path = rig_path("ie.qcow2");
    g_autofree char *data = NULL;
    struct node *node;

    rig_create("ie.qcow2", DISK, "");
    node = rig_open("ie.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 100, 1, 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    poke("ie.qcow2", impossible[i].place, impossible[i].entry, 8);
    node = rig_open("ie.qcow2", NULL, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 128 * KiB, 100, 2, 0), ==, -EIO);
    g_assert_cmpint(rig_write(node, 0, 100, 2, 0), ==, -EIO);
    (void)rig_close(node);
    g_assert_true(g_file_get_contents(path, &data, NULL, NULL));
    g_assert_cmpint(data[79], ==, 2); /* marked corrupt */
}

static const struct {
    const char *options, *words; /* of the message */
} bad_open_options[] = {
    {"overlap-check=some", "none, constant, cached, all"},
    {"overlap-check.template=some", "none, constant, cached, all"},
    {"overlap-check=constant,overlap-check.template=all", "leave one out"},
    {"overlap-check.active-l2=perhaps", "overlap-check.active-l2=perhaps"},
    {"cache-clean-interval=-1", "cache-clean-interval=-1"},
    {"cache-size=1M,l2-cache-size=2M", "larger cache-size"},
    {"cache-size=1M,l2-cache-size=64k,refcount-cache-size=64k", "two of them"},
    {"l2-cache-entry-size=33k", "power of two"},
    {"refcount-cache-size=256T", "too large"},
};

static void test_bad_open_options(gconstpointer opaque)
{
    size_t i = GPOINTER_TO_SIZE(opaque);
    g_autofree char *message = NULL;

    rig_create("o.qcow2", DISK, "");
    message = rig_open_error("o.qcow2", bad_open_options[i].options, NODE_RDWR);
    expect_words(message, bad_open_options[i].words);
}

/* Also for an image that nobody uses for so long. */
static void test_clean_interval(void)
{
    struct node *node;

    rig_create("o.qcow2", DISK, "");
    node = rig_open("o.qcow2", "cache-clean-interval=1000", NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 100, 2, 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("o.qcow2");
}

/* -- Describing ---------------------------------------------------------- */

struct description {
    struct node *node;
    struct json *out;
};

static void describe(void *opaque)
{
    struct description *d = opaque;
    GError *err = NULL;

    co_assert_role();
    g_assert_cmpint(
        node_driver(d->node)->image->co_info_json(d->node, d->out, &err), ==,
        0);
    g_assert_no_error(err);
}

static void test_info_json(void)
{
    struct json *out = json_new();
    struct description d = {.out = out};
    g_autofree char *text = NULL;
    struct node *node;

    rig_create("i.qcow2", DISK,
               "refcount_bits=8,compression_type=zstd,lazy_refcounts=on");
    node = rig_open("i.qcow2", NULL, 0);
    json_object_begin(out, NULL);
    d.node = node;
    rig_run(describe, &d);
    json_object_end(out);
    text = json_finish(out);
    g_assert_cmpint(rig_close(node), ==, 0);
    expect_words(text, "\"compat\": \"1.1\"");
    expect_words(text, "\"compression-type\": \"zstd\"");
    expect_words(text, "\"lazy-refcounts\": true");
    expect_words(text, "\"refcount-bits\": 8");
    expect_words(text, "\"corrupt\": false");
    expect_words(text, "\"extended-l2\": false");
}

static void info(void *opaque)
{
    struct node *node = opaque;
    struct image_info i;

    co_assert_role();
    g_assert_cmpint(node_driver(node)->image->co_info(node, &i), ==, 0);
    g_assert_cmpint(i.cluster_size, ==, 65536);
    g_assert_cmpstr(i.backing_filename, ==, "b.raw");
    g_assert_cmpstr(i.backing_format, ==, "raw");
    g_assert_true(g_str_has_suffix(i.full_backing_filename, "/b.raw"));
    g_assert_false(i.dirty);
    image_info_fini(&i);
}

static void test_info(void)
{
    struct node *node;

    rig_create("i.qcow2", DISK, "backing_file=b.raw,backing_fmt=raw");
    node = rig_open("i.qcow2", NULL, NODE_NO_BACKING | NODE_NO_IO);
    rig_run(info, node);
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void add_tests(void)
{
    static const char *const modes[] = {"metadata", "falloc", "full"};

    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
        rig_add_row("/qcow2-open/refused", refused[i].options, &refused[i],
                    test_create_refused);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
        rig_add_row("/qcow2-open/preallocation", modes[i], modes[i],
                    test_preallocation);
    }
    for (int place = 0x10000; place <= 0x40000; place += 0x10000) {
        g_autofree char *name =
            g_strdup_printf("/qcow2-open/write-over/0x%x", place);

        g_test_add_data_func(name, GINT_TO_POINTER(place),
                             test_write_over_metadata);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(bad_open_options); i++) {
        rig_add_row("/qcow2-open/bad-option", bad_open_options[i].options,
                    GSIZE_TO_POINTER(i), test_bad_open_options);
    }
    g_test_add_func("/qcow2-open/clean-interval", test_clean_interval);
    g_test_add_func("/qcow2-open/too-large", test_create_too_large);
    g_test_add_func("/qcow2-open/long-name", test_create_name_too_long);
    g_test_add_func("/qcow2-open/size-of-backing",
                    test_create_takes_size_of_backing);
    g_test_add_func("/qcow2-open/rounds-up", test_create_rounds_up);
    g_test_add_func("/qcow2-open/layout", test_create_layout);
    g_test_add_func("/qcow2-open/chain", test_backing_chain);
    g_test_add_func("/qcow2-open/relative", test_backing_relative);
    g_test_add_func("/qcow2-open/missing", test_backing_missing);
    g_test_add_func("/qcow2-open/data-file-names", test_data_file_names);
    g_test_add_func("/qcow2-open/backing-option", test_backing_option);
    g_test_add_func("/qcow2-open/loop-ro", test_backing_loop_ro);
    g_test_add_func("/qcow2-open/loop-rw", test_backing_loop_rw);
    g_test_add_func("/qcow2-open/itself", test_backing_itself);
    g_test_add_func("/qcow2-open/probed", test_backing_probed);
    g_test_add_func("/qcow2-open/change-backing", test_change_backing);
    g_test_add_func("/qcow2-open/make-empty", test_make_empty);
    g_test_add_func("/qcow2-open/corrupt-bit", test_corrupt_bit);
    g_test_add_func("/qcow2-open/encrypted", test_encrypted);
    g_test_add_func("/qcow2-open/overlap", test_tables_overlap);
    g_test_add_func("/qcow2-open/unknown-option", test_unknown_option);
    g_test_add_func("/qcow2-open/cache-options", test_cache_options);
    g_test_add_func("/qcow2-open/autoclear", test_autoclear);
    g_test_add_func("/qcow2-open/allocate-over", test_allocate_over_metadata);
    for (int i = 0; i < (int)G_N_ELEMENTS(impossible); i++) {
        rig_add_row("/qcow2-open/impossible", impossible[i].name,
                    GINT_TO_POINTER(i), test_impossible_entry);
    }
    g_test_add_func("/qcow2-open/info-json", test_info_json);
    g_test_add_func("/qcow2-open/info", test_info);
}

int main(int argc, char **argv)
{
    return rig_main(argc, argv, add_tests);
}
