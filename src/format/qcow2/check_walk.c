/* SPDX-License-Identifier: MIT */
/*
 * check_walk: counts what refers to each cluster.
 */
#include <errno.h>
#include <stdlib.h>

#include "format/qcow2/check_priv.h"

/* Bits that must be 0 in an L2 entry that is not compressed. */
#define L2_RESERVED UINT64_C(0x3f000000000001fe)

/* Offsets in an entry of the bitmap directory. */
#define BITMAP_HEAD_BYTES 24

/* -- One reference ------------------------------------------------------- */

static int add_one(struct check *c, int64_t cluster)
{
    const struct qcow2 *s = c->s;

    if ((uint64_t)counts_get(c->counts, cluster) >= s->refcount_max) {
        c->r->corruptions++;
        check_report(c, "ERROR: overflow cluster offset=0x%" PRIx64,
                     cluster << s->cluster_bits);
        check_report(c, "Use qemu-img amend to increase the refcount entry "
                        "width or qemu-img convert to create a clean copy if "
                        "the image cannot be opened for writing");
        return 0;
    }
    return counts_add(c->counts, cluster, 1);
}

int check_count(struct check *c, int64_t offset, int64_t bytes)
{
    const struct qcow2 *s = c->s;
    int64_t end;
    int rc;

    if (bytes <= 0) {
        return 0;
    }
    if (offset < 0 || offset > BLOCK_MAX_LENGTH - bytes ||
        offset + bytes - c->length >= s->cluster_size) {
        c->r->corruptions++;
        check_report(c,
                     "ERROR: counting reference for region exceeding the end "
                     "of the file by one cluster or more: offset 0x%" PRIx64
                     " size 0x%" PRIx64,
                     offset, bytes);
        return 0;
    }
    end = clusters_of(s, offset + bytes);
    rc = counts_reach(c->counts, end);
    for (int64_t i = offset >> s->cluster_bits; i < end && rc == 0; i++) {
        rc = add_one(c, i);
    }
    return rc;
}

/* How many entries of a table are in the file.  Those behind its end are 0,
 * and there may be more of them than there is time to look at. */
static uint32_t entries_there(const struct check *c, int64_t offset,
                              uint32_t entries)
{
    if (offset < 0 || offset >= c->length) {
        return 0;
    }
    return (uint32_t)min_i64(entries, align_up(c->length - offset, 8) / 8);
}

/* -- L2 tables ----------------------------------------------------------- */

/* Where an entry is. */
struct place {
    int64_t table; /* of its L2 table in the file */
    int64_t guest; /* what it maps */
    int index;
    bool active;
};

static int count_packed(struct check *c, const struct place *at,
                        struct qcow2_entry e)
{
    const struct qcow2 *s = c->s;
    int64_t offset, bytes;

    qcow2_entry_packed(&s->entry, e, &offset, &bytes);
    if (e.l2 & QCOW2_COPIED) {
        c->r->corruptions++;
        check_report(c,
                     "ERROR: coffset=0x%" PRIx64
                     ": copied flag must never be set for compressed clusters",
                     offset);
    }
    if (s->external) {
        c->r->corruptions++;
        check_report(
            c, "ERROR compressed cluster %d with data file, entry=0x%" PRIx64,
            at->index, e.l2);
        return 0;
    }
    if (e.bitmap) {
        c->r->corruptions++;
        check_report(c,
                     "ERROR compressed cluster %d with non-zero subcluster "
                     "allocation bitmap, entry=0x%" PRIx64,
                     at->index, e.l2);
    }
    if (at->active) {
        c->r->allocated_clusters++;
        c->r->compressed_clusters++;
        /* One has to be read as a whole, so it is never part of a run. */
        c->r->fragmented_clusters++;
    }
    return check_count(c, offset, bytes);
}

/* A place that no cluster can have.  What reads as zeroes without it does
 * not need it.  Returns 1 when the entry was changed. */
static int unaligned(struct check *c, const struct place *at,
                     struct qcow2_entry e)
{
    const struct qcow2 *s = c->s;
    bool zero = s->entry.extended ? !(e.bitmap & QCOW2_ALL_ALLOC)
                                  : !s->entry.v2 && (e.l2 & QCOW2_ZERO) != 0;
    bool fixes = zero && check_fixes(c, IMAGE_FIX_ERRORS);

    check_report(c,
                 "%s offset=%" PRIx64
                 ": %s cluster is not properly aligned; L2 entry corrupted.",
                 fixes ? "Repairing" : "ERROR", qcow2_entry_host(e),
                 zero ? "Preallocated" : "Data");
    if (!fixes) {
        c->r->corruptions++;
        return 0;
    }
    c->r->corruptions_fixed++;
    e.l2 = s->entry.extended ? 0 : QCOW2_ZERO;
    l2_store(s, c->l2, at->index, e);
    return 1;
}

static void count_fragment(struct check *c, int64_t host)
{
    c->r->allocated_clusters++;
    c->r->fragmented_clusters += c->next_host && host != c->next_host;
    c->next_host = host + c->s->cluster_size;
}

