/* SPDX-License-Identifier: MIT */
#include "co/co.h"

#include <coblk/co.h>

#include "lib/lib_priv.h"

static struct co *co_of_public(struct coblk_co *co)
{
    return (struct co *)co;
}

static struct coblk_co *co_to_public(struct co *co)
{
    return (struct coblk_co *)co;
}

struct coblk_co *coblk_co_new(coblk_co_entry *entry, void *opaque)
{
    return co_to_public(co_new(entry, opaque));
}

void coblk_co_enter(struct coblk_co *public)
{
    struct co *co = co_of_public(public);

    if (!co_home(co) && loop_current()) {
        loop_co_start(co);
    } else if (co_home(co) && !co_self()) {
        loop_co_wake(co); /* also runs those that @co wakes */
    } else {
        co_enter(co);
    }
}

void coblk_co_yield(void)
{
    co_assert_role();
    co_yield();
}

struct coblk_co *coblk_co_self(void)
{
    return co_to_public(co_self());
}

void coblk_co_wake(struct coblk_co *co)
{
    loop_co_wake(co_of_public(co));
}
