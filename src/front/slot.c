/* SPDX-License-Identifier: MIT */

#include <stdlib.h>
#include <sys/mman.h>

#include "front/front_priv.h"

#define PAGE 4096
/* A page before the payload for the header and one after it, which the kernel
 * wants to see offered beyond the largest write. */
#define SLOT_MAPPING (PAGE + SLOT_MAX_PAYLOAD + PAGE)
/* Memory that free slots may keep while the mount is busy: ten requests of the
 * largest size go round without a page fault. */
#define SLOT_KEEP (10 * 1024 * 1024)
/* A mount that was idle this long gives all of it back. */
#define TRIM_AFTER_NS (INT64_C(1000) * 1000 * 1000)

static struct slot *slot_new(struct worker *w)
{
    struct slot *s = calloc(1, sizeof(*s));
    void *map;

    if (!s) {
        return NULL;
    }
    map = mmap(NULL, SLOT_MAPPING, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) {
        free(s);
        return NULL;
    }
    s->payload = (char *)map + PAGE;
    s->worker = w;
    list_init(&s->link);
    w->n_slots++;
    return s;
}

static void slot_free(struct slot *s)
{
    list_del(&s->link);
    s->worker->n_slots--;
    (void)munmap(s->payload - PAGE, SLOT_MAPPING);
    free(s);
}

struct slot *slot_get(struct worker *w)
{
    struct slot *s = list_first(&w->free_slots, struct slot, link);

    if (s) {
        w->idle_bytes -= (int64_t)s->resident;
        list_del(&s->link);
    } else if (w->n_slots < SLOT_MAX) {
        s = slot_new(w);
    }
    if (s) {
        list_add_tail(&w->busy_slots, &s->link);
        s->async = false;
        s->busy = true;
        w->n_busy++;
    }
    return s;
}

static void slot_release_memory(struct slot *s)
{
    (void)madvise(s->payload, SLOT_MAX_PAYLOAD + PAGE, MADV_DONTNEED);
    s->resident = 0;
}

/* The last request in flight has been answered. */
static void slots_idle(struct worker *w)
{
    if (w->trim.deadline < 0) {
        w->served_before = w->served;
        loop_timer_arm(&w->trim, loop_now() + TRIM_AFTER_NS);
    }
    if (w->stopper) {
        loop_co_wake(w->stopper);
    }
}

void slot_put(struct slot *s)
{
    struct worker *w = s->worker;

    s->busy = false;
    s->req = NULL;
    w->n_busy--;
    list_del(&s->link);
    list_add_head(&w->free_slots, &s->link);
    if (w->idle_bytes + (int64_t)s->resident > SLOT_KEEP) {
        slot_release_memory(s);
    }
    w->idle_bytes += (int64_t)s->resident;
    w->served++;
    if (unlikely(atomic_load_explicit(&w->full, memory_order_relaxed))) {
        w->front->transport->resume(w);
    }
    if (w->n_busy == 0) {
        slots_idle(w);
    }
}

void slot_touched(struct slot *s, size_t bytes)
{
    if (bytes > s->resident) {
        s->resident = bytes;
    }
}

/* Frees all but one: the next request is taken however short memory is. */
static void slots_free_spare(struct worker *w)
{
    struct slot *s, *tmp;

    list_for_each_safe(s, tmp, &w->free_slots, link) {
        if (w->n_slots > 1) {
            slot_free(s);
        } else {
            slot_release_memory(s);
        }
    }
    w->idle_bytes = 0;
}

static void slots_trim(void *opaque)
{
    struct worker *w = opaque;

    if (w->served != w->served_before) {
        w->served_before = w->served; /* it was not idle: look again later */
        loop_timer_arm(&w->trim, loop_now() + TRIM_AFTER_NS);
        return;
    }
    slots_free_spare(w);
}

void slots_init(struct worker *w)
{
    list_init(&w->free_slots);
    list_init(&w->busy_slots);
    loop_timer_init(&w->trim, w->loop, slots_trim, w);
}

void slots_fini(struct worker *w)
{
    struct slot *last;

    loop_timer_cancel(&w->trim);
    slots_free_spare(w);
    last = list_first(&w->free_slots, struct slot, link);
    if (last) {
        slot_free(last);
    }
}
