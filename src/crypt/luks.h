/* SPDX-License-Identifier: MIT */
/*
 * luks: the header of LUKS, version 1: which cipher, and up to eight
 * passphrases that each open the one key of the disk.
 *
 *   0            592             key-offset of a slot ...         payload
 *   | the header | ... | key material, one area per slot | ... | the disk |
 *
 * A slot holds the key of the disk, split into many stripes so that it is lost
 * when any part of them is overwritten (anti-forensic), and encrypted with a
 * key that is derived from a passphrase.
 *
 * All of this works on a copy of the beginning of the image in memory, the
 * **area**, of luks_area_bytes().  Functions that change something change the
 * area and tell what the caller has to write to the image: first the key
 * material, then, when that is on disk, the header.  Thus a crash at any time
 * leaves all other slots as they were.
 *
 * Header and area are untrusted.
 *
 * Units:     offsets and lengths in bytes from the beginning of the header.
 * Errors:    0 or a negative errno, and a GError without the name of the file.
 * Threading: pure functions, any thread.  Those that say so take seconds of
 *            processor time: call them in a thread.
 */
#ifndef CRYPT_LUKS_H
#define CRYPT_LUKS_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "crypt/cipher.h"
#include "crypt/hash.h"

#define LUKS_HEADER_BYTES    592
#define LUKS_SLOTS           8
#define LUKS_STRIPES         4000 /* of new slots */
#define LUKS_DIGEST_BYTES    20
#define LUKS_SALT_BYTES      32
#define LUKS_UUID_BYTES      40
#define LUKS_DEFAULT_ITER_MS 2000

struct luks_slot {
    bool active;
    uint32_t iterations; /* 0 when never used */
    uint8_t salt[LUKS_SALT_BYTES];
    int64_t key_offset;
    uint32_t stripes;
};

/* A header, parsed and checked.  Plain data, no secrets. */
struct luks {
    struct cipher_spec cipher;
    enum hash hash;
    int64_t payload_offset;
    uint8_t mk_digest[LUKS_DIGEST_BYTES]; /* of the key of the disk */
    uint8_t mk_salt[LUKS_SALT_BYTES];
    uint32_t mk_iterations;
    char uuid[LUKS_UUID_BYTES + 1];
    struct luks_slot slots[LUKS_SLOTS];
};

/* The key of the disk, in memory of secure_alloc(). */
struct luks_key {
    uint8_t bytes[CIPHER_MAX_KEY_BYTES];
};

/* What a new header shall be. */
struct luks_options {
    struct cipher_spec cipher;
    enum hash hash;
    int64_t iter_ms; /* time that one try of a passphrase takes; > 0 */
};
/* aes-256, xts, plain64, sha256, two seconds. */
extern const struct luks_options luks_default_options;

/* A passphrase: bytes, maybe none. */
struct luks_secret {
    const void *data;
    size_t bytes;
};

/* A part of the area that has changed. */
struct luks_change {
    int64_t offset, bytes;
};

/* -- Reading ------------------------------------------------------------- */

/* Does @n bytes at @head begin with what a LUKS header of @version has? */
bool luks_probe(const uint8_t *head, size_t n, unsigned version);

/*
 * Parses the header at @head of @n bytes.  Returns 0, or
 *   -EINVAL      it is no LUKS header, or one of its fields cannot be
 *   -EOPNOTSUPP  version 2, or a cipher, mode or hash that is not known here
 */
nodiscard int luks_parse(const uint8_t *head, size_t n, struct luks *ret,
                         GError **err);

/* How much of the image holds the header and the key material of all slots;
 * at most a few MiB. */
int64_t luks_area_bytes(const struct luks *luks);
/* How many slots are active. */
int luks_active_slots(const struct luks *luks);
/* Where the area of a new header with @cipher ends and the disk begins. */
int64_t luks_new_payload_offset(const struct cipher_spec *cipher);

/*
 * Finds the slot that @secret opens, in ascending order, and puts the key of
 * the disk into @ret.  @area holds luks_area_bytes().  Takes seconds.
 *
 * Returns the slot, or
 *   -EACCES  no slot is opened by it
 *   -ENOMEM
 */
nodiscard int luks_unlock(const struct luks *luks, const uint8_t *area,
                          const struct luks_secret *secret,
                          struct luks_key *ret, GError **err);

/* Is there an active slot @slot that @secret opens?  As above. */
nodiscard int luks_unlock_slot(const struct luks *luks, const uint8_t *area,
                               int slot, const struct luks_secret *secret,
                               struct luks_key *ret, GError **err);

/* -- Writing ------------------------------------------------------------- */

/*
 * Makes a new header with a new random key and @secret in slot 0.  @ret_area,
 * to be freed with g_free(), is luks_area_bytes() long; @ret_key is the key.
 * All that it needs not be are zeroes.  Takes seconds.
 *
 * Returns 0, -EINVAL (the parts of the cipher do not fit together), -ENOMEM.
 */
nodiscard int luks_format(const struct luks_options *options,
                          const struct luks_secret *secret, struct luks *ret,
                          uint8_t **ret_area, struct luks_key *ret_key,
                          GError **err);

/*
 * Puts @secret into @slot, or into the first free one when it is negative.
 * @changes are the key material and the header, to be written in that order.
 * Takes seconds.
 *
 * Returns the slot, or
 *   -EBUSY   the slot is in use (erase it first)
 *   -ENOSPC  all are in use
 *   -ENOMEM
 */
nodiscard int luks_add_slot(struct luks *luks, uint8_t *area, int slot,
                            const struct luks_secret *secret, int64_t iter_ms,
                            const struct luks_key *key,
                            struct luks_change changes[2], GError **err);

/*
 * Erases @slot: overwrites its key material with random bytes.  @changes as
 * above.
 *
 * Returns 0, or
 *   -EINVAL  no such slot, or it is not in use
 *   -EPERM   it is the last one in use, without which nobody can read the
 *            disk any more, and @flags lack LUKS_ERASE_LAST
 */
enum luks_erase_flags {
    LUKS_ERASE_LAST = 1 << 0, /* although nothing opens the disk afterwards */
};
nodiscard int luks_erase_slot(struct luks *luks, uint8_t *area, int slot,
                              unsigned flags, struct luks_change changes[2],
                              GError **err);

#endif /* CRYPT_LUKS_H */
