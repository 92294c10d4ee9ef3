/* SPDX-License-Identifier: MIT */
/*
 * crypt: keys from passphrases, splitting of keys, and the encryption of
 * sectors, by published vectors and against nettle's own modes.
 */
#include <errno.h>
#include <glib.h>
#include <nettle/cbc.h>
#include <nettle/serpent.h>
#include <nettle/xts.h>
#include <stdbool.h>
#include <string.h>

#include "base/endian.h"
#include "crypt/af.h"
#include "crypt/cipher.h"
#include "crypt/hash.h"

#define SECTOR ((size_t)CIPHER_SECTOR)

static size_t from_hex(const char *hex, uint8_t *out)
{
    size_t n = strlen(hex) / 2;

    for (size_t i = 0; i < n; i++) {
        out[i] = (uint8_t)(g_ascii_xdigit_value(hex[2 * i]) << 4 |
                           g_ascii_xdigit_value(hex[2 * i + 1]));
    }
    return n;
}

/* -- PBKDF2 -------------------------------------------------------------- */

static const struct pbkdf2_case {
    const char *name;
    enum hash hash;
    const char *secret;
    size_t secret_bytes;
    const char *salt;
    size_t salt_bytes;
    uint32_t iterations;
    const char *want;
} pbkdf2_cases[] = {
    /* RFC 6070 */
    {"sha1-once", HASH_SHA1, "password", 8, "salt", 4, 1,
     "0c60c80f961f0e71f3a9b524af6012062fe037a6"},
    {"sha1-twice", HASH_SHA1, "password", 8, "salt", 4, 2,
     "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957"},
    {"sha1-4096", HASH_SHA1, "password", 8, "salt", 4, 4096,
     "4b007901b765489abead49d926f721d065a429c1"},
    {"sha1-two-blocks", HASH_SHA1, "passwordPASSWORDpassword", 24,
     "saltSALTsaltSALTsaltSALTsaltSALTsalt", 36, 4096,
     "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038"},
    {"sha1-zero-bytes", HASH_SHA1, "pass\0word", 9, "sa\0lt", 5, 4096,
     "56fa6aa75548099dcc37d7f03425e0c3"},
    /* RFC 7914, section 11 */
    {"sha256-once", HASH_SHA256, "passwd", 6, "salt", 4, 1,
     "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
     "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783"},
    {"sha256-80000", HASH_SHA256, "Password", 8, "NaCl", 4, 80000,
     "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"
     "a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d"},
    /* Made with another implementation. */
    {"sha512", HASH_SHA512, "password", 8, "salt", 4, 4096,
     "d197b1b33db0143e018b12f3d1d1479e6cdebdcc97c5c0f87f6902e072f457b5"
     "143f30602641b3d55cd335988cb36b84376060ecd532e039b742a239434af2d5"},
    {"ripemd160", HASH_RIPEMD160, "password", 8, "salt", 4, 4096,
     "99a40d3fe4ee95869791d9faa248645627827621"},
};

static void test_pbkdf2(gconstpointer data)
{
    const struct pbkdf2_case *c = data;
    uint8_t want[64], got[64];
    size_t n = from_hex(c->want, want);

    hash_pbkdf2(c->hash, c->secret, c->secret_bytes, (const uint8_t *)c->salt,
                c->salt_bytes, c->iterations, got, n);
    g_assert_cmpmem(got, (int)n, want, (int)n);
}

static void test_iterations(void)
{
    uint32_t some = hash_pbkdf2_iterations(HASH_SHA256, 32, 10);
    uint32_t more = hash_pbkdf2_iterations(HASH_SHA256, 32, 1000);

    g_assert_cmpuint(some, >, 0);
    g_assert_cmpuint(more, >, some * UINT64_C(10)); /* of about 100 times */
    g_assert_cmpuint(hash_pbkdf2_iterations(HASH_SHA256, 32, INT64_MAX), ==,
                     UINT32_MAX);
}

/* -- Splitting keys ------------------------------------------------------ */

static void test_af_round_trip(void)
{
    uint8_t key[45], got[sizeof(key)], split[sizeof(key) * 50];

    for (size_t i = 0; i < sizeof(key); i++) {
        key[i] = (uint8_t)(i * 7);
    }
    for (size_t i = 0; i < sizeof(split); i++) {
        split[i] = (uint8_t)g_test_rand_int();
    }
    af_split(HASH_SHA256, key, sizeof(key), 50, split);
    af_merge(HASH_SHA256, split, sizeof(key), 50, got);
    g_assert_cmpmem(got, sizeof(got), key, sizeof(key));
}

/* One bit that is lost anywhere loses the key: half of the bits of the piece
 * that is as long as a digest. */
