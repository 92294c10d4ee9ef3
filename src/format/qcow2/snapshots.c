/* SPDX-License-Identifier: MIT */

#include "format/qcow2/snapshots.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "format/qcow2/qcow2.h"

#define READ_AHEAD (256 * KiB)

/* -- A window on the table ----------------------------------------------- */

struct reader {
    struct qcow2 *s;
    int64_t pos;   /* of the next byte, from the beginning of the table */
    uint8_t *buf;  /* READ_AHEAD bytes */
    int64_t at, n; /* what is in @buf: where from, how much */
};

/* The next @bytes, which are at most READ_AHEAD; they stay until the next
 * call.  NULL and *@rc when they cannot be read. */
static const uint8_t *co_fn reader_take(struct reader *r, int64_t bytes,
                                        int *rc)
{
    if (r->s->header.snapshots_offset >
        BLOCK_MAX_LENGTH - READ_AHEAD - r->pos) {
        *rc = -EINVAL;
        return NULL;
    }
    if (r->pos < r->at || r->pos + bytes > r->at + r->n) {
        *rc = qcow2_co_read_table(r->s, r->s->header.snapshots_offset + r->pos,
                                  r->buf, READ_AHEAD); /* yields */
        if (*rc < 0) {
            return NULL;
        }
        r->at = r->pos;
        r->n = READ_AHEAD;
    }
    r->pos += bytes;
    return r->buf + (r->pos - bytes - r->at);
}

/* -- Entries ------------------------------------------------------------- */

static void snapshot_clear(struct qcow2_snapshot *sn)
{
    image_snapshot_clear(&sn->info);
    if (sn->more_extra) {
        g_byte_array_unref(sn->more_extra);
    }
}

static void parse_extra(struct qcow2_snapshot *sn, const uint8_t *p,
                        uint32_t bytes)
{
    if (bytes >= 8) {
        sn->info.vm_state_bytes = (int64_t)load_be64(p);
    }
    if (bytes >= 16) {
        sn->info.disk_bytes = (int64_t)load_be64(p + 8);
    }
    if (bytes >= SNAPSHOT_EXTRA_BYTES) {
        sn->info.icount = (int64_t)load_be64(p + 16);
    }
    if (bytes > SNAPSHOT_EXTRA_BYTES) {
        sn->more_extra = g_byte_array_new();
        g_byte_array_append(sn->more_extra, p + SNAPSHOT_EXTRA_BYTES,
                            bytes - SNAPSHOT_EXTRA_BYTES);
    }
}

/* What is under way. */
struct load {
    struct reader r;
    snapshots_damage_fn *damage;
    void *opaque;
    GError **err;
};

G_GNUC_PRINTF(3, 4)
static void tell(const struct load *l, int64_t n, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, format);
    text = g_strdup_vprintf(format, ap);
    va_end(ap);
    l->damage(l->opaque, n, text);
}

static int check_extra(const struct load *l, guint i, uint32_t bytes)
{
    const struct qcow2 *s = l->r.s;

    if (bytes > SNAPSHOT_MAX_EXTRA_BYTES && !l->damage) {
        return error_set(l->err, -EFBIG,
                         "%s: entry %u of its snapshot table has %" PRIu32
                         " bytes of extra data; 'check -r all' removes them",
                         node_filename(s->node), i, bytes);
    }
    if (bytes > SNAPSHOT_MAX_EXTRA_BYTES) {
        tell(l, 1,
             "Discarding too much extra metadata in snapshot table entry %u "
             "(%" PRIu32 " > %d)",
             i, bytes, SNAPSHOT_MAX_EXTRA_BYTES);
    }
    return 0;
}

static int check_disk_size(const struct load *l, guint i,
                           const struct qcow2_snapshot *sn)
{
    if (sn->info.disk_bytes >= 0 && sn->info.disk_bytes <= BLOCK_MAX_LENGTH &&
        sn->info.vm_state_bytes >= 0) {
        return 0;
    }
    return error_set(l->err, -EINVAL,
                     "%s: entry %u of its snapshot table has an impossible "
                     "size; delete that snapshot",
                     node_filename(l->r.s->node), i);
}

/* Reads extra data, id and name, of which @head tells the length. */
static int co_fn load_rest(struct load *l, guint i, const uint8_t *head,
                           struct qcow2_snapshot *sn)
{
    uint16_t id_bytes = load_be16(head + 12);
    uint16_t name_bytes = load_be16(head + 14);
    uint32_t extra = sn->extra_bytes;
    uint32_t kept = (uint32_t)min_i64(extra, SNAPSHOT_MAX_EXTRA_BYTES);
    const uint8_t *p;
    int rc = check_extra(l, i, extra);

