/* SPDX-License-Identifier: MIT */
/*
 * name: what the name of an image stands for.
 *
 *   PATH, file:PATH   a file or device of the host
 *   json:{…}          the options of a node
 *   DRIVER:…          whatever a driver with parse_name() takes that for
 *
 * QEMU has more, of the form PROTOCOL:ADDRESS.  Those are refused by name, so
 * that nobody is told that there is no such file; a file whose name looks like
 * one is ./PROTOCOL:ADDRESS.
 */
#include <string.h>

#include "base/error.h"
#include "block/node_priv.h"

static const char *const remote_protocols[] = {
    "fat", "ftp", "ftps", "gluster", "http",     "https", "iscsi", "iser",
    "nbd", "nfs", "nvme", "rbd",     "sheepdog", "ssh",   "vvfat", "vxhs",
};

/* The length of the protocol that @filename begins with, 0: none. */
static size_t protocol_length(const char *filename)
{
    size_t n = strcspn(filename, ":/");

    return filename[n] == ':' ? n : 0;
}

/* Is the protocol, but for a transport as in nbd+unix, one of the network? */
static bool is_remote(const char *filename, size_t length)
{
    size_t n = MIN(length, strcspn(filename, "+"));

    for (size_t i = 0; i < G_N_ELEMENTS(remote_protocols); i++) {
        const char *name = remote_protocols[i];

        if (strlen(name) == n && memcmp(name, filename, n) == 0) {
            return true;
        }
    }
    return false;
}

const struct driver *name_to_driver(const char *filename, const char **rest)
{
    size_t n = protocol_length(filename);
    g_autofree char *name = g_strndup(filename, n);
    const struct driver *drv = n > 0 ? driver_find(name) : NULL;

    if (!drv || !drv->parse_name) {
        return NULL;
    }
    if (rest) {
        *rest = filename + n + 1;
    }
    return drv;
}

bool name_is_json(const char *filename)
{
    return g_str_has_prefix(filename, "json:");
}

int name_to_path(const char *filename, const char **ret, GError **err)
{
    size_t n = protocol_length(filename);

    if (n == 4 && memcmp(filename, "file", 4) == 0) {
        *ret = filename + 5;
        return 0;
    }
    if (is_remote(filename, n)) {
        return error_set(err, -EPROTONOSUPPORT,
                         "%s: '%.*s' is not supported, only files and devices "
                         "of this host; if it is a file, write ./%s",
                         filename, (int)n, filename, filename);
    }
    *ret = filename;
    return 0;
}

struct options *name_parse_json(const char *filename,
                                const struct options *over, GError **err)
{
    g_autoptr(options) opts = options_new();
    const char *text = filename + strlen("json:");
    g_autoptr(GError) why = NULL;

    if (options_parse_json(opts, text, &why) < 0) {
        error_set(err, -EINVAL, "%s: %s", filename, why->message);
        return NULL;
    }
    options_merge(opts, over);
    return g_steal_pointer(&opts);
}
