/* SPDX-License-Identifier: MIT */
/*
 * threads: the engine that gives each request to a worker thread.
 *
 * One pool per loop.  A worker is started when more requests wait than workers
 * are free, and leaves when it was idle for ten seconds.  Finished requests
 * gather on a list that one bottom half completes on the loop's thread, so
 * that a burst costs the loop one wake-up.
 */

#include "engine/threads.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "base/list.h"
#include "engine/engine.h"
#include "engine/perform.h"
#include "loop/loop.h"

#define NS_PER_SECOND INT64_C(1000000000)

#define THREADS_MAX     64
#define THREADS_IDLE_NS (10 * NS_PER_SECOND)

struct pool {
    struct engine e;
    struct bh *bh; /* completes @done, joins @exited */

    pthread_mutex_t lock;
    pthread_cond_t wake; /* something was queued, or the bounds changed */

    /* Under @lock. */
    struct list queue;   /* struct engine_io that no worker has taken */
    struct list done;    /* struct engine_io that the loop must complete */
    struct list workers; /* struct worker, alive */
    struct list exited;  /* struct worker, to be joined */
    int n_queued;
    int n_workers;
    int n_idle;     /* workers that wait for @wake */
    int n_starting; /* workers that have not looked at @queue yet */
    int min, max;   /* bounds of n_workers */
    int64_t idle_ns;
    bool stopping;
};

struct worker {
    struct pool *pool;
    pthread_t thread;
    struct list link;
};

static const char threads_key; /* its address names the pool of a loop */

static struct pool *pool_of(struct engine *e)
{
    return container_of(e, struct pool, e);
}

/* -- On a worker's thread ------------------------------------------------ */

/* Returns false when nothing happened for as long as a worker may idle. */
static bool worker_wait_locked(struct pool *p)
{
    struct timespec until;
    int rc;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += p->idle_ns / NS_PER_SECOND;
    until.tv_nsec += p->idle_ns % NS_PER_SECOND;
    until.tv_sec += until.tv_nsec / NS_PER_SECOND;
    until.tv_nsec %= NS_PER_SECOND;

    p->n_idle++;
    rc = pthread_cond_timedwait(&p->wake, &p->lock, &until);
    p->n_idle--;
    return rc != ETIMEDOUT;
}

/* The next request, or NULL when this worker should leave. */
static struct engine_io *worker_next_locked(struct pool *p)
{
    bool timed_out = false;

    for (;;) {
        struct engine_io *io = list_first(&p->queue, struct engine_io, link);

        if (p->n_workers > p->max && (!io || p->n_workers > 1)) {
            return NULL; /* with @max 0 the last one empties the queue */
        }
        if (io) {
            list_del(&io->link);
            p->n_queued--;
            return io;
        }
        if (p->stopping || (timed_out && p->n_workers > p->min)) {
            return NULL;
        }
        timed_out = !worker_wait_locked(p);
    }
}

static void worker_done_locked(struct pool *p, struct engine_io *io,
                               int64_t result)
{
    /* The field that will hold the result belongs to the loop's thread. */
    io->scratch[0] = (uint64_t)result;
    if (list_empty(&p->done)) {
        bh_schedule(p->bh);
    }
    list_add_tail(&p->done, &io->link);
}

static void worker_exit_locked(struct pool *p, struct worker *w)
{
    p->n_workers--;
    if (!p->stopping) { /* else pool_free() has the list and joins */
        list_del(&w->link);
        list_add_tail(&p->exited, &w->link);
        bh_schedule(p->bh);
    }
}

static void *worker_run(void *opaque)
{
    struct worker *w = opaque;
    struct pool *p = w->pool;
    struct engine_io *io;

    pthread_mutex_lock(&p->lock);
    p->n_starting--;
    while ((io = worker_next_locked(p))) {
        int64_t result;

        pthread_mutex_unlock(&p->lock);
        result = engine_perform(io);
        pthread_mutex_lock(&p->lock);
        worker_done_locked(p, io, result);
    }
    worker_exit_locked(p, w);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* -- On the loop's thread ------------------------------------------------ */

static void pool_join(struct list *workers)
{
    struct worker *w;

    while ((w = list_first(workers, struct worker, link))) {
        list_del(&w->link);
        (void)pthread_join(w->thread, NULL);
        free(w);
    }
}

static void pool_bh(void *opaque)
{
    struct pool *p = opaque;
    struct list done, exited;
    struct engine_io *io;

    list_init(&done);
    list_init(&exited);
    pthread_mutex_lock(&p->lock);
    list_splice_tail(&done, &p->done);
    list_splice_tail(&exited, &p->exited);
    pthread_mutex_unlock(&p->lock);

    loop_plug();
    while ((io = list_first(&done, struct engine_io, link))) {
        list_del(&io->link);
        engine_complete(io, (int64_t)io->scratch[0]);
    }
    loop_unplug();
    pool_join(&exited);
}

static int pool_spawn_locked(struct pool *p)
{
    struct worker *w = malloc(sizeof(*w));
    sigset_t all, old;
    int rc;

    if (!w) {
        return -ENOMEM;
    }
    w->pool = p;

    /* The worker inherits this mask: signals are for the threads that expect
     * them, and no system call of a worker is interrupted. */
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&w->thread, NULL, worker_run, w);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc) {
        free(w);
        return -rc;
    }
    (void)pthread_setname_np(w->thread, "coblk-io");
    list_add_tail(&p->workers, &w->link);
    p->n_workers++;
    p->n_starting++;
    return 0;
}

