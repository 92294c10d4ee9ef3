/* SPDX-License-Identifier: MIT */
/*
 * blkdebug: which requests fail, which are held, and what rules may say.
 */
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "fixtures.h"
#include "format/blkdebug.h"

/* A raw node, which raises read_aio and write_aio, on blkdebug on memory. */
#define STACK                                                \
    "driver=raw,file.driver=blkdebug,file.image.driver=mem," \
    "file.image.size=64k,file.image.align=512"
#define INJECT(n) \
    ",file.inject-error." #n ".immediately=on,file.inject-error." #n "."
#define SET(n) ",file.set-state." #n "."

static struct node *open_stack(const char *rules)
{
    g_autofree char *opts = g_strconcat(STACK, rules, NULL);

    return open_node(opts, NODE_RDWR | NODE_UNMAP);
}

static int do_write(struct node *node, int64_t offset, int64_t bytes)
{
    return job_run(&job(WRITE, node, offset, bytes, .fill = 'w'));
}

static int do_read(struct node *node, int64_t offset, int64_t bytes)
{
    return job_run(&job(READ, node, offset, bytes));
}

/* -- Errors -------------------------------------------------------------- */

static void test_passes(void)
{
    struct node *node = open_stack("");
    struct mem *m = mem_of(node);

    g_assert_cmpint(do_write(node, 0, 512), ==, 0);
    g_assert_cmpint(do_read(node, 512, 512), ==, 0);
    g_assert_cmpint(job_run(&job(ZEROES, node, 4096, 4096)), ==, 0);
    g_assert_cmpint(job_run(&job(DISCARD, node, 8192, 4096)), ==, 0);
    g_assert_cmpint(job_run(&job(FLUSH, node)), ==, 0);
    mem_expect(m, "W0+512 R512+512 Z4096+4096 D8192+4096 F");
    g_assert_true(bytes_are(m->data, 'w', 512));
    close_node(node);
}

/* From its event on, a rule makes everything fail. */
static void test_stays(void)
{
    struct node *node = open_stack(INJECT(0) "event=write_aio");
    struct mem *m = mem_of(node);

    g_assert_cmpint(do_read(node, 0, 512), ==, 0);
    mem_expect(m, "R0+512");
    g_assert_cmpint(do_write(node, 0, 512), ==, -EIO);
    g_assert_cmpint(do_read(node, 0, 512), ==, -EIO);
    g_assert_cmpint(job_run(&job(ZEROES, node, 0, 4096)), ==, -EIO);
    g_assert_cmpint(job_run(&job(DISCARD, node, 0, 4096)), ==, -EIO);
    g_assert_cmpint(job_run(&job(FLUSH, node)), ==, -EIO);
    mem_expect(m, "");
    close_node(node);
}

static void test_once(void)
{
    struct node *node =
        open_stack(INJECT(0) "event=write_aio,file.inject-error.0.once=on,"
                             "file.inject-error.0.errno=28");

    g_assert_cmpint(do_write(node, 0, 512), ==, -ENOSPC);
    g_assert_cmpint(do_write(node, 0, 512), ==, 0);
    close_node(node);
}

static void test_errno_0(void)
{
    struct node *node =
        open_stack(INJECT(0) "event=write_aio,file.inject-error.0.errno=0");

    g_assert_cmpint(do_write(node, 0, 512), ==, 0);
    close_node(node);
}

/* Only requests that touch sector 3, bytes 1536 to 2047. */
static void test_sector(void)
{
    struct node *node =
        open_stack(INJECT(0) "event=write_aio,file.inject-error.0.sector=3");

    g_assert_cmpint(do_write(node, 0, 1536), ==, 0);
    g_assert_cmpint(do_write(node, 2048, 512), ==, 0);
    g_assert_cmpint(do_write(node, 1024, 1024), ==, -EIO);
    g_assert_cmpint(do_read(node, 1536, 512), ==, -EIO);
    g_assert_cmpint(job_run(&job(FLUSH, node)), ==, 0);
    close_node(node);
}

