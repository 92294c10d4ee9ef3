/* SPDX-License-Identifier: MIT */
/*
 * img-snapshot: `snapshot`, the snapshots inside an image.
 */
#include <stdio.h>

#include "block/driver.h"
#include "block/image.h"
#include "block/node.h"
#include "cmd/img-text.h"
#include "cmd/img.h"
#include "tool/extent.h"
#include "tool/info.h"
#include "tool/snapshot.h"

struct snapshot {
    struct tool_image image;
    const char *create, *apply, *remove; /* one at most; none: list */
    bool quiet;
    int status;
};

typedef int change_fn(struct node *node, const char *name, GError **err);

static int co_fn list(struct node *node)
{
    GArray *all = NULL;
    GError *err = NULL;

    if (info_co_snapshots(node, &all, &err) < 0) { /* yields */
        return img_fail(err);
    }
    if (all && all->len > 0) {
        (void)printf("Snapshot list:\n");
        img_print(img_snapshot_head());
    }
    for (guint i = 0; all && i < all->len; i++) {
        img_print(
            img_snapshot_row(&g_array_index(all, struct image_snapshot, i)));
    }
    if (all) {
        g_array_unref(all);
    }
    return CMD_OK;
}

static int co_fn change(const struct snapshot *s, struct node *node)
{
    const struct image_ops *ops = node_driver(node)->image;
    change_fn *fn = NULL;
    const char *name = s->create;
    GError *err = NULL;
    int rc;

    if (s->create) {
        fn = ops ? ops->co_snapshot_create : NULL;
    } else if (s->apply) {
        fn = ops ? ops->co_snapshot_apply : NULL;
        name = s->apply;
    } else {
        fn = snapshot_co_delete;
        name = s->remove;
    }
    if (!fn) {
        return cmd_fail("%s: %s images have no snapshots; convert it to qcow2",
                        node_filename(node), node_driver(node)->name);
    }
    rc = fn(node, name, &err); /* yields */
    if (rc < 0 && !err) {
        return cmd_fail("%s: snapshot '%s': %s", node_filename(node), name,
                        g_strerror(-rc));
    }
    return rc < 0 ? img_fail(err) : CMD_OK;
}

static void snapshot_entry(void *opaque)
{
    struct snapshot *s = opaque;
    GError *err = NULL;
    struct node *node, *image;

    co_assert_role();
    node = img_co_open(&s->image, &err); /* yields */
    if (!node) {
        s->status = img_fail(err);
        return;
    }
    image = extent_skip_filters(node);
    s->status = s->image.flags & NODE_RDWR ? change(s, image) : list(image);
    if (tool_co_close(node, &err) < 0) { /* yields */
        s->status = img_fail(err);
    }
}

int img_snapshot(int argc, char **argv)
{
    struct img_common common = {.format = NULL};
    struct snapshot s = {.create = NULL};
    bool list_them = false;
    const struct arg args[] = {
        IMG_ARG_FORMAT(common),
        IMG_ARG_OPTS(common),
        {'l', "list", NULL, "list them; the default", .flag = &list_them},
        {'c', "create", "NAME", "take one", .text = &s.create},
        {'a', "apply", "SNAPSHOT", "go back to one (id or name)",
         .text = &s.apply},
        {'d', "delete", "NAME", "delete one, by its name", .text = &s.remove},
        IMG_ARG_SHARE(common),
        IMG_ARG_QUIET(common),
        IMG_ARG_OBJECT,
    };
    const struct arg_syntax syntax = {args, G_N_ELEMENTS(args), "FILENAME",
                                      "Lists, takes, applies and deletes "
                                      "snapshots."};
    char **operands;
    int status = img_parse(&syntax, argc, argv, 1, 1, &operands);
    int n = list_them + !!s.create + !!s.apply + !!s.remove;

    if (status < 0) {
        status = img_check_common(&common);
    }
    if (status < 0 && n > 1) {
        status = img_usage("-l, -c, -a and -d exclude each other");
    }
    if (status < 0) {
        bool writes = s.create || s.apply || s.remove;

        s.image =
            img_image(&common, operands[0],
                      NODE_NO_BACKING | (writes ? NODE_RDWR | NODE_UNMAP : 0));
        s.quiet = common.quiet;
        img_run(snapshot_entry, &s);
        status = s.status;
    }
    return status;
}
