/* SPDX-License-Identifier: MIT */

#include "format/luks_image.h"

#include <errno.h>
#include <inttypes.h>

#include "base/align.h"
#include "base/error.h"
#include "base/json.h"
#include "base/secure.h"
#include "block/node.h"
#include "block/secret.h"
#include "engine/engine.h"
#include "loop/loop.h"

#define MAX_ITER_MS (INT64_C(1000) * 3600)

/* -- Options ------------------------------------------------------------- */

static int take_iter_time(struct options *o, int64_t *ret, GError **err)
{
    return options_take_int(o, "iter-time", 1, MAX_ITER_MS, ret, err);
}

int luks_image_take_options(struct options *o, struct luks_options *ret,
                            GError **err)
{
    struct cipher_spec *c = &ret->cipher;
    int alg, mode, iv, iv_hash, hash;

    *ret = luks_default_options;
    alg = (int)c->alg;
    mode = (int)c->mode;
    iv = (int)c->iv;
    iv_hash = (int)c->iv_hash;
    hash = (int)ret->hash;
    if (options_take_enum(o, "cipher-alg", cipher_alg_names, &alg, err) < 0 ||
        options_take_enum(o, "cipher-mode", cipher_mode_names, &mode, err) <
            0 ||
        options_take_enum(o, "ivgen-alg", cipher_iv_names, &iv, err) < 0 ||
        options_take_enum(o, "ivgen-hash-alg", hash_names, &iv_hash, err) < 0 ||
        options_take_enum(o, "hash-alg", hash_names, &hash, err) < 0 ||
        take_iter_time(o, &ret->iter_ms, err) < 0) {
        return -EINVAL;
    }
    *c = (struct cipher_spec){
        .alg = (enum cipher_alg)alg,
        .mode = (enum cipher_mode)mode,
        .iv = (enum cipher_iv)iv,
        .iv_hash = (enum hash)iv_hash,
    };
    ret->hash = (enum hash)hash;
    return 0;
}

/* -- Work that takes seconds --------------------------------------------- */

/* What the thread pool is to do, and what came of it. */
struct luks_job {
    struct luks_image *im;
    const struct luks_options *how;
    struct luks_secret secret;
    int slot;
    int64_t iter_ms;
    struct luks_change *changes;
    GError *err;
};

static int64_t co_fn run_job(int64_t (*job)(void *opaque), struct luks_job *j,
                             GError **err)
{
    struct engine *e;
    int64_t rc = engine_threads.get(loop_co_home(), &e);

    rc = rc < 0 ? job(j) : engine_co_call(e, job, j); /* yields */
    if (rc < 0 && j->err) {
        g_propagate_error(err, j->err);
    } else {
        g_clear_error(&j->err);
    }
    return rc;
}

static int64_t job_unlock(void *opaque)
{
    struct luks_job *j = opaque;

    return luks_unlock(&j->im->luks, j->im->area, &j->secret, j->im->key,
                       &j->err);
}

static int64_t job_format(void *opaque)
{
    struct luks_job *j = opaque;

    return luks_format(j->how, &j->secret, &j->im->luks, &j->im->area,
                       j->im->key, &j->err);
}

static int64_t job_add(void *opaque)
{
    struct luks_job *j = opaque;

    return luks_add_slot(&j->im->luks, j->im->area, j->slot, &j->secret,
                         j->iter_ms, j->im->key, j->changes, &j->err);
}

/* The secrets that a slot is opened by are of no interest, only whether. */
static int64_t job_try_slot(void *opaque)
{
    struct luks_job *j = opaque;
    struct luks_key *key = secure_alloc(sizeof(*key));
    int64_t rc = -ENOMEM;

    if (key) {
        rc = luks_unlock_slot(&j->im->luks, j->im->area, j->slot, &j->secret,
                              key, &j->err);
        secure_free(key, sizeof(*key));
    }
    return rc;
}

/* -- Opening ------------------------------------------------------------- */

