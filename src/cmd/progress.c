/* SPDX-License-Identifier: MIT */

#include "cmd/progress.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/human.h"
#include "loop/loop.h"

/* As long as the text beside the bar becomes: three numbers and their units. */
#define TEXT_COLUMNS  60
#define BAR_MAX       28
#define BAR_MIN       8
#define NS_PER_SECOND 1e9

static volatile sig_atomic_t stop_signal;
static volatile sig_atomic_t show_now;

static void on_signal(int signal)
{
    if (signal == SIGUSR1) {
        show_now = 1;
    } else {
        stop_signal = signal;
    }
}

/* -- Texts --------------------------------------------------------------- */

static double share(int64_t done, int64_t total)
{
    return total > 0 ? MIN((double)done / (double)total, 1.0) : 1.0;
}

char *progress_line(int64_t done, int64_t total)
{
    return g_strdup_printf("    (%.2f/100%%)", 100.0 * share(done, total));
}

static void append_rate(GString *text, int64_t done, int64_t total,
                        int64_t elapsed_ns)
{
    double seconds = (double)elapsed_ns / NS_PER_SECOND;
    double rate = (double)done / seconds;
    g_autofree char *speed = NULL;
    g_autofree char *left = NULL;

    if (seconds < 0.5 || done <= 0) {
        return; /* nothing to judge by */
    }
    speed = human_size((int64_t)rate);
    g_string_append_printf(text, "  %s/s", speed);
    if (done < total) {
        left = human_age((int64_t)((double)(total - done) / rate) + 1);
        g_string_append_printf(text, "  %s left", left);
    }
}

/* Nothing where only few cells fit: the numbers say more. */
static void append_bar(GString *text, double part, int columns)
{
    int cells = MIN(columns - TEXT_COLUMNS - (int)strlen("[] "), BAR_MAX);
    int filled = (int)(part * cells);

    if (cells < BAR_MIN) {
        return;
    }
    g_string_append_c(text, '[');
    for (int i = 0; i < cells; i++) {
        g_string_append_c(text, i < filled ? '#' : i == filled ? '>' : ' ');
    }
    g_string_append(text, "] ");
}

char *progress_bar(int64_t done, int64_t total, int64_t elapsed_ns, int columns)
{
    GString *text = g_string_new(NULL);
    double part = share(done, total);
    g_autofree char *size_done = human_size(MIN(done, total));
    g_autofree char *size_total = human_size(total);

    append_bar(text, part, columns);
    g_string_append_printf(text, "%5.1f %%  %s of %s", 100.0 * part, size_done,
                           size_total);
    append_rate(text, done, total, elapsed_ns);
    g_string_truncate(text, MIN(text->len, (gsize)MAX(columns, 1)));
    return g_string_free(text, FALSE);
}

/* -- Showing ------------------------------------------------------------- */

static void show_bar(const struct progress *p, int64_t done, int64_t total)
{
    /* What goes to a second line is not drawn over; in the last column some
     * terminals do. */
    g_autofree char *bar =
        progress_bar(done, total, loop_now() - p->started, cmd_columns() - 1);

    (void)printf("\r%s\033[K", bar);
    (void)fflush(stdout);
}

static void show_line(int64_t done, int64_t total)
{
    g_autofree char *line = progress_line(done, total);

    (void)printf("%s\n", line);
    (void)fflush(stdout);
}

static void progress_update(void *opaque, int64_t done, int64_t total)
{
    struct progress *p = opaque;
    int percent = (int)(100.0 * share(done, total));

    if (show_now) {
        show_now = 0;
        show_line(done, total);
    }
    if (p->mode == PROGRESS_BAR) {
        show_bar(p, done, total);
    } else if (p->mode == PROGRESS_LINES && percent != p->shown) {
        show_line(done, total);
    }
    p->shown = percent;
}

static bool progress_stop(void *opaque)
{
    return stop_signal != 0;
}

static void listen_to(int signal, int flags)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = flags};
    struct sigaction now;

    /* What was ignored when we came (nohup) stays so. */
    if (sigaction(signal, NULL, &now) == 0 && now.sa_handler != SIG_IGN) {
        (void)sigaction(signal, &sa, NULL);
    }
}

void progress_begin(struct progress *p, bool wanted)
{
    *p = (struct progress){
        .started = loop_now(),
        .shown = -1,
        .watch = {progress_update, p, progress_stop},
    };
    if (wanted) {
        p->mode = isatty(STDOUT_FILENO) ? PROGRESS_BAR : PROGRESS_LINES;
    }
    listen_to(SIGINT, (int)SA_RESETHAND);
    listen_to(SIGTERM, (int)SA_RESETHAND);
    listen_to(SIGHUP, (int)SA_RESETHAND);
    listen_to(SIGUSR1, SA_RESTART);
}

void progress_end(struct progress *p, bool complete)
{
    /* The last line again, and an empty one: what a program waits for that
     * reads qemu-img's. */
    if (p->mode == PROGRESS_LINES && complete) {
        show_line(1, 1);
    }
    if (p->mode == PROGRESS_LINES) {
        (void)printf("\n");
    }
    if (p->mode == PROGRESS_BAR) {
        (void)printf("\n");
    }
}
