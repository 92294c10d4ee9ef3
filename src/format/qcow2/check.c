/* SPDX-License-Identifier: MIT */
/*
 * check: what is wrong with an image, and repair.
 *
 * Repair goes from what is certain to what depends on it: snapshot entries
 * and L2 entries that can only be meant in one way, then reference counts,
 * then marks.  Counts that are wrong but can be trusted to be the counts of
 * their clusters are put right where they are; otherwise all of them are
 * written anew.  What else is wrong stays, and is told.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "format/qcow2/check_priv.h"
#include "format/qcow2/ops.h"
#include "format/qcow2/shadow.h"

void check_report(const struct check *c, const char *format, ...)
{
    g_autofree char *line = NULL;
    va_list ap;

    if (c->quiet || !c->r->report) {
        return;
    }
    va_start(ap, format);
    line = g_strdup_vprintf(format, ap);
    va_end(ap);
    c->r->report(c->r->opaque, line);
}

/* -- Snapshots ----------------------------------------------------------- */

static void damaged_snapshots(void *opaque, int64_t n, const char *line)
{
    struct check *c = opaque;

    check_report(c, "%s", line);
    c->r->corruptions_fixed += n;
    c->snapshots_wrong++;
}

/* Reads the snapshot table; version 3 wants the disk's size in each entry. */
static int co_fn load_snapshots(struct check *c, GError **err)
{
    struct qcow2 *s = c->s;
    bool fixes = check_fixes(c, IMAGE_FIX_ERRORS);
    int rc = qcow2_co_load_snapshots(s, fixes ? damaged_snapshots : NULL, c,
                                     &c->snapshots, err); /* yields */

    for (int i = 0;
         rc == 0 && s->header.version >= 3 && i < (int)c->snapshots.list->len;
         i++) {
        if (qcow2_snapshots_at(&c->snapshots, i)->extra_bytes <
            SNAPSHOT_V3_EXTRA_BYTES) {
            check_report(c, "%s snapshot table entry %d is incomplete",
                         check_verb(c, IMAGE_FIX_ERRORS), i);
            check_count_error(c);
            c->snapshots_wrong += fixes;
        }
    }
    return rc;
}

/* Writes the snapshot table as it is in memory. */
static int co_fn store_snapshots(struct check *c)
{
    struct qcow2 *s = c->s;
    struct shadow sh;
    int64_t bytes;
    uint8_t *buf = qcow2_snapshots_serialise(&c->snapshots, &bytes);
    int rc;

    if (!buf) {
        return -ENOMEM;
    }
    rc = shadow_co_begin(&sh, s); /* yields */
    if (rc == 0) {
        rc = shadow_count(&sh, s->header.snapshots_offset, c->snapshots.bytes,
                          -1);
        rc = rc ? rc
                : shadow_co_write(&sh, buf, bytes, &sh.header.snapshots_offset);
        sh.header.n_snapshots = c->snapshots.list->len;
        if (rc == 0) {
            rc = shadow_co_commit(&sh); /* yields */
        } else {
            shadow_co_abort(&sh);
        }
    }
    free(buf);
    return rc;
}

/* -- Counts -------------------------------------------------------------- */

/* Counts what refers to each cluster.  A repair must know all of that: what
 * only a table refers to that cannot be read is not free. */
static int co_fn walk(struct check *c)
{
    int rc = check_walk(c); /* yields */

    return rc == 0 && c->fix && c->r->check_errors > 0 ? -EIO : rc;
}

/* Counts everything, from nothing. */
static int co_fn count_all(struct check *c)
{
    int rc;

    c->agrees = false;
    counts_free(c->counts);
    c->length = node_length(c->s->file);
    c->counts = counts_new(clusters_of(c->s, c->length));
    if (!c->counts) {
        return -ENOMEM;
    }
    rc = walk(c);                        /* yields */
    return rc ? rc : check_structure(c); /* yields */
}

