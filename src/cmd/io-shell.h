/* SPDX-License-Identifier: MIT */
/*
 * io-shell: what the files of `io` (qemu-io's command shell) share.
 *
 *   io.c        the command line, the prompt, from a line to a verb
 *   io-open.c   verbs about the image as a whole: open, reopen, info, map …
 *   io-rw.c     verbs that read and write
 *   io-break.c  verbs for tests: break, resume, sleep, signals …
 *   io-text.c   the forms of results
 *
 * Results, and failures of requests, are printed on stdout in the form that
 * scripts know from qemu-io.  What is wrong with a command itself goes to
 * stderr, one line that begins with the name the program was called by.
 *
 * Threading: the one thread of the program; verbs run as coroutines.
 */
#ifndef CMD_IO_SHELL_H
#define CMD_IO_SHELL_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmd/args.h"
#include "co/co.h"
#include "tool/io.h"

struct loop;

struct io_shell {
    struct loop *loop;
    struct io_image *image; /* NULL: none is open */
    bool image_opts;        /* --image-opts: names are options */
    bool quit;
};

/* The options of all verbs; each knows only some. */
struct io_opts {
    bool vm_state, compressed, csv, fua, invalid, no_fallback, old, quiet;
    bool unmap, dump, zeroes;
    bool rdonly, rdwr, snapshot, copy_on_read, nocache, native, share;
    const char *pattern, *start, *length, *file;
    const char *cache, *discard, *aio, *prealloc;
    GPtrArray *options; /* -o, any number */
};

/* The most options that a verb has. */
#define IO_MAX_ARGS 16

enum io_verb_flags {
    IO_VERB_ANY = 1 << 0,    /* works without an image */
    IO_VERB_WRITES = 1 << 1, /* needs one that can be written */
};

struct io_verb {
    const char *name;
    const char *alias; /* NULL: none */
    const char *operands;
    const char *summary;
    unsigned flags; /* enum io_verb_flags */
    int min, max;   /* how many operands; @max -1: any number */
    /* Fills @rows with its options, to be stored in @o; returns how many.
     * NULL: it has none. */
    size_t (*args)(struct io_opts *o, struct arg *rows);
    /* Returns whether it worked; if not, it has said so. */
    bool (*run)(struct io_shell *sh, const struct io_opts *o, int n,
                char **operands) co_fn_ptr;
};

/* Tables that end with a name of NULL. */
extern const struct io_verb io_image_verbs[];
extern const struct io_verb io_rw_verbs[];
extern const struct io_verb io_break_verbs[];

/* -- For verbs ----------------------------------------------------------- */

/* Prints one line on stderr; returns false. */
bool io_fail(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* The same for each line of a GError, which it frees. */
bool io_fail_error(GError *err);

/* Read numbers; false after a message. */
bool io_parse_size(const char *text, int64_t *ret);
bool io_parse_number(const char *text, int64_t min, int64_t max, int64_t *ret);

/* Opens @how as the shell's image. */
bool co_fn io_open_image(struct io_shell *sh, const struct io_how *how);
/* Closes the image, if there is one. */
bool co_fn io_close_image(struct io_shell *sh);

/* Sets how @o asks for an image to be opened.  False after a message. */
bool io_how_set(struct io_how *how, const struct io_opts *o);

#endif /* CMD_IO_SHELL_H */
