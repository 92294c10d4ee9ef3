/* SPDX-License-Identifier: MIT */
/*
 * busy: guest clusters whose mapping is being changed.
 *
 * The core orders requests whose bytes overlap.  Two writes to different
 * bytes of one cluster do not, but both may have to allocate it: the second
 * one waits here, and finds it allocated.
 */
#include "format/qcow2/qcow2.h"

static struct busy *busy_find_locked(struct qcow2 *s, int64_t offset,
                                     int64_t bytes)
{
    struct busy *b;

    list_for_each(b, &s->busy, link) {
        if (ranges_overlap(b->offset, b->bytes, offset, bytes)) {
            return b;
        }
    }
    return NULL;
}

void co_fn busy_begin(struct qcow2 *s, struct busy *b, int64_t offset,
                      int64_t bytes)
{
    struct busy *other;

    b->offset = offset;
    b->bytes = bytes;
    co_queue_init(&b->waiters);
    pthread_mutex_lock(&s->busy_lock);
    while ((other = busy_find_locked(s, offset, bytes))) {
        /* @other is gone when this returns. */
        co_queue_wait_pthread(&other->waiters, &s->busy_lock); /* yields */
    }
    list_add_tail(&s->busy, &b->link);
    pthread_mutex_unlock(&s->busy_lock);
}

void busy_shrink(struct qcow2 *s, struct busy *b, int64_t bytes)
{
    pthread_mutex_lock(&s->busy_lock);
    if (bytes < b->bytes) {
        b->bytes = bytes;
        co_queue_wake_all(&b->waiters);
    }
    pthread_mutex_unlock(&s->busy_lock);
}

void busy_end(struct qcow2 *s, struct busy *b)
{
    pthread_mutex_lock(&s->busy_lock);
    list_del(&b->link);
    co_queue_wake_all(&b->waiters);
    pthread_mutex_unlock(&s->busy_lock);
}