/* After a rebuild the old structure is in nobody's use, but counted. */
static int co_fn free_old_structure(struct check *c)
{
    struct image_check *told = c->r;
    struct image_check r = {.report = told->report, .opaque = told->opaque};
    int rc;

    c->r = &r;
    c->quiet = true;   /* told before */
    rc = count_all(c); /* yields */
    c->quiet = false;
    c->rebuild = false;
    rc = rc ? rc : check_compare(c, IMAGE_FIX_LEAKS | IMAGE_FIX_ERRORS);
    c->r = told;
    told->image_end_offset = r.image_end_offset;
    return rc;
}

/* Makes the image count right, after it was found not to. */
static int co_fn repair_counts(struct check *c, int64_t corruptions,
                               GError **err)
{
    struct image_check *r = c->r;
    int64_t left = corruptions; /* which have nothing to do with counts */
    int64_t found = r->corruptions - corruptions;
    int64_t leaks = r->leaks;
    int rc;

    if (c->rebuild && !check_fixes(c, IMAGE_FIX_ERRORS)) {
        return error_set(err, -EIO,
                         "%s: its leaks cannot be repaired alone, for its "
                         "reference counts are damaged; use 'check -r all'",
                         node_filename(c->s->node));
    }
    r->corruptions = left;
    r->leaks = 0;
    if (!c->rebuild) {
        if (!check_fixes(c, IMAGE_FIX_LEAKS)) {
            r->leaks = leaks;
        }
        return check_compare(c, c->fix); /* yields */
    }
    r->corruptions_fixed += found;
    r->leaks_fixed += leaks;
    r->check_errors = 0;
    rc = check_rebuild(c);                  /* yields */
    return rc ? rc : free_old_structure(c); /* yields */
}

static int co_fn check_counts(struct check *c, GError **err)
{
    struct image_check *r = c->r;
    int64_t corruptions;
    int rc;

    rc = walk(c); /* yields */
    if (rc < 0 && r->check_errors > 0) {
        return error_set(err, rc,
                         "%s: cannot be repaired, for some of its tables "
                         "cannot be read; save what can be with 'convert "
                         "--salvage'",
                         node_filename(c->s->node));
    }
    corruptions = r->corruptions;
    rc = rc ? rc : check_structure(c);  /* yields */
    rc = rc ? rc : check_compare(c, 0); /* yields */
    if (rc < 0 || !c->fix ||
        (!c->rebuild && r->leaks == 0 && r->corruptions == corruptions)) {
        return rc;
    }
    return repair_counts(c, corruptions, err); /* yields */
}

/* -- The header ---------------------------------------------------------- */

int co_fn check_switch_header(struct check *c, const struct qcow2_header *to)
{
    int rc;

    co_mutex_lock(&c->s->meta);            /* yields */
    rc = qcow2_co_switch_header(c->s, to); /* yields */
    co_mutex_unlock(&c->s->meta);
    return rc;
}

/* Any repair puts this right, for it is not written again. */
static void check_header(struct check *c)
{
    if (!c->s->header.long_end) {
        return;
    }
    check_report(c, "%s the end of the header extensions is too long",
                 c->fix ? "Repairing" : "ERROR");
    if (c->fix) {
        c->r->corruptions_fixed++;
    } else {
        c->r->corruptions++;
    }
}

/* Before a repair: what the header names must be what is counted.  Bitmaps
 * that do not count as there were freed as leaks, if they were. */
static int co_fn prepare_header(struct check *c)
{
    const struct qcow2_header *h = &c->s->header;
    struct qcow2_header to = *h;

    to.long_end = false;
    to.autoclear &= QCOW2_KNOWN_AUTOCLEAR;
    if (!(to.autoclear & QCOW2_BITMAPS)) {
        memset(&to.bitmaps, 0, sizeof(to.bitmaps));
    }
    return to.long_end == h->long_end && to.autoclear == h->autoclear &&
                   to.bitmaps.n == h->bitmaps.n
               ? 0
               : check_switch_header(c, &to); /* yields */
}

/* Nothing is wrong any more: says so. */
static int co_fn clear_marks(struct check *c)
{
    struct qcow2_header to = c->s->header;

    to.incompatible &= ~(uint64_t)(QCOW2_DIRTY | QCOW2_CORRUPT);
    return to.incompatible == c->s->header.incompatible
               ? node_co_flush(c->s->file)    /* yields */
               : check_switch_header(c, &to); /* yields */
}

