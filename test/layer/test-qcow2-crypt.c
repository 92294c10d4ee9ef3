/* SPDX-License-Identifier: MIT */
/*
 * qcow2: encrypted images.
 *
 * What is written leaves only ciphertext in the file, the memory of the writer
 * stays as it is, and what was never written reads as zeroes.
 */
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "qcow2-rig.h"

#define DISK (4 * MiB)
#define LUKS "encrypt.format=luks,encrypt.iter-time=1,encrypt.key-secret=rig"
#define AES  "encrypt.format=aes,encrypt.key-secret=rig"
#define KEY  "encrypt.key-secret=rig"

static const struct kind {
    const char *name;
    const char *create;
} kinds[] = {
    {"luks", LUKS},
    {"luks-512", LUKS ",cluster_size=512"},
    {"luks-subclusters", LUKS ",extended_l2=on"},
    {"luks-data-file", LUKS ",data_file=c.raw"},
    {"luks-cbc", LUKS ",encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,"
                      "encrypt.ivgen-alg=essiv"},
    {"aes", AES},
};

/* Is the text anywhere in the file? */
static bool file_has(const char *name, const char *text)
{
    g_autofree char *path = rig_path(name);
    g_autofree char *data = NULL;
    gsize n = 0;

    g_assert_true(g_file_get_contents(path, &data, &n, NULL));
    return memmem(data, n, text, strlen(text)) != NULL;
}

static char *repeat(const char *text, size_t bytes)
{
    char *buf = g_malloc(bytes);

    for (size_t i = 0; i < bytes; i++) {
        buf[i] = text[i % strlen(text)];
    }
    return buf;
}

