/* SPDX-License-Identifier: MIT */

#include "crypt/luks.h"

#include <errno.h>
#include <nettle/memops.h>
#include <string.h>
#include <sys/random.h>

#include "base/align.h"
#include "base/endian.h"
#include "base/error.h"
#include "base/secure.h"
#include "crypt/af.h"
#include "crypt/luks_priv.h"

const struct luks_options luks_default_options = {
    .cipher = {CIPHER_AES_256, CIPHER_XTS, CIPHER_PLAIN64, HASH_SHA256},
    .hash = HASH_SHA256,
    .iter_ms = LUKS_DEFAULT_ITER_MS,
};

int64_t luks_slot_bytes(const struct luks *luks, int slot)
{
    return (int64_t)cipher_key_bytes(&luks->cipher) * luks->slots[slot].stripes;
}

int64_t luks_area_bytes(const struct luks *luks)
{
    int64_t end = align_up(LUKS_HEADER_BYTES, CIPHER_SECTOR);

    for (int i = 0; i < LUKS_SLOTS; i++) {
        end =
            max_i64(end, luks->slots[i].key_offset +
                             align_up(luks_slot_bytes(luks, i), CIPHER_SECTOR));
    }
    return end;
}

int luks_active_slots(const struct luks *luks)
{
    int n = 0;

    for (int i = 0; i < LUKS_SLOTS; i++) {
        n += luks->slots[i].active;
    }
    return n;
}

/* -- Opening a slot ------------------------------------------------------ */

/* A cipher with the key that @secret makes with the salt of @slot. */
static int slot_cipher(const struct luks *luks, int slot,
                       const struct luks_secret *secret, struct cipher **ret,
                       GError **err)
{
    const struct luks_slot *s = &luks->slots[slot];
    struct luks_key *key = secure_alloc(sizeof(*key));
    int rc;

    if (!key) {
        return error_set(err, -ENOMEM, "out of memory for a key");
    }
    hash_pbkdf2(luks->hash, secret->data, secret->bytes, s->salt,
                sizeof(s->salt), s->iterations, key->bytes,
                cipher_key_bytes(&luks->cipher));
    rc = cipher_new(&luks->cipher, key->bytes, ret, err);
    secure_free(key, sizeof(*key));
    return rc;
}

static void digest_key(const struct luks *luks, const struct luks_key *key,
                       uint8_t *ret)
{
    hash_pbkdf2(luks->hash, key->bytes, cipher_key_bytes(&luks->cipher),
                luks->mk_salt, sizeof(luks->mk_salt), luks->mk_iterations, ret,
                LUKS_DIGEST_BYTES);
}

static bool is_the_key(const struct luks *luks, const struct luks_key *key)
{
    uint8_t digest[LUKS_DIGEST_BYTES];

    digest_key(luks, key, digest);
    return memeql_sec(digest, luks->mk_digest, sizeof(digest));
}

/* What it takes to read or write the material of a slot. */
struct material {
    struct cipher *cipher; /* of the slot, for one passphrase */
    uint8_t *split;        /* the material in the clear: whole sectors */
    size_t bytes;
};

static int material_init(struct material *m, const struct luks *luks, int slot,
                         const struct luks_secret *secret, GError **err)
{
    int rc = slot_cipher(luks, slot, secret, &m->cipher, err);

    if (rc < 0) {
        return rc;
    }
    m->bytes = (size_t)align_up(luks_slot_bytes(luks, slot), CIPHER_SECTOR);
    m->split = secure_alloc(m->bytes);
    if (!m->split) {
        cipher_free(m->cipher);
        return error_set(err, -ENOMEM, "out of memory for a key");
    }
    return 0;
}

static void material_fini(struct material *m)
{
    secure_free(m->split, m->bytes);
    cipher_free(m->cipher);
}

int luks_unlock_slot(const struct luks *luks, const uint8_t *area, int slot,
                     const struct luks_secret *secret, struct luks_key *ret,
                     GError **err)
{
    const struct luks_slot *s = &luks->slots[slot];
    struct material m;
    int rc;

    if (!s->active) {
        return error_set(err, -EACCES, "slot %d is not in use", slot);
    }
    rc = material_init(&m, luks, slot, secret, err);
    if (rc < 0) {
        return rc;
    }
    cipher_decrypt(m.cipher, 0, m.split, area + s->key_offset,
                   (int64_t)m.bytes);
    af_merge(luks->hash, m.split, cipher_key_bytes(&luks->cipher), s->stripes,
             ret->bytes);
    material_fini(&m);
    if (is_the_key(luks, ret)) {
        return slot;
    }
    explicit_bzero(ret, sizeof(*ret));
    return error_set(err, -EACCES, "the passphrase does not open slot %d",
                     slot);
}

