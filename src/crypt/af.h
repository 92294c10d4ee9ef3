/* SPDX-License-Identifier: MIT */
/*
 * af: the anti-forensic splitter of LUKS.  It blows a key up to many stripes,
 * all of which are needed to get it back.
 *
 * Threading: pure functions, any thread.
 */
#ifndef CRYPT_AF_H
#define CRYPT_AF_H

#include <stddef.h>
#include <stdint.h>

#include "crypt/hash.h"

/* Completes @split, @bytes * @stripes, whose stripes but the last hold random
 * bytes, so that it makes @key of @bytes. */
void af_split(enum hash hash, const uint8_t *key, size_t bytes,
              uint32_t stripes, uint8_t *split);
/* The key that @split makes. */
void af_merge(enum hash hash, const uint8_t *split, size_t bytes,
              uint32_t stripes, uint8_t *key);

#endif /* CRYPT_AF_H */