static void test_io_types(void)
{
    static const struct {
        const char *name;
        enum job_kind kind;
    } types[] = {
        {"read", JOB_READ},           {"write", JOB_WRITE},
        {"write-zeroes", JOB_ZEROES}, {"discard", JOB_DISCARD},
        {"flush", JOB_FLUSH},         {"block-status", JOB_STATUS},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        g_autofree char *rule = g_strdup_printf(
            INJECT(0) "event=none,file.inject-error.0.iotype=%s",
            types[i].name);
        struct node *node = open_stack(rule);

        /* Writes come first: without one there is nothing to flush. */
        for (size_t k = G_N_ELEMENTS(types); k-- > 0;) {
            struct job j = {.kind = types[k].kind,
                            .node = node,
                            .bytes = types[k].kind == JOB_FLUSH ? 0 : 4096};

            if (types[k].kind == JOB_FLUSH) {
                (void)do_write(node, 0, 512);
            }
            g_assert_cmpint(job_run(&j), ==, i == k ? -EIO : 0);
        }
        close_node(node);
    }
}

/* Without iotype=, asking for the status goes through. */
static void test_status_is_no_default(void)
{
    struct node *node = open_stack(INJECT(0) "event=none");

    g_assert_cmpint(job_run(&job(STATUS, node, 0, 512)), ==, 0);
    g_assert_cmpint(do_read(node, 0, 512), ==, -EIO);
    close_node(node);
}

/* A rule ends when another one's event comes. */
static void test_takes_over(void)
{
    struct node *node = open_stack(
        INJECT(0) "event=write_aio,file.inject-error.0.once=on,"
                  "file.inject-error.0.sector=9" INJECT(
                      1) "event=read_aio,file.inject-error.1.sector=7,"
                         "file.inject-error.1.errno=28");

    g_assert_cmpint(do_write(node, 0, 512), ==, 0);
    g_assert_cmpint(do_read(node, 9 * 512, 512), ==, 0);
    g_assert_cmpint(do_read(node, 7 * 512, 512), ==, -ENOSPC);
    close_node(node);
}

/* Of several rules for an event, the first that fits. */
static void test_order(void)
{
    struct node *node = open_stack(
        INJECT(0) "event=write_aio,file.inject-error.0.errno=28,"
                  "file.inject-error.0.once=on" INJECT(
                      1) "event=write_aio,file.inject-error.1.errno=5");

    g_assert_cmpint(do_write(node, 0, 512), ==, -ENOSPC);
    g_assert_cmpint(do_write(node, 0, 512), ==, -EIO);
    close_node(node);
}

/* Other events do not set a rule off, nor do those of other nodes. */
static void test_event(void)
{
    struct node *node = open_stack(INJECT(0) "event=l2_update");

    g_assert_cmpint(do_write(node, 0, 512), ==, 0);
    close_node(node);
}

/* Errors that do not come immediately come from a later turn of the loop. */
static void test_later(void)
{
    struct node *node = open_stack(",file.inject-error.0.event=write_aio");
    struct job w = job(WRITE, node, 0, 512);

    job_start(&w);
    g_assert_false(w.done);
    while (!w.done) {
        loop_turn(fixture_loop(), true);
    }
    g_assert_cmpint(job_finish(&w), ==, -EIO);
    close_node(node);
}

/* -- States -------------------------------------------------------------- */

/* The second write fails: the first one moves from state 1 to 2. */
static void test_states(void)
{
    struct node *node = open_stack(
        SET(0) "event=write_aio" SET(0) "state=1" SET(0) "new_state=2" INJECT(
            0) "event=write_aio,file.inject-error.0.state=2,"
               "file.inject-error.0.once=on");

    g_assert_cmpint(do_write(node, 0, 512), ==, 0);
    g_assert_cmpint(do_write(node, 0, 512), ==, -EIO);
    g_assert_cmpint(do_write(node, 0, 512), ==, 0);
    close_node(node);
}

