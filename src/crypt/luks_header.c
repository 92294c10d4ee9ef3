/* SPDX-License-Identifier: MIT */
/*
 * luks_header: the header of LUKS1 as bytes.  All numbers are big-endian.
 *
 *   0  magic            6    104  payload offset, in sectors  4
 *   6  version          2    108  length of the key           4
 *   8  cipher          32    112  digest of the key          20
 *  40  mode            32    132  its salt                   32
 *  72  hash            32    164  its iterations              4
 *                            168  UUID, as text              40
 * 208  eight slots of 48: state 4, iterations 4, salt 32, where its key
 *      material begins (in sectors) 4, stripes 4
 *
 * Texts end with a NUL.  The mode is "xts-plain64" or "cbc-essiv:sha256": how
 * blocks are chained, the IV and its hash.
 */
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "base/endian.h"
#include "base/error.h"
#include "crypt/luks_priv.h"

#define MAGIC       "LUKS\xba\xbe"
#define MAGIC_BYTES 6
#define NAME_BYTES  32
#define SLOTS       208
#define SLOT_BYTES  48

#define SLOT_ACTIVE   0x00ac71f3
#define SLOT_INACTIVE 0x0000dead

/* The key material of a sane header ends before; much less than this is
 * usual.  It bounds what is read and held in memory. */
#define MAX_AREA_BYTES (16 * MiB)

bool luks_probe(const uint8_t *head, size_t n, unsigned version)
{
    return n >= 8 && memcmp(head, MAGIC, MAGIC_BYTES) == 0 &&
           load_be16(head + 6) == version;
}

/* -- Names --------------------------------------------------------------- */

/* The text of a field, or NULL when it does not end. */
static const char *field_text(const uint8_t *p, size_t room)
{
    return memchr(p, 0, room) ? (const char *)p : NULL;
}

/* The index of @n bytes @text in @names, or -1. */
static int find_name(const char *const *names, const char *text, size_t n)
{
    for (int i = 0; names[i]; i++) {
        if (strlen(names[i]) == n && memcmp(names[i], text, n) == 0) {
            return i;
        }
    }
    return -1;
}

/* -- Parsing ------------------------------------------------------------- */

static int unknown(GError **err, const char *what, const char *text)
{
    g_autofree char *safe = g_strescape(text, NULL);

    return error_set(err, -EOPNOTSUPP, "its %s '%s' is not known here", what,
                     safe);
}

/* "xts-plain64", "cbc-essiv:sha256". */
static int parse_mode(const char *text, struct cipher_spec *ret, GError **err)
{
    const char *dash = strchr(text, '-');
    const char *colon = strchr(text, ':');
    const char *iv_end = colon ? colon : text + strlen(text);
    int mode, iv, hash = 0;

    if (!dash || dash > iv_end) {
        return unknown(err, "cipher mode", text);
    }
    mode = find_name(cipher_mode_names, text, (size_t)(dash - text));
    iv = find_name(cipher_iv_names, dash + 1, (size_t)(iv_end - dash - 1));
    if (colon) {
        hash = find_name(hash_names, colon + 1, strlen(colon + 1));
    }
    /* essiv, and only that, has a hash. */
    if (mode < 0 || iv < 0 || hash < 0 || (iv == CIPHER_ESSIV) != !!colon) {
        return unknown(err, "cipher mode", text);
    }
    ret->mode = (enum cipher_mode)mode;
    ret->iv = (enum cipher_iv)iv;
    ret->iv_hash = (enum hash)hash;
    return 0;
}

/* "aes" and the length of the key make "aes-256". */
static int parse_cipher(const char *text, uint32_t key_bytes,
                        struct cipher_spec *spec, GError **err)
{
    uint32_t bits = 8 * (spec->mode == CIPHER_XTS ? key_bytes / 2 : key_bytes);
    g_autofree char *name = g_strdup_printf("%s-%u", text, bits);
    int alg;

