/* SPDX-License-Identifier: MIT */

#include "cmd/mount-serve.h"

#include <errno.h>
#include <glib-unix.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"
#include "cmd/control.h"
#include "cmd/daemon.h"
#include "cmd/holders.h"
#include "cmd/mount-image.h"
#include "front/front.h"
#include "view/view.h"

#define RETRY_MS           100
#define LISTEN_TRIES       50
#define LISTEN_INTERVAL_US 10000

struct serve {
    struct serve_mount m;
    GMainLoop *loop;
    int signal_fd, ended_fd, listener; /* owned, -1 until made */
    unsigned listener_source;
    unsigned n_signals; /* that asked for the end */
    bool unmounted;     /* the end is on its way */
    int flush_error;    /* the first, or 0 */
    GArray *waiting;    /* int: connections that wait for the end */
};

static void serve_signal_set(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGINT);
    (void)sigaddset(set, SIGHUP);
}

void serve_block_signals(void)
{
    sigset_t set;

    serve_signal_set(&set);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN); /* a client that went away is no trouble */
}

/* -- Ending -------------------------------------------------------------- */

/* Flushes, then unmounts unless files are open.  Returns 0, -EBUSY, … */
static int serve_unmount(struct serve *s)
{
    int rc = mount_image_flush(s->m.image, s->m.loops);

    if (rc < 0 && !s->flush_error) {
        s->flush_error = rc; /* reported at the end; the unmount goes on */
    }
    rc = front_unmount(s->m.front, false);
    s->unmounted = rc == 0;
    return rc;
}

/* Somebody else has detached the mount: there is nothing to wait for, since
 * those who still have files open cannot be found by its path. */
static void serve_end_detached(struct serve *s)
{
    log_info("%s: is not mounted there any more; ending",
             front_mountpoint(s->m.front));
    g_main_loop_quit(s->loop);
}

static gboolean serve_retry(gpointer opaque)
{
    struct serve *s = opaque;

    if (!s->unmounted && serve_unmount(s) == -EINVAL) {
        serve_end_detached(s);
        return G_SOURCE_REMOVE;
    }
    return s->unmounted ? G_SOURCE_REMOVE : G_SOURCE_CONTINUE;
}

static void serve_terminate_politely(struct serve *s)
{
    const char *mountpoint = front_mountpoint(s->m.front);
    g_autofree char *holders = NULL;
    int rc = serve_unmount(s);

    if (rc == 0) {
        return;
    }
    if (rc == -EINVAL) {
        serve_end_detached(s);
        return;
    }
    if (rc == -EBUSY) {
        holders = holders_list(mountpoint);
    }
    log_warning("%s: %s%s%s; trying again until it can be unmounted, a second "
                "signal does not wait",
                mountpoint, rc == -EBUSY ? "busy" : g_strerror(-rc),
                holders ? ", held by " : "", holders ? holders : "");
    (void)g_timeout_add(RETRY_MS, serve_retry, s);
}

/* Those who still have files open find the connection closed. */
static void serve_terminate_now(struct serve *s)
{
    int rc = front_unmount(s->m.front, true);

    if (rc < 0 && rc != -EINVAL) {
        log_warning("%s: cannot be unmounted: %s", front_mountpoint(s->m.front),
                    g_strerror(-rc));
    }
    g_main_loop_quit(s->loop);
}

static gboolean serve_on_signal(gint fd, GIOCondition cond, gpointer opaque)
{
    struct serve *s = opaque;
    struct signalfd_siginfo info;

    if (read(fd, &info, sizeof(info)) != sizeof(info)) {
        return G_SOURCE_CONTINUE;
    }
    if (info.ssi_signo == SIGHUP && !s->m.foreground) {
        return G_SOURCE_CONTINUE;
    }
    (void)daemon_notify("STOPPING=1");
    if (s->n_signals++ == 0) {
        serve_terminate_politely(s);
    } else {
        serve_terminate_now(s);
    }
    return G_SOURCE_CONTINUE;
}

static gboolean serve_on_end(gint fd, GIOCondition cond, gpointer opaque)
{
    struct serve *s = opaque;

    g_main_loop_quit(s->loop);
    return G_SOURCE_REMOVE;
}

void serve_ended(void *opaque)
{
    struct serve *s = opaque;
    uint64_t one = 1;

    (void)!write(s->ended_fd, &one, sizeof(one));
}

/* -- Requests of other programs ------------------------------------------ */

