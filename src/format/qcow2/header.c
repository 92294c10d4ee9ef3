/* SPDX-License-Identifier: MIT */

#include "format/qcow2/header.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/endian.h"
#include "base/error.h"
#include "block/block.h"

/* Types of header extensions. */
enum {
    EXT_END = 0,
    EXT_BITMAPS = 0x23852875,
    EXT_CRYPT = 0x0537be77,
    EXT_FEATURES = 0x6803f857,
    EXT_DATA_FILE = 0x44415441,
};
#define EXT_BACKING_FORMAT UINT32_C(0xe2792aca)

#define EXT_HEAD_BYTES  8 /* type and length */
#define FEATURE_BYTES   48
#define FEATURE_NAME    46
#define BITMAPS_BYTES   24
#define CRYPT_BYTES     16
#define V2_ORDER        4
#define V3_KNOWN_FIELDS 105 /* up to and with the compression type */

enum feature_kind {
    FEATURE_INCOMPATIBLE,
    FEATURE_COMPATIBLE,
    FEATURE_AUTOCLEAR,
};

/* The feature name table that we write, and names for messages. */
static const struct {
    enum feature_kind kind;
    unsigned bit;
    const char *name;
} features[] = {
    {FEATURE_INCOMPATIBLE, 0, "dirty bit"},
    {FEATURE_INCOMPATIBLE, 1, "corrupt bit"},
    {FEATURE_INCOMPATIBLE, 2, "external data file"},
    {FEATURE_INCOMPATIBLE, 3, "compression type"},
    {FEATURE_INCOMPATIBLE, 4, "extended L2 entries"},
    {FEATURE_COMPATIBLE, 0, "lazy refcounts"},
    {FEATURE_AUTOCLEAR, 0, "bitmaps"},
    {FEATURE_AUTOCLEAR, 1, "raw external data"},
};

/* The input while it is parsed. */
struct parser {
    const uint8_t *buf;
    size_t n;
    const char *filename;
    struct qcow2_header *h;
    size_t fields_end;     /* where the extensions begin */
    size_t extensions_end; /* and where they end at the latest */
    const uint8_t *names;  /* the feature name table, or NULL */
    size_t names_bytes;
    GError **err;
};

#define refuse(p, rc, ...) refuse_line((p)->filename, (p)->err, rc, __VA_ARGS__)

G_GNUC_PRINTF(4, 5)
static int refuse_line(const char *filename, GError **err, int rc,
                       const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, format);
    text = g_strdup_vprintf(format, ap);
    va_end(ap);
    return error_set(err, rc, "%s: %s", filename, text);
}

bool qcow2_header_probe(const uint8_t *head, size_t n)
{
    return n >= 8 && load_be32(head) == QCOW2_MAGIC &&
           (load_be32(head + 4) == 2 || load_be32(head + 4) == 3);
}

/* -- The fixed fields ---------------------------------------------------- */

static int check_magic(const struct parser *p)
{
    uint32_t version;

    if (p->n < 8 || load_be32(p->buf) != QCOW2_MAGIC) {
        return refuse(p, -EINVAL, "is not a qcow2 image; try format=raw");
    }
    version = load_be32(p->buf + 4);
    if (version != 2 && version != 3) {
        return refuse(p, -EOPNOTSUPP,
                      "is a qcow2 image of version %" PRIu32
                      "; versions 2 and 3 are known",
                      version);
    }
    if (p->n < (version == 2 ? QCOW2_V2_HEADER_BYTES : QCOW2_V3_HEADER_BYTES)) {
        return refuse(p, -EINVAL, "is too short for a qcow2 header");
    }
    return 0;
}

static int check_cluster_bits(const struct parser *p)
{
    uint32_t bits = load_be32(p->buf + 20);

    if (bits < QCOW2_MIN_CLUSTER_BITS || bits > QCOW2_MAX_CLUSTER_BITS) {
        return refuse(p, -EINVAL,
                      "has clusters of 2^%" PRIu32
                      " bytes; 2^9 to 2^21 are possible",
                      bits);
    }
    return 0;
}

int64_t qcow2_header_peek_size(const uint8_t *head, size_t n,
                               const char *filename, GError **err)
{
    struct parser p = {
        .buf = head,
        .n = n,
        .filename = filename,
        .err = err,
    };
    int rc = check_magic(&p);

    if (rc == 0) {
        rc = check_cluster_bits(&p);
    }
    return rc < 0 ? rc : INT64_C(1) << load_be32(head + 20);
}

