/* SPDX-License-Identifier: MIT */
/*
 * backend_priv: what the files of this folder share.
 */
#ifndef BACKEND_BACKEND_PRIV_H
#define BACKEND_BACKEND_PRIV_H

#include <pthread.h>
#include <stdint.h>

#include "backend/backend.h"
#include "backend/history.h"
#include "base/compiler.h"
#include "block/node.h"
#include "loop/sync.h"

#define CACHE_LINE 64

/* Set in backend.state while the backend is quiesced; below it, the number of
 * requests in flight. */
#define STATE_QUIESCED (UINT64_C(1) << 63)

struct backend {
    /* Constant. */
    struct node *root; /* a reference */
    unsigned flags;    /* enum backend_flags */
    struct backend_stats *stats;
    struct node_parent parent; /* of @root */

    /* Atomic.  Every request of every loop writes here, so it has a cache line
     * of its own.  Both facts are in one word so that a request that begins
     * or ends learns of a drain in the same instruction. */
    char pad_before[CACHE_LINE];
    uint64_t state;
    char pad_after[CACHE_LINE];

    /* Never held over a yield or a call to block/. */
    pthread_mutex_t lock;
    unsigned quiesce;         /* drains begun and not ended */
    unsigned leaving;         /* requests about to tell the node they ended */
    struct co_queue held;     /* requests that wait for the end of drains */
    struct co_queue drainers; /* who waits until nothing is in flight */

    pthread_mutex_t history_lock;
    struct history history;
};

void co_fn backend_co_begin_quiesced(struct backend *be);
void backend_end_quiesced(struct backend *be);

/* Counts a request in unless the backend is quiesced; returns whether. */
static inline bool backend_try_begin(struct backend *be)
{
    uint64_t old = __atomic_load_n(&be->state, __ATOMIC_RELAXED);

    do {
        if (old & STATE_QUIESCED) {
            return false;
        }
    } while (!__atomic_compare_exchange_n(&be->state, &old, old + 1, true,
                                          __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    return true;
}

/* Counts a request in, having waited until the backend is not quiesced. */
static inline void co_fn backend_co_begin(struct backend *be)
{
    if (unlikely(!backend_try_begin(be))) {
        backend_co_begin_quiesced(be);
    }
}

/* Counts a request out.  @be may be freed any time after. */
static inline void backend_end(struct backend *be)
{
    uint64_t old = __atomic_load_n(&be->state, __ATOMIC_RELAXED);

    /* Not a plain subtraction: while quiesced, the count goes down under the
     * lock, so that whoever waits for zero does not free @be before the last
     * request has let go of it. */
    do {
        if (unlikely(old & STATE_QUIESCED)) {
            backend_end_quiesced(be);
            return;
        }
    } while (!__atomic_compare_exchange_n(&be->state, &old, old - 1, true,
                                          __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
}

/* What @req asks for; counted in already. */
nodiscard int co_fn backend_co_perform(struct backend *be,
                                       const struct backend_req *req);

#endif /* BACKEND_BACKEND_PRIV_H */