    p = rc ? NULL : reader_take(&l->r, kept, &rc); /* yields */
    if (!p) {
        return rc;
    }
    parse_extra(sn, p, kept);
    l->r.pos += extra - kept;
    p = reader_take(&l->r, id_bytes + name_bytes, &rc); /* yields */
    if (!p) {
        return rc;
    }
    sn->info.id = g_strndup((const char *)p, id_bytes);
    sn->info.name = g_strndup((const char *)p + id_bytes, name_bytes);
    l->r.pos = align_up(l->r.pos, 8);
    return check_disk_size(l, i, sn);
}

static int co_fn load_entry(struct load *l, guint i, struct qcow2_snapshot *sn)
{
    uint8_t head[SNAPSHOT_HEAD_BYTES];
    const uint8_t *p;
    int rc = 0;

    p = reader_take(&l->r, sizeof(head), &rc); /* yields */
    if (!p) {
        return rc;
    }
    memcpy(head, p, sizeof(head));
    *sn = (struct qcow2_snapshot){
        .info =
            {
                .date_sec = load_be32(head + 16),
                .date_nsec = load_be32(head + 20),
                .vm_clock_ns = (int64_t)load_be64(head + 24),
                .vm_state_bytes = load_be32(head + 32),
                .disk_bytes = l->r.s->header.size,
                .icount = -1,
            },
        .l1_offset = (int64_t)load_be64(head),
        .l1_entries = load_be32(head + 8),
        .extra_bytes = load_be32(head + 36),
    };
    rc = load_rest(l, i, head, sn); /* yields */
    if (rc < 0) {
        snapshot_clear(sn);
    }
    return rc;
}

/* -- The table ----------------------------------------------------------- */

/* The entry that was just read makes the table too long. */
static int too_long(const struct load *l, guint i)
{
    const struct qcow2 *s = l->r.s;
    int64_t left = (int64_t)s->header.n_snapshots - i;

    if (!l->damage) {
        return error_set(
            l->err, -EFBIG,
            "%s: its snapshot table is longer than %" PRId64
            " MiB; 'check -r all' removes the last %" PRId64 " snapshots",
            node_filename(s->node), SNAPSHOT_MAX_TABLE_BYTES / MiB, left);
    }
    tell(l, left,
         "Discarding %" PRId64
         " overhanging snapshots (snapshot table is too big)",
         left);
    return 1;
}

static int64_t entry_bytes(const struct qcow2_snapshot *sn)
{
    int64_t extra = SNAPSHOT_EXTRA_BYTES +
                    (sn->more_extra ? (int64_t)sn->more_extra->len : 0);

    return align_up(SNAPSHOT_HEAD_BYTES + extra + (int64_t)strlen(sn->info.id) +
                        (int64_t)strlen(sn->info.name),
                    8);
}

/* Reads all entries.  @kept: how long what is kept of them is. */
static int co_fn load_entries(struct load *l, GArray *list, int64_t kept)
{
    int rc = 0;

    for (guint i = 0; i < l->r.s->header.n_snapshots && rc == 0; i++) {
        struct qcow2_snapshot sn;

        rc = load_entry(l, i, &sn); /* yields */
        if (rc < 0) {
            break;
        }
        kept += entry_bytes(&sn);
        if (kept > SNAPSHOT_MAX_TABLE_BYTES) {
            snapshot_clear(&sn);
            rc = too_long(l, i);
        } else {
            g_array_append_val(list, sn);
        }
    }
    return rc < 0 ? rc : 0;
}

int co_fn qcow2_co_load_snapshots(struct qcow2 *s, snapshots_damage_fn *damage,
                                  void *opaque, struct qcow2_snapshots *ret,
                                  GError **err)
{
    GError *why = NULL;
    struct load l = {
        .r = {.s = s},
        .damage = damage,
        .opaque = opaque,
        .err = &why,
    };
    GArray *list = g_array_new(FALSE, FALSE, sizeof(struct qcow2_snapshot));
    int rc = 0;

    g_array_set_clear_func(list, (GDestroyNotify)snapshot_clear);
    if (s->header.n_snapshots > 0) {
        l.r.buf = malloc(READ_AHEAD);
        rc = l.r.buf ? load_entries(&l, list, 0) : -ENOMEM; /* yields */
        free(l.r.buf);
    }
    if (rc < 0) {
        g_array_unref(list);
        if (!why) {
            error_set_errno(&why, rc, "%s: cannot read its snapshot table",
                            node_filename(s->node));
        }
        g_propagate_error(err, why);
        return rc;
    }
    *ret = (struct qcow2_snapshots){.list = list, .bytes = l.r.pos};
    return 0;
}

void qcow2_snapshots_fini(struct qcow2_snapshots *t)
{
    if (t->list) {
        g_array_unref(t->list);
    }
    *t = (struct qcow2_snapshots){.bytes = 0};
}

struct qcow2_snapshot *qcow2_snapshots_at(const struct qcow2_snapshots *t,
                                          int i)
{
    return &g_array_index(t->list, struct qcow2_snapshot, i);
}