/* Checks a table of @bytes at @offset. */
static int check_table(const struct parser *p, const char *name,
                       uint64_t offset, int64_t bytes)
{
    int64_t cluster = qcow2_header_cluster_size(p->h);

    if (!is_aligned((int64_t)offset, cluster)) {
        return refuse(p, -EINVAL,
                      "its %s is at 0x%" PRIx64
                      ", which is no cluster boundary",
                      name, offset);
    }
    if (offset > (uint64_t)(BLOCK_MAX_LENGTH - bytes - cluster)) {
        return refuse(p, -EINVAL,
                      "its %s is at 0x%" PRIx64 ", which no file can reach",
                      name, offset);
    }
    return 0;
}

int64_t qcow2_l1_entries_for(const struct qcow2_header *h, int64_t size)
{
    unsigned entry_bits = h->incompatible & QCOW2_EXTENDED_L2 ? 4 : 3;
    unsigned shift = 2 * h->cluster_bits - entry_bits;
    int64_t n = size >> shift;

    return n + ((n << shift) < size);
}

static int parse_size(const struct parser *p)
{
    struct qcow2_header *h = p->h;
    uint64_t size = load_be64(p->buf + 24);
    int64_t need;

    if (size > (uint64_t)BLOCK_MAX_LENGTH) {
        return refuse(p, -EFBIG, "its disk of %" PRIu64 " bytes is too large",
                      size);
    }
    h->size = (int64_t)size;
    h->l1_entries = load_be32(p->buf + 36);
    h->l1_offset = (int64_t)load_be64(p->buf + 40);
    if (h->l1_entries > QCOW2_MAX_L1_BYTES / 8) {
        return refuse(p, -EFBIG,
                      "its L1 table of %" PRIu32 " entries is too large",
                      h->l1_entries);
    }
    need = qcow2_l1_entries_for(h, h->size);
    if (h->l1_entries < need) {
        return refuse(p, -EINVAL,
                      "its L1 table of %" PRIu32
                      " entries is too small for a disk of %" PRIu64 " bytes",
                      h->l1_entries, size);
    }
    return check_table(p, "L1 table", load_be64(p->buf + 40),
                       (int64_t)h->l1_entries * 8);
}

static int parse_tables(const struct parser *p)
{
    struct qcow2_header *h = p->h;
    int64_t bytes;
    int rc;

    h->reftable_clusters = load_be32(p->buf + 56);
    bytes = (int64_t)h->reftable_clusters << h->cluster_bits;
    if (bytes > QCOW2_MAX_REFTABLE_BYTES) {
        return refuse(p, -EFBIG,
                      "its refcount table of %" PRIu32 " clusters is too large",
                      h->reftable_clusters);
    }
    rc = check_table(p, "refcount table", load_be64(p->buf + 48), bytes);
    if (rc < 0) {
        return rc;
    }
    h->reftable_offset = (int64_t)load_be64(p->buf + 48);

    h->n_snapshots = load_be32(p->buf + 60);
    if (h->n_snapshots > QCOW2_MAX_SNAPSHOTS) {
        return refuse(p, -EFBIG, "has %" PRIu32 " snapshots; %d are possible",
                      h->n_snapshots, QCOW2_MAX_SNAPSHOTS);
    }
    rc = check_table(p, "snapshot table", load_be64(p->buf + 64), 0);
    h->snapshots_offset = rc < 0 ? 0 : (int64_t)load_be64(p->buf + 64);
    return rc;
}

static int parse_crypt(const struct parser *p)
{
    uint32_t crypt = load_be32(p->buf + 32);

    if (crypt > QCOW2_CRYPT_LUKS) {
        return refuse(p, -EOPNOTSUPP,
                      "is encrypted by the unknown method %" PRIu32, crypt);
    }
    p->h->crypt = (enum qcow2_crypt)crypt;
    return 0;
}

