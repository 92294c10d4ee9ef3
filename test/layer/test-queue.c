/* SPDX-License-Identifier: MIT */
/*
 * queue → backend → block → driver: which calls a driver gets, and in which
 * order, for requests that come in a batch.
 *
 * The driver takes any offset and length, so ranges are a few bytes; it holds
 * each call until the test lets it go (calls.h).
 */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "calls.h"
#include "queue/queue.h"
#include "rig.h"

#define LENGTH    1024
#define MAX_USERS 64
#define PENDING   1 /* user.rc until done() */

/* A user's request. */
struct user {
    struct queue_req req;
    uint8_t data[256];
    int rc;
};

static struct rig rig;
static struct queue *queue;
static struct user users[MAX_USERS];
static int n_users;
static bool submitting;   /* inside queue_submit() */
static GString *done_log; /* numbers of users, in the order of done() */

static void up(const struct calls_opts *opts, unsigned queue_flags)
{
    rig_up(&rig, opts, 0);
    queue = queue_new(rig.be, queue_flags);
    n_users = 0;
    done_log = g_string_new(NULL);
}

static void up_simple(void)
{
    static const struct calls_opts opts = {
        .length = LENGTH,
        .flags = NODE_RDWR | NODE_UNMAP,
    };

    up(&opts, 0);
}

/* Ends the test: all is let go, and each request must have been completed. */
static void down(void)
{
    calls_let_all_go(rig.calls);
    rig_settle();
    for (int i = 0; i < n_users; i++) {
        g_assert_cmpint(users[i].rc, !=, PENDING);
    }
    g_assert_cmpuint(queue_pending(queue), ==, 0);
    queue_free(queue);
    g_assert_cmpint(rig_down(&rig), ==, 0);
    g_string_free(done_log, TRUE);
}

static void user_done(struct queue_req *req, int rc)
{
    struct user *u = container_of(req, struct user, req);

    g_assert_false(submitting);
    g_assert_cmpint(u->rc, ==, PENDING);
    u->rc = rc;
    g_string_append_printf(done_log, " %d", (int)(u - users));
}

/* Submits the next user's request; returns it. */
static struct user *submit_flags(enum backend_op op, int64_t offset,
                                 int64_t bytes, unsigned flags)
{
    struct user *u = &users[n_users++];

    g_assert_cmpint(n_users, <=, MAX_USERS);
    u->rc = PENDING;
    u->req = (struct queue_req){
        .op = op,
        .offset = offset,
        .bytes = bytes,
        .buf = u->data,
        .flags = flags,
        .done = user_done,
    };
    submitting = true;
    queue_submit(queue, &u->req);
    submitting = false;
    return u;
}

static struct user *submit(enum backend_op op, int64_t offset, int64_t bytes)
{
    return submit_flags(op, offset, bytes, 0);
}

#define submit_read(offset, bytes)    submit(BACKEND_READ, offset, bytes)
#define submit_write(offset, bytes)   submit(BACKEND_WRITE, offset, bytes)
#define submit_zeroes(offset, bytes)  submit(BACKEND_ZEROES, offset, bytes)
#define submit_discard(offset, bytes) submit(BACKEND_DISCARD, offset, bytes)
#define submit_flush()                submit(BACKEND_FLUSH, 0, 0)

/* The accounts of now; valid until the next call. */
static const struct stats_snapshot *accounts(void)
{
    static struct stats_snapshot snap;

    backend_stats_read(backend_stats(rig.be), &snap);
    return &snap;
}

/* -- Batches ------------------------------------------------------------- */

static void test_unplugged_leaves_at_once(void)
{
    up_simple();
    submit_read(8, 4);
    calls_assert(rig.calls, "R 8+4");
    submit_read(12, 4);
    calls_assert(rig.calls, "R 12+4");
    down();
}

