/* SPDX-License-Identifier: MIT */
/*
 * open: from options, or the name of a file, to a node that is ready.
 */
#include "block/open.h"

#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/same_file.h"
#include "block/image.h"
#include "block/node_priv.h"

/* -- Which driver -------------------------------------------------------- */

static char *known_drivers(void)
{
    GString *names = g_string_new(NULL);
    const struct driver *drv;

    for (unsigned i = 0; (drv = driver_nth(i)); i++) {
        g_string_append_printf(names, "%s%s", i ? ", " : "", drv->name);
    }
    return g_string_free(names, FALSE);
}

static const struct driver *driver_named(const char *name, const char *what,
                                         GError **err)
{
    const struct driver *drv = driver_find(name);
    g_autofree char *known = NULL;

    if (!drv) {
        known = known_drivers();
        error_set(err, -ENOENT,
                  "%s: there is no format or driver '%s'; known are %s", what,
                  name, known);
    }
    return drv;
}

/* The leaf that reads what @filename is.  What cannot be looked at is left to
 * "file", which says why. */
static const char *leaf_name(const char *filename)
{
    struct stat st;

    if (stat(filename, &st) == 0 &&
        (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode))) {
        return "host_device";
    }
    return "file";
}

/* -- One node ------------------------------------------------------------ */

/* Takes the option @key, which sets or clears @flag (or, with @inverse, clears
 * or sets it). */
static int take_flag(struct options *opts, const char *key, unsigned flag,
                     bool inverse, unsigned *flags, GError **err)
{
    bool on = false;
    int rc = options_take_bool(opts, key, &on, err);

    if (rc == 1) {
        *flags = on != inverse ? *flags | flag : *flags & ~flag;
    }
    return rc;
}

/*
 * Takes the options that every node has: they change the flags of this node,
 * and so those that its children begin with.  Some mean nothing here: images
 * are opened as they are asked for, and nodes have no names.
 */
static int take_flags(struct options *opts, unsigned *flags, GError **err)
{
    static const char *const modes[] = {"ignore", "off", "unmap", "on", NULL};
    int discard = -1;
    unsigned ignored = 0;

    if (take_flag(opts, "read-only", NODE_RDWR, true, flags, err) < 0 ||
        take_flag(opts, "auto-read-only", 0, false, &ignored, err) < 0 ||
        take_flag(opts, "cache.direct", NODE_DIRECT, false, flags, err) < 0 ||
        take_flag(opts, "cache.no-flush", NODE_NO_FLUSH, false, flags, err) <
            0 ||
        take_flag(opts, "force-share", NODE_FORCE_SHARE, false, flags, err) <
            0 ||
        options_take_enum(opts, "discard", modes, &discard, err) < 0) {
        return -EINVAL;
    }
    if ((*flags & NODE_RDWR) && (*flags & NODE_FORCE_SHARE)) {
        return error_set(err, -EINVAL,
                         "what others may write to can only be read: leave "
                         "force-share (-U) out");
    }
    if (discard >= 0) {
        *flags &= ~(unsigned)NODE_UNMAP;
        *flags |= discard >= 2 ? NODE_UNMAP : 0;
    }
    g_free(options_take(opts, "node-name"));
    return 0;
}

static int take_detect_zeroes(struct node *node, struct options *opts,
                              GError **err)
{
    static const char *const modes[] = {"off", "on", "unmap", NULL};
    int mode = DETECT_ZEROES_OFF;
    int rc = options_take_enum(opts, "detect-zeroes", modes, &mode, err);

    node_set_detect_zeroes(node, (enum detect_zeroes)mode);
    return rc < 0 ? rc : 0;
}

static int check_opened(const struct node *node, const struct options *opts,
                        GError **err)
{
    const char *left = options_leftover(opts);

    if (left) {
        return error_set(err, -EINVAL,
                         "%s: '%s' does not know the option '%s'; leave it out",
                         node_filename(node), node->drv->name, left);
    }
    if (node_length(node) < 0 || node_length(node) > BLOCK_MAX_LENGTH) {
        return error_set(err, -EFBIG, "%s: is too large (%" PRId64 " bytes)",
                         node_filename(node), node_length(node));
    }
    return 0;
}

