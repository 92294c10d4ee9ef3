/* SPDX-License-Identifier: MIT */
/*
 * luks_image: the LUKS header of an image, for the formats that have one.
 *
 * Reads it, unlocks it with a secret, makes a new one, changes its key slots,
 * and tells what it says.  What takes seconds is done in the thread pool.
 *
 * Options come without a prefix, whatever a format calls them: a set that was
 * taken out with options_take_child().
 *
 * Units:     bytes.
 * Errors:    a negative errno and a GError without the name of the image.
 * Threading: coroutines; nobody else uses the image meanwhile.
 */
#ifndef FORMAT_LUKS_IMAGE_H
#define FORMAT_LUKS_IMAGE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/options.h"
#include "co/co.h"
#include "crypt/luks.h"

struct json;
struct node;

struct luks_image {
    struct luks luks;
    uint8_t *area;         /* of the header and its slots; g_free() */
    struct luks_key *key;  /* of secure_alloc(); NULL: locked */
    struct cipher *cipher; /* made with it; NULL: locked */
};

/* Takes cipher-alg, cipher-mode, ivgen-alg, ivgen-hash-alg, hash-alg and
 * iter-time; what is not given is as in luks_default_options. */
nodiscard int luks_image_take_options(struct options *o,
                                      struct luks_options *ret, GError **err);

/* Reads the header at @offset of @file, for which there are @room bytes. */
nodiscard int co_fn luks_image_co_load(struct luks_image *im, struct node *file,
                                       int64_t offset, int64_t room,
                                       GError **err);
/* Unlocks it with the secret called @id.  -EACCES: it opens no slot. */
nodiscard int co_fn luks_image_co_unlock(struct luks_image *im, const char *id,
                                         GError **err);

/* Makes a new one in memory, which the secret called @id opens. */
nodiscard int co_fn luks_image_co_make(struct luks_image *im,
                                       const struct luks_options *how,
                                       const char *id, GError **err);
/* Writes all of it. */
nodiscard int co_fn luks_image_co_store(const struct luks_image *im,
                                        struct node *file, int64_t offset);

/*
 * Changes key slots of the header at @offset of @file, which is unlocked, as
 * state, keyslot, old-secret, new-secret and iter-time, which it takes out of
 * @o, say.  What could make the image one that nobody can read needs @force.
 */
nodiscard int co_fn luks_image_co_amend(struct luks_image *im,
                                        struct node *file, int64_t offset,
                                        struct options *o, bool force,
                                        GError **err);

/* Adds what the header says to an object, keys as qemu-img's; @with_format
 * with "format", too. */
void luks_image_json(const struct luks *luks, bool with_format,
                     struct json *out);

/* Forgets and wipes all. */
void luks_image_fini(struct luks_image *im);

#endif /* FORMAT_LUKS_IMAGE_H */