/* No slot was opened by @secret. */
static const char *why_locked(const struct luks *luks,
                              const struct luks_secret *secret)
{
    const char *text = secret->data;

    if (luks_active_slots(luks) == 0) {
        return "all key slots have been erased: nothing opens it";
    }
    if (secret->bytes > 0 && text[secret->bytes - 1] == '\n') {
        return "wrong passphrase: it opens no key slot; it ends with a "
               "newline, which counts";
    }
    return "wrong passphrase: it opens no key slot";
}

int luks_unlock(const struct luks *luks, const uint8_t *area,
                const struct luks_secret *secret, struct luks_key *ret,
                GError **err)
{
    for (int i = 0; i < LUKS_SLOTS; i++) {
        GError *why = NULL;
        int rc;

        if (!luks->slots[i].active) {
            continue;
        }
        rc = luks_unlock_slot(luks, area, i, secret, ret, &why);
        if (rc != -EACCES) {
            if (why) {
                g_propagate_error(err, why);
            }
            return rc;
        }
        g_clear_error(&why);
    }
    return error_set(err, -EACCES, "%s", why_locked(luks, secret));
}

/* -- Filling and erasing slots ------------------------------------------- */

static int random_bytes(void *buf, size_t n, GError **err)
{
    uint8_t *p = buf;

    while (n > 0) {
        ssize_t got = getrandom(p, n, 0);

        if (got < 0 && errno != EINTR) {
            return error_set_errno(err, -errno, "no random numbers");
        }
        if (got > 0) {
            p += got;
            n -= (size_t)got;
        }
    }
    return 0;
}

/* At least 1000, as the specification asks. */
static uint32_t iterations(double n)
{
    if (n < LUKS_MIN_ITERATIONS) {
        return LUKS_MIN_ITERATIONS;
    }
    return n > LUKS_MAX_ITERATIONS ? LUKS_MAX_ITERATIONS : (uint32_t)n;
}

/* What @slot of a changed header has to be written. */
static void set_changes(const struct luks *luks, int slot,
                        struct luks_change changes[2])
{
    changes[0] = (struct luks_change){
        .offset = luks->slots[slot].key_offset,
        .bytes = align_up(luks_slot_bytes(luks, slot), CIPHER_SECTOR),
    };
    changes[1] = (struct luks_change){
        .offset = 0,
        .bytes = align_up(LUKS_HEADER_BYTES, CIPHER_SECTOR),
    };
}

/* Splits @key and encrypts it to where @slot has it. */
static int fill_material(const struct luks *luks, uint8_t *area, int slot,
                         const struct luks_secret *secret,
                         const struct luks_key *key, GError **err)
{
    const struct luks_slot *s = &luks->slots[slot];
    size_t key_bytes = cipher_key_bytes(&luks->cipher);
    struct material m;
    int rc = material_init(&m, luks, slot, secret, err);

    if (rc < 0) {
        return rc;
    }
    rc = random_bytes(m.split, key_bytes * (s->stripes - 1), err);
    if (rc == 0) {
        af_split(luks->hash, key->bytes, key_bytes, s->stripes, m.split);
        cipher_encrypt(m.cipher, 0, area + s->key_offset, m.split,
                       (int64_t)m.bytes);
    }
    material_fini(&m);
    return rc;
}

static int free_slot(const struct luks *luks, int slot, GError **err)
{
    if (slot >= LUKS_SLOTS) {
        return error_set(err, -EINVAL, "there is no key slot %d, only 0 to %d",
                         slot, LUKS_SLOTS - 1);
    }
    if (slot >= 0) {
        return luks->slots[slot].active
                   ? error_set(err, -EBUSY,
                               "key slot %d is in use; erase it first "
                               "(state=inactive,keyslot=%d)",
                               slot, slot)
                   : slot;
    }
    for (int i = 0; i < LUKS_SLOTS; i++) {
        if (!luks->slots[i].active) {
            return i;
        }
    }
    return error_set(err, -ENOSPC,
                     "all %d key slots are in use; erase one first "
                     "(state=inactive)",
                     LUKS_SLOTS);
}

