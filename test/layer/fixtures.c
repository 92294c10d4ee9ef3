/* SPDX-License-Identifier: MIT */

#include "fixtures.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "base/error.h"
#include "format/raw.h"

/* -- mem: calls ---------------------------------------------------------- */

struct mem_call {
    struct list link;
    struct co *co;
    int rc;
};

/* The next of a row of random numbers, for any thread. */
static guint32 mem_throw(struct mem *m)
{
    guint32 n = atomic_fetch_add(&m->dice, 0x9e3779b9);

    n = (n ^ n >> 16) * 0x85ebca6b;
    n = (n ^ n >> 13) * 0xc2b2ae35;
    return n ^ n >> 16;
}

/* Writes the call down and waits for its turn.  0: do it. */
static int co_fn mem_call(struct mem *m, const char *text)
{
    struct mem_call call = {.co = co_self()};

    if (m->relaxed) {
        for (unsigned n = mem_throw(m) % (m->relaxed + 1); n > 0; n--) {
            loop_co_relax(); /* yields */
        }
        return 0;
    }
    g_string_append_printf(m->log, "%s%s", m->log->len ? " " : "", text);
    if (m->hold) {
        list_add_tail(&m->pending, &call.link);
        co_yield();
    }
    return call.rc;
}

static int co_fn mem_range_call(struct mem *m, char op, int64_t offset,
                                int64_t bytes, const char *suffix)
{
    char text[64];

    g_snprintf(text, sizeof(text), "%c%" PRId64 "+%" PRId64 "%s", op, offset,
               bytes, suffix);
    return mem_call(m, text); /* yields */
}

static int co_fn mem_co_preadv(struct node *node, int64_t offset,
                               const struct iovs *dst)
{
    struct mem *m = mem_of(node);
    int64_t there = min_i64(dst->bytes, max_i64(m->size - offset, 0));
    int rc = mem_range_call(m, 'R', offset, dst->bytes, ""); /* yields */

    if (rc == 0) {
        iovs_from_buf(dst, 0, m->data + offset, there);
        iovs_memset(dst, there, 0, dst->bytes - there);
    }
    return rc;
}

static void mem_touch(struct mem *m, int64_t end)
{
    g_assert_cmpint(end, <=, m->capacity);
    if (end > m->size) { /* only one that grows writes there */
        m->size = end;
    }
}

static int co_fn mem_co_pwritev(struct node *node, int64_t offset,
                                const struct iovs *src, unsigned flags)
{
    struct mem *m = mem_of(node);
    int rc = mem_range_call(m, 'W', offset, src->bytes,
                            flags & REQ_FUA ? "!" : ""); /* yields */

    if (rc == 0) {
        mem_touch(m, offset + src->bytes);
        iovs_to_buf(src, 0, m->data + offset, src->bytes);
    }
    return rc;
}

static int co_fn mem_co_pwrite_zeroes(struct node *node, int64_t offset,
                                      int64_t bytes, unsigned flags)
{
    struct mem *m = mem_of(node);
    int rc = mem_range_call(m, 'Z', offset, bytes,
                            flags & REQ_MAY_UNMAP ? "u" : ""); /* yields */

    if (rc == 0 && m->no_zeroes) {
        return -EOPNOTSUPP;
    }
    if (rc == 0) {
        mem_touch(m, offset + bytes);
        memset(m->data + offset, 0, (size_t)bytes);
    }
    return rc;
}

/* Discarded bytes read as 0xdd: nobody may rely on them. */
static int co_fn mem_co_pdiscard(struct node *node, int64_t offset,
                                 int64_t bytes)
{
    struct mem *m = mem_of(node);
    int rc = mem_range_call(m, 'D', offset, bytes, ""); /* yields */

    if (rc == 0 && m->no_discard) {
        return -EOPNOTSUPP;
    }
    if (rc == 0) {
        memset(m->data + offset, 0xdd, (size_t)bytes);
    }
    return rc;
}

static int co_fn mem_co_flush(struct node *node)
{
    struct mem *m = mem_of(node);
    int rc = mem_call(m, "F"); /* yields */

    return rc ? rc : m->fail_flush;
}

static int co_fn mem_co_allocate(struct node *node, int64_t offset,
                                 int64_t bytes)
{
    return mem_range_call(mem_of(node), 'A', offset, bytes, "");
}

