/* SPDX-License-Identifier: MIT */
/*
 * create: a new image.
 *
 * What is written here is an image of 0 bytes:
 *
 *   cluster 0  header
 *   cluster 1  refcount table
 *   cluster 2  refcount block
 *
 * Then it is opened and resized, as any image could be.
 */
#include "format/qcow2/create.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "format/qcow2/driver.h"
#include "format/qcow2/ops.h"
#include "format/qcow2/qcow2.h"

#define SECTOR 512

/* In the order in which qemu-img lists them when it creates an image, and with
 * a value for those that it lists always. */
const struct image_option qcow2_options[] = {
    {"encryption", "on: the old way to say encrypt.format=aes", NULL,
     IMAGE_OPTION_NEW},
    {"encrypt.format", "encrypt the image: luks, or aes (weak; do not use)",
     NULL, IMAGE_OPTION_NEW},
    {"encrypt.key-secret", "id of the --object secret that is the passphrase",
     NULL, IMAGE_OPTION_NEW},
    {"encrypt.cipher-alg", "cipher: aes-256 (the default), aes-128, ...", NULL,
     IMAGE_OPTION_NEW},
    {"encrypt.cipher-mode", "xts (the default) or cbc", NULL, IMAGE_OPTION_NEW},
    {"encrypt.ivgen-alg", "plain64 (the default), plain or essiv", NULL,
     IMAGE_OPTION_NEW},
    {"encrypt.ivgen-hash-alg", "hash of essiv; default sha256", NULL,
     IMAGE_OPTION_NEW},
    {"encrypt.hash-alg", "hash of the passphrase; default sha256", NULL,
     IMAGE_OPTION_NEW},
    {"encrypt.iter-time", "milliseconds that a try of a passphrase takes; 2000",
     NULL, IMAGE_OPTION_ANY},
    {"encrypt.state", "active: set key slots; inactive: erase them", NULL,
     IMAGE_OPTION_AMEND},
    {"encrypt.keyslot", "the key slot: 0 to 7", NULL, IMAGE_OPTION_AMEND},
    {"encrypt.old-secret", "id of the secret whose key slots are erased", NULL,
     IMAGE_OPTION_AMEND},
    {"encrypt.new-secret", "id of the secret for the key slot that is set",
     NULL, IMAGE_OPTION_AMEND},
    {"cluster_size", "bytes of a cluster: 512 to 2M, a power of two", "65536",
     IMAGE_OPTION_NEW},
    {"extended_l2", "on: allocate 32 parts of a cluster separately", "off",
     IMAGE_OPTION_NEW},
    {"preallocation", "off (the default), metadata, falloc or full", NULL,
     IMAGE_OPTION_NEW},
    {"compression_type", "of compressed clusters: zlib or zstd", "zlib",
     IMAGE_OPTION_NEW},
    {"size", "bytes of the virtual disk", NULL, IMAGE_OPTION_ANY},
    {"compat", "version: 1.1 (v3, the default), or 0.10 (v2) for old programs",
     NULL, IMAGE_OPTION_ANY},
    {"backing_file", "file that unwritten clusters are read from", NULL,
     IMAGE_OPTION_NEW},
    {"backing_fmt", "format of the backing file", NULL, IMAGE_OPTION_NEW},
    {"data_file", "raw file that guest data are stored in", NULL,
     IMAGE_OPTION_ANY},
    {"data_file_raw", "on: the data file is a raw image as well", NULL,
     IMAGE_OPTION_ANY},
    {"lazy_refcounts", "on: fewer writes, but a count after a crash", "off",
     IMAGE_OPTION_ANY},
    {"refcount_bits", "width of a reference count: 1, 2, 4 ... 64", "16",
     IMAGE_OPTION_ANY},
    {"extent_size_hint", "how much XFS allocates at a time; default 1M", NULL,
     IMAGE_OPTION_NEW},
    {"nocow", "on: no copy-on-write on btrfs", NULL, IMAGE_OPTION_NEW},
    {NULL, NULL, NULL, IMAGE_OPTION_NEW},
};

/* -- Options ------------------------------------------------------------- */

int qcow2_take_compat(struct options *o, struct qcow2_header *h, GError **err)
{
    static const char *const names[] = {"0.10", "v2", "1.1", "v3", NULL};
    int i = 0;
    int rc = options_take_enum(o, "compat", names, &i, err);

    if (rc > 0) {
        h->version = i < 2 ? 2 : 3;
    }
    return rc;
}

