/* SPDX-License-Identifier: MIT */
/*
 * control: how `coblk umount` and `coblk stat` talk to the daemon of a mount.
 *
 * The daemon listens on the abstract socket "coblk/MAJOR:MINOR", the device
 * number that the kernel gave to the mount, so nothing is left behind when it
 * dies.  A client sends one line ("umount" or "stats") and reads until
 * the end: a line with a status word, then a text.  Whoever is neither the
 * daemon's user nor root is turned away; a client likewise accepts no answer
 * from a stranger who took the name.
 *
 * Abstract names belong to a network namespace: from another one nobody is
 * there (-ECONNREFUSED).
 *
 * Errors:    negative errno.
 * Threading: one thread.
 */
#ifndef CMD_CONTROL_H
#define CMD_CONTROL_H

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/compiler.h"

#define CONTROL_MAX_REQUEST 64

enum control_status {
    CONTROL_OK,
    CONTROL_BUSY,  /* the text says who holds the mount */
    CONTROL_ERROR, /* the text is the message */
};

/* -- The daemon's side --------------------------------------------------- */

/* Listens for the mount @major:@minor.  Returns a descriptor, or -EADDRINUSE
 * and others. */
nodiscard int control_listen(unsigned major, unsigned minor);

/* Takes one connection from @listener and reads its request, waiting for at
 * most five seconds.  Returns the connection, or -EPERM for a stranger and
 * others. */
nodiscard int control_accept(int listener, char request[CONTROL_MAX_REQUEST]);

/* Answers, waiting for at most five seconds for a slow reader, and closes @conn.
 * Nobody can be told if that fails. */
void control_answer(int conn, enum control_status status, const char *text);

/* -- The client's side --------------------------------------------------- */

/* A daemon that has been found. */
struct control_peer {
    int conn;  /* owned */
    int pidfd; /* owned; -1 when its process cannot be seen from here */
};

/*
 * Connects to the daemon of @major:@minor, which must run as @owner or root.
 * Returns 0, -ECONNREFUSED when nobody is there, or -EPERM when it is
 * somebody else.
 */
nodiscard int control_connect(unsigned major, unsigned minor, uid_t owner,
                              struct control_peer *ret);
void control_disconnect(struct control_peer *peer);

/*
 * Sends @request and reads the answer until its end, however long that takes.
 * Returns an enum control_status, or -ECONNRESET when the daemon died without
 * an answer.  g_free() *@text.
 *
 * @late, which may be NULL, is called once with @opaque when there is no answer
 * after three seconds.
 */
nodiscard int control_ask(struct control_peer *peer, const char *request,
                          void (*late)(void *opaque), void *opaque,
                          char **text);

/* Waits until the daemon's process has gone. */
void control_wait_gone(struct control_peer *peer);

#endif /* CMD_CONTROL_H */
