/* SPDX-License-Identifier: MIT */
/*
 * hash: the hashes that encrypted images name, and keys from passphrases.
 *
 * Threading: pure functions, any thread.
 */
#ifndef CRYPT_HASH_H
#define CRYPT_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

enum hash {
    HASH_SHA1,
    HASH_SHA224,
    HASH_SHA256,
    HASH_SHA384,
    HASH_SHA512,
    HASH_RIPEMD160,
};

#define HASH_MAX_BYTES 64 /* the longest digest */

/* NULL-terminated, in the order of the enum: "sha1", "sha224", … */
extern const char *const hash_names[];

size_t hash_bytes(enum hash hash); /* of a digest */

/* The digest of @n bytes at @data, hash_bytes() long, which may overwrite
 * @data. */
void hash_digest(enum hash hash, const void *data, size_t n, uint8_t *ret);

/*
 * PBKDF2 of RFC 8018 with HMAC: @bytes of key material from @secret.  Takes
 * as long as @iterations (> 0) say: maybe seconds.
 */
void hash_pbkdf2(enum hash hash, const void *secret, size_t secret_bytes,
                 const uint8_t *salt, size_t salt_bytes, uint32_t iterations,
                 uint8_t *ret, size_t bytes);

/*
 * How many iterations of the above, for @bytes of key material, this machine
 * does in @ms milliseconds of processor time.  Takes at most about a fifth
 * of a second.  At least 1, at most UINT32_MAX.
 */
uint32_t hash_pbkdf2_iterations(enum hash hash, size_t bytes, int64_t ms);

#endif /* CRYPT_HASH_H */
