/* SPDX-License-Identifier: MIT */
/*
 * amend: other options for an image that exists.
 *
 * First it is settled what the header is to say, and whether it can; only then
 * is anything written.  What needs new tables (another width of counts, a
 * newer version of the snapshot table) takes effect at one moment (shadow.h),
 * and so do changes of the header.  An older version comes last: it knows no
 * clusters of zeroes, which become holes or real zeroes before.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "format/qcow2/bitmaps.h"
#include "format/qcow2/create.h"
#include "format/qcow2/crypt.h"
#include "format/qcow2/ops.h"
#include "format/qcow2/qcow2.h"
#include "format/qcow2/shadow.h"
#include "format/qcow2/snapshots.h"

struct amend {
    struct qcow2 *s;
    struct qcow2_header to; /* only what can be amended; owns data_file */
    bool lazy, force;
    int64_t size;
    struct options *crypt; /* of the encryption */
    image_progress_fn *progress;
    void *opaque;
};

/* -- What is asked for --------------------------------------------------- */

static int take_data_file(struct amend *a, struct options *o, GError **err)
{
    const char *filename = node_filename(a->s->node);
    bool raw = a->s->data_raw;
    char *name = options_take(o, "data_file");

    if (name) {
        g_free(a->to.data_file);
        a->to.data_file = name;
    }
    if (name && !a->s->external) {
        return error_set(err, -EINVAL,
                         "%s: data_file=%s: it keeps its data in itself; "
                         "convert it to an image that has a data file",
                         filename, name);
    }
    if (options_take_bool(o, "data_file_raw", &raw, err) < 0) {
        return -EINVAL;
    }
    if (raw && !a->s->data_raw) {
        return error_set(err, -EINVAL,
                         "%s: data_file_raw can be turned off only; convert it "
                         "to an image that has it on",
                         filename);
    }
    if (!raw) {
        a->to.autoclear &= ~(uint64_t)QCOW2_DATA_FILE_RAW;
    }
    return 0;
}

static int take_options(struct amend *a, struct options *o, GError **err)
{
    if (qcow2_take_compat(o, &a->to, err) < 0) {
        return -EINVAL;
    }
    a->lazy = a->to.version >= 3 && (a->to.compatible & QCOW2_LAZY_REFCOUNTS);
    if (qcow2_take_refcount_bits(o, &a->to, err) < 0 ||
        options_take_bool(o, "lazy_refcounts", &a->lazy, err) < 0 ||
        options_take_size(o, "size", &a->size, err) < 0 ||
        take_data_file(a, o, err) < 0) {
        return -EINVAL;
    }
    return 0;
}

static int refuse_v2(const struct amend *a, const char *why, GError **err)
{
    return error_set(err, -EINVAL,
                     "%s: cannot have compat=0.10, for version 2 has no %s",
                     node_filename(a->s->node), why);
}

/* Can the image, with what is asked for, be of version 2? */
static int check_v2(const struct amend *a, GError **err)
{
    const struct qcow2_header *h = &a->to;
    const char *filename = node_filename(a->s->node);

    if (h->refcount_order != 4) {
        return error_set(err, -EINVAL,
                         "%s: compat=0.10 needs refcount_bits=16; give both, "
                         "or compat=1.1",
                         filename);
    }
    if (a->lazy) {
        return error_set(err, -EINVAL,
                         "%s: lazy_refcounts needs compat=1.1; give both",
                         filename);
    }
    if (h->incompatible & QCOW2_DATA_FILE) {
        return refuse_v2(a, "data files", err);
    }
    if (h->incompatible & QCOW2_COMPRESSION) {
        return refuse_v2(a, "compression types", err);
    }
    if (h->incompatible & QCOW2_EXTENDED_L2) {
        return refuse_v2(a, "extended L2 entries", err);
    }
    if (qcow2_has_bitmaps(a->s)) {
        return refuse_v2(a, "bitmaps; remove them first", err);
    }
    return 0;
}

