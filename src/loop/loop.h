/* SPDX-License-Identifier: MIT */
/*
 * loop: the event loop (an AIO context): file descriptors, bottom halves,
 * timers, and coroutines that wait.
 *
 * One loop is run by one thread.  A turn of the loop is: run what is due,
 * then sleep in epoll until something is, busy-polling first for as long as
 * that paid off lately.  Loops never nest: no callback runs its loop.
 *
 * Threading: on the loop's home thread only, except for functions whose
 *            comment begins with "Any thread".
 * Units:     times are nanoseconds of CLOCK_MONOTONIC.
 */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "co/co.h"

struct loop;

/* Makes a loop; home is the thread that first runs, turns or adopts it.
 * Returns 0 or the negative errno of epoll_create1() or eventfd(). */
nodiscard int loop_new(struct loop **ret);

/* Runs finalizers, drops what is left, frees.  NULL is fine.  The loop must
 * not be running; all coroutines of it must have ended. */
void loop_free(struct loop *loop);

/* Makes the calling thread the home of @loop and loop_current() return it. */
void loop_adopt(struct loop *loop);

/* The loop whose home is this thread, or NULL. */
struct loop *loop_current(void);

/* Turns the loop until loop_stop(). */
void loop_run(struct loop *loop);

/* Any thread.  Makes loop_run() return after the turn it is in. */
void loop_stop(struct loop *loop);

/*
 * One turn; sleeps only when @may_block and nothing is due.  Returns whether
 * anything ran.  For tests, and for *_blocking functions at the top.
 */
bool loop_turn(struct loop *loop, bool may_block);

/* The loop as a source for a GMainLoop that runs on the home thread.  The
 * caller attaches and unrefs it. */
GSource *loop_gsource(struct loop *loop);

/* -- File descriptors ---------------------------------------------------- */

/*
 * A watched descriptor, in the owner's memory, constant while added.
 *
 * @poll, when set, is tried while the loop busy-polls, and once a turn while
 * there is other work, unless polling is off: it looks without blocking whether
 * there is work, does it, and returns whether there was.
 */
struct loop_fd {
    int fd;
    uint32_t events; /* EPOLLIN, EPOLLOUT, EPOLLET, EPOLLEXCLUSIVE, … */
    void (*ready)(void *opaque, uint32_t events);
    bool (*poll)(void *opaque); /* NULL: cannot be polled */
    void *opaque;

    struct list link; /* loop/ only */
};

/* Returns 0 or the negative errno of epoll_ctl(). */
nodiscard int loop_add_fd(struct loop *loop, struct loop_fd *lfd);

/* @lfd may be freed as soon as this returns, also inside its own callback.
 * Comes before the descriptor is closed. */
void loop_del_fd(struct loop *loop, struct loop_fd *lfd);

/* -- Bottom halves ------------------------------------------------------- */

struct bh;
typedef void bh_fn(void *opaque);

/* A bottom half of @loop: a callback that runs once per scheduling, in a later
 * step of the loop and never inside the call that scheduled it. */
struct bh *bh_new(struct loop *loop, bh_fn *fn, void *opaque);

/* Any thread.  Nothing if it is scheduled already. */
void bh_schedule(struct bh *bh);

/* Any thread.  Like bh_schedule(), but does not keep the loop awake: it runs
 * in the next turn, or after 10 ms when there is none. */
void bh_schedule_idle(struct bh *bh);

/* Any thread.  A bottom half that has not started will not run. */
void bh_cancel(struct bh *bh);

/* Any thread.  Cancels and frees; may be called by the callback itself.  NULL
 * is fine. */
void bh_free(struct bh *bh);

/* Any thread.  Runs @fn(@opaque) once on @loop's thread; frees itself. */
void bh_oneshot(struct loop *loop, bh_fn *fn, void *opaque);

/* -- Timers -------------------------------------------------------------- */

