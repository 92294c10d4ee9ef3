/* SPDX-License-Identifier: MIT */
/*
 * queue: a random stream of overlapping requests against a model.
 *
 * Wherever an order is promised the model knows what each read must see, since
 * a request then takes effect as if at the moment of its submission.  Calls of
 * the driver end in any order, and merged ones fail now and then, which must
 * not be noticed.
 */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "calls.h"
#include "queue/queue.h"
#include "rig.h"

#define LENGTH 128
#define STEPS  20000

/* A request of the random stream. */
struct step {
    struct queue_req req;
    bool busy;
    uint8_t data[LENGTH];
    uint8_t want[LENGTH]; /* of a read */
};

static struct rig rig;
static struct queue *queue;
static struct step steps[48];
static uint8_t model[LENGTH];

static void step_done(struct queue_req *req, int rc)
{
    struct step *s = container_of(req, struct step, req);

    g_assert_cmpint(rc, ==, 0);
    if (req->op == BACKEND_READ) {
        g_assert_cmpint(memcmp(s->data, s->want, (size_t)req->bytes), ==, 0);
    }
    s->busy = false;
}

/* Plain reads and writes that overlap have no order; the stream has none. */
static bool step_order_is_promised(const struct step *s)
{
    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        const struct queue_req *r = &steps[i].req;

        if (steps[i].busy && &steps[i] != s && r->op <= BACKEND_WRITE &&
            s->req.op <= BACKEND_WRITE &&
            (r->op == BACKEND_WRITE || s->req.op == BACKEND_WRITE) &&
            r->offset < s->req.offset + s->req.bytes &&
            s->req.offset < r->offset + r->bytes) {
            return false;
        }
    }
    return true;
}

/* What takes effect in order of submission takes effect at submission. */
static void model_apply(struct step *s)
{
    uint8_t *at = model + s->req.offset;
    size_t n = (size_t)s->req.bytes;

    switch (s->req.op) {
    case BACKEND_READ:
        memcpy(s->want, at, n);
        break;
    case BACKEND_WRITE:
        memset(s->data, g_test_rand_int_range(1, 256), n);
        memcpy(at, s->data, n);
        break;
    case BACKEND_ZEROES:
        memset(at, 0, n);
        break;
    case BACKEND_DISCARD:
        memset(at, 0xdd, n);
        break;
    case BACKEND_FLUSH:
        break;
    }
}

static void random_submit(void)
{
    static const enum backend_op ops[] = {
        BACKEND_READ,   BACKEND_READ,    BACKEND_WRITE, BACKEND_WRITE,
        BACKEND_ZEROES, BACKEND_DISCARD, BACKEND_FLUSH,
    };
    struct step *s = &steps[g_test_rand_int_range(0, G_N_ELEMENTS(steps))];

    if (s->busy) {
        return;
    }
    s->req = (struct queue_req){
        .op = ops[g_test_rand_int_range(0, G_N_ELEMENTS(ops))],
        .offset = 4 * g_test_rand_int_range(0, LENGTH / 4 - 3),
        .bytes = 4 * g_test_rand_int_range(1, 4),
        .buf = s->data,
        .done = step_done,
    };
    if (!step_order_is_promised(s)) {
        return;
    }
    s->busy = true;
    model_apply(s);
    queue_submit(queue, &s->req);
}

/* Lets any held call go, or spoils a merged one, which is tried again. */
static void random_complete(void)
{
    int n = calls_held(rig.calls);
    int i = n > 0 ? g_test_rand_int_range(0, n) : 0;

    if (n == 0) {
        return;
    }
    if (calls_n_iov(rig.calls, i) > 1 && g_test_rand_int_range(0, 4) == 0) {
        calls_fail(rig.calls, i, -EIO);
    } else {
        calls_let_go(rig.calls, i);
    }
}

static void random_step(bool *plugged)
{
    int dice = g_test_rand_int_range(0, 16);

    if (dice < 8) {
        random_submit();
    } else if (dice < 13) {
        random_complete();
    } else if (dice < 15) {
        *plugged ? queue_unplug(queue) : queue_plug(queue);
        *plugged = !*plugged;
    } else {
        loop_turn(rig.loop, false);
    }
}

static void test_random(void)
{
    static const struct calls_opts opts = {
        .length = LENGTH,
        .max_transfer = 32,
        .flags = NODE_RDWR | NODE_UNMAP,
    };
    static struct stats_snapshot snap;
    bool plugged = false;

    rig_up(&rig, &opts, 0);
    queue = queue_new(rig.be, 0);
    for (int i = 0; i < STEPS; i++) {
        random_step(&plugged);
    }
    if (plugged) {
        queue_unplug(queue);
    }
    calls_let_all_go(rig.calls);
    rig_settle();
    g_assert_cmpmem(calls_data(rig.calls), LENGTH, model, LENGTH);

    /* It did merge, and all ended well. */
    backend_stats_read(backend_stats(rig.be), &snap);
    g_assert_cmpuint(snap.type[STATS_WRITE].merged, >, 0);
    g_assert_cmpint(snap.queue_depth, ==, 0);
    g_assert_cmpuint(queue_pending(queue), ==, 0);
    queue_free(queue);
    g_assert_cmpint(rig_down(&rig), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/queue/random", test_random);
    return g_test_run();
}