static void test_plug_holds(void)
{
    up_simple();
    queue_plug(queue);
    queue_plug(queue);
    submit_write(0, 4);
    queue_unplug(queue);
    calls_assert(rig.calls, "");
    g_assert_cmpuint(queue_pending(queue), ==, 1);
    queue_unplug(queue);
    calls_assert(rig.calls, "W 0+4");
    down();
}

static void test_sorts(void)
{
    up_simple();
    queue_plug(queue);
    submit_read(40, 4);
    submit_read(0, 4);
    submit_read(20, 4);
    queue_unplug(queue);
    calls_assert(rig.calls, "R 0+4, R 20+4, R 40+4");
    down();
}

static void test_merges(void)
{
    up_simple();
    memset(users[0].data, 'a', 4);
    memset(users[1].data, 'b', 4);
    memset(users[2].data, 'c', 4);
    queue_plug(queue);
    submit_write(8, 4);
    submit_write(0, 4);
    submit_write(4, 4);
    queue_unplug(queue);
    calls_assert(rig.calls, "W 0+12 iov=3");
    calls_let_all_go(rig.calls);
    g_assert_cmpmem(calls_data(rig.calls), 12, "bbbbccccaaaa", 12);
    down();
}

static void test_merged_read_fans_out(void)
{
    struct user *high, *low;

    up_simple();
    memcpy(calls_data(rig.calls), "0123456", 7);
    queue_plug(queue);
    high = submit_read(3, 4);
    low = submit_read(0, 3);
    queue_unplug(queue);
    calls_let_all_go(rig.calls);
    calls_assert(rig.calls, "R 0+7 iov=2");
    g_assert_cmpmem(low->data, 3, "012", 3);
    g_assert_cmpmem(high->data, 4, "3456", 4);
    g_assert_cmpstr(done_log->str, ==, " 1 0");
    down();
}

static void test_batch_of_32(void)
{
    up_simple();
    queue_plug(queue);
    for (int i = 0; i < QUEUE_MAX_BATCH - 1; i++) {
        submit_read(4 * i, 4);
    }
    calls_assert(rig.calls, "");
    submit_read(4 * (QUEUE_MAX_BATCH - 1), 4);
    calls_assert(rig.calls, "R 0+128 iov=32");
    submit_read(4 * QUEUE_MAX_BATCH, 4);
    calls_assert(rig.calls, "");
    queue_unplug(queue);
    calls_assert(rig.calls, "R 128+4");
    down();
}

static void test_direction_change(void)
{
    up_simple();
    queue_plug(queue);
    submit_write(4, 4);
    submit_write(0, 4);
    submit_read(8, 4);
    calls_assert(rig.calls, "W 0+8 iov=2");
    submit_write(12, 4);
    calls_assert(rig.calls, "R 8+4");
    queue_unplug(queue);
    calls_assert(rig.calls, "W 12+4");
    down();
}

static void test_overlapping_write_sends_batch(void)
{
    up_simple();
    queue_plug(queue);
    submit_write(8, 4);
    submit_write(4, 4);
    submit_write(0, 5);
    calls_assert(rig.calls, "W 4+8 iov=2");
    queue_unplug(queue);
    calls_assert(rig.calls, "W 0+5");
    down();
}

static void test_overlapping_reads_stay(void)
{
    up_simple();
    queue_plug(queue);
    submit_read(2, 4);
    submit_read(0, 4);
    submit_read(2, 4);
    calls_assert(rig.calls, "");
    queue_unplug(queue);
    calls_assert(rig.calls, "R 0+4, R 2+4, R 2+4");
    down();
}

static void test_merge_off(void)
{
    static const struct calls_opts opts = {.length = LENGTH,
                                           .flags = NODE_RDWR};

    up(&opts, QUEUE_NO_MERGE);
    queue_plug(queue);
    submit_write(4, 4);
    submit_write(8, 4);
    submit_write(0, 4);
    calls_assert(rig.calls, "");
    queue_unplug(queue);
    calls_assert(rig.calls, "W 4+4, W 8+4, W 0+4");
    down();
}

