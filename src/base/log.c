/* SPDX-License-Identifier: MIT */

#include "base/log.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static enum log_level max_level = LOG_LEVEL_WARNING;
static log_sink_fn *current_sink;
static void *sink_opaque;

unsigned trace_topics;

void log_init(enum log_level level, log_sink_fn *sink, void *opaque)
{
    max_level = level;
    current_sink = sink;
    sink_opaque = opaque;
}

static void log_emit(enum log_level level, const char *line)
{
    if (current_sink) {
        current_sink(level, line, sink_opaque);
    } else {
        (void)fprintf(stderr, "%s\n", line);
    }
}

void log_line(enum log_level level, const char *format, ...)
{
    g_autofree char *line = NULL;
    va_list ap;

    if (level > max_level) {
        return;
    }
    va_start(ap, format);
    line = g_strdup_vprintf(format, ap);
    va_end(ap);
    log_emit(level, line);
}

static const struct trace_name {
    const char *name;
    unsigned topics;
} trace_names[] = {
    {"front", TRACE_FRONT},     {"queue", TRACE_QUEUE},
    {"backend", TRACE_BACKEND}, {"block", TRACE_BLOCK},
    {"driver", TRACE_DRIVER},   {"engine", TRACE_ENGINE},
    {"format", TRACE_FORMAT},   {"all", ~0u},
};

static unsigned trace_topics_named(const char *name, size_t n)
{
    for (size_t i = 0; i < G_N_ELEMENTS(trace_names); i++) {
        if (strlen(trace_names[i].name) == n &&
            strncmp(trace_names[i].name, name, n) == 0) {
            return trace_names[i].topics;
        }
    }
    return 0;
}

bool trace_enable(const char *names, const char **bad)
{
    unsigned topics = 0;

    while (*names) {
        size_t n = strcspn(names, ":");
        unsigned found = trace_topics_named(names, n);

        if (!found) {
            *bad = names;
            return false;
        }
        topics |= found;
        names += n + (names[n] == ':');
    }
    trace_topics = topics;
    return true;
}

void trace_line(const char *topic, const char *format, ...)
{
    g_autofree char *what = NULL;
    g_autofree char *name = g_ascii_strdown(topic, -1);
    g_autofree char *line = NULL;
    struct timespec now;
    va_list ap;

    va_start(ap, format);
    what = g_strdup_vprintf(format, ap);
    va_end(ap);
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    line = g_strdup_printf("%lld.%06ld %s: %s", (long long)now.tv_sec,
                           now.tv_nsec / 1000, name, what);
    log_emit(LOG_LEVEL_DEBUG, line);
}
