/* SPDX-License-Identifier: MIT */
/*
 * log: one sink for the lines a person reads, and trace points.
 *
 * Library layers log nothing above LOG_DEBUG; they return errors, and the one
 * caller that can act (cmd, view, front) reports each once.  All functions may
 * be called from any thread and never yield.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <glib.h>
#include <inttypes.h>
#include <stdbool.h>

#include "base/compiler.h"

enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG,
};

/* Receives one line without its newline.  Must not log. */
typedef void log_sink_fn(enum log_level level, const char *line, void *opaque);

/* Sends lines of @level and more urgent ones to @sink; NULL restores stderr. */
void log_init(enum log_level level, log_sink_fn *sink, void *opaque);

/* Writes one line; @format has no newline at its end. */
void log_line(enum log_level level, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/*
 * Trace points stand at the arrows of the picture in src/README.md: one line
 * per event with offset, bytes and result, so that `grep offset=` shows a
 * request's whole way.  Off unless asked for; the check is one load.
 */
enum trace_topic {
    TRACE_FRONT = 1 << 0,
    TRACE_QUEUE = 1 << 1,
    TRACE_BACKEND = 1 << 2,
    TRACE_BLOCK = 1 << 3,
    TRACE_DRIVER = 1 << 4,
    TRACE_ENGINE = 1 << 5,
    TRACE_FORMAT = 1 << 6,
};

extern unsigned trace_topics; /* set once at start-up, then constant */

/*
 * Turns topics on by their lower-case names, separated by ':' ("all" is every
 * one).  Returns false, and sets *@bad to the start of the first unknown name,
 * when there is one.
 */
bool trace_enable(const char *names, const char **bad);

void trace_line(const char *topic, const char *format, ...) G_GNUC_PRINTF(2, 3);

#define trace(topic, ...)                             \
    do {                                              \
        if (unlikely(trace_topics & TRACE_##topic)) { \
            trace_line(#topic, __VA_ARGS__);          \
        }                                             \
    } while (0)

#endif /* BASE_LOG_H */