static void test_flags_keep_apart(void)
{
    up_simple();
    queue_plug(queue);
    submit_write(0, 4);
    submit_flags(BACKEND_WRITE, 4, 4, REQ_FUA);
    queue_unplug(queue);
    calls_assert(rig.calls, "W 0+4, W 4+4 fua");
    down();
}

/* -- Limits -------------------------------------------------------------- */

static const struct limit_case {
    const char *name;
    struct calls_opts opts;
    const char *want; /* of 8 adjacent reads of 4 bytes */
} limit_cases[] = {
    {"none", {.length = LENGTH}, "R 0+32 iov=8"},
    {"max-iov",
     {.length = LENGTH, .max_iov = 3},
     "R 0+12 iov=3, R 12+12 iov=3, R 24+8 iov=2"},
    {"max-transfer",
     {.length = LENGTH, .max_transfer = 16},
     "R 0+16 iov=4, R 16+16 iov=4"},
    {"max-transfer-no-multiple",
     {.length = LENGTH, .max_transfer = 19},
     "R 0+16 iov=4, R 16+16 iov=4"},
    {"iov-of-one",
     {.length = LENGTH, .max_iov = 1},
     "R 0+4, R 4+4, R 8+4, R 12+4, R 16+4, R 20+4, R 24+4, R 28+4"},
};

static void test_limits(const void *data)
{
    const struct limit_case *c = data;
    struct calls_opts opts = c->opts;

    opts.flags = NODE_RDWR;
    up(&opts, 0);
    queue_plug(queue);
    for (int i = 7; i >= 0; i--) {
        submit_read(4 * i, 4);
    }
    queue_unplug(queue);
    calls_assert(rig.calls, c->want);
    down();
}

/* -- What is not merged -------------------------------------------------- */

static void test_flush_sends_held(void)
{
    up_simple();
    submit_write(100, 4);
    calls_let_all_go(rig.calls);
    calls_assert(rig.calls, "W 100+4");
    queue_plug(queue);
    submit_write(4, 4);
    submit_write(0, 4);
    submit_flush();
    calls_assert(rig.calls, "W 0+8 iov=2, F");
    queue_unplug(queue);
    down();
}

static void test_discard_and_zeroes_send_held(void)
{
    up_simple();
    queue_plug(queue);
    submit_read(0, 4);
    submit_discard(64, 4);
    calls_assert(rig.calls, "R 0+4, D 64+4");
    submit_read(4, 4);
    submit_zeroes(128, 4);
    calls_assert(rig.calls, "R 4+4, Z 128+4");
    queue_unplug(queue);
    down();
}

/* -- Order --------------------------------------------------------------- */

/*
 *   write 0+8    │ driver ───────▶ ends
 *   zeroes 4+8   │ waits ··········· driver ──▶ ends
 *   read 8+8     │ waits ······················· driver
 *   read 64+4    │ driver, overlaps nobody
 */
static void test_overlaps_of_zeroes_wait(void)
{
    struct user *read;

    up_simple();
    memset(users[0].data, 'w', 8);
    memset(calls_data(rig.calls), 'x', 64);
    submit_write(0, 8);
    submit_zeroes(4, 8);
    read = submit_read(8, 8);
    submit_read(64, 4);
    calls_assert(rig.calls, "W 0+8, R 64+4");
    calls_let_go(rig.calls, 0);
    calls_assert(rig.calls, "Z 4+8");
    calls_let_go(rig.calls, 1);
    calls_assert(rig.calls, "R 8+8");
    calls_let_all_go(rig.calls);
    g_assert_cmpmem(calls_data(rig.calls), 14, "wwww\0\0\0\0\0\0\0\0xx", 14);
    g_assert_cmpmem(read->data, 8, "\0\0\0\0xxxx", 8);
    down();
}

