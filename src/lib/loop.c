/* SPDX-License-Identifier: MIT */
#include "loop/loop.h"

#include <coblk/loop.h>
#include <errno.h>

#include "lib/lib_priv.h"
#include "loop/sync.h"

/* -- The loop ------------------------------------------------------------ */

int coblk_loop_new(struct coblk_loop **ret)
{
    struct loop *loop;
    int rc;

    if (loop_current()) {
        return -EEXIST;
    }
    rc = loop_new(&loop);
    if (rc < 0) {
        return rc;
    }
    loop_adopt(loop);
    *ret = loop_to_public(loop);
    return 0;
}

void coblk_loop_free(struct coblk_loop *loop)
{
    loop_free(loop_of_public(loop));
}

void coblk_loop_run(struct coblk_loop *loop)
{
    loop_run(loop_of_public(loop));
}

void coblk_loop_stop(struct coblk_loop *loop)
{
    loop_stop(loop_of_public(loop));
}

int coblk_loop_run_co(struct coblk_loop *loop, coblk_co_entry *entry,
                      void *opaque)
{
    return loop_co_run_blocking(loop_of_public(loop), entry, opaque);
}

GSource *coblk_loop_gsource(struct coblk_loop *loop)
{
    return loop_gsource(loop_of_public(loop));
}

/* -- Timers -------------------------------------------------------------- */

struct coblk_timer {
    struct loop_timer timer;
};

int64_t coblk_now(void)
{
    return loop_now();
}

void coblk_co_sleep(int64_t ns)
{
    co_assert_role();
    co_sleep_ns(ns);
}

struct coblk_timer *coblk_timer_new(struct coblk_loop *loop, coblk_loop_fn *fn,
                                    void *opaque)
{
    struct coblk_timer *timer = g_new(struct coblk_timer, 1);

    loop_timer_init(&timer->timer, loop_of_public(loop), fn, opaque);
    return timer;
}

void coblk_timer_arm(struct coblk_timer *timer, int64_t deadline)
{
    loop_timer_arm(&timer->timer, deadline);
}

void coblk_timer_cancel(struct coblk_timer *timer)
{
    loop_timer_cancel(&timer->timer);
}

void coblk_timer_free(struct coblk_timer *timer)
{
    if (timer) {
        loop_timer_cancel(&timer->timer);
        g_free(timer);
    }
}

/* -- Bottom halves ------------------------------------------------------- */

struct coblk_bh *coblk_bh_new(struct coblk_loop *loop, coblk_loop_fn *fn,
                              void *opaque)
{
    return (struct coblk_bh *)bh_new(loop_of_public(loop), fn, opaque);
}

void coblk_bh_schedule(struct coblk_bh *bh)
{
    bh_schedule((struct bh *)bh);
}

void coblk_bh_free(struct coblk_bh *bh)
{
    bh_free((struct bh *)bh);
}

/* -- File descriptors ---------------------------------------------------- */

struct coblk_watch {
    struct loop *loop;
    struct loop_fd fd;
};

int coblk_watch_new(struct coblk_loop *loop, int fd, uint32_t events,
                    coblk_watch_fn *fn, void *opaque, struct coblk_watch **ret)
{
    struct coblk_watch *watch = g_new0(struct coblk_watch, 1);
    int rc;

    watch->loop = loop_of_public(loop);
    watch->fd = (struct loop_fd){
        .fd = fd,
        .events = events,
        .ready = fn,
        .opaque = opaque,
    };
    rc = loop_add_fd(watch->loop, &watch->fd);
    if (rc < 0) {
        g_free(watch);
        return rc;
    }
    *ret = watch;
    return 0;
}

void coblk_watch_free(struct coblk_watch *watch)
{
    if (watch) {
        loop_del_fd(watch->loop, &watch->fd);
        g_free(watch);
    }
}
