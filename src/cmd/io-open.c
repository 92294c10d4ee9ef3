/* SPDX-License-Identifier: MIT */
/*
 * io-open: the verbs of `io` that are about the image as a whole.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/options.h"
#include "block/driver.h"
#include "block/node.h"
#include "cmd/cmd.h"
#include "cmd/img-text.h"
#include "cmd/img.h"
#include "cmd/io-shell.h"
#include "cmd/io-text.h"
#include "tool/info.h"

/* -- Opening ------------------------------------------------------------- */

/* discard=MODE; without one, discards reach the host. */
static bool set_discard(unsigned *flags, const char *mode)
{
    if (!mode || strcmp(mode, "unmap") == 0 || strcmp(mode, "on") == 0) {
        *flags |= NODE_UNMAP;
    } else if (strcmp(mode, "ignore") != 0 && strcmp(mode, "off") != 0) {
        return io_fail("-d %s: must be ignore or unmap", mode);
    }
    return true;
}

bool io_how_set(struct io_how *how, const struct io_opts *o)
{
    GError *err = NULL;
    const char *cache = o->cache ? o->cache : o->nocache ? "none" : NULL;
    const char *aio = o->aio ? o->aio : o->native ? "native" : NULL;
    unsigned *flags = &how->image.flags;

    how->writethrough = true;
    how->copy_on_read = o->copy_on_read;
    how->snapshot = o->snapshot;
    *flags |= (o->rdonly ? 0 : NODE_RDWR) | (o->share ? NODE_FORCE_SHARE : 0);
    if (cache && tool_parse_cache(cache, flags, &how->writethrough, &err) < 0) {
        return io_fail_error(err);
    }
    if (aio && strcmp(aio, "native") != 0 && strcmp(aio, "threads") != 0) {
        return io_fail("-i %s: must be threads or native", aio);
    }
    if (aio) {
        *flags |=
            strcmp(aio, "native") == 0 ? NODE_AIO_NATIVE : NODE_AIO_THREADS;
    }
    if (o->share && !o->rdonly) {
        return io_fail("-U: only an image that is opened read-only (-r) can be "
                       "shared by force");
    }
    return set_discard(flags, o->discard);
}

static void warn_probed(const struct io_shell *sh)
{
    struct node *root = io_root(sh->image);

    while (node_file(root) && !node_probed_raw(root)) {
        root = node_file(root);
    }
    if (node_probed_raw(root) && !io_is_rdonly(sh->image)) {
        img_warn_probed(root);
    }
}

bool co_fn io_open_image(struct io_shell *sh, const struct io_how *how)
{
    GError *err = NULL;

    if (sh->image) {
        return io_fail("an image is open already: 'close' it first");
    }
    sh->image = io_co_open(how, &err); /* yields */
    if (!sh->image) {
        return io_fail_error(err);
    }
    warn_probed(sh);
    return true;
}

bool co_fn io_close_image(struct io_shell *sh)
{
    GError *err = NULL;
    struct io_image *image = sh->image;

    sh->image = NULL;
    if (image && io_co_close(image, &err) < 0) {
        return io_fail_error(err);
    }
    return true;
}

/* Adds what the -o options say to @ret. */
static bool add_options(struct options *ret, const GPtrArray *list)
{
    GError *err = NULL;

    for (guint i = 0; i < list->len; i++) {
        if (options_parse(ret, list->pdata[i], &err) < 0) {
            return io_fail_error(err);
        }
    }
    return true;
}

static size_t open_args(struct io_opts *o, struct arg *ret)
{
    const struct arg rows[] = {
        {'r', NULL, NULL, "read-only", .flag = &o->rdonly},
        {'s', NULL, NULL, "write to a temporary file that is dropped",
         .flag = &o->snapshot},
        {'t', NULL, "MODE", "cache mode, as of the program", .text = &o->cache},
        {'n', NULL, NULL, "the same as -t none", .flag = &o->nocache},
        {'d', NULL, "MODE", "ignore or unmap", .text = &o->discard},
        {'i', NULL, "MODE", "threads or native", .text = &o->aio},
        {'k', NULL, NULL, "the same as -i native", .flag = &o->native},
        {'C', NULL, NULL, "keep what is read from a backing file",
         .flag = &o->copy_on_read},
        {'U', NULL, NULL, "although another program writes to it",
         .flag = &o->share},
        {'o', NULL, "OPTIONS", "driver=FORMAT,...; may be repeated",
         .list = o->options},
    };

    memcpy(ret, rows, sizeof(rows));
    return G_N_ELEMENTS(rows);
}