/* Can a snapshot be one of an image of version 2? */
static int check_v2_snapshot(const struct amend *a,
                             const struct qcow2_snapshot *sn, GError **err)
{
    const char *filename = node_filename(a->s->node);
    const char *why = NULL;

    if (qcow2_snapshot_bad_l1(a->s, sn)) {
        return error_set(err, -EINVAL,
                         "%s: cannot have compat=0.10, for its snapshot '%s' "
                         "is damaged; convert it instead",
                         filename, sn->info.name);
    }
    if (sn->info.disk_bytes != a->size) {
        why = "has a disk of another size";
    } else if (sn->info.vm_state_bytes > UINT32_MAX) {
        why = "has too large a machine state";
    }
    return why ? error_set(err, -EINVAL,
                           "%s: cannot have compat=0.10, for its snapshot "
                           "'%s' %s; delete that first",
                           filename, sn->info.name, why)
               : 0;
}

static int co_fn check_v2_snapshots(const struct amend *a, GError **err)
{
    struct qcow2_snapshots t;
    int rc = qcow2_co_load_snapshots(a->s, NULL, NULL, &t, err); /* yields */

    if (rc < 0) {
        return rc;
    }
    for (int i = 0; i < (int)t.list->len && rc == 0; i++) {
        rc = check_v2_snapshot(a, qcow2_snapshots_at(&t, i), err);
    }
    qcow2_snapshots_fini(&t);
    return rc;
}

static int co_fn check_possible(const struct amend *a, GError **err)
{
    int rc = a->to.version == 2 ? check_v2(a, err) : 0;

    if (rc == 0 && a->to.version < a->s->header.version) {
        rc = check_v2_snapshots(a, err); /* yields */
    }
    return rc;
}

/* -- New tables ---------------------------------------------------------- */

/* Version 3 has more in each entry of the snapshot table. */
static int co_fn renew_snapshots(struct shadow *sh)
{
    struct qcow2 *s = sh->s;
    struct qcow2_snapshots t;
    uint8_t *buf = NULL;
    int64_t bytes;
    int rc = qcow2_co_load_snapshots(s, NULL, NULL, &t, NULL); /* yields */

    if (rc < 0) {
        return rc;
    }
    buf = qcow2_snapshots_serialise(&t, &bytes);
    rc = buf ? shadow_count(sh, s->header.snapshots_offset, t.bytes, -1)
             : -EFBIG;
    rc =
        rc ? rc : shadow_co_write(sh, buf, bytes, &sh->header.snapshots_offset);
    free(buf);
    qcow2_snapshots_fini(&t);
    return rc;
}

static int co_fn renew_tables(const struct amend *a, GError **err)
{
    struct qcow2 *s = a->s;
    bool upgrade = a->to.version > s->header.version;
    struct shadow sh;
    int rc = shadow_co_begin(&sh, s); /* yields */

    if (rc == 0) {
        sh.header.version = MAX(a->to.version, s->header.version);
        sh.header.refcount_order = a->to.refcount_order;
        if (upgrade && s->header.n_snapshots > 0) {
            rc = renew_snapshots(&sh); /* yields */
        }
        if (rc == 0) {
            rc = shadow_co_commit(&sh); /* yields */
        } else {
            shadow_co_abort(&sh);
        }
    }
    if (rc == -ERANGE) {
        return error_set(err, rc,
                         "%s: has clusters that are referred to more often "
                         "than refcount_bits=%d can count; give a larger "
                         "number",
                         node_filename(s->node), 1 << a->to.refcount_order);
    }
    return rc ? error_set_errno(err, rc, "%s: cannot write new tables",
                                node_filename(s->node))
              : 0;
}

/* -- Zeroes, for version 2 ----------------------------------------------- */

/* Makes clusters of zeroes holes, or where the backing file would shine
 * through, data. */
static int co_fn expand_run(struct qcow2 *s, int64_t offset, int64_t bytes)
{
    struct node *backing = node_child(s->node, "backing");
    int64_t shines = backing                  ? node_length(backing)
                     : s->header.backing_name ? INT64_MAX
                                              : 0;
    int64_t n = min_i64(max_i64(shines - offset, 0), bytes);
    int rc;

    n = min_i64(cluster_up(s, n), bytes);
    rc = n > 0 ? qcow2_co_write_zeroes(s, offset, n) : 0; /* yields */
    if (rc == 0 && bytes > n) {
        rc = qcow2_co_unmap(s, offset + n, bytes - n, QCOW2_FREE_OTHER);
    }
    if (rc == 0 && qcow2_has_many_frees(s)) {
        rc = qcow2_co_settle(s); /* yields */
    }
    return rc;
}

