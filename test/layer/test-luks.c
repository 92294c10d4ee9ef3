/* SPDX-License-Identifier: MIT */
/*
 * The driver luks: ranges that are not whole sectors, memory in odd pieces,
 * requests beside each other, and that the memory of who writes stays as it
 * is; and how its key slots change.  What is in the file is looked at with the
 * key itself.
 */
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "base/options.h"
#include "block/image.h"
#include "block/secret.h"
#include "crypt/cipher.h"
#include "crypt/luks.h"
#include "engine/engine.h"
#include "fixtures.h"
#include "format/luks.h"

#define SIZE (3 * MiB)

/* What is done at once, and how many of these, of one request. */
#define PIECE  (256 * KiB)
#define PIECES 8

/* One header for all tests: making it takes the longest. */
static struct luks header;
static uint8_t *area;
static struct luks_key key;

static void make_header(void)
{
    struct luks_options how = luks_default_options;
    struct luks_secret secret = {"right", 5};

    how.iter_ms = 1;
    g_assert_cmpint(luks_format(&how, &secret, &header, &area, &key, NULL), ==,
                    0);
}

static void add_secret(const char *text)
{
    g_autoptr(options) opts = options_new();

    g_assert_cmpint(options_parse(opts, text, NULL), ==, 0);
    g_assert_cmpint(secret_add(opts, NULL), ==, 0);
}

/* -- Opening ------------------------------------------------------------- */

struct opening {
    struct node *file, *node;
    const char *secret;
    GError *err;
};

static void open_above(void *opaque)
{
    struct opening *o = opaque;
    struct options *opts = options_new();

    co_assert_role();
    if (o->secret) {
        options_set(opts, "key-secret", o->secret);
    }
    o->node = node_co_open_above("luks", o->file, opts, &o->err);
}

/* Opens an image of @bytes in memory, or tells why it cannot be. */
static struct node *open_bytes(int64_t bytes, const char *secret, GError **err)
{
    g_autofree char *text = g_strdup_printf(
        "driver=mem-grows,size=%" G_GINT64_FORMAT, (gint64)bytes);
    struct opening o = {.file = open_node(text, NODE_RDWR | NODE_UNMAP),
                        .secret = secret};
    struct mem *m = mem_of(o.file);

    memcpy(m->data, area, (size_t)min_i64(bytes, luks_area_bytes(&header)));
    g_assert_cmpint(job_run(&job(CALL, .call = open_above, .opaque = &o)), ==,
                    0);
    if (o.err) {
        g_propagate_error(err, o.err);
    }
    return o.node;
}

/* With a sector that is not whole at its end. */
static struct node *open_luks(const char *secret, GError **err)
{
    return open_bytes(header.payload_offset + SIZE - 100, secret, err);
}

static struct node *open_good(void)
{
    GError *err = NULL;
    struct node *node = open_luks("right", &err);

    g_assert_no_error(err);
    g_assert_cmpint(node_length(node), ==, SIZE);
    return node;
}

static void test_wrong_secret(void)
{
    static const struct {
        const char *secret;
        int code;
    } cases[] = {{"wrong", EACCES}, {"none", ENOENT}, {NULL, EACCES}};

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        GError *err = NULL;

        g_assert_null(open_luks(cases[i].secret, &err));
        g_assert_cmpint(err->code, ==, cases[i].code);
        g_clear_error(&err);
    }
}

/* A file that ends before its key slots do. */
static void test_cut_short(void)
{
    static const int64_t missing[] = {1, 4096};
    int64_t whole = luks_area_bytes(&header);

    for (size_t i = 0; i < G_N_ELEMENTS(missing); i++) {
        GError *err = NULL;

        g_assert_null(open_bytes(whole - missing[i], "right", &err));
        g_assert_nonnull(strstr(err->message, "header is cut short"));
        g_clear_error(&err);
    }
}

/* -- Data ---------------------------------------------------------------- */

/* Is the disk in the file what @model says?  Its last sector is not whole
 * there unless it was written. */
static void check_file(struct node *node, const uint8_t *model, int64_t bytes)
{
    struct mem *m = mem_of(node);
    uint8_t *plain = g_malloc((gsize)bytes);
    struct cipher *cipher;

    g_assert_cmpint(cipher_new(&header.cipher, key.bytes, &cipher, NULL), ==,
                    0);
    cipher_decrypt(cipher, 0, plain, m->data + header.payload_offset, bytes);
    g_assert_cmpint(memcmp(plain, model, (size_t)bytes), ==, 0);
    cipher_free(cipher);
    g_free(plain);
}

static const struct range {
    int64_t offset, bytes;
} ranges[] = {
    {0, 512},          {0, 1},           {511, 2},          {1000, 3000},
    {4096, 65536},     {100, 300 * KiB}, {SIZE - 512, 512}, {SIZE - 1, 1},
    {SIZE - 700, 600}, {1, SIZE - 2},    {0, SIZE},
};

