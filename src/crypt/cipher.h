/* SPDX-License-Identifier: MIT */
/*
 * cipher: encryption of disks, sector by sector.
 *
 * A sector of 512 bytes is encrypted by itself; what makes equal sectors
 * differ is the number of each, from which its initialisation vector follows.
 * The ciphers themselves are nettle's.
 *
 * Units:     offsets and lengths in bytes, multiples of CIPHER_SECTOR.
 * Threading: a struct cipher is constant once it is made: any number of
 *            threads may use it at once.
 */
#ifndef CRYPT_CIPHER_H
#define CRYPT_CIPHER_H

#include <glib.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "crypt/hash.h"

#define CIPHER_SECTOR        INT64_C(512)
#define CIPHER_MAX_KEY_BYTES 64

/* Named as the option cipher-alg of images: cipher_alg_names[]. */
enum cipher_alg {
    CIPHER_AES_128,
    CIPHER_AES_192,
    CIPHER_AES_256,
    CIPHER_SERPENT_128,
    CIPHER_SERPENT_192,
    CIPHER_SERPENT_256,
    CIPHER_TWOFISH_128,
    CIPHER_TWOFISH_192,
    CIPHER_TWOFISH_256,
};

enum cipher_mode {
    CIPHER_CBC,
    CIPHER_XTS,
};

/* What the initialisation vector is made of. */
enum cipher_iv {
    CIPHER_PLAIN,   /* the low 32 bits of the sector's number */
    CIPHER_PLAIN64, /* all of it */
    CIPHER_ESSIV,   /* all of it, encrypted with a hash of the key */
};

/* NULL-terminated, in the order of the enums. */
extern const char *const cipher_alg_names[];
extern const char *const cipher_mode_names[]; /* "cbc", "xts" */
extern const char *const cipher_iv_names[];   /* "plain", "plain64", "essiv" */

struct cipher_spec {
    enum cipher_alg alg;
    enum cipher_mode mode;
    enum cipher_iv iv;
    enum hash iv_hash; /* CIPHER_ESSIV */
};

struct cipher;

/* The length of the key: with XTS there are two in one. */
size_t cipher_key_bytes(const struct cipher_spec *spec);

/*
 * Makes a cipher with @key, cipher_key_bytes() long, which it copies.
 *
 * Returns 0, or
 *   -EINVAL  the digest of iv_hash is no key of the cipher
 *   -ENOMEM
 */
nodiscard int cipher_new(const struct cipher_spec *spec, const uint8_t *key,
                         struct cipher **ret, GError **err);
void cipher_free(struct cipher *c); /* wipes; NULL is fine */

/*
 * Encrypts or decrypts @bytes from @src to @dst, which may be the same but not
 * overlap otherwise.  @offset is that of the first byte on the disk that the
 * sectors are counted on.
 */
void cipher_encrypt(const struct cipher *c, int64_t offset, void *dst,
                    const void *src, int64_t bytes);
void cipher_decrypt(const struct cipher *c, int64_t offset, void *dst,
                    const void *src, int64_t bytes);

#endif /* CRYPT_CIPHER_H */