static int take_cluster_size(struct options *o, struct qcow2_header *h,
                             GError **err)
{
    int64_t n = 64 * KiB;
    int rc = options_take_size(o, "cluster_size", &n, err);

    if (rc >= 0 &&
        (!is_power_of_2(n) || n < INT64_C(1) << QCOW2_MIN_CLUSTER_BITS ||
         n > INT64_C(1) << QCOW2_MAX_CLUSTER_BITS)) {
        return error_set(err, -EINVAL,
                         "cluster_size=%" PRId64
                         " is not possible; it can be a power of two from 512 "
                         "to 2M",
                         n);
    }
    h->cluster_bits = (unsigned)__builtin_ctzll((unsigned long long)n);
    return rc;
}

int qcow2_take_refcount_bits(struct options *o, struct qcow2_header *h,
                             GError **err)
{
    int64_t n = INT64_C(1) << h->refcount_order;
    int rc =
        options_take_int(o, "refcount_bits", INT64_MIN, INT64_MAX, &n, err);

    if (rc >= 0 && (!is_power_of_2(n) || n > 64)) {
        return error_set(err, -EINVAL,
                         "refcount_bits=%" PRId64
                         " is not possible; it can be a power of two from 1 "
                         "to 64",
                         n);
    }
    h->refcount_order = (unsigned)__builtin_ctzll((unsigned long long)n);
    return rc;
}

static int take_compression(struct options *o, struct qcow2_header *h,
                            GError **err)
{
    static const char *const names[] = {"zlib", "zstd", NULL};
    int i = QCOW2_DEFLATE;
    int rc = options_take_enum(o, "compression_type", names, &i, err);

    h->compression = (enum qcow2_compression)i;
    if (h->compression != QCOW2_DEFLATE) {
        h->incompatible |= QCOW2_COMPRESSION;
    }
    return rc;
}

static int take_flags(struct options *o, struct qcow2_header *h, GError **err)
{
    bool lazy = false, extended = false, raw = false;

    if (options_take_bool(o, "lazy_refcounts", &lazy, err) < 0 ||
        options_take_bool(o, "extended_l2", &extended, err) < 0 ||
        options_take_bool(o, "data_file_raw", &raw, err) < 0) {
        return -EINVAL;
    }
    h->compatible |= lazy ? QCOW2_LAZY_REFCOUNTS : 0;
    h->incompatible |= extended ? QCOW2_EXTENDED_L2 : 0;
    h->autoclear |= raw ? QCOW2_DATA_FILE_RAW : 0;
    return 0;
}

/* By enum prealloc_mode. */
static const char *const prealloc_names[] = {"off", "metadata", "falloc",
                                             "full", NULL};

static int take_prealloc(struct options *o, enum prealloc_mode *ret,
                         GError **err)
{
    int i = PREALLOC_OFF;
    int rc = options_take_enum(o, "preallocation", prealloc_names, &i, err);

    *ret = (enum prealloc_mode)i;
    return rc;
}

static void take_files(struct options *o, struct qcow2_header *h)
{
    h->backing_name = options_take(o, "backing_file");
    h->backing_format = options_take(o, "backing_fmt");
    h->data_file = options_take(o, "data_file");
    if (h->backing_name && !*h->backing_name) {
        g_clear_pointer(&h->backing_name, g_free);
    }
    h->incompatible |= h->data_file ? QCOW2_DATA_FILE : 0;
}

/* -- Do they go together? ------------------------------------------------ */

static int check_version(const struct qcow2_header *h, GError **err)
{
    const char *what = h->refcount_order != 4 ? "refcount_bits"
                       : h->compatible        ? "lazy_refcounts"
                       : h->compression       ? "compression_type"
                       : h->data_file         ? "data_file"
                       : h->incompatible      ? "extended_l2"
                                              : NULL;

    if (h->version == 2 && what) {
        return error_set(err, -EINVAL,
                         "%s needs compat=1.1; version 2 has no such thing",
                         what);
    }
    return 0;
}

static int check_files(const struct qcow2_header *h,
                       enum prealloc_mode prealloc, GError **err)
{
    bool extended = (h->incompatible & QCOW2_EXTENDED_L2) != 0;

