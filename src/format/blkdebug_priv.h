/* SPDX-License-Identifier: MIT */
/*
 * blkdebug_priv: what the source files of blkdebug share.
 *
 *   blkdebug.c        the node: requests, events, limits
 *   blkdebug_rules.c  from options and files to rules
 *   blkdebug_break.c  requests that are held
 */
#ifndef FORMAT_BLKDEBUG_PRIV_H
#define FORMAT_BLKDEBUG_PRIV_H

#include <glib.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/list.h"
#include "base/options.h"
#include "block/event.h"
#include "co/co.h"
#include "format/blkdebug.h"

enum io_type {
    IO_READ = 1 << 0,
    IO_WRITE = 1 << 1,
    IO_ZEROES = 1 << 2,
    IO_DISCARD = 1 << 3,
    IO_FLUSH = 1 << 4,
    IO_STATUS = 1 << 5,
};

enum rule_kind {
    RULE_INJECT_ERROR,
    RULE_SET_STATE,
    RULE_BREAK,
};

struct rule {
    struct list link; /* blkdebug->rules */
    enum rule_kind kind;
    enum node_event event;
    int64_t state; /* in which it holds; 0: any */

    /* RULE_INJECT_ERROR */
    bool active; /* its event came, and no other rule has taken over */
    bool once, immediately;
    int error;         /* positive */
    int64_t sector;    /* -1: any */
    unsigned io_types; /* enum io_type */

    /* RULE_SET_STATE */
    int64_t new_state;

    /* RULE_BREAK */
    char *tag;
    blkdebug_notify_fn *notify;
    void *opaque;
};

struct blkdebug {
    struct node_limits limits;        /* those that are not 0 */
    int64_t opt_discard, max_discard; /* 0: none */

    pthread_mutex_t lock;
    /* Under @lock. */
    struct list rules; /* in the order in which they were given */
    int64_t state;
    struct list held; /* requests, oldest first (blkdebug_break.c) */
};

/* Adds a rule of its own to @b, all zero but for @kind. */
struct rule *rule_new(struct blkdebug *b, enum rule_kind kind);
void rule_free(struct rule *rule);
/* Does @event, in the state that @b is in, set @rule off? */
static inline bool rule_matches(const struct blkdebug *b,
                                const struct rule *rule, enum node_event event)
{
    return rule->event == event &&
           (rule->state == 0 || rule->state == b->state);
}

/* Takes the rules out of @opts, and reads those of the file config=. */
nodiscard int rules_take(struct blkdebug *b, struct options *opts,
                         GError **err);

/* Holds the caller for each break that @event sets off.  Yields. */
void co_fn breaks_co_hit(struct blkdebug *b, enum node_event event);

#endif /* FORMAT_BLKDEBUG_PRIV_H */
