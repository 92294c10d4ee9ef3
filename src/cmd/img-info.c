/* SPDX-License-Identifier: MIT */
/*
 * img-info: `info`, what an image is.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "block/node.h"
#include "cmd/img-picture.h"
#include "cmd/img-text.h"
#include "cmd/img.h"
#include "tool/info.h"

struct info {
    struct tool_image image;
    bool chain, json, limits, picture;
    int status;
};

/* -- For programs -------------------------------------------------------- */

static void json_text(struct json *j, const char *key, const char *value)
{
    if (value) {
        json_string(j, key, value);
    }
}

static void json_snapshots(struct json *j, const GArray *list)
{
    if (!list || list->len == 0) {
        return;
    }
    json_array_begin(j, "snapshots");
    for (guint i = 0; i < list->len; i++) {
        const struct image_snapshot *s =
            &g_array_index(list, struct image_snapshot, i);

        json_object_begin(j, NULL);
        if (s->icount >= 0) {
            json_int(j, "icount", s->icount);
        }
        json_int(j, "vm-clock-nsec", s->vm_clock_ns % 1000000000);
        json_string(j, "name", s->name);
        json_int(j, "date-sec", s->date_sec);
        json_int(j, "date-nsec", s->date_nsec);
        json_int(j, "vm-clock-sec", s->vm_clock_ns / 1000000000);
        json_string(j, "id", s->id);
        json_int(j, "vm-state-size", s->vm_state_bytes);
        json_object_end(j);
    }
    json_array_end(j);
}

/* 0 is "no limit": what is not limited is not listed. */
static void json_limit(struct json *j, const char *key, int64_t value)
{
    if (value > 0) {
        json_int(j, key, value);
    }
}

static void json_limits(struct json *j, const struct node_limits *l)
{
    json_object_begin(j, "limits");
    json_int(j, "request-alignment", l->request_align);
    json_limit(j, "max-discard", l->max_discard);
    json_limit(j, "discard-alignment", l->discard_align);
    json_limit(j, "max-write-zeroes", l->max_zeroes);
    json_limit(j, "write-zeroes-alignment", l->zeroes_align);
    json_limit(j, "opt-transfer", l->opt_transfer);
    json_limit(j, "max-transfer", l->max_transfer);
    json_limit(j, "max-iov", l->max_iov);
    json_int(j, "min-mem-alignment", l->mem_align);
    json_int(j, "opt-mem-alignment", l->opt_mem_align);
    json_object_end(j);
}

static void json_report(struct json *j, const struct image_report *r,
                        bool limits)
{
    const struct image_info *i = &r->info;

    json_object_begin(j, NULL);
    json_text(j, "backing-filename-format", i->backing_format);
    json_snapshots(j, r->snapshots);
    json_int(j, "virtual-size", r->virtual_size);
    json_string(j, "filename", r->filename);
    if (i->cluster_size > 0) {
        json_int(j, "cluster-size", i->cluster_size);
    }
    json_string(j, "format", r->format);
    if (r->actual_size >= 0) {
        json_int(j, "actual-size", r->actual_size);
    }
    if (i->encrypted) {
        json_bool(j, "encrypted", true);
    }
    if (i->compressed) {
        json_bool(j, "compressed", true);
    }
    if (limits) {
        json_limits(j, &r->limits);
    }
    if (r->specific) {
        json_object_begin(j, "format-specific");
        json_string(j, "type", r->format);
        json_raw(j, "data", r->specific);
        json_object_end(j);
    }
    json_text(j, "full-backing-filename", i->full_backing_filename);
    json_text(j, "backing-filename", i->backing_filename);
    json_bool(j, "dirty-flag", i->dirty);
    json_object_end(j);
}

static void print_json(const GArray *reports, const struct info *in)
{
    struct json *j = json_new();

    if (in->chain) {
        json_array_begin(j, NULL);
    }
    for (guint i = 0; i < reports->len; i++) {
        json_report(j, &g_array_index(reports, struct image_report, i),
                    in->limits);
    }
    if (in->chain) {
        json_array_end(j);
    }
    img_print(json_finish(j));
}

/* -- For people, in the form that scripts read as well ------------------- */