static void test_af_one_bit(void)
{
    uint8_t key[20] = {1}, got[sizeof(key)], split[sizeof(key) * 10] = {0};
    int differ = 0;

    af_split(HASH_SHA1, key, sizeof(key), 10, split);
    split[3] ^= 1;
    af_merge(HASH_SHA1, split, sizeof(key), 10, got);
    for (size_t i = 0; i < sizeof(key); i++) {
        differ += __builtin_popcount(got[i] ^ key[i]);
    }
    g_assert_cmpint(differ, >, 40);
}

/* -- Sectors ------------------------------------------------------------- */

/* IEEE 1619-2007, annex B: the first bytes of encrypted sectors.  What is
 * encrypted are the bytes 00 … ff twice, or the result of the vector before. */
static const struct xts_case {
    const char *name;
    enum cipher_alg alg;
    const char *key;
    int64_t sector;
    bool chained; /* to the one before, whose sector is that of its row */
    const char *want;
} xts_cases[] = {
    {"vector-4", CIPHER_AES_128,
     "2718281828459045235360287471352631415926535897932384626433832795", 0,
     false, "27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89c"},
    {"vector-5", CIPHER_AES_128,
     "2718281828459045235360287471352631415926535897932384626433832795", 1,
     true, "264d3ca8512194fec312c8c9891f279fefdd608d0c027b60483a3fa811d65ee5"},
    {"vector-10", CIPHER_AES_256,
     "2718281828459045235360287471352662497757247093699959574966967627"
     "3141592653589793238462643383279502884197169399375105820974944592",
     0xff, false,
     "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b"},
};

static void test_xts(gconstpointer data)
{
    const struct xts_case *c = data;
    struct cipher_spec spec = {c->alg, CIPHER_XTS, CIPHER_PLAIN64, 0};
    uint8_t key[64], want[32], plain[512], got[512], back[512];
    struct cipher *cipher = NULL;
    int64_t at = c->sector * CIPHER_SECTOR;

    g_assert_cmpuint(from_hex(c->key, key), ==, cipher_key_bytes(&spec));
    from_hex(c->want, want);
    for (size_t i = 0; i < sizeof(plain); i++) {
        plain[i] = (uint8_t)i;
    }
    g_assert_cmpint(cipher_new(&spec, key, &cipher, NULL), ==, 0);
    if (c->chained) {
        cipher_encrypt(cipher, c[-1].sector * CIPHER_SECTOR, plain, plain,
                       sizeof(plain));
    }
    cipher_encrypt(cipher, at, got, plain, sizeof(got));
    g_assert_cmpmem(got, sizeof(want), want, sizeof(want));
    cipher_decrypt(cipher, at, back, got, sizeof(got));
    g_assert_cmpmem(back, sizeof(back), plain, sizeof(plain));
    cipher_free(cipher);
}

/* What a test of a whole range works on: eight sectors of random bytes, and
 * one key for all. */
struct range {
    uint8_t key[CIPHER_MAX_KEY_BYTES];
    uint8_t plain[8 * 512], got[8 * 512], want[8 * 512];
    struct cipher *cipher;
};

static struct range *range_new(const struct cipher_spec *spec)
{
    struct range *r = g_new0(struct range, 1);

    for (size_t i = 0; i < sizeof(r->key); i++) {
        r->key[i] = (uint8_t)g_test_rand_int();
    }
    for (size_t i = 0; i < sizeof(r->plain); i++) {
        r->plain[i] = (uint8_t)g_test_rand_int();
    }
    g_assert_cmpint(cipher_new(spec, r->key, &r->cipher, NULL), ==, 0);
    return r;
}

static void range_free(struct range *r)
{
    cipher_free(r->cipher);
    g_free(r);
}

static void test_xts_as_nettle(void)
{
    struct cipher_spec spec = {CIPHER_AES_256, CIPHER_XTS, CIPHER_PLAIN64, 0};
    struct range *r = range_new(&spec);
    int64_t first = INT64_C(0x123456789);
    struct xts_aes256_key key;

    xts_aes256_set_encrypt_key(&key, r->key);
    for (size_t i = 0; i < 8; i++) {
        uint8_t tweak[16] = {0};

        store_le64(tweak, (uint64_t)first + i);
        xts_aes256_encrypt_message(&key, tweak, SECTOR, r->want + i * SECTOR,
                                   r->plain + i * SECTOR);
    }
    cipher_encrypt(r->cipher, first * CIPHER_SECTOR, r->got, r->plain,
                   sizeof(r->got));
    g_assert_cmpmem(r->got, sizeof(r->got), r->want, sizeof(r->want));
    range_free(r);
}