/* 1 -> 2 -> 3: each event moves once, however the rules are ordered. */
static void test_state_moves_once(void)
{
    struct node *node = open_stack(
        SET(0) "event=write_aio" SET(0) "state=1" SET(0) "new_state=2" SET(1) "event=write_aio" SET(
            1) "state=2" SET(1) "new_state=3" INJECT(0) "event=write_aio,file.inject-error.0.state=3");

    g_assert_cmpint(do_write(node, 0, 512), ==, 0);
    g_assert_cmpint(do_write(node, 0, 512), ==, 0);
    g_assert_cmpint(do_write(node, 0, 512), ==, -EIO);
    close_node(node);
}

/* -- Events of the core -------------------------------------------------- */

/* Each fails the request that the event is about. */
static void test_core_events(void)
{
    static const struct {
        const char *event;
        struct job job;
    } cases[] = {
        {"pwritev", {.kind = JOB_WRITE, .bytes = 4096}},
        {"pwritev_zero", {.kind = JOB_ZEROES, .bytes = 4096}},
        {"pwritev_rmw_head", {.kind = JOB_WRITE, .offset = 1, .bytes = 4095}},
        {"pwritev_rmw_after_head",
         {.kind = JOB_WRITE, .offset = 1, .bytes = 4095}},
        {"pwritev_rmw_tail", {.kind = JOB_WRITE, .bytes = 4095}},
        {"pwritev_rmw_after_tail", {.kind = JOB_WRITE, .bytes = 4095}},
        {"pwritev_rmw.tail", {.kind = JOB_WRITE, .offset = 1, .bytes = 9000}},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *rule = g_strdup_printf(
            ",file.align=4096" INJECT(0) "event=%s", cases[i].event);
        struct node *node = open_stack(rule);
        struct job j = cases[i].job;

        j.node = node;
        g_assert_cmpint(job_run(&job(READ, node, 1, 512)), ==, 0);
        g_assert_cmpint(job_run(&j), ==, -EIO);
        close_node(node);
    }
}

static void test_flush_events(void)
{
    static const char *const events[] = {"flush_to_os", "flush_to_disk"};

    for (size_t i = 0; i < G_N_ELEMENTS(events); i++) {
        g_autofree char *rule =
            g_strdup_printf(INJECT(0) "event=%s", events[i]);
        struct node *node = open_stack(rule);

        g_assert_cmpint(do_write(node, 0, 512), ==, 0);
        g_assert_cmpint(job_run(&job(FLUSH, node)), ==, -EIO);
        close_node(node);
    }
}

/* -- Limits -------------------------------------------------------------- */

static void test_align(void)
{
    struct node *node = open_node(
        "driver=blkdebug,image.driver=mem,image.size=10000,image.align=1,"
        "align=4096,max-transfer=8k",
        NODE_RDWR);
    struct mem *m = mem_of(node);
    struct job r = job(READ, node, 8192, 1808);

    memset(m->data, 'd', 10000);
    g_assert_cmpint(do_write(node, 0, 16384 - 8192 - 100), ==, 0);
    mem_expect(m, "R4096+4096 W0+8192");
    /* The tail: read as far as the child goes, written up to its end. */
    job_start(&r);
    g_assert_true(bytes_are(r.buf, 'd', 1808));
    g_assert_cmpint(job_finish(&r), ==, 0);
    mem_expect(m, "R8192+1808");
    g_assert_cmpint(do_write(node, 9000, 1000), ==, 0);
    mem_expect(m, "R8192+1808 W8192+1808");
    g_assert_cmpint(node_length(node), ==, 10000);
    close_node(node);
}