int co_fn luks_image_co_load(struct luks_image *im, struct node *file,
                             int64_t offset, int64_t room, GError **err)
{
    uint8_t head[LUKS_HEADER_BYTES];
    int64_t bytes;
    int rc = -EINVAL;

    *im = (struct luks_image){.area = NULL};
    room = min_i64(room, node_length(file) - offset);
    if (room < LUKS_HEADER_BYTES) {
        return error_set(err, -EINVAL, "its LUKS header is cut short");
    }
    rc = node_co_pread(file, offset, head, sizeof(head)); /* yields */
    if (rc < 0) {
        return error_set_errno(err, rc, "its LUKS header cannot be read");
    }
    rc = luks_parse(head, sizeof(head), &im->luks, err);
    if (rc < 0) {
        return rc;
    }
    bytes = luks_area_bytes(&im->luks);
    if (bytes > room) {
        return error_set(err, -EINVAL, "its LUKS header is cut short");
    }
    im->area = g_try_malloc((gsize)bytes);
    rc = im->area ? node_co_pread(file, offset, im->area, bytes) : -ENOMEM;
    if (rc < 0) {
        luks_image_fini(im);
        return error_set_errno(err, rc, "its LUKS header cannot be read");
    }
    return 0;
}

static struct luks_secret as_luks(const struct secret *s)
{
    return (struct luks_secret){.data = s->data, .bytes = s->bytes};
}

/* Makes the cipher with the key that is there. */
static int make_cipher(struct luks_image *im, GError **err)
{
    return cipher_new(&im->luks.cipher, im->key->bytes, &im->cipher, err);
}

static int alloc_key(struct luks_image *im, GError **err)
{
    im->key = secure_alloc(sizeof(*im->key));
    return im->key ? 0 : error_set_errno(err, -ENOMEM, "no room for a key");
}

static void drop_key(struct luks_image *im)
{
    secure_free(im->key, sizeof(*im->key));
    im->key = NULL;
}

int co_fn luks_image_co_unlock(struct luks_image *im, const char *id,
                               GError **err)
{
    struct luks_job j = {.im = im};
    const struct secret *secret = secret_find(id, err);
    int64_t rc = secret ? alloc_key(im, err) : -ENOENT;

    if (rc < 0) {
        return (int)rc;
    }
    j.secret = as_luks(secret);
    rc = run_job(job_unlock, &j, err); /* yields */
    rc = rc < 0 ? rc : make_cipher(im, err);
    if (rc < 0) {
        drop_key(im);
    }
    return (int)rc;
}

void luks_image_fini(struct luks_image *im)
{
    cipher_free(im->cipher);
    secure_free(im->key, sizeof(*im->key));
    g_free(im->area);
    *im = (struct luks_image){.area = NULL};
}

/* -- A new one ----------------------------------------------------------- */

int co_fn luks_image_co_make(struct luks_image *im,
                             const struct luks_options *how, const char *id,
                             GError **err)
{
    struct luks_job j = {.im = im, .how = how};
    const struct secret *secret = secret_find(id, err);
    int64_t rc;

    *im = (struct luks_image){.area = NULL};
    rc = secret ? alloc_key(im, err) : -ENOENT;
    if (rc < 0) {
        return (int)rc;
    }
    j.secret = as_luks(secret);
    rc = run_job(job_format, &j, err); /* yields */
    rc = rc < 0 ? rc : make_cipher(im, err);
    if (rc < 0) {
        luks_image_fini(im);
    }
    return (int)rc;
}

int co_fn luks_image_co_store(const struct luks_image *im, struct node *file,
                              int64_t offset)
{
    return node_co_pwrite(file, offset, im->area, luks_area_bytes(&im->luks),
                          0); /* yields */
}

/* -- Key slots ----------------------------------------------------------- */

/* A change of slots under way. */
struct slot_change {
    struct luks_image *im;
    struct node *file;
    int64_t offset;
    const struct secret *old_secret, *new_secret; /* NULL: not given */
    int64_t slot;                                 /* -1: not given */
    int64_t iter_ms;                              /* 0: not given */
    bool force;
};

static bool is_active(const struct slot_change *c, int64_t slot)
{
    return c->im->luks.slots[slot].active;
}

