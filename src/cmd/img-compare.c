/* SPDX-License-Identifier: MIT */
/*
 * img-compare: `compare`, whether two images hold the same.
 *
 * Exit status: 0 same, 1 different (or a wrong command line), 2 an image
 * cannot be opened, 3 or the status, 4 or the data of one cannot be read.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/align.h"
#include "block/node.h"
#include "cmd/img.h"
#include "cmd/progress.h"
#include "tool/compare.h"
#include "tool/crew.h"

#define WORKERS 8

enum compare_exit {
    COMPARE_EXIT_SAME = 0,
    COMPARE_EXIT_DIFFERENT = 1,
    COMPARE_EXIT_OPEN = 2,
    COMPARE_EXIT_STATUS = 3,
    COMPARE_EXIT_READ = 4,
};

struct compare_cmd {
    struct tool_image images[2];
    bool strict, quiet;
    struct progress progress;
    struct crew *crew;
    int status;
};

/* Says what kept the images from being compared and returns the status; -1
 * when they were. */
static int tell_error(const struct compare_cmd *c,
                      const struct compare_result *r)
{
    const char *name = c->images[r->image].name;

    switch (r->outcome) {
    case COMPARE_STATUS_ERROR:
        (void)cmd_fail("%s: what is at offset %" PRId64 " cannot be told: %s",
                       name, r->offset, g_strerror(-r->rc));
        return COMPARE_EXIT_STATUS;
    case COMPARE_READ_ERROR:
        (void)cmd_fail("%s: offset %" PRId64 " cannot be read: %s", name,
                       r->offset, g_strerror(-r->rc));
        return COMPARE_EXIT_READ;
    case COMPARE_STOPPED:
        (void)cmd_fail("stopped");
        return COMPARE_EXIT_READ;
    case COMPARE_SAME:
    case COMPARE_CONTENT:
    case COMPARE_SIZE:
    case COMPARE_STATUS:
        break;
    }
    return -1;
}

static int tell(const struct compare_cmd *c, const struct compare_result *r)
{
    FILE *out = c->quiet ? NULL : stdout;

    switch (r->outcome) {
    case COMPARE_SAME:
        if (out) {
            (void)fprintf(out, "Images are identical.\n");
        }
        return COMPARE_EXIT_SAME;
    case COMPARE_CONTENT:
        if (out) {
            (void)fprintf(out, "Content mismatch at offset %" PRId64 "!\n",
                          r->offset);
        }
        return COMPARE_EXIT_DIFFERENT;
    case COMPARE_SIZE:
        if (out) {
            (void)fprintf(out, "Strict mode: Image size mismatch!\n");
        }
        return COMPARE_EXIT_DIFFERENT;
    case COMPARE_STATUS:
        if (out) {
            (void)fprintf(
                out, "Strict mode: Offset %" PRId64 " block status mismatch!\n",
                r->offset);
        }
        return COMPARE_EXIT_DIFFERENT;
    case COMPARE_STATUS_ERROR:
    case COMPARE_READ_ERROR:
    case COMPARE_STOPPED:
        break;
    }
    return COMPARE_EXIT_READ;
}

static void compare_entry(void *opaque)
{
    struct compare_cmd *c = opaque;
    struct node *nodes[2] = {NULL, NULL};
    struct compare_result r;
    GError *err = NULL;

    co_assert_role();
    for (int i = 0; i < 2 && !err; i++) {
        nodes[i] = tool_co_open(&c->images[i], &err); /* yields */
    }
    if (err) {
        (void)img_fail(err);
        c->status = COMPARE_EXIT_OPEN;
    } else {
        int64_t lengths[2] = {tool_length(nodes[0]), tool_length(nodes[1])};

        compare_co_run(nodes, c->strict, c->crew, &c->progress.watch, &r);
        progress_end(&c->progress, r.outcome == COMPARE_SAME);
        c->status = tell_error(c, &r);
        if (lengths[0] != lengths[1] && !c->strict && !c->quiet &&
            r.offset >= min_i64(lengths[0], lengths[1])) {
            (void)printf("Warning: Image size mismatch!\n");
        }
        c->status = c->status < 0 ? tell(c, &r) : c->status;
    }
    for (int i = 0; i < 2; i++) {
        (void)node_co_unref(nodes[i]); /* was only read; yields */
    }
}

int img_compare(int argc, char **argv)
{
    struct img_common common = {.format = NULL};
    const char *format2 = NULL, *cache = NULL;
    bool progress = false;
    struct compare_cmd c = {.strict = false};
    const struct arg args[] = {
        {'f', "a-format", "FORMAT", "format of the first image",
         .text = &common.format},
        {'F', "b-format", "FORMAT", "format of the second image",
         .text = &format2},
        {'s', "strict", NULL, "sizes and what is allocated must be the same",
         .flag = &c.strict},
        {'p', "progress", NULL, "show how far it is", .flag = &progress},
        {'T', "cache", "MODE", "none, writeback, ... for reading",
         .text = &cache},
        IMG_ARG_OPTS(common),
        IMG_ARG_SHARE(common),
        IMG_ARG_QUIET(common),
        IMG_ARG_OBJECT,
    };
    const struct arg_syntax syntax = {
        args, G_N_ELEMENTS(args), "FILENAME1 FILENAME2",
        "Tells whether two images hold the same."};
    unsigned flags = 0;
    bool writethrough;
    char **operands;
    int status = img_parse(&syntax, argc, argv, 2, 2, &operands);

    if (status >= 0) {
        return status;
    }
    if (img_check_common(&common) >= 0 ||
        img_parse_cache(cache, &flags, &writethrough) >= 0) {
        return COMPARE_EXIT_OPEN;
    }
    c.images[0] = img_image(&common, operands[0], flags);
    common.format = format2;
    c.images[1] = img_image(&common, operands[1], flags);
    c.quiet = common.quiet;
    c.crew = img_crew(WORKERS);
    if (!c.crew) {
        return COMPARE_EXIT_READ;
    }
    progress_begin(&c.progress, progress && !common.quiet);
    img_run(compare_entry, &c);
    crew_free(c.crew);
    return c.status;
}
