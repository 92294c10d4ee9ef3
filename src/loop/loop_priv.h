/* SPDX-License-Identifier: MIT */
/*
 * loop_priv: what the files of this folder share.
 *
 *   loop.c     descriptors, the notifier, the turn
 *   bh.c       bottom halves            timer.c   timers
 *   poll.c     adaptive polling         plug.c    deferred calls
 *   wake.c     coroutines of a loop     local.c   values of other layers
 *   gsource.c  the face to GLib         iothread.c, run.c  threads
 *
 * The notifier.  Another thread that gives the loop work first puts it on a
 * list and then, in loop_notify(), looks at notify_me.  The loop first sets
 * notify_me and then looks at its lists, before it sleeps.  All four accesses
 * are sequentially consistent, so at least one side sees the other: either the
 * loop finds the work, or the eventfd is written.  A loop that is awake or
 * busy-polls costs the other thread no system call.
 */
#ifndef LOOP_LOOP_PRIV_H
#define LOOP_LOOP_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/list.h"
#include "loop/loop.h"

/* Descriptors dispatched by one turn. */
#define LOOP_EVENTS 64

/* An idle bottom half runs after this long at the latest. */
#define LOOP_IDLE_NS INT64_C(10000000)

/* How adaptive polling behaves; set by loop_set_polling(). */
struct poll_policy {
    int64_t max_ns;
    int grow, shrink;
};

/* A coroutine's co_next_scheduled() is NULL when it is on no list, and this
 * when it is the last of one. */
#define CO_LAST ((struct co *)1)

struct loop {
    /* Any thread.  Fields of the home thread are on other cache lines. */
    _Alignas(64) struct bh *_Atomic bhs; /* newest first */
    struct co *_Atomic scheduled;        /* newest first */
    atomic_ullong notifies;
    atomic_uint guests;    /* threads between loop_hold() and loop_release() */
    atomic_bool notify_me; /* the loop sleeps, or is about to */

    /* Constant. */
    int notify_fd; /* edge-triggered, therefore never read */
    int epfd;

    /* Home thread only. */
    bool adopted;
    bool in_turn;
    bool stop;        /* loop_run() shall return */
    bool whole_ms;    /* the kernel has no epoll_pwait2() */
    pthread_t home;   /* once adopted */
    struct co *woken; /* to be entered on this thread, first come first */
    struct co *woken_tail;
    struct list timers;   /* loop_timers, earliest first */
    struct list fds;      /* loop_fds, those with a poll callback first */
    struct list *next_fd; /* where a round of poll callbacks goes on */
    struct local *locals; /* newest first */
    struct poll_policy polling;
    unsigned turns_without_epoll;
    int n_events;
    struct epoll_event events[LOOP_EVENTS]; /* of this turn */

    /* Home thread writes, any thread reads. */
    atomic_int_least64_t poll_ns; /* the window now */
    atomic_ullong turns, sleeps, polls_ok, polls_failed;
};

/* This thread's loop; loop_current() for the rest of the world. */
extern __thread struct loop *loop_here;

/* Adds one to a counter that only this thread writes. */
static inline void loop_count(atomic_ullong *n)
{
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/* Any thread.  Ends the loop's sleep; call after the work is on its list. */
void loop_notify(struct loop *loop);

/*
 * Any thread.  loop_free() waits between these two.  They surround the push of
 * work and its notification: the work may be what the last user of the loop
 * has waited for.
 */
static inline void loop_hold(struct loop *loop)
{
    atomic_fetch_add(&loop->guests, 1);
}

static inline void loop_release(struct loop *loop)
{
    atomic_fetch_sub(&loop->guests, 1);
}

/* Whether a turn would run something that is not a descriptor. */
bool loop_has_work(struct loop *loop);

/* How long the loop may sleep, in ns; -1 is for ever. */
int64_t loop_timeout(struct loop *loop);

/* -- bh.c ----------------------------------------------------------------- */

/* Runs what was scheduled until now; returns whether any was not idle. */
bool loop_run_bhs(struct loop *loop);

/* How long the loop may sleep for its bottom halves: 0, LOOP_IDLE_NS or -1. */
int64_t loop_bh_timeout(struct loop *loop);

/* Frees what is left at the end of the loop, without running it. */
void loop_drop_bhs(struct loop *loop);

/* -- timer.c -------------------------------------------------------------- */

/* Runs timers that are due; returns whether any was. */
bool loop_run_timers(struct loop *loop);

/* The first deadline, or INT64_MAX. */
int64_t loop_timer_deadline(const struct loop *loop);

/* -- poll.c --------------------------------------------------------------- */

/*
 * The window of the next wait, when the loop has polled in vain for @window at
 * least and has then been asleep: for @slept ns, @waited ns in all.
 */
int64_t poll_next_window(const struct poll_policy *policy, int64_t window,
                         int64_t waited, int64_t slept);

/* One round of all poll callbacks, so that none starves behind a busy one;
 * returns whether one of them did something. */
bool loop_poll_once(struct loop *loop);

/* Busy-polls for the loop's window from @start on; returns whether something
 * was done or has arrived. */
bool loop_spin(struct loop *loop, int64_t start);

/* Sets the window, after a wait from @start and a sleep from @slept to now. */
void loop_adapt(struct loop *loop, int64_t start, int64_t slept);

/* -- wake.c --------------------------------------------------------------- */

/* Enters the coroutines that were woken on this thread. */
bool loop_run_woken(struct loop *loop);

/* Enters the coroutines that other threads have woken. */
bool loop_run_scheduled(struct loop *loop);

/* -- local.c -------------------------------------------------------------- */

void loop_free_locals(struct loop *loop);

#endif /* LOOP_LOOP_PRIV_H */
