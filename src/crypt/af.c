/* SPDX-License-Identifier: MIT */

#include "crypt/af.h"

#include <assert.h>
#include <nettle/memxor.h>
#include <string.h>

#include "base/endian.h"
#include "crypt/cipher.h"

/* Makes each bit of @buf depend on all of those in the same piece, which is as
 * long as a digest. */
static void diffuse(enum hash hash, uint8_t *buf, size_t bytes)
{
    size_t step = hash_bytes(hash);
    uint8_t piece[4 + HASH_MAX_BYTES], digest[HASH_MAX_BYTES];
    uint32_t i = 0;

    for (size_t at = 0; at < bytes; at += step, i++) {
        size_t n = bytes - at < step ? bytes - at : step;

        store_be32(piece, i);
        memcpy(piece + 4, buf + at, n);
        hash_digest(hash, piece, 4 + n, digest);
        memcpy(buf + at, digest, n);
    }
    explicit_bzero(piece, sizeof(piece));
    explicit_bzero(digest, sizeof(digest));
}

/* What all stripes but the last come to. */
static void fold(enum hash hash, const uint8_t *split, size_t bytes,
                 uint32_t stripes, uint8_t *ret)
{
    memset(ret, 0, bytes);
    for (uint32_t i = 0; i + 1 < stripes; i++) {
        memxor(ret, split + i * bytes, bytes);
        diffuse(hash, ret, bytes);
    }
}

void af_split(enum hash hash, const uint8_t *key, size_t bytes,
              uint32_t stripes, uint8_t *split)
{
    uint8_t *last = split + bytes * (stripes - 1);

    assert(bytes <= CIPHER_MAX_KEY_BYTES);
    fold(hash, split, bytes, stripes, last);
    memxor(last, key, bytes);
}

void af_merge(enum hash hash, const uint8_t *split, size_t bytes,
              uint32_t stripes, uint8_t *key)
{
    assert(bytes <= CIPHER_MAX_KEY_BYTES);
    fold(hash, split, bytes, stripes, key);
    memxor(key, split + bytes * (stripes - 1), bytes);
}
