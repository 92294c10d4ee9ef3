/* SPDX-License-Identifier: MIT */
/*
 * view/identify: where labels lie that are far from the start.
 */
#include <glib.h>
#include <string.h>

#include "base/align.h"
#include "base/endian.h"
#include "view/identify.h"

static void put_bpb(uint8_t *b, int sector, int per_cluster)
{
    memset(b, 0, 512);
    store_le16(b + 11, (uint16_t)sector);
    b[13] = (uint8_t)per_cluster;
    b[510] = 0x55;
    b[511] = 0xaa;
}

static void test_fat32(void)
{
    uint8_t b[512];
    struct probe_range r;

    put_bpb(b, 512, 8);
    store_le16(b + 14, 32);   /* reserved sectors */
    b[16] = 2;                /* FATs ... */
    store_le32(b + 36, 8192); /* ... of so many sectors */
    store_le32(b + 44, 5);    /* root's cluster */
    g_assert_true(identify_label_range(b, &r));
    g_assert_cmpint(r.offset, ==, (32 + 2 * 8192) * 512 + 3 * 4096);
    g_assert_cmpint(r.bytes, ==, 4096);
}

static void test_fat16(void)
{
    uint8_t b[512];
    struct probe_range r;

    put_bpb(b, 4096, 1);
    store_le16(b + 14, 1);
    b[16] = 2;
    store_le16(b + 17, 512); /* entries of the root */
    store_le16(b + 22, 200);
    g_assert_true(identify_label_range(b, &r));
    g_assert_cmpint(r.offset, ==, (1 + 400) * 4096);
    g_assert_cmpint(r.bytes, ==, 512 * 32);
}

static void test_exfat(void)
{
    uint8_t b[512];
    struct probe_range r;

    put_bpb(b, 0, 0);
    memcpy(b + 3, "EXFAT   ", 8);
    store_le32(b + 88, 4096); /* heap */
    store_le32(b + 96, 9);    /* root's cluster */
    b[108] = 9;
    b[109] = 3;
    g_assert_true(identify_label_range(b, &r));
    g_assert_cmpint(r.offset, ==, 4096 * 512 + 7 * 4096);
    g_assert_cmpint(r.bytes, ==, 4096);
}

static void test_ntfs(void)
{
    uint8_t b[512];
    struct probe_range r;

    put_bpb(b, 512, 8);
    memcpy(b + 3, "NTFS    ", 8);
    store_le64(b + 48, 786432);
    b[64] = (uint8_t)-10; /* records of 2^10 */
    g_assert_true(identify_label_range(b, &r));
    g_assert_cmpint(r.offset, ==, INT64_C(786432) * 4096);
    g_assert_cmpint(r.bytes, ==, 4096);
}

static void test_others(void)
{
    uint8_t b[512] = {0};
    struct probe_range r;

    g_assert_false(identify_label_range(b, &r));
    put_bpb(b, 512, 8); /* an MBR: no FATs */
    g_assert_false(identify_label_range(b, &r));
}

/* Whatever the bytes are, what comes out is small and somewhere ahead. */
static void test_random(void)
{
    static const char *const names[] = {"EXFAT   ", "NTFS    ", "MSDOS5.0"};
    uint8_t b[512];
    struct probe_range r;

    for (int n = 0; n < 100000; n++) {
        for (size_t i = 0; i < sizeof(b); i += 4) {
            store_le32(b + i, (uint32_t)g_test_rand_int());
        }
        memcpy(b + 3, names[n % 3], 8);
        b[510] = 0x55;
        b[511] = 0xaa;
        if (identify_label_range(b, &r)) {
            g_assert_cmpint(r.offset, >, 0);
            g_assert_cmpint(r.bytes, >, 0);
            g_assert_cmpint(r.bytes, <=, 64 * KiB);
            g_assert_cmpint(r.offset, <=, INT64_MAX - r.bytes);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/view/identify/fat32", test_fat32);
    g_test_add_func("/view/identify/fat16", test_fat16);
    g_test_add_func("/view/identify/exfat", test_exfat);
    g_test_add_func("/view/identify/ntfs", test_ntfs);
    g_test_add_func("/view/identify/others", test_others);
    g_test_add_func("/view/identify/random", test_random);
    return g_test_run();
}
