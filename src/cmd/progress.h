/* SPDX-License-Identifier: MIT */
/*
 * progress: shows how far a long operation is, and lets a user end it.
 *
 * On a terminal a bar with rate and time left is drawn over and over; else
 * each whole percent is a line "    (12.00/100%)", which programs read.
 * SIGUSR1 prints where it stands at once, also when nothing else is shown.
 * The first SIGINT, SIGTERM or SIGHUP asks the operation to end, the second
 * ends the program.
 *
 * Threading: one thread; one at a time.
 */
#ifndef CMD_PROGRESS_H
#define CMD_PROGRESS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "tool/open.h"

enum progress_mode {
    PROGRESS_NONE,  /* only for SIGUSR1 */
    PROGRESS_LINES, /* a line per percent */
    PROGRESS_BAR,
};

struct progress {
    enum progress_mode mode;
    int64_t started; /* CLOCK_MONOTONIC, ns */
    int shown;       /* percent; -1: nothing yet */
    struct tool_watch watch;
};

/* Begins to show, if @wanted (-p), and to listen to signals. */
void progress_begin(struct progress *p, bool wanted);
/* Ends it, the last percent included when @complete. */
void progress_end(struct progress *p, bool complete);

/*
 * The text of the bar without a newline: "[####>    ]  42.0 %  1.2 GiB of
 * 3 GiB  900 MiB/s  2 s left", in at most @columns: then the bar is shorter or
 * left out, and the text cut.  Pure; g_free() it.
 */
char *progress_bar(int64_t done, int64_t total, int64_t elapsed_ns,
                   int columns);

/* "    (12.00/100%)".  Pure; g_free() it. */
char *progress_line(int64_t done, int64_t total);

#endif /* CMD_PROGRESS_H */
