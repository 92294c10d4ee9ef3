/* SPDX-License-Identifier: MIT */

#include "calls.h"

#include <glib.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#include "base/align.h"
#include "base/list.h"
#include "block/driver.h"
#include "block/node.h"
#include "loop/loop.h"

struct calls {
    pthread_mutex_t lock;
    GString *log;
    struct list held; /* call.link */
    uint8_t *data;
    int64_t length;
    int64_t max_transfer;
    int max_iov;
    enum calls_mode mode;
    bool let_go_at_next;
    int active; /* atomic */
    int64_t bad_offset, bad_bytes;
    int bad_rc;
    int flush_rc;
    bool can_copy;
};

/* A held call; on the stack of its coroutine. */
struct call {
    struct co *co;
    int n_iov;
    int rc;
    struct list link;
};

/* What the next node is opened with; tests open one at a time. */
static struct calls_opts next_opts;

/* Writes the call down and waits until it may go on.  Returns its fate. */
static int co_fn calls_co_enter(struct calls *c, int64_t offset, int64_t bytes,
                                int n_iov, const char *text)
{
    struct call call = {.co = co_self(), .n_iov = n_iov};
    enum calls_mode mode;
    bool let_go;

    pthread_mutex_lock(&c->lock);
    g_string_append_printf(c->log, "%s%s", c->log->len ? ", " : "", text);
    if (bytes > 0 && c->bad_bytes > 0 &&
        ranges_overlap(offset, bytes, c->bad_offset, c->bad_bytes)) {
        call.rc = c->bad_rc;
    }
    mode = c->mode;
    let_go = c->let_go_at_next;
    c->let_go_at_next = false;
    if (mode == CALLS_HOLD) {
        list_add_tail(&c->held, &call.link);
    }
    pthread_mutex_unlock(&c->lock);

    if (let_go) {
        calls_let_go(c, 0);
    }
    __atomic_add_fetch(&c->active, 1, __ATOMIC_SEQ_CST);
    if (mode == CALLS_HOLD) {
        co_yield();
    } else if (mode == CALLS_RELAX) {
        loop_co_relax();
    }
    __atomic_sub_fetch(&c->active, 1, __ATOMIC_SEQ_CST);
    return call.rc;
}

static int co_fn calls_co_range(struct node *node, const char *op,
                                int64_t offset, int64_t bytes, int n_iov,
                                unsigned flags)
{
    char text[80];
    char iov[16] = "";

    if (n_iov > 1) {
        g_snprintf(iov, sizeof(iov), " iov=%d", n_iov);
    }
    g_snprintf(text, sizeof(text), "%s %" PRId64 "+%" PRId64 "%s%s", op, offset,
               bytes, iov, flags & REQ_FUA ? " fua" : "");
    return calls_co_enter(node_state(node), offset, bytes, n_iov, text);
}

static int co_fn calls_co_preadv(struct node *node, int64_t offset,
                                 const struct iovs *dst)
{
    struct calls *c = node_state(node);
    int rc = calls_co_range(node, "R", offset, dst->bytes, dst->n, 0);

    if (rc == 0) {
        iovs_from_buf(dst, 0, c->data + offset, dst->bytes);
    }
    return rc;
}

static int co_fn calls_co_pwritev(struct node *node, int64_t offset,
                                  const struct iovs *src, unsigned flags)
{
    struct calls *c = node_state(node);
    int rc = calls_co_range(node, "W", offset, src->bytes, src->n, flags);

    if (rc == 0) {
        iovs_to_buf(src, 0, c->data + offset, src->bytes);
    }
    return rc;
}

static int co_fn calls_co_pwrite_zeroes(struct node *node, int64_t offset,
                                        int64_t bytes, unsigned flags)
{
    struct calls *c = node_state(node);
    int rc = calls_co_range(node, "Z", offset, bytes, 0, flags);

    if (rc == 0) {
        memset(c->data + offset, 0, (size_t)bytes);
    }
    return rc;
}

static int co_fn calls_co_pdiscard(struct node *node, int64_t offset,
                                   int64_t bytes)
{
    struct calls *c = node_state(node);
    int rc = calls_co_range(node, "D", offset, bytes, 0, 0);

    if (rc == 0) {
        memset(c->data + offset, 0xdd, (size_t)bytes);
    }
    return rc;
}

static int co_fn calls_co_copy_range(struct node *src, int64_t src_offset,
                                     struct node *dst, int64_t dst_offset,
                                     int64_t bytes, unsigned flags)
{
    struct calls *from = node_state(src), *to = node_state(dst);
    int rc = -EOPNOTSUPP;

    if (to->can_copy) {
        rc = calls_co_range(dst, "C", dst_offset, bytes, 0, flags);
    }
    if (rc == 0) {
        memmove(to->data + dst_offset, from->data + src_offset, (size_t)bytes);
    }
    return rc;
}

static int co_fn calls_co_flush(struct node *node)
{
    struct calls *c = node_state(node);
    int rc = calls_co_enter(c, 0, 0, 0, "F");

    if (rc == 0) {
        rc = c->flush_rc;
        c->flush_rc = 0;
    }
    return rc;
}

