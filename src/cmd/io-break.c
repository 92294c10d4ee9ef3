/* SPDX-License-Identifier: MIT */
/*
 * io-break: the verbs of `io` for tests: holding requests, waiting, dying.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "block/node.h"
#include "cmd/io-shell.h"
#include "format/blkdebug.h"
#include "loop/sync.h"

/* -- Breaks of blkdebug -------------------------------------------------- */

static void break_notify(void *opaque, const char *tag, bool held)
{
    const struct io_shell *sh = opaque;

    (void)printf("blkdebug: %s request '%s'\n", held ? "Suspended" : "Resuming",
                 tag);
    if (held && sh->image) {
        io_kick(sh->image);
    }
}

/* Says what went wrong, if so, and returns whether it worked. */
static bool break_result(int rc, const char *what)
{
    if (rc < 0) {
        (void)printf("Could not %s: %s\n", what, g_strerror(-rc));
    }
    return rc == 0;
}

static bool co_fn verb_break(struct io_shell *sh, const struct io_opts *o,
                             int n, char **operands)
{
    return break_result(blkdebug_break(io_root(sh->image), operands[0],
                                       operands[1], break_notify, sh),
                        "set breakpoint");
}

static bool co_fn verb_remove_break(struct io_shell *sh,
                                    const struct io_opts *o, int n,
                                    char **operands)
{
    g_autofree char *what =
        g_strdup_printf("remove breakpoint %s", operands[0]);

    return break_result(blkdebug_remove(io_root(sh->image), operands[0]), what);
}

static bool co_fn verb_resume(struct io_shell *sh, const struct io_opts *o,
                              int n, char **operands)
{
    return break_result(blkdebug_resume(io_root(sh->image), operands[0]),
                        "resume request");
}

static bool co_fn verb_wait_break(struct io_shell *sh, const struct io_opts *o,
                                  int n, char **operands)
{
    if (io_co_wait_break(sh->image, operands[0]) < 0) { /* yields */
        return io_fail("wait_break: no request is under way that could stop "
                       "at '%s'",
                       operands[0]);
    }
    return true;
}

/* -- Time and signals ---------------------------------------------------- */

static bool co_fn verb_sleep(struct io_shell *sh, const struct io_opts *o,
                             int n, char **operands)
{
    int64_t ms;

    if (!io_parse_number(operands[0], 0, INT32_MAX, &ms)) {
        return false;
    }
    co_sleep_ns(ms * 1000000); /* yields */
    return true;
}

static bool co_fn verb_sigraise(struct io_shell *sh, const struct io_opts *o,
                                int n, char **operands)
{
    int64_t signal;

    if (!io_parse_number(operands[0], 0, 64, &signal)) {
        return false;
    }
    (void)fflush(stdout);
    (void)raise((int)signal);
    return true;
}

static bool co_fn verb_abort(struct io_shell *sh, const struct io_opts *o,
                             int n, char **operands)
{
    abort();
}

const struct io_verb io_break_verbs[] = {
    {"break", NULL, "EVENT TAG",
     "holds the next request that raises an event of blkdebug", 0, 2, 2, NULL,
     verb_break},
    {"remove_break", NULL, "TAG", "removes a break; lets go who is held there",
     0, 1, 1, NULL, verb_remove_break},
    {"resume", NULL, "TAG", "lets a held request go", 0, 1, 1, NULL,
     verb_resume},
    {"wait_break", NULL, "TAG", "waits until a request is held", 0, 1, 1, NULL,
     verb_wait_break},
    {"sleep", NULL, "MILLISECONDS", "waits; requests go on", IO_VERB_ANY, 1, 1,
     NULL, verb_sleep},
    {"sigraise", NULL, "SIGNAL", "sends the program a signal, by number",
     IO_VERB_ANY, 1, 1, NULL, verb_sigraise},
    {"abort", NULL, "", "ends the program as a crash does", IO_VERB_ANY, 0, 0,
     NULL, verb_abort},
    {.name = NULL},
};
