/* SPDX-License-Identifier: MIT */
/*
 * table: the L1 table in memory, L2 tables through the cache; from guest
 * offsets to extents.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "format/qcow2/qcow2.h"

/* -- The L1 table -------------------------------------------------------- */

static struct qcow2_l1 *l1_new(uint32_t n)
{
    struct qcow2_l1 *l1;

    l1 = calloc(1, sizeof(*l1) + (size_t)n * sizeof(l1->entries[0]));
    if (l1) {
        l1->n = n;
    }
    return l1;
}

uint64_t qcow2_l1_get(struct qcow2 *s, int64_t index)
{
    struct qcow2_l1 *l1 = atomic_load_explicit(&s->l1, memory_order_acquire);

    if (index >= l1->n) {
        return 0;
    }
    return atomic_load_explicit(&l1->entries[index], memory_order_acquire);
}

void qcow2_l1_set(struct qcow2 *s, int64_t index, uint64_t value)
{
    struct qcow2_l1 *l1 = atomic_load(&s->l1);

    pthread_mutex_lock(&s->l1_lock);
    atomic_store_explicit(&l1->entries[index], value, memory_order_release);
    dirty_map_set(&s->l1_dirty, index);
    pthread_mutex_unlock(&s->l1_lock);
}

int qcow2_set_l1_size(struct qcow2 *s, uint32_t n)
{
    struct qcow2_l1 *old = atomic_load(&s->l1);
    struct qcow2_l1 *l1 = l1_new(n);
    struct dirty_map dirty;

    if (!l1 || !dirty_map_init(&dirty, (int64_t)n * 8)) {
        free(l1);
        return -ENOMEM;
    }
    for (uint32_t i = 0; old && i < old->n && i < n; i++) {
        atomic_init(&l1->entries[i], atomic_load(&old->entries[i]));
    }
    l1->retired = old;
    pthread_mutex_lock(&s->l1_lock);
    atomic_store_explicit(&s->l1, l1, memory_order_release);
    dirty_map_fini(&s->l1_dirty);
    s->l1_dirty = dirty;
    pthread_mutex_unlock(&s->l1_lock);
    return 0;
}

void qcow2_free_l1(struct qcow2 *s)
{
    struct qcow2_l1 *l1 = atomic_load(&s->l1);

    while (l1) {
        struct qcow2_l1 *next = l1->retired;

        free(l1);
        l1 = next;
    }
    atomic_store(&s->l1, NULL);
    dirty_map_fini(&s->l1_dirty);
}

int co_fn qcow2_co_load_l1(struct qcow2 *s, GError **err)
{
    uint32_t n = s->header.l1_entries;
    uint64_t *buf = malloc(max_i64((int64_t)n * 8, 8));
    int rc = buf ? qcow2_set_l1_size(s, n) : -ENOMEM;
    struct qcow2_l1 *l1 = atomic_load(&s->l1);

    if (rc == 0) {
        rc = qcow2_co_read_table(s, s->header.l1_offset, buf, (int64_t)n * 8);
    }
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        atomic_init(&l1->entries[i], load_be64(&buf[i]));
    }
    free(buf);
    if (rc < 0) {
        return error_set_errno(err, rc, "%s: cannot read its L1 table",
                               node_filename(s->node));
    }
    return 0;
}

/* -- Entries ------------------------------------------------------------- */

struct qcow2_entry l2_load(const struct qcow2 *s, const uint8_t *data, int i)
{
    return qcow2_entry_load(data + (size_t)i * s->entry_bytes,
                            s->entry.extended);
}

void l2_store(const struct qcow2 *s, uint8_t *data, int i, struct qcow2_entry e)
{
    qcow2_entry_store(data + (size_t)i * s->entry_bytes, e, s->entry.extended);
}

/* Bits of a guest offset that one L1 entry stands for. */
static unsigned l1_shift(const struct qcow2 *s)
{
    return s->cluster_bits + s->table_bits;
}

static int slice_entries(const struct qcow2 *s)
{
    return 1 << s->slice_bits;
}

/* The index of @offset's cluster in its slice. */
static int slice_index(const struct qcow2 *s, int64_t offset)
{
    return (int)((offset >> s->cluster_bits) & (slice_entries(s) - 1));
}

/* Where the slice for guest offset @offset is in the L2 table at @table. */
static int64_t slice_place(const struct qcow2 *s, int64_t table, int64_t offset)
{
    int64_t i =
        (offset >> s->cluster_bits) & ((INT64_C(1) << s->table_bits) - 1);

    return table + (i >> s->slice_bits << s->slice_bits) * s->entry_bytes;
}

