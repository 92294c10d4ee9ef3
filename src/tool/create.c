/* SPDX-License-Identifier: MIT */

#include "tool/create.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/align.h"
#include "base/error.h"
#include "base/options.h"
#include "base/same_file.h"
#include "block/driver.h"
#include "block/image.h"
#include "block/node.h"
#include "tool/open.h"

#define OPT_SIZE    "size"
#define OPT_BACKING "backing_file"
#define OPT_FORMAT  "backing_fmt"

/* -- Formats and their options ------------------------------------------- */

/* Only looks whether there is a function; that needs no coroutine. */
TSA(no_thread_safety_analysis)
/* Whoever can be created has options for it. */
static bool can_create(const struct driver *drv)
{
    return drv->image && drv->image->options;
}

const struct driver *create_driver(const char *format, GError **err)
{
    const struct driver *drv = driver_find(format);
    g_autoptr(GString) names = g_string_new(NULL);

    if (drv && can_create(drv)) {
        return drv;
    }
    for (unsigned i = 0; (drv = driver_nth(i)); i++) {
        if (can_create(drv) && !(drv->traits & DRIVER_LEAF)) {
            g_string_append_printf(names, "%s%s", names->len ? ", " : "",
                                   drv->name);
        }
    }
    error_set(err, -EINVAL,
              "format '%s' is not known or cannot be written; use one of %s",
              format, names->str);
    return NULL;
}

static const struct image_option *find_option(const struct driver *drv,
                                              const char *name)
{
    const struct image_option *o = drv->image->options;

    for (; o && o->name; o++) {
        if (strcmp(o->name, name) == 0) {
            return o;
        }
    }
    return NULL;
}

bool create_option_is_for(const struct image_option *o, bool amend)
{
    return o->when != (amend ? IMAGE_OPTION_NEW : IMAGE_OPTION_AMEND);
}

static char *option_names(const struct driver *drv, bool amend)
{
    const struct image_option *o = drv->image->options;
    GString *names = g_string_new(NULL);

    for (; o && o->name; o++) {
        if (create_option_is_for(o, amend)) {
            g_string_append_printf(names, "%s%s", names->len ? ", " : "",
                                   o->name);
        }
    }
    return g_string_free(names, FALSE);
}

/* Looks whether all of @opts are options of @drv. */
static int check_names(const struct driver *drv, const struct options *opts,
                       GError **err)
{
    const struct image_option *o = drv->image->options;
    g_autoptr(options) rest = options_clone(opts);
    g_autofree char *names = NULL;
    const char *left;

    for (; o && o->name; o++) {
        g_free(options_take(rest, o->name));
    }
    left = options_leftover(rest);
    if (!left) {
        return 0;
    }
    names = option_names(drv, false);
    return error_set(err, -EINVAL,
                     "%s images have no option '%s'; there are %s", drv->name,
                     left, names);
}

/* The option of @opts that is none when an image is amended, or made. */
static const char *find_misplaced(const struct driver *drv,
                                  const struct options *opts, bool amend)
{
    const struct image_option *o = drv->image->options;

    for (; o && o->name; o++) {
        if (options_peek(opts, o->name) && !create_option_is_for(o, amend)) {
            return o->name;
        }
    }
    return NULL;
}

int create_check_options(const struct driver *drv, const struct options *opts,
                         GError **err)
{
    const char *misplaced = find_misplaced(drv, opts, false);
    int rc = check_names(drv, opts, err);

    if (rc == 0 && misplaced) {
        return error_set(err, -EINVAL,
                         "%s is for images that exist; it can be given to "
                         "'amend' only",
                         misplaced);
    }
    return rc;
}

int create_check_amend(const struct driver *drv, const struct options *opts,
                       GError **err)
{
    const char *cannot = find_misplaced(drv, opts, true);
    g_autofree char *can = option_names(drv, true);
    int rc = check_names(drv, opts, err);

    if (rc < 0 || !cannot) {
        return rc;
    }
    if (g_str_has_prefix(cannot, "backing_")) {
        return error_set(err, -EINVAL,
                         "%s cannot be amended; use 'rebase -u -b FILE -F "
                         "FORMAT'",
                         cannot);
    }
    return error_set(err, -EINVAL,
                     "%s can be given to a new image only; what can be amended "
                     "is %s",
                     cannot, can);
}

/* -- Backing files ------------------------------------------------------- */

