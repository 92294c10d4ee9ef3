/* SPDX-License-Identifier: MIT */
/*
 * coblk mount: from an image to a mount, and back.
 *
 *   options → (fork) → iothreads → image → view → front → serve
 *
 * and in the opposite order at the end.  Each step has one error message; the
 * steps before it are undone.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "cmd/cmd.h"
#include "cmd/daemon.h"
#include "cmd/logging.h"
#include "cmd/mount-image.h"
#include "cmd/mount-opts.h"
#include "cmd/mount-serve.h"
#include "front/front.h"
#include "front/mountinfo.h"
#include "front/mountpoint.h"
#include "loop/iothread.h"
#include "loop/loop.h"
#include "view/view.h"

struct mount {
    const char *filename, *mountpoint; /* as given */
    struct mount_opts *opts;
    bool foreground;
    bool single_file;
    struct daemon daemon;
    struct logging log;

    unsigned n_threads; /* that run */
    struct iothread **threads;
    struct loop **loops;
    struct mount_image image;
    struct view *view;
    struct front *front;
    struct serve *serve;
};

/* -- Before anything is opened -------------------------------------------- */

static int mount_check_ready_fd(const struct mount *m, GError **err)
{
    if (m->opts->ready_fd >= 0 && fcntl((int)m->opts->ready_fd, F_GETFD) < 0) {
        return error_set(err, -EBADF, "ready-fd=%d: no such descriptor is open",
                         (int)m->opts->ready_fd);
    }
    return 0;
}

static int mount_enable_trace(const struct mount *m, GError **err)
{
    const char *bad = NULL;

    if (m->opts->trace && !trace_enable(m->opts->trace, &bad)) {
        return error_set(err, -EINVAL,
                         "trace=%s: no topic '%.*s'; there are front, queue, "
                         "backend, block, driver, engine, format and all",
                         m->opts->trace, (int)strcspn(bad, ":"), bad);
    }
    return 0;
}

/* The mountpoint decides whether this will be a directory or one file. */
static int mount_check_mountpoint(struct mount *m, GError **err)
{
    g_autofree char *canonical = NULL;
    g_auto(mount_entry) entry = {0};
    struct stat st;
    int rc;

    if (m->opts->part >= 0 && access(m->mountpoint, F_OK) < 0 &&
        errno == ENOENT) {
        return error_set(err, -ENOENT,
                         "%s: no such file; create it with 'touch %s'",
                         m->mountpoint, m->mountpoint);
    }
    rc = mountpoint_prepare(m->mountpoint, err);
    if (rc < 0) {
        return rc;
    }
    canonical = mountinfo_canonical(m->mountpoint);
    if (canonical && mountinfo_find(canonical, &entry) == 0 &&
        mount_entry_is_coblk(&entry)) {
        return error_set(err, -EBUSY,
                         "%s: %s is mounted there; first 'coblk umount %s'",
                         m->mountpoint, entry.source, m->mountpoint);
    }
    if (stat(m->mountpoint, &st) < 0) {
        return error_set_errno(err, -errno, "%s", m->mountpoint);
    }
    m->single_file = S_ISREG(st.st_mode);
    if (m->opts->part >= 0 && !m->single_file) {
        return error_set(err, -ENOTDIR,
                         "%s: part=%d shows one file, so MOUNTPOINT must be "
                         "a regular file; create one with 'touch FILE'",
                         m->mountpoint, (int)m->opts->part);
    }
    return 0;
}

/* -- Going up, step by step ----------------------------------------------- */

/* Each thread has a handful of descriptors.  The limit that a shell sets is
 * for programs that use select(2), which we do not. */
static void mount_raise_limits(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files); /* never more than allowed */
    }
}

static int mount_start_threads(struct mount *m, GError **err)
{
    unsigned n = (unsigned)m->opts->iothreads;

    m->threads = g_new0(struct iothread *, n);
    m->loops = g_new0(struct loop *, n);
    while (m->n_threads < n) {
        unsigned i = m->n_threads;
        g_autofree char *name = g_strdup_printf("coblk-io%u", i);
        int rc;

        rc = iothread_new(name, &m->threads[i]);
        if (rc < 0) {
            return error_set_errno(err, rc, "cannot start iothread %u", i);
        }
        m->loops[i] = iothread_loop(m->threads[i]);
        loop_set_polling(m->loops[i], m->opts->poll_max_ns, 0, 0);
        m->n_threads++;
    }
    return 0;
}

