/* SPDX-License-Identifier: MIT */
/*
 * part-image: disks in memory with partition tables, for the tests of part.
 *
 * Only the first and the last IMAGE_EDGE bytes of a disk have memory, so that
 * it may be of any size; the middle reads as zeroes.
 */
#ifndef TEST_UNIT_PART_IMAGE_H
#define TEST_UNIT_PART_IMAGE_H

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "../part-check.h"
#include "base/align.h"
#include "base/endian.h"
#include "part/crc32.h"
#include "part/part.h"

#define IMAGE_EDGE (256 * KiB)

struct image {
    int64_t size;
    int sector_size;    /* of its tables */
    int64_t bad_offset; /* reading this byte fails with -EIO; -1: none is */
    int n_reads;
    uint8_t head[IMAGE_EDGE], tail[IMAGE_EDGE];
};

static inline struct image *image_new(int64_t size, int sector_size)
{
    struct image *im = g_new0(struct image, 1);

    im->size = size;
    im->sector_size = sector_size;
    im->bad_offset = -1;
    return im;
}

/* The byte at @offset, which has memory, and what follows it in its edge. */
static inline uint8_t *image_at(struct image *im, int64_t offset)
{
    if (offset < IMAGE_EDGE) {
        return im->head + offset;
    }
    g_assert_cmpint(offset, >=, im->size - IMAGE_EDGE);
    g_assert_cmpint(offset, <, im->size);
    return im->tail + (offset - (im->size - IMAGE_EDGE));
}

static inline uint8_t *image_sector(struct image *im, int64_t lba)
{
    return image_at(im, lba * im->sector_size);
}

static inline int64_t image_last(const struct image *im)
{
    return im->size / im->sector_size - 1;
}

static inline int image_read(void *opaque, int64_t offset, void *buf,
                             int64_t bytes)
{
    struct image *im = opaque;
    uint8_t *out = buf;

    im->n_reads++;
    g_assert_cmpint(bytes, >, 0);
    g_assert_true(range_ok(offset, bytes, im->size));
    if (im->bad_offset >= offset && im->bad_offset < offset + bytes) {
        return -EIO;
    }
    for (int64_t i = offset; i < offset + bytes; i++, out++) {
        bool backed = i < IMAGE_EDGE || i >= im->size - IMAGE_EDGE;

        *out = backed ? *image_at(im, i) : 0;
    }
    return 0;
}

/* Reads the table, which keeps all rules; to be freed by the caller. */
static inline struct part_table *image_table(struct image *im, int hint)
{
    struct part_source src = {
        .size = im->size,
        .sector_size = hint,
        .read = image_read,
        .opaque = im,
    };
    struct part_table *t;

    g_assert_cmpint(part_table_read(&src, &t), ==, 0);
    part_check_table(t, im->size);
    return t;
}

/* The warnings are those of @want, each in part; NULL ends the list early. */
static inline void image_expect_warnings(const struct part_table *t,
                                         const char *const *want, size_t n)
{
    size_t i;

    for (i = 0; i < n && want[i]; i++) {
        const char *got = i < t->n_warnings ? t->warnings[i] : "(no warning)";

        if (!strstr(got, want[i])) {
            g_assert_cmpstr(got, ==, want[i]);
        }
    }
    g_assert_cmpstr(i < t->n_warnings ? t->warnings[i] : NULL, ==, NULL);
}

static inline void image_put_mbr_entry(uint8_t *sector, int slot, uint8_t flag,
                                       uint8_t type, uint32_t start,
                                       uint32_t sectors)
{
    uint8_t *p = &sector[446 + 16 * slot];

    p[0] = flag;
    p[4] = type;
    store_le32(p + 8, start);
    store_le32(p + 12, sectors);
    sector[510] = 0x55;
    sector[511] = 0xaa;
}

static inline void image_put_gpt_header(struct image *im, int64_t lba,
                                        int64_t other, int64_t entries)
{
    uint8_t *h = image_sector(im, lba);
    int64_t array = 128 * 128 / im->sector_size;

    memcpy(h, "EFI PART", 8);
    store_le32(h + 8, 0x10000);
    store_le32(h + 12, 92);
    store_le64(h + 24, (uint64_t)lba);
    store_le64(h + 32, (uint64_t)other);
    store_le64(h + 40, (uint64_t)(2 + array));
    store_le64(h + 48, (uint64_t)(image_last(im) - array - 1));
    memcpy(h + 56, "\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee",
           14);
    store_le64(h + 72, (uint64_t)entries);
    store_le32(h + 80, 128);
    store_le32(h + 84, 128);
}

/* Where the test's own tables have the entries of the copy at @lba. */
static inline uint8_t *image_gpt_entries(struct image *im, int64_t lba)
{
    int64_t array = 128 * 128 / im->sector_size;

    return image_sector(im, lba == 1 ? 2 : lba - array);
}

/* Makes both checksums of the header at @lba right. */
static inline void image_seal(struct image *im, int64_t lba)
{
    uint8_t *h = image_sector(im, lba);
    uint32_t bytes = MIN(load_le32(h + 12), (uint32_t)im->sector_size);
    uint32_t n = load_le32(h + 80), each = load_le32(h + 84);

    if ((uint64_t)n * each <= 128 * 128) {
        store_le32(h + 88, crc32_of(image_gpt_entries(im, lba), n * each));
    }
    store_le32(h + 16, 0);
    store_le32(h + 16, crc32_of(h, bytes));
}

static inline void image_put_gpt_entry(struct image *im, int slot, uint8_t type,
                                       uint64_t first, uint64_t last,
                                       const char *name)
{
    glong n = 0;
    g_autofree gunichar2 *units = g_utf8_to_utf16(name, -1, NULL, &n, NULL);
    const int64_t lbas[] = {1, image_last(im)};

    for (int i = 0; i < 2; i++) {
        uint8_t *e = &image_gpt_entries(im, lbas[i])[128 * slot];

        memset(e, 0, 128);
        memset(e, type, 16);
        memset(e + 16, type + 1, 16);
        store_le64(e + 32, first);
        store_le64(e + 40, last);
        for (glong u = 0; u < n; u++) {
            store_le16(&e[56 + 2 * u], units[u]);
        }
    }
}

/* A protective MBR and both copies of a GPT of 128 entries, all free. */
static inline void image_put_gpt(struct image *im)
{
    int64_t last = image_last(im);

    image_put_mbr_entry(im->head, 0, 0, 0xee, 1, (uint32_t)last);
    image_put_gpt_header(im, 1, last, 2);
    image_put_gpt_header(im, last, 1, last - 128 * 128 / im->sector_size);
    image_seal(im, 1);
    image_seal(im, last);
}

#endif /* TEST_UNIT_PART_IMAGE_H */