char *create_resolve(const char *image, const char *name)
{
    g_autofree char *dir = NULL;
    size_t n = strcspn(name, ":/");

    /* Absolute, or a protocol that says itself where. */
    if (*name == '/' || name[n] == ':') {
        return g_strdup(name);
    }
    dir = g_path_get_dirname(image);
    return strcmp(dir, ".") == 0 ? g_strdup(name)
                                 : g_build_filename(dir, name, NULL);
}

/* Opens the backing file to see that it is there, and how large. */
static int co_fn look_at_backing(const char *path, const char *format,
                                 const char *filename, int64_t *bytes,
                                 GError **err)
{
    struct tool_image image = {
        .name = path,
        .format = format,
        .flags = NODE_NO_IO,
    };
    g_autoptr(GError) why = NULL;
    struct node *node = tool_co_open(&image, &why); /* yields */
    int rc = 0;

    if (!node) {
        return error_set(err, -why->code,
                         "%s (the backing file; create -u does not look at "
                         "it)",
                         why->message);
    }
    if (!format) {
        rc = error_set(err, -EINVAL,
                       "%s: the format of this backing file is not given, and "
                       "a guess could be abused; if it is right, add -F %s",
                       path, node_driver(node)->name);
    } else if (node_uses_file(node, filename)) {
        rc = error_set(err, -EINVAL,
                       "%s: is below %s already, and would be emptied; give "
                       "the new image another name",
                       filename, path);
    }
    *bytes = tool_length(node);
    (void)node_co_unref(node); /* was only read; yields */
    return rc;
}

static int co_fn plan_backing(const struct create_request *rq,
                              struct create_plan *plan, GError **err)
{
    const char *backing = options_peek(plan->opts, OPT_BACKING);
    const char *format = options_peek(plan->opts, OPT_FORMAT);
    g_autofree char *path = NULL;
    int64_t bytes = -1;
    int rc;

    if (!backing || !*backing) {
        g_free(options_take(plan->opts, OPT_BACKING));
        return 0;
    }
    if (format && !driver_find(format)) {
        return error_set(err, -EINVAL,
                         "%s: there is no format '%s' for its backing file",
                         rq->filename, format);
    }
    path = create_resolve(rq->filename, backing);
    if (same_file(rq->filename, path)) {
        return error_set(err, -EINVAL,
                         "%s: cannot be its own backing file; give the new "
                         "image another name",
                         rq->filename);
    }
    if (rq->backing_unchecked) {
        return format ? 0
                      : error_set(err, -EINVAL,
                                  "%s: the format of its backing file is not "
                                  "given; add -F raw, -F qcow2, ...",
                                  rq->filename);
    }
    rc = look_at_backing(path, format, rq->filename, &bytes, err); /* yields */
    if (rc == 0 && plan->bytes < 0) {
        plan->bytes = bytes;
    }
    return rc;
}

/* -- The plan ------------------------------------------------------------ */

static int plan_parse_options(const struct create_request *rq,
                              struct create_plan *plan, GError **err)
{
    g_autoptr(GError) why = NULL;

    if (rq->options && options_parse(plan->opts, rq->options, &why) < 0) {
        return error_set(err, -EINVAL, "%s: %s", rq->filename, why->message);
    }
    if (rq->backing && !*rq->backing) {
        return error_set(err, -EINVAL,
                         "%s: the name of its backing file is empty; leave it "
                         "out for an image without one",
                         rq->filename);
    }
    if ((rq->backing || options_peek(plan->opts, OPT_BACKING)) &&
        !find_option(plan->drv, OPT_BACKING)) {
        return error_set(err, -EINVAL,
                         "%s: %s images have no backing files; use qcow2",
                         rq->filename, plan->drv->name);
    }
    if (rq->backing_format && !rq->backing &&
        !options_peek(plan->opts, OPT_BACKING)) {
        return error_set(err, -EINVAL,
                         "%s: there is a format of its backing file, -F %s, "
                         "and no such file; add -b FILE",
                         rq->filename, rq->backing_format);
    }
    if (rq->backing) {
        options_set(plan->opts, OPT_BACKING, rq->backing);
    }
    if (rq->backing_format) {
        options_set(plan->opts, OPT_FORMAT, rq->backing_format);
    }
    return create_check_options(plan->drv, plan->opts, err);
}

