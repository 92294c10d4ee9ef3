/* SPDX-License-Identifier: MIT */
/*
 * format/qcow2/header: what is accepted, what is refused and with which words,
 * and that what is written is read again.
 */
#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "format/qcow2/header.h"

#define CLUSTER 4096

/* -- One field changed --------------------------------------------------- */

/* A good header of version 3 with a backing file, in a cluster. */
static void make_v3(uint8_t *buf)
{
    struct qcow2_header h = {
        .version = 3,
        .cluster_bits = 12,
        .size = 10 * MiB,
        .l1_entries = 5,
        .l1_offset = 3 * CLUSTER,
        .reftable_offset = CLUSTER,
        .reftable_clusters = 1,
        .refcount_order = 4,
        .backing_name = (char *)(uintptr_t) "base.img",
        .backing_format = (char *)(uintptr_t) "raw",
    };

    g_assert_cmpint(qcow2_header_serialise(&h, buf), ==, 0);
}

/* One without a backing file, and room for extensions from 112 on. */
static void make_plain_v3(uint8_t *buf)
{
    make_v3(buf);
    memset(buf + 112, 0, CLUSTER - 112);
    store_be64(buf + 8, 0);
}

static const struct field_case {
    const char *name;
    int offset, width; /* of the field, in bytes */
    uint64_t value;
    int want;
    const char *message; /* part of it */
} field_cases[] = {
    {"unchanged", 4, 4, 3, 0, NULL},
    {"magic", 0, 4, 0x51464900, -EINVAL, "not a qcow2 image"},
    {"version 1", 4, 4, 1, -EOPNOTSUPP, "version 1"},
    {"version 4", 4, 4, 4, -EOPNOTSUPP, "version 4"},
    {"clusters too small", 20, 4, 8, -EINVAL, "2^8"},
    {"clusters too large", 20, 4, 22, -EINVAL, "2^22"},
    {"cluster bits that overflow", 20, 4, 0xffffffff, -EINVAL, "2^4294967295"},
    {"largest clusters: L1 table not aligned", 20, 4, 21, -EINVAL, "boundary"},
    {"backing name far away", 8, 8, UINT64_MAX, -EINVAL, "first cluster"},
    {"backing name at the end", 8, 8, CLUSTER - 8, 0, NULL},
    {"backing name past the end", 8, 8, CLUSTER - 7, -EINVAL, "first cluster"},
    {"backing name in the header", 8, 8, 100, -EINVAL, "first cluster"},
    {"backing name in an extension", 8, 8, 116, -EINVAL, "extension"},
    {"backing name too long", 16, 4, 1024, -EINVAL, "1024 bytes"},
    {"backing name past any end", 16, 4, 0xffffffff, -EINVAL, "first cluster"},
    {"disk that no file can be", 24, 8, UINT64_MAX, -EFBIG, "too large"},
    {"disk larger than the L1 table", 24, 8, 10 * MiB + 1, -EINVAL,
     "too small for a disk"},
    {"encryption AES", 32, 4, 1, 0, NULL},
    {"encryption unknown", 32, 4, 3, -EOPNOTSUPP, "method 3"},
    {"L1 table too small", 36, 4, 4, -EINVAL, "too small"},
    {"L1 table as large as can be", 36, 4, 4194304, 0, NULL},
    {"L1 table too large", 36, 4, 4194305, -EFBIG, "too large"},
    {"L1 table between clusters", 40, 8, 3 * CLUSTER + 512, -EINVAL,
     "boundary"},
    {"L1 table beyond all files", 40, 8, UINT64_C(1) << 63, -EINVAL,
     "no file can reach"},
    {"refcount table between clusters", 48, 8, 512, -EINVAL, "boundary"},
    {"refcount table as large as can be", 56, 4, 2048, 0, NULL},
    {"refcount table too large", 56, 4, 2049, -EFBIG, "too large"},
    {"snapshots: as many as can be", 60, 4, 65536, 0, NULL},
    {"snapshot table between clusters", 64, 8, 512, -EINVAL, "boundary"},
    {"snapshots: too many", 60, 4, 65537, -EFBIG, "65537 snapshots"},
    {"all known features but compression", 72, 8, 7, 0, NULL},
    {"an unknown feature", 72, 8, UINT64_C(1) << 40, -EOPNOTSUPP, "bit 40"},
    {"a compression that is not named", 72, 8, 8, -EINVAL, "contradicts"},
    {"extended L2 entries in small clusters", 72, 8, 16, -EINVAL, "16 KiB"},
    {"compatible features nobody knows", 80, 8, UINT64_MAX, 0, NULL},
    {"autoclear features nobody knows", 88, 8, UINT64_MAX, 0, NULL},
    {"64-bit counts", 96, 4, 6, 0, NULL},
    {"128-bit counts", 96, 4, 7, -EINVAL, "2^7"},
    {"header too short", 100, 4, 96, -EINVAL, "96 bytes"},
    {"header not a multiple of 8", 100, 4, 108, -EINVAL, "108 bytes"},
    {"header past the end", 100, 4, CLUSTER + 8, -EINVAL, "4104 bytes"},
    {"zstd without its bit", 104, 1, 1, -EINVAL, "contradicts"},
    {"an extension past the end", 116, 4, CLUSTER, -EINVAL, "0xe2792aca"},
    {"an extension that overflows", 116, 4, 0xfffffff8, -EINVAL, "0xe2792aca"},
    {"an unknown extension", 112, 4, 0x12345678, 0, NULL},
    {"a data file's name instead", 112, 4, 0x44415441, 0, NULL},
    {"bitmaps that are none", 112, 4, 0x23852875, -EINVAL, "bitmaps"},
    {"encryption header without encryption", 112, 4, 0x0537be77, -EINVAL,
     "encryption header"},
};

