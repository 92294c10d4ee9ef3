/* SPDX-License-Identifier: MIT */
/*
 * header_extensions: parses what stands between the fields of the header and
 * the name of the backing file.
 */
#include <errno.h>
#include <inttypes.h>

#include "base/endian.h"
#include "block/block.h"
#include "format/qcow2/header_priv.h"

/* The longest entry of the bitmap directory. */
#define MAX_BITMAP_ENTRY UINT64_C(1056)

static int parse_string(const struct header_parser *p, const char *what,
                        const uint8_t *data, uint32_t bytes, char **ret)
{
    if (bytes > QCOW2_MAX_BACKING_NAME) {
        return header_refuse(p, -EINVAL,
                             "%s has %" PRIu32 " bytes; %d are possible", what,
                             bytes, QCOW2_MAX_BACKING_NAME);
    }
    g_free(*ret); /* the last one counts */
    *ret = g_strndup((const char *)data, bytes);
    return 0;
}

static int parse_bitmaps(const struct header_parser *p, const uint8_t *data,
                         uint32_t bytes)
{
    struct qcow2_header *h = p->h;
    uint64_t directory_bytes;
    int rc;

    if (bytes != BITMAPS_BYTES || load_be32(data + 4) != 0 ||
        load_be32(data) == 0) {
        return header_refuse(p, -EINVAL, "its bitmaps extension is malformed");
    }
    h->bitmaps.n = load_be32(data);
    directory_bytes = load_be64(data + 8);
    if (h->bitmaps.n > QCOW2_MAX_BITMAPS ||
        directory_bytes > QCOW2_MAX_BITMAPS * MAX_BITMAP_ENTRY) {
        return header_refuse(p, -EFBIG,
                             "has %" PRIu32 " bitmaps; %d are possible",
                             h->bitmaps.n, QCOW2_MAX_BITMAPS);
    }
    h->bitmaps.directory_bytes = (int64_t)directory_bytes;
    rc = header_check_table(p, "bitmap directory", load_be64(data + 16),
                            h->bitmaps.directory_bytes);
    h->bitmaps.directory_offset = rc < 0 ? 0 : (int64_t)load_be64(data + 16);
    return rc;
}

static int parse_crypt_header(const struct header_parser *p,
                              const uint8_t *data, uint32_t bytes)
{
    uint64_t length;
    int rc;

    if (p->h->crypt != QCOW2_CRYPT_LUKS || bytes < CRYPT_BYTES) {
        return header_refuse(p, -EINVAL,
                             "its encryption header does not belong");
    }
    length = load_be64(data + 8);
    if (length > QCOW2_MAX_CRYPT_BYTES) {
        return header_refuse(
            p, -EFBIG,
            "its encryption header of %" PRIu64 " bytes is too large", length);
    }
    rc = header_check_table(p, "encryption header", load_be64(data),
                            (int64_t)length);
    if (rc == 0) {
        p->h->crypt_header.offset = (int64_t)load_be64(data);
        p->h->crypt_header.bytes = (int64_t)length;
    }
    return rc;
}

/* Keeps an extension we do not know as it is. */
static void keep_extension(const struct header_parser *p, const uint8_t *ext,
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

static int parse_extension(struct header_parser *p, const uint8_t *ext,
                           uint32_t type, uint32_t bytes)
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

int header_parse_extensions(struct header_parser *p)
{
    size_t pos = p->fields_end;
    size_t end = p->extensions_end;

    while (pos + EXT_HEAD_BYTES <= end) {
        uint32_t type = load_be32(p->buf + pos);
        uint32_t bytes = load_be32(p->buf + pos + 4);
        bool fits = bytes <= end - pos - EXT_HEAD_BYTES;
        int rc;

        if (type == EXT_END) {
            p->h->long_end = !fits;
            break;
        }
        if (!fits) {
            return header_refuse(p, -EINVAL,
                                 "its header extension 0x%08" PRIx32
                                 " is longer than the header",
                                 type);
        }
        rc = parse_extension(p, p->buf + pos, type, bytes);
        if (rc < 0) {
            return rc;
        }
        pos += EXT_HEAD_BYTES + ext_padded(bytes);
    }
    if (pos < end && pos + EXT_HEAD_BYTES > end) {
        return header_refuse(p, -EINVAL,
                             "the name of its backing file lies in a header "
                             "extension");
    }
    return 0;
}
