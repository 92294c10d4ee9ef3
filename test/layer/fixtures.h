/* SPDX-License-Identifier: MIT */
/*
 * fixtures: a leaf driver stepped by hand, and requests as small jobs.
 *
 * mem is a node in memory.  While it holds, each call of the driver waits
 * until the test completes or fails it, in any order; otherwise calls are done
 * at once.  It writes down each call when it begins:
 *
 *   R0+512   read         W0+512   write        W0+512!  write with FUA
 *   Z0+512   zeroes       Z0+512u  may unmap    D0+512   discard
 *   F        flush        T512     truncate     A0+512   allocate
 *   C0+512>4096           copy range
 *
 * Options: size, align, mem-align, max-transfer, max-iov, zeroes-align,
 * max-zeroes, discard-align, max-discard, and on/off: zeroes, discards.
 *
 * Threading: one loop, that of fixture_loop(), unless mem_set_relaxed().
 */
#ifndef TEST_LAYER_FIXTURES_H
#define TEST_LAYER_FIXTURES_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
#include "block/driver.h"
#include "block/node.h"
#include "loop/loop.h"

/* -- The driver ---------------------------------------------------------- */

struct mem {
    /* What the "disk" holds; bytes past @size are there to be checked. */
    uint8_t *data;
    int64_t size, capacity;

    bool hold;            /* calls wait; a test may change this at any time */
    unsigned relaxed;     /* see mem_set_relaxed() */
    _Atomic guint32 dice; /* then: how often to yield */
    GString *log;         /* NULL when relaxed */
    struct list pending;
    int fail_flush; /* what flushes end with */

    struct node_limits limits;
    bool no_zeroes, no_discard; /* -EOPNOTSUPP */
};

/* "mem"; "mem-grows": a write past the end makes it longer; "mem-fua": with
 * FUA of its own; "bare": can only read and write.  And "raw". */
void fixture_register(void);

struct mem *mem_of(struct node *node); /* of the leaf below @node */

/* How many calls wait.  Complete or fail the @i-th, oldest first. */
int mem_pending(const struct mem *m);
void mem_complete(struct mem *m, int i);
void mem_fail(struct mem *m, int i, int rc);
/* Completes all, and what comes of it. */
void mem_complete_all(struct mem *m);

/* Asserts that the calls since the last time were @want, "R0+512 W0+512". */
#define mem_expect(m, want)                     \
    do {                                        \
        g_autofree char *got = mem_log_take(m); \
                                                \
        g_assert_cmpstr(got, ==, want);         \
    } while (0)
char *mem_log_take(struct mem *m);
/* Asserts the same, and completes the call that waits the longest. */
#define mem_step(m, want)    \
    do {                     \
        mem_expect(m, want); \
        mem_complete(m, 0);  \
    } while (0)

/* For use from several loops: no log, no holding; each call yields up to @n
 * times before it does its work, as dice thrown from @seed on say. */
void mem_set_relaxed(struct mem *m, unsigned n, guint32 seed);

/* -- Nodes --------------------------------------------------------------- */

/* The loop of the test's thread, made on first use. */
struct loop *fixture_loop(void);
void fixture_loop_free(void);

/* Opens as @opts say, "driver=mem,size=4096". */
struct node *open_node(const char *opts, unsigned flags);
/* The same, where it must fail: returns the message. */
char *open_node_error(const char *opts, unsigned flags);
/* Drops the node, completing what that takes.  Returns the flush's result. */
int close_node(struct node *node);

/* -- Jobs ---------------------------------------------------------------- */

enum job_kind {
    JOB_READ,
    JOB_WRITE,
    JOB_ZEROES,
    JOB_DISCARD,
    JOB_FLUSH,
    JOB_TRUNCATE, /* to @offset */
    JOB_STATUS,
    JOB_COPY, /* to @dst at @dst_offset */
    JOB_ALLOCATE,
    JOB_DRAIN, /* drain_begin */
    JOB_UNDRAIN,
    JOB_CALL, /* @call(@opaque) */
};

/* One request in a coroutine of its own. */
struct job {
    /* Set by the test. */
    enum job_kind kind;
    struct node *node;
    int64_t offset, bytes;
    unsigned flags;
    int fill; /* WRITE: each byte of the data */
    struct node *dst;
    int64_t dst_offset;
    const struct iovs *iovs; /* instead of @buf */
    void (*call)(void *opaque);
    void *opaque;

    /* Results. */
    uint8_t *buf; /* READ: the data; freed by job_finish() */
    struct block_status status;
    bool done;
    int rc;
};

/* Starts @job, which stays where it is until job_finish(). */
void job_start(struct job *job);
/* Asserts that it is done, and returns its result. */
int job_finish(struct job *job);
/* Both: for calls that are not held. */
int job_run(struct job *job);

#define job(k, ...) ((struct job){.kind = JOB_##k, __VA_ARGS__})

/* Are all @bytes at @p @fill? */
bool bytes_are(const uint8_t *p, int fill, int64_t bytes);

#endif /* TEST_LAYER_FIXTURES_H */