/* Limits need not be powers of 2: what does not fill them goes on its own. */
static void test_odd_limits(void)
{
    struct node *node = open_stack(
        ",file.align=512,file.opt-write-zero=1536,file.max-write-zero=3072,"
        "file.opt-discard=1536,file.max-discard=3072");
    struct mem *m = mem_of(node);

    g_assert_cmpint(job_run(&job(ZEROES, node, 512, 7168)), ==, 0);
    mem_expect(m, "W512+1024 Z1536+3072 Z4608+3072");
    g_assert_cmpint(job_run(&job(DISCARD, node, 512, 7168)), ==, 0);
    mem_expect(m, "D512+1024 D1536+3072 D4608+3072");
    g_assert_cmpint(job_run(&job(DISCARD, node, 1536, 2048)), ==, 0);
    mem_expect(m, "D1536+1536 D3072+512");
    close_node(node);
}

static void test_truncate(void)
{
    struct node *node = open_stack("");

    g_assert_cmpint(job_run(&job(TRUNCATE, node, 4096)), ==, 0);
    g_assert_cmpint(node_length(node), ==, 4096);
    g_assert_cmpint(node_length(node_file(node)), ==, 4096);
    close_node(node);
}

/* -- Holding requests ---------------------------------------------------- */

static void note(void *opaque, const char *tag, bool held)
{
    g_string_append_printf(opaque, "%c%s ", held ? '+' : '-', tag);
}

#define assert_notes(notes, want)                \
    do {                                         \
        g_assert_cmpstr((notes)->str, ==, want); \
        g_string_truncate(notes, 0);             \
    } while (0)

/*
 *   write A       write B      the one who tests
 *                              break write_aio x
 *   is held
 *                 goes through: the break was for one request
 *                              resume x
 *   ends
 */
static void test_break(void)
{
    struct node *node = open_stack("");
    struct mem *m = mem_of(node);
    struct job a = job(WRITE, node, 0, 512);
    g_autoptr(GString) notes = g_string_new(NULL);

    g_assert_cmpint(blkdebug_break(node, "write_aio", "x", note, notes), ==, 0);
    g_assert_false(blkdebug_is_held(node, "x"));
    job_start(&a);
    assert_notes(notes, "+x ");
    g_assert_true(blkdebug_is_held(node, "x"));
    g_assert_false(blkdebug_is_held(node, "y"));
    mem_expect(m, "");
    g_assert_cmpint(do_write(node, 512, 512), ==, 0);
    g_assert_cmpint(blkdebug_resume(node, "y"), ==, -ENOENT);
    g_assert_false(a.done);
    g_assert_cmpint(blkdebug_resume(node, "x"), ==, 0);
    assert_notes(notes, "-x ");
    g_assert_cmpint(job_finish(&a), ==, 0);
    mem_expect(m, "W512+512 W0+512");
    g_assert_false(blkdebug_is_held(node, "x"));
    g_assert_cmpint(blkdebug_resume(node, "x"), ==, -ENOENT);
    close_node(node);
}

/* Two breaks with one name hold two requests; they go on one by one. */
static void test_break_twice(void)
{
    struct node *node = open_stack("");
    struct job a = job(WRITE, node, 0, 512), b = job(READ, node, 0, 512);
    g_autoptr(GString) notes = g_string_new(NULL);

    g_assert_cmpint(blkdebug_break(node, "read_aio", "x", note, notes), ==, 0);
    g_assert_cmpint(blkdebug_break(node, "write_aio", "x", note, notes), ==, 0);
    job_start(&a);
    job_start(&b);
    g_assert_cmpint(blkdebug_resume(node, "x"), ==, 0);
    g_assert_true(a.done);
    g_assert_false(b.done);
    g_assert_cmpint(blkdebug_resume(node, "x"), ==, 0);
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(job_finish(&b), ==, 0);
    close_node(node);
}

