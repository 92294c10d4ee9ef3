/* SPDX-License-Identifier: MIT */
/*
 * bitmaps: what there is to tell of persistent bitmaps.
 *
 * They are not used here.  An image that is only read keeps them; the first
 * write takes the autoclear bit away, as the format asks of programs that do
 * not keep them, and then they count as not there.
 *
 * An entry of their directory is of no fixed length:
 *
 *    0  8  offset of the bitmap's table    17  1  log2 of the granularity
 *    8  4  entries of that                 18  2  bytes of the name
 *   12  4  flags                           20  4  bytes of extra data
 *   16  1  type                            24     extra data, name
 *
 * and begins at a multiple of 8.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "format/qcow2/qcow2.h"

#define ENTRY_BYTES          24
#define TYPE_DIRTY_TRACKING  1
#define MAX_GRANULARITY_BITS 31
#define MAX_NAME_BYTES       1023

enum {
    FLAG_IN_USE = 1 << 0, /* was not closed: not consistent */
    FLAG_AUTO = 1 << 1,   /* records writes as soon as the image is opened */
};

/* The length of the entry at @p, of which there are @left bytes; 0 when it is
 * none. */
static int64_t entry_length(const uint8_t *p, int64_t left)
{
    int64_t name, bytes;

    if (left < ENTRY_BYTES) {
        return 0;
    }
    name = load_be16(p + 18);
    bytes = ENTRY_BYTES + (int64_t)load_be32(p + 20) + name;
    if (bytes > left || name == 0 || name > MAX_NAME_BYTES ||
        p[16] != TYPE_DIRTY_TRACKING || p[17] > MAX_GRANULARITY_BITS) {
        return 0;
    }
    return min_i64(align_up(bytes, 8), left);
}

static void describe(const uint8_t *p, struct json *out)
{
    uint32_t flags = load_be32(p + 12);
    const char *at = (const char *)p + ENTRY_BYTES + load_be32(p + 20);
    g_autofree char *name = g_strndup(at, load_be16(p + 18));

    json_object_begin(out, NULL);
    json_array_begin(out, "flags");
    if (flags & FLAG_IN_USE) {
        json_string(out, NULL, "in-use");
    }
    if (flags & FLAG_AUTO) {
        json_string(out, NULL, "auto");
    }
    json_array_end(out);
    json_string(out, "name", name);
    json_int(out, "granularity", INT64_C(1) << p[17]);
    json_object_end(out);
}

/* All entries must be there before any is described. */
static bool is_directory(const uint8_t *dir, int64_t bytes, uint32_t n)
{
    int64_t pos = 0, step;

    for (uint32_t i = 0; i < n; i++) {
        step = entry_length(dir + pos, bytes - pos);
        if (step == 0) {
            return false;
        }
        pos += step;
    }
    return true;
}

static void describe_all(const uint8_t *dir, int64_t bytes, uint32_t n,
                         struct json *out)
{
    int64_t pos = 0;

    json_array_begin(out, "bitmaps");
    for (uint32_t i = 0; i < n; i++) {
        describe(dir + pos, out);
        pos += entry_length(dir + pos, bytes - pos);
    }
    json_array_end(out);
}

int co_fn qcow2_co_bitmaps_json(struct qcow2 *s, struct json *out, GError **err)
{
    const struct qcow2_header *h = &s->header;
    const char *filename = node_filename(s->node);
    int64_t bytes = h->bitmaps.directory_bytes;
    int64_t length = node_length(s->file);
    uint8_t *dir = NULL;
    int rc = 0;

    if (h->bitmaps.n == 0 || !(h->autoclear & QCOW2_BITMAPS)) {
        return 0;
    }
    if (bytes > 0 && h->bitmaps.directory_offset <= length - bytes) {
        dir = g_try_malloc((gsize)bytes);
        rc = dir ? qcow2_co_read_table(s, h->bitmaps.directory_offset, dir,
                                       bytes)
                 : -ENOMEM; /* yields */
    }
    if (rc < 0) {
        error_set_errno(err, rc, "%s: cannot read its bitmaps", filename);
    } else if (dir && is_directory(dir, bytes, h->bitmaps.n)) {
        describe_all(dir, bytes, h->bitmaps.n, out);
    } else {
        rc = error_set(err, -EINVAL,
                       "%s: the directory of its bitmaps is damaged; the disk "
                       "can be read: convert it",
                       filename);
    }
    g_free(dir);
    return rc;
}
