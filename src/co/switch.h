/* SPDX-License-Identifier: MIT */
/*
 * switch: the contract of a stack switch; co.c is its only user.
 *
 * One of two files implements it, picked by meson's option `coroutine`:
 * switch-asm.c (x86_64, aarch64; a few nanoseconds) or switch-ucontext.c (any
 * other machine, and sanitizers, which have to be told of each switch).
 *
 * Threading: a context is used by one thread from its first switch on.
 */
#ifndef CO_SWITCH_H
#define CO_SWITCH_H

#include <stddef.h>

/*
 * A stack that is not running, or the place to save the one that is.  All
 * zeroes is right for the stack that a thread was born with.
 */
struct switch_ctx {
    void *state; /* asm: stack pointer; ucontext: a ucontext_t */

    /* Only for sanitizers, by switch-ucontext.c. */
    const void *stack; /* lowest address */
    size_t size;
    void *fake_stack; /* ASan's, while suspended */
    void *fiber;      /* TSan's */
};

/*
 * Makes @ctx run @fn(@arg) on the stack of @size bytes at @stack at the first
 * switch to it.  @fn must not return: it ends in switch_last().
 */
void switch_init(struct switch_ctx *ctx, void *stack, size_t size,
                 void (*fn)(void *arg), void *arg);

/* Frees what switch_init() made, after switch_last() or before any switch. */
void switch_fini(struct switch_ctx *ctx);

/* Saves the running stack in @from and continues @to.  Returns when something
 * switches to @from. */
void switch_to(struct switch_ctx *from, struct switch_ctx *to);

/* Leaves @from for good and continues @to. */
void switch_last(struct switch_ctx *from, struct switch_ctx *to)
    __attribute__((noreturn));

#endif /* CO_SWITCH_H */