/* A driver that only returns a number still needs a sentence. */
static int co_fn driver_open(struct node *node, struct options *opts,
                             GError **err)
{
    GError *why = NULL;
    int rc = node->drv->co_open(node, opts, &why); /* yields */

    if (rc < 0 && !why) {
        error_set_errno(&why, rc, "%s: cannot be opened", node_filename(node));
    }
    if (why) {
        g_propagate_error(err, why);
    }
    return rc;
}

/* Opens @node as far as it is made.  It is dropped when that fails. */
static struct node *co_fn node_finish_open(struct node *node,
                                           struct options *opts, GError **err)
{
    int rc = take_detect_zeroes(node, opts, err);
    bool open = false;

    if (rc == 0) {
        rc = driver_open(node, opts, err); /* yields */
        open = rc == 0;
    }
    if (rc == 0) {
        rc = check_opened(node, opts, err);
    }
    if (rc == 0) {
        limits_refresh(node);
        node->opener = NULL; /* it may not live as long */
        return node;
    }
    if (open && node->drv->co_close) {
        node->drv->co_close(node); /* yields */
    }
    (void)node_drop(node); /* nothing was written; yields */
    return NULL;
}

/* -- A file whose format may have to be found out ------------------------ */

/* Reads the beginning of @leaf.  Returns how many bytes, or negative errno. */
static int co_fn read_head(struct node *leaf, uint8_t *head)
{
    int64_t n = min_i64(node_length(leaf), BLOCK_PROBE_BYTES);
    int rc = node_co_pread(leaf, 0, head, n); /* yields */

    return rc < 0 ? rc : (int)n;
}

static const struct driver *choose_driver(const uint8_t *head, size_t n,
                                          const char *filename, GError **err)
{
    const struct driver *drv = driver_probe(head, n, filename);
    const char *foreign = driver_foreign_format(head, n);

    /* A driver that is sure of itself knows better than a magic number. */
    if (foreign && (!drv || strcmp(drv->name, "raw") == 0)) {
        error_set(err, -EINVAL,
                  "%s: looks like a %s image, which cannot be opened as such; "
                  "format=raw shows its bytes as they are",
                  filename, foreign);
        return NULL;
    }
    if (!drv) {
        error_set(err, -EINVAL,
                  "%s: its format is not known; try the format raw", filename);
    }
    return drv;
}

static const struct driver *co_fn probe_leaf(struct node *leaf,
                                             const char *filename, GError **err)
{
    g_autofree uint8_t *head = g_malloc(BLOCK_PROBE_BYTES);
    int n = read_head(leaf, head); /* yields */

    if (n < 0) {
        error_set_errno(err, n, "%s: cannot read its beginning", filename);
        return NULL;
    }
    return choose_driver(head, (size_t)n, filename, err);
}

/* Opens @drv (NULL: probe) on top of @leaf, whose reference it takes. */
static struct node *co_fn open_on_leaf(const struct driver *drv,
                                       struct node *leaf,
                                       const struct node *opener,
                                       struct options *opts, unsigned flags,
                                       GError **err)
{
    bool probed = !drv;
    struct node *node;

    if (!drv) {
        drv = probe_leaf(leaf, node_filename(leaf), err); /* yields */
    }
    if (!drv) {
        (void)node_co_unref(leaf); /* nothing was written; yields */
        return NULL;
    }
    node = node_new(drv, flags);
    node->opener = opener;
    node->preopened = leaf;
    node->probed_raw = probed && strcmp(drv->name, "raw") == 0;
    return node_finish_open(node, opts, err); /* yields */
}

/* -- From options -------------------------------------------------------- */

/*
 * Which driver opens @opts: the one that they name, or the one that their
 * "filename" is for.  What that name says besides goes into @opts.
 */
