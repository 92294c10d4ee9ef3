/* SPDX-License-Identifier: MIT */
/*
 * The disk begins behind the header, and each of its sectors is at the same
 * place in the file, counted from there.  What the file does not hold, or
 * holds as zeroes, is decrypted like everything else and thus is noise: this
 * driver knows no zeroes but those that were written.
 */
#include "format/luks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/align.h"
#include "base/error.h"
#include "block/image.h"
#include "block/node.h"
#include "format/crypted.h"
#include "format/luks_image.h"

struct luks_disk {
    struct luks_image image;
    int64_t payload; /* where the disk begins in the file */
};

static int luks_disk_probe(const uint8_t *head, size_t n, const char *filename)
{
    return luks_probe(head, n, 1) || luks_probe(head, n, 2) ? 100 : 0;
}

/* Puts the name of the image before what went wrong with it.  Returns @rc. */
static int name_error(const struct node *node, int rc, GError *why,
                      GError **err)
{
    g_propagate_prefixed_error(err, why, "%s: ", node_filename(node));
    return rc;
}

/* -- Opening ------------------------------------------------------------- */

/* The last sector may not be whole in the file. */
static void set_length(struct node *node)
{
    const struct luks_disk *d = node_state(node);
    int64_t bytes = max_i64(node_length(node_file(node)) - d->payload, 0);

    node_set_length(node, align_up(bytes, CIPHER_SECTOR));
}

static int co_fn unlock(struct node *node, const char *id, GError **err)
{
    struct luks_disk *d = node_state(node);
    GError *why = NULL;
    int rc;

    if (!id && (node_flags(node) & NODE_NO_IO)) {
        return 0;
    }
    if (!id) {
        return error_set(err, -EACCES,
                         "%s: is encrypted; open it with --object "
                         "secret,id=s,file=PATH --image-opts "
                         "driver=luks,key-secret=s,file.filename=%s, or mount "
                         "it with -o key-file=PATH",
                         node_filename(node), node_filename(node));
    }
    rc = luks_image_co_unlock(&d->image, id, &why); /* yields */
    return rc < 0 ? name_error(node, rc, why, err) : 0;
}

static int co_fn luks_disk_co_open(struct node *node, struct options *opts,
                                   GError **err)
{
    struct luks_disk *d = node_state(node);
    g_autofree char *id = options_take(opts, "key-secret");
    GError *why = NULL;
    struct node *file;
    int rc = node_co_open_child(node, "file", opts, node_flags(node), err);

    if (rc < 0) {
        return rc;
    }
    file = node_file(node);
    rc = luks_image_co_load(&d->image, file, 0, node_length(file), &why);
    if (rc < 0) {
        return name_error(node, rc, why, err);
    }
    d->payload = d->image.luks.payload_offset;
    set_length(node);
    rc = unlock(node, id, err); /* yields */
    if (rc < 0) {
        luks_image_fini(&d->image);
    }
    return rc;
}

static void co_fn luks_disk_co_close(struct node *node)
{
    struct luks_disk *d = node_state(node);

    luks_image_fini(&d->image);
}

static void luks_disk_limits(struct node *node, struct node_limits *limits)
{
    limits->request_align = CIPHER_SECTOR;
}

/* -- Requests ------------------------------------------------------------ */

static int co_fn luks_disk_co_preadv(struct node *node, int64_t offset,
                                     const struct iovs *dst)
{
    const struct luks_disk *d = node_state(node);

    if (!d->image.cipher) {
        return -EACCES;
    }
    return crypted_co_read(node_file(node), d->image.cipher,
                           d->payload + offset, offset, dst); /* yields */
}

static int co_fn luks_disk_co_pwritev(struct node *node, int64_t offset,
                                      const struct iovs *src, unsigned flags)
{
    const struct luks_disk *d = node_state(node);

    if (!d->image.cipher) {
        return -EACCES;
    }
    return crypted_co_write(node_file(node), d->image.cipher,
                            d->payload + offset, offset, src); /* yields */
}

static int co_fn luks_disk_co_pdiscard(struct node *node, int64_t offset,
                                       int64_t bytes)
{
    const struct luks_disk *d = node_state(node);

    return node_co_pdiscard(node_file(node), d->payload + offset, bytes);
}

