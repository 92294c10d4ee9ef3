/* SPDX-License-Identifier: MIT */
/*
 * memory: host files that are sparse, as long as they like, and held in
 * memory; and the driver "memory", which opens one by its number, id=0.
 *
 * A write into more pages than MEMORY_MAX_PAGES fails with -ENOSPC, so an
 * image cannot make the test itself grow.
 *
 * Threading: one loop.
 */
#ifndef TEST_FUZZ_MEMORY_H
#define TEST_FUZZ_MEMORY_H

#include <stdint.h>

#define MEMORY_FILES     2
#define MEMORY_PAGE      4096
#define MEMORY_MAX_PAGES 4096

struct driver;

extern const struct driver driver_memory;

/* Makes file @id one of @length zeroes; negative frees it. */
void memory_reset(int id, int64_t length);
/* Puts bytes into it; what passes its end, or lies before 0, is cut. */
void memory_put(int id, int64_t offset, const uint8_t *buf, int64_t bytes);
/* Makes the @n-th read from now on fail with -EIO; 0: none. */
void memory_fail_read(int n);

#endif /* TEST_FUZZ_MEMORY_H */