static void test_ranges(void)
{
    struct node *node = open_good();
    uint8_t *model = g_malloc0(SIZE);

    g_assert_cmpint(job_run(&job(WRITE, node, 0, SIZE, .fill = 0)), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(ranges); i++) {
        int64_t offset = ranges[i].offset, bytes = ranges[i].bytes;
        struct job read = job(READ, node, offset, bytes);
        int fill = 'a' + (int)i;

        memset(model + offset, fill, (size_t)bytes);
        g_assert_cmpint(job_run(&job(WRITE, node, offset, bytes, .fill = fill)),
                        ==, 0);
        check_file(node, model, SIZE);
        job_start(&read);
        g_assert_true(read.done);
        g_assert_true(bytes_are(read.buf, fill, bytes));
        g_assert_cmpint(job_finish(&read), ==, 0);
    }
    g_free(model);
    close_node(node);
}

/* A sector may lie in any number of elements. */
static void test_odd_pieces(void)
{
    static uint8_t buf[2048], want[2048];
    struct iovec iov[] = {{buf, 100},       {buf + 100, 1},
                          {buf + 101, 411}, {buf + 512, 1300},
                          {buf + 1812, 0},  {buf + 1812, 236}};
    struct iovs pieces = iovs_of(iov, 6);
    struct node *node = open_good();

    for (size_t i = 0; i < sizeof(want); i++) {
        want[i] = (uint8_t)(i * 31 >> 3);
    }
    memcpy(buf, want, sizeof(buf));
    g_assert_cmpint(job_run(&job(WRITE, node, 0, sizeof(buf), .iovs = &pieces)),
                    ==, 0);
    g_assert_cmpmem(buf, sizeof(buf), want, sizeof(want)); /* left alone */
    check_file(node, want, sizeof(want));
    memset(buf, 0, sizeof(buf));
    g_assert_cmpint(job_run(&job(READ, node, 0, sizeof(buf), .iovs = &pieces)),
                    ==, 0);
    g_assert_cmpmem(buf, sizeof(buf), want, sizeof(want));
    close_node(node);
}

/* Two writes to parts of one sector, under way at once: both are there. */
static void test_one_sector(void)
{
    struct node *node = open_good();
    struct mem *m = mem_of(node);
    struct job a, b;

    g_assert_cmpint(job_run(&job(WRITE, node, 0, 4096, .fill = 'z')), ==, 0);
    m->hold = true;
    a = job(WRITE, node, 10, 100, .fill = 'a');
    b = job(WRITE, node, 300, 100, .fill = 'b');
    job_start(&a);
    job_start(&b);
    g_assert_false(a.done || b.done);
    mem_complete_all(m);
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(job_finish(&b), ==, 0);
    m->hold = false;
    a = job(READ, node, 0, 512);
    job_start(&a);
    g_assert_true(bytes_are(a.buf, 'z', 10));
    g_assert_true(bytes_are(a.buf + 10, 'a', 100));
    g_assert_true(bytes_are(a.buf + 110, 'z', 190));
    g_assert_true(bytes_are(a.buf + 300, 'b', 100));
    g_assert_true(bytes_are(a.buf + 400, 'z', 112));
    g_assert_cmpint(job_finish(&a), ==, 0);
    close_node(node);
}

static void test_zeroes_and_growth(void)
{
    struct node *node = open_good();
    struct job read = job(READ, node, 0, SIZE + 4096);

    g_assert_cmpint(job_run(&job(WRITE, node, 0, SIZE, .fill = 'x')), ==, 0);
    g_assert_cmpint(job_run(&job(ZEROES, node, 100, SIZE - 100)), ==, 0);
    g_assert_cmpint(
        job_run(&job(TRUNCATE, node, SIZE + 4096, .flags = TRUNCATE_ZERO_NEW)),
        ==, 0);
    g_assert_cmpint(node_length(node), ==, SIZE + 4096);
    job_start(&read);
    g_assert_true(bytes_are(read.buf, 'x', 100));
    g_assert_true(bytes_are(read.buf + 100, 0, SIZE + 4096 - 100));
    g_assert_cmpint(job_finish(&read), ==, 0);
    close_node(node);
}

/* A disk that cannot be made longer stays as it was, in the file, too. */
static void test_growth_fails(void)
{
    struct node *node = open_good();
    struct mem *m = mem_of(node);
    struct job grow =
        job(TRUNCATE, node, SIZE + 4096, .flags = TRUNCATE_ZERO_NEW);
    int64_t was = m->size;

    m->hold = true;
    job_start(&grow);
    mem_complete(m, 0); /* the file is longer */
    g_assert_cmpint(m->size, >, was);
    mem_fail(m, 0, -ENOSPC); /* but cannot be written to */
    mem_complete_all(m);
    g_assert_cmpint(job_finish(&grow), ==, -ENOSPC);
    g_assert_cmpint(m->size, ==, was);
    g_assert_cmpint(node_length(node), ==, SIZE);
    m->hold = false;
    close_node(node);
}

