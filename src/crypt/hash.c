/* SPDX-License-Identifier: MIT */

#include "crypt/hash.h"

#include <assert.h>
#include <glib.h>
#include <nettle/hmac.h>
#include <nettle/nettle-meta.h>
#include <nettle/pbkdf2.h>
#include <time.h>

const char *const hash_names[] = {"sha1",   "sha224",    "sha256", "sha384",
                                  "sha512", "ripemd160", NULL};

static const struct nettle_hash *meta(enum hash hash)
{
    switch (hash) {
    case HASH_SHA1:
        return &nettle_sha1;
    case HASH_SHA224:
        return &nettle_sha224;
    case HASH_SHA256:
        return &nettle_sha256;
    case HASH_SHA384:
        return &nettle_sha384;
    case HASH_SHA512:
        return &nettle_sha512;
    case HASH_RIPEMD160:
        return &nettle_ripemd160;
    }
    g_assert_not_reached();
}

/* The state of any of these hashes. */
union state {
    struct sha1_ctx sha1;
    struct sha256_ctx sha256; /* and 224 */
    struct sha512_ctx sha512; /* and 384 */
    struct ripemd160_ctx ripemd160;
};

size_t hash_bytes(enum hash hash)
{
    return meta(hash)->digest_size;
}

void hash_digest(enum hash hash, const void *data, size_t n, uint8_t *ret)
{
    const struct nettle_hash *h = meta(hash);
    union state state;

    h->init(&state);
    h->update(&state, n, data);
    h->digest(&state, h->digest_size, ret);
    explicit_bzero(&state, sizeof(state));
}

/* -- PBKDF2 -------------------------------------------------------------- */

/* HMAC with a key, as nettle's PBKDF2 wants it. */
struct prf {
    const struct nettle_hash *hash;
    union state outer, inner, state;
};

static void prf_update(void *ctx, size_t n, const uint8_t *data)
{
    struct prf *p = ctx;

    hmac_update(&p->state, p->hash, n, data);
}

static void prf_digest(void *ctx, size_t n, uint8_t *ret)
{
    struct prf *p = ctx;

    hmac_digest(&p->outer, &p->inner, &p->state, p->hash, n, ret);
}

void hash_pbkdf2(enum hash hash, const void *secret, size_t secret_bytes,
                 const uint8_t *salt, size_t salt_bytes, uint32_t iterations,
                 uint8_t *ret, size_t bytes)
{
    struct prf p = {.hash = meta(hash)};

    hmac_set_key(&p.outer, &p.inner, &p.state, p.hash, secret_bytes, secret);
    pbkdf2(&p, prf_update, prf_digest, p.hash->digest_size, iterations,
           salt_bytes, salt, bytes, ret);
    explicit_bzero(&p, sizeof(p));
}

/* -- How fast it is ------------------------------------------------------ */

#define ENOUGH_MS 100 /* to measure; less when little is wanted */

static int64_t cpu_ns(void)
{
    struct timespec now;

    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) < 0) {
        return 0;
    }
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

uint32_t hash_pbkdf2_iterations(enum hash hash, size_t bytes, int64_t ms)
{
    uint8_t key[HASH_MAX_BYTES * 2];
    int64_t enough = (ms < ENOUGH_MS ? ms : ENOUGH_MS) * 1000000;
    int64_t spent = 0;
    uint32_t n = 1 << 10;
    double most;

    assert(bytes <= sizeof(key));
    for (;; n *= 2) {
        int64_t before = cpu_ns();

        hash_pbkdf2(hash, "password", 8, (const uint8_t *)"salt", 4, n, key,
                    bytes);
        spent = cpu_ns() - before;
        if (spent >= enough || n >= UINT32_C(1) << 30) {
            break;
        }
    }
    most = (double)n * (double)ms * 1e6 / (double)(spent > 0 ? spent : 1);
    if (most < 1) {
        return 1;
    }
    return most > UINT32_MAX ? UINT32_MAX : (uint32_t)most;
}
