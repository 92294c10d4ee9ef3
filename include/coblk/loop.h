/* SPDX-License-Identifier: MIT */
/*
 * loop: the event loop of a thread: coroutines that wait, timers, bottom
 * halves, file descriptors.
 *
 * A loop runs by itself (coblk_loop_run()), until one coroutine has ended
 * (coblk_loop_run_co()), or inside a GMainLoop (coblk_loop_gsource()).  No
 * callback may run the loop that called it.
 *
 * See coblk/api.h for units, errors and threading.  Everything is called on
 * the loop's thread unless its comment begins with "Any thread".
 */
#ifndef COBLK_LOOP_H
#define COBLK_LOOP_H

#include <coblk/api.h>
#include <coblk/co.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct _GSource; /* GLib's GSource */
struct coblk_loop;

/* A callback of a loop; it must not block. */
typedef void coblk_loop_fn(void *opaque);

/*
 * Makes the loop of the calling thread.  Returns 0, or
 *   -EEXIST  the thread has one already
 *   -ENOMEM, -EMFILE, -ENFILE
 */
COBLK_API COBLK_NODISCARD int coblk_loop_new(struct coblk_loop **ret);

/* Frees @loop, which is not running; NULL is fine.  All coroutines of it have
 * ended, and all that was made for it is freed. */
COBLK_API void coblk_loop_free(struct coblk_loop *loop);

/* Runs callbacks and coroutines until coblk_loop_stop(). */
COBLK_API void coblk_loop_run(struct coblk_loop *loop);

/* Any thread.  Makes coblk_loop_run() return soon. */
COBLK_API void coblk_loop_stop(struct coblk_loop *loop);

/*
 * Any thread, outside of coroutines and callbacks.  Runs @entry(@opaque) as a
 * coroutine of @loop and returns when it has ended.  The loop's own thread
 * runs the loop meanwhile; another thread waits until the loop's thread, which
 * must be running it, has done so.  Returns 0 or -ENOMEM.
 */
COBLK_API COBLK_NODISCARD int coblk_loop_run_co(struct coblk_loop *loop,
                                                coblk_co_entry *entry,
                                                void *opaque);

/*
 * The loop as a GSource for the main context of the loop's thread.  The caller
 * attaches it, and destroys and unrefs it before the loop is freed.
 */
COBLK_API struct _GSource *coblk_loop_gsource(struct coblk_loop *loop);

/* -- Coroutines ---------------------------------------------------------- */

/*
 * Any thread.  Enters @co, which belongs to a loop and has called
 * coblk_co_yield() or is about to, on its own thread: now if this is that
 * thread and runs no coroutine, else soon.  Each yield is ended by one wake.
 */
COBLK_API void coblk_co_wake(struct coblk_co *co);

/* Suspends the running coroutine, which belongs to a loop, for @ns. */
COBLK_API void coblk_co_sleep(int64_t ns);

/* -- Timers -------------------------------------------------------------- */

struct coblk_timer;

/* Any thread.  The time now. */
COBLK_API int64_t coblk_now(void);

/* Makes a timer, not armed, that calls @fn(@opaque).  Free it before @loop. */
COBLK_API struct coblk_timer *coblk_timer_new(struct coblk_loop *loop,
                                              coblk_loop_fn *fn, void *opaque);
/* Arms or moves @timer: it calls once, at @deadline or soon after. */
COBLK_API void coblk_timer_arm(struct coblk_timer *timer, int64_t deadline);
COBLK_API void coblk_timer_cancel(struct coblk_timer *timer);
/* Cancels and frees; NULL is fine. */
COBLK_API void coblk_timer_free(struct coblk_timer *timer);

/* -- Bottom halves ------------------------------------------------------- */

struct coblk_bh;

/* Makes a bottom half: a callback that runs once per scheduling, in a later
 * step of @loop and never inside the call that scheduled it. */
COBLK_API struct coblk_bh *coblk_bh_new(struct coblk_loop *loop,
                                        coblk_loop_fn *fn, void *opaque);
/* Any thread.  Does nothing while @bh is scheduled already. */
COBLK_API void coblk_bh_schedule(struct coblk_bh *bh);
/* Any thread.  Cancels and frees, also inside the callback; NULL is fine. */
COBLK_API void coblk_bh_free(struct coblk_bh *bh);

/* -- File descriptors ---------------------------------------------------- */

struct coblk_watch;

/* @events: those of EPOLLIN, EPOLLOUT, … that are there. */
typedef void coblk_watch_fn(void *opaque, uint32_t events);

/*
 * Calls @fn(@opaque, …) whenever @fd is ready for @events (of epoll(7)).  @fd
 * stays the caller's and is open until coblk_watch_free().  Returns 0, or the
 * negative errno of epoll_ctl(2): -EEXIST, -EPERM (a regular file), -ENOMEM.
 */
COBLK_API COBLK_NODISCARD int coblk_watch_new(struct coblk_loop *loop, int fd,
                                              uint32_t events,
                                              coblk_watch_fn *fn, void *opaque,
                                              struct coblk_watch **ret);
/* Ends and frees, also inside the callback; NULL is fine. */
COBLK_API void coblk_watch_free(struct coblk_watch *watch);

#ifdef __cplusplus
}
#endif

#endif /* COBLK_LOOP_H */