/* One request may be held by several breaks, one after the other. */
static void test_break_chain(void)
{
    struct node *node = open_stack("");
    struct job a = job(WRITE, node, 0, 512);
    g_autoptr(GString) notes = g_string_new(NULL);

    g_assert_cmpint(blkdebug_break(node, "write_aio", "x", note, notes), ==, 0);
    g_assert_cmpint(blkdebug_break(node, "write_aio", "y", note, notes), ==, 0);
    g_assert_cmpint(blkdebug_break(node, "pwritev", "z", note, notes), ==, 0);
    job_start(&a);
    g_assert_cmpint(blkdebug_resume(node, "x"), ==, 0);
    g_assert_cmpint(blkdebug_resume(node, "y"), ==, 0);
    g_assert_cmpint(blkdebug_resume(node, "z"), ==, 0);
    assert_notes(notes, "+x -x +y -y +z -z ");
    g_assert_cmpint(job_finish(&a), ==, 0);
    close_node(node);
}

/* A write that reads first says so first. */
static void test_break_order(void)
{
    struct node *node = open_stack(",file.align=4096");
    struct job a = job(WRITE, node, 100, 9000);
    g_autoptr(GString) notes = g_string_new(NULL);

    g_assert_cmpint(blkdebug_break(node, "pwritev", "x", note, notes), ==, 0);
    g_assert_cmpint(
        blkdebug_break(node, "pwritev_rmw_after_tail", "y", note, notes), ==,
        0);
    g_assert_cmpint(blkdebug_break(node, "pwritev_done", "z", note, notes), ==,
                    0);
    job_start(&a);
    assert_notes(notes, "+y ");
    mem_expect(mem_of(node), "R0+4096 R8192+4096");
    g_assert_cmpint(blkdebug_resume(node, "y"), ==, 0);
    assert_notes(notes, "-y +x ");
    mem_expect(mem_of(node), "");
    g_assert_cmpint(blkdebug_resume(node, "x"), ==, 0);
    assert_notes(notes, "-x +z ");
    mem_expect(mem_of(node), "W0+12288");
    g_assert_cmpint(blkdebug_resume(node, "z"), ==, 0);
    g_assert_cmpint(job_finish(&a), ==, 0);
    close_node(node);
}

static void test_remove(void)
{
    struct node *node = open_stack("");
    struct job a = job(WRITE, node, 0, 512);
    g_autoptr(GString) notes = g_string_new(NULL);

    g_assert_cmpint(blkdebug_break(node, "write_aio", "x", note, notes), ==, 0);
    g_assert_cmpint(blkdebug_break(node, "write_aio", "x", note, notes), ==, 0);
    job_start(&a);
    g_assert_cmpint(blkdebug_remove(node, "x"), ==, 0);
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(do_write(node, 0, 512), ==, 0);
    g_assert_cmpint(blkdebug_remove(node, "x"), ==, -ENOENT);
    close_node(node);
}

/* A node cannot be closed while requests are held: release() ends that. */
static void test_release(void)
{
    struct node *node = open_stack("");
    struct job a = job(WRITE, node, 0, 512), b = job(READ, node, 0, 512);
    g_autoptr(GString) notes = g_string_new(NULL);

    g_assert_cmpint(blkdebug_break(node, "write_aio", "x", note, notes), ==, 0);
    g_assert_cmpint(blkdebug_break(node, "read_aio", "y", note, notes), ==, 0);
    g_assert_cmpint(blkdebug_break(node, "flush_to_os", "z", note, notes), ==,
                    0);
    job_start(&a);
    job_start(&b);
    blkdebug_release(node);
    g_assert_cmpint(job_finish(&a), ==, 0);
    g_assert_cmpint(job_finish(&b), ==, 0);
    assert_notes(notes, "+x +y -x -y ");
    close_node(node); /* flushes, which is not held either */
}

