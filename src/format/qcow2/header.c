/* SPDX-License-Identifier: MIT */

#include "format/qcow2/header.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/endian.h"
#include "base/error.h"
#include "block/block.h"
#include "format/qcow2/header_priv.h"

#define V2_ORDER        4
#define V3_KNOWN_FIELDS 105 /* up to and with the compression type */

int header_refuse(const struct header_parser *p, int rc, const char *format,
                  ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, format);
    text = g_strdup_vprintf(format, ap);
    va_end(ap);
    return error_set(p->err, rc, "%s: %s", p->filename, text);
}

bool qcow2_header_probe(const uint8_t *head, size_t n)
{
    return n >= 8 && load_be32(head) == QCOW2_MAGIC &&
           (load_be32(head + 4) == 2 || load_be32(head + 4) == 3);
}

/* -- The fixed fields ---------------------------------------------------- */

static int check_magic(const struct header_parser *p)
{
    uint32_t version;

    if (p->n < 8 || load_be32(p->buf) != QCOW2_MAGIC) {
        return header_refuse(p, -EINVAL,
                             "is not a qcow2 image; try the format raw");
    }
    version = load_be32(p->buf + 4);
    if (version != 2 && version != 3) {
        return header_refuse(p, -EOPNOTSUPP,
                             "is a qcow2 image of version %" PRIu32
                             "; versions 2 and 3 are known",
                             version);
    }
    if (p->n < (version == 2 ? QCOW2_V2_HEADER_BYTES : QCOW2_V3_HEADER_BYTES)) {
        return header_refuse(p, -EINVAL, "is too short for a qcow2 header");
    }
    return 0;
}

static int check_cluster_bits(const struct header_parser *p)
{
    uint32_t bits = load_be32(p->buf + 20);

    if (bits < QCOW2_MIN_CLUSTER_BITS || bits > QCOW2_MAX_CLUSTER_BITS) {
        return header_refuse(p, -EINVAL,
                             "has clusters of 2^%" PRIu32
                             " bytes; 2^9 to 2^21 are possible",
                             bits);
    }
    return 0;
}

int64_t qcow2_header_peek_size(const uint8_t *head, size_t n,
                               const char *filename, GError **err)
{
    struct header_parser p = {
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

int header_check_table(const struct header_parser *p, const char *name,
                       uint64_t offset, int64_t bytes)
{
    int64_t cluster = qcow2_header_cluster_size(p->h);

    if (!is_aligned((int64_t)offset, cluster)) {
        return header_refuse(p, -EINVAL,
                             "its %s is at 0x%" PRIx64
                             ", which is no cluster boundary",
                             name, offset);
    }
    if (offset > (uint64_t)(BLOCK_MAX_LENGTH - bytes - cluster)) {
        return header_refuse(
            p, -EINVAL, "its %s is at 0x%" PRIx64 ", which no file can reach",
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

static int parse_size(const struct header_parser *p)
{
    struct qcow2_header *h = p->h;
    uint64_t size = load_be64(p->buf + 24);
    int64_t need;

    if (size > (uint64_t)BLOCK_MAX_LENGTH) {
        return header_refuse(
            p, -EFBIG, "its disk of %" PRIu64 " bytes is too large", size);
    }
    h->size = (int64_t)size;
    h->l1_entries = load_be32(p->buf + 36);
    h->l1_offset = (int64_t)load_be64(p->buf + 40);
    if (h->l1_entries > QCOW2_MAX_L1_BYTES / 8) {
        return header_refuse(p, -EFBIG,
                             "its L1 table of %" PRIu32 " entries is too large",
                             h->l1_entries);
    }
    need = qcow2_l1_entries_for(h, h->size);
    if (h->l1_entries < need) {
        return header_refuse(p, -EINVAL,
                             "its L1 table of %" PRIu32
                             " entries is too small for a disk of %" PRIu64
                             " bytes",
                             h->l1_entries, size);
    }
    return header_check_table(p, "L1 table", load_be64(p->buf + 40),
                              (int64_t)h->l1_entries * 8);
}

static int parse_tables(const struct header_parser *p)
{
    struct qcow2_header *h = p->h;
    int64_t bytes;
    int rc;

    h->reftable_clusters = load_be32(p->buf + 56);
    bytes = (int64_t)h->reftable_clusters << h->cluster_bits;
    if (bytes > QCOW2_MAX_REFTABLE_BYTES) {
        return header_refuse(p, -EFBIG,
                             "its refcount table of %" PRIu32
                             " clusters is too large",
                             h->reftable_clusters);
    }
    rc = header_check_table(p, "refcount table", load_be64(p->buf + 48), bytes);
    if (rc < 0) {
        return rc;
    }
    h->reftable_offset = (int64_t)load_be64(p->buf + 48);

    h->n_snapshots = load_be32(p->buf + 60);
    if (h->n_snapshots > QCOW2_MAX_SNAPSHOTS) {
        return header_refuse(p, -EFBIG,
                             "has %" PRIu32 " snapshots; %d are possible",
                             h->n_snapshots, QCOW2_MAX_SNAPSHOTS);
    }
    rc = header_check_table(p, "snapshot table", load_be64(p->buf + 64), 0);
    h->snapshots_offset = rc < 0 ? 0 : (int64_t)load_be64(p->buf + 64);
    return rc;
}

static int parse_crypt(const struct header_parser *p)
{
    uint32_t crypt = load_be32(p->buf + 32);

    if (crypt > QCOW2_CRYPT_LUKS) {
        return header_refuse(p, -EOPNOTSUPP,
                             "is encrypted by the unknown method %" PRIu32,
                             crypt);
    }
    p->h->crypt = (enum qcow2_crypt)crypt;
    return 0;
}

/* What version 3 has beyond version 2. */
static int parse_v3(struct header_parser *p)
{
    struct qcow2_header *h = p->h;
    uint32_t length = load_be32(p->buf + 100);
    uint32_t order = load_be32(p->buf + 96);

    if (length < QCOW2_V3_HEADER_BYTES || length % 8 != 0 || length > p->n) {
        return header_refuse(
            p, -EINVAL, "its header says it has %" PRIu32 " bytes", length);
    }
    if (order > QCOW2_MAX_REFCOUNT_ORDER) {
        return header_refuse(p, -EINVAL,
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

static int parse_backing(struct header_parser *p)
{
    uint64_t offset = load_be64(p->buf + 8);
    uint32_t bytes = load_be32(p->buf + 16);

    p->extensions_end = p->n;
    if (offset == 0) {
        return 0;
    }
    if (offset > p->n || bytes > p->n - offset || offset < p->fields_end) {
        return header_refuse(p, -EINVAL,
                             "the name of its backing file is not in the first "
                             "cluster");
    }
    if (bytes > QCOW2_MAX_BACKING_NAME) {
        return header_refuse(p, -EINVAL,
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

/* -- All of it ----------------------------------------------------------- */

static int parse_all(struct header_parser *p)
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
    rc = rc ? rc : header_parse_extensions(p);
    rc = rc ? rc : header_check_features(p);
    rc = rc ? rc : parse_size(p);
    rc = rc ? rc : parse_tables(p);
    return rc;
}

int qcow2_header_parse(const uint8_t *buf, size_t n, const char *filename,
                       struct qcow2_header *ret, GError **err)
{
    struct header_parser p = {
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
