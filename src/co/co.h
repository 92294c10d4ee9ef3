/* SPDX-License-Identifier: MIT */
/*
 * co: stackful coroutines.
 *
 * A coroutine starts, runs and ends on one thread; it never moves, so
 * thread-local variables are safe on both sides of a yield.  Coroutines and
 * their stacks come from a per-thread pool (batches) refilled from a global
 * one, whose size is capped from vm.max_map_count.
 *
 * This layer knows nothing of event loops: waking a coroutine that waits for
 * something, from this thread or another, is loop_co_wake() in loop/loop.h.
 *
 * Threading: co_enter() and co_yield() on the coroutine's own thread only.
 * Errors:    co_new() returns NULL when no stack can be mapped.
 */
#ifndef CO_CO_H
#define CO_CO_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/list.h"

/*
 * The role "runs inside a coroutine", checked by clang: a function marked
 * co_fn may yield and may only be called from another co_fn.  Slots of vtables
 * that hold such functions are marked co_fn_ptr.
 */
#ifdef __clang__
struct TSA(capability("role")) co_role_t {
    char unused;
};
extern struct co_role_t co_role;
#endif
#define co_fn     TSA(requires_capability(co_role))
#define co_fn_ptr TSA(guarded_by(co_role))

/* Bytes of usable stack of each coroutine; a guard page lies below it. */
#define CO_STACK_SIZE ((size_t)256 * 1024)

/* What a coroutine runs. */
typedef void co_entry_fn(void *opaque);

struct co;

/*
 * Makes a coroutine that will run @entry(@opaque).  It belongs to the thread
 * that enters it first.  It goes back to the pool by itself when @entry
 * returns.  Returns NULL when memory or mappings are used up.
 */
nodiscard struct co *co_new(co_entry_fn *entry, void *opaque);

/*
 * Runs @co until it yields or ends; returns then.  @co must not be running.
 * May be called inside another coroutine: that one is @co's caller then.
 */
void co_enter(struct co *co);

/* Suspends the running coroutine until somebody enters it again. */
void co_fn co_yield(void);

/* The running coroutine, or NULL outside of any. */
struct co *co_self(void);

/*
 * A word of storage in each coroutine for the layer above: the loop that the
 * coroutine belongs to.  NULL in a new coroutine.
 */
void *co_home(const struct co *co);
void co_set_home(struct co *co, void *home);

/*
 * A link in each coroutine for whoever it waits for: it is on at most one
 * list, since it waits for at most one thing.
 */
struct list *co_link(struct co *co);
struct co *co_from_link(struct list *link);

/*
 * A second word: the next coroutine in a lock-free wake-up list (loop/ only).
 */
struct co **co_next_scheduled(struct co *co);

/* Declares that the code from here on runs inside a coroutine.  For the first
 * line of an entry function, which is reached through a plain pointer. */
static inline TSA(assert_capability(co_role)) void co_assert_role(void)
{
}

/* Counters for tests and for .coblk/info.json. */
struct co_pool_stats {
    size_t created; /* coroutines (stacks) alive, pooled or in use */
    size_t pooled;  /* of those, how many wait in pools of all threads */
    size_t cap;     /* most that the global pool keeps; each thread keeps up
                     * to two batches of 64 besides */
};
void co_pool_stats(struct co_pool_stats *ret);

/* Gives this thread's pool back.  Happens by itself when the thread ends. */
void co_pool_flush(void);

#endif /* CO_CO_H */
