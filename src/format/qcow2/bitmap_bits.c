/* SPDX-License-Identifier: MIT */

#include "format/qcow2/bitmap_bits.h"

#include <stdlib.h>
#include <string.h>

#include "base/align.h"

static int64_t parts_for(int64_t n_bits, int64_t part_bytes)
{
    int64_t bytes = (n_bits + 7) / 8;

    return max_i64((bytes + part_bytes - 1) / part_bytes, 1);
}

bool bitmap_bits_init(struct bitmap_bits *b, int64_t n_bits, int64_t part_bytes)
{
    int64_t n = parts_for(n_bits, part_bytes);

    *b = (struct bitmap_bits){
        .n_bits = n_bits,
        .part_bytes = part_bytes,
        .n_parts = n,
        .parts = calloc((size_t)n, sizeof(*b->parts)),
    };
    return b->parts != NULL;
}

void bitmap_bits_fini(struct bitmap_bits *b)
{
    for (int64_t i = 0; b->parts && i < b->n_parts; i++) {
        free(b->parts[i]);
    }
    free(b->parts);
    *b = (struct bitmap_bits){.n_bits = 0};
}

bool bitmap_bits_set(struct bitmap_bits *b, int64_t first, int64_t end)
{
    int64_t part_bits = b->part_bytes * 8;

    while (first < end) {
        int64_t i = first / part_bits;
        int64_t stop = min_i64(end, (i + 1) * part_bits);

        if (!b->parts[i]) {
            b->parts[i] = calloc(1, (size_t)b->part_bytes);
        }
        if (!b->parts[i]) {
            return false;
        }
        bitmap_bytes_fill(b->parts[i], first - i * part_bits,
                          stop - i * part_bits, true);
        first = stop;
    }
    return true;
}

bool bitmap_bits_resize(struct bitmap_bits *b, int64_t n_bits)
{
    int64_t part_bits = b->part_bytes * 8;
    int64_t n = parts_for(n_bits, b->part_bytes);
    uint8_t **parts = calloc((size_t)n, sizeof(*parts));

    if (!parts) {
        return false;
    }
    for (int64_t i = 0; i < b->n_parts; i++) {
        if (i < n) {
            parts[i] = b->parts[i];
        } else {
            free(b->parts[i]);
        }
    }
    free(b->parts);
    b->parts = parts;
    b->n_parts = n;
    b->n_bits = n_bits;
    if (parts[n - 1]) {
        bitmap_bytes_fill(parts[n - 1], n_bits - (n - 1) * part_bits, part_bits,
                          false);
    }
    return true;
}

/* -- Bytes --------------------------------------------------------------- */

static void fill_bit(uint8_t *p, int64_t bit, bool on)
{
    uint8_t mask = (uint8_t)(1u << bit % 8);

    p[bit / 8] = on ? p[bit / 8] | mask : p[bit / 8] & (uint8_t)~mask;
}

void bitmap_bytes_fill(uint8_t *p, int64_t first, int64_t end, bool on)
{
    while (first < end && first % 8 != 0) {
        fill_bit(p, first++, on);
    }
    if (first < end) {
        memset(p + first / 8, on ? 0xff : 0, (size_t)((end - first) / 8));
        first += (end - first) / 8 * 8;
    }
    while (first < end) {
        fill_bit(p, first++, on);
    }
}

static bool is_set(const uint8_t *p, int64_t bit)
{
    return p[bit / 8] >> bit % 8 & 1;
}

int64_t bitmap_bytes_run(const uint8_t *p, int64_t *first, int64_t end)
{
    int64_t i = *first;

    while (i < end && !is_set(p, i)) {
        /* Most bytes are 0. */
        i = p[i / 8] >> i % 8 == 0 ? (i / 8 + 1) * 8 : i + 1;
    }
    if (i >= end) {
        return 0;
    }
    *first = i;
    while (i < end && is_set(p, i)) {
        i = i % 8 == 0 && p[i / 8] == 0xff ? i + 8 : i + 1;
    }
    return min_i64(i, end);
}

void bitmap_bytes_or(uint8_t *to, const uint8_t *from, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i++) {
        to[i] |= from[i];
    }
}

bool bitmap_bytes_are(const uint8_t *p, int64_t bytes, uint8_t value)
{
    return bytes == 0 ||
           (p[0] == value && memcmp(p, p + 1, (size_t)bytes - 1) == 0);
}