/* A read that came before a discard sees what was there. */
static void test_discard_waits_for_read(void)
{
    struct user *read;

    up_simple();
    memset(calls_data(rig.calls), 'x', 64);
    read = submit_read(0, 8);
    submit_discard(0, 64);
    calls_assert(rig.calls, "R 0+8");
    calls_let_all_go(rig.calls);
    calls_assert(rig.calls, "D 0+64");
    g_assert_cmpmem(read->data, 8, "xxxxxxxx", 8);
    down();
}

/* Two that wait for the same one go on together; one behind them waits on. */
static void test_waiting_keep_their_order(void)
{
    up_simple();
    submit_zeroes(0, 16);
    submit_write(0, 4);
    submit_write(8, 4);
    submit_discard(0, 4);
    submit_read(0, 2);
    calls_assert(rig.calls, "Z 0+16");
    calls_let_go(rig.calls, 0);
    calls_assert(rig.calls, "W 0+4, W 8+4");
    calls_let_go(rig.calls, 0);
    calls_assert(rig.calls, "D 0+4");
    calls_let_go(rig.calls, 1);
    calls_assert(rig.calls, "R 0+2");
    down();
}

/* While members are tried again, the whole run is still under way. */
static void test_zeroes_wait_for_retry(void)
{
    up_simple();
    queue_plug(queue);
    submit_write(0, 4);
    submit_write(4, 4);
    queue_unplug(queue);
    submit_zeroes(0, 8);
    calls_fail(rig.calls, 0, -EIO);
    calls_assert(rig.calls, "W 0+8 iov=2, W 0+4");
    calls_let_go(rig.calls, 0);
    calls_assert(rig.calls, "W 4+4");
    calls_let_go(rig.calls, 0);
    calls_assert(rig.calls, "Z 0+8");
    down();
}

/* -- Failure ------------------------------------------------------------- */

static void test_only_guilty_member_fails(void)
{
    uint64_t cursor;

    up_simple();
    cursor = backend_error_cursor(rig.be);
    calls_set_mode(rig.calls, CALLS_DO);
    calls_set_bad_range(rig.calls, 5, 1, -EIO);
    queue_plug(queue);
    submit_write(0, 4);
    submit_write(4, 4);
    submit_write(8, 4);
    queue_unplug(queue);
    rig_settle();
    calls_assert(rig.calls, "W 0+12 iov=3, W 0+4, W 4+4, W 8+4");
    g_assert_cmpint(users[0].rc, ==, 0);
    g_assert_cmpint(users[1].rc, ==, -EIO);
    g_assert_cmpint(users[2].rc, ==, 0);
    g_assert_cmpstr(done_log->str, ==, " 0 1 2");
    g_assert_cmpuint(accounts()->type[STATS_WRITE].failed, ==, 1);
    g_assert_cmpint(backend_error_since(rig.be, &cursor), ==, -EIO);
    g_assert_cmpint(backend_error_since(rig.be, &cursor), ==, 0);
    down();
}

/* All members succeed alone: nothing is lost, so there is no write error. */
static void test_failure_of_run_alone(void)
{
    up_simple();
    queue_plug(queue);
    submit_write(4, 4);
    submit_write(0, 4);
    queue_unplug(queue);
    calls_fail(rig.calls, 0, -EIO);
    calls_let_all_go(rig.calls);
    calls_assert(rig.calls, "W 0+8 iov=2, W 0+4, W 4+4");
    g_assert_cmpint(users[0].rc, ==, 0);
    g_assert_cmpint(users[1].rc, ==, 0);
    g_assert_cmpint(backend_error_take_untold(rig.be), ==, 0);
    down();
}

static void test_single_is_not_retried(void)
{
    up_simple();
    submit_read(0, 4);
    calls_fail(rig.calls, 0, -EIO);
    calls_assert(rig.calls, "R 0+4");
    g_assert_cmpint(users[0].rc, ==, -EIO);
    down();
}