static int co_fn luks_disk_co_allocate(struct node *node, int64_t offset,
                                       int64_t bytes)
{
    const struct luks_disk *d = node_state(node);
    int64_t there = node_length(node_file(node)) - d->payload - offset;

    bytes = min_i64(bytes, there);
    return bytes > 0 ? node_co_allocate(node_file(node), d->payload + offset,
                                        bytes) /* yields */
                     : 0;
}

/* Writes zeroes to the sectors from @offset to @end. */
static int co_fn fill_with_zeroes(struct node *node, int64_t offset,
                                  int64_t end)
{
    void *zeroes = calloc(1, BLOCK_MAX_BOUNCE);
    int rc = zeroes ? 0 : -ENOMEM;

    while (rc == 0 && offset < end) {
        int64_t n = min_i64(end - offset, BLOCK_MAX_BOUNCE);
        struct iovec iov;
        struct iovs src = iovs_one(&iov, zeroes, n);

        rc = luks_disk_co_pwritev(node, offset, &src, 0); /* yields */
        offset += n;
    }
    free(zeroes);
    return rc;
}

static int co_fn luks_disk_co_truncate(struct node *node, int64_t length,
                                       enum prealloc_mode prealloc,
                                       unsigned flags, GError **err)
{
    const struct luks_disk *d = node_state(node);
    int64_t file_was = node_length(node_file(node));
    int64_t old = node_length(node);
    int rc;

    length = align_up(length, CIPHER_SECTOR);
    if (length > BLOCK_MAX_LENGTH - d->payload) {
        return error_set(err, -EFBIG, "%s: %" PRId64 " bytes is too large",
                         node_filename(node), length);
    }
    rc = node_co_truncate(node_file(node), d->payload + length, prealloc,
                          flags & ~(unsigned)TRUNCATE_ZERO_NEW,
                          err); /* yields */
    if (rc < 0) {
        return rc;
    }
    if (flags & TRUNCATE_ZERO_NEW) {
        rc = fill_with_zeroes(node, old, length); /* yields */
    }
    if (rc < 0) {
        /* Or the disk would be longer, with noise, when it is opened next. */
        (void)!node_co_truncate(node_file(node), file_was, PREALLOC_OFF, 0,
                                NULL); /* yields */
        return error_set_errno(err, rc, "%s: cannot write zeroes",
                               node_filename(node));
    }
    node_set_length(node, length);
    return 0;
}

/* -- Making images ------------------------------------------------------- */

static const struct image_option luks_disk_options[] = {
    {"size", "size of the disk in bytes", NULL, false},
    {"key-secret", "id of the --object secret that is the passphrase", NULL,
     false},
    {"cipher-alg",
     "aes-128, aes-192, aes-256, or serpent-... or twofish-... of the same "
     "sizes; default aes-256",
     NULL, false},
    {"cipher-mode", "xts or cbc; default xts", NULL, false},
    {"ivgen-alg", "plain, plain64 or, with cbc, essiv; default plain64", NULL,
     false},
    {"ivgen-hash-alg", "hash of essiv: sha256", NULL, false},
    {"hash-alg",
     "hash of passphrases: sha1, sha224, sha256, sha384, sha512, ripemd160; "
     "default sha256",
     NULL, false},
    {"iter-time",
     "how long one try of a passphrase takes, in milliseconds; default 2000",
     NULL, true},
    {"state", "active: set a key slot; inactive: erase some", NULL, true},
    {"keyslot", "the key slot to set or to erase: 0 to 7", NULL, true},
    {"old-secret", "id of the secret whose key slots are erased", NULL, true},
    {"new-secret", "id of the secret for the key slot that is set", NULL, true},
    {"preallocation", "off, falloc (reserve the space) or full (write zeroes)",
     NULL, false},
    {"extent_size_hint",
     "how much XFS allocates at a time; 0: as it likes; default 1M", NULL,
     false},
    {"nocow", "on: no copy-on-write on btrfs; default off", NULL, false},
    {NULL, NULL, NULL, false},
};

/* Writes the header of @im to the new file @filename. */
static int co_fn store_to(const char *filename, const struct luks_image *im,
                          GError **err)
{
    struct options *o = options_new();
    struct node *node;
    int rc, close_rc;

    options_set(o, "driver", "raw");
    node = node_co_open_file(filename, o, NODE_RDWR, err); /* yields */
    if (!node) {
        return -EIO;
    }
    rc = luks_image_co_store(im, node, 0); /* yields */
    close_rc = node_co_unref(node);        /* yields */
    rc = rc ? rc : close_rc;
    return rc ? error_set_errno(err, rc, "%s: cannot write it", filename) : 0;
}

