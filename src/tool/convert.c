/* SPDX-License-Identifier: MIT */

#include "tool/convert.h"

#include <errno.h>

#include "base/align.h"
#include "block/node.h"
#include "loop/loop.h"
#include "tool/convert_priv.h"
#include "tool/crew.h"
#include "tool/open.h"

/* What is read, looked at and written again at once: half of it is in the
 * second-level cache, and a system call is cheap compared to the copy. */
#define CHUNK_DATA (1 * MiB)
/* The host copies as much as it likes at once. */
#define CHUNK_HOST (4 * MiB)
/* Zeroes cost nothing but time without progress. */
#define CHUNK_ZERO    (256 * MiB)
#define SECTOR        512
#define NS_PER_SECOND INT64_C(1000000000)

void convert_fail(struct convert *c, enum convert_step step, int64_t offset,
                  int rc)
{
    pthread_mutex_lock(&c->lock);
    if (c->result.rc == 0) {
        c->result.rc = rc;
        c->result.step = step;
        c->result.offset = offset;
    }
    pthread_mutex_unlock(&c->lock);
    atomic_store(&c->stop, true);
}

void convert_progress(struct convert *c, int64_t bytes)
{
    /* Counted under the lock, lest a smaller number is told after a larger
     * one. */
    pthread_mutex_lock(&c->lock);
    tool_progress(c->rq->watch, atomic_fetch_add(&c->done, bytes) + bytes,
                  c->work);
    pthread_mutex_unlock(&c->lock);
}

void convert_lost(struct convert *c, enum convert_step step, int64_t offset,
                  int64_t bytes, int rc)
{
    pthread_mutex_lock(&c->lock);
    c->result.lost += step == CONVERT_READ ? bytes : 0;
    if (c->rq->lost) {
        c->rq->lost(c->rq->opaque, step, offset, bytes, rc);
    }
    pthread_mutex_unlock(&c->lock);
}

/* -- What to do with a run of the source --------------------------------- */

enum action {
    ACTION_SKIP,
    ACTION_ZERO,
    ACTION_COPY,
};

/* What reads as zeroes behind the backing file reads so without us. */
static enum action choose_backed(const struct convert *c, struct extent *e)
{
    int64_t length = c->rq->backing_length;

    if ((c->rq->flags & CONVERT_COMPRESS) && length < c->total) {
        length = align_up(length, c->rq->cluster);
    }
    if (e->offset < length) {
        e->bytes = min_i64(e->bytes, length - e->offset);
    }
    if (e->zero) {
        return e->offset < length ? ACTION_ZERO : ACTION_SKIP;
    }
    return e->data || e->present ? ACTION_COPY : ACTION_SKIP;
}

/* @e is in the terms of the target; may be made shorter. */
static enum action choose(const struct convert *c, struct extent *e)
{
    if (c->rq->flags & CONVERT_TARGET_BACKED) {
        return choose_backed(c, e);
    }
    if (!e->zero && (e->data || e->present)) {
        return ACTION_COPY;
    }
    return c->target_zero && c->rq->sparse > 0 ? ACTION_SKIP : ACTION_ZERO;
}

/* How much of a run one worker takes. */
static int64_t chunk_of(const struct convert *c, int64_t offset, int64_t bytes,
                        enum action action)
{
    int64_t chunk =
        action == ACTION_COPY || c->rq->sparse == 0 ? c->chunk : CHUNK_ZERO;

    /* End at multiples: blocks are not cut, and I/O stays aligned. */
    return min_i64(bytes, chunk - offset % chunk);
}

/* -- The next range ------------------------------------------------------ */

/* Moves to the source that has c->next; false at the end of the last one. */
static bool claim_source(struct convert *c)
{
    const struct convert_request *rq = c->rq;

    while (c->source < rq->n_sources &&
           c->next >= c->start + rq->sources[c->source].bytes) {
        c->start += rq->sources[c->source].bytes;
        c->source++;
        c->cursor.node = NULL;
    }
    if (c->source == rq->n_sources) {
        return false;
    }
    if (!c->cursor.node) {
        struct node *node = rq->sources[c->source].node;

        c->cursor = (struct extent_cursor){.node = node};
        if (rq->flags & CONVERT_TARGET_BACKED) {
            c->cursor.base = extent_backing(node);
        }
    }
    return true;
}

