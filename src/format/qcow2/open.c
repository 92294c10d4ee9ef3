/* SPDX-License-Identifier: MIT */
/*
 * open: from a file to a node, and back.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "format/qcow2/bitmaps.h"
#include "format/qcow2/crypt.h"
#include "format/qcow2/qcow2.h"
#include "format/qcow2/snapshots.h"

#define MAX_SLICE_BYTES          (4 * KiB)
#define DEFAULT_L2_CACHE         (32 * MiB)
#define MAX_CACHE                (128 * MiB)
#define REFCOUNT_CACHE_CLUSTERS  4
#define MIN_REFCOUNT_CACHE_BYTES (256 * KiB)

/* -- Options ------------------------------------------------------------- */

/* Options of the node as they were given. */
struct open_options {
    int64_t cache, l2_cache, refcount_cache, slice; /* -1: not given */
    bool lazy, lazy_given;
    bool pass[QCOW2_FREE_WHYS];
    unsigned guarded;
    int64_t clean_interval; /* seconds; 0: never */
};

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

static int take_sizes(struct options *opts, struct open_options *o,
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

static int take_options(struct node *node, struct options *opts,
                        struct open_options *o, GError **err)
{
    bool unmap = (node_flags(node) & NODE_UNMAP) != 0;
    int rc = take_sizes(opts, o, err);

    rc = rc ? rc : take_guard(opts, &o->guarded, err);
    if (rc == 0 && options_take_int(opts, "cache-clean-interval", 0, INT32_MAX,
                                    &o->clean_interval, err) < 0) {
        rc = -EINVAL;
    }
    o->pass[QCOW2_FREE_REQUEST] = unmap;
    o->pass[QCOW2_FREE_SNAPSHOT] = true;
    o->pass[QCOW2_FREE_OTHER] = false;
    o->pass[QCOW2_FREE_SHRINK] = true;
    if (rc == 0) {
        rc = options_take_bool(opts, "lazy-refcounts", &o->lazy, err);
        o->lazy_given = rc > 0;
    }
    if (rc < 0 ||
        options_take_bool(opts, "pass-discard-request",
                          &o->pass[QCOW2_FREE_REQUEST], err) < 0 ||
        options_take_bool(opts, "pass-discard-snapshot",
                          &o->pass[QCOW2_FREE_SNAPSHOT], err) < 0 ||
        options_take_bool(opts, "pass-discard-other",
                          &o->pass[QCOW2_FREE_OTHER], err) < 0) {
        return -EINVAL;
    }
    return 0;
}

/* -- The header ---------------------------------------------------------- */

static int co_fn read_header(struct qcow2 *s, GError **err)
{
    const char *filename = node_filename(s->node);
    g_autofree uint8_t *buf = NULL;
    uint8_t head[QCOW2_NEW_HEADER_BYTES];
    int64_t n = min_i64(node_length(s->file), sizeof(head));
    int64_t cluster;
    int rc = qcow2_co_read_table(s, 0, head, n); /* yields */

    if (rc < 0) {
        return error_set_errno(err, rc, "%s: cannot read its header", filename);
    }
    cluster = qcow2_header_peek_size(head, (size_t)n, filename, err);
    if (cluster < 0) {
        return (int)cluster;
    }
    n = min_i64(node_length(s->file), cluster);
    buf = g_try_malloc((gsize)n);
    rc = buf ? qcow2_co_read_table(s, 0, buf, n) : -ENOMEM; /* yields */
    if (rc < 0) {
        return error_set_errno(err, rc, "%s: cannot read its header", filename);
    }
    return qcow2_header_parse(buf, (size_t)n, filename, &s->header, err);
}

/* Is this an image that can be opened like that? */
static int check_usable(struct qcow2 *s, GError **err)
{
    const struct qcow2_header *h = &s->header;
    const char *filename = node_filename(s->node);
    unsigned flags = node_flags(s->node);

    if (!(flags & NODE_RDWR) || (flags & NODE_CHECK)) {
        return 0;
    }
    if (h->incompatible & QCOW2_CORRUPT) {
        return error_set(err, -EACCES,
                         "%s: is marked corrupt and can only be read; repair "
                         "it with 'check -r all'",
                         filename);
    }
    if (h->reftable_clusters == 0) {
        return error_set(err, -EINVAL,
                         "%s: has no refcount table and can only be read; "
                         "repair it with 'check -r all'",
                         filename);
    }
    return 0;
}

static unsigned log2_of(int64_t n)
{
    return (unsigned)__builtin_ctzll((unsigned long long)n);
}

void qcow2_set_geometry(struct qcow2 *s)
{
    const struct qcow2_header *h = &s->header;
    bool extended = (h->incompatible & QCOW2_EXTENDED_L2) != 0;

    s->cluster_bits = h->cluster_bits;
    s->cluster_size = INT64_C(1) << h->cluster_bits;
    s->external = (h->incompatible & QCOW2_DATA_FILE) != 0;
    s->data_raw = s->external && (h->autoclear & QCOW2_DATA_FILE_RAW);
    s->encrypted = h->crypt != QCOW2_CRYPT_NONE;
    s->entry = (struct qcow2_entry_format){
        .cluster_bits = h->cluster_bits,
        .extended = extended,
        .v2 = h->version == 2,
        .data_file = s->external,
    };
    s->entry_bytes = extended ? 16 : 8;
    s->n_subs = extended ? QCOW2_SUBCLUSTERS : 1;
    s->sub_bits = s->cluster_bits - log2_of(s->n_subs);
    s->sub_size = INT64_C(1) << s->sub_bits;
    s->table_bits = s->cluster_bits - log2_of(s->entry_bytes);
    s->order = h->refcount_order;
    s->block_bits = s->cluster_bits + 3 - s->order;
    s->refcount_max = UINT64_MAX >> (64 - (1 << s->order));
    qcow2_place_vm_state(s, h->size);
}

/* -- Caches -------------------------------------------------------------- */

static int co_fn clean_tables(void *opaque)
{
    return qcow2_co_write_back(opaque); /* yields */
}

static int co_fn clean_counts(void *opaque)
{
    return qcow2_co_write_counts(opaque); /* yields */
}

static int slice_size(const struct qcow2 *s, const struct open_options *o,
                      int64_t *ret, GError **err)
{
    int64_t n = o->slice < 0 ? MAX_SLICE_BYTES : o->slice;

    if (!is_power_of_2(n) || n < 512 || o->slice > s->cluster_size) {
        return error_set(err, -EINVAL,
                         "l2-cache-entry-size=%" PRId64
                         " is no power of two from 512 to the cluster size, "
                         "%" PRId64,
                         n, s->cluster_size);
    }
    *ret = min_i64(n, s->cluster_size);
    return 0;
}

static int make_caches(struct qcow2 *s, const struct open_options *o,
                       GError **err)
{
    int64_t counts = o->refcount_cache;
    int64_t tables = o->l2_cache;
    int64_t slice = 0;
    int rc = slice_size(s, o, &slice, err);

    if (rc < 0) {
        return rc;
    }
    if (counts < 0) {
        counts = max_i64(REFCOUNT_CACHE_CLUSTERS * s->cluster_size,
                         MIN_REFCOUNT_CACHE_BYTES);
        if (o->cache >= 0) {
            counts =
                tables >= 0 ? o->cache - tables : min_i64(counts, o->cache / 2);
        }
    }
    if (tables < 0) {
        tables = o->cache >= 0 ? o->cache - counts : DEFAULT_L2_CACHE;
    }
    s->slice_bits = log2_of(slice / s->entry_bytes);
    s->l2_cache = cache_new(s->file, slice, tables, clean_tables, s);
    s->refcount_cache =
        cache_new(s->file, min_i64(MAX_SLICE_BYTES, s->cluster_size), counts,
                  clean_counts, s);
    if (!s->l2_cache || !s->refcount_cache) {
        return error_set_errno(err, -ENOMEM, "%s", node_filename(s->node));
    }
    cache_set_events(s->l2_cache, EVENT_L2_LOAD, EVENT_L2_UPDATE);
    cache_set_events(s->refcount_cache, EVENT_NONE, EVENT_REFBLOCK_UPDATE_PART);
    return 0;
}

/* Forgets now and then what nobody needs. */
static void clean_caches(void *opaque)
{
    struct qcow2 *s = opaque;

    cache_drop_unused(s->l2_cache);
    cache_drop_unused(s->refcount_cache);
    loop_timer_arm(&s->clean_timer, loop_now() + s->clean_interval);
}

static void start_cleaning(struct qcow2 *s, int64_t seconds)
{
    s->clean_interval = seconds * INT64_C(1000000000);
    if (seconds > 0) {
        loop_timer_init(&s->clean_timer, loop_current(), clean_caches, s);
        loop_timer_arm(&s->clean_timer, loop_now() + s->clean_interval);
    }
}

static void stop_cleaning(struct qcow2 *s)
{
    if (s->clean_interval > 0) {
        assert(s->clean_timer.loop == loop_current());
        loop_timer_cancel(&s->clean_timer);
    }
}

/* -- Metadata for writing ------------------------------------------------ */

/* Counts the tables that the guard will have to hold, about. */
static int64_t count_tables(struct qcow2 *s)
{
    int64_t n = 16 + s->header.reftable_clusters +
                clusters_of(s, (int64_t)s->header.l1_entries * 8);

    for (uint32_t i = 0; i < s->header.l1_entries; i++) {
        n += qcow2_l1_get(s, i) != 0;
    }
    for (int64_t i = 0; i < s->reftable_n; i++) {
        n += s->reftable[i] != 0;
    }
    return n;
}

/* Adds a range; an overlap with what is there already makes @*clash true. */
static int guard_known(struct qcow2 *s, int64_t offset, int64_t bytes,
                       enum guard_what what, bool *clash)
{
    int rc;

    if (offset < 0 || offset >= BLOCK_MAX_LENGTH - bytes) {
        *clash = true;
        return 0;
    }
    rc = guard_add(s->guard, offset, bytes, what);
    *clash = *clash || rc > 0;
    return rc < 0 ? rc : 0;
}

static int guard_tables(struct qcow2 *s, bool *clash)
{
    const struct qcow2_header *h = &s->header;
    int rc = guard_known(s, 0, s->cluster_size, GUARD_HEADER, clash);

    rc = rc ? rc
            : guard_known(s, h->l1_offset, (int64_t)h->l1_entries * 8, GUARD_L1,
                          clash);
    rc = rc ? rc
            : guard_known(s, h->reftable_offset, s->reftable_n * 8,
                          GUARD_REFTABLE, clash);
    if (rc == 0 && qcow2_has_bitmaps(s)) {
        rc = guard_known(s, h->bitmaps.directory_offset,
                         h->bitmaps.directory_bytes, GUARD_BITMAPS, clash);
    }
    rc = rc ? rc
            : guard_known(s, h->crypt_header.offset, h->crypt_header.bytes,
                          GUARD_CRYPT, clash);
    for (int64_t i = 0; i < s->reftable_n && rc == 0; i++) {
        if (s->reftable[i]) {
            rc = guard_known(s, (int64_t)s->reftable[i], s->cluster_size,
                             GUARD_REFBLOCK, clash);
        }
    }
    for (uint32_t i = 0; i < h->l1_entries && rc == 0; i++) {
        int64_t table = (int64_t)(qcow2_l1_get(s, i) & QCOW2_OFFSET_MASK);

        if (table) {
            rc = guard_known(s, table, s->cluster_size, GUARD_L2, clash);
        }
    }
    return rc;
}

/* The L2 tables of a snapshot.  Most are those of others as well, and are
 * guarded as such. */
static int co_fn guard_old_tables(struct qcow2 *s,
                                  const struct qcow2_snapshot *sn)
{
    int64_t bytes = (int64_t)sn->l1_entries * 8;
    uint64_t *l1 = malloc((size_t)max_i64(bytes, 8));
    int rc = l1 ? qcow2_co_read_table(s, sn->l1_offset, l1, bytes) : -ENOMEM;

    for (uint32_t i = 0; i < sn->l1_entries && rc >= 0; i++) {
        int64_t table = (int64_t)(load_be64(&l1[i]) & QCOW2_OFFSET_MASK);

        if (table) {
            rc = guard_add(s->guard, table, s->cluster_size, GUARD_OLD_L2);
        }
    }
    free(l1);
    return rc < 0 ? rc : 0;
}

/* The snapshot table, and the tables of each snapshot whose L1 table is where
 * one can be. */
static int co_fn guard_snapshots(struct qcow2 *s,
                                 const struct qcow2_snapshots *t, bool *clash)
{
    int rc = guard_known(s, s->header.snapshots_offset, t->bytes,
                         GUARD_SNAPSHOTS, clash);

    for (int i = 0; i < (int)t->list->len && rc == 0; i++) {
        const struct qcow2_snapshot *sn = qcow2_snapshots_at(t, i);

        if (!qcow2_snapshot_bad_l1(s, sn)) {
            rc = guard_known(s, sn->l1_offset, (int64_t)sn->l1_entries * 8,
                             GUARD_OLD_L1, clash);
            if (rc == 0 && (s->guarded >> GUARD_OLD_L2 & 1)) {
                rc = guard_old_tables(s, sn); /* yields */
            }
        }
    }
    return rc;
}

static int co_fn load_and_guard_snapshots(struct qcow2 *s, bool *clash,
                                          GError **err)
{
    struct qcow2_snapshots t;
    GError *why = NULL;
    int rc = qcow2_co_load_snapshots(s, NULL, NULL, &t, &why); /* yields */

    if (rc < 0) {
        if (node_flags(s->node) & NODE_CHECK) {
            g_clear_error(&why); /* it will find that, too */
            return 0;
        }
        g_propagate_error(err, why);
        return rc;
    }
    rc = guard_snapshots(s, &t, clash); /* yields */
    qcow2_snapshots_fini(&t);
    return rc ? error_set_errno(err, rc, "%s", node_filename(s->node)) : 0;
}

int co_fn qcow2_co_prepare_writing(struct qcow2 *s, GError **err)
{
    bool clash = false;
    int rc;

    guard_free(s->guard);
    s->guard = guard_new(s->cluster_bits, count_tables(s));
    rc = s->guard ? guard_tables(s, &clash) : -ENOMEM;
    if (rc < 0) {
        return error_set_errno(err, rc, "%s", node_filename(s->node));
    }
    rc = load_and_guard_snapshots(s, &clash, err); /* yields */
    if (rc < 0) {
        return rc;
    }
    s->free_hint = 0;
    s->packed_next = 0;
    s->used_end = cluster_up(s, node_length(s->file));
    s->fresh_is_zero = (node_driver(s->file)->traits & DRIVER_GROWS) != 0;
    if (clash && !(node_flags(s->node) & NODE_CHECK)) {
        return error_set(err, -EIO,
                         "%s: its tables overlap each other; it can only be "
                         "read: try 'check -r all', or convert it",
                         node_filename(s->node));
    }
    return 0;
}

int co_fn qcow2_co_reload(struct qcow2 *s)
{
    int64_t used_end = s->used_end;
    int rc;

    qcow2_set_geometry(s);
    cache_clear(s->l2_cache);
    cache_clear(s->refcount_cache);
    qcow2_packing_forget(s);
    free(s->reftable);
    s->reftable = NULL;
    s->reftable_n = 0;
    dirty_map_fini(&s->reftable_dirty);
    rc = qcow2_co_load_l1(s, NULL);                   /* yields */
    rc = rc ? rc : qcow2_co_load_reftable(s, NULL);   /* yields */
    rc = rc ? rc : qcow2_co_prepare_writing(s, NULL); /* yields */
    /* The file may be longer than what is used of it. */
    s->used_end = used_end;
    if (rc < 0) {
        atomic_store(&s->corrupt, true);
    }
    return rc;
}

/* -- Other files --------------------------------------------------------- */

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

static int co_fn open_data_file(struct qcow2 *s, struct options *opts,
                                GError **err)
{
    const char *name = s->header.data_file;
    g_autofree char *path = NULL;
    int rc;

    s->data = s->file;
    if (!s->external || (node_flags(s->node) & NODE_NO_IO)) {
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

static int co_fn open_backing(struct qcow2 *s, struct options *opts,
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

/* -- Opening ------------------------------------------------------------- */

static void init_locks(struct qcow2 *s)
{
    co_mutex_init(&s->meta);
    co_mutex_init(&s->writeback);
    co_mutex_init(&s->header_write);
    pthread_mutex_init(&s->l1_lock, NULL);
    pthread_mutex_init(&s->free_lock, NULL);
    pthread_mutex_init(&s->busy_lock, NULL);
    list_init(&s->frees);
    list_init(&s->safe_frees);
    list_init(&s->packed_reads);
    list_init(&s->busy);
    qcow2_packing_init(s);
    atomic_init(&s->l1, NULL);
    atomic_init(&s->changed, false);
    atomic_init(&s->corrupt, false);
    atomic_init(&s->damaged, false);
    atomic_init(&s->free_bytes, 0);
}

/* Undoes whatever was done of opening. */
static void release(struct qcow2 *s)
{
    qcow2_close_crypt(s);
    qcow2_drop_frees(s);
    qcow2_free_l1(s);
    free(s->reftable);
    dirty_map_fini(&s->reftable_dirty);
    cache_free(s->l2_cache);
    cache_free(s->refcount_cache);
    guard_free(s->guard);
    qcow2_bitmaps_free(s->bitmaps);
    qcow2_header_fini(&s->header);
    qcow2_packing_fini(s);
    co_mutex_fini(&s->meta);
    co_mutex_fini(&s->writeback);
    co_mutex_fini(&s->header_write);
    pthread_mutex_destroy(&s->l1_lock);
    pthread_mutex_destroy(&s->free_lock);
    pthread_mutex_destroy(&s->busy_lock);
}

static int co_fn open_tables(struct qcow2 *s, const struct open_options *o,
                             GError **err)
{
    bool writable = !node_is_rdonly(s->node);
    int rc = make_caches(s, o, err);

    rc = rc ? rc : qcow2_co_load_l1(s, err);       /* yields */
    rc = rc ? rc : qcow2_co_load_reftable(s, err); /* yields */
    return rc || !writable ? rc : qcow2_co_prepare_writing(s, err);
}

static int co_fn open_image(struct node *node, struct options *opts,
                            GError **err)
{
    struct qcow2 *s = qcow2_of(node);
    struct open_options o = {.cache = -1};
    int rc = take_options(node, opts, &o, err);

    /* Which discards reach the file is ours to say: see @passes_discard. */
    rc = rc ? rc
            : node_co_open_child(node, "file", opts,
                                 node_flags(node) | NODE_UNMAP, err);
    if (rc < 0) {
        return rc;
    }
    s->file = node_file(node);
    rc = read_header(s, err); /* yields */
    rc = rc ? rc : check_usable(s, err);
    if (rc < 0) {
        return rc;
    }
    qcow2_set_geometry(s);
    s->lazy = o.lazy_given ? o.lazy
                           : (s->header.compatible & QCOW2_LAZY_REFCOUNTS) != 0;
    s->lazy = s->lazy && s->header.version >= 3;
    s->guarded = o.guarded;
    memcpy(s->passes_discard, o.pass, sizeof(o.pass));
    rc = open_data_file(s, opts, err);                /* yields */
    rc = rc ? rc : qcow2_co_open_crypt(s, opts, err); /* yields */
    rc = rc ? rc : open_tables(s, &o, err);           /* yields */
    rc = rc ? rc : open_backing(s, opts, err);        /* yields */
    rc = rc ? rc : qcow2_co_repair_dirty(s, err);     /* yields */
    if (rc == 0) {
        node_set_length(node, s->header.size);
        start_cleaning(s, o.clean_interval);
    }
    return rc;
}

int co_fn qcow2_co_open(struct node *node, struct options *opts, GError **err)
{
    struct qcow2 *s = qcow2_of(node);
    int rc;

    s->node = node;
    init_locks(s);
    rc = open_image(node, opts, err); /* yields */
    if (rc < 0) {
        release(s);
    }
    return rc;
}

/* -- Closing ------------------------------------------------------------- */

/* The counts of clusters that were freed by the last flush, and with lazy
 * refcounts all of them.  If this fails clusters leak, or the image stays
 * marked dirty. */
static void co_fn finish_writing(struct qcow2 *s)
{
    int rc = qcow2_co_bitmaps_store(s); /* yields */

    if (rc < 0) {
        log_error("%s: cannot store its bitmaps: %s; those that are enabled "
                  "can only be removed now",
                  node_filename(s->node), g_strerror(-rc));
    }
    rc = qcow2_co_flush_all(s); /* yields */

    qcow2_co_cut_ahead(s); /* yields */
    if (rc == 0 && s->lazy && (s->header.incompatible & QCOW2_DIRTY)) {
        s->header.incompatible &= ~(uint64_t)QCOW2_DIRTY;
        (void)!qcow2_co_write_header(s); /* yields */
    }
}

void co_fn qcow2_co_close(struct node *node)
{
    struct qcow2 *s = qcow2_of(node);

    stop_cleaning(s);
    if (atomic_load(&s->changed) && !atomic_load(&s->corrupt)) {
        finish_writing(s); /* yields */
    }
    release(s);
}