/* The L2 table that an L1 entry names; 0: none. */
static int co_fn l1_table(struct qcow2 *s, uint64_t entry, int64_t *ret)
{
    int64_t table = (int64_t)(entry & QCOW2_OFFSET_MASK);

    if (unlikely(!is_aligned(table, s->cluster_size) ||
                 (entry & QCOW2_L1_RESERVED))) {
        return qcow2_co_set_corrupt(s,
                                    "its L1 table has the entry 0x%" PRIx64
                                    ", which is not possible",
                                    entry);
    }
    *ret = table;
    return 0;
}

/* -- Extents ------------------------------------------------------------- */

/* A run of subclusters while it gets longer. */
struct run {
    const struct qcow2 *s;
    struct extent *e;
    int64_t offset; /* guest offset of its beginning */
    int64_t pos;    /* guest offset of the next subcluster */
};

/* Is the place of a cluster one that it may have? */
static bool place_ok(const struct qcow2 *s, int64_t host, int64_t guest)
{
    return !s->external || host == cluster_down(s, guest);
}

/* Does the subcluster at run->pos, of entry @entry, continue the run? */
static bool run_fits(const struct run *r, struct qcow2_entry entry,
                     enum qcow2_kind kind)
{
    const struct extent *e = r->e;
    int64_t host =
        qcow2_entry_host(entry) + (r->pos & (r->s->cluster_size - 1));

    if (kind != e->kind || kind == QCOW2_PACKED) {
        return false;
    }
    if (kind == QCOW2_HOLE || kind == QCOW2_ZEROES) {
        return true;
    }
    return ((entry.l2 & QCOW2_COPIED) != 0) == e->copied &&
           host == e->host + (r->pos - r->offset) &&
           place_ok(r->s, qcow2_entry_host(entry), r->pos);
}

/* Begins a run at guest offset @offset. */
static void run_begin(struct run *r, struct qcow2_entry entry)
{
    const struct qcow2 *s = r->s;
    unsigned sub = (unsigned)(r->offset >> s->sub_bits) & (s->n_subs - 1);
    int64_t in_cluster = r->offset & (s->cluster_size - 1);
    struct extent *e = r->e;

    e->kind = qcow2_entry_kind(&s->entry, entry, sub);
    e->copied = (entry.l2 & QCOW2_COPIED) != 0;
    if (e->kind == QCOW2_PACKED) {
        qcow2_entry_packed(&s->entry, entry, &e->host, &e->packed_bytes);
        r->pos = r->offset - in_cluster + s->cluster_size;
        return;
    }
    if (e->kind != QCOW2_HOLE && e->kind != QCOW2_ZEROES &&
        !place_ok(s, qcow2_entry_host(entry), r->offset)) {
        e->kind = QCOW2_BROKEN;
    }
    e->host = qcow2_entry_host(entry) + in_cluster;
    r->pos = align_down(r->offset, s->sub_size) + s->sub_size;
}

/* Fills @ret with what begins at @offset, from the slice @data. */
static void scan_slice(const struct qcow2 *s, const uint8_t *data,
                       int64_t offset, int64_t bytes, struct extent *ret)
{
    struct run r = {.s = s, .e = ret, .offset = offset};
    int i = slice_index(s, offset);
    struct qcow2_entry entry = l2_load(s, data, i);

    run_begin(&r, entry);
    while (r.pos < offset + bytes) {
        unsigned sub = (unsigned)(r.pos >> s->sub_bits) & (s->n_subs - 1);

        if (sub == 0) {
            i++;
            if (i == slice_entries(s)) {
                break;
            }
            entry = l2_load(s, data, i);
        }
        if (!run_fits(&r, entry, qcow2_entry_kind(&s->entry, entry, sub))) {
            break;
        }
        r.pos += s->sub_size;
    }
    ret->bytes = min_i64(r.pos - offset, bytes);
}

/* Guest bytes from @offset on for which there is no L2 table. */
static int64_t hole_bytes(struct qcow2 *s, int64_t offset, int64_t bytes)
{
    unsigned shift = l1_shift(s);
    int64_t last = (offset + bytes - 1) >> shift;
    int64_t i = (offset >> shift) + 1;

    while (i <= last && qcow2_l1_get(s, i) == 0) {
        i++;
    }
    return i > last ? bytes : min_i64((i << shift) - offset, bytes);
}

static int co_fn map_slice(struct qcow2 *s, int64_t place, int64_t offset,
                           int64_t bytes, struct extent *ret)
{
    struct slice *sl = cache_find_locked(s->l2_cache, place);
    int rc;

    if (likely(sl)) {
        scan_slice(s, slice_data_locked(sl), offset, bytes, ret);
        slice_unlock(sl);
        return 0;
    }
    rc = cache_co_get(s->l2_cache, place, &sl); /* yields */
    if (rc < 0) {
        return rc;
    }
    scan_slice(s, slice_lock(sl), offset, bytes, ret);
    slice_unlock(sl);
    slice_put(sl);
    return 0;
}

