/* SPDX-License-Identifier: MIT */

#include "cmd/logging.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "cmd/cmd.h"

static const struct {
    const char *name;
    int priority; /* of syslog(3) */
} levels[] = {
    [LOG_LEVEL_ERROR] = {"error", LOG_ERR},
    [LOG_LEVEL_WARNING] = {"warning", LOG_WARNING},
    [LOG_LEVEL_INFO] = {"info", LOG_INFO},
    [LOG_LEVEL_DEBUG] = {"debug", LOG_DEBUG},
};

static void logging_to_stderr(enum log_level level, const char *line,
                              void *opaque)
{
    (void)fprintf(stderr, "%s: %s%s\n", cmd_name(),
                  level == LOG_LEVEL_WARNING ? "warning: " : "", line);
}

static void logging_to_syslog(enum log_level level, const char *line,
                              void *opaque)
{
    syslog(levels[level].priority, "%s", line);
}

static void logging_to_file(enum log_level level, const char *line,
                            void *opaque)
{
    const struct logging *l = opaque;
    struct timespec now;
    struct tm tm;
    char when[32];

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S",
                   localtime_r(&now.tv_sec, &tm));
    /* One write() per line: lines of several daemons do not mix. */
    (void)dprintf(l->fd, "%s.%03ld coblk[%d] %s: %s\n", when,
                  now.tv_nsec / 1000000, (int)getpid(), levels[level].name,
                  line);
}

/* Cuts ":LEVEL" off @text when that is what it ends with.  The name of a file
 * may contain colons. */
static void logging_take_level(char *text, enum log_level *level)
{
    char *colon = strrchr(text, ':');

    for (unsigned i = 0; colon && i < G_N_ELEMENTS(levels); i++) {
        if (strcmp(colon + 1, levels[i].name) == 0) {
            *level = (enum log_level)i;
            *colon = '\0';
            return;
        }
    }
}

int logging_open(const char *text, struct logging *ret, GError **err)
{
    g_autofree char *target = g_strdup(text ? text : "syslog");
    struct logging l = {.level = LOG_LEVEL_WARNING, .fd = -1};

    logging_take_level(target, &l.level);
    if (strcmp(target, "stderr") == 0) {
        l.target = LOGGING_STDERR;
    } else if (strcmp(target, "syslog") == 0) {
        l.target = LOGGING_SYSLOG;
    } else if (g_str_has_prefix(target, "stderr:") ||
               g_str_has_prefix(target, "syslog:")) {
        return error_set(err, -EINVAL,
                         "log=%s: the level must be error, warning, info or "
                         "debug",
                         target);
    } else {
        l.target = LOGGING_FILE;
        l.fd = open(target, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        if (l.fd < 0) {
            return error_set_errno(err, -errno, "log file %s", target);
        }
    }
    *ret = l;
    return 0;
}

void logging_start(const struct logging *l)
{
    log_init(l->level, logging_to_stderr, NULL);
}

void logging_detach(struct logging *l)
{
    switch (l->target) {
    case LOGGING_STDERR:
        break;
    case LOGGING_SYSLOG:
        openlog("coblk", LOG_PID | LOG_NDELAY, LOG_DAEMON);
        log_init(l->level, logging_to_syslog, l);
        break;
    case LOGGING_FILE:
        log_init(l->level, logging_to_file, l);
        break;
    }
}

void logging_close(struct logging *l)
{
    logging_start(l);
    if (l->fd >= 0) {
        (void)close(l->fd);
        l->fd = -1;
    }
}
