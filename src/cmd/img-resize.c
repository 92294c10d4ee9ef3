/* SPDX-License-Identifier: MIT */
/*
 * img-resize: `resize`, a larger or smaller image.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "block/block.h"
#include "block/driver.h"
#include "block/node.h"
#include "cmd/img.h"

struct resize {
    struct tool_image image;
    char sign; /* '+', '-' or 0: absolute */
    int64_t bytes;
    int prealloc; /* enum prealloc_mode */
    bool shrink, quiet;
    int status;
};

/* The new length, or -1 after a message. */
static int64_t new_length(const struct resize *r, int64_t now)
{
    int64_t length = r->bytes;

    if (r->sign == '-') {
        length = now - r->bytes;
    } else if (r->sign == '+') {
        length = r->bytes > BLOCK_MAX_LENGTH - now ? INT64_MAX : now + r->bytes;
    }
    if (length <= 0 || length > BLOCK_MAX_LENGTH) {
        (void)cmd_fail("%s: has %" PRId64 " bytes; the new size must be "
                       "between 1 and %" PRId64,
                       r->image.name, now, BLOCK_MAX_LENGTH);
        return -1;
    }
    length = align_up(length, 512);
    if (length < now && !r->shrink) {
        (void)cmd_fail("%s: has %" PRId64 " bytes, and would lose all behind "
                       "%" PRId64 "; --shrink says that this is meant",
                       r->image.name, now, length);
        return -1;
    }
    return length;
}

static int co_fn resize_node(struct resize *r, struct node *node)
{
    int64_t length = new_length(r, tool_length(node));
    /* As long as zeroes cost nothing: a disk grows at once. */
    bool zero = !(node_driver(node)->traits & DRIVER_NOISE);
    GError *err = NULL;
    int rc;

    if (length < 0) {
        return CMD_FAILURE;
    }
    if (length < node_length(node) && r->prealloc != PREALLOC_OFF) {
        return cmd_fail("%s: --preallocation is for making it larger",
                        r->image.name);
    }
    rc =
        node_co_truncate(node, length, (enum prealloc_mode)r->prealloc,
                         TRUNCATE_EXACT | (zero ? TRUNCATE_ZERO_NEW : 0), &err);
    if (rc < 0 && !err) {
        return cmd_fail("%s: cannot be resized: %s", r->image.name,
                        g_strerror(-rc));
    }
    return rc < 0 ? img_fail(err) : CMD_OK;
}

static void resize_entry(void *opaque)
{
    struct resize *r = opaque;
    GError *err = NULL;
    struct node *node;

    co_assert_role();
    node = img_co_open(&r->image, &err); /* yields */
    if (!node) {
        r->status = img_fail(err);
        return;
    }
    r->status = resize_node(r, node);    /* yields */
    if (tool_co_close(node, &err) < 0) { /* yields */
        r->status = img_fail(err);
    }
    if (r->status == CMD_OK && !r->quiet) {
        (void)printf("Image resized.\n");
    }
}

/* "-1G" is a size, not options: takes it off the end of the command line. */
static char *take_size(int *argc, char **argv)
{
    char *last = *argc > 1 ? argv[*argc - 1] : NULL;

    if (!last || !strchr("+-0123456789", *last) ||
        (*last == '-' && !g_ascii_isdigit(last[1]))) {
        return NULL;
    }
    argv[--*argc] = NULL;
    if (*argc > 1 && strcmp(argv[*argc - 1], "--") == 0) {
        argv[--*argc] = NULL;
    }
    return last;
}

static int parse_prealloc(const char *text, int *ret)
{
    static const char *const names[] = {"off", "metadata", "falloc", "full"};

    for (size_t i = 0; text && i < G_N_ELEMENTS(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret = (int)i;
            return -1;
        }
    }
    return text ? img_usage("--preallocation=%s: must be off, metadata, falloc "
                            "or full",
                            text)
                : -1;
}

int img_resize(int argc, char **argv)
{
    struct img_common common = {.format = NULL};
    const char *prealloc = NULL;
    struct resize r = {.prealloc = PREALLOC_OFF};
    const struct arg args[] = {
        IMG_ARG_FORMAT(common),
        IMG_ARG_OPTS(common),
        {0, "shrink", NULL, "what is behind the new end may be lost",
         .flag = &r.shrink},
        {0, "preallocation", "MODE", "off, metadata, falloc or full",
         .text = &prealloc},
        IMG_ARG_QUIET(common),
        IMG_ARG_OBJECT,
    };
    const struct arg_syntax syntax = {args, G_N_ELEMENTS(args),
                                      "FILENAME [+|-]SIZE",
                                      "Makes an image larger or smaller."};
    char *size = take_size(&argc, argv);
    char **operands;
    int status = img_parse(&syntax, argc, argv, 1, size ? 1 : 2, &operands);

    if (status < 0) {
        status = img_check_common(&common);
    }
    if (status < 0 && operands[1]) { /* "FILENAME SIZE --shrink" */
        size = operands[1];
        if (img_are_swapped(operands[0], size)) {
            status =
                img_usage("'%s' is a size; the name comes first", operands[0]);
        }
    }
    if (status < 0 && !size) {
        status = img_usage("the new size is missing, like 10G, +1G or -1G");
    }
    if (status < 0) {
        r.sign = *size == '+' || *size == '-' ? *size : 0;
        status = img_parse_size(size + (r.sign != 0), "the size", &r.bytes);
    }
    if (status < 0) {
        status = parse_prealloc(prealloc, &r.prealloc);
    }
    if (status < 0) {
        r.image = img_image(&common, operands[0], NODE_RDWR);
        r.quiet = common.quiet;
        img_run(resize_entry, &r);
        status = r.status;
    }
    return status;
}