int luks_add_slot(struct luks *luks, uint8_t *area, int slot,
                  const struct luks_secret *secret, int64_t iter_ms,
                  const struct luks_key *key, struct luks_change changes[2],
                  GError **err)
{
    struct luks to = *luks;
    struct luks_slot *s;
    int rc;

    slot = free_slot(luks, slot, err);
    if (slot < 0) {
        return slot;
    }
    s = &to.slots[slot];
    s->iterations = iterations(
        hash_pbkdf2_iterations(to.hash, cipher_key_bytes(&to.cipher), iter_ms));
    s->active = true;
    rc = random_bytes(s->salt, sizeof(s->salt), err);
    rc = rc ? rc : fill_material(&to, area, slot, secret, key, err);
    if (rc < 0) {
        return rc;
    }
    *luks = to;
    luks_store(luks, area);
    set_changes(luks, slot, changes);
    return slot;
}

int luks_erase_slot(struct luks *luks, uint8_t *area, int slot, unsigned flags,
                    struct luks_change changes[2], GError **err)
{
    struct luks_slot *s;
    int rc;

    if (slot < 0 || slot >= LUKS_SLOTS || !luks->slots[slot].active) {
        return error_set(err, -EINVAL, "key slot %d is not in use", slot);
    }
    if (luks_active_slots(luks) == 1 && !(flags & LUKS_ERASE_LAST)) {
        return error_set(err, -EPERM,
                         "key slot %d is the only one in use; without it all "
                         "data are lost",
                         slot);
    }
    s = &luks->slots[slot];
    rc = random_bytes(area + s->key_offset, (size_t)luks_slot_bytes(luks, slot),
                      err);
    if (rc < 0) {
        return rc;
    }
    set_changes(luks, slot, changes);
    s->active = false;
    s->iterations = 0;
    memset(s->salt, 0, sizeof(s->salt));
    luks_store(luks, area);
    return 0;
}

/* -- A new header -------------------------------------------------------- */

/* Sets where everything is in a new image. */
static void lay_out(struct luks *luks)
{
    int64_t offset = LUKS_ALIGNMENT;

    for (int i = 0; i < LUKS_SLOTS; i++) {
        luks->slots[i].stripes = LUKS_STRIPES;
        luks->slots[i].key_offset = offset;
        offset += align_up(luks_slot_bytes(luks, i), LUKS_ALIGNMENT);
    }
    luks->payload_offset = offset;
}

int64_t luks_new_payload_offset(const struct cipher_spec *cipher)
{
    struct luks luks = {.cipher = *cipher};

    lay_out(&luks);
    return luks.payload_offset;
}

static void make_uuid(char *ret)
{
    g_autofree char *uuid = g_uuid_string_random();

    g_strlcpy(ret, uuid, LUKS_UUID_BYTES);
}

/* A key for @luks, and what tells whether it is that. */
static int make_key(struct luks *luks, int64_t iter_ms, struct luks_key *key,
                    GError **err)
{
    size_t bytes = cipher_key_bytes(&luks->cipher);
    struct cipher *cipher;
    int rc = random_bytes(key->bytes, bytes, err);

    rc = rc ? rc : random_bytes(luks->mk_salt, sizeof(luks->mk_salt), err);
    /* Do all parts fit together? */
    rc = rc ? rc : cipher_new(&luks->cipher, key->bytes, &cipher, err);
    if (rc < 0) {
        return rc;
    }
    cipher_free(cipher);
    /* It guards a key of full length, which nobody guesses: an eighth of the
     * time will do. */
    luks->mk_iterations = iterations(
        hash_pbkdf2_iterations(luks->hash, LUKS_DIGEST_BYTES, iter_ms) / 8.0);
    digest_key(luks, key, luks->mk_digest);
    return 0;
}

int luks_format(const struct luks_options *options,
                const struct luks_secret *secret, struct luks *ret,
                uint8_t **ret_area, struct luks_key *ret_key, GError **err)
{
    struct luks luks = {.cipher = options->cipher, .hash = options->hash};
    struct luks_change changes[2];
    uint8_t *area;
    int rc;

    lay_out(&luks);
    make_uuid(luks.uuid);
    area = g_try_malloc0((size_t)luks_area_bytes(&luks));
    if (!area) {
        return error_set(err, -ENOMEM, "out of memory for a header");
    }
    rc = make_key(&luks, options->iter_ms, ret_key, err);
    rc = rc ? rc
            : luks_add_slot(&luks, area, 0, secret, options->iter_ms, ret_key,
                            changes, err);
    if (rc < 0) {
        g_free(area);
        explicit_bzero(ret_key, sizeof(*ret_key));
        return rc;
    }
    *ret = luks;
    *ret_area = area;
    return 0;
}