static int co_fn calls_co_stat(struct node *node, struct node_stat *ret)
{
    *ret = (struct node_stat){.allocated = node_length(node)};
    return 0;
}

static int co_fn calls_co_driver_open(struct node *node, struct options *opts,
                                      GError **err)
{
    struct calls *c = node_state(node);

    pthread_mutex_init(&c->lock, NULL);
    c->log = g_string_new(NULL);
    list_init(&c->held);
    c->length = next_opts.length;
    c->max_transfer = next_opts.max_transfer;
    c->max_iov = next_opts.max_iov;
    c->data = g_malloc0((size_t)c->length);
    node_set_length(node, c->length);
    return 0;
}

static void co_fn calls_co_close(struct node *node)
{
    struct calls *c = node_state(node);

    g_assert_true(list_empty(&c->held));
    g_free(c->data);
    g_string_free(c->log, TRUE);
    pthread_mutex_destroy(&c->lock);
}

static void calls_limits(struct node *node, struct node_limits *limits)
{
    const struct calls *c = node_state(node);

    limits->request_align = 1;
    limits->mem_align = 1;
    limits->max_transfer = c->max_transfer;
    limits->max_iov = c->max_iov ? c->max_iov : 1024;
}

static const struct driver driver_calls = {
    .name = "calls",
    .state_size = sizeof(struct calls),
    .traits = DRIVER_LEAF,
    .write_flags = REQ_FUA,
    .zeroes_flags = REQ_FUA | REQ_MAY_UNMAP,
    .co_open = calls_co_driver_open,
    .co_close = calls_co_close,
    .limits = calls_limits,
    .co_preadv = calls_co_preadv,
    .co_pwritev = calls_co_pwritev,
    .co_pwrite_zeroes = calls_co_pwrite_zeroes,
    .co_pdiscard = calls_co_pdiscard,
    .co_copy_range = calls_co_copy_range,
    .co_flush_to_disk = calls_co_flush,
    .co_stat = calls_co_stat,
};

struct node *co_fn calls_co_open(const struct calls_opts *opts)
{
    struct options *o = options_new();
    g_autoptr(GError) err = NULL;
    struct node *node;

    if (!driver_find("calls")) {
        driver_register(&driver_calls);
    }
    next_opts = *opts;
    options_set(o, "driver", "calls");
    node = node_co_open(o, opts->flags, &err);
    g_assert_no_error(err);
    return node;
}

struct calls *calls_of(struct node *node)
{
    return node_state(node);
}

uint8_t *calls_data(struct calls *c)
{
    return c->data;
}

void calls_set_mode(struct calls *c, enum calls_mode mode)
{
    pthread_mutex_lock(&c->lock);
    c->mode = mode;
    pthread_mutex_unlock(&c->lock);
}

int calls_active(struct calls *c)
{
    return __atomic_load_n(&c->active, __ATOMIC_SEQ_CST);
}

void calls_set_bad_range(struct calls *c, int64_t offset, int64_t bytes, int rc)
{
    c->bad_offset = offset;
    c->bad_bytes = bytes;
    c->bad_rc = rc;
}

void calls_can_copy(struct calls *c)
{
    c->can_copy = true;
}

void calls_fail_next_flush(struct calls *c, int rc)
{
    c->flush_rc = rc;
}

int calls_held(struct calls *c)
{
    const struct call *call;
    int n = 0;

    pthread_mutex_lock(&c->lock);
    list_for_each(call, &c->held, link) {
        n++;
    }
    pthread_mutex_unlock(&c->lock);
    return n;
}

static struct call *calls_nth_locked(struct calls *c, int i)
{
    struct list *l = c->held.next;

    while (i-- > 0 && l != &c->held) {
        l = l->next;
    }
    g_assert_true(l != &c->held);
    return list_entry(l, struct call, link);
}

int calls_n_iov(struct calls *c, int i)
{
    int n;

    pthread_mutex_lock(&c->lock);
    n = calls_nth_locked(c, i)->n_iov;
    pthread_mutex_unlock(&c->lock);
    return n;
}

static struct call *calls_take(struct calls *c, int i)
{
    struct call *call;

    pthread_mutex_lock(&c->lock);
    call = calls_nth_locked(c, i);
    list_del(&call->link);
    pthread_mutex_unlock(&c->lock);
    return call;
}

void calls_let_go(struct calls *c, int i)
{
    loop_co_wake(calls_take(c, i)->co);
}

void calls_let_go_at_next_call(struct calls *c)
{
    c->let_go_at_next = true;
}

void calls_fail(struct calls *c, int i, int rc)
{
    struct call *call = calls_take(c, i);

    call->rc = rc;
    loop_co_wake(call->co);
}

void calls_let_all_go(struct calls *c)
{
    while (calls_held(c) > 0) {
        calls_let_go(c, 0);
        while (loop_turn(loop_current(), false)) {
        }
    }
}

char *calls_take_log(struct calls *c)
{
    char *log;

    pthread_mutex_lock(&c->lock);
    log = g_strdup(c->log->str);
    g_string_truncate(c->log, 0);
    pthread_mutex_unlock(&c->lock);
    return log;
}
