/* SPDX-License-Identifier: MIT */

#include "tool/info.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "block/driver.h"
#include "block/node.h"
#include "tool/extent.h"

void image_report_clear(struct image_report *r)
{
    g_free(r->filename);
    g_free(r->format);
    g_free(r->specific);
    image_info_fini(&r->info);
    if (r->snapshots) {
        g_array_unref(r->snapshots);
    }
}

int co_fn info_co_snapshots(struct node *node, GArray **ret, GError **err)
{
    const struct image_ops *ops = node_driver(node)->image;
    int rc;

    *ret = NULL;
    if (!ops || !ops->co_snapshot_list) {
        return 0;
    }
    rc = ops->co_snapshot_list(node, ret); /* yields */
    if (rc < 0) {
        return error_set_errno(err, rc, "%s: its snapshots cannot be read",
                               node_filename(node));
    }
    return 0;
}

/* What only this format has, as the text of a JSON object. */
static int co_fn info_co_specific(struct node *node, char **ret, GError **err)
{
    const struct image_ops *ops = node_driver(node)->image;
    struct json *j;
    int rc;

    *ret = NULL;
    if (!ops || !ops->co_info_json) {
        return 0;
    }
    j = json_new();
    json_object_begin(j, NULL);
    rc = ops->co_info_json(node, j, err); /* yields */
    json_object_end(j);
    *ret = json_finish(j);
    return rc;
}

int co_fn info_co_get(struct node *node, struct image_report *ret, GError **err)
{
    struct node *image = extent_skip_filters(node);
    const struct image_ops *ops = node_driver(image)->image;
    struct image_report r = {.actual_size = -1};
    struct node_stat st;
    int rc = 0;

    if (ops && ops->co_info) {
        rc = ops->co_info(image, &r.info); /* yields */
    }
    if (rc < 0) {
        return error_set_errno(err, rc, "%s: cannot be described",
                               node_filename(node));
    }
    if (node_co_stat(node, &st) == 0) { /* yields */
        r.actual_size = st.allocated;
    }
    rc = info_co_snapshots(image, &r.snapshots, err); /* yields */
    rc = rc ? rc : info_co_specific(image, &r.specific, err);
    if (rc < 0) {
        image_report_clear(&r);
        return rc;
    }
    r.filename = g_strdup(r.info.json_filename ? r.info.json_filename
                                               : node_filename(node));
    r.format = g_strdup(node_driver(node)->name);
    r.virtual_size = tool_length(node);
    r.limits = *node_limits(node);
    *ret = r;
    return 0;
}

static bool is_known(const GArray *reports, const char *filename)
{
    for (guint i = 0; i < reports->len; i++) {
        const struct image_report *r =
            &g_array_index(reports, struct image_report, i);

        if (strcmp(r->filename, filename) == 0) {
            return true;
        }
    }
    return false;
}

/* Appends the report of one image; refuses one that is there already. */
static int co_fn chain_add(GArray *reports, const struct tool_image *image,
                           GError **err)
{
    struct image_report r;
    struct node *node;
    int rc;

    if (is_known(reports, image->name)) {
        return error_set(err, -ELOOP,
                         "%s: is met again among its own backing files; "
                         "rebase -u breaks the loop",
                         image->name);
    }
    node = tool_co_open(image, err); /* yields */
    if (!node) {
        return -EIO;
    }
    rc = info_co_get(node, &r, err); /* yields */
    if (rc == 0) {
        g_array_append_val(reports, r);
    }
    (void)node_co_unref(node); /* was only read; yields */
    return rc;
}

GArray *co_fn info_co_chain(const struct tool_image *image, bool chain,
                            GError **err)
{
    GArray *reports = g_array_new(FALSE, FALSE, sizeof(struct image_report));
    struct tool_image next = *image;
    const struct image_report *last;

    g_array_set_clear_func(reports, (GDestroyNotify)image_report_clear);
    next.flags |= NODE_NO_BACKING | NODE_NO_IO;
    do {
        if (chain_add(reports, &next, err) < 0) { /* yields */
            g_array_unref(reports);
            return NULL;
        }
        last = &g_array_index(reports, struct image_report, reports->len - 1);
        next.name = last->info.full_backing_filename;
        next.format = last->info.backing_format;
        next.image_opts = false;
    } while (chain && next.name);
    return reports;
}