/* The member past the end spoils nothing for the others. */
static void test_member_past_the_end(void)
{
    up_simple();
    queue_plug(queue);
    submit_write(LENGTH - 4, 4);
    submit_write(LENGTH, 4);
    queue_unplug(queue);
    rig_settle();
    calls_assert(rig.calls, "W 1020+4");
    calls_let_all_go(rig.calls);
    g_assert_cmpint(users[0].rc, ==, 0);
    g_assert_cmpint(users[1].rc, ==, -EIO);
    g_assert_cmpint(backend_error_take_untold(rig.be), ==, 0);
    down();
}

static void test_impossible_ranges(void)
{
    up_simple();
    queue_plug(queue);
    submit_read(0, 4);
    submit_read(-1, 4);
    submit_write(INT64_MAX, 4);
    submit_zeroes(4, -4);
    submit_discard(INT64_MAX - 1, INT64_MAX);
    queue_unplug(queue);
    calls_assert(rig.calls, "R 0+4");
    rig_settle();
    for (int i = 1; i < n_users; i++) {
        g_assert_cmpint(users[i].rc, ==, -EIO);
    }
    g_assert_cmpuint(accounts()->type[STATS_WRITE].bytes, ==, 0);
    down();
}

/* Stands for g_try_malloc() in this program (see meson.build). */
static bool no_memory;
gpointer __real_g_try_malloc(gsize n);
gpointer __wrap_g_try_malloc(gsize n);

gpointer __wrap_g_try_malloc(gsize n)
{
    return no_memory ? NULL : __real_g_try_malloc(n);
}

/* Without memory for a new run, those on the free list still serve. */
static void test_no_memory(void)
{
    up_simple();
    queue_plug(queue);
    submit_write(0, 4);
    submit_write(4, 4);
    no_memory = true;
    queue_unplug(queue);
    calls_assert(rig.calls, "");
    rig_settle();
    g_assert_cmpint(users[0].rc, ==, -ENOMEM);
    g_assert_cmpint(users[1].rc, ==, -ENOMEM);
    g_assert_cmpint(backend_error_take_untold(rig.be), ==, -ENOMEM);
    no_memory = false;
    submit_read(0, 4);
    calls_let_all_go(rig.calls);
    no_memory = true;
    submit_read(0, 4);
    calls_let_all_go(rig.calls);
    no_memory = false;
    g_assert_cmpint(users[3].rc, ==, 0);
    down();
}

/* -- Completion and cancellation ----------------------------------------- */

/* The driver does not yield: still nobody is called from inside submit
 * (user_done() asserts that). */
static void test_never_completes_inline(void)
{
    up_simple();
    calls_set_mode(rig.calls, CALLS_DO);
    submit_read(0, 4);
    submit_flush();
    submit_zeroes(0, 4);
    submit_write(-4, 4);
    for (int i = 0; i < n_users; i++) {
        g_assert_cmpint(users[i].rc, ==, PENDING);
    }
    rig_settle();
    for (int i = 0; i < n_users - 1; i++) {
        g_assert_cmpint(users[i].rc, ==, 0);
    }
    down();
}

/* Starting one run ends another that was sent before: it completes later. */
static void test_no_completion_inside_submit(void)
{
    up_simple();
    submit_read(0, 4);
    calls_let_go_at_next_call(rig.calls);
    submit_read(8, 4); /* user_done() would notice */
    calls_assert(rig.calls, "R 0+4, R 8+4");
    g_assert_cmpint(calls_held(rig.calls), ==, 1);
    g_assert_cmpint(users[0].rc, ==, PENDING);
    rig_settle();
    g_assert_cmpint(users[0].rc, ==, 0);
    g_assert_cmpint(users[1].rc, ==, PENDING);
    down();
}

