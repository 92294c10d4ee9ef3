/* SPDX-License-Identifier: MIT */

#include "engine/manual.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "engine/perform.h"
#include "loop/loop.h"

struct manual {
    struct engine e;
    struct list pending; /* struct engine_io, oldest first */
    bool automatic;
};

static const char manual_key; /* its address names the engine of a loop */

static struct manual *manual_of(struct engine *e)
{
    return container_of(e, struct manual, e);
}

static void manual_submit(struct engine *e, struct engine_io *io)
{
    struct manual *m = manual_of(e);

    if (m->automatic) {
        engine_complete(io, engine_perform(io));
    } else {
        list_add_tail(&m->pending, &io->link);
    }
}

static void manual_free_engine(struct engine *e)
{
    struct manual *m = manual_of(e);

    assert(list_empty(&m->pending));
    loop_set_local(e->loop, &manual_key, NULL, NULL);
    free(m);
}

static const struct engine_ops manual_ops = {
    .name = "manual",
    .submit = manual_submit,
    .free = manual_free_engine,
};

static int manual_get(struct loop *loop, struct engine **ret)
{
    struct manual *m = loop_local(loop, &manual_key);

    if (!m) {
        return -ENOSYS;
    }
    *ret = &m->e;
    return 0;
}

static const struct engine_provider engine_manual = {
    .name = "manual",
    .get = manual_get,
};

struct manual *manual_new(struct loop *loop)
{
    struct manual *m = calloc(1, sizeof(*m));

    if (!m) {
        abort();
    }
    m->e.ops = &manual_ops;
    m->e.loop = loop;
    list_init(&m->pending);
    loop_set_local(loop, &manual_key, m, NULL);
    engine_provider_add(&engine_manual);
    return m;
}

void manual_free(struct manual *m)
{
    if (m) {
        manual_free_engine(&m->e);
    }
}

struct engine *manual_engine(struct manual *m)
{
    return &m->e;
}

int manual_pending(const struct manual *m)
{
    const struct engine_io *io;
    int n = 0;

    list_for_each(io, &m->pending, link) {
        n++;
    }
    return n;
}

static struct engine_io *manual_nth(const struct manual *m, int i)
{
    struct list *l = m->pending.next;

    for (; i > 0 && l != &m->pending; i--) {
        l = l->next;
    }
    assert(l != &m->pending); /* there is an @i-th request */
    return list_entry(l, struct engine_io, link);
}

const struct engine_io *manual_peek(const struct manual *m, int i)
{
    return manual_nth(m, i);
}

static void manual_finish(struct engine_io *io, int64_t result)
{
    list_del(&io->link);
    engine_complete(io, result);
}

void manual_complete(struct manual *m, int i)
{
    struct engine_io *io = manual_nth(m, i);

    manual_finish(io, engine_perform(io));
}

void manual_fail(struct manual *m, int i, int rc)
{
    assert(rc < 0);
    manual_finish(manual_nth(m, i), rc);
}

void manual_complete_short(struct manual *m, int i, int64_t bytes)
{
    struct engine_io *io = manual_nth(m, i);
    struct engine_io part = *io;
    struct iovec *iov;

    assert(io->op == ENGINE_READ || io->op == ENGINE_WRITE);
    assert(bytes >= 0 && bytes < io->iovs.bytes);
    if (bytes == 0) {
        manual_finish(io, 0);
        return;
    }
    iov = g_new(struct iovec, iovs_count(&io->iovs, 0, bytes));
    part.iovs = iovs_of(iov, iovs_slice(&io->iovs, 0, bytes, iov));
    manual_finish(io, engine_perform(&part));
    g_free(iov);
}

void manual_complete_all(struct manual *m)
{
    while (!list_empty(&m->pending)) {
        manual_complete(m, 0);
    }
}

void manual_set_automatic(struct manual *m, bool on)
{
    m->automatic = on;
}