static void mount_describe(struct json *out, void *opaque)
{
    const struct mount *m = opaque;

    json_int(out, "pid", getpid());
    json_string(out, "mountpoint", front_mountpoint(m->front));
    mount_image_describe(&m->image, out);
}

struct view_job {
    struct mount *m;
    int rc;
    GError *err;
};

static void co_make_view(void *opaque)
{
    struct view_job *job = opaque;
    struct mount *m = job->m;
    const struct mount_opts *o = m->opts;
    struct view_opts opts = {
        .uid = o->uid >= 0 ? (uid_t)o->uid : getuid(),
        .gid = o->gid >= 0 ? (gid_t)o->gid : getgid(),
        .mode = o->mode >= 0 ? (mode_t)o->mode : 0600,
        .direct_io = o->direct_io,
        .single_file = m->single_file,
        .part_wanted = o->part >= 0,
        .part = o->part >= 0 ? (unsigned)o->part : 0,
        .unmap = o->discard,
        .sector_size = m->image.sector_size,
        .info = mount_describe,
        .opaque = m,
    };

    co_assert_role();
    job->rc = view_co_new(m->image.be, &opts, &m->view, &job->err);
}

static int mount_make_view(struct mount *m, GError **err)
{
    struct view_job job = {.m = m};
    int rc = loop_co_run_blocking(m->loops[0], co_make_view, &job);

    if (rc == 0) {
        rc = job.rc;
    }
    if (job.err) {
        g_propagate_prefixed_error(err, job.err, "%s: ", m->filename);
    } else if (rc < 0) {
        return error_set_errno(err, rc, "%s", m->filename);
    }
    return rc;
}

static int mount_make_front(struct mount *m, GError **err)
{
    const struct mount_opts *o = m->opts;
    const struct front_opts opts = {
        .fsname = m->image.filename,
        .rdonly = o->rdonly,
        .allow_other = o->allow_other,
        .no_merge = !o->merge,
        .max_background = (unsigned)o->max_background,
        .debug = o->debug,
        .fuse_options = o->fuse->str,
    };
    struct front_service service;
    struct serve_mount parts;
    int rc;

    rc = front_mount(m->mountpoint, &opts, &m->front, err);
    if (rc < 0) {
        return rc;
    }
    parts = (struct serve_mount){
        .front = m->front,
        .view = m->view,
        .image = &m->image,
        .loops = m->loops,
        .foreground = m->foreground,
    };
    rc = serve_new(&parts, &m->serve, err);
    if (rc < 0) {
        return rc;
    }
    service = (struct front_service){
        .view = m->view,
        .backend = m->image.be,
        .loops = m->loops,
        .n_loops = m->n_threads,
        .ended = serve_ended,
        .opaque = m->serve,
    };
    return front_start(m->front, &service, err);
}

/* The first look at the mount from outside. */
static int mount_try(const struct mount *m, GError **err)
{
    struct stat st;

    if (stat(front_mountpoint(m->front), &st) < 0) {
        return error_set_errno(err, -errno, "%s: the mount does not answer",
                               m->mountpoint);
    }
    return 0;
}

static int mount_go_up(struct mount *m, GError **err)
{
    int rc = mount_start_threads(m, err);

    if (rc == 0) {
        rc = mount_image_open(&m->image, m->filename, m->opts, m->loops,
                              m->n_threads, err);
    }
    if (rc == 0) {
        rc = mount_make_view(m, err);
    }
    if (rc == 0) {
        rc = mount_make_front(m, err);
    }
    if (rc == 0) {
        rc = mount_try(m, err);
    }
    return rc;
}

/* -- Going down ----------------------------------------------------------- */

/* Undoes mount_go_up(), however far that came.  Returns 0, or the first error
 * of a write that was lost. */
static int mount_go_down(struct mount *m)
{
    int lost = 0, rc;

    if (m->front) {
        front_stop(m->front);
        front_free(m->front);
        m->front = NULL;
    }
    if (m->view) {
        lost = view_lost_write(m->view);
        view_free(m->view);
    }
    rc = mount_image_close(&m->image, m->loops);
    lost = lost ? lost : rc;
    /* All at once: the end of a Linux AIO context takes the kernel long. */
    for (unsigned i = 0; i < m->n_threads; i++) {
        iothread_stop(m->threads[i]);
    }
    while (m->n_threads > 0) {
        iothread_free(m->threads[--m->n_threads]);
    }
    g_clear_pointer(&m->threads, g_free);
    g_clear_pointer(&m->loops, g_free);
    return lost;
}

