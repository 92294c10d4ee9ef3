/* SPDX-License-Identifier: MIT */

#include "cmd/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "cmd/cmd.h"

/* The parent: waits for the child's word or its end.  _exit(), because what
 * stdio holds is the child's to write. */
static void G_GNUC_NORETURN daemon_wait(int fd, pid_t child)
{
    char word;
    ssize_t n;
    int status = 0;

    do {
        n = read(fd, &word, 1);
    } while (n < 0 && errno == EINTR);
    if (n == 1) {
        _exit(CMD_OK);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status)) {
        _exit(cmd_fail("the daemon died: %s", strsignal(WTERMSIG(status))));
    }
    _exit(WEXITSTATUS(status));
}

int daemon_fork(struct daemon *d, GError **err)
{
    int fds[2];
    pid_t child;

    if (pipe2(fds, O_CLOEXEC) < 0) {
        return error_set_errno(err, -errno, "cannot make a pipe");
    }
    child = fork();
    if (child < 0) {
        int rc = -errno;

        (void)close(fds[0]);
        (void)close(fds[1]);
        return error_set_errno(err, rc, "cannot go to the background");
    }
    if (child > 0) {
        (void)close(fds[1]);
        daemon_wait(fds[0], child);
    }
    (void)close(fds[0]);
    d->status_fd = fds[1];
    return 0;
}

/* Best effort: a daemon that keeps its terminal is ugly, not broken. */
static void daemon_leave_terminal(gboolean keep_stderr)
{
    auto_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    (void)setsid();
    (void)!chdir("/");
    if (null < 0) {
        return;
    }
    for (int fd = 0; fd < (keep_stderr ? 2 : 3); fd++) {
        (void)dup2(null, fd);
    }
}

void daemon_ready(struct daemon *d, gboolean keep_stderr)
{
    if (d->status_fd < 0) {
        return;
    }
    daemon_leave_terminal(keep_stderr);
    /* A parent that is gone needs no word. */
    (void)!write(d->status_fd, "", 1);
    (void)close(d->status_fd);
    d->status_fd = -1;
}

int daemon_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = path ? strlen(path) : 0;
    auto_close int fd = -1;

    if (!length) {
        return 0;
    }
    if ((path[0] != '/' && path[0] != '@') ||
        length >= sizeof(address.sun_path)) {
        return -EINVAL;
    }
    memcpy(address.sun_path, path, length);
    if (path[0] == '@') {
        address.sun_path[0] = '\0'; /* the abstract name space */
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    if (sendto(
            fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
            (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0) {
        return -errno;
    }
    return 0;
}
