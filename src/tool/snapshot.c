/* SPDX-License-Identifier: MIT */

#include "tool/snapshot.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/options.h"
#include "block/driver.h"
#include "block/image.h"
#include "block/node.h"
#include "tool/extent.h"
#include "tool/info.h"

/* The first snapshot with this id and this name (NULL: any), or NULL. */
static const struct image_snapshot *find(const GArray *all, const char *id,
                                         const char *name)
{
    for (guint i = 0; all && i < all->len; i++) {
        const struct image_snapshot *s =
            &g_array_index(all, struct image_snapshot, i);

        if ((!id || strcmp(s->id, id) == 0) &&
            (!name || strcmp(s->name, name) == 0)) {
            return s;
        }
    }
    return NULL;
}

static int refuse_format(const struct node *node, const struct node *image,
                         GError **err)
{
    return error_set(err, -ENOTSUP,
                     "%s: %s images have no snapshots; convert it to qcow2",
                     node_filename(node), node_driver(image)->name);
}

/* The id of the snapshot that the options @text mean, or NULL and *@err. */
static char *co_fn resolve(struct node *image, const char *text, GError **err)
{
    g_autoptr(options) opts = options_new();
    g_autofree char *id = NULL;
    g_autofree char *name = NULL;
    const struct image_snapshot *s;
    GArray *all = NULL;
    char *found = NULL;

    if (options_parse(opts, text, err) < 0) {
        return NULL;
    }
    id = options_take(opts, "snapshot.id");
    name = options_take(opts, "snapshot.name");
    if (options_leftover(opts)) {
        error_set(err, -EINVAL,
                  "'%s' does not say which snapshot; write snapshot.id=ID or "
                  "snapshot.name=NAME",
                  text);
        return NULL;
    }
    if (info_co_snapshots(image, &all, err) < 0) { /* yields */
        return NULL;
    }
    s = find(all, id, name);
    if (s) {
        found = g_strdup(s->id);
    } else {
        error_set(err, -ENOENT,
                  "%s: has no snapshot with %s; 'snapshot -l' lists them",
                  node_filename(image), text);
    }
    if (all) {
        g_array_unref(all);
    }
    return found;
}

int co_fn snapshot_co_load(struct node *node, const char *what, GError **err)
{
    struct node *image = extent_skip_filters(node);
    const struct image_ops *ops = node_driver(image)->image;
    g_autofree char *id = NULL;

    if (!ops || !ops->co_snapshot_load) {
        return refuse_format(node, image, err);
    }
    if (g_str_has_prefix(what, "snapshot.")) {
        id = resolve(image, what, err); /* yields */
        if (!id) {
            return -ENOENT;
        }
    }
    return ops->co_snapshot_load(image, id ? id : what, err); /* yields */
}

static int refuse_name(const struct node *image, const GArray *all,
                       const char *name, GError **err)
{
    const struct image_snapshot *other = find(all, name, NULL);

    if (other) {
        return error_set(err, -ENOENT,
                         "%s: has no snapshot of the name '%s'; the one with "
                         "that id is '%s', delete it by its name",
                         node_filename(image), name, other->name);
    }
    return error_set(err, -ENOENT,
                     "%s: has no snapshot '%s'; 'snapshot -l' lists them",
                     node_filename(image), name);
}

int co_fn snapshot_co_delete(struct node *node, const char *name, GError **err)
{
    struct node *image = extent_skip_filters(node);
    const struct image_ops *ops = node_driver(image)->image;
    const struct image_snapshot *s;
    GArray *all = NULL;
    int rc;

    if (!ops || !ops->co_snapshot_delete) {
        return refuse_format(node, image, err);
    }
    rc = info_co_snapshots(image, &all, err); /* yields */
    if (rc < 0) {
        return rc;
    }
    s = find(all, NULL, name);
    rc = s ? ops->co_snapshot_delete(image, s->id, err)
           : refuse_name(image, all, name, err); /* yields */
    if (all) {
        g_array_unref(all);
    }
    return rc;
}