static void test_errors_pass(void)
{
    struct node *node = open_good();
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, node, 0, 512);

    m->hold = true;
    job_start(&a);
    mem_fail(m, 0, -ENOSPC);
    g_assert_cmpint(job_finish(&a), ==, -ENOSPC);
    m->hold = false;
    close_node(node);
}

/*
 *   write of 12 pieces   driver
 *   begins               W, 8 times
 *   ...                  one ends: the next piece begins
 *   ...                  one fails: the one that waited is the last to begin
 *   ends, -ENOSPC        the others end well
 */
static void test_pieces(void)
{
    struct node *node = open_good();
    struct mem *m = mem_of(node);
    struct job w = job(WRITE, node, 0, SIZE, .fill = 'w');
    struct job r = job(READ, node, 0, SIZE);

    m->hold = true;
    job_start(&w);
    g_assert_cmpint(mem_pending(m), ==, PIECES);
    mem_complete(m, 3);
    g_assert_cmpint(mem_pending(m), ==, PIECES);
    mem_fail(m, 0, -ENOSPC);
    mem_complete(m, 0);
    g_assert_cmpint(mem_pending(m), ==, PIECES - 1);
    mem_complete_all(m);
    g_assert_cmpint(job_finish(&w), ==, -ENOSPC);

    job_start(&r);
    g_assert_cmpint(mem_pending(m), ==, PIECES);
    mem_fail(m, PIECES - 1, -EIO);
    mem_complete_all(m);
    g_assert_cmpint(job_finish(&r), ==, -EIO);
    m->hold = false;
    close_node(node);
}

/* A discard reaches the file, behind the header. */
static void test_discard(void)
{
    struct node *node = open_good();
    struct mem *m = mem_of(node);
    g_autofree char *want = g_strdup_printf(
        "D%" G_GINT64_FORMAT "+4096", (gint64)header.payload_offset + 8192);

    g_free(mem_log_take(m));
    g_assert_cmpint(job_run(&job(DISCARD, node, 8192, 4096)), ==, 0);
    mem_expect(m, want);
    close_node(node);
}

/* -- Key slots ----------------------------------------------------------- */

struct amending {
    struct node *node;
    const char *options;
    bool force;
};

static void amend_entry(void *opaque)
{
    struct amending *a = opaque;
    g_autoptr(options) o = options_new();
    GError *err = NULL;

    co_assert_role();
    g_assert_cmpint(options_parse(o, a->options, NULL), ==, 0);
    (void)!node_driver(a->node)->image->co_amend(a->node, o, a->force, NULL,
                                                 NULL, &err);
    g_assert_no_error(err);
}

/*
 * A slot that is set has its key on disk before the header says so; one that
 * is erased has lost it for good before the header forgets the slot.  One that
 * is overwritten, maybe the only one, keeps its key until there is another.
 */
static void test_order_of_slot_changes(void)
{
    static const struct {
        const char *change;
        int slot;
        bool force;
    } changes[] = {
        {"state=active,keyslot=1,new-secret=wrong,iter-time=1", 1, false},
        {"state=inactive,keyslot=1", 1, false},
        {"state=active,keyslot=0,new-secret=wrong,iter-time=1", 0, true},
    };
    struct node *node = open_good();
    struct mem *m = mem_of(node);

    g_free(mem_log_take(m));
    for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
        const struct luks_slot *s = &header.slots[changes[i].slot];
        struct amending a = {node, changes[i].change, changes[i].force};
        g_autofree char *want = g_strdup_printf(
            "W%" G_GINT64_FORMAT "+%" G_GINT64_FORMAT " F W0+1024 F",
            (gint64)s->key_offset,
            (gint64)(s->stripes * cipher_key_bytes(&header.cipher)));

        job_run(&job(CALL, .call = amend_entry, .opaque = &a));
        mem_expect(m, want);
    }
    close_node(node);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    fixture_register();
    driver_register(&driver_luks);
    /* What is for the thread pool is done at once. */
    g_assert_cmpint(engine_threads_set_bounds(fixture_loop(), 0, 0), ==, 0);
    make_header();
    add_secret("id=right,data=right");
    add_secret("id=wrong,data=wrong");
    g_test_add_func("/luks/wrong-secret", test_wrong_secret);
    g_test_add_func("/luks/ranges", test_ranges);
    g_test_add_func("/luks/odd-pieces", test_odd_pieces);
    g_test_add_func("/luks/two-in-one-sector", test_one_sector);
    g_test_add_func("/luks/zeroes-and-growth", test_zeroes_and_growth);
    g_test_add_func("/luks/growth-fails", test_growth_fails);
    g_test_add_func("/luks/errors-pass", test_errors_pass);
    g_test_add_func("/luks/cut-short", test_cut_short);
    g_test_add_func("/luks/pieces", test_pieces);
    g_test_add_func("/luks/discard", test_discard);
    g_test_add_func("/luks/order-of-slot-changes", test_order_of_slot_changes);
    rc = g_test_run();
    fixture_loop_free();
    g_free(area);
    return rc;
}
