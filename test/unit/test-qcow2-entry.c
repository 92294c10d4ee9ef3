/* SPDX-License-Identifier: MIT */
/*
 * format/qcow2/entry and codec: bits of tables, and compressed clusters.
 */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "base/align.h"
#include "format/qcow2/codec.h"
#include "format/qcow2/entry.h"

#define COPIED UINT64_C(0x8000000000000000)
#define PACKED UINT64_C(0x4000000000000000)

static const struct qcow2_entry_format v3 = {.cluster_bits = 16};
static const struct qcow2_entry_format v2 = {.cluster_bits = 16, .v2 = true};
static const struct qcow2_entry_format ext = {
    .cluster_bits = 16,
    .extended = true,
};
static const struct qcow2_entry_format outside = {
    .cluster_bits = 16,
    .data_file = true,
};

static const struct kind_case {
    const char *name;
    const struct qcow2_entry_format *format;
    uint64_t l2, bitmap;
    unsigned sub;
    enum qcow2_kind want;
} kind_cases[] = {
    {"nothing", &v3, 0, 0, 0, QCOW2_HOLE},
    {"data", &v3, COPIED | 0x50000, 0, 0, QCOW2_DATA},
    {"shared data", &v3, 0x50000, 0, 0, QCOW2_DATA},
    {"zeroes", &v3, 1, 0, 0, QCOW2_ZEROES},
    {"zeroes with a place", &v3, COPIED | 0x50001, 0, 0, QCOW2_ZEROES_ALLOC},
    {"version 2 knows no zeroes", &v2, 0x50001, 0, 0, QCOW2_DATA},
    {"not aligned", &v3, 0x50200, 0, 0, QCOW2_BROKEN},
    {"compressed", &v3, PACKED | 0x50123, 0, 0, QCOW2_PACKED},
    {"compressed in a data file", &outside, PACKED | 0x50123, 0, 0,
     QCOW2_BROKEN},
    {"place 0 of a data file", &outside, COPIED, 0, 0, QCOW2_DATA},
    {"place 0 without a data file", &v3, COPIED, 0, 0, QCOW2_HOLE},
    {"subcluster allocated", &ext, 0x50000, 2, 1, QCOW2_DATA},
    {"its neighbour not", &ext, 0x50000, 2, 0, QCOW2_HOLE_ALLOC},
    {"last subcluster", &ext, 0x50000, UINT64_C(1) << 31, 31, QCOW2_DATA},
    {"subcluster zero", &ext, 0, UINT64_C(1) << 32, 0, QCOW2_ZEROES},
    {"subcluster zero with a place", &ext, 0x50000, UINT64_C(1) << 63, 31,
     QCOW2_ZEROES_ALLOC},
    {"allocated without a place", &ext, 0, 1, 0, QCOW2_BROKEN},
    {"allocated and zero", &ext, 0x50000, UINT64_C(1) << 32 | 1, 0,
     QCOW2_BROKEN},
    {"compressed has no subclusters", &ext, PACKED | 5, 0, 7, QCOW2_PACKED},
};

static void test_kind(gconstpointer opaque)
{
    const struct kind_case *c = opaque;
    struct qcow2_entry e = {c->l2, c->bitmap};

    g_assert_cmpint(qcow2_entry_kind(c->format, e, c->sub), ==, c->want);
    g_assert_cmpint(qcow2_entry_is_broken(c->format, e), ==,
                    c->want == QCOW2_BROKEN);
}

/* One subcluster that is not possible is enough, whichever it is. */
static void test_broken_sub(void)
{
    for (unsigned sub = 0; sub < QCOW2_SUBCLUSTERS; sub++) {
        uint64_t bit = UINT64_C(1) << sub;
        struct qcow2_entry e = {0x50000, bit | bit << QCOW2_SUBCLUSTERS};

        g_assert_true(qcow2_entry_is_broken(&ext, e));
        e.l2 = PACKED | 0x50000; /* which has no subclusters */
        g_assert_false(qcow2_entry_is_broken(&ext, e));
    }
}

/* Where compressed data lie survives being written into an entry. */
static void test_packed(void)
{
    for (unsigned bits = 9; bits <= 21; bits++) {
        struct qcow2_entry_format f = {.cluster_bits = bits};
        int64_t cluster = INT64_C(1) << bits;

        for (int i = 0; i < 1000; i++) {
            int64_t bytes = g_test_rand_int_range(1, (gint32)cluster);
            int64_t offset = g_test_rand_int_range(0, G_MAXINT32);
            struct qcow2_entry e = {qcow2_entry_pack(&f, offset, bytes), 0};
            int64_t got, room;

            g_assert_cmpint(qcow2_entry_kind(&f, e, 0), ==, QCOW2_PACKED);
            qcow2_entry_packed(&f, e, &got, &room);
            g_assert_cmpint(got, ==, offset);
            g_assert_cmpint(room, >=, bytes);
            g_assert_cmpint(room - bytes, <, 512);
            g_assert_cmpint((got + room) % 512, ==, 0);
        }
    }
}

static void test_packed_too_far(void)
{
    struct qcow2_entry_format f = {.cluster_bits = 21};
    int64_t limit = INT64_C(1) << 49;

    g_assert_cmpint(qcow2_entry_pack(&f, limit - 100, 100), !=, 0);
    g_assert_cmpint(qcow2_entry_pack(&f, limit - 100, 101), ==, 0);
}