/* Looks at the bitmap of an extended entry. */
static void check_bitmap(struct check *c, struct qcow2_entry e)
{
    const struct qcow2 *s = c->s;
    int64_t host = qcow2_entry_host(e);

    if (!host && !s->external && (e.bitmap & QCOW2_ALL_ALLOC)) {
        c->r->corruptions++;
        check_report(c, "ERROR: Unallocated cluster has non-zero subcluster "
                        "allocation map");
    } else if (e.bitmap >> QCOW2_SUBCLUSTERS & e.bitmap & QCOW2_ALL_ALLOC) {
        c->r->corruptions++;
        check_report(c,
                     "ERROR offset=%" PRIx64
                     ": Allocated cluster has corrupted subcluster allocation "
                     "bitmap",
                     host);
    }
}

static int count_placed(struct check *c, const struct place *at,
                        struct qcow2_entry e)
{
    const struct qcow2 *s = c->s;
    int64_t host = qcow2_entry_host(e);

    if (at->active) {
        count_fragment(c, host);
    }
    if (!is_aligned(host, s->cluster_size)) {
        int rc = unaligned(c, at, e);

        return rc ? rc : check_count(c, host, s->cluster_size);
    }
    if (!s->external) {
        return check_count(c, host, s->cluster_size);
    }
    if (host != at->guest) {
        c->r->corruptions++;
        check_report(c,
                     "ERROR offset=%" PRIx64
                     ": cluster of the data file is not where the disk has "
                     "it (%" PRIx64 ")",
                     host, at->guest);
    }
    return 0;
}

/* Counts what one entry refers to.  Returns 1 when it was changed. */
static int count_entry(struct check *c, const struct place *at)
{
    const struct qcow2 *s = c->s;
    struct qcow2_entry e = l2_load(s, c->l2, at->index);

    if (e.l2 & QCOW2_COMPRESSED) {
        return count_packed(c, at, e);
    }
    if (e.l2 & L2_RESERVED) {
        c->r->corruptions++;
        check_report(c, "ERROR found l2 entry with reserved bits set: %" PRIx64,
                     e.l2);
    }
    check_bitmap(c, e);
    if (qcow2_entry_host(e) == 0 && !(s->external && (e.l2 & QCOW2_COPIED))) {
        return 0;
    }
    return count_placed(c, at, e);
}

/* Counts what the L2 table at @table refers to. */
static int co_fn walk_l2(struct check *c, struct place at)
{
    struct qcow2 *s = c->s;
    bool changed = false;
    int rc;

    c->next_host = 0; /* the table itself may lie in between */
    rc = qcow2_co_read_table(s, at.table, c->l2, s->cluster_size);

    if (rc < 0) {
        c->r->check_errors++;
        check_report(c, "ERROR: I/O error in check of the L2 table at %" PRIx64,
                     at.table);
        return 0;
    }
    for (int i = 0; i < 1 << s->table_bits && rc >= 0; i++) {
        at.index = i;
        rc = count_entry(c, &at);
        changed = changed || rc > 0;
        at.guest += s->cluster_size;
    }
    if (rc >= 0 && changed) {
        rc = qcow2_co_write_table(s, at.table, c->l2, s->cluster_size);
    }
    return rc < 0 ? rc : 0;
}

/* -- L1 tables ----------------------------------------------------------- */

/* Counts one L2 table and what it refers to. */
static int co_fn walk_l1_entry(struct check *c, uint64_t e, int64_t guest,
                               bool active)
{
    struct qcow2 *s = c->s;
    struct place at = {
        .table = (int64_t)(e & QCOW2_OFFSET_MASK),
        .guest = guest,
        .active = active,
    };
    int rc;

    if (e & QCOW2_L1_RESERVED) {
        c->r->corruptions++;
        check_report(c, "ERROR found L1 entry with reserved bits set: %" PRIx64,
                     (uint64_t)(e & QCOW2_L1_RESERVED));
    }
    if (!is_aligned(at.table, s->cluster_size)) {
        c->r->corruptions++;
        check_report(c,
                     "ERROR l2_offset=%" PRIx64
                     ": Table is not cluster aligned; L1 entry corrupted",
                     at.table);
    }
    rc = check_count(c, at.table, s->cluster_size);
    if (rc < 0 || at.table >= c->length) {
        return rc; /* it has no entries */
    }
    return walk_l2(c, at); /* yields */
}

/* Counts an L1 table on disk and what it refers to. */
static int co_fn walk_l1(struct check *c, int64_t offset, uint32_t entries,
                         bool active)
{
    struct qcow2 *s = c->s;
    int rc = check_count(c, offset, (int64_t)entries * 8);
    int64_t bytes;
    uint64_t *l1;

    entries = entries_there(c, offset, entries);
    if (rc < 0 || entries == 0) {
        return rc;
    }
    bytes = (int64_t)entries * 8;
    l1 = malloc((size_t)bytes);
    rc = l1 ? qcow2_co_read_table(s, offset, l1, bytes) : -ENOMEM;
    for (uint32_t i = 0; i < entries && rc == 0; i++) {
        uint64_t e = load_be64(&l1[i]);

        if (e) {
            rc = walk_l1_entry(c, e,
                               (int64_t)i << (s->cluster_bits + s->table_bits),
                               active); /* yields */
        }
    }
    free(l1);
    return rc;
}

