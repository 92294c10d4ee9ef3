/* SPDX-License-Identifier: MIT */
/*
 * snapshot_show: lists internal snapshots, and makes the node show one of them
 * in place of the disk.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/endian.h"
#include "base/error.h"
#include "format/qcow2/ops.h"
#include "format/qcow2/qcow2.h"
#include "format/qcow2/snapshots.h"

int co_fn qcow2_co_snapshot_list(struct node *node, GArray **ret)
{
    struct qcow2_snapshots table;
    GArray *list;
    int rc = qcow2_co_load_snapshots(qcow2_of(node), NULL, NULL, &table, NULL);

    if (rc < 0) {
        return rc;
    }
    list = g_array_new(FALSE, FALSE, sizeof(struct image_snapshot));
    g_array_set_clear_func(list, (GDestroyNotify)image_snapshot_clear);
    for (int i = 0; i < (int)table.list->len; i++) {
        struct image_snapshot *info = &qcow2_snapshots_at(&table, i)->info;

        g_array_append_val(list, *info);
        *info = (struct image_snapshot){.id = NULL};
    }
    qcow2_snapshots_fini(&table);
    *ret = list;
    return 0;
}

/* Reads the L1 table of @sn into the place of the active one. */
static int co_fn show(struct qcow2 *s, const struct qcow2_snapshot *sn)
{
    int64_t n = max_i64(qcow2_l1_entries_for(&s->header, sn->info.disk_bytes),
                        sn->l1_entries);
    struct qcow2_l1 *l1;
    uint64_t *buf;
    int rc = n > QCOW2_MAX_L1_BYTES / 8 ? -EFBIG : 0;

    if (rc < 0) {
        return rc;
    }
    buf = calloc((size_t)max_i64(n, 1), 8);
    rc = buf ? qcow2_co_read_table(s, sn->l1_offset, buf,
                                   (int64_t)sn->l1_entries * 8)
             : -ENOMEM; /* yields */
    rc = rc ? rc : qcow2_set_l1_size(s, (uint32_t)n);
    l1 = atomic_load(&s->l1);
    for (int64_t i = 0; rc == 0 && i < n; i++) {
        /* Nobody is to take what it shares for its own. */
        atomic_store(&l1->entries[i], load_be64(&buf[i]) & ~QCOW2_COPIED);
    }
    free(buf);
    return rc;
}

int co_fn qcow2_co_snapshot_load(struct node *node, const char *id,
                                 GError **err)
{
    struct qcow2 *s = qcow2_of(node);
    struct qcow2_snapshots table;
    int i = 0;
    int rc;

    if (!node_is_rdonly(node)) {
        return error_set(err, -EACCES,
                         "%s: a snapshot can only be shown read-only",
                         node_filename(node));
    }
    rc = qcow2_co_load_snapshots(s, NULL, NULL, &table, err); /* yields */
    if (rc < 0) {
        return rc;
    }
    rc = qcow2_snapshots_find(s, &table, id, &i, err);
    if (rc == 0) {
        const struct qcow2_snapshot *sn = qcow2_snapshots_at(&table, i);

        rc = show(s, sn); /* yields */
        if (rc == 0) {
            s->header.size = sn->info.disk_bytes;
            qcow2_place_vm_state(s, s->header.size);
            node_set_length(node, sn->info.disk_bytes);
        } else {
            error_set_errno(err, rc, "%s: cannot read snapshot '%s'",
                            node_filename(node), id);
        }
    }
    qcow2_snapshots_fini(&table);
    return rc;
}
