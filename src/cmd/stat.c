/* SPDX-License-Identifier: MIT */
/*
 * coblk stat: the counters of a mount, as a table or as JSON.
 *
 * They come from the daemon's control socket, which works for every kind of
 * mount; where it is out of reach, from .coblk/stats.json in the mount.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/control.h"
#include "cmd/human.h"
#include "cmd/json-get.h"
#include "front/mountinfo.h"

static const char *const type_names[] = {"read", "write", "flush", "discard"};

#define N_TYPES G_N_ELEMENTS(type_names)

struct counters {
    int64_t requests, bytes, merged, backend, failed, p50, p99;
};

struct sample {
    struct counters type[N_TYPES];
    int64_t queue_depth;
    int64_t taken_ns; /* CLOCK_MONOTONIC */
};

static int64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* -- Asking -------------------------------------------------------------- */

/* Asks the daemon of @m.  NULL: out of reach, or not for this user. */
static char *stat_ask(const struct mount_entry *m)
{
    struct control_peer peer = {-1, -1};
    g_autofree char *text = NULL;
    int rc;

    if (control_connect(m->major, m->minor, m->owner, &peer) < 0) {
        return NULL;
    }
    rc = control_ask(&peer, "stats", NULL, NULL, &text);
    control_disconnect(&peer);
    return rc == CONTROL_OK ? g_steal_pointer(&text) : NULL;
}

/* The counters of the mount @m as JSON, or NULL. */
static char *stat_text(const struct mount_entry *m)
{
    g_autofree char *path = NULL;
    char *text = stat_ask(m);

    if (text) {
        return text;
    }
    path = g_build_filename(m->mountpoint, ".coblk", "stats.json", NULL);
    return g_file_get_contents(path, &text, NULL, NULL) ? text : NULL;
}

static int stat_no_answer(const struct mount_entry *m)
{
    if (geteuid() != 0 && geteuid() != m->owner) {
        return cmd_fail("%s: only the user who mounted it, or root, may see "
                        "that",
                        m->mountpoint);
    }
    return cmd_fail("%s: no answer from its daemon; if that has died, 'coblk "
                    "umount %s' cleans up",
                    m->mountpoint, m->mountpoint);
}

/* -- Reading ------------------------------------------------------------- */

static void counters_get(const char *json, const char *type, const char *key,
                         int64_t *ret)
{
    g_autofree char *path = g_strdup_printf("%s.%s", type, key);

    (void)json_get_int(json, path, ret); /* absent: stays 0 */
}

static void sample_parse(const char *json, struct sample *ret)
{
    *ret = (struct sample){.taken_ns = now_ns()};
    for (size_t i = 0; i < N_TYPES; i++) {
        struct counters *c = &ret->type[i];

        counters_get(json, type_names[i], "requests", &c->requests);
        counters_get(json, type_names[i], "bytes", &c->bytes);
        counters_get(json, type_names[i], "merged", &c->merged);
        counters_get(json, type_names[i], "backend_requests", &c->backend);
        counters_get(json, type_names[i], "failed", &c->failed);
        counters_get(json, type_names[i], "latency_ns.p50", &c->p50);
        counters_get(json, type_names[i], "latency_ns.p99", &c->p99);
    }
    (void)json_get_int(json, "queue_depth", &ret->queue_depth);
}

/* -- Showing ------------------------------------------------------------- */

static void add_row(struct table *t, const char *const *cells)
{
    for (size_t i = 0; cells[i]; i++) {
        table_add(t, cells[i]);
    }
}

static void add_latencies(struct table *t, const struct counters *c)
{
    table_take(t, human_count(c->failed));
    table_take(t, human_latency(c->p50));
    table_take(t, human_latency(c->p99));
}

static char *totals_table(const struct sample *s)
{
    static const char *const head[] = {"",       "requests", "data",
                                       "merged", "to disk",  "failed",
                                       "p50",    "p99",      NULL};
    struct table *t = table_new(G_N_ELEMENTS(head) - 1);

    add_row(t, head);
    for (size_t i = 0; i < N_TYPES; i++) {
        const struct counters *c = &s->type[i];

        table_add(t, type_names[i]);
        table_take(t, human_count(c->requests));
        table_take(t, human_size(c->bytes));
        table_take(t, human_percent(c->merged, c->requests));
        table_take(t, human_count(c->backend));
        add_latencies(t, c);
    }
    return table_finish(t);
}

