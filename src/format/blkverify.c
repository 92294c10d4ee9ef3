/* SPDX-License-Identifier: MIT */

#include "format/blkverify.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "block/driver.h"
#include "block/node.h"

/* The child "file" is the image. */
#define RAW "raw"

struct blkverify {
    struct node *raw; /* the copy: the child "raw" */

    pthread_mutex_t lock;
    /* Under @lock. */
    bool differs;
    struct blkverify_mismatch mismatch; /* the first one, if so */
};

/* -- Opening ------------------------------------------------------------- */

/* blkverify:RAW:TEST */
static int blkverify_parse_name(const char *name, struct options *opts,
                                GError **err)
{
    const char *colon = strchr(name, ':');
    g_autofree char *raw = NULL;

    if (!colon || colon == name || !colon[1]) {
        return error_set(err, -EINVAL,
                         "blkverify:%s: two files are needed; write "
                         "blkverify:RAW:IMAGE",
                         name);
    }
    raw = g_strndup(name, (size_t)(colon - name));
    options_set(opts, "raw.filename", raw);
    options_set(opts, "test.filename", colon + 1);
    return 0;
}

/* Opens the image: by its name where that is all there is of it. */
static int co_fn open_test(struct node *node, struct options *opts,
                           GError **err)
{
    struct options *child = options_take_child(opts, "test");
    g_autofree char *filename = NULL;

    if (!options_peek(child, "driver")) {
        filename = options_take(child, "filename");
    }
    return node_co_open_named_child(node, "file", filename, child,
                                    node_flags(node), err); /* yields */
}

static int co_fn blkverify_co_open(struct node *node, struct options *opts,
                                   GError **err)
{
    struct blkverify *v = node_state(node);
    int rc = node_co_open_child(node, RAW, opts, node_flags(node), err);

    if (rc == 0) {
        rc = open_test(node, opts, err); /* yields */
    }
    if (rc < 0) {
        return rc;
    }
    v->raw = node_child(node, RAW);
    pthread_mutex_init(&v->lock, NULL);
    node_set_length(node, node_length(node_file(node)));
    return 0;
}

static void co_fn blkverify_co_close(struct node *node)
{
    struct blkverify *v = node_state(node);

    pthread_mutex_destroy(&v->lock);
}

/* -- Requests ------------------------------------------------------------ */

/* Where @buf and the bytes of @data first differ; -1: nowhere. */
static int64_t find_difference(const struct iovs *data, const char *buf)
{
    int64_t at = 0;

    for (int i = 0; i < data->n; i++) {
        const char *base = data->iov[i].iov_base;
        int64_t n = (int64_t)data->iov[i].iov_len;

        if (memcmp(base, buf + at, (size_t)n) != 0) {
            while (*base == buf[at]) {
                base++;
                at++;
            }
            return at;
        }
        at += n;
    }
    return -1;
}

static void record(struct blkverify *v, int64_t offset, int64_t bytes,
                   int64_t at)
{
    pthread_mutex_lock(&v->lock);
    if (!v->differs) {
        v->differs = true;
        v->mismatch = (struct blkverify_mismatch){
            .offset = offset,
            .bytes = bytes,
            .at = offset + at,
        };
    }
    pthread_mutex_unlock(&v->lock);
}

static int co_fn verify(struct blkverify *v, int64_t offset,
                        const struct iovs *data)
{
    char *buf = node_try_alloc(v->raw, data->bytes);
    int rc = buf ? 0 : -ENOMEM;
    int64_t at;

    if (rc == 0) {
        rc = node_co_pread(v->raw, offset, buf, data->bytes); /* yields */
    }
    if (rc == 0) {
        at = find_difference(data, buf);
        if (at >= 0) {
            record(v, offset, data->bytes, at);
            rc = -EIO;
        }
    }
    free(buf);
    return rc;
}

static int co_fn blkverify_co_preadv(struct node *node, int64_t offset,
                                     const struct iovs *dst)
{
    int rc = node_co_preadv(node_file(node), offset, dst, 0); /* yields */

    return rc < 0 ? rc : verify(node_state(node), offset, dst);
}

/* To both, also when the first one fails: they stay as alike as can be. */
static int co_fn blkverify_co_pwritev(struct node *node, int64_t offset,
                                      const struct iovs *src, unsigned flags)
{
    struct blkverify *v = node_state(node);
    int raw = node_co_pwritev(v->raw, offset, src, flags);         /* yields */
    int rc = node_co_pwritev(node_file(node), offset, src, flags); /* yields */

    return rc < 0 ? rc : raw;
}

const struct driver driver_blkverify = {
    .name = "blkverify",
    .state_size = sizeof(struct blkverify),
    .traits = DRIVER_FILTER,
    .write_flags = REQ_FUA | REQ_WRITE_UNCHANGED,
    .parse_name = blkverify_parse_name,
    .co_open = blkverify_co_open,
    .co_close = blkverify_co_close,
    .co_preadv = blkverify_co_preadv,
    .co_pwritev = blkverify_co_pwritev,
};

/* -- For the one who tests ----------------------------------------------- */

bool blkverify_take_mismatch(struct node *root, struct blkverify_mismatch *ret)
{
    struct blkverify *v;
    bool differs;

    while (root && node_driver(root) != &driver_blkverify) {
        root = node_file(root);
    }
    if (!root) {
        return false;
    }
    v = node_state(root);
    pthread_mutex_lock(&v->lock);
    differs = v->differs;
    *ret = v->mismatch;
    v->differs = false;
    pthread_mutex_unlock(&v->lock);
    return differs;
}
