/* SPDX-License-Identifier: MIT */
/*
 * raw: the bytes of the file below, all of them or a window.
 *
 *   offset=BYTES  where the window begins (default: 0)
 *   size=BYTES    how long it is (default: to the end of the file)
 *
 * When the format was found by probing, nothing may be written that makes the
 * file look like an image of another format: whoever opens it next would take
 * it for one, and such an image can name other files of the host.  Writes to
 * the beginning of the file are checked against that, one at a time, and fail
 * with -EPERM.
 */
#include "format/raw.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/error.h"
#include "block/driver.h"
#include "block/image.h"
#include "block/node.h"
#include "loop/sync.h"

struct raw {
    int64_t offset;
    bool fixed_size; /* size= was given */

    /* Only when the format was probed: held from looking at the beginning of
     * the file until the write to it is done. */
    struct co_mutex head_lock;
};

/* Any file can be raw, but whoever knows better goes first. */
static int raw_probe(const uint8_t *head, size_t n, const char *filename)
{
    return 1;
}

static int raw_set_window(struct node *node, int64_t offset, int64_t size,
                          GError **err)
{
    struct raw *r = node_state(node);
    int64_t length = node_length(node_file(node));

    if (offset > length) {
        return error_set(err, -EINVAL,
                         "%s: offset=%" PRId64
                         " is past its end; it has %" PRId64 " bytes",
                         node_filename(node), offset, length);
    }
    /* NOLINTNEXTLINE(readability-suspicious-call-argument): names differ */
    if (size >= 0 && !range_ok(offset, size, length)) {
        return error_set(err, -EINVAL,
                         "%s: size=%" PRId64 " does not fit; there are %" PRId64
                         " bytes from offset=%" PRId64 " on",
                         node_filename(node), size, length - offset, offset);
    }
    r->offset = offset;
    r->fixed_size = size >= 0;
    node_set_length(node, size >= 0 ? size : length - offset);
    return 0;
}

static int co_fn raw_co_open(struct node *node, struct options *opts,
                             GError **err)
{
    struct raw *r = node_state(node);
    int64_t offset = 0, size = -1;
    int rc;

    if (options_take_size(opts, "offset", &offset, err) < 0 ||
        options_take_size(opts, "size", &size, err) < 0) {
        return -EINVAL;
    }
    rc = node_co_open_child(node, "file", opts, node_flags(node), err);
    if (rc == 0) {
        rc = raw_set_window(node, offset, size, err);
    }
    if (rc == 0) {
        co_mutex_init(&r->head_lock);
    }
    return rc;
}

static void co_fn raw_co_close(struct node *node)
{
    struct raw *r = node_state(node);

    co_mutex_fini(&r->head_lock);
}

static int co_fn raw_co_preadv(struct node *node, int64_t offset,
                               const struct iovs *dst)
{
    const struct raw *r = node_state(node);

    node_event(node_file(node), EVENT_READ_AIO); /* yields */
    return node_co_preadv(node_file(node), r->offset + offset, dst, 0);
}

/* -- Writes -------------------------------------------------------------- */

/* Would the beginning of the file, @n bytes of @head, still be raw? */
static bool raw_head_is_raw(struct node *node, const uint8_t *head, size_t n)
{
    return driver_probe(head, n, node_filename(node)) == node_driver(node) &&
           !driver_foreign_format(head, n);
}

/* May @src (NULL: zeroes) be written to the file at @pos, near its beginning?
 * 0, -EPERM, or the error of reading what is there. */
static int co_fn raw_check_head(struct node *node, int64_t pos,
                                const struct iovs *src, int64_t bytes)
{
    struct node *file = node_file(node);
    int64_t n = min_i64(node_length(file), BLOCK_PROBE_BYTES);
    uint8_t *head = malloc((size_t)n);
    int rc;

    if (!head) {
        return -ENOMEM;
    }
    rc = node_co_pread(file, 0, head, n); /* yields */
    if (rc == 0) {
        bytes = min_i64(bytes, n - pos);
        if (src) {
            iovs_to_buf(src, 0, head + pos, bytes);
        } else {
            memset(head + pos, 0, (size_t)bytes);
        }
        rc = raw_head_is_raw(node, head, (size_t)n) ? 0 : -EPERM;
    }
    free(head);
    return rc;
}

/* Does a write to the file at @pos have to be checked? */
static bool raw_guards(const struct node *node, int64_t pos)
{
    return node_probed_raw(node) && pos < BLOCK_PROBE_BYTES;
}

static int co_fn raw_co_pwritev(struct node *node, int64_t offset,
                                const struct iovs *src, unsigned flags)
{
    struct raw *r = node_state(node);
    int64_t pos = r->offset + offset;
    int rc;

    node_event(node_file(node), EVENT_WRITE_AIO); /* yields */
    if (likely(!raw_guards(node, pos))) {
        return node_co_pwritev(node_file(node), pos, src, flags);
    }
    co_mutex_lock(&r->head_lock); /* yields */
    rc = raw_check_head(node, pos, src, src->bytes);
    if (rc == 0) {
        rc = node_co_pwritev(node_file(node), pos, src, flags); /* yields */
    }
    co_mutex_unlock(&r->head_lock);
    return rc;
}