static void store(uint8_t *p, int width, uint64_t value)
{
    for (int i = width - 1; i >= 0; i--) {
        p[i] = (uint8_t)value;
        value >>= 8;
    }
}

/* An extension may end where the name of the backing file begins, and not one
 * byte behind. */
static void test_longest_extension(void)
{
    g_autofree uint8_t *buf = g_malloc(CLUSTER);
    g_autoptr(GError) err = NULL;
    struct qcow2_header h;
    uint32_t room;

    make_v3(buf);
    room = (uint32_t)load_be64(buf + 8) - 120;
    store_be32(buf + 112, 0x12345678);
    store_be32(buf + 116, room);
    g_assert_cmpint(qcow2_header_parse(buf, CLUSTER, "a.qcow2", &h, NULL), ==,
                    0);
    g_assert_cmpuint(h.extensions->len, ==, 8 + (room + 7) / 8 * 8);
    qcow2_header_fini(&h);
    store_be32(buf + 116, room + 1);
    g_assert_cmpint(qcow2_header_parse(buf, CLUSTER, "a.qcow2", &h, &err), ==,
                    -EINVAL);
    g_assert_nonnull(strstr(err->message, "0x12345678"));
}

/* All of the encryption's header is guarded, cluster by cluster. */
static void test_crypt_header_is_bounded(void)
{
    g_autofree uint8_t *buf = g_malloc(CLUSTER);
    g_autoptr(GError) err = NULL;
    struct qcow2_header h;

    make_plain_v3(buf);
    store_be32(buf + 32, QCOW2_CRYPT_LUKS);
    store_be32(buf + 112, 0x0537be77);
    store_be32(buf + 116, 16);
    store_be64(buf + 120, 8 * CLUSTER);
    store_be64(buf + 128, QCOW2_MAX_CRYPT_BYTES);
    g_assert_cmpint(qcow2_header_parse(buf, CLUSTER, "a.qcow2", &h, NULL), ==,
                    0);
    g_assert_cmpint(h.crypt_header.bytes, ==, QCOW2_MAX_CRYPT_BYTES);
    qcow2_header_fini(&h);
    store_be64(buf + 128, QCOW2_MAX_CRYPT_BYTES + 1);
    g_assert_cmpint(qcow2_header_parse(buf, CLUSTER, "a.qcow2", &h, &err), ==,
                    -EFBIG);
    g_assert_nonnull(strstr(err->message, "encryption header"));
}

/* Where bitmaps are changes at once with the fields before: in one sector,
 * however much follows. */