/* -- A check ------------------------------------------------------------- */

/* With counts that are right.  Changes some of them, so comes before marks. */
static int co_fn repair_snapshots(struct check *c)
{
    int rc;

    if (c->snapshots_wrong == 0) {
        return 0;
    }
    c->agrees = false;
    rc = qcow2_co_reload(c->s);          /* yields */
    return rc ? rc : store_snapshots(c); /* yields */
}

static int co_fn finish_repair(struct check *c)
{
    int rc = qcow2_co_reload(c->s); /* yields */

    if (rc == 0 && c->r->corruptions == 0 && c->r->check_errors == 0) {
        rc = clear_marks(c); /* yields */
    }
    return rc;
}

static int co_fn run_check(struct check *c, GError **err)
{
    struct image_check *r = c->r;
    bool repair;
    int rc;

    check_header(c);
    rc = c->fix ? prepare_header(c) : 0; /* yields */
    rc = rc ? rc : load_snapshots(c, err);
    rc = rc ? rc : check_counts(c, err); /* yields */
    rc = rc ? rc : repair_snapshots(c);  /* yields */
    if (rc < 0) {
        return rc;
    }
    /* Marks that are wrong because of a leak go with it. */
    repair = check_fixes(c, IMAGE_FIX_ERRORS) ||
             (check_fixes(c, IMAGE_FIX_LEAKS) && r->corruptions == 0 &&
              r->leaks == 0 && r->check_errors == 0);
    rc = check_marks(c, repair); /* yields */
    return rc || !c->fix ? rc : finish_repair(c);
}

static int check_begin(struct check *c, struct qcow2 *s, GError **err)
{
    if (c->fix && node_is_rdonly(s->node)) {
        return error_set(err, -EACCES, "%s: is open read-only",
                         node_filename(s->node));
    }
    c->length = node_length(s->file);
    c->counts = counts_new(clusters_of(s, c->length));
    c->l2 = malloc((size_t)s->cluster_size);
    return c->counts && c->l2 ? 0 : -ENOMEM;
}

int co_fn qcow2_co_check(struct node *node, unsigned fix,
                         struct image_check *ret, GError **err)
{
    struct qcow2 *s = qcow2_of(node);
    struct check c = {.s = s, .fix = fix, .r = ret};
    GError *why = NULL;
    int rc = qcow2_co_flush_to_os(node); /* yields */

    *ret = (struct image_check){
        .image_end_offset = s->cluster_size,
        .total_clusters = clusters_of(s, s->header.size),
        .report = ret->report,
        .opaque = ret->opaque,
    };
    rc = rc ? rc : check_begin(&c, s, &why);
    rc = rc ? rc : run_check(&c, &why); /* yields */
    if (rc < 0 && !why) {
        error_set_errno(&why, rc, "%s: cannot be checked", node_filename(node));
    }
    if (why) {
        g_propagate_error(err, why);
    }
    qcow2_snapshots_fini(&c.snapshots);
    counts_free(c.counts);
    free(c.l2);
    return rc;
}

/* -- Opening an image that was not closed -------------------------------- */

static void log_finding(void *opaque, const char *line)
{
    log_warning("%s", line);
}

int co_fn qcow2_co_repair_dirty(struct qcow2 *s, GError **err)
{
    struct image_check r = {.report = log_finding};
    const char *filename = node_filename(s->node);
    int rc;

    if (!(s->header.incompatible & QCOW2_DIRTY) || node_is_rdonly(s->node) ||
        (node_flags(s->node) & NODE_CHECK)) {
        return 0;
    }
    rc = qcow2_co_check(s->node, IMAGE_FIX_LEAKS | IMAGE_FIX_ERRORS, &r, err);
    if (rc == 0 && (s->header.incompatible & QCOW2_DIRTY)) {
        return error_set(err, -EIO,
                         "%s: was not closed by its last user, and has "
                         "%" PRId64 " errors that cannot be repaired; it can "
                         "only be read",
                         filename, r.corruptions + r.check_errors);
    }
    if (rc < 0) {
        g_prefix_error(err, "cannot repair what was not closed: ");
    }
    return rc;
}
