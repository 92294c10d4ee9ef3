/* SPDX-License-Identifier: MIT */
/*
 * co: coroutines with a stack of their own (256 KiB and a guard page).
 *
 * See coblk/api.h for units, errors and threading.
 */
#ifndef COBLK_CO_H
#define COBLK_CO_H

#include <coblk/api.h>

#ifdef __cplusplus
extern "C" {
#endif

struct coblk_co;

/* What a coroutine runs. */
typedef void coblk_co_entry(void *opaque);

/*
 * Makes a coroutine that will run @entry(@opaque).  It frees itself when
 * @entry returns, and cannot be freed before that: enter it.  Returns NULL when
 * memory is used up.  Any thread.
 */
COBLK_API COBLK_NODISCARD struct coblk_co *coblk_co_new(coblk_co_entry *entry,
                                                        void *opaque);

/*
 * Runs @co until it yields or ends.  @co is new, or has called
 * coblk_co_yield(); one that waits for anything else is woken by that.
 *
 * A new coroutine belongs to this thread from now on, and to its loop if there
 * is one.  May be called inside another coroutine, to which a yield of @co
 * then returns.
 */
COBLK_API void coblk_co_enter(struct coblk_co *co);

/* Suspends the running coroutine until somebody enters or wakes it. */
COBLK_API void coblk_co_yield(void);

/* The running coroutine, or NULL outside of any. */
COBLK_API struct coblk_co *coblk_co_self(void);

#ifdef __cplusplus
}
#endif

#endif /* COBLK_CO_H */
