/* SPDX-License-Identifier: MIT */
/*
 * list: intrusive, circular, doubly linked list.
 *
 * A struct list is both the head and the link embedded in each member.  An
 * initialised link that is on no list points to itself, so list_del() of it
 * is harmless.  No locking.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>

#include "base/compiler.h"

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}

static inline void list_add_between(struct list *link, struct list *prev,
                                    struct list *next)
{
    link->next = next;
    link->prev = prev;
    prev->next = link;
    next->prev = link;
}

static inline void list_add_head(struct list *head, struct list *link)
{
    list_add_between(link, head, head->next);
}

static inline void list_add_tail(struct list *head, struct list *link)
{
    list_add_between(link, head->prev, head);
}

/* Takes @link off its list and initialises it again. */
static inline void list_del(struct list *link)
{
    link->next->prev = link->prev;
    link->prev->next = link->next;
    list_init(link);
}

/* Moves all of @from to the end of @to; @from is empty afterwards. */
static inline void list_splice_tail(struct list *to, struct list *from)
{
    if (list_empty(from)) {
        return;
    }
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#define list_entry(ptr, type, member) container_of(ptr, type, member)

/* The first member, or NULL when the list is empty. */
#define list_first(head, type, member) \
    (list_empty(head) ? NULL : list_entry((head)->next, type, member))

/* @e must not leave the list inside the loop. */
#define list_for_each(e, head, member)                         \
    for (e = list_entry((head)->next, __typeof__(*e), member); \
         &e->member != (head);                                 \
         e = list_entry(e->member.next, __typeof__(*e), member))

/* @e may leave the list inside the loop; no other member may. */
#define list_for_each_safe(e, tmp, head, member)                  \
    for (e = list_entry((head)->next, __typeof__(*e), member),    \
        tmp = list_entry(e->member.next, __typeof__(*e), member); \
         &e->member != (head);                                    \
         e = tmp, tmp = list_entry(e->member.next, __typeof__(*e), member))

#endif /* BASE_LIST_H */
