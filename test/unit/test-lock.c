/* SPDX-License-Identifier: MIT */
/*
 * driver/lock: who may have an image open beside whom: two of ours, and one of
 * ours with a real QEMU, in both directions.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "block/driver.h"
#include "block/node.h"
#include "driver/driver_list.h"
#include "driver/lock.h"
#include "loop/loop.h"

struct fixture {
    struct loop *loop;
    char *path;
};

static void set_up(struct fixture *f, const void *unused)
{
    int fd = g_file_open_tmp("coblk-lock-XXXXXX", &f->path, NULL);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, 1 << 20), ==, 0);
    (void)close(fd);
    g_assert_cmpint(loop_new(&f->loop), ==, 0);
    loop_adopt(f->loop);
}

static void tear_down(struct fixture *f, const void *unused)
{
    loop_free(f->loop);
    (void)g_unlink(f->path);
    g_free(f->path);
}

struct opening {
    const char *path;
    const char *more; /* options */
    unsigned flags;
    struct node *node;
    GError *err;
};

static void opening_run(void *opaque)
{
    struct opening *o = opaque;
    struct options *opts = options_new();

    co_assert_role();
    g_assert_cmpint(options_parse(opts, o->more, NULL), ==, 0);
    options_set(opts, "driver", "file");
    options_set(opts, "filename", o->path);
    o->node = node_co_open(opts, o->flags, &o->err);
}

static struct node *ours_open(struct fixture *f, unsigned flags,
                              const char *more, GError **err)
{
    struct opening o = {.path = f->path, .flags = flags, .more = more};

    g_assert_cmpint(loop_co_run_blocking(f->loop, opening_run, &o), ==, 0);
    if (o.err) {
        g_propagate_error(err, o.err);
    }
    return o.node;
}

static void closing_run(void *opaque)
{
    co_assert_role();
    g_assert_cmpint(node_co_unref(opaque), ==, 0);
}

static void ours_close(struct fixture *f, struct node *n)
{
    if (n) {
        g_assert_cmpint(loop_co_run_blocking(f->loop, closing_run, n), ==, 0);
    }
}

/* -- Two of ours ---------------------------------------------------------- */

enum {
    RO = 0,
    RW = NODE_RDWR,
    SHARE = NODE_FORCE_SHARE,
};

static const struct pair_case {
    const char *name;
    unsigned first, second; /* enum node_flags */
    bool ok;
} pair_cases[] = {
    {"writer-and-writer", RW, RW, false},
    {"writer-and-reader", RW, RO, false},
    {"reader-and-writer", RO, RW, false},
    {"reader-and-reader", RO, RO, true},
    {"writer-and-sharing-reader", RW, SHARE, true},
    {"sharing-reader-and-writer", SHARE, RW, true},
};

static void test_pair(struct fixture *f, const void *data)
{
    const struct pair_case *c = data;
    g_autofree char *self = g_strdup_printf("pid %d ", getpid());
    struct node *first, *second;
    GError *err = NULL;

    first = ours_open(f, c->first, "", &err);
    g_assert_no_error(err);
    second = ours_open(f, c->second, "", &err);
    if (c->ok) {
        g_assert_no_error(err);
    } else {
        g_assert_null(second);
        g_assert_error(err, COBLK_ERROR, EBUSY);
        g_assert_nonnull(strstr(err->message, f->path));
        g_assert_nonnull(strstr(err->message, self));
        g_clear_error(&err);
    }
    ours_close(f, second);
    ours_close(f, first);

    /* And nothing is left of either. */
    first = ours_open(f, RW, "", &err);
    g_assert_no_error(err);
    ours_close(f, first);
}

/* One that lost leaves no lock behind while the other goes on. */
static void test_loser_leaves_nothing(struct fixture *f, const void *unused)
{
    GError *err = NULL;
    struct node *reader = ours_open(f, RO, "", &err);
    struct node *other;

    g_assert_null(ours_open(f, RW, "", NULL));
    other = ours_open(f, RO, "", &err);
    g_assert_no_error(err);
    ours_close(f, other);
    ours_close(f, reader);
}

static void test_failure_drops_all(struct fixture *f, const void *unused)
{
    int holder = open(f->path, O_RDWR | O_CLOEXEC);
    int loser = open(f->path, O_RDWR | O_CLOEXEC);
    int third = open(f->path, O_RDWR | O_CLOEXEC);
    GError *err = NULL;

    g_assert_cmpint(
        image_lock(holder, IMAGE_CONSISTENT_READ, IMAGE_WRITE, f->path, NULL),
        ==, 0);
    g_assert_cmpint(image_lock(loser, IMAGE_WRITE, IMAGE_RESIZE, f->path, &err),
                    ==, -EBUSY);
    g_assert_nonnull(strstr(err->message, "locked by pid"));
    g_clear_error(&err);
    g_assert_cmpint(image_lock(third, IMAGE_RESIZE, IMAGE_WRITE, f->path, &err),
                    ==, 0);
    g_assert_no_error(err);
    (void)close(holder);
    (void)close(loser);
    (void)close(third);
}

static void test_locking_off(struct fixture *f, const void *unused)
{
    GError *err = NULL;
    struct node *first = ours_open(f, RW, "", &err);
    struct node *second = ours_open(f, RW, "locking=off", &err);

    g_assert_no_error(err);
    ours_close(f, second);
    ours_close(f, first);
}