/* Each count is on its own, at any width. */
static void test_refcounts(void)
{
    for (unsigned order = 0; order <= 6; order++) {
        uint64_t max = UINT64_MAX >> (64 - (1 << order));
        int64_t n = 512 * 8 >> order;
        g_autofree uint64_t *want = g_new(uint64_t, (gsize)n);
        uint8_t block[512] = {0};

        for (int64_t i = 0; i < n; i++) {
            want[i] = ((uint64_t)g_test_rand_int() << 32 |
                       (uint32_t)g_test_rand_int()) &
                      max;
            qcow2_refcount_store(block, i, order, want[i]);
        }
        for (int64_t i = 0; i < n; i++) {
            g_assert_cmpuint(qcow2_refcount_load(block, i, order), ==, want[i]);
        }
        qcow2_refcount_store(block, n / 2, order, max);
        g_assert_cmpuint(qcow2_refcount_load(block, n / 2, order), ==, max);
        g_assert_cmpuint(qcow2_refcount_load(block, n / 2 - 1, order), ==,
                         want[n / 2 - 1]);
    }
}

/* The least significant bits of a byte come first. */
static void test_refcount_bits(void)
{
    uint8_t block[2] = {0x12, 0x80};

    g_assert_cmpuint(qcow2_refcount_load(block, 0, 2), ==, 2);
    g_assert_cmpuint(qcow2_refcount_load(block, 1, 2), ==, 1);
    g_assert_cmpuint(qcow2_refcount_load(block, 15, 0), ==, 1);
    g_assert_cmpuint(qcow2_refcount_load(block, 0, 4), ==, 0x1280);
}

static void test_codec(gconstpointer opaque)
{
    enum qcow2_compression type =
        (enum qcow2_compression)GPOINTER_TO_INT(opaque);
    g_autofree uint8_t *plain = g_malloc(64 * KiB);
    g_autofree uint8_t *packed = g_malloc0(64 * KiB);
    g_autofree uint8_t *again = g_malloc(64 * KiB);
    struct codec *c = codec_new(type);
    int64_t n;

    for (int i = 0; i < 64 * KiB; i++) {
        plain[i] = (uint8_t)(i / 100);
    }
    n = codec_pack(c, plain, 64 * KiB, packed, 64 * KiB);
    g_assert_cmpint(n, >, 0);
    g_assert_cmpint(n, <, 8 * KiB);
    /* What follows is somebody else's. */
    memset(packed + n, 0xa5, 512);
    g_assert_cmpint(codec_unpack(c, packed, (size_t)n + 512, again, 64 * KiB),
                    ==, 0);
    g_assert_cmpmem(again, 64 * KiB, plain, 64 * KiB);
    /* Cut short, or too short for a cluster, it is an error. */
    g_assert_cmpint(codec_unpack(c, packed, (size_t)n / 2, again, 64 * KiB), <,
                    0);
    n = codec_pack(c, plain, 32 * KiB, packed, 64 * KiB);
    memset(packed + n, 0, 512);
    g_assert_cmpint(codec_unpack(c, packed, (size_t)n + 512, again, 64 * KiB),
                    <, 0);
    codec_free(c);
}

static void test_codec_noise(gconstpointer opaque)
{
    enum qcow2_compression type =
        (enum qcow2_compression)GPOINTER_TO_INT(opaque);
    struct codec *c = codec_new(type);
    g_autofree uint8_t *noise = g_malloc(4096);
    g_autofree uint8_t *out = g_malloc(4096);

    for (int round = 0; round < 200; round++) {
        for (size_t i = 0; i < 4096; i++) {
            noise[i] = (uint8_t)g_test_rand_int();
        }
        g_assert_cmpint(codec_pack(c, noise, 4096, out, 4095), ==, 0);
        (void)!codec_unpack(c, noise, 4096, out, 4096);
    }
    codec_free(c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(kind_cases); i++) {
        g_autofree char *name =
            g_strdup_printf("/qcow2-entry/kind/%s", kind_cases[i].name);

        g_test_add_data_func(name, &kind_cases[i], test_kind);
    }
    g_test_add_func("/qcow2-entry/broken-sub", test_broken_sub);
    g_test_add_func("/qcow2-entry/packed", test_packed);
    g_test_add_func("/qcow2-entry/packed-too-far", test_packed_too_far);
    g_test_add_func("/qcow2-entry/refcounts", test_refcounts);
    g_test_add_func("/qcow2-entry/refcount-bits", test_refcount_bits);
    g_test_add_data_func("/qcow2-codec/deflate", GINT_TO_POINTER(QCOW2_DEFLATE),
                         test_codec);
    g_test_add_data_func("/qcow2-codec/zstd", GINT_TO_POINTER(QCOW2_ZSTD),
                         test_codec);
    g_test_add_data_func("/qcow2-codec/deflate-noise",
                         GINT_TO_POINTER(QCOW2_DEFLATE), test_codec_noise);
    g_test_add_data_func("/qcow2-codec/zstd-noise", GINT_TO_POINTER(QCOW2_ZSTD),
                         test_codec_noise);
    return g_test_run();
}