/* What version 3 has beyond version 2. */
static int parse_v3(struct parser *p)
{
    struct qcow2_header *h = p->h;
    uint32_t length = load_be32(p->buf + 100);
    uint32_t order = load_be32(p->buf + 96);

    if (length < QCOW2_V3_HEADER_BYTES || length % 8 != 0 || length > p->n) {
        return refuse(p, -EINVAL, "its header says it has %" PRIu32 " bytes",
                      length);
    }
    if (order > QCOW2_MAX_REFCOUNT_ORDER) {
        return refuse(p, -EINVAL,
                      "has reference counts of 2^%" PRIu32
                      " bits; 64 bits are the most",
                      order);
    }
    h->incompatible = load_be64(p->buf + 72);
    h->compatible = load_be64(p->buf + 80);
    h->autoclear = load_be64(p->buf + 88);
    h->refcount_order = order;
    if (length >= V3_KNOWN_FIELDS) {
        h->compression = p->buf[104];
    }
    if (length > QCOW2_NEW_HEADER_BYTES) {
        h->more_fields = g_byte_array_new();
        g_byte_array_append(h->more_fields, p->buf + QCOW2_NEW_HEADER_BYTES,
                            length - QCOW2_NEW_HEADER_BYTES);
    }
    p->fields_end = length;
    return 0;
}

/* -- The backing file's name --------------------------------------------- */

static int parse_backing(struct parser *p)
{
    uint64_t offset = load_be64(p->buf + 8);
    uint32_t bytes = load_be32(p->buf + 16);

    p->extensions_end = p->n;
    if (offset == 0) {
        return 0;
    }
    if (offset > p->n || bytes > p->n - offset || offset < p->fields_end) {
        return refuse(p, -EINVAL,
                      "the name of its backing file is not in the first "
                      "cluster");
    }
    if (bytes > QCOW2_MAX_BACKING_NAME) {
        return refuse(p, -EINVAL,
                      "the name of its backing file has %" PRIu32
                      " bytes; %d are possible",
                      bytes, QCOW2_MAX_BACKING_NAME);
    }
    p->extensions_end = (size_t)offset;
    if (bytes > 0) {
        p->h->backing_name = g_strndup((const char *)p->buf + offset, bytes);
    }
    return 0;
}

/* -- Extensions ---------------------------------------------------------- */

static int parse_string(const struct parser *p, const char *what,
                        const uint8_t *data, uint32_t bytes, char **ret)
{
    if (bytes > QCOW2_MAX_BACKING_NAME) {
        return refuse(p, -EINVAL, "%s has %" PRIu32 " bytes; %d are possible",
                      what, bytes, QCOW2_MAX_BACKING_NAME);
    }
    g_free(*ret); /* the last one counts */
    *ret = g_strndup((const char *)data, bytes);
    return 0;
}

static int parse_bitmaps(const struct parser *p, const uint8_t *data,
                         uint32_t bytes)
{
    struct qcow2_header *h = p->h;
    uint64_t directory_bytes;
    int rc;

    if (bytes != BITMAPS_BYTES || load_be32(data + 4) != 0 ||
        load_be32(data) == 0) {
        return refuse(p, -EINVAL, "its bitmaps extension is malformed");
    }
    h->bitmaps.n = load_be32(data);
    directory_bytes = load_be64(data + 8);
    if (h->bitmaps.n > QCOW2_MAX_BITMAPS ||
        directory_bytes > QCOW2_MAX_BITMAPS * UINT64_C(1056)) {
        return refuse(p, -EFBIG, "has %" PRIu32 " bitmaps; %d are possible",
                      h->bitmaps.n, QCOW2_MAX_BITMAPS);
    }
    h->bitmaps.directory_bytes = (int64_t)directory_bytes;
    rc = check_table(p, "bitmap directory", load_be64(data + 16),
                     h->bitmaps.directory_bytes);
    h->bitmaps.directory_offset = rc < 0 ? 0 : (int64_t)load_be64(data + 16);
    return rc;
}

static int parse_crypt_header(const struct parser *p, const uint8_t *data,
                              uint32_t bytes)
{
    uint64_t length;
    int rc;

    if (p->h->crypt != QCOW2_CRYPT_LUKS || bytes < CRYPT_BYTES) {
        return refuse(p, -EINVAL, "its encryption header does not belong");
    }
    length = load_be64(data + 8);
    if (length > (uint64_t)BLOCK_MAX_LENGTH / 2) {
        return refuse(p, -EINVAL, "its encryption header is too large");
    }
    rc = check_table(p, "encryption header", load_be64(data), (int64_t)length);
    if (rc == 0) {
        p->h->crypt_header.offset = (int64_t)load_be64(data);
        p->h->crypt_header.bytes = (int64_t)length;
    }
    return rc;
}

