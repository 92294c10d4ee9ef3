/* SPDX-License-Identifier: MIT */
/*
 * qcow2/bitmap_dir and qcow2/bitmap_bits: the directory of bitmaps, and bits
 * in memory.
 */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "base/endian.h"
#include "format/qcow2/bitmap_bits.h"
#include "format/qcow2/bitmap_dir.h"

#define CLUSTER_BITS 16

/* -- The directory ------------------------------------------------------- */

static const struct qcow2_bitmap_entry monday = {
    .name = (char *)"monday",
    .flags = QCOW2_BITMAP_AUTO,
    .granularity_bits = 16,
    .table_entries = 3,
    .table_offset = 5 << CLUSTER_BITS,
};

static const struct qcow2_bitmap_entry extra = {
    .name = (char *)"x",
    .extra = (uint8_t *)"12345",
    .extra_bytes = 5,
    .flags = QCOW2_BITMAP_IN_USE | QCOW2_BITMAP_EXTRA_COMPATIBLE,
    .granularity_bits = 31,
    .table_entries = 1,
    .table_offset = 9 << CLUSTER_BITS,
};

/* Both, one after the other; returns how many bytes that are. */
static int64_t make(uint8_t *dir)
{
    uint8_t *end = qcow2_bitmap_entry_store(&monday, dir);

    return qcow2_bitmap_entry_store(&extra, end) - dir;
}

static void expect_entry(const struct qcow2_bitmap_entry *got,
                         const struct qcow2_bitmap_entry *want)
{
    g_assert_cmpstr(got->name, ==, want->name);
    g_assert_cmpmem(got->extra, got->extra_bytes, want->extra,
                    want->extra_bytes);
    g_assert_cmpuint(got->flags, ==, want->flags);
    g_assert_cmpuint(got->granularity_bits, ==, want->granularity_bits);
    g_assert_cmpuint(got->table_entries, ==, want->table_entries);
    g_assert_cmpint(got->table_offset, ==, want->table_offset);
}

static void test_directory(void)
{
    uint8_t dir[128];
    int64_t bytes = make(dir);
    GArray *all;

    /* As the format says: 24 + 6 and 24 + 5 + 1, both padded. */
    g_assert_cmpint(bytes, ==, 64);
    g_assert_cmpint(qcow2_bitmap_dir_parse(dir, bytes, 2, CLUSTER_BITS, &all),
                    ==, 0);
    g_assert_cmpuint(all->len, ==, 2);
    expect_entry(&g_array_index(all, struct qcow2_bitmap_entry, 0), &monday);
    expect_entry(&g_array_index(all, struct qcow2_bitmap_entry, 1), &extra);
    g_array_unref(all);
}

static void test_bytes(void)
{
    static const uint8_t want[] = {
        0,   0,   0,   0,   0,   5,   0, 0, /* table */
        0,   0,   0,   3,   0,   0,   0, 2, /* entries, flags */
        1,   16,  0,   6,   0,   0,   0, 0, /* type, granularity, name, extra */
        'm', 'o', 'n', 'd', 'a', 'y', 0, 0,
    };
    uint8_t dir[128];

    (void)make(dir);
    g_assert_cmpmem(dir, sizeof(want), want, sizeof(want));
}

/* The directory with one byte changed. */
static const struct bad_case {
    const char *name;
    int at;
    uint8_t value;
    int64_t bytes; /* more of them than there are, or fewer */
    uint32_t n;
    int rc;
} bad_cases[] = {
    {"a table inside a cluster", 6, 1, 0, 2, -EINVAL},
    {"a table no file can reach", 0, 0x7f, 0, 2, -EINVAL},
    {"a table of too many entries", 8, 1, 0, 2, -EINVAL},
    {"an unknown flag", 15, 8, 0, 2, -EINVAL},
    {"an unknown type", 16, 2, 0, 2, -EOPNOTSUPP},
    {"granules of 256 bytes", 17, 8, 0, 2, -EOPNOTSUPP},
    {"granules of 4 GiB", 17, 32, 0, 2, -EOPNOTSUPP},
    {"a name of no bytes", 19, 0, 0, 2, -EINVAL},
    {"a name that is too long", 18, 4, 0, 2, -EINVAL},
    {"a name with a zero", 26, 0, 0, 2, -EINVAL},
    {"extra data past the end", 20, 1, 0, 2, -EINVAL},
    {"an end within an entry", 4, 0, -8, 2, -EINVAL},
    {"an end within the head of an entry", 4, 0, -20, 2, -EINVAL},
    {"bytes behind the last entry", 4, 0, 0, 1, -EINVAL},
    {"fewer entries than are said", 4, 0, 0, 3, -EINVAL},
};

static void test_bad(gconstpointer opaque)
{
    const struct bad_case *c = opaque;
    uint8_t dir[128];
    int64_t bytes = make(dir) + c->bytes;
    GArray *all;

    dir[c->at] = c->value;
    g_assert_cmpint(
        qcow2_bitmap_dir_parse(dir, bytes, c->n, CLUSTER_BITS, &all), ==,
        c->rc);
}

static void test_twice(void)
{
    uint8_t dir[128];
    uint8_t *end = qcow2_bitmap_entry_store(&monday, dir);
    GArray *all;

    end = qcow2_bitmap_entry_store(&monday, end);
    g_assert_cmpint(
        qcow2_bitmap_dir_parse(dir, end - dir, 2, CLUSTER_BITS, &all), ==,
        -EINVAL);
}

