/* SPDX-License-Identifier: MIT */
/*
 * Busy-polling saves the time that the kernel takes to put a thread to sleep
 * and wake it, and costs a processor meanwhile.  So the window follows what
 * would have paid off lately, and on a machine with few processors only some
 * loops poll at a time: the others leave the processors to whoever makes the
 * events.
 */
#include <stdatomic.h>

#include "base/compiler.h"
#include "loop/loop_priv.h"

/* The first window after none; about what a sleep and a wake-up cost. */
#define POLL_FIRST_NS 4000

/* The thread cannot have slept for so short: polling would have saved nothing.
 * Descriptors whose work a poll callback has done already look like this, since
 * epoll still reports them once. */
#define POLL_NO_SLEEP_NS 1500

/* Loops of this process that spin now. */
static atomic_int spinners;

int64_t poll_next_window(const struct poll_policy *policy, int64_t window,
                         int64_t waited, int64_t slept)
{
    int64_t grow;

    if (slept <= POLL_NO_SLEEP_NS) {
        return window;
    }
    if (waited > policy->max_ns) {
        return policy->shrink > 0 ? window / policy->shrink : 0;
    }
    grow = policy->grow > 0 ? policy->grow : 2;
    if (window > policy->max_ns / grow) { /* the product may be too large */
        return policy->max_ns;
    }
    window = window == 0 ? POLL_FIRST_NS : window * grow;
    return window < policy->max_ns ? window : policy->max_ns;
}

static int64_t window_of(const struct loop *loop)
{
    return atomic_load_explicit(&loop->poll_ns, memory_order_relaxed);
}

static void set_window(struct loop *loop, int64_t ns)
{
    atomic_store_explicit(&loop->poll_ns, ns, memory_order_relaxed);
}

/* -- Setting -------------------------------------------------------------- */

struct set_polling {
    struct loop *loop;
    struct poll_policy policy;
};

static void set_polling(struct loop *loop, const struct poll_policy *policy)
{
    loop->polling = *policy;
    if (window_of(loop) > policy->max_ns) {
        set_window(loop, policy->max_ns);
    }
}

static void set_polling_bh(void *opaque)
{
    struct set_polling *s = opaque;

    set_polling(s->loop, &s->policy);
    g_free(s);
}

void loop_set_polling(struct loop *loop, int64_t max_ns, int grow, int shrink)
{
    struct poll_policy policy = {max_ns, grow, shrink};
    struct set_polling *s;

    if (loop == loop_here) {
        set_polling(loop, &policy);
        return;
    }
    s = g_new(struct set_polling, 1);
    *s = (struct set_polling){loop, policy};
    bh_oneshot(loop, set_polling_bh, s);
}

/* -- Spinning ------------------------------------------------------------- */

static int spinners_max(void)
{
    static atomic_int max;
    int n = atomic_load_explicit(&max, memory_order_relaxed);

    if (n == 0) {
        n = MAX(1, (int)g_get_num_processors() / 2);
        atomic_store_explicit(&max, n, memory_order_relaxed);
    }
    return n;
}

static bool spin_begin(void)
{
    if (atomic_fetch_add(&spinners, 1) < spinners_max()) {
        return true;
    }
    atomic_fetch_sub(&spinners, 1);
    return false;
}

static void spin_end(void)
{
    atomic_fetch_sub(&spinners, 1);
}

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

bool loop_poll_once(struct loop *loop)
{
    struct list *link = loop->fds.next;
    bool hit = false;

    loop_plug();
    while (link != &loop->fds) {
        struct loop_fd *lfd = list_entry(link, struct loop_fd, link);

        if (!lfd->poll) {
            break;
        }
        loop->next_fd = link->next; /* loop_del_fd() moves it on */
        hit |= lfd->poll(lfd->opaque);
        link = loop->next_fd;
    }
    loop->next_fd = &loop->fds;
    loop_unplug();
    return hit;
}

static bool spin_until(struct loop *loop, int64_t end)
{
    bool hit;

    /* One round is cheap, and tells what a round is worth. */
    hit = loop_poll_once(loop) || loop_has_work(loop);
    if (hit || !spin_begin()) {
        return hit;
    }
    while (!hit && loop_now() < end) {
        cpu_relax();
        hit = loop_poll_once(loop) || loop_has_work(loop);
    }
    spin_end();
    return hit;
}

bool loop_spin(struct loop *loop, int64_t start)
{
    int64_t window = window_of(loop);
    int64_t deadline = loop_timer_deadline(loop);
    int64_t end = start + window;
    bool hit;

    if (window == 0) {
        return false;
    }
    hit = spin_until(loop, end < deadline ? end : deadline);
    loop_count(hit ? &loop->polls_ok : &loop->polls_failed);
    return hit;
}

void loop_adapt(struct loop *loop, int64_t start, int64_t slept)
{
    int64_t now = loop_now();

    set_window(loop, poll_next_window(&loop->polling, window_of(loop),
                                      now - start, now - slept));
}