static int co_fn mem_co_truncate(struct node *node, int64_t length,
                                 enum prealloc_mode prealloc, unsigned flags,
                                 GError **err)
{
    struct mem *m = mem_of(node);
    char text[32];
    int rc;

    g_snprintf(text, sizeof(text), "T%" PRId64, length);
    rc = mem_call(m, text); /* yields */
    if (rc < 0) {
        return error_set_errno(err, rc, "mem");
    }
    g_assert_cmpint(length, <=, m->capacity);
    if (length < m->size) {
        memset(m->data + length, 0, (size_t)(m->size - length));
    }
    m->size = length;
    node_set_length(node, length);
    return 0;
}

static int co_fn mem_co_copy_range(struct node *src, int64_t src_offset,
                                   struct node *dst, int64_t dst_offset,
                                   int64_t bytes, unsigned flags)
{
    g_autofree char *text = g_strdup_printf("C%" PRId64 "+%" PRId64 ">%" PRId64,
                                            src_offset, bytes, dst_offset);
    int rc = mem_call(mem_of(src), text); /* yields */

    if (rc == 0) {
        memmove(mem_of(dst)->data + dst_offset, mem_of(src)->data + src_offset,
                (size_t)bytes);
    }
    return rc;
}

/* Blocks of 4 KiB that are all zero are holes. */
static int co_fn mem_co_block_status(struct node *node, bool precise,
                                     int64_t offset, int64_t bytes,
                                     struct block_status *ret)
{
    struct mem *m = mem_of(node);
    int64_t pos = align_down(offset, 4 * KiB), end = offset + bytes;
    bool zero = buf_is_zero(m->data + pos, 4 * KiB);

    do {
        pos += 4 * KiB;
    } while (pos < end && buf_is_zero(m->data + pos, 4 * KiB) == zero);
    *ret = (struct block_status){
        .flags = (zero ? BLOCK_ZERO : BLOCK_DATA) | BLOCK_OFFSET_VALID,
        .bytes = min_i64(pos, end) - offset,
        .map = offset,
        .file = node,
    };
    return 0;
}

/* -- mem: opening -------------------------------------------------------- */

static int mem_take_limits(struct mem *m, struct options *opts, GError **err)
{
    struct {
        const char *key;
        int64_t *value;
    } sizes[] = {
        {"size", &m->size},
        {"align", &m->limits.request_align},
        {"mem-align", &m->limits.mem_align},
        {"max-transfer", &m->limits.max_transfer},
        {"zeroes-align", &m->limits.zeroes_align},
        {"max-zeroes", &m->limits.max_zeroes},
        {"discard-align", &m->limits.discard_align},
        {"max-discard", &m->limits.max_discard},
    };
    int64_t max_iov = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        int rc = options_take_size(opts, sizes[i].key, sizes[i].value, err);

        if (rc < 0) {
            return rc;
        }
    }
    if (options_take_int(opts, "max-iov", 1, 1024, &max_iov, err) < 0) {
        return -EINVAL;
    }
    m->limits.max_iov = (int)max_iov;
    return 0;
}

static int co_fn mem_co_open(struct node *node, struct options *opts,
                             GError **err)
{
    struct mem *m = node_state(node);
    bool zeroes = true, discard = true;

    list_init(&m->pending);
    if (mem_take_limits(m, opts, err) < 0 ||
        options_take_bool(opts, "zeroes", &zeroes, err) < 0 ||
        options_take_bool(opts, "discards", &discard, err) < 0) {
        return -EINVAL;
    }
    m->no_zeroes = !zeroes;
    m->no_discard = !discard;
    m->capacity = m->size + 4 * MiB;
    m->data = g_malloc0((gsize)m->capacity);
    m->log = g_string_new(NULL);
    node_set_length(node, m->size);
    return 0;
}

static void co_fn mem_co_close(struct node *node)
{
    struct mem *m = node_state(node);

    g_assert_true(list_empty(&m->pending));
    g_free(m->data);
    if (m->log) {
        g_string_free(m->log, TRUE);
    }
}

static void mem_limits(struct node *node, struct node_limits *limits)
{
    *limits = ((struct mem *)node_state(node))->limits;
}