    if (key_bytes > CIPHER_MAX_KEY_BYTES) {
        return error_set(err, -EINVAL, "its key of %u bytes is too long",
                         key_bytes);
    }
    alg = find_name(cipher_alg_names, name, strlen(name));
    if (alg < 0) {
        return unknown(err, "cipher", name);
    }
    spec->alg = (enum cipher_alg)alg;
    return 0;
}

/* The names of the header, and the length of the key. */
static int parse_names(const uint8_t *head, struct luks *h, GError **err)
{
    const char *cipher = field_text(head + 8, NAME_BYTES);
    const char *mode = field_text(head + 40, NAME_BYTES);
    const char *hash = field_text(head + 72, NAME_BYTES);
    uint32_t key_bytes = load_be32(head + 108);
    int rc, i;

    if (!cipher || !mode || !hash) {
        return error_set(err, -EINVAL, "a name in its LUKS header has no end");
    }
    rc = parse_mode(mode, &h->cipher, err);
    rc = rc ? rc : parse_cipher(cipher, key_bytes, &h->cipher, err);
    if (rc < 0) {
        return rc;
    }
    i = find_name(hash_names, hash, strlen(hash));
    if (i < 0) {
        return unknown(err, "hash", hash);
    }
    h->hash = (enum hash)i;
    if (cipher_key_bytes(&h->cipher) != key_bytes) {
        return error_set(err, -EINVAL, "its key cannot be of %u bytes",
                         key_bytes);
    }
    return 0;
}

static int parse_slot(const uint8_t *p, int i, struct luks *h, GError **err)
{
    struct luks_slot *s = &h->slots[i];
    uint32_t state = load_be32(p);

    *s = (struct luks_slot){
        .active = state == SLOT_ACTIVE,
        .iterations = load_be32(p + 4),
        .key_offset = load_be32(p + 40) * CIPHER_SECTOR,
        .stripes = load_be32(p + 44),
    };
    memcpy(s->salt, p + 8, sizeof(s->salt));
    if (state != SLOT_ACTIVE && state != SLOT_INACTIVE) {
        return error_set(err, -EINVAL,
                         "key slot %d is broken: neither in use nor free", i);
    }
    if (s->stripes == 0 || s->key_offset > MAX_AREA_BYTES ||
        s->stripes > MAX_AREA_BYTES / CIPHER_MAX_KEY_BYTES ||
        s->key_offset + luks_slot_bytes(h, i) > MAX_AREA_BYTES) {
        return error_set(err, -EINVAL,
                         "key slot %d is broken: %u stripes at offset "
                         "%" G_GINT64_FORMAT,
                         i, s->stripes, (gint64)s->key_offset);
    }
    if (s->key_offset < LUKS_HEADER_BYTES) {
        return error_set(err, -EINVAL,
                         "key slot %d is broken: it lies within the header", i);
    }
    if (s->active &&
        (s->iterations == 0 || s->iterations > LUKS_MAX_ITERATIONS)) {
        return error_set(err, -EINVAL,
                         "key slot %d is broken: %u iterations are not "
                         "possible",
                         i, s->iterations);
    }
    return 0;
}

static int64_t slot_end(const struct luks *h, int i)
{
    return h->slots[i].key_offset +
           align_up(luks_slot_bytes(h, i), CIPHER_SECTOR);
}

static int check_overlaps(const struct luks *h, GError **err)
{
    for (int i = 0; i < LUKS_SLOTS; i++) {
        if (slot_end(h, i) > h->payload_offset) {
            return error_set(err, -EINVAL,
                             "key slot %d is broken: it reaches into the data, "
                             "which begin at offset %" G_GINT64_FORMAT,
                             i, (gint64)h->payload_offset);
        }
        for (int j = 0; j < i; j++) {
            if (h->slots[i].key_offset < slot_end(h, j) &&
                h->slots[j].key_offset < slot_end(h, i)) {
                return error_set(err, -EINVAL,
                                 "key slots %d and %d are broken: they "
                                 "overlap",
                                 j, i);
            }
        }
    }
    return 0;
}