/* As extent_cursor_co_at(), but asks for less and less when that fails, and
 * takes a sector that cannot be told of for data: reading it will show. */
static int co_fn look_salvaging(struct convert *c, int64_t offset, int64_t end,
                                struct extent *ret)
{
    int64_t bytes = end - offset;
    int rc;

    for (;;) {
        rc = extent_co_get(c->cursor.node, c->cursor.base, offset, bytes, ret);
        if (rc == 0) {
            return 0;
        }
        if (bytes <= SECTOR) {
            break;
        }
        bytes = align_up(bytes / 2, SECTOR);
    }
    convert_lost(c, CONVERT_STATUS, offset, bytes, rc);
    *ret = (struct extent){offset, bytes, .data = true, .present = true};
    return 0;
}

/* The run of the current source at c->next, in the terms of the target. */
static int co_fn claim_look(struct convert *c, struct extent *ret)
{
    const struct convert_source *s = &c->rq->sources[c->source];
    int64_t offset = c->next - c->start + s->offset;
    int64_t end = s->offset + s->bytes;
    int rc = c->rq->flags & CONVERT_SALVAGE
                 ? look_salvaging(c, offset, end, ret)
                 : extent_cursor_co_at(&c->cursor, offset, end, ret);

    ret->offset = c->next;
    return rc;
}

/* Clusters are best, and compressed ones can only be, written whole: makes the
 * run one of whole clusters, and data if any of it is. */
static void claim_clusters(const struct convert *c, struct extent *e)
{
    int64_t cluster = c->rq->cluster;
    int64_t end = e->offset + e->bytes;
    int64_t whole = end == c->total ? end : align_down(end, cluster);

    if (whole > e->offset) {
        e->bytes = whole - e->offset;
        return;
    }
    end = min_i64(align_down(e->offset, cluster) + cluster, c->total);
    e->bytes = end - e->offset;
    e->zero = false;
    e->data = e->present = true;
}

static void claim_take(struct convert *c, int64_t bytes, enum action action,
                       struct range *ret)
{
    *ret = (struct range){
        .offset = c->next,
        .bytes = bytes,
        .zero = action == ACTION_ZERO,
        .seq = c->seq++,
    };
    c->next += bytes;
}

/* What to do from c->next on, and how far: 0, or a negative errno. */
static int co_fn claim_run(struct convert *c, struct extent *e,
                           enum action *action)
{
    unsigned flags = c->rq->flags;
    int rc = claim_look(c, e); /* yields */

    if (rc == 0 && c->rq->cluster > 0 &&
        (flags & (CONVERT_COMPRESS | CONVERT_TARGET_BACKED)) !=
            CONVERT_TARGET_BACKED) {
        claim_clusters(c, e);
    }
    if (rc == 0) {
        *action = choose(c, e);
    }
    return rc;
}

/* c->claim held. */
static bool co_fn claim_locked(struct convert *c, struct range *ret)
{
    while (!atomic_load(&c->stop) && claim_source(c)) {
        struct extent e;
        enum action action;
        int rc = claim_run(c, &e, &action); /* yields */

        if (rc < 0) {
            convert_fail(c, CONVERT_STATUS, c->next, rc);
            return false;
        }
        if (action != ACTION_SKIP) {
            claim_take(c, chunk_of(c, e.offset, e.bytes, action), action, ret);
            return true;
        }
        c->next += e.bytes;
        if (!(c->rq->flags & CONVERT_COUNT_FIRST)) {
            atomic_fetch_add(&c->done, e.bytes);
        }
    }
    return false;
}