/* Writes what @changes say, each durable before the next. */
static int co_fn store_changes(const struct slot_change *c,
                               const struct luks_change changes[2],
                               GError **err)
{
    int rc = 0;

    for (int i = 0; i < 2 && rc == 0; i++) {
        rc = node_co_pwrite(c->file, c->offset + changes[i].offset,
                            c->im->area + changes[i].offset, changes[i].bytes,
                            0);                /* yields */
        rc = rc ? rc : node_co_flush(c->file); /* yields */
    }
    return rc ? error_set_errno(err, rc, "its key slots cannot be written") : 0;
}

static int co_fn erase_slot(const struct slot_change *c, int64_t slot,
                            GError **err)
{
    struct luks_change changes[2];
    int rc = luks_erase_slot(&c->im->luks, c->im->area, (int)slot,
                             c->force ? LUKS_ERASE_LAST : 0, changes, err);

    return rc < 0 ? rc : store_changes(c, changes, err); /* yields */
}

/* Can the slot be set?  0, or an error. */
static int check_activate(const struct slot_change *c, GError **err)
{
    if (!c->new_secret) {
        return error_set(err, -EINVAL,
                         "state=active needs new-secret, the secret that the "
                         "slot is to be opened by");
    }
    if (c->old_secret) {
        return error_set(err, -EINVAL,
                         "old-secret goes with state=inactive; name the slot "
                         "by keyslot");
    }
    if (c->slot >= 0 && is_active(c, c->slot) && !c->force) {
        return error_set(err, -EBUSY,
                         "key slot %" PRId64 " is in use; erase it first, "
                         "or overwrite it with --force",
                         c->slot);
    }
    return 0;
}

static int co_fn activate(const struct slot_change *c, GError **err)
{
    bool overwrite = c->slot >= 0 && is_active(c, c->slot);
    struct luks_change changes[2];
    struct luks_job j = {
        .im = c->im,
        .slot = (int)c->slot,
        .iter_ms = c->iter_ms ? c->iter_ms : LUKS_DEFAULT_ITER_MS,
        .changes = changes,
    };
    int64_t rc = check_activate(c, err);

    if (rc < 0) {
        return (int)rc;
    }
    /* On disk the slot stays what it is until there is a new one: it may be
     * the last that opens the disk, and making one takes seconds. */
    if (overwrite) {
        c->im->luks.slots[c->slot].active = false;
    }
    j.secret = as_luks(c->new_secret);
    rc = run_job(job_add, &j, err); /* yields */
    if (rc < 0 && overwrite) {
        c->im->luks.slots[c->slot].active = true;
    }
    return rc < 0 ? (int)rc : store_changes(c, changes, err); /* yields */
}

/* Does the old secret open @slot?  1 or 0, or another error. */
static int co_fn is_opened(const struct slot_change *c, int slot, GError **err)
{
    struct luks_job j = {
        .im = c->im,
        .secret = as_luks(c->old_secret),
        .slot = slot,
    };
    int64_t rc;

    if (!is_active(c, slot)) {
        return 0;
    }
    rc = run_job(job_try_slot, &j, NULL); /* yields */
    if (rc < 0 && rc != -EACCES) {
        return error_set_errno(err, (int)rc, "key slot %d cannot be read",
                               slot);
    }
    return rc >= 0;
}

static int co_fn erase_one(const struct slot_change *c, GError **err)
{
    int rc = c->old_secret ? is_opened(c, (int)c->slot, err) : 1; /* yields */

    if (rc == 0) {
        return error_set(err, -EINVAL,
                         "key slot %" PRId64 " is not opened by old-secret",
                         c->slot);
    }
    if (rc > 0 && !is_active(c, c->slot)) {
        return c->force ? 0
                        : error_set(err, -EINVAL,
                                    "key slot %" PRId64 " is erased already",
                                    c->slot);
    }
    return rc < 0 ? rc : erase_slot(c, c->slot, err); /* yields */
}