static int plan_size(const struct create_request *rq, struct create_plan *plan,
                     GError **err)
{
    const char *text = options_peek(plan->opts, OPT_SIZE);

    plan->bytes = rq->bytes;
    if (rq->bytes >= 0 && text) {
        return error_set(err, -EINVAL,
                         "%s: its size is given twice; leave size=%s or the "
                         "other one out",
                         rq->filename, text);
    }
    if (rq->bytes < 0 && text && parse_size(text, &plan->bytes) < 0) {
        return error_set(err, -EINVAL,
                         "%s: size=%s is no size; write bytes, or a number of "
                         "k, M, G, T, P or E",
                         rq->filename, text);
    }
    if (plan->bytes > BLOCK_MAX_LENGTH) {
        return error_set(err, -EFBIG,
                         "%s: %" PRId64 " bytes are too many; the largest "
                         "image has %" PRId64,
                         rq->filename, plan->bytes, BLOCK_MAX_LENGTH);
    }
    return 0;
}

static void plan_set_size(struct create_plan *plan)
{
    g_autofree char *text = NULL;

    text = g_strdup_printf("%" PRId64, plan->bytes);
    options_set(plan->opts, OPT_SIZE, text);
    plan->bytes = align_up(plan->bytes, 512); /* images have whole sectors */
}

static int co_fn plan_make(const struct create_request *rq,
                           struct create_plan *plan, GError **err)
{
    int rc = plan_parse_options(rq, plan, err);

    if (rc == 0) {
        rc = plan_size(rq, plan, err);
    }
    if (rc == 0) {
        rc = plan_backing(rq, plan, err); /* yields */
    }
    if (rc == 0 && plan->bytes < 0) {
        rc = error_set(err, -EINVAL,
                       "%s: how large?  Give a size after the name",
                       rq->filename);
    }
    if (rc == 0) {
        plan_set_size(plan);
    }
    return rc;
}

int co_fn create_co_plan(const struct create_request *rq,
                         struct create_plan *ret, GError **err)
{
    struct create_plan plan = {.drv = create_driver(rq->format, err)};
    int rc;

    if (!plan.drv) {
        return -EINVAL;
    }
    plan.filename = g_strdup(rq->filename);
    plan.opts = options_new();
    rc = plan_make(rq, &plan, err); /* yields */
    if (rc < 0) {
        create_plan_fini(&plan);
        return rc;
    }
    *ret = plan;
    return 0;
}

void create_plan_fini(struct create_plan *plan)
{
    g_free(plan->filename);
    options_free(plan->opts);
    *plan = (struct create_plan){.drv = NULL};
}

/* The value of an option as scripts read it: sizes are plain numbers. */
static char *normal_value(const char *name, const char *value)
{
    g_auto(GStrv) parts = NULL;
    int64_t n;

    if (g_str_has_suffix(name, "size") && parse_size(value, &n) == 0) {
        return g_strdup_printf("%" PRId64, n);
    }
    parts = g_strsplit(value, ",", -1);
    return g_strjoinv(",,", parts);
}

char *create_plan_text(const struct create_plan *plan)
{
    GString *text = g_string_new(NULL);
    const struct image_option *o = plan->drv->image->options;

    g_string_append_printf(text, "fmt=%s", plan->drv->name);
    for (; o && o->name; o++) {
        const char *set = options_peek(plan->opts, o->name);
        const char *value = set ? set : o->value;

        if (value) {
            g_autofree char *normal = normal_value(o->name, value);

            g_string_append_printf(text, " %s=%s", o->name, normal);
        }
    }
    return g_string_free(text, FALSE);
}

int co_fn create_co_run(const struct create_plan *plan, GError **err)
{
    g_autoptr(options) opts = options_clone(plan->opts);
    const char *left;
    int rc;

    g_free(options_take(opts, OPT_SIZE));
    if (!options_peek(opts, OPT_BACKING)) {
        g_free(options_take(opts, OPT_FORMAT)); /* of nothing */
    }
    rc = plan->drv->image->co_create(plan->filename, plan->bytes, opts, err);
    if (rc < 0 && err && !*err) {
        error_set_errno(err, rc, "%s: cannot be created", plan->filename);
    }
    left = options_leftover(opts);
    if (rc == 0 && left) {
        rc = error_set(err, -EINVAL, "%s: %s images do not use the option '%s'",
                       plan->filename, plan->drv->name, left);
    }
    return rc;
}