/* When the range may start; c->claim held. */
static int64_t claim_time(struct convert *c, int64_t bytes)
{
    int64_t now = loop_now();
    int64_t start = max_i64(now, c->due_time);

    c->due_time = start + (int64_t)((double)bytes / (double)c->rq->rate *
                                    (double)NS_PER_SECOND);
    return start;
}

bool co_fn convert_co_claim(struct convert *c, struct range *ret)
{
    int64_t start = 0;
    bool some;

    co_mutex_lock(&c->claim); /* yields */
    some = claim_locked(c, ret);
    if (some && c->rq->rate > 0 && !ret->zero) {
        start = claim_time(c, ret->bytes);
    }
    co_mutex_unlock(&c->claim);
    while (start > loop_now() && !atomic_load(&c->stop)) {
        co_sleep_ns(min_i64(start - loop_now(), NS_PER_SECOND / 10));
    }
    return some;
}

/* -- Start and end ------------------------------------------------------- */

/* Zeroes all of the target at once, if that costs nothing. */
static bool co_fn clear_target(struct convert *c)
{
    const struct convert_request *rq = c->rq;
    struct node *target = rq->target;

    if ((rq->flags & (CONVERT_TARGET_ZERO | CONVERT_TARGET_BACKED)) ||
        rq->sparse == 0) {
        return rq->flags & CONVERT_TARGET_ZERO;
    }
    return node_co_pwrite_zeroes(target, 0,
                                 min_i64(c->total, node_length(target)),
                                 REQ_MAY_UNMAP | REQ_NO_FALLBACK) == 0;
}

/* Blocks are as large as the zeroes that are worth a hole, and as those that
 * the target can leave out. */
static int64_t choose_unit(const struct convert_request *rq)
{
    int64_t unit = 512;

    while (unit * 2 <= rq->sparse) {
        unit *= 2;
    }
    return max_i64(max_i64(unit, node_limits(rq->target)->zeroes_align),
                   rq->cluster);
}

/* How much there is to copy.  0, or a negative errno. */
static int co_fn count_work(struct convert *c)
{
    int rc = 0;

    c->work = 0;
    while (rc == 0 && claim_source(c)) {
        struct extent e = {.bytes = 0};
        enum action action = ACTION_SKIP;

        rc = claim_run(c, &e, &action); /* yields */
        c->work += action == ACTION_COPY ? e.bytes : 0;
        c->next += e.bytes;
    }
    c->source = 0;
    c->start = c->next = 0;
    c->cursor.node = NULL;
    return rc;
}

static void convert_tick(void *opaque)
{
    struct convert *c = opaque;

    convert_progress(c, 0);
    if (tool_stopped(c->rq->watch)) {
        convert_fail(c, CONVERT_OTHER, 0, -ECANCELED);
    }
}

void co_fn convert_co_run(const struct convert_request *rq, struct crew *crew,
                          struct convert_result *ret)
{
    struct convert c = {
        .rq = rq,
        .unit = choose_unit(rq),
        .lock = PTHREAD_MUTEX_INITIALIZER,
    };
    int rc = 0;

    for (unsigned i = 0; i < rq->n_sources; i++) {
        c.total += rq->sources[i].bytes;
    }
    c.chunk = rq->flags & CONVERT_COPY_RANGE ? CHUNK_HOST : CHUNK_DATA;
    c.chunk = max_i64(c.chunk, max_i64(c.unit, rq->cluster));
    c.in_order = !(rq->flags & (CONVERT_OUT_OF_ORDER | CONVERT_COMPRESS)) &&
                 rq->cluster > 0;
    co_mutex_init(&c.claim);
    co_queue_init(&c.turns);
    c.target_zero = clear_target(&c); /* yields */
    c.work = c.total;
    if (rq->flags & CONVERT_COUNT_FIRST) {
        rc = count_work(&c); /* yields */
    }
    if (rc < 0) {
        convert_fail(&c, CONVERT_STATUS, c.next, rc);
    }
    convert_progress(&c, 0);
    crew_co_run(crew, convert_work, convert_tick, &c); /* yields */
    co_mutex_fini(&c.claim);
    *ret = c.result;
}