/* Does so in all of the active tables, also behind the end of the disk. */
static int co_fn expand_zeroes(const struct amend *a)
{
    struct qcow2 *s = a->s;
    int64_t end = (int64_t)s->header.l1_entries
                  << (s->cluster_bits + s->table_bits);
    int64_t pos = 0;
    int rc = 0;

    while (rc == 0 && pos < end) {
        struct extent e;

        rc = qcow2_co_map(s, pos, end - pos, &e); /* yields */
        if (rc == 0 && qcow2_kind_is_zero(e.kind)) {
            rc = expand_run(s, pos, e.bytes); /* yields */
        }
        pos += rc == 0 ? e.bytes : 0;
        a->progress(a->opaque, pos, end);
    }
    return rc ? rc : qcow2_co_flush_all(s); /* yields */
}

/* -- The header ---------------------------------------------------------- */

static void fill_header(const struct amend *a, struct qcow2_header *to)
{
    *to = a->s->header;
    to->version = a->to.version;
    to->data_file = a->to.data_file;
    to->autoclear &= a->to.autoclear;
    to->compatible &= ~(uint64_t)QCOW2_LAZY_REFCOUNTS;
    if (a->lazy) {
        to->compatible |= QCOW2_LAZY_REFCOUNTS;
    } else {
        to->incompatible &= ~(uint64_t)QCOW2_DIRTY;
    }
    if (to->version == 2) {
        to->autoclear = 0;
        to->compatible = 0;
        memset(&to->bitmaps, 0, sizeof(to->bitmaps)); /* they did not count */
    }
}

/* With counts that are on disk. */
static int co_fn change_header(const struct amend *a)
{
    struct qcow2 *s = a->s;
    struct qcow2_header to;
    int rc = qcow2_co_write_counts(s); /* yields */

    if (rc < 0) {
        return rc;
    }
    co_mutex_lock(&s->meta); /* yields */
    fill_header(a, &to);
    rc = qcow2_co_switch_header(s, &to); /* yields */
    if (rc == 0) {
        s->lazy = s->lazy && a->lazy;
        qcow2_set_geometry(s);
    }
    co_mutex_unlock(&s->meta);
    return rc;
}

/* -- All of it ----------------------------------------------------------- */

static int co_fn carry_out(struct amend *a, GError **err)
{
    struct qcow2 *s = a->s;
    struct node *node = s->node;
    char *old_name = s->header.data_file;
    bool downgrade = a->to.version < s->header.version;
    int rc = 0;

    if (options_leftover(a->crypt)) {
        rc = qcow2_co_amend_crypt(s, a->crypt, a->force, err); /* yields */
    }
    if (rc < 0) {
        return rc;
    }
    if (a->to.refcount_order != s->header.refcount_order ||
        (a->to.version > s->header.version && s->header.n_snapshots > 0)) {
        rc = renew_tables(a, err); /* yields */
    }
    if (rc == 0 && a->size != node_length(node)) {
        rc = node_co_truncate(node, a->size, PREALLOC_OFF, 0, err);
    }
    if (rc == 0 && downgrade) {
        rc = qcow2_co_expand_snapshots(s, err); /* yields */
    }
    if (rc < 0) {
        return rc;
    }
    if (downgrade) {
        rc = expand_zeroes(a); /* yields */
    }
    rc = rc ? rc : change_header(a); /* yields */
    if (rc < 0) {
        return error_set_errno(err, rc, "%s: cannot be changed%s",
                               node_filename(node),
                               rc == -ENOSPC ? " (is a name too long?)" : "");
    }
    a->to.data_file = old_name;
    return 0;
}

int co_fn qcow2_co_amend(struct node *node, struct options *opts, bool force,
                         image_progress_fn *progress, void *opaque,
                         GError **err)
{
    struct qcow2 *s = qcow2_of(node);
    struct amend a = {
        .s = s,
        .to = s->header,
        .size = s->header.size,
        .force = force,
        .crypt = options_take_child(opts, "encrypt"),
        .progress = progress,
        .opaque = opaque,
    };
    int rc;

    a.to.data_file = g_strdup(s->header.data_file);
    rc = take_options(&a, opts, err);
    rc = rc ? rc : check_possible(&a, err); /* yields */
    if (rc == 0) {
        rc = qcow2_co_begin_change(s); /* yields */
        if (rc < 0) {
            error_set_errno(err, rc, "%s", node_filename(node));
        }
    }
    rc = rc ? rc : carry_out(&a, err); /* yields */
    g_free(a.to.data_file);
    options_free(a.crypt);
    return rc;
}