/* What happened between @a and @b, per second; latencies since the start. */
static char *rates_table(const struct sample *a, const struct sample *b)
{
    static const char *const head[] = {"",       "requests/s", "data/s",
                                       "merged", "to disk/s",  "failed",
                                       "p50",    "p99",        NULL};
    struct table *t = table_new(G_N_ELEMENTS(head) - 1);
    double seconds = (double)(b->taken_ns - a->taken_ns) / 1e9;

    add_row(t, head);
    for (size_t i = 0; i < N_TYPES; i++) {
        const struct counters *x = &a->type[i], *y = &b->type[i];
        int64_t requests = y->requests - x->requests;

        table_add(t, type_names[i]);
        table_take(t, human_count((int64_t)((double)requests / seconds)));
        table_take(
            t, human_size((int64_t)((double)(y->bytes - x->bytes) / seconds)));
        table_take(t, human_percent(y->merged - x->merged, requests));
        table_take(t, human_count((int64_t)((double)(y->backend - x->backend) /
                                            seconds)));
        add_latencies(t, y);
    }
    return table_finish(t);
}

static char *headline(const struct mount_entry *m, const struct sample *s)
{
    return g_strdup_printf("%s on %s, queue depth %" PRId64, m->source,
                           m->mountpoint, s->queue_depth);
}

static int stat_once(const struct mount_entry *m, bool json)
{
    g_autofree char *text = stat_text(m);
    g_autofree char *table = NULL;
    g_autofree char *head = NULL;
    struct sample s;

    if (!text) {
        return stat_no_answer(m);
    }
    if (json) {
        (void)fputs(text, stdout);
        return CMD_OK;
    }
    sample_parse(text, &s);
    table = totals_table(&s);
    head = headline(m, &s);
    (void)printf("%s\n%s", head, table);
    return CMD_OK;
}

/* -- Watching ------------------------------------------------------------ */

static void watch_show(const struct mount_entry *m, const struct sample *a,
                       const struct sample *b)
{
    /* On a terminal each picture replaces the one before. */
    const char *clear = isatty(STDOUT_FILENO) ? "\033[H\033[J" : "";
    g_autofree char *table = rates_table(a, b);
    g_autofree char *head = headline(m, b);

    (void)printf("%s%s\n%s%s", clear, head, table, *clear ? "" : "\n");
    (void)fflush(stdout);
}

/* Until the mount has gone, or somebody interrupts. */
static int stat_watch(const struct mount_entry *m, bool json)
{
    struct sample samples[2] = {0};
    unsigned n = 0;

    for (;; n++) {
        g_autofree char *text = stat_text(m);
        struct sample *now = &samples[n % 2];

        if (!text) {
            break;
        }
        sample_parse(text, now);
        if (json) {
            (void)fputs(text, stdout);
            (void)fflush(stdout);
        } else if (n > 0) {
            watch_show(m, &samples[(n + 1) % 2], now);
        }
        if (ferror(stdout)) {
            return CMD_FAILURE;
        }
        g_usleep(G_USEC_PER_SEC);
    }
    return n > 0 ? CMD_OK : stat_no_answer(m);
}

int cmd_stat(int argc, char **argv)
{
    gboolean watch = FALSE, json = FALSE;
    const GOptionEntry entries[] = {
        {"watch", 'w', 0, G_OPTION_ARG_NONE, &watch,
         "Show the rates of each second until interrupted", NULL},
        {"json", 'j', 0, G_OPTION_ARG_NONE, &json, "Print the counters as JSON",
         NULL},
        G_OPTION_ENTRY_NULL,
    };
    g_auto(GStrv) args = NULL;
    g_auto(mount_entry) m = {0};
    int status = cmd_parse(argc, argv, entries, "MOUNTPOINT",
                           "Shows the counters of a mount.", NULL, &args);

    if (status != CMD_OK) {
        return status;
    }
    if (g_strv_length(args) != 1 || !*args[0]) {
        return cmd_usage("one MOUNTPOINT is needed");
    }
    status = cmd_find_mount(args[0], &m);
    if (status != CMD_OK) {
        return status;
    }
    return watch ? stat_watch(&m, json) : stat_once(&m, json);
}