    if (h->backing_name && strlen(h->backing_name) > QCOW2_MAX_BACKING_NAME) {
        return error_set(err, -EINVAL,
                         "the name of a backing file can have %d bytes",
                         QCOW2_MAX_BACKING_NAME);
    }
    if (h->backing_name && !h->backing_format) {
        return error_set(err, -EINVAL,
                         "backing_file is given without its format; add "
                         "backing_fmt=raw or backing_fmt=qcow2 (-F)");
    }
    if (h->backing_format && !h->backing_name) {
        return error_set(err, -EINVAL,
                         "backing_fmt is given without backing_file");
    }
    if ((h->autoclear & QCOW2_DATA_FILE_RAW) && !h->data_file) {
        return error_set(err, -EINVAL, "data_file_raw needs data_file");
    }
    if ((h->autoclear & QCOW2_DATA_FILE_RAW) && h->backing_name) {
        return error_set(err, -EINVAL,
                         "data_file_raw and backing_file exclude each other: "
                         "the data file would not have what the backing file "
                         "has");
    }
    if (prealloc != PREALLOC_OFF && h->backing_name && !extended) {
        return error_set(err, -EINVAL,
                         "preallocation with a backing_file needs "
                         "extended_l2=on");
    }
    return 0;
}

static int check_crypt(const struct qcow2_new *n, GError **err)
{
    const struct qcow2_header *h = &n->header;

    if (n->crypt.crypt == QCOW2_CRYPT_NONE) {
        return 0;
    }
    if (h->autoclear & QCOW2_DATA_FILE_RAW) {
        return error_set(err, -EINVAL,
                         "data_file_raw and encryption exclude each other: "
                         "what is encrypted is no raw image");
    }
    if (h->version == 2 && n->prealloc != PREALLOC_OFF) {
        return error_set(err, -EINVAL,
                         "preallocation of an encrypted image needs "
                         "compat=1.1");
    }
    return 0;
}

static int check_new(const struct qcow2_new *n, GError **err)
{
    const struct qcow2_header *h = &n->header;
    int rc = check_version(h, err);

    if (rc == 0 && (h->incompatible & QCOW2_EXTENDED_L2) &&
        h->cluster_bits < QCOW2_MIN_EXT_L2_BITS) {
        return error_set(err, -EINVAL,
                         "extended_l2 needs a cluster_size of 16k or more");
    }
    rc = rc ? rc : check_files(h, n->prealloc, err);
    return rc ? rc : check_crypt(n, err);
}

void qcow2_new_fini(struct qcow2_new *n)
{
    qcow2_header_fini(&n->header);
    qcow2_new_crypt_fini(&n->crypt);
}

int qcow2_take_create_options(struct options *o, struct qcow2_new *ret,
                              GError **err)
{
    struct qcow2_header *h = &ret->header;
    int rc;

    *ret = (struct qcow2_new){.header = {.version = 3, .refcount_order = 4}};
    take_files(o, h);
    if (qcow2_take_compat(o, h, err) < 0 || take_cluster_size(o, h, err) < 0 ||
        qcow2_take_refcount_bits(o, h, err) < 0 ||
        take_compression(o, h, err) < 0 || take_flags(o, h, err) < 0 ||
        take_prealloc(o, &ret->prealloc, err) < 0 ||
        qcow2_take_crypt_options(o, &ret->crypt, err) < 0) {
        rc = -EINVAL;
    } else {
        rc = check_new(ret, err);
    }
    if (rc < 0) {
        qcow2_new_fini(ret);
    }
    return rc;
}

/* -- The file ------------------------------------------------------------ */

static struct node *co_fn open_leaf(const char *filename, GError **err)
{
    struct options *o = options_new();

    options_set(o, "filename", filename);
    return node_co_open(o, NODE_RDWR, err); /* yields */
}

/* Writes an image of 0 bytes. */
static int co_fn write_empty_image(struct node *leaf, struct qcow2_header *h)
{
    int64_t cluster = qcow2_header_cluster_size(h);
    uint8_t *buf = calloc(3, (size_t)cluster);
    int rc;

    if (!buf) {
        return -ENOMEM;
    }
    h->reftable_offset = cluster;
    h->reftable_clusters = 1;
    rc = qcow2_header_serialise(h, buf);
    store_be64(buf + cluster, (uint64_t)(2 * cluster));
    for (int64_t i = 0; i < 3; i++) {
        qcow2_refcount_store(buf + 2 * cluster, i, h->refcount_order, 1);
    }
    rc = rc ? rc : node_co_pwrite(leaf, 0, buf, 3 * cluster, 0); /* yields */
    free(buf);
    return rc;
}

