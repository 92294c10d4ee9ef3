/* SPDX-License-Identifier: MIT */
/*
 * img-check: `check`, what is wrong in an image, and repair of it.
 *
 * Exit status: 0 all is well (now), 1 the check itself failed, 2 the image is
 * corrupt, 3 it has leaks, 63 its format cannot be checked.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "base/json.h"
#include "block/driver.h"
#include "block/image.h"
#include "block/node.h"
#include "cmd/img.h"
#include "tool/extent.h"

enum check_exit {
    CHECK_EXIT_OK = 0,
    CHECK_EXIT_INTERNAL = 1,
    CHECK_EXIT_CORRUPT = 2,
    CHECK_EXIT_LEAKS = 3,
    CHECK_EXIT_UNSUPPORTED = 63,
};

struct check {
    struct tool_image image;
    unsigned fix; /* enum image_fix */
    bool json, quiet;
    int status;
};

/* -- What was found ------------------------------------------------------ */

static void print_finding(void *opaque, const char *line)
{
    (void)fprintf(stderr, "%s\n", line);
}

/* A member that programs expect only when there is something to count. */
static void json_some(struct json *j, const char *key, int64_t value)
{
    if (value > 0) {
        json_int(j, key, value);
    }
}

static void print_json(const struct image_check *r, struct node *node)
{
    struct json *j = json_new();

    json_object_begin(j, NULL);
    json_some(j, "image-end-offset", r->image_end_offset);
    json_some(j, "compressed-clusters", r->compressed_clusters);
    json_some(j, "total-clusters", r->total_clusters);
    json_some(j, "corruptions-fixed", r->corruptions_fixed);
    json_some(j, "corruptions", r->corruptions);
    json_int(j, "check-errors", max_i64(r->check_errors, 0));
    json_some(j, "leaks-fixed", r->leaks_fixed);
    json_some(j, "leaks", r->leaks);
    json_some(j, "allocated-clusters", r->allocated_clusters);
    json_string(j, "filename", node_filename(node));
    json_string(j, "format", node_driver(node)->name);
    json_some(j, "fragmented-clusters", r->fragmented_clusters);
    json_object_end(j);
    img_print(json_finish(j));
}

static void print_clusters(const struct image_check *r)
{
    double allocated = (double)r->allocated_clusters;

    if (r->total_clusters > 0 && r->allocated_clusters > 0) {
        (void)printf(
            "%" PRId64 "/%" PRId64 " = %0.2f%% allocated, "
            "%0.2f%% fragmented, %0.2f%% compressed clusters\n",
            r->allocated_clusters, r->total_clusters,
            allocated * 100.0 / (double)r->total_clusters,
            (double)max_i64(r->fragmented_clusters, 0) * 100.0 / allocated,
            (double)max_i64(r->compressed_clusters, 0) * 100.0 / allocated);
    }
    if (r->image_end_offset > 0) {
        (void)printf("Image end offset: %" PRId64 "\n", r->image_end_offset);
    }
}

static void print_human(const struct image_check *r)
{
    if (r->corruptions <= 0 && r->leaks <= 0 && r->check_errors <= 0) {
        (void)printf("No errors were found on the image.\n");
    }
    if (r->corruptions > 0) {
        (void)printf("\n%" PRId64 " errors were found on the image.\n"
                     "Data may be corrupted, or further writes to the image "
                     "may corrupt it.\n",
                     r->corruptions);
    }
    if (r->leaks > 0) {
        (void)printf("\n%" PRId64 " leaked clusters were found on the image.\n"
                     "This means waste of disk space, but no harm to data.\n",
                     r->leaks);
    }
    if (r->check_errors > 0) {
        (void)printf("\n%" PRId64
                     " internal errors have occurred during the check.\n",
                     r->check_errors);
    }
    print_clusters(r);
}

static int exit_status(const struct image_check *r)
{
    if (r->corruptions > 0) {
        return CHECK_EXIT_CORRUPT;
    }
    return r->leaks > 0 ? CHECK_EXIT_LEAKS : CHECK_EXIT_OK;
}

/* -- Checking ------------------------------------------------------------ */

static struct image_check new_result(void)
{
    return (struct image_check){.report = print_finding};
}

static int co_fn run_check(const struct check *c, struct node *node,
                           unsigned fix, struct image_check *r)
{
    const struct image_ops *ops = node_driver(node)->image;
    GError *err = NULL;
    int rc;

    *r = new_result();
    rc = ops->co_check(node, fix, r, &err); /* yields */
    if (rc < 0 && !err) {
        (void)cmd_fail("%s: the check failed: %s", c->image.name,
                       g_strerror(-rc));
    } else if (rc < 0) {
        (void)img_fail(err);
    }
    return rc;
}