/* -- With QEMU ------------------------------------------------------------ */

/* A qemu-io that has the image open until it is told to end. */
struct qemu {
    GPid pid;
    FILE *in, *out;
};

static const char *const qemu_io = "qemu-io";

static bool qemu_missing(void)
{
    g_autofree char *path = g_find_program_in_path(qemu_io);

    if (!path) {
        g_test_skip("qemu-io is not installed");
    }
    return !path;
}

/* Waits for qemu-io to answer, which it does once the image is open. */
static bool qemu_answers(struct qemu *q)
{
    char line[256];

    (void)fputs("length\n", q->in);
    (void)fflush(q->in);
    while (fgets(line, sizeof(line), q->out)) {
        if (strstr(line, "1 MiB")) {
            return true;
        }
    }
    return false;
}

static void qemu_stop(struct qemu *q)
{
    (void)fclose(q->in); /* the end of its input ends it */
    (void)fclose(q->out);
    g_assert_cmpint(waitpid(q->pid, NULL, 0), ==, q->pid);
}

/* Starts "qemu-io @args image"; returns whether it could open the image. */
static bool qemu_start(struct fixture *f, const char *args, struct qemu *q)
{
    g_autofree char *line = g_strdup_printf("%s %s %s", qemu_io, args, f->path);
    g_auto(GStrv) argv = g_strsplit(line, " ", -1);
    GError *err = NULL;
    int in, out;

    g_spawn_async_with_pipes(NULL, argv, NULL,
                             G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD |
                                 G_SPAWN_STDERR_TO_DEV_NULL,
                             NULL, NULL, &q->pid, &in, &out, NULL, &err);
    g_assert_no_error(err);
    q->in = fdopen(in, "w");
    q->out = fdopen(out, "r");
    if (qemu_answers(q)) {
        return true;
    }
    qemu_stop(q);
    return false;
}

static const struct qemu_case {
    const char *name;
    const char *qemu; /* options of qemu-io */
    unsigned ours;    /* enum node_flags */
    bool ok;          /* whoever comes first */
} qemu_cases[] = {
    {"writer-and-our-writer", "-f raw", RW, false},
    {"writer-and-our-reader", "-f raw", RO, false},
    {"writer-and-our-sharing-reader", "-f raw", SHARE, true},
    {"reader-and-our-writer", "-r -f raw", RW, true}, /* it shares all */
    {"reader-and-our-reader", "-r -f raw", RO, true},
    {"sharing-reader-and-our-writer", "-r -U -f raw", RW, true},
};

static void test_qemu_first(struct fixture *f, const void *data)
{
    const struct qemu_case *c = data;
    g_autofree char *pid = NULL;
    GError *err = NULL;
    struct node *n;
    struct qemu q;

    if (qemu_missing()) {
        return;
    }
    g_assert_true(qemu_start(f, c->qemu, &q));
    n = ours_open(f, c->ours, "", &err);
    g_assert_cmpint(n != NULL, ==, c->ok);
    if (!c->ok) {
        pid = g_strdup_printf("pid %d (qemu-io)", q.pid);
        g_assert_error(err, COBLK_ERROR, EBUSY);
        g_assert_nonnull(strstr(err->message, pid));
        g_clear_error(&err);
    }
    ours_close(f, n);
    qemu_stop(&q);
}

static void test_qemu_second(struct fixture *f, const void *data)
{
    const struct qemu_case *c = data;
    GError *err = NULL;
    struct node *n;
    struct qemu q;

    if (qemu_missing()) {
        return;
    }
    n = ours_open(f, c->ours, "", &err);
    g_assert_no_error(err);
    if (qemu_start(f, c->qemu, &q)) {
        g_assert_true(c->ok);
        qemu_stop(&q);
    } else {
        g_assert_false(c->ok);
    }
    ours_close(f, n);
}

static void add_qemu(const struct qemu_case *c)
{
    g_autofree char *first = g_strdup_printf("/lock/qemu-first/%s", c->name);
    g_autofree char *second = g_strdup_printf("/lock/qemu-second/%s", c->name);

    g_test_add(first, struct fixture, c, set_up, test_qemu_first, tear_down);
    g_test_add(second, struct fixture, c, set_up, test_qemu_second, tear_down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    (void)signal(SIGPIPE, SIG_IGN); /* qemu-io may be gone when we ask it */
    driver_register(&driver_file);

    for (size_t i = 0; i < G_N_ELEMENTS(pair_cases); i++) {
        g_autofree char *path =
            g_strdup_printf("/lock/ours/%s", pair_cases[i].name);

        g_test_add(path, struct fixture, &pair_cases[i], set_up, test_pair,
                   tear_down);
    }
    g_test_add("/lock/loser-leaves-nothing", struct fixture, NULL, set_up,
               test_loser_leaves_nothing, tear_down);
    g_test_add("/lock/failure-drops-all", struct fixture, NULL, set_up,
               test_failure_drops_all, tear_down);
    g_test_add("/lock/off", struct fixture, NULL, set_up, test_locking_off,
               tear_down);
    for (size_t i = 0; i < G_N_ELEMENTS(qemu_cases); i++) {
        add_qemu(&qemu_cases[i]);
    }
    return g_test_run();
}
