/* SPDX-License-Identifier: MIT */
/*
 * img: what the image commands (qemu-img's) share.
 *
 * Each command is a function that parses its arguments, runs coroutines on
 * the one loop of the program, and prints.  Messages begin with the name the
 * program was called by; there is one per failure.  Exit status 1 stands for
 * anything that failed, also the command line; some commands have more.
 */
#ifndef CMD_IMG_H
#define CMD_IMG_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "cmd/args.h"
#include "cmd/cmd.h"
#include "co/co.h"
#include "tool/open.h"

struct crew;
struct driver;
struct node;

int img_amend(int argc, char **argv);
int img_bench(int argc, char **argv);
int img_bitmap(int argc, char **argv);
int img_check(int argc, char **argv);
int img_commit(int argc, char **argv);
int img_compare(int argc, char **argv);
int img_convert(int argc, char **argv);
int img_create(int argc, char **argv);
int img_dd(int argc, char **argv);
int img_info(int argc, char **argv);
int img_map(int argc, char **argv);
int img_measure(int argc, char **argv);
int img_rebase(int argc, char **argv);
int img_resize(int argc, char **argv);
int img_snapshot(int argc, char **argv);

/* The commands above; *@n is how many. */
const struct command *img_commands(size_t *n);
/* The program as qemu-img: the command is the first argument. */
int cmd_img(int argc, char **argv);

/* -- Command lines ------------------------------------------------------- */

/* Options that most commands have. */
struct img_common {
    const char *format;
    bool image_opts, force_share, quiet;
};

/* Rows of a table of struct arg for them; @c is a struct img_common. */
#define IMG_ARG_FORMAT(c)                                                \
    {                                                                    \
        .letter = 'f', .name = "format", .value = "FORMAT",              \
        .help = "format of the image; without it, a look at it decides", \
        .text = &(c).format                                              \
    }
#define IMG_ARG_OPTS(c)                                                 \
    {                                                                   \
        .name = "image-opts", .flag = &(c).image_opts,                  \
        .help = "the name is options: driver=FORMAT,file.filename=PATH" \
    }
#define IMG_ARG_SHARE(c)                                                \
    {                                                                   \
        .letter = 'U', .name = "force-share", .flag = &(c).force_share, \
        .help = "read it even while another program writes to it"       \
    }
#define IMG_ARG_QUIET(c)                                    \
    {                                                       \
        .letter = 'q', .name = "quiet", .flag = &(c).quiet, \
        .help = "print nothing but errors"                  \
    }
/* Each secret is added by img_check_common(). */
#define IMG_ARG_OBJECT                                                     \
    {                                                                      \
        .name = "object", .value = "secret,id=ID,file=PATH",               \
        .help = "a passphrase, for options like key-secret=ID; data=TEXT " \
                "in place of file= lets others see it",                    \
        .list = img_objects()                                              \
    }
/* What --object was given, one const char * each. */
GPtrArray *img_objects(void);
#define IMG_ARG_CACHE(to)                                               \
    {                                                                   \
        .letter = 't', .name = "cache", .value = "MODE", .text = &(to), \
        .help = "none, writeback, writethrough, directsync or unsafe"   \
    }

/*
 * Parses the command line of a command and checks that there are @min to @max
 * operands; *@operands are those.  Returns -1 to go on, else the exit status:
 * everything has been said.
 */
int img_parse(const struct arg_syntax *syntax, int argc, char **argv, int min,
              int max, char ***operands);

/* Prints the message and where help is; returns CMD_FAILURE. */
int img_usage(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* Prints and frees @err; returns CMD_FAILURE. */
int img_fail(GError *err);
/* Prints a warning on stderr. */
void img_warn(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* Refuses what @c cannot be and adds the secrets that were given.  -1 to go on,
 * else the exit status. */
int img_check_common(const struct img_common *c);
/* Reads --output: *@json.  -1, or the exit status. */
int img_parse_output(const char *text, bool *json);
/* Were they typed the other way round?  @name is a size, @size is none. */
bool img_are_swapped(const char *name, const char *size);
/* Reads a size; @what names it.  -1, or the exit status. */
int img_parse_size(const char *text, const char *what, int64_t *ret);
/* The same for a count of @min..@max. */
int img_parse_count(const char *text, const char *what, int64_t min,
                    int64_t max, int64_t *ret);
/* Reads a cache mode into the flags of an image.  -1, or the exit status. */
int img_parse_cache(const char *text, unsigned *flags, bool *writethrough);

/* The image @name as @c say, to be opened with @flags besides. */
struct tool_image img_image(const struct img_common *c, const char *name,
                            unsigned flags);

/* -- Running ------------------------------------------------------------- */

/* Runs @entry(@opaque) as a coroutine to its end. */
void img_run(co_entry_fn *entry, void *opaque);
/* The same, with I/O that does not block: many requests run at once. */
void img_run_parallel(co_entry_fn *entry, void *opaque);

/* Makes @n worker threads.  NULL after a message. */
struct crew *img_crew(unsigned n);

/* Warns that the format of @node was guessed to be raw. */
void img_warn_probed(const struct node *node);
/* Opens and warns of a format that was guessed and will be written to. */
struct node *co_fn img_co_open(const struct tool_image *image, GError **err);

/* Prints @text, the end of what a command prints, and frees it. */
void img_print(char *text);

#endif /* CMD_IMG_H */
