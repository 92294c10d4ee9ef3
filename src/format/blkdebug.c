/* SPDX-License-Identifier: MIT */

#include "format/blkdebug.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/align.h"
#include "base/error.h"
#include "block/node.h"
#include "format/blkdebug_priv.h"
#include "format/pass.h"
#include "loop/loop.h"

/* -- Opening ------------------------------------------------------------- */

/* blkdebug:CONFIG:FILE */
static int blkdebug_parse_name(const char *name, struct options *opts,
                               GError **err)
{
    const char *colon = strchr(name, ':');
    g_autofree char *config = NULL;

    if (!colon) {
        return error_set(err, -EINVAL,
                         "blkdebug:%s: no image is named; write "
                         "blkdebug:CONFIG:IMAGE or blkdebug::IMAGE",
                         name);
    }
    config = g_strndup(name, (size_t)(colon - name));
    if (*config) {
        options_set(opts, "config", config);
    }
    options_set(opts, "image.filename", colon + 1);
    return 0;
}

/* Takes a limit that must be a multiple of @align (when above 0). */
static int take_limit(struct options *opts, const char *key, int64_t align,
                      int64_t max, int64_t *ret, GError **err)
{
    if (options_take_size(opts, key, ret, err) < 0) {
        return -EINVAL;
    }
    if (*ret > max || *ret % align != 0) {
        return error_set(err, -EINVAL,
                         "%s=%" PRId64 ": must be a multiple of %" PRId64
                         ", up to %" PRId64,
                         key, *ret, align, max);
    }
    return 0;
}

static int take_limits(struct blkdebug *b, struct options *opts, GError **err)
{
    struct node_limits *l = &b->limits;
    int64_t align;

    if (options_take_size(opts, "align", &l->request_align, err) < 0) {
        return -EINVAL;
    }
    if (l->request_align > BLOCK_MAX_ALIGNMENT ||
        (l->request_align > 0 && !is_power_of_2(l->request_align))) {
        return error_set(err, -EINVAL,
                         "align=%" PRId64 ": must be a power of 2, up to 1G",
                         l->request_align);
    }
    align = max_i64(l->request_align, 1);
    if (take_limit(opts, "max-transfer", align, INT32_MAX, &l->max_transfer,
                   err) < 0 ||
        take_limit(opts, "opt-write-zero", align, BLOCK_MAX_ALIGNMENT,
                   &l->zeroes_align, err) < 0 ||
        take_limit(opts, "max-write-zero", max_i64(align, l->zeroes_align),
                   INT64_MAX, &l->max_zeroes, err) < 0 ||
        take_limit(opts, "opt-discard", align, BLOCK_MAX_ALIGNMENT,
                   &b->opt_discard, err) < 0) {
        return -EINVAL;
    }
    return take_limit(opts, "max-discard", max_i64(align, b->opt_discard),
                      INT64_MAX, &b->max_discard, err);
}

/* QEMU's permissions do not exist here; who asks for some gets none. */
static void drop_permissions(struct options *opts)
{
    options_free(options_take_child(opts, "take-child-perms"));
    options_free(options_take_child(opts, "unshare-child-perms"));
}

static void blkdebug_fini(struct blkdebug *b)
{
    while (!list_empty(&b->rules)) {
        rule_free(list_first(&b->rules, struct rule, link));
    }
    pthread_mutex_destroy(&b->lock);
}

static int co_fn blkdebug_co_open(struct node *node, struct options *opts,
                                  GError **err)
{
    struct blkdebug *b = node_state(node);
    int rc;

    pthread_mutex_init(&b->lock, NULL);
    list_init(&b->rules);
    list_init(&b->held);
    b->state = 1;
    drop_permissions(opts);
    options_rename_child(opts, "image", "file");
    rc = rules_take(b, opts, err);
    if (rc == 0) {
        rc = take_limits(b, opts, err);
    }
    if (rc == 0) {
        rc = node_co_open_child(node, "file", opts, node_flags(node), err);
    }
    if (rc < 0) {
        blkdebug_fini(b);
        return rc;
    }
    node_set_length(node, node_length(node_file(node)));
    return 0;
}

static void co_fn blkdebug_co_close(struct node *node)
{
    blkdebug_fini(node_state(node));
}

static void blkdebug_limits(struct node *node, struct node_limits *l)
{
    const struct node_limits *own =
        &((struct blkdebug *)node_state(node))->limits;

    l->request_align = max_i64(own->request_align, 1);
    l->max_transfer = min_non_zero(own->max_transfer, l->max_transfer);
    l->zeroes_align = own->zeroes_align;
    l->max_zeroes = own->max_zeroes;
}

/* -- Rules at work ------------------------------------------------------- */

static void rules_hit_locked(struct blkdebug *b, enum node_event event)
{
    int64_t new_state = b->state;
    bool taken_over = false;
    struct rule *rule;

    list_for_each(rule, &b->rules, link) {
        if (rule->kind == RULE_INJECT_ERROR && rule_matches(b, rule, event)) {
            taken_over = true;
        }
    }
    list_for_each(rule, &b->rules, link) {
        bool matches = rule_matches(b, rule, event);

        if (rule->kind == RULE_SET_STATE && matches) {
            new_state = rule->new_state;
        } else if (rule->kind == RULE_INJECT_ERROR && taken_over) {
            rule->active = matches || rule->event == EVENT_NONE;
        }
    }
    b->state = new_state;
}