/* -- The daemon ----------------------------------------------------------- */

/* Those who wait for the mount learn that it works. */
static void mount_tell_ready(struct mount *m)
{
    g_autofree char *state =
        g_strdup_printf("READY=1\nMAINPID=%d", (int)getpid());
    int fd = (int)m->opts->ready_fd;
    int rc = daemon_notify(state);

    if (rc < 0) {
        log_warning("cannot notify the service manager: %s", g_strerror(-rc));
    }
    if (fd >= 0) {
        if (write(fd, "ready\n", 6) != 6) {
            log_warning("ready-fd=%d: %s", fd, g_strerror(errno));
        }
        (void)close(fd);
    }
    daemon_ready(&m->daemon, m->log.target == LOGGING_STDERR);
    if (!m->foreground || m->opts->log) {
        logging_detach(&m->log);
    }
}

static int mount_serve(struct mount *m)
{
    g_autofree char *name = g_strdup(m->image.filename);
    int rc, lost;

    serve_listen(m->serve);
    mount_tell_ready(m);
    serve_run(m->serve);
    lost = serve_flush_error(m->serve);
    rc = mount_go_down(m);
    lost = lost ? lost : rc;
    if (lost) {
        log_error("%s: a write was lost: %s; the image is not what was written",
                  name, g_strerror(-lost));
    }
    serve_report(m->serve, lost);
    return lost ? CMD_FAILURE : CMD_OK;
}

static int mount_run(struct mount *m)
{
    g_autoptr(GError) error = NULL;
    int status;

    serve_block_signals();
    mount_raise_limits();
    if (mount_go_up(m, &error) < 0) {
        status = cmd_fail("%s", error->message);
        (void)mount_go_down(m);
    } else {
        status = mount_serve(m);
    }
    serve_free(m->serve);
    return status;
}

/* Everything that is wrong with the command line itself is found here. */
static int mount_check(struct mount *m, GError **err)
{
    int rc = mount_opts_check(m->opts, err);

    if (rc == 0) {
        rc = mount_enable_trace(m, err);
    }
    if (rc == 0) {
        rc = mount_check_ready_fd(m, err);
    }
    return rc;
}

/* Mounts as @m says; consumes its options. */
static int mount_image_at(struct mount *m)
{
    g_autoptr(mount_opts) opts = m->opts;
    g_autoptr(GError) error = NULL;
    const char *log = opts->log ? opts->log : m->foreground ? "stderr" : NULL;
    int status, rc;

    if (mount_check(m, &error) < 0) {
        return cmd_usage("%s", error->message);
    }
    rc = logging_open(log, &m->log, &error);
    if (rc < 0) {
        return rc == -EINVAL ? cmd_usage("%s", error->message)
                             : cmd_fail("%s", error->message);
    }
    logging_start(&m->log);
    m->daemon.status_fd = -1;
    if (mount_check_mountpoint(m, &error) < 0 ||
        (!m->foreground && daemon_fork(&m->daemon, &error) < 0)) {
        status = cmd_fail("%s", error->message);
    } else {
        cmd_register_drivers();
        status = mount_run(m);
    }
    logging_close(&m->log);
    return status;
}

/* -- The command lines of coblk mount and of mount(8) --------------------- */

static struct mount_opts *parse_all(char **texts, unsigned flags, GError **err)
{
    g_autoptr(mount_opts) o = mount_opts_new();

    for (; texts && *texts; texts++) {
        if (mount_opts_parse(o, *texts, flags, err) < 0) {
            return NULL;
        }
    }
    return g_steal_pointer(&o);
}

/* "--ro" and "-r", as other programs have them: a usage error that tells how it
 * is here, or CMD_OK. */
