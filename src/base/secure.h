/* SPDX-License-Identifier: MIT */
/*
 * secure: memory for keys and passphrases.
 *
 * It is kept out of swap and core dumps where the kernel allows that, and
 * wiped when it is freed.  Each block takes at least a page: keep what belongs
 * together in one.
 *
 * Threading: any thread.
 */
#ifndef BASE_SECURE_H
#define BASE_SECURE_H

#include <stddef.h>

#include "base/compiler.h"

/* @bytes (> 0) of zeroes, or NULL when there is no memory. */
nodiscard void *secure_alloc(size_t bytes);
/* Wipes and frees; @bytes as it was allocated.  NULL is fine. */
void secure_free(void *p, size_t bytes);

#endif /* BASE_SECURE_H */
