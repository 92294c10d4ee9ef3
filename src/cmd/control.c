/* SPDX-License-Identifier: MIT */

#include "cmd/control.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"

/* A client sends at once, but the machine may be so busy that it cannot. */
#define PATIENCE_S 5
#define LATE_MS    3000

static const char *const status_words[] = {
    [CONTROL_OK] = "ok",
    [CONTROL_BUSY] = "busy",
    [CONTROL_ERROR] = "error",
};

static socklen_t control_address(unsigned major, unsigned minor,
                                 struct sockaddr_un *ret)
{
    int n;

    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    n = snprintf(ret->sun_path + 1, sizeof(ret->sun_path) - 1, "coblk/%u:%u",
                 major, minor);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static int control_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    return fd < 0 ? -errno : fd;
}

/* Is the other end of @fd run by @uid or root?  Fills @ret. */
static int control_check_peer(int fd, uid_t uid, struct ucred *ret)
{
    socklen_t n = sizeof(*ret);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret, &n) < 0) {
        return -errno;
    }
    return ret->uid == uid || ret->uid == 0 ? 0 : -EPERM;
}

/* -- The daemon's side --------------------------------------------------- */

int control_listen(unsigned major, unsigned minor)
{
    struct sockaddr_un address;
    socklen_t n = control_address(major, minor, &address);
    auto_close int fd = control_socket();

    if (fd < 0) {
        return steal_fd(&fd);
    }
    if (bind(fd, (struct sockaddr *)&address, n) < 0 || listen(fd, 8) < 0) {
        return -errno;
    }
    return steal_fd(&fd);
}

static int control_read_line(int fd, char *line, size_t size)
{
    size_t used = 0;

    while (used < size) {
        ssize_t n = read(fd, line + used, size - used);
        char *end;

        if (n <= 0) {
            return n < 0 ? -errno : -ECONNRESET;
        }
        used += (size_t)n;
        end = memchr(line, '\n', used);
        if (end) {
            *end = '\0';
            return 0;
        }
    }
    return -EMSGSIZE;
}

int control_accept(int listener, char request[CONTROL_MAX_REQUEST])
{
    static const struct timeval patience = {.tv_sec = PATIENCE_S};
    auto_close int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    struct ucred peer;
    int rc;

    if (fd < 0) {
        return -errno;
    }
    rc = control_check_peer(fd, geteuid(), &peer);
    if (rc < 0) {
        control_answer(steal_fd(&fd), CONTROL_ERROR,
                       "only the user who mounted it, or root, may do that");
        return rc;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    rc = control_read_line(fd, request, CONTROL_MAX_REQUEST);
    return rc < 0 ? rc : steal_fd(&fd);
}

static int control_send(int fd, const char *text, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = send(fd, text, bytes, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n > 0) {
            text += n;
            bytes -= (size_t)n;
        }
    }
    return 0;
}

void control_answer(int conn, enum control_status status, const char *text)
{
    g_autofree char *answer =
        g_strdup_printf("%s\n%s", status_words[status], text);

    (void)control_send(conn, answer, strlen(answer));
    (void)close(conn);
}

/* -- The client's side --------------------------------------------------- */

int control_connect(unsigned major, unsigned minor, uid_t owner,
                    struct control_peer *ret)
{
    struct sockaddr_un address;
    socklen_t n = control_address(major, minor, &address);
    auto_close int fd = control_socket();
    struct ucred peer;
    int rc;

    if (fd < 0) {
        return fd;
    }
    if (connect(fd, (struct sockaddr *)&address, n) < 0) {
        return -errno;
    }
    rc = control_check_peer(fd, owner, &peer);
    if (rc < 0) {
        return rc;
    }
    ret->pidfd = peer.pid > 0 ? pidfd_open(peer.pid, 0) : -1;
    ret->conn = steal_fd(&fd);
    return 0;
}

void control_disconnect(struct control_peer *peer)
{
    cleanup_close(&peer->conn);
    cleanup_close(&peer->pidfd);
    peer->conn = peer->pidfd = -1;
}

static int control_read_all(int fd, GString *ret)
{
    char buf[2048];
    ssize_t n;

    do {
        n = read(fd, buf, sizeof(buf));
        if (n > 0) {
            g_string_append_len(ret, buf, n);
        }
    } while (n > 0 || (n < 0 && errno == EINTR));
    return n < 0 ? -errno : 0;
}

/* Is there something to read, soon? */
static bool control_is_prompt(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};

    return poll(&pfd, 1, LATE_MS) != 0;
}

int control_ask(struct control_peer *peer, const char *request,
                void (*late)(void *opaque), void *opaque, char **text)
{
    g_autofree char *line = g_strdup_printf("%s\n", request);
    g_autoptr(GString) answer = g_string_new(NULL);
    int rc = control_send(peer->conn, line, strlen(line));

    if (late && rc == 0 && !control_is_prompt(peer->conn)) {
        late(opaque);
    }
    /* A daemon that turned us away may have closed before we sent. */
    if (rc == 0 || rc == -EPIPE) {
        rc = control_read_all(peer->conn, answer);
    }
    for (int i = 0; i < (int)G_N_ELEMENTS(status_words); i++) {
        size_t n = strlen(status_words[i]);

        if (strncmp(answer->str, status_words[i], n) == 0 &&
            answer->str[n] == '\n') {
            *text = g_strdup(answer->str + n + 1);
            return i;
        }
    }
    return rc < 0 ? rc : -ECONNRESET;
}

void control_wait_gone(struct control_peer *peer)
{
    struct pollfd pfd = {.fd = peer->pidfd, .events = POLLIN};

    while (peer->pidfd >= 0 && poll(&pfd, 1, -1) < 0 && errno == EINTR) {
    }
}