/* The same for one that is never held. */
static void test_no_completion_inside_submit_alone(void)
{
    up_simple();
    submit_read(0, 4);
    calls_let_go_at_next_call(rig.calls);
    submit_zeroes(8, 4);
    g_assert_cmpint(users[0].rc, ==, PENDING);
    rig_settle();
    g_assert_cmpint(users[0].rc, ==, 0);
    down();
}

static void test_cancel_held(void)
{
    struct user *mid;

    up_simple();
    queue_plug(queue);
    submit_write(0, 4);
    mid = submit_write(4, 4);
    submit_write(8, 4);
    g_assert_true(queue_cancel(queue, &mid->req));
    g_assert_cmpint(mid->rc, ==, PENDING);
    g_assert_false(queue_cancel(queue, &mid->req));
    rig_settle();
    g_assert_cmpint(mid->rc, ==, -EINTR);
    queue_unplug(queue);
    calls_assert(rig.calls, "W 0+4, W 8+4");
    down();
}

/* Those that stay are sent in the order in which they came. */
static void test_cancel_keeps_the_order(void)
{
    static const struct calls_opts opts = {
        .length = LENGTH,
        .flags = NODE_RDWR,
    };
    struct user *first;

    up(&opts, QUEUE_NO_MERGE);
    queue_plug(queue);
    first = submit_write(30, 4);
    submit_write(20, 4);
    submit_write(10, 4);
    submit_write(0, 4);
    g_assert_true(queue_cancel(queue, &first->req));
    queue_unplug(queue);
    calls_assert(rig.calls, "W 20+4, W 10+4, W 0+4");
    down();
}

static void test_cancel_sent(void)
{
    struct user *u;

    up_simple();
    u = submit_write(0, 4);
    g_assert_false(queue_cancel(queue, &u->req));
    calls_let_all_go(rig.calls);
    g_assert_cmpint(u->rc, ==, 0);
    down();
}

static void done_frees_queue(struct queue_req *req, int rc)
{
    container_of(req, struct user, req)->rc = rc;
    if (queue_pending(queue) == 0) {
        queue_free(queue);
        queue = NULL;
    }
}

static void test_last_done_frees_queue(void)
{
    up_simple();
    queue_plug(queue);
    for (int i = 0; i < 2; i++) {
        users[i].req = (struct queue_req){
            .op = BACKEND_READ,
            .offset = 4 * i,
            .bytes = 4,
            .buf = users[i].data,
            .done = done_frees_queue,
        };
        queue_submit(queue, &users[i].req);
    }
    queue_unplug(queue);
    calls_let_all_go(rig.calls);
    g_assert_null(queue);
    queue = queue_new(rig.be, 0);
    down();
}

static int resubmissions;

static void done_resubmits(struct queue_req *req, int rc)
{
    g_assert_cmpint(rc, ==, 0);
    if (--resubmissions > 0) {
        queue_submit(queue, req);
    }
}

/* Each completion submits again, from the completion's own context. */
static void test_done_submits_again(void)
{
    up_simple();
    calls_set_mode(rig.calls, CALLS_DO);
    resubmissions = 5;
    users[0].req = (struct queue_req){
        .op = BACKEND_READ,
        .bytes = 1,
        .buf = users[0].data,
        .done = done_resubmits,
    };
    queue_submit(queue, &users[0].req);
    rig_settle();
    g_assert_cmpint(resubmissions, ==, 0);
    calls_assert(rig.calls, "R 0+1, R 0+1, R 0+1, R 0+1, R 0+1");
    down();
}

/* -- Accounts ------------------------------------------------------------ */

