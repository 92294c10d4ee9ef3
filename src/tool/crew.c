/* SPDX-License-Identifier: MIT */

#include "tool/crew.h"

#include <assert.h>
#include <glib.h>
#include <stdbool.h>

#include "loop/iothread.h"
#include "loop/loop.h"
#include "loop/sync.h"

#define TICK_NS INT64_C(100000000)

struct crew {
    unsigned n;
    struct iothread *threads[CREW_MAX]; /* owned */
};

/* One use of the crew; on the stack of who waits. */
struct run {
    struct loop *home;
    co_entry_fn *work;
    void *opaque;
    struct co_sleep sleep;
    unsigned active; /* home thread only */
};

/* What a worker is told; freed on the home thread. */
struct shift {
    struct run *run;
    struct co *co;
};

static void shift_ended(void *opaque)
{
    struct shift *s = opaque;
    struct run *run = s->run;

    g_free(s);
    if (--run->active == 0) {
        co_sleep_wake(&run->sleep);
    }
}

static void shift_entry(void *opaque)
{
    struct shift *s = opaque;

    s->run->work(s->run->opaque);
    bh_oneshot(s->run->home, shift_ended, s);
}

static void shift_start(void *opaque)
{
    struct shift *s = opaque;

    loop_co_start(s->co);
}

static int start_thread(struct crew *crew, unsigned i,
                        int (*prepare)(struct loop *loop))
{
    g_autofree char *name = g_strdup_printf("coblk-work-%u", i);
    struct iothread *t;
    int rc = iothread_new(name, &t);

    if (rc < 0) {
        return rc;
    }
    crew->threads[crew->n++] = t;
    return prepare ? prepare(iothread_loop(t)) : 0;
}

int crew_new(unsigned n, int (*prepare)(struct loop *loop), struct crew **ret)
{
    struct crew *crew = g_new0(struct crew, 1);
    int rc = 0;

    assert(n > 0 && n <= CREW_MAX);
    for (unsigned i = 0; i < n && rc == 0; i++) {
        rc = start_thread(crew, i, prepare);
    }
    if (rc < 0) {
        crew_free(crew);
        return rc;
    }
    *ret = crew;
    return 0;
}

void crew_free(struct crew *crew)
{
    if (!crew) {
        return;
    }
    for (unsigned i = 0; i < crew->n; i++) {
        iothread_free(crew->threads[i]);
    }
    g_free(crew);
}

unsigned crew_size(const struct crew *crew)
{
    return crew->n;
}

/* Sends worker @i to work.  Without memory for its coroutine the others do
 * its part; the last resort is the caller's own. */
static void run_start(struct run *run, struct crew *crew, unsigned i)
{
    struct shift *s = g_new(struct shift, 1);

    *s = (struct shift){.run = run, .co = co_new(shift_entry, s)};
    if (!s->co) {
        g_free(s);
        return;
    }
    run->active++;
    bh_oneshot(iothread_loop(crew->threads[i]), shift_start, s);
}

void co_fn crew_co_run(struct crew *crew, co_entry_fn *work,
                       void (*tick)(void *opaque), void *opaque)
{
    struct run run = {
        .home = loop_co_home(),
        .work = work,
        .opaque = opaque,
    };

    for (unsigned i = 0; i < crew->n; i++) {
        run_start(&run, crew, i);
    }
    if (run.active == 0) {
        work(opaque);
    }
    while (run.active > 0) {
        co_sleep_until(&run.sleep, loop_now() + TICK_NS); /* yields */
        if (tick && run.active > 0) {
            tick(opaque);
        }
    }
    if (tick) {
        tick(opaque);
    }
}
