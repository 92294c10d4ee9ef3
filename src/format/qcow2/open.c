/* SPDX-License-Identifier: MIT */
/*
 * open: from a file to a node, and back.  What the options say is the matter of
 * open_options.c, further files that of open_files.c, and what is made in
 * memory for writing that of open_writing.c.
 */
#include "format/qcow2/open.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "format/qcow2/bitmaps.h"
#include "format/qcow2/crypt.h"
#include "format/qcow2/ops.h"

#define MAX_SLICE_BYTES          (4 * KiB)
#define DEFAULT_L2_CACHE         (32 * MiB)
#define REFCOUNT_CACHE_CLUSTERS  4
#define MIN_REFCOUNT_CACHE_BYTES (256 * KiB)

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

static int slice_size(const struct qcow2 *s, const struct qcow2_open_options *o,
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

/* What is given of cache-size, l2-cache-size and refcount-cache-size says what
 * is not given. */
static void share_out_cache(const struct qcow2 *s,
                            const struct qcow2_open_options *o,
                            int64_t *ret_tables, int64_t *ret_counts)
{
    int64_t tables = o->l2_cache;
    int64_t counts = o->refcount_cache;

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
    *ret_tables = tables;
    *ret_counts = counts;
}

static int make_caches(struct qcow2 *s, const struct qcow2_open_options *o,
                       GError **err)
{
    int64_t tables, counts;
    int64_t slice = 0;
    int rc = slice_size(s, o, &slice, err);

    if (rc < 0) {
        return rc;
    }
    share_out_cache(s, o, &tables, &counts);
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

static int co_fn open_tables(struct qcow2 *s,
                             const struct qcow2_open_options *o, GError **err)
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
    struct qcow2_open_options o;
    int rc = qcow2_take_options(node, opts, &o, err);

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
    rc = qcow2_co_open_data_file(s, opts, err);         /* yields */
    rc = rc ? rc : qcow2_co_open_crypt(s, opts, err);   /* yields */
    rc = rc ? rc : open_tables(s, &o, err);             /* yields */
    rc = rc ? rc : qcow2_co_open_backing(s, opts, err); /* yields */
    rc = rc ? rc : qcow2_co_repair_dirty(s, err);       /* yields */
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

/* -- Reading tables again ------------------------------------------------ */

int co_fn qcow2_co_try_reload(struct qcow2 *s)
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
    return rc;
}

int co_fn qcow2_co_reload(struct qcow2 *s)
{
    int rc = qcow2_co_try_reload(s); /* yields */

    if (rc < 0) {
        atomic_store(&s->corrupt, true);
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
        struct qcow2_header to = s->header;

        to.incompatible &= ~(uint64_t)QCOW2_DIRTY;
        co_mutex_lock(&s->meta);               /* yields */
        (void)!qcow2_co_switch_header(s, &to); /* yields */
        co_mutex_unlock(&s->meta);
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
