/* SPDX-License-Identifier: MIT */

#include "format/qcow2/crypt.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/secure.h"
#include "block/secret.h"
#include "crypt/cipher.h"
#include "format/crypted.h"
#include "format/luks_image.h"

#define AES_KEY_BYTES 16

struct qcow2_keys {
    char *secret;           /* its id; owned, NULL: none was given */
    struct luks_image luks; /* QCOW2_CRYPT_LUKS */
    struct cipher *aes;     /* QCOW2_CRYPT_AES */
    /* The one of them that is used; NULL: locked. */
    const struct cipher *cipher;
};

/* By enum qcow2_crypt, less one. */
static const char *const format_names[] = {"aes", "luks", NULL};

/* What is called by its name in messages. */
static const char *format_name(enum qcow2_crypt crypt)
{
    return crypt == QCOW2_CRYPT_AES ? "AES" : "LUKS";
}

/* -- Opening ------------------------------------------------------------- */

/* What the options say of the encryption must be true. */
static int check_format(const struct qcow2 *s, int given, GError **err)
{
    const char *filename = node_filename(s->node);

    if (given >= 0 && !s->encrypted) {
        return error_set(err, -EINVAL,
                         "%s: is not encrypted; leave out encrypt.format=%s",
                         filename, format_names[given]);
    }
    if (given >= 0 && given != (int)s->header.crypt - 1) {
        return error_set(err, -EINVAL,
                         "%s: is encrypted with %s; leave out "
                         "encrypt.format=%s",
                         filename, format_name(s->header.crypt),
                         format_names[given]);
    }
    return 0;
}

static int refuse_locked(const struct qcow2 *s, GError **err)
{
    const char *filename = node_filename(s->node);

    return error_set(err, -EACCES,
                     "%s: is encrypted with %s; give its passphrase: --object "
                     "secret,id=s,file=PATH --image-opts "
                     "driver=qcow2,file.filename=%s,encrypt.key-secret=s, or "
                     "mount it with -o key-file=PATH",
                     filename, format_name(s->header.crypt), filename);
}

static int co_fn load_luks(struct qcow2 *s, GError **err)
{
    const struct qcow2_header *h = &s->header;

    if (h->crypt_header.bytes == 0) {
        return error_set(err, -EINVAL, "its LUKS header is nowhere");
    }
    return luks_image_co_load(&s->crypt->luks, s->file, h->crypt_header.offset,
                              h->crypt_header.bytes, err); /* yields */
}

/* The passphrase is the key: cut, or filled with zeroes. */
static int make_aes(struct qcow2_keys *c, const char *id, GError **err)
{
    static const struct cipher_spec spec = {
        .alg = CIPHER_AES_128,
        .mode = CIPHER_CBC,
        .iv = CIPHER_PLAIN64,
    };
    const struct secret *secret = secret_find(id, err);
    uint8_t *key = secret ? secure_alloc(AES_KEY_BYTES) : NULL;
    int rc;

    if (!secret) {
        return -ENOENT;
    }
    if (!key) {
        return error_set_errno(err, -ENOMEM, "no room for a key");
    }
    memcpy(key, secret->data, MIN(secret->bytes, AES_KEY_BYTES));
    rc = cipher_new(&spec, key, &c->aes, err);
    secure_free(key, AES_KEY_BYTES);
    return rc;
}

static int co_fn unlock(struct qcow2 *s, const char *id, GError **err)
{
    struct qcow2_keys *c = s->crypt;
    bool luks = s->header.crypt == QCOW2_CRYPT_LUKS;
    int rc = luks ? luks_image_co_unlock(&c->luks, id, err)
                  : make_aes(c, id, err); /* yields */

    c->cipher = luks ? c->luks.cipher : c->aes;
    return rc;
}

