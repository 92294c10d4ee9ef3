/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <string.h>

#include "block/node.h"
#include "format/blkdebug_priv.h"
#include "loop/loop.h"

/* A request that stands at a break; on the stack of its coroutine. */
struct held {
    struct list link; /* blkdebug->held */
    struct co *co;
    struct rule *rule; /* its own; no longer among the rules */
};

/* Takes the first break that @event sets off out of the rules. */
static struct rule *break_take_locked(struct blkdebug *b, enum node_event event)
{
    struct rule *rule;

    list_for_each(rule, &b->rules, link) {
        if (rule->kind == RULE_BREAK && rule_matches(b, rule, event)) {
            list_del(&rule->link);
            return rule;
        }
    }
    return NULL;
}

void co_fn breaks_co_hit(struct blkdebug *b, enum node_event event)
{
    for (;;) {
        struct held held = {.co = co_self()};

        pthread_mutex_lock(&b->lock);
        held.rule = break_take_locked(b, event);
        if (held.rule) {
            list_add_tail(&b->held, &held.link);
        }
        pthread_mutex_unlock(&b->lock);
        if (!held.rule) {
            return;
        }
        held.rule->notify(held.rule->opaque, held.rule->tag, true);
        co_yield();
        rule_free(held.rule);
    }
}

/* -- For the one who tests ----------------------------------------------- */

static struct blkdebug *blkdebug_find(struct node *root)
{
    while (root && node_driver(root) != &driver_blkdebug) {
        root = node_file(root);
    }
    return root ? node_state(root) : NULL;
}

int blkdebug_break(struct node *root, const char *event, const char *tag,
                   blkdebug_notify_fn *notify, void *opaque)
{
    struct blkdebug *b = blkdebug_find(root);
    enum node_event e;
    struct rule *rule;

    if (!b) {
        return -EOPNOTSUPP;
    }
    if (node_event_find(event, &e) < 0) {
        return -ENOENT;
    }
    pthread_mutex_lock(&b->lock);
    rule = rule_new(b, RULE_BREAK);
    rule->event = e;
    rule->tag = g_strdup(tag);
    rule->notify = notify;
    rule->opaque = opaque;
    pthread_mutex_unlock(&b->lock);
    return 0;
}

/* The oldest request held at @tag (NULL: any), or NULL. */
static struct held *held_find_locked(struct blkdebug *b, const char *tag)
{
    struct held *h;

    list_for_each(h, &b->held, link) {
        if (!tag || strcmp(h->rule->tag, tag) == 0) {
            return h;
        }
    }
    return NULL;
}

static bool held_resume_one(struct blkdebug *b, const char *tag)
{
    struct held *h;

    pthread_mutex_lock(&b->lock);
    h = held_find_locked(b, tag);
    if (h) {
        list_del(&h->link);
    }
    pthread_mutex_unlock(&b->lock);
    if (!h) {
        return false;
    }
    h->rule->notify(h->rule->opaque, h->rule->tag, false);
    loop_co_wake(h->co); /* @h ends with it */
    return true;
}

int blkdebug_resume(struct node *root, const char *tag)
{
    struct blkdebug *b = blkdebug_find(root);

    if (!b) {
        return -EOPNOTSUPP;
    }
    return held_resume_one(b, tag) ? 0 : -ENOENT;
}

/* Forgets the breaks called @tag (NULL: all).  Returns whether there were. */
static bool breaks_forget(struct blkdebug *b, const char *tag)
{
    struct rule *rule, *tmp;
    bool any = false;

    pthread_mutex_lock(&b->lock);
    list_for_each_safe(rule, tmp, &b->rules, link) {
        if (rule->kind == RULE_BREAK && (!tag || strcmp(rule->tag, tag) == 0)) {
            rule_free(rule);
            any = true;
        }
    }
    pthread_mutex_unlock(&b->lock);
    return any;
}

int blkdebug_remove(struct node *root, const char *tag)
{
    struct blkdebug *b = blkdebug_find(root);
    bool any;

    if (!b) {
        return -EOPNOTSUPP;
    }
    any = breaks_forget(b, tag);
    while (held_resume_one(b, tag)) {
        any = true;
    }
    return any ? 0 : -ENOENT;
}

bool blkdebug_is_held(struct node *root, const char *tag)
{
    struct blkdebug *b = blkdebug_find(root);
    bool held;

    if (!b) {
        return false;
    }
    pthread_mutex_lock(&b->lock);
    held = held_find_locked(b, tag) != NULL;
    pthread_mutex_unlock(&b->lock);
    return held;
}

void blkdebug_release(struct node *root)
{
    struct blkdebug *b = blkdebug_find(root);

    if (!b) {
        return;
    }
    (void)breaks_forget(b, NULL); /* there may be none */
    while (held_resume_one(b, NULL)) {
    }
}