/* Brings the number of workers to what the queue and the bounds ask for. */
static void pool_spawn_needed_locked(struct pool *p)
{
    while (p->n_workers < p->max &&
           (p->n_workers < p->min || p->n_queued > p->n_idle + p->n_starting)) {
        if (pool_spawn_locked(p) < 0) {
            break; /* those that are there will do */
        }
    }
}

static void pool_submit(struct engine *e, struct engine_io *io)
{
    struct pool *p = pool_of(e);
    bool nobody;

    pthread_mutex_lock(&p->lock);
    list_add_tail(&p->queue, &io->link);
    p->n_queued++;
    pool_spawn_needed_locked(p);
    nobody = p->n_workers == 0;
    if (nobody) {
        list_del(&io->link);
        p->n_queued--;
    } else {
        (void)pthread_cond_signal(&p->wake);
    }
    pthread_mutex_unlock(&p->lock);

    if (nobody) { /* slow is better than failed */
        engine_complete(io, engine_perform(io));
    }
}

static void pool_free(struct engine *e)
{
    struct pool *p = pool_of(e);

    pthread_mutex_lock(&p->lock);
    assert(list_empty(&p->queue) && list_empty(&p->done));
    p->stopping = true;
    (void)pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);

    /* Nobody but us moves workers any more. */
    pool_join(&p->workers);
    pool_join(&p->exited);
    bh_free(p->bh);
    (void)pthread_cond_destroy(&p->wake);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
}

static void pool_free_local(void *value)
{
    pool_free(value);
}

static const struct engine_ops threads_ops = {
    .name = "threads",
    .submit = pool_submit,
    .free = pool_free,
};

static void pool_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;

    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(cond, &attr);
    (void)pthread_condattr_destroy(&attr);
}

static struct pool *pool_new(struct loop *loop)
{
    struct pool *p = calloc(1, sizeof(*p));

    if (!p) {
        return NULL;
    }
    p->e.ops = &threads_ops;
    p->e.loop = loop;
    p->max = THREADS_MAX;
    p->idle_ns = THREADS_IDLE_NS;
    list_init(&p->queue);
    list_init(&p->done);
    list_init(&p->workers);
    list_init(&p->exited);
    (void)pthread_mutex_init(&p->lock, NULL);
    pool_cond_init(&p->wake);
    p->bh = bh_new(loop, pool_bh, p);
    return p;
}

static int threads_get(struct loop *loop, struct engine **ret)
{
    struct engine *e = loop_local(loop, &threads_key);

    if (!e) {
        struct pool *p = pool_new(loop);

        if (!p) {
            return -ENOMEM;
        }
        e = &p->e;
        loop_set_local(loop, &threads_key, e, pool_free_local);
    }
    *ret = e;
    return 0;
}

const struct engine_provider engine_threads = {
    .name = "threads",
    .get = threads_get,
};

int engine_threads_set_bounds(struct loop *loop, int min, int max)
{
    struct engine *e;
    struct pool *p;
    int rc = threads_get(loop, &e);

    assert(0 <= min && min <= max);
    if (rc < 0) {
        return rc;
    }
    p = pool_of(e);
    pthread_mutex_lock(&p->lock);
    p->min = min;
    p->max = max;
    pool_spawn_needed_locked(p);
    (void)pthread_cond_broadcast(&p->wake); /* some may have to leave */
    pthread_mutex_unlock(&p->lock);
    return 0;
}

int threads_set_idle_time(struct loop *loop, int64_t ns)
{
    struct engine *e;
    struct pool *p;
    int rc = threads_get(loop, &e);

    if (rc < 0) {
        return rc;
    }
    p = pool_of(e);
    pthread_mutex_lock(&p->lock);
    p->idle_ns = ns;
    (void)pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    return 0;
}

void engine_threads_info(struct loop *loop, struct engine_threads_info *ret)
{
    struct engine *e = loop_local(loop, &threads_key);
    struct pool *p;

    *ret = (struct engine_threads_info){0};
    if (e) {
        p = pool_of(e);
        pthread_mutex_lock(&p->lock);
        ret->threads = p->n_workers;
        ret->idle = p->n_idle;
        ret->queued = p->n_queued;
        pthread_mutex_unlock(&p->lock);
    }
}
