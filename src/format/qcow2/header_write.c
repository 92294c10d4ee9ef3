/* SPDX-License-Identifier: MIT */
/*
 * header_write: from a struct qcow2_header to the first cluster of an image.
 */
#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "format/qcow2/header_priv.h"

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
    uint8_t *ext = writer_take(w, EXT_HEAD_BYTES + ext_padded(bytes));

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
    uint8_t *data =
        writer_extension(w, EXT_FEATURES, header_feature_table_bytes());

    if (data) {
        header_store_feature_table(data);
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
