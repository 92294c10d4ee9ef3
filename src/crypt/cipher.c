/* SPDX-License-Identifier: MIT */

#include "crypt/cipher.h"

#include <assert.h>
#include <errno.h>
#include <nettle/aes.h>
#include <nettle/cbc.h>
#include <nettle/nettle-meta.h>
#include <nettle/serpent.h>
#include <nettle/twofish.h>
#include <string.h>

#include "base/endian.h"
#include "base/error.h"
#include "base/secure.h"

#define BLOCK        16 /* bytes, of all of these ciphers */
#define SECTOR       ((size_t)CIPHER_SECTOR)
#define SECTOR_WORDS (SECTOR / sizeof(uint64_t))

const char *const cipher_alg_names[] = {
    "aes-128",     "aes-192",     "aes-256",     "serpent-128", "serpent-192",
    "serpent-256", "twofish-128", "twofish-192", "twofish-256", NULL};
const char *const cipher_mode_names[] = {"cbc", "xts", NULL};
const char *const cipher_iv_names[] = {"plain", "plain64", "essiv", NULL};

/* In the order of the enum. */
static const struct nettle_cipher *const metas[] = {
    &nettle_aes128,     &nettle_aes192,     &nettle_aes256,
    &nettle_serpent128, &nettle_serpent192, &nettle_serpent256,
    &nettle_twofish128, &nettle_twofish192, &nettle_twofish256,
};

union context {
    struct aes256_ctx aes;
    struct serpent_ctx serpent;
    struct twofish_ctx twofish;
};

struct cipher {
    struct cipher_spec spec;
    const struct nettle_cipher *meta;
    union context encrypt, decrypt;
    /* Encrypts the IV: with the second key of XTS, or the hash of ESSIV. */
    const struct nettle_cipher *iv_meta;
    union context iv;
};

size_t cipher_key_bytes(const struct cipher_spec *spec)
{
    size_t n = metas[spec->alg]->key_size;

    return spec->mode == CIPHER_XTS ? 2 * n : n;
}

/* The cipher of the same family as @alg with keys of @n bytes, or NULL. */
static const struct nettle_cipher *sibling(enum cipher_alg alg, size_t n)
{
    for (int i = (int)alg / 3 * 3, end = i + 3; i < end; i++) {
        if (metas[i]->key_size == n) {
            return metas[i];
        }
    }
    return NULL;
}

static int set_essiv(struct cipher *c, const uint8_t *key, GError **err)
{
    uint8_t digest[HASH_MAX_BYTES];
    size_t n = hash_bytes(c->spec.iv_hash);

    c->iv_meta = sibling(c->spec.alg, n);
    if (!c->iv_meta) {
        return error_set(err, -EINVAL,
                         "essiv with %s makes keys of %zu bytes, which %s has "
                         "not; use sha256",
                         hash_names[c->spec.iv_hash], n,
                         cipher_alg_names[c->spec.alg]);
    }
    hash_digest(c->spec.iv_hash, key, cipher_key_bytes(&c->spec), digest);
    c->iv_meta->set_encrypt_key(&c->iv, digest);
    explicit_bzero(digest, sizeof(digest));
    return 0;
}

int cipher_new(const struct cipher_spec *spec, const uint8_t *key,
               struct cipher **ret, GError **err)
{
    struct cipher *c = secure_alloc(sizeof(*c));
    int rc = 0;

    if (!c) {
        return error_set(err, -ENOMEM, "out of memory for a key");
    }
    c->spec = *spec;
    c->meta = metas[spec->alg];
    c->meta->set_encrypt_key(&c->encrypt, key);
    c->meta->set_decrypt_key(&c->decrypt, key);
    if (spec->mode == CIPHER_XTS && spec->iv == CIPHER_ESSIV) {
        rc = error_set(err, -EINVAL,
                       "xts encrypts the sector's number itself and takes no "
                       "essiv; use plain64");
    } else if (spec->mode == CIPHER_XTS) {
        c->iv_meta = c->meta;
        c->iv_meta->set_encrypt_key(&c->iv, key + c->meta->key_size);
    } else if (spec->iv == CIPHER_ESSIV) {
        rc = set_essiv(c, key, err);
    }
    if (rc < 0) {
        cipher_free(c);
        return rc;
    }
    *ret = c;
    return 0;
}