/* The one whose id, or else whose name, is @id; -1: none. */
static int find_id_or_name(const struct qcow2_snapshots *t, const char *id)
{
    int n = (int)t->list->len;

    for (int i = 0; i < n; i++) {
        if (strcmp(qcow2_snapshots_at(t, i)->info.id, id) == 0) {
            return i;
        }
    }
    for (int i = 0; i < n; i++) {
        if (strcmp(qcow2_snapshots_at(t, i)->info.name, id) == 0) {
            return i;
        }
    }
    return -1;
}

int qcow2_snapshots_check_sizes(const struct qcow2 *s,
                                const struct qcow2_snapshots *t, GError **err)
{
    for (int i = 0; i < (int)t->list->len; i++) {
        const struct qcow2_snapshot *sn = qcow2_snapshots_at(t, i);

        if (sn->extra_bytes < SNAPSHOT_V3_EXTRA_BYTES) {
            return error_set(err, -EINVAL,
                             "%s: snapshot '%s' does not say how large its "
                             "disk is; repair it with 'check -r all' first",
                             node_filename(s->node), sn->info.name);
        }
    }
    return 0;
}

const char *qcow2_snapshot_bad_l1(const struct qcow2 *s,
                                  const struct qcow2_snapshot *sn)
{
    if (sn->l1_entries > QCOW2_MAX_L1_BYTES / 8) {
        return "is too large";
    }
    if (!is_aligned(sn->l1_offset, s->cluster_size)) {
        return "is not cluster aligned";
    }
    if (sn->l1_offset < 0 ||
        sn->l1_offset > BLOCK_MAX_LENGTH - QCOW2_MAX_L1_BYTES) {
        return "is where no file can reach";
    }
    return NULL;
}

int qcow2_snapshots_find(const struct qcow2 *s, const struct qcow2_snapshots *t,
                         const char *id, int *ret, GError **err)
{
    int i = find_id_or_name(t, id);
    const char *bad;

    if (i < 0) {
        return error_set(err, -ENOENT,
                         "%s: has no snapshot '%s'; 'snapshot -l' lists them",
                         node_filename(s->node), id);
    }
    bad = qcow2_snapshot_bad_l1(s, qcow2_snapshots_at(t, i));
    if (bad) {
        return error_set(err, -EINVAL,
                         "%s: the L1 table of snapshot '%s' %s; the snapshot "
                         "is lost",
                         node_filename(s->node), id, bad);
    }
    *ret = i;
    return 0;
}

/* -- And back ------------------------------------------------------------ */

static void store_entry(uint8_t *p, const struct qcow2_snapshot *sn)
{
    const struct image_snapshot *info = &sn->info;
    size_t id = strlen(info->id), name = strlen(info->name);
    size_t more = sn->more_extra ? sn->more_extra->len : 0;

    store_be64(p, (uint64_t)sn->l1_offset);
    store_be32(p + 8, sn->l1_entries);
    store_be16(p + 12, (uint16_t)id);
    store_be16(p + 14, (uint16_t)name);
    store_be32(p + 16, (uint32_t)info->date_sec);
    store_be32(p + 20, (uint32_t)info->date_nsec);
    store_be64(p + 24, (uint64_t)info->vm_clock_ns);
    store_be32(p + 32, info->vm_state_bytes > UINT32_MAX
                           ? 0
                           : (uint32_t)info->vm_state_bytes);
    store_be32(p + 36, (uint32_t)(SNAPSHOT_EXTRA_BYTES + more));
    p += SNAPSHOT_HEAD_BYTES;
    store_be64(p, (uint64_t)info->vm_state_bytes);
    store_be64(p + 8, (uint64_t)info->disk_bytes);
    store_be64(p + 16, (uint64_t)info->icount);
    p += SNAPSHOT_EXTRA_BYTES;
    if (more > 0) {
        memcpy(p, sn->more_extra->data, more);
    }
    memcpy(p + more, info->id, id);
    memcpy(p + more + id, info->name, name);
}

uint8_t *qcow2_snapshots_serialise(const struct qcow2_snapshots *t,
                                   int64_t *ret_bytes)
{
    int64_t bytes = 0, pos = 0;
    uint8_t *buf;

    for (int i = 0; i < (int)t->list->len; i++) {
        bytes += entry_bytes(qcow2_snapshots_at(t, i));
    }
    if (bytes > SNAPSHOT_MAX_TABLE_BYTES) {
        return NULL;
    }
    buf = calloc(1, (size_t)max_i64(bytes, 1));
    for (int i = 0; buf && i < (int)t->list->len; i++) {
        store_entry(buf + pos, qcow2_snapshots_at(t, i));
        pos += entry_bytes(qcow2_snapshots_at(t, i));
    }
    *ret_bytes = bytes;
    return buf;
}
