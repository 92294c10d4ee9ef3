/* SPDX-License-Identifier: MIT */
/*
 * The image is opened without its backing file.  What a write leaves of a
 * cluster that was not there then reads as zeroes, and hides what both backing
 * files have: only whole clusters, or all that is missing of one, are written.
 */
#include "tool/rebase.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/error.h"
#include "base/options.h"
#include "base/same_file.h"
#include "block/driver.h"
#include "block/image.h"
#include "block/node.h"
#include "tool/create.h"
#include "tool/extent.h"

#define CHUNK (2 * MiB) /* at least a cluster */

struct rebase {
    const struct rebase_request *rq;
    struct node *top; /* owned reference; opened without its backing file */
    struct image_info info;
    /* The backing files with all below them: old, new; NULL: there is none. */
    struct node *sides[2]; /* owned references */
    char *bufs[2];
    int64_t unit; /* what is written is a multiple of it */
};

/* -- Opening ------------------------------------------------------------- */

static const struct image_ops *ops_of(const struct rebase *r)
{
    return node_driver(extent_skip_filters(r->top))->image;
}

static int co_fn open_top(struct rebase *r, GError **err)
{
    struct tool_image image = r->rq->image;
    struct node *node;
    int rc = 0;

    image.flags |= NODE_RDWR | NODE_NO_BACKING | NODE_UNMAP;
    r->top = tool_co_open(&image, err); /* yields */
    if (!r->top) {
        return -EIO;
    }
    node = extent_skip_filters(r->top);
    if (!ops_of(r) || !ops_of(r)->co_change_backing) {
        return error_set(err, -ENOTSUP, "%s: %s images have no backing files",
                         image.name, node_driver(node)->name);
    }
    if (ops_of(r)->co_info) {
        rc = ops_of(r)->co_info(node, &r->info); /* yields */
    }
    r->unit = max_i64(r->info.cluster_size, 512);
    assert(CHUNK % r->unit == 0);
    return rc < 0
               ? error_set_errno(err, rc, "%s: cannot be described", image.name)
               : 0;
}

static int co_fn open_side(struct rebase *r, int i, const char *name,
                           const char *format, const struct options *own,
                           GError **err)
{
    const struct tool_image image =
        tool_backing_image(name, format, own, r->rq->source_flags);
    g_autoptr(GError) why = NULL;

    r->sides[i] = tool_co_open(&image, &why); /* yields */
    if (!r->sides[i]) {
        return error_set(err, -EIO,
                         "%s (the %s backing file; -u changes the name "
                         "without a look at it)",
                         why->message, i == 0 ? "old" : "new");
    }
    return 0;
}

static int co_fn open_sides(struct rebase *r, GError **err)
{
    const struct rebase_request *rq = r->rq;
    g_autoptr(options) old = tool_backing_options(&rq->image, err);
    g_autoptr(options) none = options_new();
    g_autofree char *path = NULL;
    int rc = old ? 0 : -EINVAL;

    if (rc == 0 && r->info.full_backing_filename) {
        rc = open_side(r, 0, r->info.full_backing_filename,
                       r->info.backing_format, old, err); /* yields */
    }
    if (rc == 0 && *rq->backing) {
        path = create_resolve(node_filename(r->top), rq->backing);
        if (same_file(path, node_filename(r->top))) {
            return error_set(err, -EINVAL, "%s: cannot be its own backing file",
                             node_filename(r->top));
        }
        rc = open_side(r, 1, path, rq->format, none, err); /* yields */
    }
    return rc;
}

/* -- What differs -------------------------------------------------------- */

static bool ends_before(const struct rebase *r, int i, int64_t offset)
{
    return !r->sides[i] || offset >= node_length(r->sides[i]);
}

/* What side @i has at @offset; behind its end zeroes. */
static int co_fn look(struct rebase *r, int i, int64_t offset, int64_t bytes,
                      struct extent *ret)
{
    struct node *side = r->sides[i];

