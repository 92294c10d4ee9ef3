/* SPDX-License-Identifier: MIT */
#include "co/co.h"

#include <assert.h>
#include <stdint.h>

#include "base/compiler.h"
#include "co/stack.h"
#include "co/switch.h"

enum co_state {
    CO_SUSPENDED, /* new, or has yielded */
    CO_RUNNING,   /* running, or waits for a coroutine that it has entered */
    CO_ENDED,     /* its entry function has returned */
};

/* A coroutine lies in the header of its own stack. */
struct co {
    struct stack stack;
    struct switch_ctx ctx;
    struct co *caller; /* whom a yield goes back to; NULL: the thread */
    enum co_state state;
    co_entry_fn *entry;
    void *opaque;

    /* For the layer above. */
    void *home;
    struct co *next_scheduled;
    struct list link;
};

_Static_assert(sizeof(struct co) <= STACK_HEADER, "a coroutine fits its place");

/* The running coroutine, NULL outside of any. */
static __thread struct co *current;

/* The stack that the thread was born with. */
static __thread struct switch_ctx thread_ctx;

static inline struct switch_ctx *ctx_of(struct co *co)
{
    return co ? &co->ctx : &thread_ctx;
}

/* What runs on a coroutine's stack. */
static void co_main(void *opaque)
{
    struct co *co = opaque;

    co->entry(co->opaque);
    co->state = CO_ENDED;
    current = co->caller;
    switch_last(&co->ctx, ctx_of(co->caller));
}

struct co *co_new(co_entry_fn *entry, void *opaque)
{
    struct stack *stack = stack_get();
    struct co *co;

    if (!stack) {
        return NULL;
    }
    co = container_of(stack, struct co, stack);
    co->state = CO_SUSPENDED;
    co->entry = entry;
    co->opaque = opaque;
    co->home = NULL;
    co->next_scheduled = NULL;
    list_init(&co->link);
    switch_init(&co->ctx, stack->bottom, stack_size(stack), co_main, co);
    return co;
}

void co_enter(struct co *co)
{
    struct co *self = current;

    assert(co->state == CO_SUSPENDED);
    co->state = CO_RUNNING;
    co->caller = self;
    current = co;
    switch_to(ctx_of(self), &co->ctx);
    if (co->state == CO_ENDED) {
        switch_fini(&co->ctx);
        stack_put(&co->stack);
    }
}

void co_yield(void)
{
    struct co *self = current;

    assert(self);
    self->state = CO_SUSPENDED;
    current = self->caller;
    switch_to(&self->ctx, ctx_of(self->caller));
}

struct co *co_self(void)
{
    return current;
}

void *co_home(const struct co *co)
{
    return co->home;
}

void co_set_home(struct co *co, void *home)
{
    co->home = home;
}

struct list *co_link(struct co *co)
{
    return &co->link;
}

struct co *co_from_link(struct list *link)
{
    return list_entry(link, struct co, link);
}

struct co **co_next_scheduled(struct co *co)
{
    return &co->next_scheduled;
}
