/* SPDX-License-Identifier: MIT */

#include "tool/open.h"

#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "base/error.h"
#include "base/options.h"
#include "block/driver.h"
#include "block/node.h"

#define SECTOR 512

/* What the name says that is options, or NULL. */
static struct options *parse_options(const struct tool_image *image,
                                     GError **err)
{
    g_autoptr(options) opts = options_new();
    g_autoptr(GError) why = NULL;

    if (image->image_opts && options_parse(opts, image->name, &why) < 0) {
        error_set(err, -EINVAL, "%s: %s", image->name, why->message);
        return NULL;
    }
    return g_steal_pointer(&opts);
}

struct node *co_fn tool_co_open(const struct tool_image *image, GError **err)
{
    struct options *opts = parse_options(image, err);

    if (!opts) {
        return NULL;
    }
    if (image->format) {
        options_set(opts, "driver", image->format);
    }
    if (image->options) {
        options_merge(opts, image->options);
    }
    return image->image_opts || !image->name
               ? node_co_open(opts, image->flags, err)
               : node_co_open_file(image->name, opts, image->flags, err);
}

struct options *tool_backing_options(const struct tool_image *image,
                                     GError **err)
{
    g_autoptr(options) opts = parse_options(image, err);

    if (opts && image->options) {
        options_merge(opts, image->options);
    }
    return opts ? options_take_child(opts, "backing") : NULL;
}

struct tool_image tool_backing_image(const char *name, const char *format,
                                     const struct options *own, unsigned flags)
{
    bool named =
        options_has_child(own, "file") || options_peek(own, "filename");

    return (struct tool_image){
        .name = named ? NULL : name,
        .format = format,
        .options = own,
        .flags = flags,
    };
}

int co_fn tool_co_close(struct node *node, GError **err)
{
    g_autofree char *name = NULL;
    int rc;

    if (!node) {
        return 0;
    }
    name = g_strdup(node_filename(node));
    rc = node_co_unref(node); /* yields */
    if (rc < 0) {
        error_set_errno(err, rc, "%s: its last data could not be written",
                        name);
    }
    return rc;
}

int tool_parse_cache(const char *name, unsigned *flags, bool *writethrough,
                     GError **err)
{
    static const struct {
        const char *name;
        unsigned flags;
        bool writethrough;
    } modes[] = {
        {"none", NODE_DIRECT, false},     {"writeback", 0, false},
        {"writethrough", 0, true},        {"directsync", NODE_DIRECT, true},
        {"unsafe", NODE_NO_FLUSH, false}, {"off", NODE_DIRECT, false},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
        if (strcmp(name, modes[i].name) == 0) {
            *flags &= ~(unsigned)(NODE_DIRECT | NODE_NO_FLUSH);
            *flags |= modes[i].flags;
            *writethrough = modes[i].writethrough;
            return 0;
        }
    }
    return error_set(err, -EINVAL,
                     "'%s' is no cache mode; use none, writeback, "
                     "writethrough, directsync or unsafe",
                     name);
}

int64_t tool_length(const struct node *node)
{
    return align_up(node_length(node), SECTOR);
}

struct node *tool_format_node(struct node *node)
{
    while ((node_driver(node)->traits & DRIVER_FILTER) && node_file(node) &&
           strcmp(node_driver(node)->name, "raw") != 0) {
        node = node_file(node);
    }
    return node;
}

int co_fn tool_co_read(struct node *node, int64_t offset, void *buf,
                       int64_t bytes)
{
    int64_t there = min_i64(bytes, max_i64(node_length(node) - offset, 0));
    int rc = node_co_pread(node, offset, buf, there); /* yields */

    memset((char *)buf + there, 0, (size_t)(bytes - there));
    return rc;
}

void tool_progress(const struct tool_watch *w, int64_t done, int64_t total)
{
    if (w && w->progress) {
        w->progress(w->opaque, done, total);
    }
}

bool tool_stopped(const struct tool_watch *w)
{
    return w && w->stop && w->stop(w->opaque);
}