/* Keeps an extension we do not know as it is. */
static void keep_extension(const struct parser *p, const uint8_t *ext,
                           size_t bytes)
{
    static const uint8_t padding[8];
    struct qcow2_header *h = p->h;

    if (!h->extensions) {
        h->extensions = g_byte_array_new();
    }
    g_byte_array_append(h->extensions, ext, (guint)bytes);
    g_byte_array_append(h->extensions, padding, (guint)(-bytes % 8));
}

static int parse_extension(struct parser *p, const uint8_t *ext, uint32_t type,
                           uint32_t bytes)
{
    const uint8_t *data = ext + EXT_HEAD_BYTES;

    switch (type) {
    case EXT_BACKING_FORMAT:
        return parse_string(p, "the format of its backing file", data, bytes,
                            &p->h->backing_format);
    case EXT_DATA_FILE:
        return parse_string(p, "the name of its data file", data, bytes,
                            &p->h->data_file);
    case EXT_FEATURES:
        p->names = data;
        p->names_bytes = bytes;
        return 0;
    case EXT_BITMAPS:
        return parse_bitmaps(p, data, bytes);
    case EXT_CRYPT:
        return parse_crypt_header(p, data, bytes);
    default:
        keep_extension(p, ext, EXT_HEAD_BYTES + (size_t)bytes);
        return 0;
    }
}

static int parse_extensions(struct parser *p)
{
    size_t pos = p->fields_end;
    size_t end = p->extensions_end;

    while (pos + EXT_HEAD_BYTES <= end) {
        uint32_t type = load_be32(p->buf + pos);
        uint32_t bytes = load_be32(p->buf + pos + 4);
        int rc;

        if (type == EXT_END) {
            break;
        }
        if (bytes > end - pos - EXT_HEAD_BYTES) {
            return refuse(p, -EINVAL,
                          "its header extension 0x%08" PRIx32
                          " is longer than the header",
                          type);
        }
        rc = parse_extension(p, p->buf + pos, type, bytes);
        if (rc < 0) {
            return rc;
        }
        pos += EXT_HEAD_BYTES + (((size_t)bytes + 7) & ~(size_t)7);
    }
    if (pos < end && pos + EXT_HEAD_BYTES > end) {
        return refuse(p, -EINVAL,
                      "the name of its backing file lies in a header "
                      "extension");
    }
    return 0;
}

/* -- Features ------------------------------------------------------------ */

static char *feature_name(const struct parser *p, enum feature_kind kind,
                          unsigned bit)
{
    /* The last entry may be cut short behind its name. */
    for (size_t pos = 0; pos + 3 <= p->names_bytes; pos += FEATURE_BYTES) {
        const uint8_t *f = p->names + pos;
        size_t room = MIN(p->names_bytes - pos - 2, FEATURE_NAME);

        if (f[0] == kind && f[1] == bit && f[2] != 0) {
            g_autofree char *raw = g_strndup((const char *)f + 2, room);

            return g_utf8_make_valid(raw, -1);
        }
    }
    return g_strdup_printf("bit %u", bit);
}

/* Names of the @unknown bits, separated by commas. */
static char *feature_names(const struct parser *p, uint64_t unknown)
{
    GString *names = g_string_new(NULL);

    for (unsigned bit = 0; bit < 64; bit++) {
        if (unknown >> bit & 1) {
            g_autofree char *name = feature_name(p, FEATURE_INCOMPATIBLE, bit);

            g_string_append_printf(names, "%s%s", names->len ? ", " : "", name);
        }
    }
    return g_string_free(names, FALSE);
}

static int check_compression(const struct parser *p)
{
    const struct qcow2_header *h = p->h;
    bool bit = (h->incompatible & QCOW2_COMPRESSION) != 0;

    if (bit != (h->compression != QCOW2_DEFLATE)) {
        return refuse(p, -EINVAL,
                      "its compression type %u contradicts its features",
                      (unsigned)h->compression);
    }
    if (h->compression > QCOW2_ZSTD) {
        return refuse(p, -EOPNOTSUPP,
                      "is compressed by the unknown method %u; deflate and "
                      "zstd are known",
                      (unsigned)h->compression);
    }
    return 0;
}

