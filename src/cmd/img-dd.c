/* SPDX-License-Identifier: MIT */
/*
 * img-dd: `dd`, blocks of an image into a new one.
 */
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/align.h"
#include "block/image.h"
#include "block/node.h"
#include "cmd/img-target.h"
#include "cmd/img.h"
#include "cmd/progress.h"
#include "tool/convert.h"
#include "tool/create.h"
#include "tool/crew.h"
#include "tool/extent.h"

#define WORKERS 4

struct dd {
    struct img_common common;
    const char *format; /* of the target */
    const char *in, *out;
    int64_t block, count, skip; /* count -1: all */
    struct crew *crew;
    struct progress show;
    int status;
};

/* The range of the input that is wanted. */
static void choose_range(const struct dd *d, struct convert_source *s)
{
    int64_t length = tool_length(s->node);

    s->offset = d->skip > length / d->block ? length : d->skip * d->block;
    if (s->offset < length || d->skip == 0) {
        s->bytes = length - s->offset;
    } else {
        img_warn("%s: has no more than %" PRId64 " bytes; skip=%" PRId64
                 " leaves nothing to copy",
                 d->in, length, d->skip);
        s->bytes = 0;
    }
    if (d->count >= 0 && d->count <= s->bytes / d->block) {
        s->bytes = d->count * d->block;
    }
}

/* Copies into the new image and closes it.  -1, or the exit status. */
static int co_fn copy(const struct dd *d, const struct convert_source *source)
{
    const struct tool_image image = {
        .name = d->out,
        .format = d->format,
        .flags = NODE_RDWR | NODE_UNMAP,
    };
    struct convert_request rq = {
        .sources = source,
        .n_sources = 1,
        .sparse = 4 * KiB,
        .watch = &d->show.watch,
    };
    struct convert_result r;
    struct stat st;
    GError *err = NULL;
    int status = -1;

    rq.target = tool_co_open(&image, &err); /* yields */
    if (!rq.target) {
        return img_fail(err);
    }
    /* A new file has only zeroes, a device what it had. */
    if (stat(d->out, &st) == 0 && S_ISREG(st.st_mode)) {
        rq.flags = CONVERT_TARGET_ZERO;
    }
    convert_co_run(&rq, d->crew, &r); /* yields */
    if (r.rc < 0) {
        status = img_explain_copy(&rq, d->out, &r);
    }
    if (tool_co_close(rq.target, &err) < 0) { /* yields */
        if (status < 0) {
            status = img_fail(err);
        } else {
            g_error_free(err); /* it has been said that it failed */
        }
    }
    return status;
}

static int co_fn make_output(const struct dd *d,
                             const struct convert_source *source)
{
    const struct create_request rq = {
        .filename = d->out,
        .format = d->format,
        .bytes = source->bytes,
    };
    int status = img_co_create(&rq); /* yields */

    if (status >= 0) {
        return status;
    }
    status = copy(d, source); /* yields */
    if (status >= 0) {
        img_remove_target(d->out);
    }
    return status;
}

static void dd_entry(void *opaque)
{
    struct dd *d = opaque;
    struct tool_image image = img_image(&d->common, d->in, 0);
    struct convert_source source = {.offset = 0};
    GError *err = NULL;

    co_assert_role();
    source.node = tool_co_open(&image, &err); /* yields */
    if (!source.node) {
        d->status = img_fail(err);
        return;
    }
    d->status = img_check_target(d->out, source.node);
    if (d->status < 0) {
        choose_range(d, &source);
        d->status = make_output(d, &source); /* yields */
    }
    d->status = d->status < 0 ? CMD_OK : d->status;
    (void)node_co_unref(source.node); /* was only read; yields */
}

/* Reads "KEY=VALUE".  -1, or the exit status. */
static int parse_operand(struct dd *d, const char *text)
{
    const char *eq = strchr(text, '=');
    const char *value = eq ? eq + 1 : "";

    if (g_str_has_prefix(text, "if=")) {
        d->in = value;
    } else if (g_str_has_prefix(text, "of=")) {
        d->out = value;
    } else if (g_str_has_prefix(text, "bs=")) {
        int status = img_parse_size(value, "bs=", &d->block);

        return status < 0 && (d->block < 1 || d->block > 1 * GiB)
                   ? img_usage("bs=%s: must be from 1 to 1G", value)
                   : status;
    } else if (g_str_has_prefix(text, "count=")) {
        return img_parse_size(value, "count=", &d->count);
    } else if (g_str_has_prefix(text, "skip=")) {
        return img_parse_size(value, "skip=", &d->skip);
    } else {
        return img_usage("'%s' is none of if=, of=, bs=, count=, skip=", text);
    }
    return -1;
}

int img_dd(int argc, char **argv)
{
    struct dd d = {.format = "raw", .block = 512, .count = -1};
    const struct arg args[] = {
        IMG_ARG_FORMAT(d.common),
        IMG_ARG_OPTS(d.common),
        {'O', "target-format", "FORMAT", "format of the target; default raw",
         .text = &d.format},
        IMG_ARG_SHARE(d.common),
        IMG_ARG_OBJECT,
    };
    const struct arg_syntax syntax = {
        args, G_N_ELEMENTS(args),
        "if=FILENAME of=FILENAME [bs=BYTES] [count=BLOCKS] [skip=BLOCKS]",
        "Copies blocks of an image to a new one."};
    char **operands;
    int status = img_parse(&syntax, argc, argv, 0, 5, &operands);

    if (status < 0) {
        status = img_check_common(&d.common);
    }
    for (int i = 0; status < 0 && operands[i]; i++) {
        status = parse_operand(&d, operands[i]);
    }
    if (status < 0 && (!d.in || !d.out || !*d.in || !*d.out)) {
        status = img_usage("if= and of= are both needed");
    }
    if (status >= 0) {
        return status;
    }
    d.crew = img_crew(WORKERS);
    if (!d.crew) {
        return CMD_FAILURE;
    }
    progress_begin(&d.show, false);
    img_run(dd_entry, &d);
    crew_free(d.crew);
    return d.status;
}