void cipher_free(struct cipher *c)
{
    secure_free(c, sizeof(*c));
}

/* -- One sector ---------------------------------------------------------- */

static void make_iv(const struct cipher *c, int64_t offset, uint8_t *iv)
{
    uint64_t sector = (uint64_t)(offset / CIPHER_SECTOR);

    if (c->spec.iv == CIPHER_PLAIN) {
        sector = (uint32_t)sector;
    }
    store_le64(iv, sector);
    store_le64(iv + 8, 0);
    if (c->iv_meta) {
        c->iv_meta->encrypt(&c->iv, BLOCK, iv, iv);
    }
}

/* The tweaks of all blocks of a sector: each is that of the block before it
 * times x in GF(2^128), as IEEE 1619 numbers the bits. */
static void make_tweaks(const uint8_t *first, uint64_t *tweaks)
{
    uint64_t low = load_le64(first), high = load_le64(first + 8);

    for (size_t i = 0; i < SECTOR_WORDS; i += 2) {
        uint64_t carry = 0x87 & -(high >> 63);

        store_le64(&tweaks[i], low);
        store_le64(&tweaks[i + 1], high);
        high = high << 1 | low >> 63;
        low = low << 1 ^ carry;
    }
}

static void xor_sector(uint8_t *dst, const uint8_t *src, const uint64_t *with)
{
    for (size_t i = 0; i < SECTOR_WORDS; i++) {
        uint64_t word;

        memcpy(&word, src + 8 * i, sizeof(word));
        word ^= with[i];
        memcpy(dst + 8 * i, &word, sizeof(word));
    }
}

/*
 * nettle's own XTS goes to the cipher for each block of 16 bytes; with all
 * blocks of a sector handed over at once the processor does several of them
 * at a time, which is about five times as fast.
 */
static void xts_sector(const union context *key, nettle_cipher_func *crypt,
                       const uint8_t *iv, uint8_t *dst, const uint8_t *src)
{
    uint64_t tweaks[SECTOR_WORDS];

    make_tweaks(iv, tweaks);
    xor_sector(dst, src, tweaks);
    crypt(key, SECTOR, dst, dst);
    xor_sector(dst, dst, tweaks);
}

/* One of the two ways. */
struct way {
    const union context *key;
    nettle_cipher_func *crypt;
    void (*cbc)(const void *ctx, nettle_cipher_func *f, size_t block_size,
                uint8_t *iv, size_t length, uint8_t *dst, const uint8_t *src);
};

static void crypt_sectors(const struct cipher *c, const struct way *way,
                          int64_t offset, uint8_t *dst, const uint8_t *src,
                          int64_t bytes)
{
    uint8_t iv[BLOCK];

    assert(offset % CIPHER_SECTOR == 0 && bytes % CIPHER_SECTOR == 0);
    for (int64_t i = 0; i < bytes; i += CIPHER_SECTOR) {
        make_iv(c, offset + i, iv);
        if (c->spec.mode == CIPHER_XTS) {
            xts_sector(way->key, way->crypt, iv, dst + i, src + i);
        } else {
            way->cbc(way->key, way->crypt, BLOCK, iv, SECTOR, dst + i, src + i);
        }
    }
}

void cipher_encrypt(const struct cipher *c, int64_t offset, void *dst,
                    const void *src, int64_t bytes)
{
    const struct way way = {&c->encrypt, c->meta->encrypt, cbc_encrypt};

    crypt_sectors(c, &way, offset, dst, src, bytes);
}

void cipher_decrypt(const struct cipher *c, int64_t offset, void *dst,
                    const void *src, int64_t bytes)
{
    const struct way way = {&c->decrypt, c->meta->decrypt, cbc_decrypt};

    crypt_sectors(c, &way, offset, dst, src, bytes);
}