/* IVs of cbc-plain: 32 bits of the number, and no more. */
static void test_cbc_plain(void)
{
    struct cipher_spec spec = {CIPHER_SERPENT_256, CIPHER_CBC, CIPHER_PLAIN, 0};
    struct range *r = range_new(&spec);
    int64_t first = INT64_C(0xffffffff);
    struct serpent_ctx key;

    serpent_set_key(&key, 32, r->key);
    for (size_t i = 0; i < 8; i++) {
        uint8_t iv[16] = {0};

        store_le32(iv, (uint32_t)(first + (int64_t)i));
        cbc_encrypt(&key, (nettle_cipher_func *)serpent_encrypt, 16, iv, SECTOR,
                    r->want + i * SECTOR, r->plain + i * SECTOR);
    }
    cipher_encrypt(r->cipher, first * CIPHER_SECTOR, r->got, r->plain,
                   sizeof(r->got));
    g_assert_cmpmem(r->got, sizeof(r->got), r->want, sizeof(r->want));
    range_free(r);
}

/* IVs of essiv: the number, encrypted with the hash of the key. */
static void test_cbc_essiv(void)
{
    struct cipher_spec spec = {CIPHER_AES_128, CIPHER_CBC, CIPHER_ESSIV,
                               HASH_SHA256};
    struct range *r = range_new(&spec);
    uint8_t digest[32];
    struct aes256_ctx iv_key;
    struct aes128_ctx key;

    hash_digest(HASH_SHA256, r->key, 16, digest);
    aes256_set_encrypt_key(&iv_key, digest);
    aes128_set_encrypt_key(&key, r->key);
    for (size_t i = 0; i < 8; i++) {
        uint8_t iv[16] = {0};

        store_le64(iv, 77 + i);
        aes256_encrypt(&iv_key, 16, iv, iv);
        cbc_encrypt(&key, (nettle_cipher_func *)aes128_encrypt, 16, iv, SECTOR,
                    r->want + i * SECTOR, r->plain + i * SECTOR);
    }
    cipher_encrypt(r->cipher, 77 * CIPHER_SECTOR, r->got, r->plain,
                   sizeof(r->got));
    g_assert_cmpmem(r->got, sizeof(r->got), r->want, sizeof(r->want));
    range_free(r);
}

/* Each cipher in each mode: there and back, in place, and never the same in
 * two sectors. */
static void test_round_trips(void)
{
    for (int i = 0; cipher_alg_names[i]; i++) {
        for (int mode = CIPHER_CBC; mode <= CIPHER_XTS; mode++) {
            struct cipher_spec spec = {
                (enum cipher_alg)i, (enum cipher_mode)mode, CIPHER_PLAIN64, 0};
            struct range *r = range_new(&spec);

            memset(r->plain, 0x5a, sizeof(r->plain));
            memcpy(r->got, r->plain, sizeof(r->got));
            cipher_encrypt(r->cipher, 0, r->got, r->got, sizeof(r->got));
            g_assert_cmpint(memcmp(r->got, r->got + SECTOR, SECTOR), !=, 0);
            cipher_decrypt(r->cipher, 0, r->got, r->got, sizeof(r->got));
            g_assert_cmpmem(r->got, sizeof(r->got), r->plain, sizeof(r->plain));
            range_free(r);
        }
    }
}

static void test_essiv_refused(void)
{
    struct cipher_spec spec = {CIPHER_AES_256, CIPHER_CBC, CIPHER_ESSIV,
                               HASH_SHA1};
    uint8_t key[CIPHER_MAX_KEY_BYTES] = {0};
    struct cipher *cipher = NULL;
    GError *err = NULL;

    g_assert_cmpint(cipher_new(&spec, key, &cipher, &err), ==, -EINVAL);
    g_assert_nonnull(strstr(err->message, "use sha256"));
    g_clear_error(&err);
    spec.mode = CIPHER_XTS;
    g_assert_cmpint(cipher_new(&spec, key, &cipher, &err), ==, -EINVAL);
    g_clear_error(&err);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(pbkdf2_cases); i++) {
        g_autofree char *path =
            g_strconcat("/crypt/pbkdf2/", pbkdf2_cases[i].name, NULL);

        g_test_add_data_func(path, &pbkdf2_cases[i], test_pbkdf2);
    }
    g_test_add_func("/crypt/pbkdf2/iterations", test_iterations);
    g_test_add_func("/crypt/af/round-trip", test_af_round_trip);
    g_test_add_func("/crypt/af/one-bit-lost", test_af_one_bit);
    for (size_t i = 0; i < G_N_ELEMENTS(xts_cases); i++) {
        g_autofree char *path =
            g_strconcat("/crypt/xts/", xts_cases[i].name, NULL);

        g_test_add_data_func(path, &xts_cases[i], test_xts);
    }
    g_test_add_func("/crypt/xts/as-nettle", test_xts_as_nettle);
    g_test_add_func("/crypt/cbc/plain", test_cbc_plain);
    g_test_add_func("/crypt/cbc/essiv", test_cbc_essiv);
    g_test_add_func("/crypt/round-trips", test_round_trips);
    g_test_add_func("/crypt/essiv-refused", test_essiv_refused);
    return g_test_run();
}