static void test_accounts(void)
{
    const struct stats_snapshot *a;
    const struct stats_counters *w;

    up_simple();
    queue_plug(queue);
    submit_write(0, 4);
    submit_write(4, 8);
    submit_write(100, 4);
    submit_zeroes(200, 16);
    g_assert_cmpint(accounts()->queue_depth, ==, 4);
    queue_unplug(queue);
    calls_let_all_go(rig.calls);
    submit_flush();
    calls_let_all_go(rig.calls);

    a = accounts();
    w = &a->type[STATS_WRITE];
    g_assert_cmpuint(w->requests, ==, 3);
    g_assert_cmpuint(w->bytes, ==, 16);
    g_assert_cmpuint(w->merged, ==, 1);
    g_assert_cmpuint(w->backend_requests, ==, 2);
    g_assert_cmpuint(w->failed, ==, 0);
    g_assert_cmpuint(stats_ended(w), ==, 3);
    g_assert_cmpuint(a->type[STATS_DISCARD].bytes, ==, 16);
    g_assert_cmpuint(a->type[STATS_FLUSH].backend_requests, ==, 1);
    g_assert_cmpuint(a->type[STATS_READ].requests, ==, 0);
    down();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/queue/unplugged-leaves-at-once",
                    test_unplugged_leaves_at_once);
    g_test_add_func("/queue/plug-holds", test_plug_holds);
    g_test_add_func("/queue/sorts", test_sorts);
    g_test_add_func("/queue/merges", test_merges);
    g_test_add_func("/queue/merged-read-fans-out", test_merged_read_fans_out);
    g_test_add_func("/queue/batch-of-32", test_batch_of_32);
    g_test_add_func("/queue/direction-change", test_direction_change);
    g_test_add_func("/queue/overlapping-write-sends-batch",
                    test_overlapping_write_sends_batch);
    g_test_add_func("/queue/overlapping-reads-stay",
                    test_overlapping_reads_stay);
    g_test_add_func("/queue/merge-off", test_merge_off);
    g_test_add_func("/queue/flags-keep-apart", test_flags_keep_apart);
    for (size_t i = 0; i < G_N_ELEMENTS(limit_cases); i++) {
        g_autofree char *path =
            g_strconcat("/queue/limits/", limit_cases[i].name, NULL);

        g_test_add_data_func(path, &limit_cases[i], test_limits);
    }
    g_test_add_func("/queue/flush-sends-held", test_flush_sends_held);
    g_test_add_func("/queue/discard-and-zeroes-send-held",
                    test_discard_and_zeroes_send_held);
    g_test_add_func("/queue/overlaps-of-zeroes-wait",
                    test_overlaps_of_zeroes_wait);
    g_test_add_func("/queue/discard-waits-for-read",
                    test_discard_waits_for_read);
    g_test_add_func("/queue/waiting-keep-their-order",
                    test_waiting_keep_their_order);
    g_test_add_func("/queue/zeroes-wait-for-retry", test_zeroes_wait_for_retry);
    g_test_add_func("/queue/only-guilty-member-fails",
                    test_only_guilty_member_fails);
    g_test_add_func("/queue/failure-of-run-alone", test_failure_of_run_alone);
    g_test_add_func("/queue/single-is-not-retried", test_single_is_not_retried);
    g_test_add_func("/queue/member-past-the-end", test_member_past_the_end);
    g_test_add_func("/queue/impossible-ranges", test_impossible_ranges);
    g_test_add_func("/queue/no-memory", test_no_memory);
    g_test_add_func("/queue/never-completes-inline",
                    test_never_completes_inline);
    g_test_add_func("/queue/no-completion-inside-submit",
                    test_no_completion_inside_submit);
    g_test_add_func("/queue/no-completion-inside-submit-alone",
                    test_no_completion_inside_submit_alone);
    g_test_add_func("/queue/cancel-keeps-order", test_cancel_keeps_the_order);
    g_test_add_func("/queue/cancel-held", test_cancel_held);
    g_test_add_func("/queue/cancel-sent", test_cancel_sent);
    g_test_add_func("/queue/last-done-frees-queue", test_last_done_frees_queue);
    g_test_add_func("/queue/done-submits-again", test_done_submits_again);
    g_test_add_func("/queue/accounts", test_accounts);
    return g_test_run();
}
