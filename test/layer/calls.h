/* SPDX-License-Identifier: MIT */
/*
 * calls: a driver that writes down each call it gets and holds it until the
 * test lets it go, so that a test can assert the order of calls and step
 * through every interleaving.  Its data is memory.
 *
 * A call is written down as
 *   R offset+bytes     read           iov=N     of N elements, if not of one
 *   W offset+bytes     write          fua       with REQ_FUA
 *   Z offset+bytes     write zeroes
 *   D offset+bytes     discard (fills the range with 0xdd)
 *   C offset+bytes     copy range, where it goes to (calls_can_copy())
 *   F                  flush
 *
 * Threading: any; but tests let calls go on the home thread of their loop.
 */
#ifndef LAYER_CALLS_H
#define LAYER_CALLS_H

#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
#include "co/co.h"

struct calls;
struct node;

struct calls_opts {
    int64_t length;
    int64_t max_transfer; /* 0: no limit */
    int max_iov;          /* 0: no limit */
    unsigned flags;       /* enum node_flags */
};

/* Opens a node of this driver. */
struct node *co_fn calls_co_open(const struct calls_opts *opts);
struct calls *calls_of(struct node *node);
uint8_t *calls_data(struct calls *c);

enum calls_mode {
    CALLS_HOLD,  /* until the test lets them go (the default) */
    CALLS_DO,    /* do them at once, without yielding */
    CALLS_RELAX, /* do them after a yield until the loop's next turn */
};
/* What happens to calls from now on. */
void calls_set_mode(struct calls *c, enum calls_mode mode);
/* How many calls are under way, in any mode. */
int calls_active(struct calls *c);
/* From now on calls that touch [@offset, @offset + @bytes) fail with @rc and
 * do nothing; @bytes 0 ends that. */
void calls_set_bad_range(struct calls *c, int64_t offset, int64_t bytes,
                         int rc);
/* The next flush fails with @rc. */
void calls_fail_next_flush(struct calls *c, int rc);

/* From now on the driver can copy. */
void calls_can_copy(struct calls *c);

/* How many calls are held. */
int calls_held(struct calls *c);
/* Of how many elements the buffer of the @i-th is (0 without a buffer). */
int calls_n_iov(struct calls *c, int i);
/* Lets the @i-th held call go, oldest first, or makes it fail with @rc. */
void calls_let_go(struct calls *c, int i);
void calls_fail(struct calls *c, int i, int rc);
/* The next call lets the oldest held one go, from its own coroutine. */
void calls_let_go_at_next_call(struct calls *c);
/* Lets all go, and what comes of it. */
void calls_let_all_go(struct calls *c);

/* Takes what was written down since last time: calls separated by ", ".  To be
 * freed. */
char *calls_take_log(struct calls *c);
/* Fails the test unless that is @want. */
#define calls_assert(c, want)                      \
    do {                                           \
        g_autofree char *log_ = calls_take_log(c); \
                                                   \
        g_assert_cmpstr(log_, ==, want);           \
    } while (0)

#endif /* LAYER_CALLS_H */
