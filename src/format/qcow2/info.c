/* SPDX-License-Identifier: MIT */
/*
 * info: what there is to tell of an image.
 */
#include <stdatomic.h>

#include "base/json.h"
#include "format/qcow2/bitmaps.h"
#include "format/qcow2/crypt.h"
#include "format/qcow2/ops.h"
#include "format/qcow2/qcow2.h"

/* Marked so, or found to be since. */
static bool is_corrupt(const struct qcow2 *s)
{
    return (s->header.incompatible & QCOW2_CORRUPT) || atomic_load(&s->damaged);
}

int co_fn qcow2_co_info(struct node *node, struct image_info *ret)
{
    struct qcow2 *s = qcow2_of(node);
    const struct qcow2_header *h = &s->header;

    *ret = (struct image_info){
        .cluster_size = s->cluster_size,
        .dirty = (h->incompatible & QCOW2_DIRTY) != 0,
        .corrupt = is_corrupt(s),
        .vm_state_offset = s->vm_state_at,
        .encrypted = s->encrypted,
        .backing_filename = g_strdup(h->backing_name),
        .backing_format = g_strdup(h->backing_format),
    };
    ret->json_filename = qcow2_crypt_filename(s);
    if (h->backing_name) {
        ret->full_backing_filename =
            qcow2_resolve_name(node_filename(node), h->backing_name);
    }
    return 0;
}

int co_fn qcow2_co_info_json(struct node *node, struct json *out, GError **err)
{
    struct qcow2 *s = qcow2_of(node);
    const struct qcow2_header *h = &s->header;
    int rc;

    json_string(out, "compat", h->version == 2 ? "0.10" : "1.1");
    json_string(out, "compression-type",
                h->compression == QCOW2_ZSTD ? "zstd" : "zlib");
    if (h->version >= 3) {
        json_bool(out, "lazy-refcounts",
                  (h->compatible & QCOW2_LAZY_REFCOUNTS) != 0);
    }
    rc = qcow2_co_bitmaps_json(s, out, err); /* yields */
    json_int(out, "refcount-bits", INT64_C(1) << h->refcount_order);
    if (s->external) {
        if (h->data_file) {
            json_string(out, "data-file", h->data_file);
        }
        json_bool(out, "data-file-raw", s->data_raw);
    }
    qcow2_crypt_json(s, out);
    if (h->version >= 3) {
        json_bool(out, "corrupt", is_corrupt(s));
        json_bool(out, "extended-l2",
                  (h->incompatible & QCOW2_EXTENDED_L2) != 0);
    }
    return rc;
}