static void co_fn blkdebug_co_event(struct node *node, enum node_event event)
{
    struct blkdebug *b = node_state(node);

    pthread_mutex_lock(&b->lock);
    rules_hit_locked(b, event);
    pthread_mutex_unlock(&b->lock);
    breaks_co_hit(b, event); /* yields */
}

static bool rule_wants(const struct rule *rule, enum io_type type,
                       int64_t offset, int64_t bytes)
{
    return rule->kind == RULE_INJECT_ERROR && rule->active &&
           (rule->io_types & type) &&
           (rule->sector < 0 || (bytes > 0 && offset <= rule->sector * 512 &&
                                 rule->sector * 512 < offset + bytes));
}

/* What a request is to fail with: 0 or a negative errno. */
static int inject_locked(struct blkdebug *b, enum io_type type, int64_t offset,
                         int64_t bytes, bool *immediately)
{
    struct rule *rule;

    list_for_each(rule, &b->rules, link) {
        if (rule_wants(rule, type, offset, bytes)) {
            int rc = -rule->error;

            *immediately = rule->immediately;
            if (rule->once) {
                rule_free(rule);
            }
            return rc;
        }
    }
    return 0;
}

static int co_fn blkdebug_inject(struct node *node, enum io_type type,
                                 int64_t offset, int64_t bytes)
{
    struct blkdebug *b = node_state(node);
    bool immediately = false;
    int rc;

    pthread_mutex_lock(&b->lock);
    rc = inject_locked(b, type, offset, bytes, &immediately);
    pthread_mutex_unlock(&b->lock);
    if (rc < 0 && !immediately) {
        loop_co_relax(); /* yields, as errors of a host do */
    }
    return rc;
}

/* -- Requests ------------------------------------------------------------ */

static int co_fn blkdebug_co_preadv(struct node *node, int64_t offset,
                                    const struct iovs *dst)
{
    int rc = blkdebug_inject(node, IO_READ, offset, dst->bytes);

    return rc < 0 ? rc : pass_co_preadv(node, offset, dst); /* yields */
}

static int co_fn blkdebug_co_pwritev(struct node *node, int64_t offset,
                                     const struct iovs *src, unsigned flags)
{
    int rc = blkdebug_inject(node, IO_WRITE, offset, src->bytes);

    return rc < 0 ? rc : node_co_pwritev(node_file(node), offset, src, flags);
}

static int co_fn blkdebug_co_pwrite_zeroes(struct node *node, int64_t offset,
                                           int64_t bytes, unsigned flags)
{
    int rc = blkdebug_inject(node, IO_ZEROES, offset, bytes);

    return rc < 0 ? rc : pass_co_pwrite_zeroes(node, offset, bytes, flags);
}

/*
 * How much of a discard goes down at once.  Parts that do not fill opt-discard
 * go down as well, but on their own.
 */
static int64_t discard_piece(const struct blkdebug *b, int64_t offset,
                             int64_t bytes)
{
    int64_t unit = b->opt_discard;

    if (unit > 0 && offset % unit != 0) {
        bytes = min_i64(bytes, unit - offset % unit);
    } else if (unit > 0 && bytes > unit) {
        bytes -= bytes % unit;
    }
    return min_non_zero(bytes, b->max_discard);
}

static int co_fn blkdebug_co_pdiscard(struct node *node, int64_t offset,
                                      int64_t bytes)
{
    struct blkdebug *b = node_state(node);
    int rc = 0;

    for (int64_t end = offset + bytes; offset < end && rc == 0;) {
        int64_t n = discard_piece(b, offset, end - offset);

        rc = blkdebug_inject(node, IO_DISCARD, offset, n); /* yields */
        if (rc == 0) {
            rc = pass_co_pdiscard(node, offset, n); /* yields */
        }
        offset += n;
    }
    return rc;
}

/* The core flushes the child afterwards. */
static int co_fn blkdebug_co_flush_to_disk(struct node *node)
{
    return blkdebug_inject(node, IO_FLUSH, 0, 0);
}

static int co_fn blkdebug_co_block_status(struct node *node, bool precise,
                                          int64_t offset, int64_t bytes,
                                          struct block_status *ret)
{
    int rc = blkdebug_inject(node, IO_STATUS, offset, bytes);

    if (rc < 0) {
        return rc;
    }
    *ret = (struct block_status){
        .flags = BLOCK_RAW | BLOCK_OFFSET_VALID,
        .bytes = bytes,
        .map = offset,
        .file = node_file(node),
    };
    return 0;
}

const struct driver driver_blkdebug = {
    .name = "blkdebug",
    .state_size = sizeof(struct blkdebug),
    .traits = DRIVER_FILTER | DRIVER_GROWS,
    .write_flags = REQ_FUA | REQ_WRITE_UNCHANGED | REQ_WRITE_COMPRESSED,
    .zeroes_flags = REQ_FUA | REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .parse_name = blkdebug_parse_name,
    .co_open = blkdebug_co_open,
    .co_close = blkdebug_co_close,
    .limits = blkdebug_limits,
    .co_preadv = blkdebug_co_preadv,
    .co_pwritev = blkdebug_co_pwritev,
    .co_pwrite_zeroes = blkdebug_co_pwrite_zeroes,
    .co_pdiscard = blkdebug_co_pdiscard,
    .co_flush_to_disk = blkdebug_co_flush_to_disk,
    .co_block_status = blkdebug_co_block_status,
    .co_truncate = pass_co_truncate,
    .co_event = blkdebug_co_event,
};