static const struct driver *take_driver(struct options *opts, GError **err)
{
    g_autofree char *name = options_take(opts, "driver");
    g_autofree char *filename = options_take(opts, "filename");
    const char *rest, *path = filename;
    const struct driver *prefixed =
        filename ? name_to_driver(filename, &rest) : NULL;
    const struct driver *drv = prefixed;

    if (!name && !filename) {
        error_set(err, -EINVAL,
                  "nothing says what to open; give driver=NAME or filename=");
        return NULL;
    }
    if (name || !prefixed) {
        if (!name && name_to_path(filename, &path, err) < 0) {
            return NULL;
        }
        drv = driver_named(name ? name : leaf_name(path),
                           filename ? filename : name, err);
    }
    if (!drv || !filename) {
        return drv;
    }
    if (drv == prefixed) {
        return drv->parse_name(rest, opts, err) < 0 ? NULL : drv;
    }
    options_set(opts, drv->traits & DRIVER_LEAF ? "filename" : "file.filename",
                path);
    return drv;
}

static struct node *co_fn open_options(const struct node *opener,
                                       struct options *opts, unsigned flags,
                                       GError **err)
{
    g_autoptr(options) own = opts;
    struct node *node;
    const struct driver *drv;

    if (take_flags(own, &flags, err) < 0) {
        return NULL;
    }
    if (!options_peek(own, "driver") && !options_peek(own, "filename") &&
        options_has_child(own, "file")) {
        struct node *leaf =
            node_co_open(options_take_child(own, "file"), flags, err);

        return leaf ? open_on_leaf(NULL, leaf, opener, own, flags, err) : NULL;
    }
    drv = take_driver(own, err);
    if (!drv) {
        return NULL;
    }
    node = node_new(drv, flags);
    node->opener = opener;
    return node_finish_open(node, own, err); /* yields */
}

struct node *co_fn node_co_open(struct options *opts, unsigned flags,
                                GError **err)
{
    return open_options(NULL, opts, flags, err); /* yields */
}

/* Takes the options of a child, of which there must be some. */
static struct options *take_child_options(const struct node *node,
                                          const char *name,
                                          struct options *opts, GError **err)
{
    struct options *child = options_take_child(opts, name);

    if (!options_leftover(child)) {
        error_set(err, -EINVAL,
                  "'%s' reads another file, and nothing says which; give "
                  "%s.filename=",
                  node->drv->name, name);
        options_free(child);
        return NULL;
    }
    return child;
}

/* Makes @child, which was opened for it, the child @name of @node; NULL: it
 * could not be opened, @why. */
static int co_fn adopt_child(struct node *node, const char *name,
                             struct node *child, GError *why, GError **err)
{
    int rc;

    if (!child) {
        assert(why); /* NULL comes with an error */
        rc = -why->code;
        g_propagate_error(err, why);
        return rc;
    }
    node_co_set_child(node, name, child);
    return node_co_unref(child); /* the child holds on; only drops ours */
}

int co_fn node_co_open_child(struct node *node, const char *name,
                             struct options *opts, unsigned flags, GError **err)
{
    struct options *child_opts;
    struct node *child = NULL;
    GError *why = NULL;

    if (node->preopened && strcmp(name, "file") == 0) {
        child = node->preopened;
        node->preopened = NULL;
        child->flags |= flags & NODE_UNMAP;
    } else {
        child_opts = take_child_options(node, name, opts, &why);
        if (child_opts) {
            child = node_co_open(child_opts, flags, &why); /* yields */
        }
    }
    return adopt_child(node, name, child, why, err); /* yields */
}

/* -- A file ------------------------------------------------------------- */

static struct node *co_fn open_leaf(const char *filename, struct options *opts,
                                    unsigned flags, GError **err)
{
    options_set(opts, "filename", filename);
    return node_co_open(opts, flags, err); /* yields */
}

