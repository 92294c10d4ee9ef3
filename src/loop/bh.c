/* SPDX-License-Identifier: MIT */
/*
 * Bottom halves wait on a stack that any thread pushes to with one atomic
 * operation; the loop takes all of it at once and turns it round, which makes
 * it first come, first run.  Nobody but the loop takes anything off, so no
 * push can meet a reused address.
 */
#include <stdatomic.h>

#include "loop/loop_priv.h"

enum bh_flag {
    BH_PENDING = 1 << 0,   /* on the stack, or among those just taken */
    BH_SCHEDULED = 1 << 1, /* shall run */
    BH_IDLE = 1 << 2,      /* shall run when it suits */
    BH_ONESHOT = 1 << 3,   /* is freed after it has run */
    BH_DELETED = 1 << 4,   /* is freed without running */
};

struct bh {
    /* Constant. */
    struct loop *loop;
    bh_fn *fn;
    void *opaque;

    atomic_uint flags;
    struct bh *next; /* belongs to whoever has set BH_PENDING */
};

struct bh *bh_new(struct loop *loop, bh_fn *fn, void *opaque)
{
    struct bh *bh = g_new(struct bh, 1);

    *bh = (struct bh){.loop = loop, .fn = fn, .opaque = opaque};
    return bh;
}

static void bh_push(struct loop *loop, struct bh *bh)
{
    struct bh *head = atomic_load_explicit(&loop->bhs, memory_order_relaxed);

    do {
        bh->next = head;
    } while (!atomic_compare_exchange_weak(&loop->bhs, &head, bh));
}

/* @bh may be gone as soon as the loop can see @flags. */
static void bh_enqueue(struct bh *bh, unsigned flags)
{
    struct loop *loop = bh->loop;
    bool guest = loop != loop_here;
    unsigned old;

    if (guest) {
        loop_hold(loop);
    }
    old = atomic_fetch_or(&bh->flags, flags | BH_PENDING);
    if (!(old & BH_PENDING)) {
        bh_push(loop, bh);
    }
    if ((old & flags) != flags) {
        loop_notify(loop);
    }
    if (guest) {
        loop_release(loop);
    }
}

void bh_schedule(struct bh *bh)
{
    bh_enqueue(bh, BH_SCHEDULED);
}

void bh_schedule_idle(struct bh *bh)
{
    bh_enqueue(bh, BH_IDLE);
}

void bh_cancel(struct bh *bh)
{
    atomic_fetch_and(&bh->flags, ~(unsigned)(BH_SCHEDULED | BH_IDLE));
}

void bh_free(struct bh *bh)
{
    if (bh) {
        bh_enqueue(bh, BH_DELETED);
    }
}

void bh_oneshot(struct loop *loop, bh_fn *fn, void *opaque)
{
    bh_enqueue(bh_new(loop, fn, opaque), BH_SCHEDULED | BH_ONESHOT);
}

/* All that waits, oldest first. */
static struct bh *bh_take_all(struct loop *loop)
{
    struct bh *newest, *oldest = NULL;

    if (!atomic_load_explicit(&loop->bhs, memory_order_relaxed)) {
        return NULL;
    }
    newest = atomic_exchange(&loop->bhs, NULL);
    while (newest) {
        struct bh *next = newest->next;

        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

/* Returns whether a callback ran that was not idle. */
static bool bh_run(struct bh *bh)
{
    /* Before the callback, which may schedule it again. */
    unsigned old = atomic_fetch_and(
        &bh->flags, ~(unsigned)(BH_PENDING | BH_SCHEDULED | BH_IDLE));

    if (old & BH_DELETED) {
        g_free(bh);
        return false;
    }
    if (old & (BH_SCHEDULED | BH_IDLE)) {
        bh->fn(bh->opaque);
    }
    if (old & BH_ONESHOT) {
        g_free(bh);
    }
    return old & BH_SCHEDULED;
}

bool loop_run_bhs(struct loop *loop)
{
    bool ran = false;
    struct bh *next;

    for (struct bh *bh = bh_take_all(loop); bh; bh = next) {
        next = bh->next; /* bh_run() gives it away */
        ran |= bh_run(bh);
    }
    return ran;
}

int64_t loop_bh_timeout(struct loop *loop)
{
    int64_t timeout = -1;

    for (struct bh *bh = atomic_load(&loop->bhs); bh; bh = bh->next) {
        unsigned flags = atomic_load(&bh->flags);

        if (flags & (BH_SCHEDULED | BH_DELETED)) {
            return 0;
        }
        if (flags & BH_IDLE) {
            timeout = LOOP_IDLE_NS;
        }
    }
    return timeout;
}

void loop_drop_bhs(struct loop *loop)
{
    struct bh *next;

    for (struct bh *bh = bh_take_all(loop); bh; bh = next) {
        next = bh->next;
        if (atomic_load(&bh->flags) & (BH_DELETED | BH_ONESHOT)) {
            g_free(bh);
        }
    }
}