static void test_bitmaps_come_first(void)
{
    g_autofree uint8_t *buf = g_malloc(CLUSTER);
    g_autofree char *name = g_strnfill(1000, 'd');
    struct qcow2_header h;

    make_v3(buf);
    g_assert_cmpint(qcow2_header_parse(buf, CLUSTER, "a.qcow2", &h, NULL), ==,
                    0);
    h.data_file = g_strdup(name);
    h.bitmaps.n = 1;
    h.bitmaps.directory_bytes = 32;
    h.bitmaps.directory_offset = 4 * CLUSTER;
    g_assert_cmpint(qcow2_header_serialise(&h, buf), ==, 0);
    g_assert_cmphex(load_be32(buf + 112), ==, 0x23852875);
    qcow2_header_fini(&h);
}

static void test_field(gconstpointer opaque)
{
    const struct field_case *c = opaque;
    g_autofree uint8_t *buf = g_malloc(CLUSTER);
    g_autoptr(GError) err = NULL;
    struct qcow2_header h;
    int rc;

    make_v3(buf);
    store(buf + c->offset, c->width, c->value);
    rc = qcow2_header_parse(buf, CLUSTER, "a.qcow2", &h, &err);
    g_assert_cmpint(rc, ==, c->want);
    if (rc < 0) {
        g_assert_nonnull(err);
        g_assert_nonnull(strstr(err->message, "a.qcow2"));
        g_assert_nonnull(strstr(err->message, c->message));
    } else {
        g_assert_no_error(err);
    }
    qcow2_header_fini(&h);
}

/* Whatever is cut off, nothing behind it is looked at (ASan sees). */
static void test_every_length(void)
{
    g_autofree uint8_t *buf = g_malloc(CLUSTER);

    make_v3(buf);
    for (size_t n = 0; n < 700; n++) {
        g_autofree uint8_t *cut = g_memdup2(buf, n + (n == 0));
        struct qcow2_header h;
        int rc = qcow2_header_parse(cut, n, "cut", &h, NULL);

        if (n < QCOW2_V3_HEADER_BYTES) {
            g_assert_cmpint(rc, <, 0);
        }
        qcow2_header_fini(&h);
    }
}

static void test_every_byte_changed(void)
{
    g_autofree uint8_t *buf = g_malloc(CLUSTER);

    for (size_t i = 0; i < 700; i++) {
        struct qcow2_header h;

        make_v3(buf);
        buf[i] ^= (uint8_t)g_test_rand_int_range(1, 256);
        if (qcow2_header_parse(buf, CLUSTER, "changed", &h, NULL) == 0) {
            g_assert_cmpint(h.cluster_bits, <=, QCOW2_MAX_CLUSTER_BITS);
            g_assert_cmpint(h.l1_entries, <=, QCOW2_MAX_L1_BYTES / 8);
            g_assert_cmpint(h.refcount_order, <=, QCOW2_MAX_REFCOUNT_ORDER);
        }
        qcow2_header_fini(&h);
    }
}

/* -- There and back ------------------------------------------------------ */

