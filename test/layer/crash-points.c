/* SPDX-License-Identifier: MIT */

#include "crash-points.h"

#include <stdlib.h>

#define SUBSETS 6 /* random ones of the loose writes at each flush */
#define SINGLES 8 /* about as many of them lost alone, or alone there */

int64_t pick(int64_t end)
{
    return end <= 1 ? 0 : g_test_rand_int_range(0, (gint32)end);
}

int crash_percent(void)
{
    const char *text = g_getenv("COBLK_CRASH_PERCENT");

    return text ? atoi(text) : 50;
}

static void crash(struct crash_points *p, const enum crash_fate *fates)
{
    const struct crash_log *log = p->log;

    if (pick(100) >= p->percent) {
        return;
    }
    crash_log_crash(log, fates, p->names);
    for (guint i = 0; i < log->loose->len; i++) {
        if (crash_log_in_flight(log, i)) {
            p->n_in_flight++;
            break;
        }
    }
    p->n++;
    p->look(p->opaque);
}

/* All loose writes but one are @others: each in turn, or of many some. */
static void crash_each(struct crash_points *p, enum crash_fate one,
                       enum crash_fate others)
{
    guint n = p->log->loose->len;
    g_autofree enum crash_fate *fates = g_new(enum crash_fate, n + 1);

    for (guint i = 0; i < n; i++) {
        if (pick(n) >= SINGLES) {
            continue;
        }
        for (guint k = 0; k < n; k++) {
            fates[k] = k == i ? one : others;
        }
        crash(p, fates);
    }
}

static void crash_randomly(struct crash_points *p)
{
    guint n = p->log->loose->len;
    g_autofree enum crash_fate *fates = g_new(enum crash_fate, n + 1);

    for (int i = 0; n > 1 && i < SUBSETS; i++) {
        int64_t lost = 10 + pick(80);

        for (guint k = 0; k < n; k++) {
            fates[k] = pick(100) < lost ? CRASH_LOST
                       : pick(4) == 0   ? CRASH_TORN
                                        : CRASH_KEPT;
        }
        crash(p, fates);
    }
}

static void crash_plainly(struct crash_points *p)
{
    /* Of what was complete, and of what was in flight. */
    static const enum crash_fate fates[][2] = {
        {CRASH_KEPT, CRASH_LOST},
        {CRASH_LOST, CRASH_KEPT},
        {CRASH_KEPT, CRASH_TORN},
    };
    guint n = p->log->loose->len;
    g_autofree enum crash_fate *all = g_new(enum crash_fate, n + 1);
    bool in_flight = false;

    for (size_t k = 0; k < (in_flight ? G_N_ELEMENTS(fates) : 1); k++) {
        for (guint i = 0; i < n; i++) {
            bool flies = crash_log_in_flight(p->log, i);

            all[i] = fates[k][flies];
            in_flight = in_flight || flies;
        }
        crash(p, all);
    }
}

void crash_everywhere(struct crash_points *p)
{
    int end = crash_log_length(p->log);

    for (int cut = 0; cut <= end; cut++) {
        crash_log_cut(p->log, cut);
        crash_plainly(p);
        if (cut == end || crash_log_is_flushed(p->log, cut)) {
            crash_each(p, CRASH_LOST, CRASH_KEPT);
            crash_each(p, CRASH_KEPT, CRASH_LOST);
            crash_randomly(p);
        }
    }
}
