/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <stdbool.h>

#include "base/compiler.h"
#include "loop/loop.h"

/* More than this in one batch, and the array moves to the heap for it. */
#define PLUG_CALLS 16

struct deferred {
    void (*fn)(void *opaque);
    void *opaque;
};

static __thread struct {
    unsigned depth; /* of loop_plug() */
    unsigned next;  /* the first in @calls that has not run */
    unsigned n, max;
    struct deferred *more; /* instead of @calls */
    struct deferred calls[PLUG_CALLS];
} plug = {.max = PLUG_CALLS};

static inline struct deferred *plug_calls(void)
{
    return plug.more ? plug.more : plug.calls;
}

static void plug_grow(void)
{
    struct deferred *more = g_renew(struct deferred, plug.more, plug.max * 2);

    if (!plug.more) {
        for (unsigned i = 0; i < plug.n; i++) {
            more[i] = plug.calls[i];
        }
    }
    plug.more = more;
    plug.max *= 2;
}

void loop_plug(void)
{
    plug.depth++;
}

void loop_defer(void (*fn)(void *opaque), void *opaque)
{
    struct deferred *calls = plug_calls();

    if (plug.depth == 0) {
        fn(opaque);
        return;
    }
    for (unsigned i = plug.next; i < plug.n; i++) {
        if (calls[i].fn == fn && calls[i].opaque == opaque) {
            return;
        }
    }
    if (plug.n == plug.max) {
        plug_grow();
        calls = plug_calls();
    }
    calls[plug.n++] = (struct deferred){fn, opaque};
}

void loop_unplug(void)
{
    assert(plug.depth > 0);
    if (plug.depth > 1) {
        plug.depth--;
        return;
    }

    /* Still plugged: what these calls defer in their turn is batched too. */
    while (plug.next < plug.n) {
        struct deferred call = plug_calls()[plug.next++];

        call.fn(call.opaque);
    }
    plug.next = plug.n = 0;
    plug.depth = 0;
    if (unlikely(plug.more)) {
        g_free(plug.more);
        plug.more = NULL;
        plug.max = PLUG_CALLS;
    }
}
