/* SPDX-License-Identifier: MIT */
/*
 * notify: tells the kernel what to forget.
 *
 * Such a call can wait for a page lock whose holder waits for an answer of
 * ours, so it never runs on a loop: a thread of its own takes the notices from
 * a queue, in order.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "front/front_priv.h"

struct notice {
    uint64_t ino;
    int64_t offset, bytes;
    char *name; /* an entry of directory @ino; NULL: data of file @ino */
};

struct notifier {
    struct front *front;
    GAsyncQueue *notices;
    GThread *thread;
    struct notice end; /* tells the thread to return */
};

static void notice_send(struct notifier *n, const struct notice *notice)
{
    struct fuse_session *se = n->front->session;
    int rc;

    if (notice->name) {
        rc = fuse_lowlevel_notify_inval_entry(se, notice->ino, notice->name,
                                              strlen(notice->name));
    } else {
        rc = fuse_lowlevel_notify_inval_inode(se, notice->ino, notice->offset,
                                              notice->bytes);
    }
    /* ENOENT: the kernel does not know the inode, so it has nothing of it. */
    if (rc < 0 && rc != -ENOENT && rc != -ENODEV && rc != -ENOTDIR) {
        log_warning("%s: the kernel did not drop its cache (%s); close and "
                    "open files to see new data",
                    n->front->mountpoint, g_strerror(-rc));
    }
}

static void notice_free(struct notice *notice)
{
    g_free(notice->name);
    g_free(notice);
}

static void *notifier_run(void *opaque)
{
    struct notifier *n = opaque;
    struct notice *notice;

    while ((notice = g_async_queue_pop(n->notices)) != &n->end) {
        notice_send(n, notice);
        notice_free(notice);
    }
    return NULL;
}

struct notifier *notifier_new(struct front *f)
{
    struct notifier *n = g_new0(struct notifier, 1);

    n->front = f;
    n->notices = g_async_queue_new();
    n->thread = g_thread_new("coblk-notify", notifier_run, n);
    return n;
}

void notifier_stop(struct notifier *n)
{
    if (n) {
        g_async_queue_push(n->notices, &n->end);
        (void)g_thread_join(n->thread);
    }
}

void notifier_free(struct notifier *n)
{
    struct notice *late;

    if (!n) {
        return;
    }
    while ((late = g_async_queue_try_pop(n->notices))) {
        notice_free(late);
    }
    g_async_queue_unref(n->notices);
    g_free(n);
}

void notifier_data(void *opaque, uint64_t ino, int64_t offset, int64_t bytes)
{
    struct notifier *n = opaque;
    struct notice *notice = g_new0(struct notice, 1);

    notice->ino = ino;
    notice->offset = offset;
    notice->bytes = bytes;
    g_async_queue_push(n->notices, notice);
}

void notifier_entry(void *opaque, uint64_t parent, const char *name)
{
    struct notifier *n = opaque;
    struct notice *notice = g_new0(struct notice, 1);

    notice->ino = parent;
    notice->name = g_strdup(name);
    g_async_queue_push(n->notices, notice);
}
