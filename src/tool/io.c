/* SPDX-License-Identifier: MIT */

#include "tool/io.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "base/align.h"
#include "base/error.h"
#include "base/options.h"
#include "block/driver.h"
#include "block/image.h"
#include "block/node.h"
#include "format/blkdebug.h"
#include "tool/create.h"
#include "tool/io_priv.h"

/* -- How an image is open ------------------------------------------------ */

static void how_clear(struct io_how *how)
{
    g_free((char *)how->image.name);
    g_free((char *)how->image.format);
    options_free((struct options *)how->image.options);
}

/* A copy that owns its strings and options; those are never NULL. */
static struct io_how how_copy(const struct io_how *how)
{
    struct io_how copy = *how;
    const struct options *given = how->image.options;

    copy.image.name = g_strdup(how->image.name);
    copy.image.format = g_strdup(how->image.format);
    copy.image.options = given ? options_clone(given) : options_new();
    return copy;
}

/* -- Opening ------------------------------------------------------------- */

/* Makes an empty qcow2 image of @bytes in a new file.  NULL and *@err, or the
 * file's name. */
static char *co_fn make_overlay(int64_t bytes, GError **err)
{
    char *name = NULL;
    g_autofree char *size = g_strdup_printf("size=%" G_GINT64_FORMAT, bytes);
    struct create_request rq = {
        .format = "qcow2",
        .options = size,
        .bytes = -1,
    };
    struct create_plan plan;
    int fd = g_file_open_tmp("coblk-XXXXXX", &name, err);
    int rc;

    if (fd < 0) {
        return NULL;
    }
    (void)close(fd);
    rq.filename = name;
    rc = create_co_plan(&rq, &plan, err); /* yields */
    if (rc == 0) {
        rc = create_co_run(&plan, err); /* yields */
        create_plan_fini(&plan);
    }
    if (rc < 0) {
        (void)g_unlink(name);
        g_clear_pointer(&name, g_free);
    }
    return name;
}

/* Puts a temporary overlay on @base, whose reference it takes. */
static struct node *co_fn open_snapshot(struct node *base, GError **err)
{
    char *name = make_overlay(tool_length(base), err); /* yields */
    struct options *opts = options_new();
    struct node *node = NULL;

    if (name) {
        options_set(opts, "driver", "qcow2");
        node = node_co_open_file(name, opts,
                                 NODE_RDWR | NODE_UNMAP | NODE_NO_FLUSH |
                                     NODE_NO_BACKING,
                                 err); /* yields */
        (void)g_unlink(name);
        g_free(name);
    } else {
        options_free(opts);
    }
    if (node) {
        node_co_set_child(node, "backing", base); /* yields */
    }
    (void)node_co_unref(base); /* read-only: nothing to lose; yields */
    return node;
}

static struct node *co_fn open_root(const struct io_how *how, GError **err)
{
    struct tool_image image = how->image;
    struct node *node;

    if (how->snapshot) {
        image.flags &= ~(unsigned)NODE_RDWR;
    }
    node = tool_co_open(&image, err); /* yields */
    if (node && how->snapshot) {
        node = open_snapshot(node, err); /* yields */
    }
    if (node && how->copy_on_read) {
        node = node_co_open_above("copy-on-read", node, NULL, err);
    }
    return node;
}

/* Consumes @how. */
static struct io_image *co_fn io_open(struct io_how how, GError **err)
{
    struct io_image *image = g_new0(struct io_image, 1);
    struct node *root = open_root(&how, err); /* yields */
    unsigned flags = how.writethrough ? BACKEND_WRITETHROUGH : 0;

    image->how = how;
    if (root) {
        flags |= node_is_rdonly(root) ? BACKEND_RDONLY : 0;
        image->rdonly = node_is_rdonly(root);
        (void)!backend_new(root, flags, &image->be); /* the flags are right */
        (void)node_co_unref(root); /* the backend has its own */
    }
    if (!image->be) {
        how_clear(&image->how);
        g_clear_pointer(&image, g_free);
    }
    return image;
}

struct io_image *co_fn io_co_open(const struct io_how *how, GError **err)
{
    return io_open(how_copy(how), err); /* yields */
}

/* -- Closing and opening anew -------------------------------------------- */

/* What the image whose node is @root, or one that filters hide, has not on
 * disk after a failed flush. */
static GPtrArray *co_fn unwritten(struct node *root)
{
    GPtrArray *ret = g_ptr_array_new();
    const struct image_ops *ops;

    while (node_driver(root)->traits & DRIVER_FILTER) {
        root = node_file(root);
    }
    ops = node_driver(root)->image;
    if (ops && ops->co_unwritten) {
        ops->co_unwritten(root, ret); /* yields */
    }
    return ret;
}

/* One line for each. */
static void tell_unwritten(const char *name, int rc, const GPtrArray *parts,
                           GError **err)
{
    g_autoptr(GString) text = g_string_new(NULL);

    for (guint i = 0; i < parts->len; i++) {
        g_string_append_printf(text, "%s%s: cannot write its %s: %s",
                               i > 0 ? "\n" : "", name,
                               (const char *)parts->pdata[i], g_strerror(-rc));
    }
    if (parts->len > 0) {
        error_set(err, rc, "%s", text->str);
    } else {
        error_set_errno(err, rc, "%s: not all that was written is on disk",
                        name);
    }
}