static int parse_numbers(const uint8_t *head, struct luks *h, GError **err)
{
    const char *uuid = field_text(head + 168, LUKS_UUID_BYTES);

    h->payload_offset = load_be32(head + 104) * CIPHER_SECTOR;
    h->mk_iterations = load_be32(head + 164);
    memcpy(h->mk_digest, head + 112, sizeof(h->mk_digest));
    memcpy(h->mk_salt, head + 132, sizeof(h->mk_salt));
    if (h->mk_iterations == 0 || h->mk_iterations > LUKS_MAX_ITERATIONS) {
        return error_set(err, -EINVAL,
                         "its LUKS header is broken: %u iterations are not "
                         "possible",
                         h->mk_iterations);
    }
    if (!uuid || !g_utf8_validate(uuid, -1, NULL)) {
        return error_set(err, -EINVAL,
                         "its LUKS header is broken: the UUID is no text");
    }
    g_strlcpy(h->uuid, uuid, sizeof(h->uuid));
    return 0;
}

int luks_parse(const uint8_t *head, size_t n, struct luks *ret, GError **err)
{
    struct luks h = {.payload_offset = 0};
    int rc;

    if (luks_probe(head, n, 2)) {
        return error_set(err, -EOPNOTSUPP,
                         "it is LUKS of version 2; only version 1 can be read");
    }
    if (n < LUKS_HEADER_BYTES || !luks_probe(head, n, 1)) {
        return error_set(err, -EINVAL, "it has no LUKS header");
    }
    rc = parse_names(head, &h, err);
    rc = rc ? rc : parse_numbers(head, &h, err);
    for (int i = 0; i < LUKS_SLOTS && rc == 0; i++) {
        rc = parse_slot(head + SLOTS + i * SLOT_BYTES, i, &h, err);
    }
    rc = rc ? rc : check_overlaps(&h, err);
    if (rc == 0) {
        *ret = h;
    }
    return rc;
}

/* -- Writing ------------------------------------------------------------- */

static void store_text(uint8_t *p, const char *text)
{
    g_strlcpy((char *)p, text, NAME_BYTES);
}

/* Writes "aes" of "aes-256". */
static void store_cipher(uint8_t *p, enum cipher_alg alg)
{
    const char *name = cipher_alg_names[alg];

    memcpy(p, name, (size_t)(strchr(name, '-') - name));
}

static void store_mode(uint8_t *p, const struct cipher_spec *spec)
{
    bool essiv = spec->iv == CIPHER_ESSIV;
    g_autofree char *mode = g_strconcat(
        cipher_mode_names[spec->mode], "-", cipher_iv_names[spec->iv],
        essiv ? ":" : "", essiv ? hash_names[spec->iv_hash] : "", NULL);

    store_text(p, mode);
}

static void store_slot(uint8_t *p, const struct luks_slot *s)
{
    store_be32(p, s->active ? SLOT_ACTIVE : SLOT_INACTIVE);
    store_be32(p + 4, s->iterations);
    memcpy(p + 8, s->salt, sizeof(s->salt));
    store_be32(p + 40, (uint32_t)(s->key_offset / CIPHER_SECTOR));
    store_be32(p + 44, s->stripes);
}

void luks_store(const struct luks *luks, uint8_t *area)
{
    memset(area, 0, LUKS_HEADER_BYTES);
    memcpy(area, MAGIC, MAGIC_BYTES);
    store_be16(area + 6, 1);
    store_cipher(area + 8, luks->cipher.alg);
    store_mode(area + 40, &luks->cipher);
    store_text(area + 72, hash_names[luks->hash]);
    store_be32(area + 104, (uint32_t)(luks->payload_offset / CIPHER_SECTOR));
    store_be32(area + 108, (uint32_t)cipher_key_bytes(&luks->cipher));
    memcpy(area + 112, luks->mk_digest, sizeof(luks->mk_digest));
    memcpy(area + 132, luks->mk_salt, sizeof(luks->mk_salt));
    store_be32(area + 164, luks->mk_iterations);
    g_strlcpy((char *)area + 168, luks->uuid, LUKS_UUID_BYTES);
    for (int i = 0; i < LUKS_SLOTS; i++) {
        store_slot(area + SLOTS + i * SLOT_BYTES, &luks->slots[i]);
    }
}