static int check_features(const struct parser *p)
{
    const struct qcow2_header *h = p->h;
    uint64_t unknown = h->incompatible & ~(uint64_t)QCOW2_KNOWN_INCOMPATIBLE;

    if (unknown) {
        g_autofree char *names = feature_names(p, unknown);

        return refuse(p, -EOPNOTSUPP,
                      "needs features that are not known here: %s", names);
    }
    if ((h->incompatible & QCOW2_EXTENDED_L2) &&
        h->cluster_bits < QCOW2_MIN_EXT_L2_BITS) {
        return refuse(p, -EINVAL,
                      "has extended L2 entries, which need clusters of 16 KiB "
                      "or more");
    }
    return check_compression(p);
}

/* -- All of it ----------------------------------------------------------- */

static int parse_all(struct parser *p)
{
    struct qcow2_header *h = p->h;
    int rc = check_magic(p);

    if (rc == 0) {
        rc = check_cluster_bits(p);
    }
    if (rc < 0) {
        return rc;
    }
    h->version = load_be32(p->buf + 4);
    h->cluster_bits = load_be32(p->buf + 20);
    p->n = MIN(p->n, (size_t)qcow2_header_cluster_size(h));
    p->fields_end = QCOW2_V2_HEADER_BYTES;
    h->refcount_order = V2_ORDER;
    if (h->version >= 3) {
        rc = parse_v3(p);
    }
    /* Names of features first: they are for the message about features. */
    rc = rc ? rc : parse_crypt(p);
    rc = rc ? rc : parse_backing(p);
    rc = rc ? rc : parse_extensions(p);
    rc = rc ? rc : check_features(p);
    rc = rc ? rc : parse_size(p);
    rc = rc ? rc : parse_tables(p);
    return rc;
}

int qcow2_header_parse(const uint8_t *buf, size_t n, const char *filename,
                       struct qcow2_header *ret, GError **err)
{
    struct parser p = {
        .buf = buf,
        .n = n,
        .filename = filename,
        .h = ret,
        .err = err,
    };
    int rc;

    memset(ret, 0, sizeof(*ret));
    rc = parse_all(&p);
    if (rc < 0) {
        qcow2_header_fini(ret);
    }
    return rc;
}

void qcow2_header_fini(struct qcow2_header *h)
{
    g_free(h->backing_name);
    g_free(h->backing_format);
    g_free(h->data_file);
    if (h->more_fields) {
        g_byte_array_unref(h->more_fields);
    }
    if (h->extensions) {
        g_byte_array_unref(h->extensions);
    }
    memset(h, 0, sizeof(*h));
}

/* -- And back ------------------------------------------------------------ */

/* The output while it is made. */
struct writer {
    uint8_t *buf;
    size_t pos, end;
    bool full; /* something did not fit */
};

static uint8_t *writer_take(struct writer *w, size_t bytes)
{
    uint8_t *p = w->buf + w->pos;

    if (bytes > w->end - w->pos) {
        w->full = true;
    }
    if (w->full) {
        return NULL;
    }
    w->pos += bytes;
    return p;
}

/* Begins an extension; returns where its @bytes of data go, or NULL. */
static uint8_t *writer_extension(struct writer *w, uint32_t type, size_t bytes)
{
    uint8_t *ext = writer_take(w, EXT_HEAD_BYTES + ((bytes + 7) & ~(size_t)7));

    if (!ext) {
        return NULL;
    }
    store_be32(ext, type);
    store_be32(ext + 4, (uint32_t)bytes);
    return ext + EXT_HEAD_BYTES;
}

static void write_string(struct writer *w, uint32_t type, const char *text)
{
    uint8_t *data;

    if (!text) {
        return;
    }
    data = writer_extension(w, type, strlen(text));
    if (data) {
        memcpy(data, text, strlen(text));
    }
}

static void write_features(struct writer *w)
{
    uint8_t *f = writer_extension(w, EXT_FEATURES,
                                  G_N_ELEMENTS(features) * FEATURE_BYTES);

    for (size_t i = 0; f && i < G_N_ELEMENTS(features); i++) {
        f[0] = (uint8_t)features[i].kind;
        f[1] = (uint8_t)features[i].bit;
        memcpy(f + 2, features[i].name, strlen(features[i].name));
        f += FEATURE_BYTES;
    }
}

static void write_crypt_header(struct writer *w, const struct qcow2_header *h)
{
    uint8_t *data;

    if (h->crypt_header.bytes == 0) {
        return;
    }
    data = writer_extension(w, EXT_CRYPT, CRYPT_BYTES);
    if (data) {
        store_be64(data, (uint64_t)h->crypt_header.offset);
        store_be64(data + 8, (uint64_t)h->crypt_header.bytes);
    }
}