/* A timer, in the owner's memory. */
struct loop_timer {
    struct loop *loop;
    void (*fn)(void *opaque);
    void *opaque;
    int64_t deadline; /* -1 when not armed */
    struct list link; /* loop's list, earliest deadline first */
};

void loop_timer_init(struct loop_timer *t, struct loop *loop,
                     void (*fn)(void *opaque), void *opaque);
/* Arms, or moves, the timer; runs once at or after @deadline. */
void loop_timer_arm(struct loop_timer *t, int64_t deadline);
void loop_timer_cancel(struct loop_timer *t);

/* Any thread.  CLOCK_MONOTONIC now. */
int64_t loop_now(void);

/* -- Plugging ------------------------------------------------------------ */

/*
 * While a thread is plugged, calls given to loop_defer() are held back, each
 * (@fn, @opaque) pair once, and run at the outermost loop_unplug(); without a
 * plug they run at once.  This is how one io_submit serves a batch.  The loop
 * plugs around each of its dispatch phases by itself.  Do not yield between
 * loop_plug() and loop_unplug(); @fn runs as plain code and does not yield.
 */
void loop_plug(void);
void loop_unplug(void);
void loop_defer(void (*fn)(void *opaque), void *opaque);

/* -- Coroutines ---------------------------------------------------------- */

/*
 * Makes the calling thread's loop the home of the new coroutine @co and runs
 * it until its first yield.
 */
void loop_co_start(struct co *co);

/*
 * Any thread.  Wakes @co, which has yielded or is about to, on its home loop:
 *   on the home thread, outside of any coroutine   enters it now
 *   on the home thread, inside a coroutine         enters it when that one
 *                                                  yields or ends
 *   on another thread                              home loop enters it soon
 * Each yield is ended by one wake.  @co may be freed when this returns.
 */
void loop_co_wake(struct co *co);

/*
 * Any thread.  The same, but never enters @co inside this call: for callers
 * outside of any coroutine that hold a lock which @co will want.
 */
void loop_co_wake_later(struct co *co);

/* The home loop of the running coroutine. */
struct loop *co_fn loop_co_home(void);

/* Suspends the running coroutine until the loop's next turn. */
void co_fn loop_co_relax(void);

/*
 * Runs @entry(@opaque) as a coroutine of @loop and waits for its end.  From
 * @loop's home thread (outside of a turn) it turns the loop meanwhile; from a
 * thread that has no loop it sleeps while @loop's thread runs it; a thread that
 * has another loop turns that one meanwhile.  Returns 0, or -ENOMEM when no
 * coroutine can be made.
 */
nodiscard int loop_co_run_blocking(struct loop *loop, co_entry_fn *entry,
                                   void *opaque);

/* -- Adaptive polling ---------------------------------------------------- */

/*
 * Any thread.  Before sleeping, busy-poll up to @max_ns; 0 turns polling off.
 * The window grows by the factor @grow (0: 2) when an event came soon after
 * the loop went to sleep, and shrinks by @shrink (0: to nothing) when none came
 * within @max_ns.  At most half of the processors spin at a time.
 */
void loop_set_polling(struct loop *loop, int64_t max_ns, int grow, int shrink);

struct loop_stats {
    uint64_t turns, sleeps, polls_ok, polls_failed, notifies;
    int64_t poll_ns; /* the window now */
};
/* Any thread; the values may be a moment old. */
void loop_stats(const struct loop *loop, struct loop_stats *ret);

/* -- Data of other layers that lives as long as a loop -------------------- */

/*
 * One value per loop for each @key (the address of a static variable): how an
 * engine keeps one instance per loop.  @free_fn is run by loop_free() on the
 * thread that calls it, last set first.
 */
void *loop_local(struct loop *loop, const void *key);
void loop_set_local(struct loop *loop, const void *key, void *value,
                    void (*free_fn)(void *value));

#endif /* LOOP_LOOP_H */