static int co_fn walk_snapshots(struct check *c)
{
    struct qcow2 *s = c->s;
    int rc = 0;

    for (int i = 0; i < (int)c->snapshots.list->len && rc == 0; i++) {
        const struct qcow2_snapshot *sn = qcow2_snapshots_at(&c->snapshots, i);
        const char *bad = qcow2_snapshot_bad_l1(s, sn);

        if (!bad) {
            rc = walk_l1(c, sn->l1_offset, sn->l1_entries, false);
            continue;
        }
        c->r->corruptions++;
        if (sn->l1_entries > QCOW2_MAX_L1_BYTES / 8) {
            check_report(c,
                         "ERROR snapshot %s (%s) l1_size=%#" PRIx32
                         ": L1 table %s; snapshot table entry corrupted",
                         sn->info.id, sn->info.name, sn->l1_entries, bad);
        } else {
            check_report(c,
                         "ERROR snapshot %s (%s) l1_offset=%#" PRIx64
                         ": L1 table %s; snapshot table entry corrupted",
                         sn->info.id, sn->info.name, sn->l1_offset, bad);
        }
    }
    return rc ? rc
              : check_count(c, s->header.snapshots_offset, c->snapshots.bytes);
}

/* -- Bitmaps ------------------------------------------------------------- */

/* Counts the clusters of one bitmap. */
static int co_fn walk_bitmap(struct check *c, int64_t offset, uint32_t entries)
{
    struct qcow2 *s = c->s;
    int64_t bytes = (int64_t)entries * 8;
    uint64_t *table;
    int rc;

    if (!is_aligned(offset, s->cluster_size) || bytes > QCOW2_MAX_L1_BYTES) {
        c->r->corruptions++;
        check_report(c,
                     "ERROR bitmap table at 0x%" PRIx64 " with %" PRIu32
                     " entries is not possible",
                     offset, entries);
        return 0;
    }
    rc = check_count(c, offset, bytes);
    entries = entries_there(c, offset, entries);
    if (rc < 0 || entries == 0) {
        return rc;
    }
    bytes = (int64_t)entries * 8;
    table = malloc((size_t)bytes);
    rc = table ? qcow2_co_read_table(s, offset, table, bytes) : -ENOMEM;
    for (uint32_t i = 0; i < entries && rc == 0; i++) {
        int64_t host = (int64_t)(load_be64(&table[i]) & QCOW2_OFFSET_MASK);

        rc = host ? check_count(c, host, s->cluster_size) : 0;
    }
    free(table);
    return rc;
}

static int co_fn walk_directory(struct check *c, const uint8_t *dir)
{
    int64_t end = c->s->header.bitmaps.directory_bytes;
    int64_t pos = 0;
    int rc = 0;

    for (uint32_t i = 0; i < c->s->header.bitmaps.n && rc == 0; i++) {
        const uint8_t *p = dir + pos;

        if (end - pos < BITMAP_HEAD_BYTES) {
            c->r->corruptions++;
            check_report(c, "ERROR bitmap directory ends within an entry");
            return 0;
        }
        rc = walk_bitmap(c, (int64_t)load_be64(p), load_be32(p + 8));
        pos += align_up(BITMAP_HEAD_BYTES + (int64_t)load_be32(p + 20) +
                            load_be16(p + 18),
                        8);
    }
    return rc;
}

/* Without the autoclear bit somebody has written to the image who did not
 * know bitmaps, and they count as not there. */
static int co_fn walk_bitmaps(struct check *c)
{
    struct qcow2 *s = c->s;
    int64_t offset = s->header.bitmaps.directory_offset;
    int64_t bytes = s->header.bitmaps.directory_bytes;
    uint8_t *dir;
    int rc;

    if (s->header.bitmaps.n == 0 || !(s->header.autoclear & QCOW2_BITMAPS)) {
        return 0;
    }
    rc = check_count(c, offset, bytes);
    if (rc < 0) {
        return rc;
    }
    dir = malloc((size_t)max_i64(bytes, 1));
    rc = dir ? qcow2_co_read_table(s, offset, dir, bytes) : -ENOMEM;
    rc = rc ? rc : walk_directory(c, dir); /* yields */
    free(dir);
    return rc;
}

/* -- All of it ----------------------------------------------------------- */

int co_fn check_walk(struct check *c)
{
    const struct qcow2_header *h = &c->s->header;
    int rc = check_count(c, 0, c->s->cluster_size);

    rc = rc ? rc : walk_l1(c, h->l1_offset, h->l1_entries, true);
    rc = rc ? rc : walk_snapshots(c); /* yields */
    rc = rc ? rc
            : check_count(c, h->reftable_offset,
                          (int64_t)h->reftable_clusters << c->s->cluster_bits);
    rc =
        rc ? rc : check_count(c, h->crypt_header.offset, h->crypt_header.bytes);
    return rc ? rc : walk_bitmaps(c); /* yields */
}
