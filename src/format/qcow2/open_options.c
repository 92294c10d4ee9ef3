/* SPDX-License-Identifier: MIT */
/*
 * open_options: the options of a qcow2 node.
 */
#include <errno.h>

#include "base/error.h"
#include "format/qcow2/open.h"

#define MAX_CACHE (128 * MiB)

static int take_cache_size(struct options *opts, const char *key, int64_t *ret,
                           GError **err)
{
    int rc;

    *ret = -1;
    rc = options_take_size(opts, key, ret, err);
    if (rc > 0 && *ret > MAX_CACHE) {
        return error_set(err, -EINVAL,
                         "%s=%" PRId64 " is too large; at most 128M are used",
                         key, *ret);
    }
    return rc;
}

static int take_sizes(struct options *opts, struct qcow2_open_options *o,
                      GError **err)
{
    if (take_cache_size(opts, "cache-size", &o->cache, err) < 0 ||
        take_cache_size(opts, "l2-cache-size", &o->l2_cache, err) < 0 ||
        take_cache_size(opts, "refcount-cache-size", &o->refcount_cache, err) <
            0 ||
        take_cache_size(opts, "l2-cache-entry-size", &o->slice, err) < 0) {
        return -EINVAL;
    }
    if (o->cache >= 0 && o->l2_cache >= 0 && o->refcount_cache >= 0) {
        return error_set(err, -EINVAL,
                         "cache-size is the sum of l2-cache-size and "
                         "refcount-cache-size; give two of them at most");
    }
    if (o->cache >= 0 && max_i64(o->l2_cache, o->refcount_cache) > o->cache) {
        return error_set(err, -EINVAL,
                         "l2-cache-size and refcount-cache-size are parts of "
                         "cache-size; give a larger cache-size");
    }
    return 0;
}

/* Takes overlap-check, which has two names; neither: cached. */
static int take_template(struct options *opts, int *ret, GError **err)
{
    static const char *const names[] = {"none", "constant", "cached", "all",
                                        NULL};
    int one = 2, other = 2;
    int rc = options_take_enum(opts, "overlap-check", names, &one, err);
    int rc2 = rc < 0 ? 0
                     : options_take_enum(opts, "overlap-check.template", names,
                                         &other, err);

    if (rc < 0 || rc2 < 0) {
        return -EINVAL;
    }
    if (rc > 0 && rc2 > 0 && one != other) {
        return error_set(err, -EINVAL,
                         "overlap-check=%s and overlap-check.template=%s say "
                         "the same thing differently; leave one out",
                         names[one], names[other]);
    }
    *ret = rc > 0 ? one : other;
    return 0;
}

/* Which metadata are guarded against being overwritten. */
static int take_guard(struct options *opts, unsigned *ret, GError **err)
{
    static const struct {
        const char *key;
        enum guard_what what;
        int from; /* the first template that has it */
    } parts[] = {
        {"overlap-check.main-header", GUARD_HEADER, 1},
        {"overlap-check.active-l1", GUARD_L1, 1},
        {"overlap-check.refcount-table", GUARD_REFTABLE, 1},
        {"overlap-check.snapshot-table", GUARD_SNAPSHOTS, 1},
        {"overlap-check.bitmap-directory", GUARD_BITMAPS, 1},
        {"overlap-check.active-l2", GUARD_L2, 2},
        {"overlap-check.refcount-block", GUARD_REFBLOCK, 2},
        {"overlap-check.inactive-l1", GUARD_OLD_L1, 2},
        {"overlap-check.inactive-l2", GUARD_OLD_L2, 3},
    };
    int template = 0;

    *ret = 0;
    if (take_template(opts, &template, err) < 0) {
        return -EINVAL;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        bool on = template >= parts[i].from;

        if (options_take_bool(opts, parts[i].key, &on, err) < 0) {
            return -EINVAL;
        }
        *ret |= (unsigned)on << parts[i].what;
    }
    /* A header as well, and without it all data are lost. */
    *ret |= (*ret >> GUARD_HEADER & 1) << GUARD_CRYPT;
    return 0;
}

/* Which discards reach the file. */
static int take_discards(struct options *opts, bool unmap, bool *ret,
                         GError **err)
{
    static const struct {
        const char *key;
        enum qcow2_free_why why;
    } keys[] = {
        {"pass-discard-request", QCOW2_FREE_REQUEST},
        {"pass-discard-snapshot", QCOW2_FREE_SNAPSHOT},
        {"pass-discard-other", QCOW2_FREE_OTHER},
    };

    ret[QCOW2_FREE_REQUEST] = unmap;
    ret[QCOW2_FREE_SNAPSHOT] = true;
    ret[QCOW2_FREE_OTHER] = false;
    ret[QCOW2_FREE_SHRINK] = true;
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (options_take_bool(opts, keys[i].key, &ret[keys[i].why], err) < 0) {
            return -EINVAL;
        }
    }
    return 0;
}

int qcow2_take_options(struct node *node, struct options *opts,
                       struct qcow2_open_options *ret, GError **err)
{
    bool unmap = (node_flags(node) & NODE_UNMAP) != 0;
    int rc = take_sizes(opts, ret, err);

    rc = rc ? rc : take_guard(opts, &ret->guarded, err);
    rc = rc ? rc : take_discards(opts, unmap, ret->pass, err);
    if (rc < 0) {
        return rc;
    }
    ret->clean_interval = 0;
    if (options_take_int(opts, "cache-clean-interval", 0, INT32_MAX,
                         &ret->clean_interval, err) < 0) {
        return -EINVAL;
    }
    rc = options_take_bool(opts, "lazy-refcounts", &ret->lazy, err);
    ret->lazy_given = rc > 0;
    return rc < 0 ? -EINVAL : 0;
}