/* Loads what there is, and unlocks it with the secret @id (may be NULL). */
static int co_fn load(struct qcow2 *s, const char *id, GError **err)
{
    bool locked = !id || (node_flags(s->node) & NODE_NO_IO);
    GError *why = NULL;
    int rc = 0;

    s->crypt = calloc(1, sizeof(*s->crypt));
    if (!s->crypt) {
        return error_set_errno(err, -ENOMEM, "%s", node_filename(s->node));
    }
    s->crypt->secret = g_strdup(id);
    if (s->header.crypt == QCOW2_CRYPT_LUKS) {
        rc = load_luks(s, &why); /* yields */
    }
    if (rc == 0 && !locked) {
        rc = unlock(s, id, &why); /* yields */
    }
    if (rc < 0) {
        g_propagate_prefixed_error(err, why, "%s: ", node_filename(s->node));
    }
    return rc;
}

int co_fn qcow2_co_open_crypt(struct qcow2 *s, struct options *opts,
                              GError **err)
{
    unsigned flags = node_flags(s->node);
    g_autofree char *id = options_take(opts, "encrypt.key-secret");
    int format = -1;
    int rc =
        options_take_enum(opts, "encrypt.format", format_names, &format, err);

    rc = rc < 0 ? rc : check_format(s, format, err);
    if (rc < 0 || !s->encrypted) {
        return rc;
    }
    if (id || (flags & NODE_NO_IO)) {
        return load(s, id, err); /* yields */
    }
    /* A check looks at no data. */
    return flags & NODE_CHECK ? 0 : refuse_locked(s, err);
}

void qcow2_close_crypt(struct qcow2 *s)
{
    if (s->crypt) {
        luks_image_fini(&s->crypt->luks);
        cipher_free(s->crypt->aes);
        g_free(s->crypt->secret);
        free(s->crypt);
        s->crypt = NULL;
    }
}

/* -- Data ---------------------------------------------------------------- */

static const struct cipher *cipher_of(const struct qcow2 *s)
{
    return s->crypt ? s->crypt->cipher : NULL;
}

/* Where sectors are counted: in the file, or on the disk. */
static int64_t position_of(const struct qcow2 *s, int64_t guest, int64_t host)
{
    return s->header.crypt == QCOW2_CRYPT_LUKS ? host : guest;
}

int co_fn qcow2_co_read_cipher(struct qcow2 *s, int64_t guest, int64_t host,
                               const struct iovs *dst)
{
    const struct cipher *cipher = cipher_of(s);

    return cipher ? crypted_co_read(s->data, cipher, host,
                                    position_of(s, guest, host), dst)
                  : -EACCES; /* yields */
}

int co_fn qcow2_co_write_cipher(struct qcow2 *s, int64_t guest, int64_t host,
                                const struct iovs *src)
{
    const struct cipher *cipher = cipher_of(s);

    return cipher ? crypted_co_write(s->data, cipher, host,
                                     position_of(s, guest, host), src)
                  : -EACCES; /* yields */
}

/* -- New images ---------------------------------------------------------- */

int qcow2_take_crypt_options(struct options *o, struct qcow2_new_crypt *ret,
                             GError **err)
{
    g_autoptr(options) own = options_take_child(o, "encrypt");
    int format = -1;
    bool old = false;
    int old_given = options_take_bool(o, "encryption", &old, err);
    int rc = old_given < 0
                 ? old_given
                 : options_take_enum(own, "format", format_names, &format, err);

    *ret = (struct qcow2_new_crypt){.crypt = QCOW2_CRYPT_NONE};
    if (rc > 0 && old_given > 0) {
        rc = error_set(err, -EINVAL,
                       "encryption is the old way to say encrypt.format=aes; "
                       "leave one of them out");
    }
    if (rc < 0) {
        return rc;
    }
    ret->crypt = old ? QCOW2_CRYPT_AES : (enum qcow2_crypt)(format + 1);
    ret->secret = options_take(own, "key-secret");
    if (ret->crypt == QCOW2_CRYPT_LUKS) {
        rc = luks_image_take_options(own, &ret->luks, err);
    }
    if (rc >= 0 && options_leftover(own)) {
        rc = error_set(err, -EINVAL, "encrypt.%s goes with encrypt.format=luks",
                       options_leftover(own));
    }
    if (rc < 0) {
        qcow2_new_crypt_fini(ret);
    }
    return rc < 0 ? rc : 0;
}

void qcow2_new_crypt_fini(struct qcow2_new_crypt *c)
{
    luks_image_fini(&c->image);
    g_clear_pointer(&c->secret, g_free);
}

