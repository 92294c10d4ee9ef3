/* SPDX-License-Identifier: MIT */
/*
 * open_files: the files beside an image that belong to it, by their names.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "format/qcow2/open.h"

char *qcow2_resolve_name(const char *image, const char *name)
{
    const char *slash = strrchr(image, '/');

    if (g_str_has_prefix(name, "json:")) {
        return g_strdup(name);
    }
    if (g_str_has_prefix(name, "file:")) {
        name += strlen("file:");
    }
    if (name[0] == '/' || !slash) {
        return g_strdup(name);
    }
    return g_strdup_printf("%.*s/%s", (int)(slash - image), image, name);
}

/* Others take it for a name in the current folder, also when the image is
 * elsewhere.  That finds no file that was moved with its image. */
static char *find_data_file(const char *image, const char *name)
{
    const char *path = qcow2_data_file_path(name);

    return access(path, F_OK) == 0 ? g_strdup(path)
                                   : qcow2_resolve_name(image, name);
}

const char *qcow2_data_file_path(const char *name)
{
    return g_str_has_prefix(name, "file:") ? name + strlen("file:") : name;
}

/* Opens what the options say, or else the file @path, which the image names,
 * in @format (NULL: find out). */
static int co_fn open_other(struct qcow2 *s, const char *child,
                            const char *path, const char *format,
                            struct options *opts, unsigned flags, GError **err)
{
    struct options *own = options_take_child(opts, child);
    bool given =
        options_has_child(own, "file") || options_peek(own, "filename") != NULL;

    if (!given && !path) {
        options_free(own);
        return error_set(err, -EINVAL,
                         "%s: nothing says which file is its %s; give "
                         "%s.filename=",
                         node_filename(s->node), child, child);
    }
    if (!given && format) {
        options_set_default(own, "driver", format);
    }
    return node_co_open_named_child(s->node, child, given ? NULL : path, own,
                                    flags, err); /* yields */
}

int co_fn qcow2_co_open_data_file(struct qcow2 *s, struct options *opts,
                                  GError **err)
{
    const char *name = s->header.data_file;
    g_autofree char *path = NULL;
    int rc;

    s->data = s->file;
    if (!s->external) {
        return 0;
    }
    if (node_flags(s->node) & NODE_NO_IO) {
        options_free(options_take_child(opts, "data-file")); /* of no use */
        return 0;
    }
    path = name ? find_data_file(node_filename(s->node), name) : NULL;
    rc = open_other(s, "data-file", path, "raw", opts, node_flags(s->node),
                    err); /* yields */
    if (rc == 0) {
        s->data = node_child(s->node, "data-file");
    }
    return rc;
}

/* Of a long chain only the image is named whose backing file is the one that
 * cannot be opened: that is where something can be done. */
static void backing_failed(const struct qcow2 *s, GError *why, GError **err)
{
    static const char told[] = ": cannot open its backing file: ";

    if (strstr(why->message, told)) {
        g_propagate_error(err, why);
    } else {
        g_propagate_prefixed_error(err, why, "%s%s", node_filename(s->node),
                                   told);
    }
}

int co_fn qcow2_co_open_backing(struct qcow2 *s, struct options *opts,
                                GError **err)
{
    const unsigned keep =
        NODE_DIRECT | NODE_FORCE_SHARE | NODE_NO_FLUSH | NODE_NO_IO;
    g_autofree char *none = options_take(opts, "backing");
    bool given = options_has_child(opts, "backing");
    const char *name = s->header.backing_name;
    g_autofree char *path = NULL;
    GError *why = NULL;
    int rc;

    if (node_flags(s->node) & NODE_NO_BACKING) {
        options_free(options_take_child(opts, "backing")); /* of no use */
        return 0;
    }
    if ((none && !*none) || (!given && !name)) {
        return 0;
    }
    if (none) {
        return error_set(err, -EINVAL,
                         "backing=%s: only an empty value, which means none, "
                         "or backing.filename= is possible",
                         none);
    }
    path = name ? qcow2_resolve_name(node_filename(s->node), name) : NULL;
    rc = open_other(s, "backing", path, s->header.backing_format, opts,
                    node_flags(s->node) & keep, &why); /* yields */
    if (rc < 0) {
        backing_failed(s, why, err);
    }
    return rc;
}