static bool is_there(const char *filename)
{
    struct stat st;

    return lstat(filename, &st) == 0;
}

static int co_fn create(const char *filename, int64_t bytes,
                        const struct luks_image *im, struct options *opts,
                        GError **err)
{
    bool was_there = is_there(filename);
    int64_t all = im->luks.payload_offset + align_up(bytes, CIPHER_SECTOR);
    int rc = node_co_create_file(filename, all, opts, err); /* yields */

    rc = rc ? rc : store_to(filename, im, err); /* yields */
    if (rc < 0 && !was_there) {
        (void)unlink(filename);
    }
    return rc;
}

static int co_fn luks_disk_co_create(const char *filename, int64_t bytes,
                                     struct options *opts, GError **err)
{
    g_autofree char *id = options_take(opts, "key-secret");
    struct luks_options how;
    struct luks_image im;
    GError *why = NULL;
    int rc;

    if (!id) {
        return error_set(err, -EINVAL,
                         "%s: needs a passphrase: --object "
                         "secret,id=s,file=PATH -o key-secret=s",
                         filename);
    }
    if (bytes > BLOCK_MAX_LENGTH / 2) {
        return error_set(err, -EFBIG, "%s: %" PRId64 " bytes are too many",
                         filename, bytes);
    }
    rc = luks_image_take_options(opts, &how, &why);
    rc = rc ? rc : luks_image_co_make(&im, &how, id, &why); /* yields */
    if (rc < 0) {
        g_propagate_prefixed_error(err, why, "%s: ", filename);
        return rc;
    }
    rc = create(filename, bytes, &im, opts, err); /* yields */
    luks_image_fini(&im);
    return rc;
}

static int co_fn luks_disk_co_measure(struct options *opts, int64_t bytes,
                                      struct node *src,
                                      struct image_measure *ret, GError **err)
{
    static const char *const own[] = {"preallocation", "extent_size_hint",
                                      "nocow", "key-secret"};
    struct luks_options how;
    int rc = luks_image_take_options(opts, &how, err);

    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(own); i++) {
        g_free(options_take(opts, own[i])); /* none changes the size */
    }
    bytes += luks_new_payload_offset(&how.cipher);
    *ret = (struct image_measure){
        .required = bytes,
        .fully_allocated = bytes,
        .bitmaps = -1,
    };
    return 0;
}

/* -- About an image ------------------------------------------------------ */

static int co_fn luks_disk_co_info(struct node *node, struct image_info *ret)
{
    *ret = (struct image_info){.encrypted = true};
    return 0;
}

static int co_fn luks_disk_co_info_json(struct node *node, struct json *out,
                                        GError **err)
{
    const struct luks_disk *d = node_state(node);

    luks_image_json(&d->image.luks, false, out);
    return 0;
}

static int co_fn luks_disk_co_amend(struct node *node, struct options *opts,
                                    bool force, image_progress_fn *progress,
                                    void *opaque, GError **err)
{
    struct luks_disk *d = node_state(node);
    GError *why = NULL;
    int rc = luks_image_co_amend(&d->image, node_file(node), 0, opts, force,
                                 &why); /* yields */

    return rc < 0 ? name_error(node, rc, why, err) : 0;
}

static const struct image_ops luks_disk_ops = {
    .options = luks_disk_options,
    .co_create = luks_disk_co_create,
    .co_measure = luks_disk_co_measure,
    .co_info = luks_disk_co_info,
    .co_info_json = luks_disk_co_info_json,
    .co_amend = luks_disk_co_amend,
};

const struct driver driver_luks = {
    .name = "luks",
    .state_size = sizeof(struct luks_disk),
    .traits = DRIVER_NOISE,
    .write_flags = REQ_WRITE_UNCHANGED,
    .image = &luks_disk_ops,
    .probe = luks_disk_probe,
    .co_open = luks_disk_co_open,
    .co_close = luks_disk_co_close,
    .limits = luks_disk_limits,
    .co_preadv = luks_disk_co_preadv,
    .co_pwritev = luks_disk_co_pwritev,
    .co_pdiscard = luks_disk_co_pdiscard,
    .co_allocate = luks_disk_co_allocate,
    .co_truncate = luks_disk_co_truncate,
};
