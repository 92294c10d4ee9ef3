/* SPDX-License-Identifier: MIT */
/*
 * change: another backing file, or no data of its own.
 */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "format/qcow2/ops.h"
#include "format/qcow2/qcow2.h"

/* -- The backing file ---------------------------------------------------- */

static int check_backing(struct qcow2 *s, const char *filename, GError **err)
{
    if (filename && strlen(filename) > QCOW2_MAX_BACKING_NAME) {
        return error_set(err, -EINVAL,
                         "%s: the name of a backing file can have %d bytes",
                         node_filename(s->node), QCOW2_MAX_BACKING_NAME);
    }
    if (filename && s->data_raw) {
        return error_set(err, -EINVAL,
                         "%s: its data file is a raw image, which cannot have "
                         "a backing file",
                         node_filename(s->node));
    }
    return 0;
}

int co_fn qcow2_co_change_backing(struct node *node, const char *filename,
                                  const char *format, GError **err)
{
    struct qcow2 *s = qcow2_of(node);
    struct qcow2_header old, to;
    int rc = check_backing(s, filename, err);

    if (rc < 0) {
        return rc;
    }
    rc = qcow2_co_begin_change(s); /* yields */
    co_mutex_lock(&s->meta);       /* yields */
    old = to = s->header;
    to.backing_name = g_strdup(filename);
    to.backing_format = g_strdup(format);
    rc = rc ? rc : qcow2_co_switch_header(s, &to); /* yields */
    if (rc < 0) {
        old = to; /* what is not needed now */
        error_set_errno(err, rc, "%s: cannot name another backing file in it%s",
                        node_filename(node),
                        rc == -ENOSPC ? " (is the name too long?)" : "");
    }
    g_free(old.backing_name);
    g_free(old.backing_format);
    co_mutex_unlock(&s->meta);
    return rc;
}

/* -- No data ------------------------------------------------------------- */

int co_fn qcow2_co_make_empty(struct node *node)
{
    struct qcow2 *s = qcow2_of(node);
    int rc = qcow2_co_begin_change(s); /* yields */

    node_event(s->file, EVENT_EMPTY_IMAGE_PREPARE);
    rc = rc ? rc
            : qcow2_co_unmap(s, 0, qcow2_mappable_end(s), QCOW2_FREE_REQUEST);
    rc = rc ? rc : qcow2_co_flush_all(s); /* yields */
    if (rc == 0) {
        qcow2_co_drop_tables(s, 0); /* yields */
        rc = qcow2_co_flush_all(s); /* yields */
    }
    return rc ? rc : qcow2_co_cut_file(s); /* yields */
}