static void test_round_trip(void)
{
    g_autofree uint8_t *buf = g_malloc(64 * KiB);
    struct qcow2_header in = {
        .version = 3,
        .cluster_bits = 16,
        .size = 5 * GiB,
        .l1_entries = 10,
        .l1_offset = 7 << 16,
        .reftable_offset = 1 << 16,
        .reftable_clusters = 2,
        .n_snapshots = 3,
        .snapshots_offset = 9 << 16,
        .incompatible = QCOW2_COMPRESSION | QCOW2_DATA_FILE,
        .compatible = QCOW2_LAZY_REFCOUNTS,
        .autoclear = QCOW2_BITMAPS,
        .refcount_order = 2,
        .compression = QCOW2_ZSTD,
        .backing_name = g_strdup("/a/backing file"),
        .backing_format = g_strdup("qcow2"),
        .data_file = g_strdup("data.raw"),
        .bitmaps = {2, 100, 11 << 16},
    };
    struct qcow2_header out;

    g_assert_cmpint(qcow2_header_serialise(&in, buf), ==, 0);
    g_assert_cmpint(qcow2_header_parse(buf, 64 * KiB, "x", &out, NULL), ==, 0);
    g_assert_cmpint(out.size, ==, in.size);
    g_assert_cmpint(out.l1_entries, ==, 10);
    g_assert_cmpint(out.l1_offset, ==, 7 << 16);
    g_assert_cmpint(out.reftable_offset, ==, 1 << 16);
    g_assert_cmpint(out.reftable_clusters, ==, 2);
    g_assert_cmpint(out.n_snapshots, ==, 3);
    g_assert_cmpint(out.snapshots_offset, ==, 9 << 16);
    g_assert_cmpint(out.incompatible, ==, in.incompatible);
    g_assert_cmpint(out.compatible, ==, in.compatible);
    g_assert_cmpint(out.autoclear, ==, in.autoclear);
    g_assert_cmpint(out.refcount_order, ==, 2);
    g_assert_cmpint(out.compression, ==, QCOW2_ZSTD);
    g_assert_cmpstr(out.backing_name, ==, in.backing_name);
    g_assert_cmpstr(out.backing_format, ==, in.backing_format);
    g_assert_cmpstr(out.data_file, ==, in.data_file);
    g_assert_cmpint(out.bitmaps.n, ==, 2);
    g_assert_cmpint(out.bitmaps.directory_bytes, ==, 100);
    g_assert_cmpint(out.bitmaps.directory_offset, ==, 11 << 16);
    qcow2_header_fini(&in);
    qcow2_header_fini(&out);
}

/* Fields behind those we know, and extensions, are written as they were. */
static void test_unknown_is_kept(void)
{
    g_autofree uint8_t *buf = g_malloc0(CLUSTER);
    g_autofree uint8_t *again = g_malloc0(CLUSTER);
    struct qcow2_header h;

    make_plain_v3(buf);
    store_be32(buf + 100, 120);
    memcpy(buf + 112, "ABCDEFGH", 8);
    store_be32(buf + 120, 0x0badcafe);
    store_be32(buf + 124, 5);
    memcpy(buf + 128, "12345", 5);
    g_assert_cmpint(qcow2_header_parse(buf, CLUSTER, "x", &h, NULL), ==, 0);
    g_assert_cmpint(qcow2_header_serialise(&h, again), ==, 0);
    qcow2_header_fini(&h);

    g_assert_cmpint(load_be32(again + 100), ==, 120);
    g_assert_cmpmem(again + 112, 8, "ABCDEFGH", 8);
    g_assert_cmpint(qcow2_header_parse(again, CLUSTER, "x", &h, NULL), ==, 0);
    g_assert_nonnull(h.extensions);
    g_assert_cmpmem(h.extensions->data, h.extensions->len, buf + 120, 16);
    qcow2_header_fini(&h);
}

/* Programs that add an extension may not look whether there is one. */
static void test_last_name_counts(void)
{
    g_autofree uint8_t *buf = g_malloc0(CLUSTER);
    struct qcow2_header h;

    make_plain_v3(buf);
    store_be32(buf + 112, 0xe2792aca);
    store_be32(buf + 116, 3);
    memcpy(buf + 120, "raw", 3);
    store_be32(buf + 128, 0xe2792aca);
    store_be32(buf + 132, 5);
    memcpy(buf + 136, "qcow2", 5);
    g_assert_cmpint(qcow2_header_parse(buf, CLUSTER, "x", &h, NULL), ==, 0);
    g_assert_cmpstr(h.backing_format, ==, "qcow2");
    qcow2_header_fini(&h);
}

static void test_unknown_feature_is_named(void)
{
    g_autofree uint8_t *buf = g_malloc0(CLUSTER);
    g_autoptr(GError) err = NULL;
    struct qcow2_header h;

    make_plain_v3(buf);
    store_be64(buf + 72, UINT64_C(1) << 9 | UINT64_C(1) << 63);
    store_be32(buf + 112, 0x6803f857);
    store_be32(buf + 116, 13); /* cut short behind the name */
    buf[121] = 9;
    memcpy(buf + 122, "time travel", 11);
    g_assert_cmpint(qcow2_header_parse(buf, CLUSTER, "x", &h, &err), ==,
                    -EOPNOTSUPP);
    g_assert_nonnull(strstr(err->message, "time travel, bit 63"));
}