/* Erases all slots that the old secret opens. */
static int co_fn erase_matching(const struct slot_change *c, GError **err)
{
    bool match[LUKS_SLOTS] = {false};
    int n = 0, rc = 0;

    for (int i = 0; i < LUKS_SLOTS && rc >= 0; i++) {
        rc = is_opened(c, i, err); /* yields */
        match[i] = rc > 0;
        n += rc > 0;
    }
    if (rc < 0) {
        return rc;
    }
    if (n == 0) {
        return error_set(err, -EINVAL, "no key slot is opened by old-secret");
    }
    if (n == luks_active_slots(&c->im->luks) && !c->force) {
        return error_set(err, -EPERM,
                         "old-secret opens all key slots in use; without one "
                         "nobody can read the image any more: add another "
                         "first, or give --force");
    }
    for (int i = 0; i < LUKS_SLOTS && rc >= 0; i++) {
        rc = match[i] ? erase_slot(c, i, err) : 0; /* yields */
    }
    return rc;
}

static int co_fn deactivate(const struct slot_change *c, GError **err)
{
    if (c->new_secret || c->iter_ms) {
        return error_set(err, -EINVAL, "%s goes with state=active",
                         c->new_secret ? "new-secret" : "iter-time");
    }
    if (c->slot < 0 && !c->old_secret) {
        return error_set(err, -EINVAL,
                         "state=inactive needs the slots that are to be "
                         "erased: keyslot, or old-secret, which opens them");
    }
    return c->slot >= 0 ? erase_one(c, err)
                        : erase_matching(c, err); /* yields */
}

static int take_secret(struct options *o, const char *key,
                       const struct secret **ret, GError **err)
{
    g_autofree char *id = options_take(o, key);

    *ret = id ? secret_find(id, err) : NULL;
    return id && !*ret ? -ENOENT : 0;
}

int co_fn luks_image_co_amend(struct luks_image *im, struct node *file,
                              int64_t offset, struct options *o, bool force,
                              GError **err)
{
    static const char *const states[] = {"active", "inactive", NULL};
    struct slot_change c = {
        .im = im,
        .file = file,
        .offset = offset,
        .slot = -1,
        .force = force,
    };
    int state = -1;

    if (options_take_enum(o, "state", states, &state, err) < 0 ||
        options_take_int(o, "keyslot", 0, LUKS_SLOTS - 1, &c.slot, err) < 0 ||
        take_secret(o, "old-secret", &c.old_secret, err) < 0 ||
        take_secret(o, "new-secret", &c.new_secret, err) < 0 ||
        take_iter_time(o, &c.iter_ms, err) < 0) {
        return -EINVAL;
    }
    if (state < 0) {
        return error_set(err, -EINVAL,
                         "a change of key slots needs state=active (with "
                         "new-secret) or state=inactive");
    }
    return state == 0 ? activate(&c, err) : deactivate(&c, err); /* yields */
}

/* -- For people and scripts ---------------------------------------------- */

static void slot_json(const struct luks_slot *slot, struct json *out)
{
    json_object_begin(out, NULL);
    json_bool(out, "active", slot->active);
    if (slot->active) {
        json_int(out, "iters", slot->iterations);
    }
    json_int(out, "key-offset", slot->key_offset);
    if (slot->active) {
        json_int(out, "stripes", slot->stripes);
    }
    json_object_end(out);
}

void luks_image_json(const struct luks *luks, bool with_format,
                     struct json *out)
{
    const struct cipher_spec *c = &luks->cipher;

    json_string(out, "ivgen-alg", cipher_iv_names[c->iv]);
    json_string(out, "hash-alg", hash_names[luks->hash]);
    json_string(out, "cipher-alg", cipher_alg_names[c->alg]);
    json_string(out, "uuid", luks->uuid);
    if (c->iv == CIPHER_ESSIV) {
        json_string(out, "ivgen-hash-alg", hash_names[c->iv_hash]);
    }
    if (with_format) {
        json_string(out, "format", "luks");
    }
    json_string(out, "cipher-mode", cipher_mode_names[c->mode]);
    json_array_begin(out, "slots");
    for (int i = 0; i < LUKS_SLOTS; i++) {
        slot_json(&luks->slots[i], out);
    }
    json_array_end(out);
    json_int(out, "payload-offset", luks->payload_offset);
    json_int(out, "master-key-iters", luks->mk_iterations);
}