    if (ends_before(r, i, offset)) {
        *ret = (struct extent){offset, bytes, .zero = true, .map = -1};
        return 0;
    }
    return extent_co_get(side, NULL, offset,
                         min_i64(bytes, node_length(side) - offset), ret);
}

/* Is it the same place of the same file, whoever points there? */
static bool same_place(const struct extent *a, const struct extent *b)
{
    return a->data && b->data && a->map >= 0 && a->map == b->map &&
           strcmp(node_filename(a->file), node_filename(b->file)) == 0;
}

static int co_fn read_side(struct rebase *r, int i, int64_t offset,
                           int64_t bytes)
{
    int64_t there = 0;
    int rc = 0;

    if (r->sides[i]) {
        there = node_length(r->sides[i]) - offset;
        there = max_i64(min_i64(there, bytes), 0);
    }
    if (there > 0) {
        rc = node_co_pread(r->sides[i], offset, r->bufs[i], there); /* yields */
    }
    memset(r->bufs[i] + there, 0, (size_t)(bytes - there));
    return rc;
}

/* Makes what @buf has, zeroes, those of the image.  Formats that cannot mark
 * them leave a hole where no backing file shows, as it seems to them here. */
static int co_fn write_zeroes(struct rebase *r, int64_t offset, const void *buf,
                              int64_t bytes)
{
    struct extent own;
    int rc = node_co_pwrite_zeroes(r->top, offset, bytes, REQ_MAY_UNMAP);

    if (rc == 0) {
        rc = extent_co_get(r->top, NULL, offset, bytes, &own); /* yields */
    }
    if (rc == 0 && !own.present) {
        rc = node_co_pwrite(r->top, offset, buf, bytes, 0); /* yields */
    }
    return rc;
}

/* Writes what the old side has; @behind: it ends before that.  Only whole
 * clusters can be compressed. */
static int co_fn write_old(struct rebase *r, int64_t offset, const void *buf,
                           int64_t bytes, bool behind)
{
    bool whole = is_aligned(offset, r->unit) &&
                 (bytes == r->unit || offset + bytes == node_length(r->top));
    unsigned flags = r->rq->compress && whole ? REQ_WRITE_COMPRESSED : 0;

    return behind ? write_zeroes(r, offset, buf, bytes)
                  : node_co_pwrite(r->top, offset, buf, bytes, flags);
}

/* Writes those clusters of the range to the image in which the sides differ.
 * @behind: the old one ends before. */
static int co_fn copy_differences(struct rebase *r, int64_t offset,
                                  int64_t bytes, bool behind)
{
    int rc = read_side(r, 0, offset, bytes); /* yields */

    if (rc == 0) {
        rc = read_side(r, 1, offset, bytes); /* yields */
    }
    for (int64_t at = 0; at < bytes && rc == 0;) {
        int64_t n = min_i64(r->unit - (offset + at) % r->unit, bytes - at);

        if (memcmp(r->bufs[0] + at, r->bufs[1] + at, (size_t)n) != 0) {
            rc = write_old(r, offset + at, r->bufs[0] + at, n, behind);
        }
        at += n;
    }
    return rc;
}

/* How much of the first @bytes of @room at @offset is to be done at once:
 * whole clusters, or all of one. */
static int64_t whole_clusters(const struct rebase *r, int64_t offset,
                              int64_t bytes, int64_t room)
{
    int64_t end = align_down(offset + bytes, r->unit);

    if (bytes == room || end > offset) {
        return bytes == room ? room : end - offset;
    }
    return min_i64(room, align_up(offset + bytes, r->unit) - offset);
}