static void test_no_break(void)
{
    struct node *none = open_node("driver=mem,size=64k", NODE_RDWR);
    struct node *node = open_stack("");

    g_assert_cmpint(blkdebug_break(none, "write_aio", "x", note, NULL), ==,
                    -EOPNOTSUPP);
    g_assert_cmpint(blkdebug_resume(none, "x"), ==, -EOPNOTSUPP);
    g_assert_cmpint(blkdebug_remove(none, "x"), ==, -EOPNOTSUPP);
    g_assert_false(blkdebug_is_held(none, "x"));
    blkdebug_release(none);
    g_assert_cmpint(blkdebug_break(node, "lunch", "x", note, NULL), ==,
                    -ENOENT);
    close_node(none);
    close_node(node);
}

/* -- What rules and options may say -------------------------------------- */

static void test_bad_options(void)
{
    static const struct {
        const char *opts, *want; /* the message matches "*want*" */
    } cases[] = {
        {",file.inject-error.0.event=lunch", "event=lunch"},
        {",file.inject-error.0.errno=5", "needs an event"},
        {",file.inject-error.0.event=none,file.inject-error.0.x=1", "'x'"},
        {",file.inject-error.0.event=none,file.inject-error.0.iotype=flux",
         "iotype=flux"},
        {",file.inject-error.0.event=none,file.inject-error.0.errno=-1",
         "errno=-1"},
        {",file.inject-error.0.event=none,file.inject-error.0.once=x",
         "once=x"},
        {",file.set-state.0.new_state=2", "needs an event"},
        {",file.set-state.0.event=none,file.set-state.0.once=on", "'once'"},
        {",file.inject-error.1.event=none", "inject-error.1.event"},
        {",file.align=3", "align=3"},
        {",file.align=2G", "align=2147483648"},
        {",file.align=512,file.max-transfer=700", "max-transfer=700"},
        {",file.opt-discard=4k,file.max-discard=6k", "max-discard=6144"},
        {",file.opt-write-zero=x", "opt-write-zero=x"},
        {",file.config=/nonexistent/rules", "/nonexistent/rules"},
        {",file.lunch=1", "'lunch'"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *opts = g_strconcat(STACK, cases[i].opts, NULL);
        g_autofree char *message = open_node_error(opts, NODE_RDWR);

        if (!strstr(message, cases[i].want)) {
            g_test_message("%s: %s", cases[i].opts, message);
            g_test_fail();
        }
    }
}

/* Options that only mean something to QEMU. */
static void test_ignored_options(void)
{
    close_node(open_stack(",file.take-child-perms.0=write,"
                          "file.unshare-child-perms.0=resize"));
}

static char *rules_file(const char *text)
{
    g_autoptr(GError) err = NULL;
    char *name = NULL;
    int fd = g_file_open_tmp("blkdebug-XXXXXX", &name, &err);

    g_assert_no_error(err);
    close(fd);
    g_file_set_contents(name, text, -1, &err);
    g_assert_no_error(err);
    return name;
}

static void test_file(void)
{
    g_autofree char *name = rules_file("# the second write fails\n"
                                       "[set-state]\n"
                                       "event = \"write_aio\"\n"
                                       "state = \"1\"\n"
                                       "new_state = \"2\"\n"
                                       "\n"
                                       "[inject-error \"two\"]\n"
                                       "  event=write_aio\n"
                                       "  state = 2\n"
                                       "  errno = \"28\"\n"
                                       "  immediately = \"on\"\n");
    g_autofree char *opts = g_strconcat(",file.config=", name, NULL);
    struct node *node = open_stack(opts);

    g_assert_cmpint(do_write(node, 0, 512), ==, 0);
    g_assert_cmpint(do_write(node, 0, 512), ==, -ENOSPC);
    close_node(node);
    (void)g_unlink(name);
}

static void test_bad_files(void)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"[lunch]\n", "[lunch]"},
        {"[inject-error\n", "lacks its ']'"},
        {"event = \"none\"\n", "'event = \"none\"'"},
        {"[inject-error]\nlunch\n", "line 2"},
        {"[inject-error]\n", "needs an event"},
        {"[inject-error]\n[set-state]\nevent = \"none\"\n", "needs an event"},
        {"[set-state]\nevent = \"none\"\nnew_state = \"x\"\n", "new_state=x"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *name = rules_file(cases[i].text);
        g_autofree char *opts = g_strconcat(STACK ",file.config=", name, NULL);
        g_autofree char *message = open_node_error(opts, NODE_RDWR);

        g_assert_nonnull(strstr(message, cases[i].want));
        g_assert_nonnull(strstr(message, name));
        (void)g_unlink(name);
    }
}