int64_t qcow2_new_crypt_bytes(const struct qcow2_new_crypt *c)
{
    return c->crypt == QCOW2_CRYPT_LUKS
               ? luks_new_payload_offset(&c->luks.cipher)
               : 0;
}

int co_fn qcow2_co_make_crypt(struct qcow2_new_crypt *c, GError **err)
{
    if (c->crypt == QCOW2_CRYPT_NONE) {
        return 0;
    }
    if (!c->secret) {
        return error_set(err, -EINVAL,
                         "an image that is encrypted needs a passphrase: "
                         "--object secret,id=s,file=PATH -o "
                         "encrypt.key-secret=s,...");
    }
    if (c->crypt == QCOW2_CRYPT_AES) {
        return secret_find(c->secret, err) ? 0 : -ENOENT;
    }
    return luks_image_co_make(&c->image, &c->luks, c->secret, err);
}

/* Puts the LUKS header where nothing is yet.  @meta held. */
static int co_fn place_luks(struct qcow2 *s, const struct luks_image *im,
                            int64_t bytes, int64_t *ret)
{
    int64_t clusters = clusters_of(s, bytes);
    int rc = qcow2_co_alloc_run(s, clusters, ret); /* yields */

    rc = rc ? rc : qcow2_co_guard_new(s, *ret, bytes, GUARD_CRYPT);
    rc = rc ? rc : qcow2_co_reach(s, *ret + (clusters << s->cluster_bits));
    rc = rc ? rc : luks_image_co_store(im, s->file, *ret); /* yields */
    rc = rc ? rc : qcow2_co_write_counts(s);               /* yields */
    return rc ? rc : node_co_flush(s->file);               /* yields */
}

int co_fn qcow2_co_begin_crypt(struct qcow2 *s, const struct qcow2_new_crypt *c)
{
    struct qcow2_header to;
    int64_t bytes = qcow2_new_crypt_bytes(c);
    int64_t offset = 0;
    int rc;

    if (c->crypt == QCOW2_CRYPT_NONE) {
        return 0;
    }
    rc = qcow2_co_begin_change(s); /* yields */
    if (rc < 0) {
        return rc;
    }
    co_mutex_lock(&s->meta); /* yields */
    if (bytes > 0) {
        rc = place_luks(s, &c->image, bytes, &offset); /* yields */
    }
    to = s->header;
    to.crypt = c->crypt;
    to.crypt_header.offset = offset;
    to.crypt_header.bytes = bytes;
    rc = rc ? rc : qcow2_co_switch_header(s, &to); /* yields */
    qcow2_set_geometry(s);
    co_mutex_unlock(&s->meta);
    return rc;
}

/* -- Changes and what there is to tell ----------------------------------- */

int co_fn qcow2_co_amend_crypt(struct qcow2 *s, struct options *o, bool force,
                               GError **err)
{
    const char *filename = node_filename(s->node);
    GError *why = NULL;
    int rc;

    if (s->header.crypt != QCOW2_CRYPT_LUKS) {
        return error_set(err, -EINVAL,
                         "%s: is not encrypted with LUKS, so it has no key "
                         "slots; leave out encrypt.%s",
                         filename, options_leftover(o));
    }
    if (!cipher_of(s)) {
        return refuse_locked(s, err);
    }
    rc = luks_image_co_amend(&s->crypt->luks, s->file,
                             s->header.crypt_header.offset, o, force, &why);
    if (rc < 0) {
        g_propagate_prefixed_error(err, why, "%s: ", filename);
    }
    return rc;
}

char *qcow2_crypt_filename(const struct qcow2 *s)
{
    return s->crypt && s->crypt->secret
               ? image_json_filename(s->node, "encrypt.key-secret",
                                     s->crypt->secret)
               : NULL;
}

void qcow2_crypt_json(const struct qcow2 *s, struct json *out)
{
    if (!s->encrypted) {
        return;
    }
    json_object_begin(out, "encrypt");
    if (s->header.crypt == QCOW2_CRYPT_LUKS && s->crypt) {
        luks_image_json(&s->crypt->luks.luks, true, out);
    } else {
        json_string(out, "format", format_names[s->header.crypt - 1]);
    }
    json_object_end(out);
}
