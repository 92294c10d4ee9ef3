/* SPDX-License-Identifier: MIT */

#include "rig.h"

#include <glib.h>

#include "block/node.h"

struct rig_opening {
    struct rig *rig;
    const struct calls_opts *opts;
    unsigned flags;
};

static void rig_open(void *opaque)
{
    struct rig_opening *o = opaque;
    struct node *node;

    co_assert_role();
    node = calls_co_open(o->opts);
    g_assert_cmpint(backend_new(node, o->flags, &o->rig->be), ==, 0);
    o->rig->calls = calls_of(node);
    g_assert_cmpint(node_co_unref(node), ==, 0); /* the backend has its own */
}

void rig_up(struct rig *r, const struct calls_opts *opts, unsigned flags)
{
    struct rig_opening o = {r, opts, flags};

    g_assert_cmpint(loop_new(&r->loop), ==, 0);
    loop_adopt(r->loop);
    rig_run(rig_open, &o);
}

struct rig_closing {
    struct backend *be;
    int rc;
};

static void rig_close(void *opaque)
{
    struct rig_closing *c = opaque;

    co_assert_role();
    c->rc = backend_co_free(c->be);
}

int rig_down(struct rig *r)
{
    struct rig_closing c = {.be = r->be};

    calls_set_mode(r->calls, CALLS_DO);
    rig_run(rig_close, &c);
    loop_free(r->loop);
    return c.rc;
}

void rig_settle(void)
{
    while (loop_turn(loop_current(), false)) {
    }
}

void rig_start(co_entry_fn *entry, void *opaque)
{
    struct co *co = co_new(entry, opaque);

    g_assert_nonnull(co);
    loop_co_start(co);
}

void rig_run(co_entry_fn *entry, void *opaque)
{
    g_assert_cmpint(loop_co_run_blocking(loop_current(), entry, opaque), ==, 0);
}
