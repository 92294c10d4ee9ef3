/* SPDX-License-Identifier: MIT */
/*
 * switch-ucontext: the stack switch with swapcontext(3), for machines without
 * assembly of ours and for sanitizers.
 *
 * ASan and TSan keep state for each stack and have to be told of a switch on
 * both sides of it.  swapcontext() is the one primitive that both of them
 * understand; it makes a system call for the signal mask.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <ucontext.h>

#include "base/compiler.h"
#include "co/switch.h"

#ifdef __has_feature
#    if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#        define __SANITIZE_ADDRESS__ 1
#    endif
#    if __has_feature(thread_sanitizer) && !defined(__SANITIZE_THREAD__)
#        define __SANITIZE_THREAD__ 1
#    endif
#endif

#ifdef __SANITIZE_ADDRESS__
#    include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#    include <sanitizer/tsan_interface.h>
#endif

/* Where a new stack begins; lies on top of that stack. */
struct start {
    ucontext_t uc;
    struct switch_ctx *ctx;
    void (*fn)(void *arg);
    void *arg;
};

/* The two sides of a switch, to be read right after it. */
static __thread struct switch_ctx *came_from, *gone_to;

/* All helpers are inlined: TSan keeps a shadow of the call stack, and a call
 * must not begin on one stack and end on another. */
#define always_inline inline __attribute__((always_inline))

static always_inline void before_switch(struct switch_ctx *from,
                                        struct switch_ctx *to, void **fake)
{
    came_from = from;
    gone_to = to;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(fake, to->stack, to->size);
#endif
#ifdef __SANITIZE_THREAD__
    if (!from->fiber) {
        from->fiber = __tsan_get_current_fiber(); /* a thread's own stack */
    }
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
}

static always_inline void after_switch(struct switch_ctx *self)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(self->fake_stack, &came_from->stack,
                                    &came_from->size);
#endif
}

/* Finds its argument by itself, since makecontext() passes only ints. */
static void switch_start(void)
{
    struct start *s = container_of(gone_to->state, struct start, uc);

    after_switch(s->ctx);
    s->fn(s->arg);
    abort(); /* @fn ends in switch_last() */
}

void switch_init(struct switch_ctx *ctx, void *stack, size_t size,
                 void (*fn)(void *arg), void *arg)
{
    char *top = (char *)stack + size - sizeof(struct start);
    struct start *s;
    int rc;

    top -= (uintptr_t)top % 64;
    s = (struct start *)(void *)top;
    *ctx = (struct switch_ctx){
        .state = &s->uc,
        .stack = stack,
        .size = (size_t)(top - (char *)stack),
    };
    s->ctx = ctx;
    s->fn = fn;
    s->arg = arg;
    rc = getcontext(&s->uc);
    assert(rc == 0);
    s->uc.uc_stack.ss_sp = stack;
    s->uc.uc_stack.ss_size = ctx->size;
    s->uc.uc_link = NULL;
    makecontext(&s->uc, switch_start, 0);
#ifdef __SANITIZE_THREAD__
    ctx->fiber = __tsan_create_fiber(0);
#endif
}

void switch_fini(struct switch_ctx *ctx)
{
#ifdef __SANITIZE_THREAD__
    __tsan_destroy_fiber(ctx->fiber);
#endif
    *ctx = (struct switch_ctx){0};
}

void switch_to(struct switch_ctx *from, struct switch_ctx *to)
{
    ucontext_t uc;
    int rc;

    from->state = &uc;
    before_switch(from, to, &from->fake_stack);
    rc = swapcontext(&uc, to->state);
    assert(rc == 0);
    after_switch(from);
}

void switch_last(struct switch_ctx *from, struct switch_ctx *to)
{
    before_switch(from, to, NULL); /* NULL: ASan frees the fake stack */
    (void)setcontext(to->state);
    abort();
}
