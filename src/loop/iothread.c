/* SPDX-License-Identifier: MIT */
#include "loop/iothread.h"

#include <glib.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "loop/loop.h"

struct iothread {
    char name[16];
    struct loop *loop;
    pthread_t thread;

    pthread_mutex_t lock; /* guards @running */
    pthread_cond_t cond;
    bool running; /* the thread is the loop's home */

    atomic_bool stopped; /* the loop may be gone */
};

static void iothread_set_running(struct iothread *t)
{
    pthread_mutex_lock(&t->lock);
    t->running = true;
    pthread_cond_signal(&t->cond);
    pthread_mutex_unlock(&t->lock);
}

static void iothread_wait_running(struct iothread *t)
{
    pthread_mutex_lock(&t->lock);
    while (!t->running) {
        pthread_cond_wait(&t->cond, &t->lock);
    }
    pthread_mutex_unlock(&t->lock);
}

static void *iothread_run(void *opaque)
{
    struct iothread *t = opaque;

    (void)pthread_setname_np(pthread_self(), t->name);
    loop_adopt(t->loop);
    iothread_set_running(t);

    loop_run(t->loop);
    while (loop_turn(t->loop, false)) {
        /* what was scheduled before the stop still runs */
    }
    loop_free(t->loop);
    return NULL;
}

/* pthread_create() with all signals blocked in the new thread. */
static int iothread_start(struct iothread *t)
{
    sigset_t all, saved;
    int rc;

    (void)sigfillset(&all);
    rc = pthread_sigmask(SIG_SETMASK, &all, &saved);
    if (rc == 0) {
        rc = pthread_create(&t->thread, NULL, iothread_run, t);
        (void)pthread_sigmask(SIG_SETMASK, &saved, NULL);
    }
    return -rc;
}

int iothread_new(const char *name, struct iothread **ret)
{
    struct iothread *t = g_new0(struct iothread, 1);
    int rc;

    (void)g_strlcpy(t->name, name, sizeof(t->name));
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->cond, NULL);
    rc = loop_new(&t->loop);
    if (rc < 0) {
        goto fail;
    }
    rc = iothread_start(t);
    if (rc < 0) {
        goto fail;
    }

    iothread_wait_running(t);
    *ret = t;
    return 0;

fail:
    loop_free(t->loop);
    pthread_cond_destroy(&t->cond);
    pthread_mutex_destroy(&t->lock);
    g_free(t);
    return rc;
}

void iothread_stop(struct iothread *t)
{
    if (!atomic_exchange(&t->stopped, true)) {
        loop_stop(t->loop);
    }
}

void iothread_free(struct iothread *t)
{
    if (!t) {
        return;
    }
    iothread_stop(t);
    pthread_join(t->thread, NULL);
    pthread_cond_destroy(&t->cond);
    pthread_mutex_destroy(&t->lock);
    g_free(t);
}

struct loop *iothread_loop(struct iothread *t)
{
    return t->loop;
}
