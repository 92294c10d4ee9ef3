/* SPDX-License-Identifier: MIT */
/*
 * stack: mapped stacks for coroutines, and the pools they are kept in.
 *
 * A stack lies in a mapping of its own:
 *
 *     | guard page | CO_STACK_SIZE or more, grows down | header | colour |
 *
 * The header is room for the coroutine itself, so that a coroutine is one
 * object with its stack.  The colour, a multiple of 256 bytes below a page,
 * differs from stack to stack: hot data of many coroutines would otherwise
 * fall into the same few sets of the processor's caches.
 *
 * Each thread keeps up to two batches of free stacks without any locking; full
 * batches beyond go to a global pool, and what that one does not want is
 * unmapped.
 *
 * Threading: any thread.
 */
#ifndef CO_STACK_H
#define CO_STACK_H

#include <stddef.h>

/* Room at the address of each stack for its user; struct stack comes first. */
#define STACK_HEADER ((size_t)256)

/* Free stacks that move between threads together. */
#define STACK_BATCH ((size_t)64)

/* Most stacks that the global pool keeps, where vm.max_map_count allows. */
#define STACK_POOL_MAX ((size_t)1024)

struct stack {
    struct stack *next;       /* in a pool */
    struct stack *next_batch; /* first of a batch in the global pool */
    unsigned batch_size;      /* first of a batch */
    unsigned valgrind_id;
    void *map;    /* what was mapped; begins with the guard page */
    void *bottom; /* lowest usable address; this struct lies above the last */
};

/* Returns NULL when nothing can be mapped.  Only struct stack in the header
 * has been written to. */
struct stack *stack_get(void);

void stack_put(struct stack *s);

/* Usable bytes between @s->bottom and @s. */
static inline size_t stack_size(const struct stack *s)
{
    return (size_t)((const char *)s - (const char *)s->bottom);
}

#endif /* CO_STACK_H */
