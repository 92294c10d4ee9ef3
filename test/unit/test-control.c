/* SPDX-License-Identifier: MIT */
/*
 * cmd/control: a daemon and its client, in two threads.
 */
#include <errno.h>
#include <glib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/control.h"

/* Device numbers that no mount has: the kernel's are 20 bits wide. */
#define MAJOR 0xfffff

static unsigned test_minor(void)
{
    return (unsigned)getpid();
}

static int listen_or_fail(void)
{
    int listener = control_listen(MAJOR, test_minor());

    g_assert_cmpint(listener, >=, 0);
    return listener;
}

static struct control_peer connect_or_fail(void)
{
    struct control_peer peer;

    g_assert_cmpint(control_connect(MAJOR, test_minor(), getuid(), &peer), ==,
                    0);
    return peer;
}

/* A client in a thread of its own: asks, and keeps what it is told. */
struct asker {
    const char *request;
    struct control_peer peer;
    int rc;
    char *text;
};

static void *asker_run(void *opaque)
{
    struct asker *a = opaque;

    a->rc = control_ask(&a->peer, a->request, NULL, NULL, &a->text);
    return NULL;
}

static void test_answers(void)
{
    static const struct {
        enum control_status status;
        const char *text;
    } cases[] = {
        {CONTROL_OK, ""},
        {CONTROL_OK, "{\n  \"a\": 1\n}\n"},
        {CONTROL_BUSY, "vim (pid 1)"},
        {CONTROL_ERROR, "no"},
    };
    int listener = listen_or_fail();

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct asker a = {.request = "stats", .peer = connect_or_fail()};
        GThread *thread = g_thread_new("asker", asker_run, &a);
        char request[CONTROL_MAX_REQUEST];
        int conn = control_accept(listener, request);

        g_assert_cmpint(conn, >=, 0);
        g_assert_cmpstr(request, ==, "stats");
        control_answer(conn, cases[i].status, cases[i].text);
        (void)g_thread_join(thread);
        g_assert_cmpint(a.rc, ==, (int)cases[i].status);
        g_assert_cmpstr(a.text, ==, cases[i].text);
        g_free(a.text);
        control_disconnect(&a.peer);
    }
    (void)close(listener);
}

/* More than a socket buffer holds. */
static void test_long_answer(void)
{
    int listener = listen_or_fail();
    struct asker a = {.request = "stats", .peer = connect_or_fail()};
    GThread *thread = g_thread_new("asker", asker_run, &a);
    g_autofree char *text = g_strnfill(4000000, 'x');
    char request[CONTROL_MAX_REQUEST];

    control_answer(control_accept(listener, request), CONTROL_OK, text);
    (void)g_thread_join(thread);
    g_assert_cmpint(a.rc, ==, CONTROL_OK);
    g_assert_cmpint((int)strlen(a.text), ==, 4000000);
    g_free(a.text);
    control_disconnect(&a.peer);
    (void)close(listener);
}

static void test_daemon_dies(void)
{
    int listener = listen_or_fail();
    struct asker a = {.request = "umount", .peer = connect_or_fail()};
    GThread *thread = g_thread_new("asker", asker_run, &a);
    char request[CONTROL_MAX_REQUEST];

    (void)close(control_accept(listener, request));
    (void)g_thread_join(thread);
    g_assert_cmpint(a.rc, ==, -ECONNRESET);
    g_assert_null(a.text);
    control_disconnect(&a.peer);
    (void)close(listener);
}

static void test_nobody_there(void)
{
    struct control_peer peer;

    g_assert_cmpint(control_connect(MAJOR, test_minor(), getuid(), &peer), ==,
                    -ECONNREFUSED);
}

static void test_name_is_taken(void)
{
    int listener = listen_or_fail();

    g_assert_cmpint(control_listen(MAJOR, test_minor()), ==, -EADDRINUSE);
    (void)close(listener);
    listener = listen_or_fail(); /* free as soon as it is closed */
    (void)close(listener);
}

/* The daemon of a mount runs as its owner, or as root: nobody else may answer
 * for it.  The kernel notes who we are when we listen. */
static void test_stranger(void)
{
    uid_t self = geteuid(), stranger = 12345;
    struct control_peer peer;
    int listener;

    if (self == 0) {
        g_assert_cmpint(seteuid(stranger), ==, 0);
    }
    listener = listen_or_fail();
    if (self == 0) {
        g_assert_cmpint(seteuid(self), ==, 0);
    }
    g_assert_cmpint(control_connect(MAJOR, test_minor(), 54321, &peer), ==,
                    -EPERM);
    (void)close(listener);
}

/* Clients that do not keep to the protocol are turned away. */
static void test_bad_requests(void)
{
    g_autofree char *endless = g_strnfill(CONTROL_MAX_REQUEST, 'x');
    const struct {
        const char *sent;
        int want;
    } cases[] = {
        {endless, -EMSGSIZE},
        {"", -ECONNRESET},
        {"umoun", -ECONNRESET},
    };
    int listener = listen_or_fail();

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct control_peer peer = connect_or_fail();
        char request[CONTROL_MAX_REQUEST];
        size_t n = strlen(cases[i].sent);

        g_assert_cmpint(write(peer.conn, cases[i].sent, n), ==, (ssize_t)n);
        g_assert_cmpint(shutdown(peer.conn, SHUT_WR), ==, 0);
        g_assert_cmpint(control_accept(listener, request), ==, cases[i].want);
        control_disconnect(&peer);
    }
    (void)close(listener);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/control/answers", test_answers);
    g_test_add_func("/control/long-answer", test_long_answer);
    g_test_add_func("/control/daemon-dies", test_daemon_dies);
    g_test_add_func("/control/nobody-there", test_nobody_there);
    g_test_add_func("/control/name-is-taken", test_name_is_taken);
    g_test_add_func("/control/stranger", test_stranger);
    g_test_add_func("/control/bad-requests", test_bad_requests);
    return g_test_run();
}