static int co_fn write_image_to(const char *filename, struct qcow2_header *h,
                                GError **err)
{
    struct node *leaf = open_leaf(filename, err); /* yields */
    int rc, close_rc;

    if (!leaf) {
        return -EIO;
    }
    rc = write_empty_image(leaf, h); /* yields */
    close_rc = node_co_unref(leaf);  /* yields */
    rc = rc ? rc : close_rc;
    if (rc == -ENOSPC) {
        error_set_errno(err, rc,
                        "%s: cannot write its header (names too long for the "
                        "cluster_size, or no space)",
                        filename);
    } else if (rc < 0) {
        error_set_errno(err, rc, "%s: cannot write its header", filename);
    }
    return rc;
}

/* Makes the image that was written what it is to be. */
static int co_fn finish_node(struct node *node, int64_t bytes,
                             const struct qcow2_new *n, GError **err)
{
    int rc = qcow2_co_begin_crypt(qcow2_of(node), &n->crypt); /* yields */

    if (rc < 0) {
        return error_set_errno(err, rc, "%s: cannot write its LUKS header",
                               node_filename(node));
    }
    return bytes > 0 ? node_co_truncate(node, bytes, n->prealloc, 0, err) : 0;
}

/* Opens what was written and makes it as long as it is to be. */
static int co_fn finish_image(const char *filename, int64_t bytes,
                              const struct qcow2_new *n, GError **err)
{
    struct options *o = options_new();
    struct node *node;
    int rc, close_rc;

    options_set(o, "driver", "qcow2");
    node = node_co_open_file(filename, o, NODE_RDWR | NODE_NO_BACKING, err);
    if (!node) {
        return -EIO;
    }
    rc = finish_node(node, bytes, n, err); /* yields */
    close_rc = node_co_unref(node);        /* yields */
    if (rc == 0 && close_rc < 0) {
        rc = error_set_errno(err, close_rc, "%s: cannot write it", filename);
    }
    return rc;
}

/* -- Everything ---------------------------------------------------------- */

static int co_fn backing_size(const char *filename,
                              const struct qcow2_header *h, int64_t *ret,
                              GError **err)
{
    g_autofree char *path = NULL;
    struct options *o;
    struct node *node;

    if (!h->backing_name) {
        return error_set(err, -EINVAL,
                         "%s: needs a size; only with a backing_file it can be "
                         "left out",
                         filename);
    }
    path = qcow2_resolve_name(filename, h->backing_name);
    o = options_new();
    options_set(o, "driver", h->backing_format);
    node = node_co_open_file(path, o, NODE_NO_IO, err); /* yields */
    if (!node) {
        return -EIO;
    }
    *ret = node_length(node);
    return node_co_unref(node); /* yields */
}

static int co_fn create_data_file(int64_t bytes, const struct qcow2_header *h,
                                  enum prealloc_mode prealloc, GError **err)
{
    g_autoptr(options) how = options_new();

    if (!h->data_file) {
        return 0;
    }
    if (prealloc == PREALLOC_FALLOC || prealloc == PREALLOC_FULL) {
        options_set(how, "preallocation", prealloc_names[prealloc]);
    }
    return node_co_create_file(qcow2_data_file_path(h->data_file), bytes, how,
                               err); /* yields */
}

static bool is_there(const char *filename)
{
    struct stat st;

    return lstat(filename, &st) == 0;
}

static int co_fn create(const char *filename, int64_t bytes,
                        struct qcow2_new *n, struct options *opts, GError **err)
{
    bool was_there = is_there(filename);
    int rc = qcow2_co_make_crypt(&n->crypt, err); /* yields */

    if (rc == 0 && bytes < 0) {
        rc = backing_size(filename, &n->header, &bytes, err); /* yields */
    }
    bytes = align_up(bytes, SECTOR);
    rc = rc ? rc : create_data_file(bytes, &n->header, n->prealloc, err);
    rc = rc ? rc : node_co_create_file(filename, 0, opts, err);
    rc = rc ? rc : write_image_to(filename, &n->header, err);
    rc = rc ? rc : finish_image(filename, bytes, n, err);
    if (rc < 0 && !was_there) {
        (void)unlink(filename);
    }
    return rc;
}

int co_fn qcow2_co_create(const char *filename, int64_t bytes,
                          struct options *opts, GError **err)
{
    struct qcow2_new n;
    int rc;

    if (bytes > BLOCK_MAX_LENGTH - SECTOR) {
        return error_set(err, -EFBIG, "%s: %" PRId64 " bytes are too many",
                         filename, bytes);
    }
    rc = qcow2_take_create_options(opts, &n, err);
    if (rc == 0) {
        rc = create(filename, bytes, &n, opts, err); /* yields */
        qcow2_new_fini(&n);
    }
    return rc;
}