static bool co_fn verb_open(struct io_shell *sh, const struct io_opts *o, int n,
                            char **operands)
{
    g_autoptr(options) opts = options_new();
    struct io_how how = {
        .image = {.name = n > 0 ? operands[0] : NULL,
                  .image_opts = n > 0 && sh->image_opts,
                  .options = opts},
    };

    if (n == 0 && o->options->len == 0) {
        return io_fail("open: nothing says what to open; give a path, or -o "
                       "driver=FORMAT,file.filename=PATH");
    }
    return io_how_set(&how, o) && add_options(opts, o->options) &&
           io_open_image(sh, &how); /* yields */
}

static bool co_fn verb_close(struct io_shell *sh, const struct io_opts *o,
                             int n, char **operands)
{
    return io_close_image(sh); /* yields */
}

static size_t reopen_args(struct io_opts *o, struct arg *ret)
{
    const struct arg rows[] = {
        {'r', NULL, NULL, "read-only", .flag = &o->rdonly},
        {'w', NULL, NULL, "read-write", .flag = &o->rdwr},
        {'c', NULL, "MODE", "another cache mode", .text = &o->cache},
        {'o', NULL, "OPTIONS", "options to change; may be repeated",
         .list = o->options},
    };

    memcpy(ret, rows, sizeof(rows));
    return G_N_ELEMENTS(rows);
}

/* Is everything said once? */
static bool check_reopen(const struct io_opts *o, const struct options *added)
{
    if (o->rdonly && o->rdwr) {
        return io_fail("reopen: -r and -w exclude each other");
    }
    if ((o->rdonly || o->rdwr) && options_peek(added, "read-only")) {
        return io_fail("reopen: -r or -w and read-only= exclude each other");
    }
    if (o->cache && options_has_child(added, "cache")) {
        return io_fail("reopen: -c and the options cache.* exclude each other");
    }
    return true;
}

static bool co_fn verb_reopen(struct io_shell *sh, const struct io_opts *o,
                              int n, char **operands)
{
    g_autoptr(options) added = options_new();
    struct io_change change = {
        .rdwr = o->rdwr     ? 1
                : o->rdonly ? 0
                            : -1,
        .cache = o->cache,
        .added = added,
    };
    GError *err = NULL;

    if (!add_options(added, o->options) || !check_reopen(o, added)) {
        return false;
    }
    if (io_co_reopen(&sh->image, &change, &err) < 0) { /* yields */
        return io_fail_error(err);
    }
    return true;
}

/* -- What the image is --------------------------------------------------- */

static bool co_fn verb_length(struct io_shell *sh, const struct io_opts *o,
                              int n, char **operands)
{
    g_autofree char *size = io_size_text((double)io_length(sh->image));

    (void)printf("%s\n", size);
    return true;
}

static void print_report(const struct image_report *r)
{
    g_autofree char *cluster = io_size_text((double)r->info.cluster_size);
    g_autofree char *vm_state = io_size_text((double)r->info.vm_state_offset);

    (void)printf("cluster size: %s\nvm state offset: %s\n", cluster, vm_state);
    if (r->specific) {
        (void)printf("Format specific information:\n");
        img_print(img_json_to_lines(r->specific));
    }
}

static bool co_fn verb_info(struct io_shell *sh, const struct io_opts *o, int n,
                            char **operands)
{
    struct image_report report;
    GError *err = NULL;
    struct node *node = tool_format_node(io_root(sh->image));
    const struct driver *drv = node_driver(node);

    (void)printf("format name: %s\n", drv->name);
    if (drv->traits & DRIVER_LEAF) { /* it is format and protocol in one */
        (void)printf("format name: %s\n", drv->name);
    }
    if (!drv->image) {
        return false; /* scripts expect that, and no more lines */
    }
    if (info_co_get(node, &report, &err) < 0) { /* yields */
        return io_fail_error(err);
    }
    print_report(&report);
    image_report_clear(&report);
    return true;
}

/* -- Where the data are -------------------------------------------------- */