int co_fn qcow2_co_set_broken(struct qcow2 *s, int64_t offset)
{
    return qcow2_co_set_corrupt(s,
                                "the L2 entry for the byte at %" PRId64
                                " of its disk is not possible",
                                offset); /* yields */
}

int co_fn qcow2_co_map(struct qcow2 *s, int64_t offset, int64_t bytes,
                       struct extent *ret)
{
    uint64_t l1 = qcow2_l1_get(s, offset >> l1_shift(s));
    int64_t table = 0;
    int rc = l1_table(s, l1, &table);

    if (rc < 0) {
        return rc;
    }
    if (table == 0) {
        *ret = (struct extent){
            .kind = QCOW2_HOLE,
            .bytes = hole_bytes(s, offset, bytes),
        };
        return 0;
    }
    rc = map_slice(s, slice_place(s, table, offset), offset, bytes, ret);
    if (rc == 0 && unlikely(ret->kind == QCOW2_BROKEN)) {
        rc = qcow2_co_set_broken(s, offset); /* yields */
    }
    return rc;
}

/* -- L2 tables that can be changed --------------------------------------- */

/* Fills the new table at @place with what the one at @old (0: none) has. */
static int co_fn table_fill(struct qcow2 *s, int64_t place, int64_t old)
{
    int64_t slice = cache_slice_bytes(s->l2_cache);
    uint8_t *buf;
    int rc = qcow2_co_reach(s, place + s->cluster_size); /* yields */

    node_event(s->file, EVENT_L2_ALLOC_WRITE);
    if (rc < 0 || old == 0) {
        return rc ? rc
                  : node_co_pwrite_zeroes(s->file, place, s->cluster_size, 0);
    }
    node_event(s->file, EVENT_L2_ALLOC_COW_READ);
    buf = malloc((size_t)s->cluster_size);
    rc = buf ? 0 : -ENOMEM;
    for (int64_t pos = 0; rc == 0 && pos < s->cluster_size; pos += slice) {
        struct slice *sl;

        rc = cache_co_get(s->l2_cache, old + pos, &sl); /* yields */
        if (rc == 0) {
            memcpy(buf + pos, slice_lock(sl), (size_t)slice);
            slice_unlock(sl);
            slice_put(sl);
        }
    }
    rc = rc ? rc : node_co_pwrite(s->file, place, buf, s->cluster_size, 0);
    free(buf);
    return rc;
}

/* Gives L1 entry @index an L2 table of its own. */
static int co_fn table_make(struct qcow2 *s, int64_t index, int64_t old,
                            int64_t *ret)
{
    int64_t place;
    int64_t n = qcow2_co_alloc(s, 1, &place, NULL); /* yields */
    int rc;

    if (n < 0) {
        return (int)n;
    }
    rc = qcow2_co_guard_new(s, place, s->cluster_size, GUARD_L2);
    if (rc == 0) {
        cache_forget(s->l2_cache, place, s->cluster_size);
        rc = table_fill(s, place, old); /* yields */
    }
    if (rc == 0 && s->lazy) { /* data may lack counts after a crash; not this */
        rc = qcow2_co_write_counts_alone(s); /* yields */
    }
    if (rc < 0) {
        guard_remove(s->guard, place, s->cluster_size);
        qcow2_co_unalloc(s, place, 1); /* yields */
        return rc;
    }
    qcow2_l1_set(s, index, (uint64_t)place | QCOW2_COPIED);
    if (old) {
        qcow2_free(s, old, s->cluster_size, QCOW2_FREE_OTHER);
    }
    *ret = place;
    return 0;
}

int co_fn qcow2_co_l2_get(struct qcow2 *s, int64_t offset, bool create,
                          struct l2_ref *ret)
{
    int64_t index = offset >> l1_shift(s);
    uint64_t l1 = qcow2_l1_get(s, index);
    int64_t table = 0, place;
    int rc = l1_table(s, l1, &table);
    bool fresh = rc == 0 && table == 0;

    ret->slice = NULL;
    if (rc == 0 && create && (table == 0 || !(l1 & QCOW2_COPIED))) {
        rc = table_make(s, index, table, &table); /* yields */
    }
    if (rc < 0 || table == 0) {
        return rc;
    }
    place = slice_place(s, table, offset);
    ret->index = slice_index(s, offset);
    ret->end = slice_entries(s);
    ret->first =
        cluster_down(s, offset) - ((int64_t)ret->index << s->cluster_bits);
    return fresh ? cache_co_get_zeroes(s->l2_cache, place, &ret->slice)
                 : cache_co_get(s->l2_cache, place, &ret->slice); /* yields */
}

void l2_ref_put(struct l2_ref *ref)
{
    if (ref->slice) {
        slice_put(ref->slice);
        ref->slice = NULL;
    }
}