static void test_ciphertext(gconstpointer opaque)
{
    const struct kind *kind = opaque;
    const char *store = strstr(kind->create, "data_file") ? "c.raw" : "c.qcow2";
    const size_t n = MiB; /* more than is encrypted at once */
    g_autofree char *plain = repeat("plain text ", n);
    g_autofree char *source = g_memdup2(plain, n);
    g_autofree char *back = g_malloc(n);
    struct node *node;

    rig_create("c.qcow2", DISK, kind->create);
    node = rig_open("c.qcow2", KEY, NODE_RDWR);
    g_assert_cmpint(rig_write_buf(node, 1000, source, (int64_t)n, 0), ==, 0);
    g_assert_cmpmem(source, n, plain, n);
    /* In place, and in a part of a sector. */
    g_assert_cmpint(rig_write_buf(node, 5000, source, 300 * KiB, 0), ==, 0);
    g_assert_cmpint(rig_write_buf(node, 1000, source, 5000, 0), ==, 0);
    g_assert_cmpmem(source, n, plain, n);
    g_assert_cmpint(rig_close(node), ==, 0);
    g_assert_false(file_has(store, "plain text"));
    rig_check("c.qcow2");

    node = rig_open("c.qcow2", KEY, 0);
    g_assert_cmpint(rig_read(node, 1000, back, 5000), ==, 0);
    g_assert_cmpmem(back, 5000, plain, 5000);
    g_assert_cmpint(rig_read(node, 6000, back, 300 * KiB - 1000), ==, 0);
    g_assert_cmpmem(back, 300 * KiB - 1000, plain + 1000, 300 * KiB - 1000);
    rig_expect(node, 0, 1000, 0);
    rig_expect(node, 1000 + (int64_t)n, DISK - (int64_t)n - 1000, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void test_preallocated(gconstpointer opaque)
{
    const struct kind *kind = opaque;
    static const char *const modes[] = {"metadata", "falloc", "full"};

    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
        g_autofree char *how =
            g_strdup_printf("%s,preallocation=%s", kind->create, modes[i]);
        struct node *node;

        rig_create("c.qcow2", DISK, how);
        node = rig_open("c.qcow2", KEY, NODE_RDWR);
        rig_expect(node, 0, DISK, 0);
        g_assert_cmpint(rig_write(node, 100, 1000, 5, 0), ==, 0);
        g_assert_cmpint(rig_truncate(node, DISK + 100 * KiB, PREALLOC_FULL), ==,
                        0);
        rig_expect(node, 0, 100, 0);
        rig_expect(node, 100, 1000, 5);
        rig_expect(node, 1100, DISK + 100 * KiB - 1100, 0);
        g_assert_cmpint(rig_close(node), ==, 0);
        rig_check("c.qcow2");
    }
}

static void test_preallocated_above_backing(void)
{
    struct node *node;

    g_assert_cmpint(rig_shell(NULL, "tr '\\0' '\\1' </dev/zero | "
                                    "head -c 1M >b.raw"),
                    ==, 0);
    rig_create("c.qcow2", 100 * KiB,
               LUKS ",extended_l2=on,backing_file=b.raw,backing_fmt=raw");
    node = rig_open("c.qcow2", KEY, NODE_RDWR);
    g_assert_cmpint(rig_truncate(node, 2 * MiB, PREALLOC_METADATA), ==, 0);
    rig_expect(node, 0, 100 * KiB, 1);
    rig_expect(node, 100 * KiB, 1948 * KiB, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    rig_check("c.qcow2");
}

/* A read into memory whose pieces fit no sector. */
struct scattered {
    struct node *node;
    uint8_t *buf;
    int rc;
};

#define SCATTERED (200 * KiB)

static void read_scattered(void *opaque)
{
    struct scattered *s = opaque;
    static const size_t lengths[] = {100, 411, 1, 513, 2048, 7, 100000};
    struct iovec iov[G_N_ELEMENTS(lengths) + 1];
    struct iovs dst;
    size_t at = 0;

    co_assert_role();
    for (size_t i = 0; i <= G_N_ELEMENTS(lengths); i++) {
        size_t n = i < G_N_ELEMENTS(lengths) ? lengths[i] : SCATTERED - at;

        iov[i] = (struct iovec){.iov_base = s->buf + at, .iov_len = n};
        at += n;
    }
    dst = iovs_of(iov, G_N_ELEMENTS(iov));
    s->rc = node_co_preadv(s->node, 0, &dst, 0); /* yields */
}

static void test_scattered(void)
{
    g_autofree char *plain = repeat("0123456789abc", SCATTERED);
    g_autofree uint8_t *buf = g_malloc(SCATTERED);
    struct scattered s = {.buf = buf, .rc = -1};

    rig_create("c.qcow2", DISK, LUKS);
    s.node = rig_open("c.qcow2", KEY, NODE_RDWR);
    g_assert_cmpint(rig_write_buf(s.node, 0, plain, SCATTERED, 0), ==, 0);
    rig_run(read_scattered, &s);
    g_assert_cmpint(s.rc, ==, 0);
    g_assert_cmpmem(buf, SCATTERED, plain, SCATTERED);
    g_assert_cmpint(rig_close(s.node), ==, 0);
}

/* A check needs no key; data do. */
static void test_locked(void)
{
    char byte = 1;
    struct node *node;

    rig_create("c.qcow2", DISK, LUKS);
    node = rig_open("c.qcow2", KEY, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 512, 1, 0), ==, 0);
    g_assert_cmpint(rig_close(node), ==, 0);
    node = rig_open("c.qcow2", NULL, NODE_CHECK | NODE_RDWR);
    g_assert_cmpint(rig_read(node, 0, &byte, 1), ==, -EACCES);
    g_assert_cmpint(rig_write(node, 0, 512, 1, 0), ==, -EACCES);
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void test_not_compressed(void)
{
    struct node *node;

    rig_create("c.qcow2", DISK, LUKS);
    node = rig_open("c.qcow2", KEY, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 64 * KiB, 1, REQ_WRITE_COMPRESSED), ==,
                    -EOPNOTSUPP);
    g_assert_cmpint(rig_close(node), ==, 0);
}

/* Where data lie is not told: nobody could use them there. */
static void test_status(void)
{
    struct block_status st;
    struct node *node;

    rig_create("c.qcow2", DISK, LUKS);
    node = rig_open("c.qcow2", KEY, NODE_RDWR);
    g_assert_cmpint(rig_write(node, 0, 64 * KiB, 1, 0), ==, 0);
    st = rig_status(node, 0, DISK);
    g_assert_cmpint(st.bytes, ==, 64 * KiB);
    g_assert_true(st.flags & BLOCK_DATA);
    g_assert_false(st.flags & BLOCK_OFFSET_VALID);
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void add_tests(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        rig_add_row("/qcow2-crypt/ciphertext", kinds[i].name, &kinds[i],
                    test_ciphertext);
        rig_add_row("/qcow2-crypt/preallocated", kinds[i].name, &kinds[i],
                    test_preallocated);
    }
    g_test_add_func("/qcow2-crypt/preallocated-above-backing",
                    test_preallocated_above_backing);
    g_test_add_func("/qcow2-crypt/scattered", test_scattered);
    g_test_add_func("/qcow2-crypt/locked", test_locked);
    g_test_add_func("/qcow2-crypt/not-compressed", test_not_compressed);
    g_test_add_func("/qcow2-crypt/status", test_status);
}

int main(int argc, char **argv)
{
    return rig_main(argc, argv, add_tests);
}