static int check_misplaced(char **argv)
{
    size_t n;
    const struct mount_option *table = mount_option_table(&n);

    for (; *argv && strcmp(*argv, "--") != 0; argv++) {
        const char *name = strcmp(*argv, "-r") == 0 ? "--ro" : *argv;
        size_t length = strcspn(name, "=");

        for (size_t i = 0; i < n; i++) {
            if (g_str_has_prefix(name, "--") && table[i].help &&
                strlen(table[i].name) + 2 == length &&
                strncmp(name + 2, table[i].name, length - 2) == 0) {
                return cmd_usage("there is no option %.*s; write -o %s",
                                 (int)strcspn(*argv, "="), *argv, name + 2);
            }
        }
    }
    return CMD_OK;
}

int cmd_mount(int argc, char **argv)
{
    gboolean foreground = FALSE;
    g_auto(GStrv) texts = NULL;
    g_auto(GStrv) args = NULL;
    const GOptionEntry entries[] = {
        {"foreground", 'f', 0, G_OPTION_ARG_NONE, &foreground,
         "Stay in the foreground", NULL},
        {"options", 'o', 0, G_OPTION_ARG_FILENAME_ARRAY, &texts,
         "Mount options, see below", "OPTION[,OPTION]"},
        G_OPTION_ENTRY_NULL,
    };
    g_autofree char *help = mount_opts_help();
    g_autofree char *description =
        g_strdup_printf("Mount options:\n%s\nSee coblk-mount(1).", help);
    g_autoptr(GError) error = NULL;
    struct mount m = {0};
    int status = check_misplaced(argv);

    if (status == CMD_OK) {
        status = cmd_parse(
            argc, argv, entries, "IMAGE MOUNTPOINT",
            "Shows the disk in IMAGE (a file or block device) and its "
            "partitions as files\nbelow MOUNTPOINT, or as that one file.",
            description, &args);
    }
    if (status != CMD_OK) {
        return status;
    }
    if (g_strv_length(args) != 2 || !*args[0] || !*args[1]) {
        return cmd_usage("an IMAGE and a MOUNTPOINT are needed");
    }
    m.opts = parse_all(texts, 0, &error);
    if (!m.opts) {
        return cmd_usage("%s", error->message);
    }
    m.filename = args[0];
    m.mountpoint = args[1];
    m.foreground = foreground;
    return mount_image_at(&m);
}

static int helper_help(void)
{
    g_autofree char *help = mount_opts_help();

    (void)printf(
        "Usage: %s IMAGE MOUNTPOINT [-sfnv] [-o OPTION[,OPTION]]\n\n"
        "What mount(8) runs for the type coblk; by hand there is "
        "`coblk mount`.\n\n"
        "Options:\n"
        "  -o OPTION[,OPTION]   Mount options, see below\n"
        "  -s                   Skip mount options that are not known\n"
        "  -f                   Only check the options\n"
        "  -n, -v               Nothing\n"
        "  -h, --help           Show this help\n\n"
        "Mount options:\n%s\nSee coblk-mount(1).\n",
        cmd_name(), help);
    return CMD_OK;
}

/* mount(8): mount.TYPE IMAGE DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t
 * TYPE]. */
int cmd_mount_helper(int argc, char **argv)
{
    static const struct option longs[] = {{"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    g_autoptr(GPtrArray) texts = g_ptr_array_new();
    g_autoptr(GError) error = NULL;
    struct mount m = {0};
    unsigned flags = 0;
    bool fake = false;
    int opt;

    opterr = 0;
    while ((opt = getopt_long(argc, argv, "sfnvhN:o:t:", longs, NULL)) != -1) {
        switch (opt) {
        case 'h':
            return helper_help();
        case 'f':
            fake = true;
            break;
        case 's':
            flags |= MOUNT_PARSE_SLOPPY;
            break;
        case 'o':
            g_ptr_array_add(texts, optarg);
            break;
        case '?':
            return cmd_usage("%s is no option, or needs a value",
                             argv[optind - 1]);
        default:
            break;
        }
    }
    if (argc - optind != 2 || !*argv[optind] || !*argv[optind + 1]) {
        return cmd_usage("an IMAGE and a MOUNTPOINT are needed");
    }
    g_ptr_array_add(texts, NULL);
    m.opts = parse_all((char **)texts->pdata, flags, &error);
    if (!m.opts) {
        return cmd_usage("%s", error->message);
    }
    m.filename = argv[optind];
    m.mountpoint = argv[optind + 1];
    if (fake) {
        mount_opts_free(m.opts);
        return CMD_OK;
    }
    return mount_image_at(&m);
}