static void test_sizes(void)
{
    g_assert_cmpint(qcow2_bitmap_bits(0, 16), ==, 0);
    g_assert_cmpint(qcow2_bitmap_bits(1, 16), ==, 1);
    g_assert_cmpint(qcow2_bitmap_bits(65536, 16), ==, 1);
    g_assert_cmpint(qcow2_bitmap_bits(65537, 16), ==, 2);
    g_assert_cmpint(qcow2_bitmap_bits(INT64_MAX, 31), ==,
                    INT64_C(1) << (63 - 31));
    g_assert_cmpint(qcow2_bitmap_bytes(8 * 65536, 16), ==, 1);
    g_assert_cmpint(qcow2_bitmap_bytes(8 * 65536 + 1, 16), ==, 2);
}

/* -- Bits ---------------------------------------------------------------- */

#define N_BITS 1000
#define PART   16 /* bytes */

static bool is_set(const struct bitmap_bits *b, int64_t i)
{
    const uint8_t *part = b->parts[i / (PART * 8)];

    i %= PART * 8;
    return part && (part[i / 8] >> i % 8 & 1);
}

static void expect_bits(const struct bitmap_bits *b, const bool *want)
{
    for (int64_t i = 0; i < b->n_parts * PART * 8; i++) {
        g_assert_cmpint(is_set(b, i), ==, i < b->n_bits && want[i]);
    }
}

static void test_set(void)
{
    struct bitmap_bits b;
    bool want[N_BITS] = {false};

    g_assert_true(bitmap_bits_init(&b, N_BITS, PART));
    for (int round = 0; round < 200; round++) {
        gint32 first = g_test_rand_int_range(0, N_BITS);
        gint32 end = g_test_rand_int_range(first, MIN(first + 40, N_BITS) + 1);

        g_assert_true(bitmap_bits_set(&b, first, end));
        memset(want + first, true, (size_t)(end - first));
        expect_bits(&b, want);
        if (round % 50 == 0) {
            bitmap_bits_fini(&b);
            g_assert_true(bitmap_bits_init(&b, N_BITS, PART));
            memset(want, false, sizeof(want));
        }
    }
    bitmap_bits_fini(&b);
}

static void test_sparse(void)
{
    struct bitmap_bits b;

    g_assert_true(bitmap_bits_init(&b, N_BITS, PART));
    g_assert_cmpint(b.n_parts, ==, 8);
    g_assert_true(bitmap_bits_set(&b, 300, 301));
    for (int i = 0; i < b.n_parts; i++) {
        g_assert_cmpint(b.parts[i] != NULL, ==, i == 2);
    }
    bitmap_bits_fini(&b);
}

static void test_resize(void)
{
    struct bitmap_bits b;
    bool want[N_BITS] = {false};

    g_assert_true(bitmap_bits_init(&b, N_BITS, PART));
    g_assert_true(bitmap_bits_set(&b, 0, N_BITS));
    g_assert_true(bitmap_bits_resize(&b, 205));
    g_assert_cmpint(b.n_parts, ==, 2);
    /* What was cut off does not come back. */
    g_assert_true(bitmap_bits_resize(&b, N_BITS));
    memset(want, true, 205);
    expect_bits(&b, want);
    g_assert_true(bitmap_bits_resize(&b, 0));
    g_assert_true(bitmap_bits_resize(&b, N_BITS));
    memset(want, false, sizeof(want));
    expect_bits(&b, want);
    bitmap_bits_fini(&b);
}

static void test_runs(void)
{
    static const struct {
        int64_t from, first, end; /* end 0: there is none */
    } cases[] = {
        {0, 3, 5}, {3, 3, 5}, {4, 4, 5}, {5, 16, 40}, {20, 20, 40}, {40, 0, 0},
    };
    uint8_t bytes[8] = {0};

    bitmap_bytes_fill(bytes, 3, 5, true);
    bitmap_bytes_fill(bytes, 16, 40, true);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        int64_t pos = cases[i].from;

        g_assert_cmpint(bitmap_bytes_run(bytes, &pos, 64), ==, cases[i].end);
        if (cases[i].end) {
            g_assert_cmpint(pos, ==, cases[i].first);
        }
    }
}

static void test_run_ends(void)
{
    uint8_t bytes[2] = {0xff, 0xff};
    int64_t pos = 0;

    g_assert_cmpint(bitmap_bytes_run(bytes, &pos, 11), ==, 11);
}

static void test_are(void)
{
    uint8_t bytes[4] = {0xff, 0xff, 0xff, 0xfe};

    g_assert_true(bitmap_bytes_are(bytes, 3, 0xff));
    g_assert_false(bitmap_bytes_are(bytes, 4, 0xff));
    g_assert_false(bitmap_bytes_are(bytes, 3, 0));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qcow2-bitmap/directory", test_directory);
    g_test_add_func("/qcow2-bitmap/directory/bytes", test_bytes);
    for (size_t i = 0; i < G_N_ELEMENTS(bad_cases); i++) {
        g_autofree char *name = g_strdup_printf(
            "/qcow2-bitmap/directory/bad/%s", bad_cases[i].name);

        g_test_add_data_func(name, &bad_cases[i], test_bad);
    }
    g_test_add_func("/qcow2-bitmap/directory/twice", test_twice);
    g_test_add_func("/qcow2-bitmap/sizes", test_sizes);
    g_test_add_func("/qcow2-bitmap/bits/set", test_set);
    g_test_add_func("/qcow2-bitmap/bits/sparse", test_sparse);
    g_test_add_func("/qcow2-bitmap/bits/resize", test_resize);
    g_test_add_func("/qcow2-bitmap/bits/runs", test_runs);
    g_test_add_func("/qcow2-bitmap/bits/run-ends", test_run_ends);
    g_test_add_func("/qcow2-bitmap/bits/are", test_are);
    return g_test_run();
}
