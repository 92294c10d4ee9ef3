/* SPDX-License-Identifier: MIT */
/*
 * img-measure: `measure`, how much space a new image would need.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/align.h"
#include "base/json.h"
#include "base/options.h"
#include "block/driver.h"
#include "block/image.h"
#include "block/node.h"
#include "cmd/img-options.h"
#include "cmd/img.h"
#include "tool/create.h"
#include "tool/snapshot.h"

struct measure {
    struct tool_image image; /* name NULL: only a size */
    const struct driver *drv;
    const char *options, *snapshot;
    int64_t bytes; /* -1: the image's */
    bool json;
    int status;
};

static void print_measure(const struct image_measure *m, bool json)
{
    struct json *j;

    if (!json) {
        (void)printf("required size: %" PRId64
                     "\nfully allocated size: %" PRId64 "\n",
                     m->required, m->fully_allocated);
        if (m->bitmaps >= 0) {
            (void)printf("bitmaps size: %" PRId64 "\n", m->bitmaps);
        }
        return;
    }
    j = json_new();
    json_object_begin(j, NULL);
    if (m->bitmaps >= 0) {
        json_int(j, "bitmaps", m->bitmaps);
    }
    json_int(j, "required", m->required);
    json_int(j, "fully-allocated", m->fully_allocated);
    json_object_end(j);
    img_print(json_finish(j));
}

/* The size in -o, unless it was given otherwise.  -1, or the exit status. */
static int take_size(struct measure *m, struct options *opts)
{
    g_autofree char *text = options_take(opts, "size");

    return text && m->bytes < 0 ? img_parse_size(text, "size=", &m->bytes) : -1;
}

static void co_fn measure_with(struct measure *m, struct options *opts,
                               struct node *node)
{
    struct image_measure result = {.bitmaps = -1};
    GError *err = NULL;
    int rc;

    if (node && m->bytes < 0) {
        m->bytes = tool_length(node);
    }
    rc = m->drv->image->co_measure(opts, align_up(m->bytes, 512), node, &result,
                                   &err); /* yields */
    if (rc < 0 && !err) {
        m->status = cmd_fail("cannot be measured: %s", g_strerror(-rc));
    } else if (rc < 0) {
        m->status = img_fail(err);
    } else {
        print_measure(&result, m->json);
    }
}

static void measure_entry(void *opaque)
{
    struct measure *m = opaque;
    g_autoptr(options) opts = options_new();
    struct node *node = NULL;
    GError *err = NULL;

    co_assert_role();
    if (!m->drv->image->co_measure) {
        m->status = cmd_fail("%s images cannot be measured", m->drv->name);
        return;
    }
    if (m->options && options_parse(opts, m->options, &err) < 0) {
        m->status = img_fail(err);
        return;
    }
    if (create_check_options(m->drv, opts, &err) < 0) {
        m->status = img_fail(err);
        return;
    }
    m->status = take_size(m, opts);
    if (m->status >= 0) {
        return;
    }
    m->status = CMD_OK;
    if (m->image.name) {
        node = tool_co_open(&m->image, &err); /* yields */
    }
    if ((m->image.name && !node) ||
        (node && m->snapshot &&
         snapshot_co_load(node, m->snapshot, &err) < 0)) { /* yields */
        m->status = img_fail(err);
    } else {
        measure_with(m, opts, node); /* yields */
    }
    (void)node_co_unref(node); /* was only read; yields */
}

/* -1, or the exit status. */
static int check_source(const struct img_common *common, const char *name,
                        const char *size, const char *snapshot)
{
    if (!name && !size) {
        return img_usage("what is to be measured?  Give --size or an image");
    }
    if (name && size) {
        return img_usage("--size and an image exclude each other");
    }
    if (!name && (common->format || common->image_opts || snapshot)) {
        return img_usage("-f, -l and --image-opts need an image");
    }
    return -1;
}

int img_measure(int argc, char **argv)
{
    g_autoptr(GPtrArray) opts = g_ptr_array_new();
    g_autofree char *joined = NULL;
    struct img_common common = {.format = NULL};
    const char *output = NULL, *format = "raw", *size = NULL;
    struct measure m = {.bytes = -1};
    const struct arg args[] = {
        IMG_ARG_FORMAT(common),
        IMG_ARG_OPTS(common),
        {'O', "target-format", "FORMAT", "format of the new image; default raw",
         .text = &format},
        {'o', "target-format-options", "OPTIONS", "KEY=VALUE,... of the format",
         .list = opts},
        {'s', "size", "BYTES", "measure an empty image of this size",
         .text = &size},
        {'l', "snapshot", "SNAPSHOT", "measure this snapshot",
         .text = &m.snapshot},
        {0, "output", "FORM", "human or json", .text = &output},
        IMG_ARG_SHARE(common),
        IMG_ARG_OBJECT,
    };
    const struct arg_syntax syntax = {args, G_N_ELEMENTS(args), "[FILENAME]",
                                      "Tells how much space an image would "
                                      "need."};
    GError *err = NULL;
    char **operands;
    int status = img_parse(&syntax, argc, argv, 0, 1, &operands);

    if (status < 0) {
        status = img_check_common(&common);
    }
    if (status < 0) {
        status = img_parse_output(output, &m.json);
    }
    if (status >= 0) {
        return status;
    }
    m.options = joined = img_join_options(opts);
    if (joined && img_options_want_help(joined)) {
        return img_print_options(format, IMG_OPTIONS_ALL);
    }
    status = check_source(&common, operands[0], size, m.snapshot);
    if (status < 0 && size) {
        status = img_parse_size(size, "the size", &m.bytes);
    }
    if (status >= 0) {
        return status;
    }
    m.drv = create_driver(format, &err);
    if (!m.drv) {
        return img_fail(err);
    }
    m.image = img_image(&common, operands[0], 0);
    img_run(measure_entry, &m);
    return m.status;
}