static void test_small_cluster(void)
{
    uint8_t buf[512];
    struct qcow2_header h = {
        .version = 3,
        .cluster_bits = 9,
        .refcount_order = 4,
        .backing_name = g_strnfill(300, 'x'),
    };

    /* The names of features give way; a name that is too long does not fit. */
    g_assert_cmpint(qcow2_header_serialise(&h, buf), ==, 0);
    g_free(h.backing_name);
    h.backing_name = g_strnfill(500, 'x');
    g_assert_cmpint(qcow2_header_serialise(&h, buf), ==, -ENOSPC);
    qcow2_header_fini(&h);
}

/* All in one sector, but for the name that is elsewhere. */
static void test_short(void)
{
    static uint8_t buf[CLUSTER];
    struct qcow2_header h = {
        .version = 3,
        .cluster_bits = 12,
        .size = 10 * MiB,
        .l1_entries = 5,
        .l1_offset = 3 * CLUSTER,
        .reftable_offset = CLUSTER,
        .reftable_clusters = 1,
        .refcount_order = 4,
        .backing_name = g_strnfill(700, 'x'),
        .backing_format = g_strdup("raw"),
    };
    struct qcow2_header out;

    g_assert_cmpint(qcow2_header_serialise_short(&h, buf, 1024), ==, 0);
    memset(buf + 1024, 'x', 700);
    g_assert_cmpint(qcow2_header_parse(buf, CLUSTER, "x", &out, NULL), ==, 0);
    g_assert_cmpstr(out.backing_name, ==, h.backing_name);
    g_assert_cmpstr(out.backing_format, ==, "raw");
    g_assert_cmpint(out.size, ==, h.size);
    qcow2_header_fini(&out);

    h.data_file = g_strnfill(450, 'y');
    g_assert_cmpint(qcow2_header_serialise_short(&h, buf, 1024), ==, -ENOSPC);
    qcow2_header_fini(&h);
}

static void test_version_2(void)
{
    uint8_t buf[512];
    struct qcow2_header h = {
        .version = 2,
        .cluster_bits = 9,
        .refcount_order = 4,
        .backing_name = g_strdup("b"),
    };
    struct qcow2_header out;

    g_assert_cmpint(qcow2_header_serialise(&h, buf), ==, 0);
    g_assert_cmpint(qcow2_header_parse(buf, 512, "x", &out, NULL), ==, 0);
    g_assert_cmpint(out.version, ==, 2);
    g_assert_cmpint(out.refcount_order, ==, 4);
    g_assert_cmpint(out.incompatible, ==, 0);
    g_assert_cmpstr(out.backing_name, ==, "b");
    qcow2_header_fini(&h);
    qcow2_header_fini(&out);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(field_cases); i++) {
        g_autofree char *name =
            g_strdup_printf("/qcow2-header/field/%s", field_cases[i].name);

        g_test_add_data_func(name, &field_cases[i], test_field);
    }
    g_test_add_func("/qcow2-header/every-length", test_every_length);
    g_test_add_func("/qcow2-header/every-byte", test_every_byte_changed);
    g_test_add_func("/qcow2-header/round-trip", test_round_trip);
    g_test_add_func("/qcow2-header/unknown-is-kept", test_unknown_is_kept);
    g_test_add_func("/qcow2-header/last-name-counts", test_last_name_counts);
    g_test_add_func("/qcow2-header/unknown-feature",
                    test_unknown_feature_is_named);
    g_test_add_func("/qcow2-header/small-cluster", test_small_cluster);
    g_test_add_func("/qcow2-header/short", test_short);
    g_test_add_func("/qcow2-header/version-2", test_version_2);
    g_test_add_func("/qcow2-header/longest-extension", test_longest_extension);
    g_test_add_func("/qcow2-header/crypt-header-is-bounded",
                    test_crypt_header_is_bounded);
    g_test_add_func("/qcow2-header/bitmaps-first", test_bitmaps_come_first);
    return g_test_run();
}