/* Opens @filename, which the image of @opener (may be NULL) names. */
static struct node *co_fn open_file(const char *filename,
                                    const struct node *opener,
                                    struct options *opts, unsigned flags,
                                    GError **err)
{
    g_autoptr(options) own = opts ? opts : options_new();
    g_autofree char *name = NULL;
    const struct driver *drv = NULL;
    struct node *leaf;

    if (name_is_json(filename)) {
        struct options *all = name_parse_json(filename, own, err);

        return all ? open_options(opener, all, flags, err) : NULL;
    }
    if (name_to_path(filename, &filename, err) < 0 ||
        take_flags(own, &flags, err) < 0) {
        return NULL;
    }
    name = options_take(own, "driver");
    if (name) {
        drv = driver_named(name, filename, err);
        if (!drv) {
            return NULL;
        }
    }
    if (drv && ((drv->traits & DRIVER_LEAF) || drv->parse_name)) {
        options_set(own, "driver", name);
        return open_leaf(filename, g_steal_pointer(&own), flags, err);
    }
    leaf = open_leaf(filename, options_take_child(own, "file"), flags, err);
    return leaf ? open_on_leaf(drv, leaf, opener, own, flags, err) : NULL;
}

struct node *co_fn node_co_open_above(const char *driver, struct node *child,
                                      struct options *opts, GError **err)
{
    g_autoptr(options) own = opts ? opts : options_new();
    const struct driver *drv = driver_named(driver, node_filename(child), err);

    if (!drv) {
        (void)node_co_unref(child); /* nothing was written; yields */
        return NULL;
    }
    return open_on_leaf(drv, child, NULL, own, node_flags(child), err);
}

struct node *co_fn node_co_open_file(const char *filename, struct options *opts,
                                     unsigned flags, GError **err)
{
    return open_file(filename, NULL, opts, flags, err); /* yields */
}

int co_fn node_co_create_file(const char *filename, int64_t bytes,
                              struct options *opts, GError **err)
{
    const struct driver *drv;

    if (name_is_json(filename)) {
        return error_set(err, -EINVAL,
                         "%s: a new image needs the plain name of a file",
                         filename);
    }
    if (name_to_path(filename, &filename, err) < 0) {
        return -EPROTONOSUPPORT;
    }
    drv = driver_named(leaf_name(filename), filename, err);
    if (!drv) {
        return -ENOENT;
    }
    if (!drv->image || !drv->image->co_create) {
        return error_set(err, -EOPNOTSUPP, "%s: cannot be created", filename);
    }
    return drv->image->co_create(filename, bytes, opts, err); /* yields */
}

/* -- A file that an image names ------------------------------------------ */

/* Deeper chains would take more stack than a coroutine has. */
#define MAX_CHAIN 100

/* Is @filename one of the images that are being opened because of each other,
 * the last of which is @node (may be NULL)? */
static int check_no_loop(const struct node *node, const char *filename,
                         GError **err)
{
    int depth = 0;

    for (const struct node *p = node; p; p = p->opener) {
        if (++depth > MAX_CHAIN) {
            return error_set(err, -ELOOP,
                             "%s: is the end of a chain of more than %d "
                             "backing files; join some with commit or convert",
                             filename, MAX_CHAIN);
        }
        if (same_file(node_filename(p), filename)) {
            return error_set(err, -ELOOP,
                             "%s: the chain of backing files leads back to it; "
                             "give an image another backing file with "
                             "rebase -u",
                             filename);
        }
    }
    return 0;
}

int co_fn node_co_open_named_child(struct node *node, const char *name,
                                   const char *filename, struct options *opts,
                                   unsigned flags, GError **err)
{
    g_autoptr(options) own = opts;
    int rc = filename ? check_no_loop(node, filename, err) : 0;
    struct node *child;
    GError *why = NULL;

    /* What options name is found when it is open, and opens a child itself. */
    rc = rc ? rc : check_no_loop(node->opener, node_filename(node), err);
    if (rc < 0) {
        return rc;
    }
    /* By the name, or, with options that name it, by those. */
    child = filename
                ? open_file(filename, node, g_steal_pointer(&own), flags, &why)
                : open_options(node, g_steal_pointer(&own), flags, &why);
    return adopt_child(node, name, child, why, err); /* yields */
}
