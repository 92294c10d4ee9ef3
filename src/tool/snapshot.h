/* SPDX-License-Identifier: MIT */
/*
 * snapshot: finds the snapshot that a command line means.
 *
 * A snapshot has an id, which is a number, and a name, which may be the number
 * that is the id of another one.
 *
 * Errors:    GError, one line that names the image and the remedy.
 * Threading: coroutines.
 */
#ifndef TOOL_SNAPSHOT_H
#define TOOL_SNAPSHOT_H

#include <glib.h>

#include "base/compiler.h"
#include "co/co.h"

struct node;

/*
 * Makes @node, which is open read-only, show the snapshot @what: an id or else
 * a name, or "snapshot.id=ID,snapshot.name=NAME" or one of the two, where each
 * must fit.  0 or a negative errno.
 */
nodiscard int co_fn snapshot_co_load(struct node *node, const char *what,
                                     GError **err);

/* Deletes the first snapshot of that name: what goes for good is not to be
 * taken for another one by its id.  0 or a negative errno. */
nodiscard int co_fn snapshot_co_delete(struct node *node, const char *name,
                                       GError **err);

#endif /* TOOL_SNAPSHOT_H */