static void serve_answer_umount(struct serve *s, int conn)
{
    g_autofree char *holders = NULL;
    int rc = s->unmounted ? 0 : serve_unmount(s);

    if (rc == 0) {
        (void)g_array_append_val(s->waiting, conn);
        return;
    }
    if (rc == -EBUSY) {
        holders = holders_list(front_mountpoint(s->m.front));
        control_answer(conn, CONTROL_BUSY, holders ? holders : "");
        return;
    }
    control_answer(conn, CONTROL_ERROR, g_strerror(-rc));
}

static void serve_answer_stats(struct serve *s, int conn)
{
    g_autofree char *text = view_stats_json(s->m.view);

    control_answer(conn, CONTROL_OK, text);
}

static gboolean serve_on_request(gint fd, GIOCondition cond, gpointer opaque)
{
    struct serve *s = opaque;
    char request[CONTROL_MAX_REQUEST];
    int conn = control_accept(fd, request);

    if (conn < 0) {
        log_info("control: a request was refused: %s", g_strerror(-conn));
    } else if (strcmp(request, "umount") == 0) {
        serve_answer_umount(s, conn);
    } else if (strcmp(request, "stats") == 0) {
        serve_answer_stats(s, conn);
    } else {
        control_answer(conn, CONTROL_ERROR, "this daemon cannot do that");
    }
    return G_SOURCE_CONTINUE;
}

/* A mount that has just ended may have had our number, and its daemon may
 * not have noticed yet. */
static int serve_listen_as(unsigned major, unsigned minor)
{
    int rc = control_listen(major, minor);

    for (int i = 0; i < LISTEN_TRIES && rc == -EADDRINUSE; i++) {
        g_usleep(LISTEN_INTERVAL_US);
        rc = control_listen(major, minor);
    }
    return rc;
}

void serve_listen(struct serve *s)
{
    unsigned major, minor;
    int rc = front_device(s->m.front, &major, &minor);

    if (rc == 0) {
        rc = serve_listen_as(major, minor);
    }
    if (rc < 0) {
        log_warning("%s: cannot listen to 'coblk umount' and 'coblk stat': "
                    "%s; plain umount works",
                    front_mountpoint(s->m.front), g_strerror(-rc));
        return;
    }
    s->listener = rc;
    s->listener_source =
        g_unix_fd_add(s->listener, G_IO_IN, serve_on_request, s);
}

/* -- Life ---------------------------------------------------------------- */

int serve_new(const struct serve_mount *mount, struct serve **ret, GError **err)
{
    struct serve *s = g_new(struct serve, 1);
    sigset_t set;

    *s = (struct serve){
        .m = *mount,
        .loop = g_main_loop_new(NULL, FALSE),
        .listener = -1,
        .waiting = g_array_new(FALSE, FALSE, sizeof(int)),
    };
    serve_signal_set(&set);
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    s->ended_fd = eventfd(0, EFD_CLOEXEC);
    if (s->signal_fd < 0 || s->ended_fd < 0) {
        int rc = -errno;

        serve_free(s);
        return error_set_errno(err, rc, "cannot wait for signals");
    }
    (void)g_unix_fd_add(s->signal_fd, G_IO_IN, serve_on_signal, s);
    (void)g_unix_fd_add(s->ended_fd, G_IO_IN, serve_on_end, s);
    *ret = s;
    return 0;
}

void serve_run(struct serve *s)
{
    g_main_loop_run(s->loop);
    /* The kernel may give the mount's number to the next one now. */
    g_clear_handle_id(&s->listener_source, g_source_remove);
    cleanup_close(&s->listener);
    s->listener = -1;
}

void serve_report(struct serve *s, int lost)
{
    g_autofree char *text = NULL;

    if (lost < 0) {
        text = g_strdup_printf("a write was lost: %s; the image is not "
                               "what was written",
                               g_strerror(-lost));
    }
    for (unsigned i = 0; i < s->waiting->len; i++) {
        control_answer(g_array_index(s->waiting, int, i),
                       text ? CONTROL_ERROR : CONTROL_OK, text ? text : "");
    }
    g_array_set_size(s->waiting, 0);
}

int serve_flush_error(const struct serve *s)
{
    return s->flush_error;
}

void serve_free(struct serve *s)
{
    if (!s) {
        return;
    }
    serve_report(s, -ECANCELED);
    cleanup_close(&s->signal_fd);
    cleanup_close(&s->ended_fd);
    cleanup_close(&s->listener);
    g_array_unref(s->waiting);
    g_main_loop_unref(s->loop);
    g_free(s);
}
