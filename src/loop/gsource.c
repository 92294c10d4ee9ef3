/* SPDX-License-Identifier: MIT */
/*
 * A loop inside a GMainLoop: the main loop polls the epoll descriptor, which
 * is readable when any descriptor of ours is, and each dispatch is one turn
 * that does not sleep.
 */
#include <stdatomic.h>

#include "loop/loop_priv.h"

struct loop_source {
    GSource base;
    struct loop *loop;
    gpointer tag; /* of the epoll descriptor */
};

static gboolean loop_source_prepare(GSource *source, gint *timeout)
{
    struct loop *loop = ((struct loop_source *)source)->loop;
    int64_t ns;

    atomic_store(&loop->notify_me, true);
    ns = loop_timeout(loop);
    *timeout = ns < 0 ? -1 : (gint)MIN((ns + 999999) / 1000000, G_MAXINT);
    return ns == 0;
}

static gboolean loop_source_check(GSource *source)
{
    struct loop_source *s = (struct loop_source *)source;

    atomic_store(&s->loop->notify_me, false);
    return g_source_query_unix_fd(source, s->tag) != 0 ||
           loop_timeout(s->loop) == 0;
}

static gboolean loop_source_dispatch(GSource *source, GSourceFunc callback,
                                     gpointer user_data)
{
    (void)loop_turn(((struct loop_source *)source)->loop, false);
    return G_SOURCE_CONTINUE;
}

GSource *loop_gsource(struct loop *loop)
{
    static GSourceFuncs funcs = {
        .prepare = loop_source_prepare,
        .check = loop_source_check,
        .dispatch = loop_source_dispatch,
    };
    GSource *source = g_source_new(&funcs, sizeof(struct loop_source));
    struct loop_source *s = (struct loop_source *)source;

    s->loop = loop;
    s->tag = g_source_add_unix_fd(source, loop->epfd, G_IO_IN);
    g_source_set_name(source, "coblk-loop");
    return source;
}