static void write_bitmaps(struct writer *w, const struct qcow2_header *h)
{
    uint8_t *data;

    if (h->bitmaps.n == 0) {
        return;
    }
    data = writer_extension(w, EXT_BITMAPS, BITMAPS_BYTES);
    if (data) {
        store_be32(data, h->bitmaps.n);
        store_be64(data + 8, (uint64_t)h->bitmaps.directory_bytes);
        store_be64(data + 16, (uint64_t)h->bitmaps.directory_offset);
    }
}

static void write_extensions(struct writer *w, const struct qcow2_header *h,
                             bool with_names)
{
    /* First, so that it is in the same sector as the header: that both change
     * at once is what storing bitmaps counts on. */
    write_bitmaps(w, h);
    write_string(w, EXT_BACKING_FORMAT,
                 h->backing_name ? h->backing_format : NULL);
    write_string(w, EXT_DATA_FILE, h->data_file);
    write_crypt_header(w, h);
    if (h->version >= 3 && with_names) {
        write_features(w);
    }
    if (h->extensions) {
        uint8_t *ext = writer_take(w, h->extensions->len);

        if (ext) {
            memcpy(ext, h->extensions->data, h->extensions->len);
        }
    }
    (void)writer_extension(w, EXT_END, 0);
}

static void write_fields(struct writer *w, const struct qcow2_header *h)
{
    uint8_t *p = w->buf;

    store_be32(p, QCOW2_MAGIC);
    store_be32(p + 4, h->version);
    store_be32(p + 20, h->cluster_bits);
    store_be64(p + 24, (uint64_t)h->size);
    store_be32(p + 32, h->crypt);
    store_be32(p + 36, h->l1_entries);
    store_be64(p + 40, (uint64_t)h->l1_offset);
    store_be64(p + 48, (uint64_t)h->reftable_offset);
    store_be32(p + 56, h->reftable_clusters);
    store_be32(p + 60, h->n_snapshots);
    store_be64(p + 64, (uint64_t)h->snapshots_offset);
    w->pos = QCOW2_V2_HEADER_BYTES;
    if (h->version >= 3) {
        uint32_t more = h->more_fields ? h->more_fields->len : 0;

        store_be64(p + 72, h->incompatible);
        store_be64(p + 80, h->compatible);
        store_be64(p + 88, h->autoclear);
        store_be32(p + 96, h->refcount_order);
        store_be32(p + 100, QCOW2_NEW_HEADER_BYTES + more);
        p[104] = (uint8_t)h->compression;
        w->pos = QCOW2_NEW_HEADER_BYTES;
        p = writer_take(w, more);
        if (p && more > 0) {
            memcpy(p, h->more_fields->data, more);
        }
    }
}

static void name_backing(struct writer *w, size_t offset, size_t bytes)
{
    store_be64(w->buf + 8, offset);
    store_be32(w->buf + 16, (uint32_t)bytes);
}

static void write_backing_name(struct writer *w, const struct qcow2_header *h)
{
    size_t bytes = h->backing_name ? strlen(h->backing_name) : 0;
    size_t offset = w->pos;
    uint8_t *p = writer_take(w, bytes);

    if (p && bytes > 0) {
        memcpy(p, h->backing_name, bytes);
        name_backing(w, offset, bytes);
    }
}

static bool write_all(const struct qcow2_header *h, uint8_t *buf,
                      bool with_names)
{
    struct writer w = {
        .buf = buf,
        .end = (size_t)qcow2_header_cluster_size(h),
    };

    memset(buf, 0, w.end);
    write_fields(&w, h);
    write_extensions(&w, h, with_names);
    write_backing_name(&w, h);
    return !w.full;
}

int qcow2_header_serialise(const struct qcow2_header *h, uint8_t *buf)
{
    /* The names of features are the one thing that can be left out. */
    return write_all(h, buf, true) || write_all(h, buf, false) ? 0 : -ENOSPC;
}

int qcow2_header_serialise_short(const struct qcow2_header *h, uint8_t *buf,
                                 int64_t name_at)
{
    struct writer w = {.buf = buf, .end = QCOW2_HEADER_SECTOR};

    memset(buf, 0, w.end);
    write_fields(&w, h);
    write_extensions(&w, h, false);
    if (h->backing_name) {
        name_backing(&w, (size_t)name_at, strlen(h->backing_name));
    }
    return w.full ? -ENOSPC : 0;
}
