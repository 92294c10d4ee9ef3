/* SPDX-License-Identifier: MIT */
/*
 * daemon: going to the background once the work has begun, and telling those
 * who wait for that.
 *
 * daemon_fork() leaves the parent on the terminal.  The child goes on with
 * stderr still there, so that it can report errors, and ends the parent with
 * daemon_ready(); a child that ends before that passes its exit status on.
 *
 * Threading: daemon_fork() before any thread exists.
 */
#ifndef CMD_DAEMON_H
#define CMD_DAEMON_H

#include <glib.h>

#include "base/compiler.h"

struct daemon {
    int status_fd; /* write end of the pipe to the parent; -1: none */
};

/* Forks.  Returns 0 in the child, a negative errno when that fails; does not
 * return in the parent. */
nodiscard int daemon_fork(struct daemon *d, GError **err);

/* In the child: leaves the terminal (session, directory, stdin and stdout;
 * stderr unless @keep_stderr) and makes the parent exit with 0.  Nothing when
 * daemon_fork() was not called. */
void daemon_ready(struct daemon *d, gboolean keep_stderr);

/* Sends @state ("READY=1", lines) to the service manager named by
 * $NOTIFY_SOCKET, if there is one.  Returns 0 or a negative errno. */
int daemon_notify(const char *state);

#endif /* CMD_DAEMON_H */