static void print_backing(const struct image_info *i)
{
    if (!i->backing_filename) {
        return;
    }
    (void)printf("backing file: %s", i->backing_filename);
    if (!i->full_backing_filename) {
        (void)printf(" (cannot determine actual path)");
    } else if (strcmp(i->full_backing_filename, i->backing_filename) != 0) {
        (void)printf(" (actual path: %s)", i->full_backing_filename);
    }
    (void)printf("\n");
    if (i->backing_format) {
        (void)printf("backing file format: %s\n", i->backing_format);
    }
}

static void print_snapshots(const GArray *list)
{
    if (!list || list->len == 0) {
        return;
    }
    (void)printf("Snapshot list:\n");
    img_print(img_snapshot_head());
    for (guint i = 0; i < list->len; i++) {
        img_print(
            img_snapshot_row(&g_array_index(list, struct image_snapshot, i)));
    }
}

static void print_limits(const struct node_limits *l)
{
    struct json *j = json_new();
    g_autofree char *text = NULL;

    json_object_begin(j, NULL);
    json_limits(j, l);
    json_object_end(j);
    text = json_finish(j);
    img_print(img_json_to_lines(text));
}

static void print_report(const struct image_report *r, bool limits)
{
    g_autofree char *size = img_size_text(r->virtual_size);
    g_autofree char *disk = r->actual_size < 0 ? g_strdup("unavailable")
                                               : img_size_text(r->actual_size);
    const struct image_info *i = &r->info;

    (void)printf("image: %s\nfile format: %s\n"
                 "virtual size: %s (%" PRId64 " bytes)\ndisk size: %s\n",
                 r->filename, r->format, size, r->virtual_size, disk);
    if (i->encrypted) {
        (void)printf("encrypted: yes\n");
    }
    if (i->cluster_size > 0) {
        (void)printf("cluster_size: %" PRId64 "\n", i->cluster_size);
    }
    if (i->dirty) {
        (void)printf("cleanly shut down: no\n");
    }
    print_backing(i);
    print_snapshots(r->snapshots);
    if (r->specific && strchr(r->specific, ':')) {
        (void)printf("Format specific information:\n");
        img_print(img_json_to_lines(r->specific));
    }
    if (limits) {
        print_limits(&r->limits);
    }
}

/* A look at the image itself, on a terminal only. */
static void co_fn print_picture(const struct info *in)
{
    struct node *node = tool_co_open(&in->image, NULL); /* yields */
    char *line = node ? picture_co_draw(node) : NULL;

    if (line) {
        img_print(line);
    }
    if (node) {
        (void)node_co_unref(node); /* was only read; yields */
    }
}

static void info_entry(void *opaque)
{
    struct info *in = opaque;
    GError *err = NULL;
    GArray *reports;

    co_assert_role();
    reports = info_co_chain(&in->image, in->chain, &err); /* yields */
    if (!reports) {
        in->status = img_fail(err);
        return;
    }
    if (in->json) {
        print_json(reports, in);
    }
    for (guint i = 0; i < reports->len && !in->json; i++) {
        (void)printf("%s", i > 0 ? "\n" : "");
        print_report(&g_array_index(reports, struct image_report, i),
                     in->limits);
        if (i == 0 && in->picture) {
            print_picture(in); /* yields */
        }
    }
    g_array_unref(reports);
}

int img_info(int argc, char **argv)
{
    struct img_common common = {.format = NULL};
    const char *output = NULL, *cache = NULL;
    struct info in = {.picture = isatty(STDOUT_FILENO)};
    const struct arg args[] = {
        IMG_ARG_FORMAT(common),
        IMG_ARG_OPTS(common),
        {0, "backing-chain", NULL, "describe its backing files as well",
         .flag = &in.chain},
        {0, "output", "FORM", "human or json", .text = &output},
        {0, "limits", NULL, "tell alignments and largest requests as well",
         .flag = &in.limits},
        IMG_ARG_CACHE(cache),
        IMG_ARG_SHARE(common),
        IMG_ARG_OBJECT,
    };
    const struct arg_syntax syntax = {args, G_N_ELEMENTS(args), "FILENAME",
                                      "Tells what an image is."};
    bool writethrough;
    char **operands;
    int status = img_parse(&syntax, argc, argv, 1, 1, &operands);

    if (status < 0) {
        status = img_check_common(&common);
    }
    if (status < 0) {
        status = img_parse_output(output, &in.json);
    }
    if (status < 0) {
        in.image = img_image(&common, operands[0], 0);
        status = img_parse_cache(cache, &in.image.flags, &writethrough);
    }
    if (status < 0) {
        img_run(info_entry, &in);
        status = in.status;
    }
    return status;
}
