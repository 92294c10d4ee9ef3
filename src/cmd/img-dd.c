/* SPDX-License-Identifier: MIT */
/*
 * img-dd: `dd`, blocks of an image into a new one.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/align.h"
#include "block/image.h"
#include "block/node.h"
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

/* The range of the input that is wanted.  -1, or the exit status. */
static int choose_range(const struct dd *d, struct convert_source *s)
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
    return -1;
}

static int co_fn create_output(const struct dd *d, int64_t bytes)
{
    const struct create_request rq = {
        .filename = d->out,
        .format = d->format,
        .bytes = bytes,
    };
    struct create_plan plan;
    GError *err = NULL;
    int rc = create_co_plan(&rq, &plan, &err); /* yields */

    if (rc == 0) {
        rc = create_co_run(&plan, &err); /* yields */
        create_plan_fini(&plan);
    }
    return rc < 0 ? img_fail(err) : -1;
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
        .flags = CONVERT_TARGET_ZERO,
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
    if (stat(d->out, &st) == 0 && S_ISBLK(st.st_mode)) {
        rq.flags = 0;
    }
    convert_co_run(&rq, d->crew, &r); /* yields */
    if (r.rc < 0) {
        status = cmd_fail("%s: error while %s at byte %" PRId64 ": %s",
                          r.step == CONVERT_WRITE ? d->out : d->in,
                          r.step == CONVERT_WRITE ? "writing" : "reading",
                          r.offset, g_strerror(-r.rc));
    }
    if (tool_co_close(rq.target, &err) < 0) { /* yields */
        status = img_fail(err);
    }
    if (status >= 0 && S_ISREG(st.st_mode)) {
        (void)unlink(d->out); /* it is not whole */
    }
    return status;
}

static void dd_entry(void *opaque)
{
    struct dd *d = opaque;
    struct tool_image image = img_image(&d->common, d->in, 0);
    struct convert_source source = {.offset = 0};
    struct stat in, out;
    GError *err = NULL;

    co_assert_role();
    source.node = tool_co_open(&image, &err); /* yields */
    if (!source.node) {
        d->status = img_fail(err);
        return;
    }
    if (stat(node_filename(source.node), &in) == 0 && stat(d->out, &out) == 0 &&
        in.st_dev == out.st_dev && in.st_ino == out.st_ino) {
        d->status = cmd_fail("%s: is the source and the target", d->out);
    } else {
        d->status = choose_range(d, &source);
    }
    if (d->status < 0) {
        d->status = create_output(d, source.bytes); /* yields */
    }
    if (d->status < 0) {
        d->status = copy(d, &source); /* yields */
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