static bool co_fn verb_alloc(struct io_shell *sh, const struct io_opts *o,
                             int n, char **operands)
{
    int64_t offset, count = 512, done = 0, sum = 0;
    g_autofree char *at = NULL;

    if (!io_parse_size(operands[0], &offset) ||
        (n > 1 && !io_parse_size(operands[1], &count))) {
        return false;
    }
    count = CLAMP(io_length(sh->image) - offset, 0, count);
    while (done < count) {
        bool allocated;
        int64_t run;
        int rc = io_co_allocated(sh->image, offset + done, count - done,
                                 &allocated, &run); /* yields */

        if (rc < 0) {
            (void)printf("is_allocated failed: %s\n", g_strerror(-rc));
            return false;
        }
        sum += allocated ? run : 0;
        done += run;
    }
    at = io_size_text((double)offset);
    (void)printf("%" PRId64 "/%" PRId64 " bytes allocated at offset %s\n", sum,
                 done, at);
    return true;
}

static void print_run(int64_t offset, int64_t bytes, bool allocated)
{
    if (bytes > 0) {
        img_print(io_run_text(offset, bytes, allocated));
    }
}

static bool co_fn verb_map(struct io_shell *sh, const struct io_opts *o, int n,
                           char **operands)
{
    int64_t start = 0, bytes = 0; /* of the run so far */
    int64_t end = io_length(sh->image);
    bool allocated = false;

    while (start + bytes < end) {
        bool next;
        int64_t more;
        int rc = io_co_allocated(sh->image, start + bytes, end - start - bytes,
                                 &next, &more); /* yields */

        if (rc < 0) {
            return io_fail("map: %s: cannot tell what is at offset %" PRId64
                           ": %s",
                           node_filename(io_root(sh->image)), start + bytes,
                           g_strerror(-rc));
        }
        if (next != allocated) {
            print_run(start, bytes, allocated);
            start += bytes;
            bytes = 0;
            allocated = next;
        }
        bytes += more;
    }
    print_run(start, bytes, allocated);
    return true;
}

/* -- Its length ---------------------------------------------------------- */

static size_t truncate_args(struct io_opts *o, struct arg *ret)
{
    ret[0] = (struct arg){'m', NULL, "MODE",
                          "how a part that is added is allocated: off, "
                          "metadata, falloc or full",
                          .text = &o->prealloc};
    return 1;
}

static bool co_fn verb_truncate(struct io_shell *sh, const struct io_opts *o,
                                int n, char **operands)
{
    static const char *const modes[] = {"off", "metadata", "falloc", "full"};
    int mode = 0;
    int64_t length;
    GError *err = NULL;

    while (o->prealloc && mode < (int)G_N_ELEMENTS(modes) &&
           strcmp(o->prealloc, modes[mode]) != 0) {
        mode++;
    }
    if (mode == (int)G_N_ELEMENTS(modes)) {
        return io_fail("truncate: -m %s: must be off, metadata, falloc or full",
                       o->prealloc);
    }
    if (!io_parse_size(operands[0], &length)) {
        return false;
    }
    if (io_co_truncate(sh->image, length, (enum prealloc_mode)mode, &err) < 0) {
        return io_fail_error(err);
    }
    return true;
}

const struct io_verb io_image_verbs[] = {
    {"open", "o", "[FILE]", "opens an image", IO_VERB_ANY, 0, 1, open_args,
     verb_open},
    {"close", "c", "", "closes the image", 0, 0, 0, NULL, verb_close},
    {"reopen", NULL, "", "opens the image anew, with other options", 0, 0, 0,
     reopen_args, verb_reopen},
    {"length", "l", "", "tells how long the image is", 0, 0, 0, NULL,
     verb_length},
    {"info", "i", "", "tells what the image is", 0, 0, 0, NULL, verb_info},
    {"alloc", "a", "OFFSET [BYTES]",
     "tells how many of some bytes (512) the image itself has", 0, 1, 2, NULL,
     verb_alloc},
    {"map", NULL, "", "lists what the image itself has", 0, 0, 0, NULL,
     verb_map},
    {"truncate", "t", "LENGTH", "makes the image longer or shorter",
     IO_VERB_WRITES, 1, 1, truncate_args, verb_truncate},
    {.name = NULL},
};
