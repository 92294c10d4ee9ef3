/* SPDX-License-Identifier: MIT */

#include "format/fan.h"

#include <stdlib.h>

#include "loop/loop.h"

#define FAN_WIDTH 8

struct branch {
    struct fan *fan;
    fan_fn *fn;
    void *part;
};

static void branch_end(struct fan *f, int rc)
{
    struct co *waiter = f->waiter;

    f->running--;
    f->rc = f->rc ? f->rc : rc;
    if (waiter) {
        f->waiter = NULL;
        loop_co_wake(waiter);
    }
}

static void branch_entry(void *opaque)
{
    struct branch b = *(struct branch *)opaque;

    co_assert_role();
    free(opaque);
    branch_end(b.fan, b.fn(b.part)); /* yields */
}

static void co_fn fan_wait(struct fan *f)
{
    f->waiter = co_self();
    co_yield();
}

void co_fn fan_start(struct fan *f, fan_fn *fn, void *part)
{
    struct branch *b;
    struct co *co;

    while (f->running >= FAN_WIDTH) {
        fan_wait(f); /* yields */
    }
    b = malloc(sizeof(*b));
    co = b ? co_new(branch_entry, b) : NULL;
    f->running++;
    if (co) {
        *b = (struct branch){.fan = f, .fn = fn, .part = part};
        loop_co_start(co);
    } else {
        free(b);
        branch_end(f, fn(part)); /* one after the other, then; yields */
    }
}

int co_fn fan_finish(struct fan *f)
{
    while (f->running > 0) {
        fan_wait(f); /* yields */
    }
    return f->rc;
}
