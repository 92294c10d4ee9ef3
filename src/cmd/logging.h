/* SPDX-License-Identifier: MIT */
/*
 * logging: where the lines of base/log.h go.
 *
 * While a terminal waits for the program they go to stderr, each after the
 * program's name.  A daemon sends them to a file or to syslog(3).
 */
#ifndef CMD_LOGGING_H
#define CMD_LOGGING_H

#include <glib.h>

#include "base/compiler.h"
#include "base/log.h"

struct logging {
    enum log_level level;
    enum {
        LOGGING_STDERR,
        LOGGING_SYSLOG,
        LOGGING_FILE,
    } target;
    int fd; /* FILE: owned, else -1 */
};

/*
 * Reads "TARGET[:LEVEL]", TARGET being `syslog`, `stderr` or a file, which is
 * created and opened for appending.  NULL: syslog.  Returns 0 or a negative
 * errno.
 */
nodiscard int logging_open(const char *text, struct logging *ret, GError **err);

/* Sends lines to stderr, whatever the target is. */
void logging_start(const struct logging *l);
/* Sends lines to the target from now on; @l must stay. */
void logging_detach(struct logging *l);
/* Back to stderr; closes the file. */
void logging_close(struct logging *l);

#endif /* CMD_LOGGING_H */
