/* SPDX-License-Identifier: MIT */
/*
 * bitmap_bits: a set of bits in memory that takes room only where some are
 * set.
 *
 * It is cut into parts as a bitmap on disk is into clusters; in a byte, the
 * bit of the least value is the first.
 *
 * Threading: one user at a time.
 */
#ifndef FORMAT_QCOW2_BITMAP_BITS_H
#define FORMAT_QCOW2_BITMAP_BITS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

struct bitmap_bits {
    int64_t n_bits;
    int64_t part_bytes;
    int64_t n_parts;
    uint8_t **parts; /* NULL: all of the part's bits are clear */
};

/* None set.  False when there is no memory; *@b is empty then. */
nodiscard bool bitmap_bits_init(struct bitmap_bits *b, int64_t n_bits,
                                int64_t part_bytes);
void bitmap_bits_fini(struct bitmap_bits *b);
static inline bool bitmap_bits_is_init(const struct bitmap_bits *b)
{
    return b->parts != NULL;
}

/* Sets bits [@first, @end); false when there is no memory. */
nodiscard bool bitmap_bits_set(struct bitmap_bits *b, int64_t first,
                               int64_t end);

/* Makes it one of @n_bits: drops those behind, or gains clear ones.  False,
 * and nothing has changed, when there is no memory. */
nodiscard bool bitmap_bits_resize(struct bitmap_bits *b, int64_t n_bits);

/* In @bytes at @p, a part: sets or clears bits [@first, @end). */
void bitmap_bytes_fill(uint8_t *p, int64_t first, int64_t end, bool on);
/* Finds the first run of set bits from *@first on, before @end.  Returns where
 * it ends, or 0 if there is none. */
int64_t bitmap_bytes_run(const uint8_t *p, int64_t *first, int64_t end);
/* Adds the bits of @from to @to. */
void bitmap_bytes_or(uint8_t *to, const uint8_t *from, int64_t bytes);
/* Are all bytes @value? */
bool bitmap_bytes_are(const uint8_t *p, int64_t bytes, uint8_t value);

#endif /* FORMAT_QCOW2_BITMAP_BITS_H */
