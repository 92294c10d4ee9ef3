/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "loop/loop_priv.h"

/* While there is other work, descriptors are looked at in every so many
 * turns: often enough to be fair, rarely enough to save system calls. */
#define TURNS_WITHOUT_EPOLL 8

__thread struct loop *loop_here;

/* -- Life ----------------------------------------------------------------- */

static int loop_open_fds(struct loop *loop)
{
    /* No pointer: the notifier, which has nothing to call. */
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET};

    loop->epfd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epfd < 0) {
        return -errno;
    }
    loop->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->notify_fd < 0) {
        return -errno;
    }
    if (epoll_ctl(loop->epfd, EPOLL_CTL_ADD, loop->notify_fd, &ev) < 0) {
        return -errno;
    }
    return 0;
}

int loop_new(struct loop **ret)
{
    struct loop *loop = NULL;
    int rc;

    if (posix_memalign((void **)&loop, _Alignof(struct loop), sizeof(*loop))) {
        return -ENOMEM;
    }
    *loop = (struct loop){.epfd = -1, .notify_fd = -1};
    list_init(&loop->fds);
    list_init(&loop->timers);
    loop->next_fd = &loop->fds;
    rc = loop_open_fds(loop);
    if (rc < 0) {
        loop_free(loop);
        return rc;
    }
    *ret = loop;
    return 0;
}

void loop_free(struct loop *loop)
{
    if (!loop) {
        return;
    }
    assert(!loop->in_turn);
    loop_free_locals(loop);
    loop_drop_bhs(loop);
    assert(!loop->woken && !atomic_load(&loop->scheduled));
    while (atomic_load(&loop->guests) > 0) {
        (void)sched_yield(); /* for a few instructions of another thread */
    }
    if (loop->notify_fd >= 0) {
        (void)close(loop->notify_fd);
    }
    if (loop->epfd >= 0) {
        (void)close(loop->epfd);
    }
    if (loop_here == loop) {
        loop_here = NULL;
    }
    free(loop);
}

void loop_adopt(struct loop *loop)
{
    assert(!loop->adopted || pthread_equal(loop->home, pthread_self()));
    loop->home = pthread_self();
    loop->adopted = true;
    loop_here = loop;
}

struct loop *loop_current(void)
{
    return loop_here;
}

