/* SPDX-License-Identifier: MIT */
/*
 * check: what is wrong with an image.
 */
#include <errno.h>

#include "base/error.h"
#include "format/qcow2/qcow2.h"

int co_fn qcow2_co_repair_dirty(struct qcow2 *s, GError **err)
{
    if (!(s->header.incompatible & QCOW2_DIRTY) || node_is_rdonly(s->node) ||
        (node_flags(s->node) & NODE_CHECK)) {
        return 0;
    }
    return error_set(err, -EACCES,
                     "%s: was not closed by its last user; repair it with "
                     "'check -r all'",
                     node_filename(s->node));
}
