/* SPDX-License-Identifier: MIT */
/*
 * img-bitmap: `bitmap`, the dirty bitmaps of an image.
 */
#include <string.h>

#include "block/node.h"
#include "cmd/img.h"
#include "tool/bitmap.h"

struct bitmap_cmd {
    struct bitmap_request rq;
    int status;
};

static void bitmap_entry(void *opaque)
{
    struct bitmap_cmd *b = opaque;
    GError *err = NULL;

    co_assert_role();
    if (bitmap_co_run(&b->rq, &err) < 0) { /* yields */
        b->status = img_fail(err);
    }
}

/* The actions in the order in which they were @given, by their long names. */
static GArray *list_actions(const GPtrArray *given, const GPtrArray *sources)
{
    static const char *const names[] = {
        [BITMAP_ADD] = "add",         [BITMAP_REMOVE] = "remove",
        [BITMAP_CLEAR] = "clear",     [BITMAP_ENABLE] = "enable",
        [BITMAP_DISABLE] = "disable", [BITMAP_MERGE] = "merge",
    };
    GArray *list = g_array_new(FALSE, FALSE, sizeof(struct bitmap_action));
    guint next = 0;

    for (guint i = 0; i < given->len; i++) {
        struct bitmap_action a = {.verb = BITMAP_ADD};

        while (strcmp(names[a.verb], g_ptr_array_index(given, i)) != 0) {
            a.verb++;
        }
        if (a.verb == BITMAP_MERGE) {
            a.source = g_ptr_array_index(sources, next++);
        }
        g_array_append_val(list, a);
    }
    return list;
}

static bool has_action(const struct bitmap_request *rq, enum bitmap_verb verb)
{
    for (unsigned i = 0; i < rq->n_actions; i++) {
        if (rq->actions[i].verb == verb) {
            return true;
        }
    }
    return false;
}

/* -1, or the exit status. */
static int check(const struct bitmap_request *rq, const char *granularity)
{
    if (rq->n_actions == 0) {
        return img_usage("what is to be done?  Give --add, --remove, --clear, "
                         "--enable, --disable or --merge SOURCE");
    }
    if (granularity && !has_action(rq, BITMAP_ADD)) {
        return img_usage("-g %s: only --add has a granularity", granularity);
    }
    if (rq->source.name && !has_action(rq, BITMAP_MERGE)) {
        return img_usage("-b %s: only --merge has a source", rq->source.name);
    }
    if (rq->source.format && !rq->source.name) {
        return img_usage("-F %s: is the format of the file of -b, which is "
                         "missing",
                         rq->source.format);
    }
    return -1;
}

static int run(struct bitmap_cmd *b, const GPtrArray *given,
               const GPtrArray *sources, const char *granularity)
{
    g_autoptr(GArray) actions = list_actions(given, sources);
    int status;

    b->rq.actions = (const struct bitmap_action *)(void *)actions->data;
    b->rq.n_actions = actions->len;
    status = check(&b->rq, granularity);
    if (status < 0 && granularity) {
        status =
            img_parse_size(granularity, "the granularity", &b->rq.granularity);
    }
    if (status < 0) {
        img_run(bitmap_entry, b);
        status = b->status;
    }
    return status;
}

int img_bitmap(int argc, char **argv)
{
    g_autoptr(GPtrArray) given = g_ptr_array_new();
    g_autoptr(GPtrArray) sources = g_ptr_array_new();
    struct img_common common = {.format = NULL};
    const char *granularity = NULL;
    struct bitmap_cmd b = {.status = CMD_OK};
    const struct arg args[] = {
        {0, "add", NULL, "make it; it is enabled", .order = given},
        {0, "remove", NULL, "delete it", .order = given},
        {0, "clear", NULL, "clear all of its bits", .order = given},
        {0, "enable", NULL, "let it record writes", .order = given},
        {0, "disable", NULL, "leave it as it is, whatever is written",
         .order = given},
        {0, "merge", "SOURCE", "add the bits of another bitmap", .order = given,
         .list = sources},
        {'g', "granularity", "BYTES",
         "of --add: how much each bit is for; a power of two from 512 to 2G",
         .text = &granularity},
        {'b', "source-file", "FILE", "of --merge: the image that has SOURCE",
         .text = &b.rq.source.name},
        {'F', "source-format", "FORMAT", "format of that",
         .text = &b.rq.source.format},
        IMG_ARG_FORMAT(common),
        IMG_ARG_OPTS(common),
        IMG_ARG_OBJECT,
    };
    const struct arg_syntax syntax = {
        args, G_N_ELEMENTS(args), "FILENAME BITMAP",
        "Changes a bitmap of an image, which records what is written.  Several "
        "of --add\nto --merge are done in the order in which they are given."};
    char **operands;
    int status = img_parse(&syntax, argc, argv, 2, 2, &operands);

    if (status < 0) {
        status = img_check_common(&common);
    }
    if (status < 0) {
        b.rq.image =
            img_image(&common, operands[0], NODE_RDWR | NODE_NO_BACKING);
        b.rq.source.flags = NODE_NO_BACKING;
        b.rq.name = operands[1];
        status = run(&b, given, sources, granularity);
    }
    return status;
}