/* The name blkdebug:CONFIG:FILE, where a file is opened and where options name
 * one. */
static void test_names(void)
{
    g_autofree char *no_image =
        open_node_error("filename=blkdebug:rules", NODE_RDWR);
    g_autofree char *no_file =
        open_node_error("filename=blkdebug::/nonexistent/image", NODE_RDWR);
    g_autofree char *no_rules = open_node_error(
        "driver=raw,file.filename=blkdebug:/nonexistent/rules:image",
        NODE_RDWR);
    g_autofree char *own = open_node_error(
        "driver=blkdebug,filename=blkdebug:/nonexistent/rules:image",
        NODE_RDWR);

    g_assert_nonnull(strstr(no_image, "blkdebug:rules: no image"));
    g_assert_nonnull(strstr(no_file, "/nonexistent/image"));
    g_assert_nonnull(strstr(no_rules, "/nonexistent/rules"));
    g_assert_nonnull(strstr(own, "/nonexistent/rules"));
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    fixture_register();
    driver_register(&driver_blkdebug);
    g_test_add_func("/blkdebug/passes", test_passes);
    g_test_add_func("/blkdebug/error/stays", test_stays);
    g_test_add_func("/blkdebug/error/once", test_once);
    g_test_add_func("/blkdebug/error/errno-0", test_errno_0);
    g_test_add_func("/blkdebug/error/sector", test_sector);
    g_test_add_func("/blkdebug/error/io-types", test_io_types);
    g_test_add_func("/blkdebug/error/status", test_status_is_no_default);
    g_test_add_func("/blkdebug/error/takes-over", test_takes_over);
    g_test_add_func("/blkdebug/error/order", test_order);
    g_test_add_func("/blkdebug/error/event", test_event);
    g_test_add_func("/blkdebug/error/later", test_later);
    g_test_add_func("/blkdebug/state/second", test_states);
    g_test_add_func("/blkdebug/state/once", test_state_moves_once);
    g_test_add_func("/blkdebug/event/core", test_core_events);
    g_test_add_func("/blkdebug/event/flush", test_flush_events);
    g_test_add_func("/blkdebug/limits/align", test_align);
    g_test_add_func("/blkdebug/limits/odd", test_odd_limits);
    g_test_add_func("/blkdebug/truncate", test_truncate);
    g_test_add_func("/blkdebug/break/one", test_break);
    g_test_add_func("/blkdebug/break/twice", test_break_twice);
    g_test_add_func("/blkdebug/break/chain", test_break_chain);
    g_test_add_func("/blkdebug/break/order", test_break_order);
    g_test_add_func("/blkdebug/break/remove", test_remove);
    g_test_add_func("/blkdebug/break/release", test_release);
    g_test_add_func("/blkdebug/break/none", test_no_break);
    g_test_add_func("/blkdebug/options/bad", test_bad_options);
    g_test_add_func("/blkdebug/options/ignored", test_ignored_options);
    g_test_add_func("/blkdebug/file/good", test_file);
    g_test_add_func("/blkdebug/file/bad", test_bad_files);
    g_test_add_func("/blkdebug/names", test_names);
    rc = g_test_run();
    fixture_loop_free();
    return rc;
}
