/* SPDX-License-Identifier: MIT */

#include "tool/compare.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/iov.h"
#include "block/node.h"
#include "loop/sync.h"
#include "tool/crew.h"
#include "tool/extent.h"
#include "tool/open.h"

#define SECTOR 512
/* Two of them fit into the second-level cache of most processors. */
#define CHUNK (256 * KiB)

struct compare {
    struct node *const *images;
    int64_t length; /* of the longer one */
    bool strict;
    const struct tool_watch *watch;

    /* Under @claim. */
    struct co_mutex claim;
    struct extent_cursor cursors[2];
    int64_t next; /* what nobody has taken yet */

    atomic_bool stop;
    atomic_llong progress;
    atomic_llong first; /* offset of @result; INT64_MAX: none */
    pthread_mutex_t lock;
    struct compare_result result; /* under @lock */
};

/* A range that one worker compares. */
struct part {
    int64_t offset, bytes;
    bool zero[2];
};

static void found(struct compare *c, const struct compare_result *r)
{
    pthread_mutex_lock(&c->lock);
    if (r->offset < atomic_load(&c->first)) {
        c->result = *r;
        atomic_store(&c->first, r->offset);
    }
    pthread_mutex_unlock(&c->lock);
}

static void found_error(struct compare *c, enum compare_outcome outcome,
                        int64_t offset, int image, int rc)
{
    found(c, &(struct compare_result){outcome, offset, rc, image});
}

/* -- What to compare ----------------------------------------------------- */

/* What image @i has at c->next; past its end zeroes.  Returns 0 or negative. */
static int co_fn claim_look(struct compare *c, int i, struct extent *ret)
{
    int64_t length = tool_length(c->images[i]);
    int rc;

    if (c->next >= length) {
        *ret = (struct extent){
            .offset = c->next,
            .bytes = c->length - c->next,
            .zero = true,
        };
        return 0;
    }
    rc = extent_cursor_co_at(&c->cursors[i], c->next, length, ret);
    if (rc < 0) {
        found_error(c, COMPARE_STATUS_ERROR, c->next, i, rc);
    }
    return rc;
}

static bool same_status(const struct extent *a, const struct extent *b)
{
    return a->zero == b->zero && a->data == b->data && a->present == b->present;
}

/* Takes the next range in which not both are known to be zeroes.  Returns
 * false at the end.  c->claim held. */
static bool co_fn claim_locked(struct compare *c, struct part *ret)
{
    struct extent e[2];

    while (c->next < c->length && c->next < atomic_load(&c->first)) {
        int64_t bytes;

        if (claim_look(c, 0, &e[0]) < 0 || claim_look(c, 1, &e[1]) < 0) {
            return false;
        }
        bytes = min_i64(e[0].bytes, e[1].bytes);
        if (c->strict && !same_status(&e[0], &e[1])) {
            found_error(c, COMPARE_STATUS, c->next, 0, 0);
            return false;
        }
        if (!e[0].zero || !e[1].zero) {
            /* End at multiples, so that later parts are aligned. */
            bytes = min_i64(bytes, CHUNK - c->next % CHUNK);
            *ret = (struct part){c->next, bytes, {e[0].zero, e[1].zero}};
            c->next += bytes;
            return true;
        }
        c->next += bytes;
    }
    return false;
}

static bool co_fn claim(struct compare *c, struct part *ret)
{
    bool some;

    co_mutex_lock(&c->claim); /* yields */
    some = claim_locked(c, ret);
    atomic_store(&c->progress, c->next);
    co_mutex_unlock(&c->claim);
    return some;
}

/* -- Comparing ----------------------------------------------------------- */

int64_t compare_buffers(const void *a, const void *b, int64_t bytes)
{
    const char *pa = a, *pb = b;
    int64_t at = 0;

    if (memcmp(a, b, (size_t)bytes) == 0) {
        return bytes;
    }
    while (memcmp(pa + at, pb + at, (size_t)min_i64(SECTOR, bytes - at)) == 0) {
        at += SECTOR;
    }
    return at;
}

/* The offset of the first sector of @buf that is not zeroes, or @bytes. */
static int64_t find_data(const char *buf, int64_t bytes)
{
    int64_t at = 0;

    if (buf_is_zero(buf, bytes)) {
        return bytes;
    }
    while (buf_is_zero(buf + at, min_i64(SECTOR, bytes - at))) {
        at += SECTOR;
    }
    return at;
}

static void co_fn compare_part(struct compare *c, const struct part *p,
                               char *const buf[2])
{
    int64_t same;

    for (int i = 0; i < 2; i++) {
        int rc = p->zero[i] ? 0
                            : tool_co_read(c->images[i], p->offset, buf[i],
                                           p->bytes); /* yields */

        if (rc < 0) {
            found_error(c, COMPARE_READ_ERROR, p->offset, i, rc);
            return;
        }
    }
    if (!p->zero[0] && !p->zero[1]) {
        same = compare_buffers(buf[0], buf[1], p->bytes);
    } else {
        same = find_data(buf[p->zero[0] ? 1 : 0], p->bytes);
    }
    if (same < p->bytes) {
        found_error(c, COMPARE_CONTENT, p->offset + same, 0, 0);
    }
}

static void compare_work(void *opaque)
{
    struct compare *c = opaque;
    char *buf[2] = {node_try_alloc(c->images[0], CHUNK),
                    node_try_alloc(c->images[1], CHUNK)};
    struct part p;

    co_assert_role();
    if (!buf[0] || !buf[1]) {
        found_error(c, COMPARE_READ_ERROR, 0, buf[0] ? 1 : 0, -ENOMEM);
    } else {
        while (!atomic_load(&c->stop) && claim(c, &p)) {
            compare_part(c, &p, buf); /* yields */
        }
    }
    free(buf[0]);
    free(buf[1]);
}

static void compare_tick(void *opaque)
{
    struct compare *c = opaque;

    tool_progress(c->watch, atomic_load(&c->progress), c->length);
    if (tool_stopped(c->watch)) {
        atomic_store(&c->stop, true);
    }
}

void co_fn compare_co_run(struct node *const images[2], bool strict,
                          struct crew *crew, const struct tool_watch *watch,
                          struct compare_result *ret)
{
    int64_t lengths[2] = {tool_length(images[0]), tool_length(images[1])};
    struct compare c = {
        .images = images,
        .length = max_i64(lengths[0], lengths[1]),
        .strict = strict,
        .watch = watch,
        .cursors = {{.node = images[0]}, {.node = images[1]}},
        .first = INT64_MAX,
        .lock = PTHREAD_MUTEX_INITIALIZER,
    };

    if (strict && lengths[0] != lengths[1]) {
        *ret = (struct compare_result){.outcome = COMPARE_SIZE};
        return;
    }
    tool_progress(watch, 0, c.length);
    co_mutex_init(&c.claim);
    crew_co_run(crew, compare_work, compare_tick, &c); /* yields */
    co_mutex_fini(&c.claim);
    *ret = c.result;
    if (ret->outcome == COMPARE_SAME) {
        ret->offset = c.length;
    }
    if (atomic_load(&c.stop) && ret->outcome == COMPARE_SAME) {
        ret->outcome = COMPARE_STOPPED;
    }
}
