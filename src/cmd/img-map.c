/* SPDX-License-Identifier: MIT */
/*
 * img-map: `map`, where the data of an image are.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/align.h"
#include "block/node.h"
#include "cmd/img-picture.h"
#include "cmd/img.h"
#include "tool/extent.h"

struct map {
    struct tool_image image;
    int64_t start, length; /* length -1: to the end */
    bool json, picture;
    int status;

    bool some; /* something was printed */
};

/* A row of `map`.  Returns -ENOTSUP for data that are nowhere to be named. */
static int print_human(void *opaque, const struct extent *e)
{
    if (!e->data || e->zero) {
        return 0;
    }
    if (e->map < 0) {
        return -ENOTSUP;
    }
    (void)printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", e->offset,
                 e->bytes, e->map, node_filename(e->file));
    return 0;
}

static int print_json(void *opaque, const struct extent *e)
{
    struct map *m = opaque;

    (void)printf("%s{ \"start\": %" PRId64 ", \"length\": %" PRId64
                 ", \"depth\": %d, \"present\": %s, \"zero\": %s, "
                 "\"data\": %s",
                 m->some ? ",\n" : "[", e->offset, e->bytes, e->depth,
                 e->present ? "true" : "false", e->zero ? "true" : "false",
                 e->data ? "true" : "false");
    if (e->compressed) {
        (void)printf(", \"compressed\": true");
    }
    if (e->map >= 0) {
        (void)printf(", \"offset\": %" PRId64, e->map);
    }
    (void)printf("}");
    m->some = true;
    return 0;
}

static void co_fn map_node(struct map *m, struct node *node)
{
    int64_t end = tool_length(node);
    int rc;

    if (m->length >= 0) {
        end = min_i64(end, m->start > INT64_MAX - m->length
                               ? INT64_MAX
                               : m->start + m->length);
    }
    if (!m->json) {
        (void)printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to",
                     "File");
    }
    rc = extent_co_walk(node, m->start, end, m->json ? print_json : print_human,
                        m); /* yields */
    if (m->json && !m->some) {
        const struct extent none = {.offset = m->start, .map = -1};

        (void)print_json(m, &none); /* programs expect one range at least */
    }
    if (m->json) {
        (void)printf("]\n");
    }
    if (rc == -ENOTSUP && !m->json) {
        m->status = cmd_fail("%s: some data are compressed, encrypted or in no "
                             "file of their own; --output=json shows them",
                             m->image.name);
    } else if (rc < 0) {
        m->status = cmd_fail("%s: its map cannot be read: %s", m->image.name,
                             g_strerror(-rc));
    }
}

static void map_entry(void *opaque)
{
    struct map *m = opaque;
    GError *err = NULL;
    struct node *node;
    char *line = NULL;

    co_assert_role();
    node = tool_co_open(&m->image, &err); /* yields */
    if (!node) {
        m->status = img_fail(err);
        return;
    }
    map_node(m, node); /* yields */
    if (m->picture && m->status == CMD_OK) {
        line = picture_co_draw(node); /* yields */
    }
    if (line) {
        img_print(line);
    }
    (void)node_co_unref(node); /* was only read; yields */
}

int img_map(int argc, char **argv)
{
    struct img_common common = {.format = NULL};
    const char *output = NULL, *start = NULL, *length = NULL;
    struct map m = {.length = -1};
    const struct arg args[] = {
        IMG_ARG_FORMAT(common),
        IMG_ARG_OPTS(common),
        {'s', "start-offset", "OFFSET", "begin there", .text = &start},
        {'l', "max-length", "BYTES", "and end after as much", .text = &length},
        {0, "output", "FORM", "human or json", .text = &output},
        IMG_ARG_SHARE(common),
        IMG_ARG_OBJECT,
    };
    const struct arg_syntax syntax = {args, G_N_ELEMENTS(args), "FILENAME",
                                      "Lists what is data, zeroes and holes."};
    char **operands;
    int status = img_parse(&syntax, argc, argv, 1, 1, &operands);

    if (status < 0) {
        status = img_check_common(&common);
    }
    if (status < 0) {
        status = img_parse_output(output, &m.json);
    }
    if (status < 0 && start) {
        status = img_parse_size(start, "the start", &m.start);
    }
    if (status < 0 && length) {
        status = img_parse_size(length, "the length", &m.length);
    }
    if (status < 0) {
        m.image = img_image(&common, operands[0], 0);
        m.picture = !m.json && isatty(STDOUT_FILENO);
        img_run(map_entry, &m);
        status = m.status;
    }
    return status;
}