/* One step at @offset; *@bytes is how far it went. */
static int co_fn step(struct rebase *r, int64_t offset, int64_t *bytes)
{
    struct extent own, e[2];
    int64_t alike;
    int rc = extent_co_get(r->top, NULL, offset, *bytes, &own); /* yields */

    if (rc < 0) {
        return rc;
    }
    *bytes = own.bytes;
    if (own.present) {
        return 0;
    }
    for (int i = 0; i < 2; i++) {
        rc = look(r, i, offset, *bytes, &e[i]); /* yields */
        if (rc < 0) {
            return rc;
        }
        *bytes = min_i64(*bytes, e[i].bytes);
    }
    alike = *bytes;
    *bytes = whole_clusters(r, offset, alike, own.bytes);
    if (*bytes <= alike &&
        ((e[0].zero && e[1].zero) || same_place(&e[0], &e[1]))) {
        return 0;
    }
    *bytes = min_i64(*bytes, CHUNK - offset % CHUNK);
    return copy_differences(r, offset, *bytes, ends_before(r, 0, offset));
}

static int co_fn make_equal(struct rebase *r, GError **err)
{
    int64_t length = node_length(r->top);
    int rc = 0;

    for (int i = 0; i < 2; i++) {
        r->bufs[i] = node_try_alloc(r->top, CHUNK);
        rc = r->bufs[i] ? rc : -ENOMEM;
    }
    for (int64_t at = 0; at < length && rc == 0;) {
        int64_t bytes = length - at;

        rc = tool_stopped(r->rq->watch) ? -ECANCELED : step(r, at, &bytes);
        if (rc == 0) {
            at += bytes;
            tool_progress(r->rq->watch, at, length);
        }
    }
    if (rc == 0) {
        /* It must not depend on the old one any more when the name changes. */
        rc = node_co_flush(r->top); /* yields */
    }
    free(r->bufs[0]);
    free(r->bufs[1]);
    return rc < 0 ? error_set_errno(err, rc,
                                    "%s: cannot take what only its old backing "
                                    "file has; it keeps that one",
                                    node_filename(r->top))
                  : 0;
}

/* -- All of it ----------------------------------------------------------- */

static int co_fn change_name(struct rebase *r, GError **err)
{
    const char *backing = r->rq->backing;
    GError *why = NULL;
    int rc = ops_of(r)->co_change_backing(
        extent_skip_filters(r->top), *backing ? backing : NULL,
        *backing ? r->rq->format : NULL, &why); /* yields */

    if (rc < 0 && !why) {
        error_set_errno(&why, rc, "%s: its backing file cannot be changed",
                        node_filename(r->top));
    }
    if (why) {
        g_propagate_error(err, why);
    }
    return rc;
}

static int check_format(const struct rebase_request *rq, GError **err)
{
    if (*rq->backing && !rq->format) {
        return error_set(err, -EINVAL,
                         "%s: the format of this backing file is not given; "
                         "add -F raw, -F qcow2, ...",
                         rq->backing);
    }
    if (rq->format && !driver_find(rq->format)) {
        return error_set(err, -EINVAL, "there is no format '%s'", rq->format);
    }
    return 0;
}

int co_fn rebase_co_run(const struct rebase_request *rq, GError **err)
{
    struct rebase r = {.rq = rq};
    GError *why = NULL;
    int rc = check_format(rq, err);

    if (rc == 0) {
        rc = open_top(&r, err); /* yields */
    }
    if (rc == 0 && !rq->unsafe) {
        rc = open_sides(&r, err); /* yields */
        if (rc == 0) {
            rc = make_equal(&r, err); /* yields */
        }
    }
    if (rc == 0) {
        rc = change_name(&r, err); /* yields */
    }
    for (int i = 0; i < 2; i++) {
        (void)node_co_unref(r.sides[i]); /* was only read; yields */
    }
    image_info_fini(&r.info);
    if (tool_co_close(r.top, &why) < 0 && rc == 0) { /* yields */
        g_propagate_error(err, g_steal_pointer(&why));
        rc = -EIO;
    }
    g_clear_error(&why);
    return rc;
}