int64_t loop_now(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

void loop_stats(const struct loop *loop, struct loop_stats *ret)
{
    *ret = (struct loop_stats){
        .turns = atomic_load(&loop->turns),
        .sleeps = atomic_load(&loop->sleeps),
        .polls_ok = atomic_load(&loop->polls_ok),
        .polls_failed = atomic_load(&loop->polls_failed),
        .notifies = atomic_load(&loop->notifies),
        .poll_ns = atomic_load(&loop->poll_ns),
    };
}

/* -- The notifier --------------------------------------------------------- */

void loop_notify(struct loop *loop)
{
    if (atomic_load(&loop->notify_me) &&
        atomic_exchange(&loop->notify_me, false)) {
        atomic_fetch_add_explicit(&loop->notifies, 1, memory_order_relaxed);
        /* Fails only when the counter is full, and is readable then. */
        (void)eventfd_write(loop->notify_fd, 1);
    }
}

static void loop_stop_bh(void *opaque)
{
    ((struct loop *)opaque)->stop = true;
}

void loop_stop(struct loop *loop)
{
    if (loop == loop_here) {
        loop->stop = true;
    } else {
        bh_oneshot(loop, loop_stop_bh, loop);
    }
}

bool loop_has_work(struct loop *loop)
{
    return loop->woken || atomic_load(&loop->scheduled) ||
           loop_bh_timeout(loop) == 0;
}

int64_t loop_timeout(struct loop *loop)
{
    int64_t timeout, deadline;

    if (loop_has_work(loop)) {
        return 0;
    }
    timeout = loop_bh_timeout(loop);
    deadline = loop_timer_deadline(loop);
    if (deadline != INT64_MAX) {
        int64_t left = deadline - loop_now();

        left = left > 0 ? left : 0;
        timeout = timeout < 0 || left < timeout ? left : timeout;
    }
    return timeout;
}

/* -- File descriptors ----------------------------------------------------- */

int loop_add_fd(struct loop *loop, struct loop_fd *lfd)
{
    struct epoll_event ev = {.events = lfd->events, .data.ptr = lfd};

    if (epoll_ctl(loop->epfd, EPOLL_CTL_ADD, lfd->fd, &ev) < 0) {
        return -errno;
    }
    if (lfd->poll) {
        list_add_head(&loop->fds, &lfd->link);
    } else {
        list_add_tail(&loop->fds, &lfd->link);
    }
    return 0;
}

void loop_del_fd(struct loop *loop, struct loop_fd *lfd)
{
    /* Fails when the owner has closed it before; it is not watched then. */
    (void)epoll_ctl(loop->epfd, EPOLL_CTL_DEL, lfd->fd, NULL);
    if (loop->next_fd == &lfd->link) {
        loop->next_fd = lfd->link.next;
    }
    list_del(&lfd->link);
    for (int i = 0; i < loop->n_events; i++) {
        if (loop->events[i].data.ptr == lfd) {
            loop->events[i].data.ptr = NULL;
        }
    }
}

static bool loop_run_fds(struct loop *loop)
{
    bool ran = false;

    for (int i = 0; i < loop->n_events; i++) {
        struct loop_fd *lfd = loop->events[i].data.ptr;

        if (lfd) {
            lfd->ready(lfd->opaque, loop->events[i].events);
            ran = true;
        }
    }
    loop->n_events = 0;
    return ran;
}

/* -- The turn ------------------------------------------------------------- */

/* epoll_wait() that sleeps for @ns; -1 is for ever. */
static int loop_epoll_wait(struct loop *loop, int64_t ns)
{
    int64_t ms;

    if (ns <= 0) {
        return epoll_wait(loop->epfd, loop->events, LOOP_EVENTS,
                          ns < 0 ? -1 : 0);
    }
#ifdef HAVE_EPOLL_PWAIT2
    if (!loop->whole_ms) {
        struct timespec ts = {ns / 1000000000, ns % 1000000000};
        int n = epoll_pwait2(loop->epfd, loop->events, LOOP_EVENTS, &ts, NULL);

        /* An old kernel, or a filter that does not know the call. */
        loop->whole_ms = n < 0 && (errno == ENOSYS || errno == EPERM);
        if (!loop->whole_ms) {
            return n;
        }
    }
#endif
    ms = (ns - 1) / 1000000 + 1;
    return epoll_wait(loop->epfd, loop->events, LOOP_EVENTS,
                      ms > INT_MAX ? INT_MAX : (int)ms);
}

static void loop_epoll(struct loop *loop, int64_t timeout)
{
    int n = loop_epoll_wait(loop, timeout);

    assert(n >= 0 || errno == EINTR);
    loop->n_events = n < 0 ? 0 : n;
    loop->turns_without_epoll = 0;
}

/* Looks at the descriptors, unless that was done a moment ago. */
static void loop_epoll_now_and_then(struct loop *loop)
{
    if (++loop->turns_without_epoll >= TURNS_WITHOUT_EPOLL) {
        loop_epoll(loop, 0);
    }
}

static void loop_sleep(struct loop *loop)
{
    int64_t timeout;

    atomic_store(&loop->notify_me, true);
    timeout = loop_timeout(loop);
    if (timeout != 0) {
        loop_count(&loop->sleeps);
    }
    loop_epoll(loop, timeout);
    atomic_store_explicit(&loop->notify_me, false, memory_order_relaxed);
}

/* Waits until there is something to run; returns whether polling already ran
 * something. */
static bool loop_wait(struct loop *loop)
{
    bool polling = loop->polling.max_ns > 0;
    int64_t start, slept;

    if (loop_has_work(loop)) {
        bool ran = polling && loop_poll_once(loop);

        loop_epoll_now_and_then(loop);
        return ran;
    }
    start = polling ? loop_now() : 0;
    if (polling && loop_spin(loop, start)) {
        loop_epoll_now_and_then(loop);
        return true;
    }
    slept = polling ? loop_now() : 0;
    loop_sleep(loop);
    if (polling) {
        loop_adapt(loop, start, slept);
    }
    return false;
}

bool loop_turn(struct loop *loop, bool may_block)
{
    bool ran = false;

    assert(!loop->in_turn && !co_self());
    loop_adopt(loop);
    loop->in_turn = true;
    loop_count(&loop->turns);
    if (may_block) {
        ran = loop_wait(loop);
    } else {
        loop_epoll(loop, 0);
    }

    loop_plug();
    ran |= loop_run_fds(loop);
    ran |= loop_run_scheduled(loop);
    ran |= loop_run_bhs(loop);
    ran |= loop_run_timers(loop);
    ran |= loop_run_woken(loop);
    loop_unplug();
    loop->in_turn = false;
    return ran;
}

void loop_run(struct loop *loop)
{
    while (!loop->stop) {
        loop_turn(loop, true);
    }
    loop->stop = false;
}