#define MEM_DRIVER                                                            \
    .state_size = sizeof(struct mem), .zeroes_flags = REQ_MAY_UNMAP,          \
    .co_open = mem_co_open, .co_close = mem_co_close, .limits = mem_limits,   \
    .co_preadv = mem_co_preadv, .co_pwritev = mem_co_pwritev,                 \
    .co_pwrite_zeroes = mem_co_pwrite_zeroes, .co_pdiscard = mem_co_pdiscard, \
    .co_flush_to_disk = mem_co_flush, .co_allocate = mem_co_allocate,         \
    .co_truncate = mem_co_truncate, .co_copy_range = mem_co_copy_range,       \
    .co_block_status = mem_co_block_status

static const struct driver driver_mem = {
    .name = "mem",
    .traits = DRIVER_LEAF,
    MEM_DRIVER,
};

static const struct driver driver_mem_grows = {
    .name = "mem-grows",
    .traits = DRIVER_LEAF | DRIVER_GROWS,
    MEM_DRIVER,
};

static const struct driver driver_mem_fua = {
    .name = "mem-fua",
    .traits = DRIVER_LEAF,
    .write_flags = REQ_FUA,
    MEM_DRIVER,
};

static const struct driver driver_bare = {
    .name = "bare",
    .traits = DRIVER_LEAF,
    .state_size = sizeof(struct mem),
    .co_open = mem_co_open,
    .co_close = mem_co_close,
    .limits = mem_limits,
    .co_preadv = mem_co_preadv,
    .co_pwritev = mem_co_pwritev,
};

void fixture_register(void)
{
    driver_register(&driver_mem);
    driver_register(&driver_mem_grows);
    driver_register(&driver_mem_fua);
    driver_register(&driver_bare);
    driver_register(&driver_raw);
}

/* -- mem: stepping ------------------------------------------------------- */

static struct node *leaf_of(struct node *node)
{
    while (node_file(node)) {
        node = node_file(node);
    }
    return node;
}

struct mem *mem_of(struct node *node)
{
    return node_state(leaf_of(node));
}

/* Lets go what is held, if @node is one of ours at all. */
static void release(struct node *node)
{
    if (node_driver(leaf_of(node))->limits == mem_limits) {
        mem_of(node)->hold = false;
    }
}

/* Runs a job that yields for itself. */
static void job_wait(struct job *j)
{
    job_start(j);
    while (!j->done) {
        loop_turn(fixture_loop(), true);
    }
    (void)job_finish(j);
}

int mem_pending(const struct mem *m)
{
    int n = 0;

    for (struct list *l = m->pending.next; l != &m->pending; l = l->next) {
        n++;
    }
    return n;
}

void mem_fail(struct mem *m, int i, int rc)
{
    struct list *l = m->pending.next;
    struct mem_call *call;

    g_assert_cmpint(i, <, mem_pending(m));
    while (i-- > 0) {
        l = l->next;
    }
    call = list_entry(l, struct mem_call, link);
    list_del(&call->link);
    call->rc = rc;
    loop_co_wake(call->co);
}

void mem_complete(struct mem *m, int i)
{
    mem_fail(m, i, 0);
}

void mem_complete_all(struct mem *m)
{
    while (mem_pending(m) > 0) {
        mem_complete(m, 0);
    }
}

char *mem_log_take(struct mem *m)
{
    char *text = g_strdup(m->log->str);

    g_string_truncate(m->log, 0);
    return text;
}

void mem_set_relaxed(struct mem *m, unsigned n, guint32 seed)
{
    m->dice = seed;
    g_string_free(m->log, TRUE);
    m->log = NULL;
    m->relaxed = n;
}

/* -- Nodes --------------------------------------------------------------- */

static struct loop *the_loop;

struct loop *fixture_loop(void)
{
    if (!the_loop) {
        g_assert_cmpint(loop_new(&the_loop), ==, 0);
        loop_adopt(the_loop);
    }
    return the_loop;
}

void fixture_loop_free(void)
{
    loop_free(the_loop);
    the_loop = NULL;
}

struct open_args {
    const char *opts;
    unsigned flags;
    struct node *node;
    GError *err;
};