/* After a repair another check tells what is left. */
static int co_fn check_again(const struct check *c, struct node *node,
                             struct image_check *r)
{
    int64_t leaks = r->leaks_fixed, corruptions = r->corruptions_fixed;
    int rc;

    if (!c->json && !c->quiet) {
        (void)printf("The following inconsistencies were found and repaired:"
                     "\n\n    %" PRId64 " leaked clusters\n"
                     "    %" PRId64 " corruptions\n\n"
                     "Double checking the fixed image now...\n",
                     max_i64(leaks, 0), max_i64(corruptions, 0));
        (void)fflush(stdout);
    }
    rc = run_check(c, node, 0, r); /* yields */
    r->leaks_fixed = leaks;
    r->corruptions_fixed = corruptions;
    return rc;
}

static int co_fn check_node(const struct check *c, struct node *node)
{
    const struct image_ops *ops = node_driver(node)->image;
    struct image_check r;
    int rc;

    if (!ops || !ops->co_check) {
        (void)cmd_fail("This image format does not support checks");
        return CHECK_EXIT_UNSUPPORTED;
    }
    rc = run_check(c, node, c->fix, &r); /* yields */
    if (rc == 0 && (r.leaks_fixed > 0 || r.corruptions_fixed > 0)) {
        rc = check_again(c, node, &r); /* yields */
    }
    if (rc < 0) {
        return CHECK_EXIT_INTERNAL;
    }
    if (c->json) {
        print_json(&r, node);
    } else if (!c->quiet) {
        print_human(&r);
    }
    if (r.check_errors > 0) {
        (void)cmd_fail("%s: parts of it could not be checked", c->image.name);
        return CHECK_EXIT_INTERNAL;
    }
    return exit_status(&r);
}

static void check_entry(void *opaque)
{
    struct check *c = opaque;
    GError *err = NULL;
    struct node *node;

    co_assert_role();
    node = img_co_open(&c->image, &err); /* yields */
    if (!node) {
        c->status = img_fail(err);
        return;
    }
    c->status = check_node(c, extent_skip_filters(node)); /* yields */
    if (tool_co_close(node, &err) < 0) {                  /* yields */
        (void)img_fail(err);
        c->status = CHECK_EXIT_INTERNAL;
    }
}

static int parse_fix(const char *text, unsigned *fix)
{
    if (!text) {
        return -1;
    }
    if (strcmp(text, "leaks") == 0) {
        *fix = IMAGE_FIX_LEAKS;
    } else if (strcmp(text, "all") == 0) {
        *fix = IMAGE_FIX_LEAKS | IMAGE_FIX_ERRORS;
    } else {
        return img_usage("-r %s: must be leaks or all", text);
    }
    return -1;
}

int img_check(int argc, char **argv)
{
    struct img_common common = {.format = NULL};
    const char *output = NULL, *fix = NULL, *cache = NULL;
    struct check c = {.fix = 0};
    const struct arg args[] = {
        IMG_ARG_FORMAT(common),
        IMG_ARG_OPTS(common),
        {'r', "repair", "WHAT", "repair leaks, or all", .text = &fix},
        {0, "output", "FORM", "human or json", .text = &output},
        {'T', "cache", "MODE", "none, writeback, ...", .text = &cache},
        IMG_ARG_SHARE(common),
        IMG_ARG_QUIET(common),
        IMG_ARG_OBJECT,
    };
    const struct arg_syntax syntax = {args, G_N_ELEMENTS(args), "FILENAME",
                                      "Finds what is wrong in an image."};
    bool writethrough;
    char **operands;
    int status = img_parse(&syntax, argc, argv, 1, 1, &operands);

    if (status < 0) {
        status = img_check_common(&common);
    }
    if (status < 0) {
        status = img_parse_output(output, &c.json);
    }
    if (status < 0) {
        status = parse_fix(fix, &c.fix);
    }
    if (status < 0) {
        c.image =
            img_image(&common, operands[0],
                      NODE_CHECK | NODE_NO_BACKING | (c.fix ? NODE_RDWR : 0));
        status = img_parse_cache(cache, &c.image.flags, &writethrough);
    }
    if (status < 0) {
        c.quiet = common.quiet;
        img_run(check_entry, &c);
        status = c.status;
    }
    return status;
}