int co_fn io_co_close(struct io_image *image, GError **err)
{
    g_autofree char *name = g_strdup(node_filename(io_root(image)));
    g_autoptr(GPtrArray) parts = NULL;
    int rc, free_rc;

    blkdebug_release(io_root(image));
    io_co_wait(image);                  /* yields */
    rc = node_co_flush(io_root(image)); /* yields */
    parts = rc < 0 ? unwritten(io_root(image)) : g_ptr_array_new();
    free_rc = backend_co_free(image->be); /* yields */
    rc = rc ? rc : free_rc;
    how_clear(&image->how);
    g_free(image);
    if (rc < 0) {
        tell_unwritten(name, rc, parts, err);
    }
    return rc;
}

/* The node that an option like "file.driver" is about, or NULL. */
static struct node *option_node(struct node *node, char **path)
{
    while (node && path[1]) {
        node = node_child(node, *path++);
    }
    return node;
}

/* Is @key=@value a change that no open image can make?  Which driver a node
 * has, and which file it opens, are not to be changed. */
static bool is_fixed(struct node *root, const char *key, const char *value)
{
    g_auto(GStrv) path = g_strsplit(key, ".", -1);
    const char *last = path[g_strv_length(path) - 1];
    const struct node *node = option_node(root, path);

    if (strcmp(last, "driver") == 0) {
        return !node || strcmp(value, node_driver(node)->name) != 0;
    }
    if (strcmp(last, "filename") == 0) {
        return !node || strcmp(value, node_filename(node)) != 0;
    }
    return false;
}

/* Nodes have no names here; those that options gave are to stay. */
static bool is_renamed(const struct io_image *image, const char *key,
                       const char *value)
{
    const char *now = options_peek(image->how.image.options, key);

    return (g_str_has_suffix(key, ".node-name") ||
            strcmp(key, "node-name") == 0) &&
           (!now || strcmp(now, value) != 0);
}

struct check_added {
    const struct io_image *image;
    const char *wrong; /* a key, or NULL */
};

static void check_option(void *opaque, const char *key, const char *value)
{
    struct check_added *check = opaque;

    if (is_fixed(io_root(check->image), key, value) ||
        is_renamed(check->image, key, value)) {
        check->wrong = key;
    }
}

static int check_added(const struct io_image *image,
                       const struct options *added, GError **err)
{
    struct check_added check = {.image = image};

    options_foreach(added, check_option, &check);
    if (!check.wrong) {
        return 0;
    }
    return error_set(err, -EINVAL,
                     "option '%s' cannot be changed; close the image and open "
                     "another one",
                     check.wrong);
}

/* Options of which one that is given anew replaces all that were given before:
 * the old ones and the new one need not go together. */
static const char *const groups[][4] = {
    {"cache-size", "l2-cache-size", "refcount-cache-size", NULL},
    {"overlap-check", "overlap-check.template", NULL},
};

static void drop_replaced(struct options *given, const struct options *added)
{
    for (size_t i = 0; i < G_N_ELEMENTS(groups); i++) {
        bool any = false;

        for (int k = 0; groups[i][k]; k++) {
            any = any || options_peek(added, groups[i][k]);
        }
        for (int k = 0; any && groups[i][k]; k++) {
            g_free(options_take(given, groups[i][k]));
        }
    }
}

/* Changes @how as @change says. */
static int how_change(struct io_how *how, const struct io_change *change,
                      GError **err)
{
    struct options *given = (struct options *)how->image.options;

    if (change->rdwr >= 0) {
        g_free(options_take(given, "read-only"));
        how->image.flags &= ~(unsigned)NODE_RDWR;
        how->image.flags |= change->rdwr ? NODE_RDWR : 0;
    }
    if (change->cache) {
        g_free(options_take(given, "cache.direct"));
        g_free(options_take(given, "cache.no-flush"));
        if (tool_parse_cache(change->cache, &how->image.flags,
                             &how->writethrough, err) < 0) {
            return -EINVAL;
        }
    }
    drop_replaced(given, change->added);
    options_merge(given, change->added);
    return 0;
}

int co_fn io_co_reopen(struct io_image **image, const struct io_change *change,
                       GError **err)
{
    struct io_how now = how_copy(&(*image)->how);
    struct io_how next = how_copy(&now);
    GError *why = NULL;
    int rc = check_added(*image, change->added, err);

    rc = rc ? rc : how_change(&next, change, err);

    if (rc < 0) {
        how_clear(&now);
        how_clear(&next);
        return rc;
    }
    rc = io_co_close(*image, err); /* yields */
    *image = NULL;
    if (rc < 0) {
        how_clear(&now);
        how_clear(&next);
        return rc;
    }
    *image = io_open(next, &why); /* yields */
    if (*image) {
        how_clear(&now);
        return 0;
    }
    rc = -why->code;
    g_propagate_error(err, why);
    *image = io_open(now, NULL); /* yields */
    return rc;
}

/* -- What it is ---------------------------------------------------------- */

struct node *io_root(const struct io_image *image)
{
    return backend_root(image->be);
}

int64_t io_length(const struct io_image *image)
{
    return tool_length(io_root(image));
}

bool io_is_rdonly(const struct io_image *image)
{
    return image->rdonly;
}

int co_fn io_co_allocated(struct io_image *image, int64_t offset, int64_t bytes,
                          bool *allocated, int64_t *run)
{
    struct block_status st;
    int rc = node_co_block_status(io_root(image), false, offset, bytes, &st);

    if (rc < 0) {
        return rc;
    }
    *allocated = (st.flags & BLOCK_ALLOCATED) != 0;
    *run = st.bytes;
    if (st.bytes == 0 && offset < io_length(image)) {
        *allocated = true; /* what fills the last sector */
        *run = min_i64(bytes, io_length(image) - offset);
    }
    return 0;
}

int co_fn io_co_truncate(struct io_image *image, int64_t length,
                         enum prealloc_mode prealloc, GError **err)
{
    return backend_co_truncate(image->be, length, prealloc, err);
}
