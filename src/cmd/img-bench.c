/* SPDX-License-Identifier: MIT */
/*
 * img-bench: `bench`, the time that requests take.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "block/node.h"
#include "cmd/img.h"
#include "tool/bench.h"

struct bench {
    struct tool_image image;
    struct bench_request rq;
    bool quiet;
    int status;
};

static void announce(const struct bench *b)
{
    const struct bench_request *rq = &b->rq;

    (void)printf("Sending %" PRId64 " %s requests, %" PRId64 " bytes each, "
                 "%d in parallel (starting at offset %" PRId64
                 ", step size %" PRId64 ")\n",
                 rq->count, rq->write ? "write" : "read", rq->bytes, rq->depth,
                 rq->offset, rq->step);
    if (rq->flush_every > 0) {
        (void)printf("Sending flush every %" PRId64 " %srequests\n",
                     rq->flush_every, rq->no_drain ? "" : "drained ");
    }
    (void)fflush(stdout);
}

static void bench_entry(void *opaque)
{
    struct bench *b = opaque;
    GError *err = NULL;
    struct node *node;
    int64_t ns = 0;
    int rc;

    co_assert_role();
    node = img_co_open(&b->image, &err); /* yields */
    if (!node) {
        b->status = img_fail(err);
        return;
    }
    if (b->rq.bytes > node_length(node) || b->rq.offset >= node_length(node)) {
        b->status = cmd_fail("%s: has %" PRId64 " bytes: requests of %" PRId64
                             " bytes from %" PRId64 " on do not fit",
                             b->image.name, node_length(node), b->rq.bytes,
                             b->rq.offset);
    } else {
        if (!b->quiet) {
            announce(b);
        }
        rc = bench_co_run(node, &b->rq, &ns); /* yields */
        if (rc < 0) {
            b->status = cmd_fail("%s: a request failed: %s", b->image.name,
                                 g_strerror(-rc));
        } else if (!b->quiet) {
            (void)printf("Run completed in %.3f seconds.\n", (double)ns / 1e9);
        }
    }
    if (tool_co_close(node, &err) < 0) { /* yields */
        b->status = img_fail(err);
    }
}

struct bench_numbers {
    const char *count, *depth, *flush, *offset, *pattern, *bytes, *step;
};

/* -1, or the exit status. */
static int parse_numbers(const struct bench_numbers *n,
                         struct bench_request *rq)
{
    int64_t depth = 64, pattern = 0;
    int status = -1;

    if (n->count) {
        status = img_parse_count(n->count, "-c", 1, INT32_MAX, &rq->count);
    }
    if (status < 0 && n->depth) {
        status = img_parse_count(n->depth, "-d", 1, 4096, &depth);
    }
    if (status < 0 && n->flush) {
        status = img_parse_count(n->flush, "--flush-interval", 0, INT32_MAX,
                                 &rq->flush_every);
    }
    if (status < 0 && n->offset) {
        status = img_parse_size(n->offset, "-o", &rq->offset);
    }
    if (status < 0 && n->pattern) {
        status = img_parse_count(n->pattern, "--pattern", 0, 255, &pattern);
    }
    if (status < 0 && n->bytes) {
        status = img_parse_size(n->bytes, "-s", &rq->bytes);
    }
    if (status < 0 && n->step) {
        status = img_parse_size(n->step, "-S", &rq->step);
    }
    rq->depth = (int)depth;
    rq->pattern = (int)pattern;
    rq->step = rq->step ? rq->step : rq->bytes;
    return status;
}

static int check_request(const struct bench_request *rq, bool shared)
{
    if (rq->write && shared) {
        return img_usage("-w and -U exclude each other: a shared image is "
                         "only read");
    }
    if (rq->bytes < 1 || rq->bytes > 1 * GiB) {
        return img_usage("-s: must be from 1 to 1G");
    }
    if (!rq->write && (rq->flush_every || rq->pattern)) {
        return img_usage("--flush-interval and --pattern are for writes (-w)");
    }
    if (rq->flush_every && rq->flush_every < rq->depth) {
        return img_usage("--flush-interval=%" PRId64 ": must not be smaller "
                         "than the depth (%d)",
                         rq->flush_every, rq->depth);
    }
    return -1;
}

/* Which engine does the I/O.  -1, or the exit status. */
static int choose_engine(struct bench *b, const char *aio, bool native)
{
    if (aio && strcmp(aio, "threads") != 0 && strcmp(aio, "native") != 0) {
        return img_usage("-i %s: must be threads or native", aio);
    }
    native = native || (aio && strcmp(aio, "native") == 0);
    if (native && !(b->image.flags & NODE_DIRECT)) {
        return img_usage("-n and -i native work past the page cache only; add "
                         "-t none");
    }
    if (aio || native) {
        b->image.flags |= native ? NODE_AIO_NATIVE : NODE_AIO_THREADS;
    }
    return -1;
}

int img_bench(int argc, char **argv)
{
    struct img_common common = {.format = NULL};
    struct bench_numbers n = {.count = NULL};
    struct bench b = {.rq = {.count = 75000, .bytes = 4096}};
    const char *aio = NULL, *cache = NULL;
    bool native = false;
    const struct arg args[] = {
        {'c', "count", "N", "how many requests; default 75000",
         .text = &n.count},
        {'d', "depth", "N", "how many run at once; default 64",
         .text = &n.depth},
        IMG_ARG_FORMAT(common),
        {0, "flush-interval", "N", "flush after so many writes",
         .text = &n.flush},
        {'i', "aio", "ENGINE", "threads or native", .text = &aio},
        {'n', "native", NULL, "the same as -i native", .flag = &native},
        {0, "no-drain", NULL, "send requests while a flush runs",
         .flag = &b.rq.no_drain},
        {'o', "offset", "OFFSET", "where to begin", .text = &n.offset},
        {0, "pattern", "BYTE", "what to write; default 0", .text = &n.pattern},
        {'s', "buffer-size", "BYTES", "size of a request; default 4096",
         .text = &n.bytes},
        {'S', "step-size", "BYTES", "from one to the next; default: its size",
         .text = &n.step},
        IMG_ARG_CACHE(cache),
        {'w', "write", NULL, "write (the image loses what it holds)",
         .flag = &b.rq.write},
        IMG_ARG_OPTS(common),
        IMG_ARG_SHARE(common),
        IMG_ARG_QUIET(common),
        IMG_ARG_OBJECT,
    };
    const struct arg_syntax syntax = {args, G_N_ELEMENTS(args), "FILENAME",
                                      "Times reads or writes of an image."};
    char **operands;
    int status = img_parse(&syntax, argc, argv, 1, 1, &operands);

    if (status < 0) {
        status = img_check_common(&common);
    }
    if (status < 0) {
        status = parse_numbers(&n, &b.rq);
    }
    if (status < 0) {
        status = check_request(&b.rq, common.force_share);
    }
    if (status < 0) {
        b.image = img_image(&common, operands[0], b.rq.write ? NODE_RDWR : 0);
        status = img_parse_cache(cache, &b.image.flags, &b.rq.writethrough);
    }
    if (status < 0) {
        status = choose_engine(&b, aio, native);
    }
    if (status < 0) {
        b.quiet = common.quiet;
        img_run_parallel(bench_entry, &b);
        status = b.status;
    }
    return status;
}