static int co_fn raw_co_pwrite_zeroes(struct node *node, int64_t offset,
                                      int64_t bytes, unsigned flags)
{
    struct raw *r = node_state(node);
    int64_t pos = r->offset + offset;
    int rc;

    if (likely(!raw_guards(node, pos))) {
        return node_co_pwrite_zeroes(node_file(node), pos, bytes, flags);
    }
    co_mutex_lock(&r->head_lock); /* yields */
    rc = raw_check_head(node, pos, NULL, bytes);
    if (rc == 0) {
        rc = node_co_pwrite_zeroes(node_file(node), pos, bytes, flags);
    }
    co_mutex_unlock(&r->head_lock);
    return rc;
}

static int co_fn raw_co_pdiscard(struct node *node, int64_t offset,
                                 int64_t bytes)
{
    const struct raw *r = node_state(node);
    int64_t skip = raw_guards(node, r->offset + offset)
                       ? BLOCK_PROBE_BYTES - (r->offset + offset)
                       : 0;

    /* A hint: rather than look whether it may, leave the beginning alone. */
    if (skip >= bytes) {
        return 0;
    }
    return node_co_pdiscard(node_file(node), r->offset + offset + skip,
                            bytes - skip);
}

static int co_fn raw_co_allocate(struct node *node, int64_t offset,
                                 int64_t bytes)
{
    const struct raw *r = node_state(node);

    return node_co_allocate(node_file(node), r->offset + offset, bytes);
}

static int co_fn raw_co_copy_range(struct node *src, int64_t src_offset,
                                   struct node *dst, int64_t dst_offset,
                                   int64_t bytes, unsigned flags)
{
    const struct raw *from = node_state(src);
    const struct raw *to = node_state(dst);

    if (raw_guards(dst, to->offset + dst_offset)) {
        return -EOPNOTSUPP; /* the data must be seen to be checked */
    }
    return node_co_copy_range(node_file(src), from->offset + src_offset,
                              node_file(dst), to->offset + dst_offset, bytes,
                              flags);
}

/* -- The rest ------------------------------------------------------------ */

static int co_fn raw_co_block_status(struct node *node, bool precise,
                                     int64_t offset, int64_t bytes,
                                     struct block_status *ret)
{
    const struct raw *r = node_state(node);

    *ret = (struct block_status){
        .flags = BLOCK_RAW | BLOCK_OFFSET_VALID,
        .bytes = bytes,
        .map = r->offset + offset,
        .file = node_file(node),
    };
    return 0;
}

static int co_fn raw_co_truncate(struct node *node, int64_t length,
                                 enum prealloc_mode prealloc, unsigned flags,
                                 GError **err)
{
    const struct raw *r = node_state(node);
    int rc;

    if (r->fixed_size) {
        return error_set(err, -EOPNOTSUPP,
                         "%s: cannot be resized while size= is given",
                         node_filename(node));
    }
    if (length > BLOCK_MAX_LENGTH - r->offset) {
        return error_set(err, -EFBIG, "%s: %" PRId64 " bytes is too large",
                         node_filename(node), length);
    }
    rc = node_co_truncate(node_file(node), r->offset + length, prealloc, flags,
                          err); /* yields */
    if (rc == 0) {
        node_set_length(node, length);
    }
    return rc;
}

/* -- Images as a whole --------------------------------------------------- */

static int co_fn raw_co_measure(struct options *opts, int64_t bytes,
                                struct node *src, struct image_measure *ret,
                                GError **err)
{
    static const char *const own[] = {"preallocation", "extent_size_hint",
                                      "nocow"};

    for (size_t i = 0; i < G_N_ELEMENTS(own); i++) {
        g_free(options_take(opts, own[i])); /* none changes the size */
    }
    *ret = (struct image_measure){
        .required = bytes,
        .fully_allocated = bytes,
        .bitmaps = -1,
    };
    return 0;
}

static int co_fn raw_co_info(struct node *node, struct image_info *ret)
{
    *ret = (struct image_info){.cluster_size = 0};
    return 0;
}

static const struct image_ops raw_image_ops = {
    .options = image_file_options,
    .co_create = node_co_create_file,
    .co_measure = raw_co_measure,
    .co_info = raw_co_info,
};

static void raw_describe(struct node *node,
                         void (*add)(void *opaque, const char *key,
                                     const char *value),
                         void *opaque)
{
    const struct raw *r = node_state(node);
    g_autofree char *offset = g_strdup_printf("%" PRId64, r->offset);
    g_autofree char *size = g_strdup_printf("%" PRId64, node_length(node));

    if (r->offset > 0) {
        add(opaque, "offset", offset);
    }
    if (r->fixed_size) {
        add(opaque, "size", size);
    }
}

const struct driver driver_raw = {
    .name = "raw",
    .image = &raw_image_ops,
    .state_size = sizeof(struct raw),
    .traits = DRIVER_FILTER,
    .write_flags = REQ_FUA | REQ_WRITE_UNCHANGED,
    .zeroes_flags = REQ_FUA | REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .probe = raw_probe,
    .co_open = raw_co_open,
    .co_close = raw_co_close,
    .co_preadv = raw_co_preadv,
    .co_pwritev = raw_co_pwritev,
    .co_pwrite_zeroes = raw_co_pwrite_zeroes,
    .co_pdiscard = raw_co_pdiscard,
    .co_allocate = raw_co_allocate,
    .co_block_status = raw_co_block_status,
    .co_truncate = raw_co_truncate,
    .co_copy_range = raw_co_copy_range,
    .describe = raw_describe,
};