static void open_entry(void *opaque)
{
    struct open_args *a = opaque;
    struct options *opts = options_new();

    co_assert_role();
    g_assert_cmpint(options_parse(opts, a->opts, NULL), ==, 0);
    a->node = node_co_open(opts, a->flags, &a->err); /* yields */
}

struct node *open_node(const char *opts, unsigned flags)
{
    struct open_args a = {.opts = opts, .flags = flags};
    struct job open = job(CALL, .call = open_entry, .opaque = &a);

    job_wait(&open);
    g_assert_no_error(a.err);
    g_assert_nonnull(a.node);
    return a.node;
}

char *open_node_error(const char *opts, unsigned flags)
{
    struct open_args a = {.opts = opts, .flags = flags};
    struct job open = job(CALL, .call = open_entry, .opaque = &a);
    char *message;

    g_assert_cmpint(job_run(&open), ==, 0);
    g_assert_null(a.node);
    g_assert_nonnull(a.err);
    message = g_strdup(a.err->message);
    g_error_free(a.err);
    return message;
}

struct close_args {
    struct node *node;
    int rc;
};

static void close_entry(void *opaque)
{
    struct close_args *a = opaque;

    co_assert_role();
    a->rc = node_co_unref(a->node); /* yields */
}

int close_node(struct node *node)
{
    struct close_args a = {.node = node};
    struct job close = job(CALL, .call = close_entry, .opaque = &a);

    release(node);
    job_wait(&close);
    return a.rc;
}

/* -- Jobs ---------------------------------------------------------------- */

static int co_fn job_read_or_write(struct job *j)
{
    struct iovec iov;
    struct iovs v = iovs_one(&iov, j->buf, j->bytes);
    const struct iovs *data = j->iovs ? j->iovs : &v;

    if (j->kind == JOB_READ) {
        return node_co_preadv(j->node, j->offset, data, j->flags);
    }
    return node_co_pwritev(j->node, j->offset, data, j->flags);
}

static int co_fn job_do(struct job *j)
{
    switch (j->kind) {
    case JOB_READ:
    case JOB_WRITE:
        return job_read_or_write(j);
    case JOB_ZEROES:
        return node_co_pwrite_zeroes(j->node, j->offset, j->bytes, j->flags);
    case JOB_DISCARD:
        return node_co_pdiscard(j->node, j->offset, j->bytes);
    case JOB_FLUSH:
        return node_co_flush(j->node);
    case JOB_TRUNCATE:
        return node_co_truncate(j->node, j->offset, PREALLOC_OFF, j->flags,
                                NULL);
    case JOB_STATUS:
        return node_co_block_status(j->node, true, j->offset, j->bytes,
                                    &j->status);
    case JOB_COPY:
        return node_co_copy_range(j->node, j->offset, j->dst, j->dst_offset,
                                  j->bytes, j->flags);
    case JOB_ALLOCATE:
        return node_co_allocate(j->node, j->offset, j->bytes);
    case JOB_DRAIN:
        node_co_drain_begin(j->node);
        return 0;
    case JOB_UNDRAIN:
        node_co_drain_end(j->node);
        return 0;
    case JOB_CALL:
        j->call(j->opaque);
        return 0;
    }
    g_assert_not_reached();
}

static void job_entry(void *opaque)
{
    struct job *j = opaque;

    co_assert_role();
    j->rc = job_do(j); /* yields */
    j->done = true;
}

void job_start(struct job *j)
{
    struct co *co = co_new(job_entry, j);

    g_assert_nonnull(co);
    (void)fixture_loop();
    if ((j->kind == JOB_READ || j->kind == JOB_WRITE) && !j->iovs) {
        /* Aligned for any driver here; each job's data are its own. */
        j->buf = g_aligned_alloc((gsize)j->bytes + 1, 1, 4096);
        memset(j->buf, j->kind == JOB_WRITE ? j->fill : 0xee, (size_t)j->bytes);
    }
    loop_co_start(co);
}

int job_finish(struct job *j)
{
    g_assert_true(j->done);
    g_aligned_free(j->buf);
    j->buf = NULL;
    return j->rc;
}

int job_run(struct job *j)
{
    job_start(j);
    return job_finish(j);
}

bool bytes_are(const uint8_t *p, int fill, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i++) {
        if (p[i] != (uint8_t)fill) {
            return false;
        }
    }
    return true;
}
