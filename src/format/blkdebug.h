/* SPDX-License-Identifier: MIT */
/*
 * blkdebug: a filter that makes requests fail, or holds them, where rules say.
 *
 * Rules name an event (block/event.h), which the format above raises before
 * the request it is about:
 *
 *   inject-error   from the event on, requests fail until another rule takes
 *                  over: iotype=read|write|write-zeroes|discard|flush (default:
 *                  all of these)|block-status, errno=NUMBER (default: EIO; 0:
 *                  none), sector=N (only requests that touch it), once=on
 *                  (only one of them), immediately=on (fail without yielding),
 *                  state=N (only in this state)
 *   set-state      the event changes the state to new_state=N; state=N as
 *                  above.  The state is 1 at first, and a change counts from the next
 *                  event on.
 *
 * An inject-error rule for the event "none" holds from the beginning.  Rules
 * are given in a file,
 *
 *   [inject-error]
 *   event = "write_aio"
 *   errno = "28"
 *
 * or as options "inject-error.0.event=write_aio".  All options:
 *
 *   config=FILE, inject-error.N.…, set-state.N.…
 *   image.…            the child
 *   align, max-transfer, opt-write-zero, max-write-zero, opt-discard,
 *   max-discard        limits of the node, in bytes
 *
 * The name blkdebug:CONFIG:FILE stands for config=CONFIG,image.filename=FILE;
 * CONFIG may be empty.
 *
 * Threading: rules may fire on any loop; the functions below are called by
 * the one who tests, on the loop of the requests.
 */
#ifndef FORMAT_BLKDEBUG_H
#define FORMAT_BLKDEBUG_H

#include <stdbool.h>

#include "base/compiler.h"
#include "block/driver.h"
#include "co/co.h"

struct node;

extern const struct driver driver_blkdebug;

/* -- Holding requests ---------------------------------------------------- */

/* These apply to the first blkdebug node at or below @root and return
 * -EOPNOTSUPP when there is none. */

/* Told that a request was held at @tag, or let go. */
typedef void blkdebug_notify_fn(void *opaque, const char *tag, bool held);

/* The next request that raises @event is held and called @tag; -ENOENT: no
 * such event. */
nodiscard int blkdebug_break(struct node *root, const char *event,
                             const char *tag, blkdebug_notify_fn *notify,
                             void *opaque);
/* Lets the oldest request held at @tag go on; -ENOENT: there is none. */
nodiscard int blkdebug_resume(struct node *root, const char *tag);
/* Forgets the breaks @tag and lets all that is held there go on; -ENOENT:
 * neither was there. */
nodiscard int blkdebug_remove(struct node *root, const char *tag);
/* Does a request stand at @tag? */
bool blkdebug_is_held(struct node *root, const char *tag);
/* Forgets all breaks and lets everything go on. */
void blkdebug_release(struct node *root);

#endif /* FORMAT_BLKDEBUG_H */
