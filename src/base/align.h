/* SPDX-License-Identifier: MIT */
/*
 * align: rounding and range arithmetic on byte offsets that cannot overflow
 * unnoticed.  Alignments are powers of two unless a name says otherwise.
 */
#ifndef BASE_ALIGN_H
#define BASE_ALIGN_H

#include <stdbool.h>
#include <stdint.h>

#define KiB INT64_C(1024)
#define MiB (1024 * KiB)
#define GiB (1024 * MiB)
#define TiB (1024 * GiB)

static inline int64_t align_down(int64_t n, int64_t align)
{
    return n & ~(align - 1);
}

/* The caller knows that @n + @align does not overflow. */
static inline int64_t align_up(int64_t n, int64_t align)
{
    return (n + align - 1) & ~(align - 1);
}

/* The same for any @unit > 0. */
static inline int64_t round_down(int64_t n, int64_t unit)
{
    return n - n % unit;
}

static inline int64_t round_up(int64_t n, int64_t unit)
{
    return round_down(n + unit - 1, unit);
}

static inline bool is_aligned(int64_t n, int64_t align)
{
    return (n & (align - 1)) == 0;
}

static inline bool ptr_is_aligned(const void *p, int64_t align)
{
    return ((uintptr_t)p & ((uintptr_t)align - 1)) == 0;
}

static inline bool is_power_of_2(int64_t n)
{
    return n > 0 && (n & (n - 1)) == 0;
}

static inline int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The smaller of two limits of which 0 means "none". */
static inline int64_t min_non_zero(int64_t a, int64_t b)
{
    if (a == 0 || b == 0) {
        return a ? a : b;
    }
    return min_i64(a, b);
}

/* Does [@offset, @offset + @bytes) lie within [0, @size)?  Any input is
 * fine. */
static inline bool range_ok(int64_t offset, int64_t bytes, int64_t size)
{
    return offset >= 0 && bytes >= 0 && offset <= size &&
           bytes <= size - offset;
}

/* Do two ranges share a byte?  Both must be valid. */
static inline bool ranges_overlap(int64_t offset1, int64_t bytes1,
                                  int64_t offset2, int64_t bytes2)
{
    return offset1 < offset2 + bytes2 && offset2 < offset1 + bytes1;
}

#endif /* BASE_ALIGN_H */
