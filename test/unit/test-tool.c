/* SPDX-License-Identifier: MIT */
/*
 * tool: the parts that are plain functions, and the crew.
 */
#include <errno.h>
#include <glib.h>
#include <stdatomic.h>
#include <string.h>

#include "base/align.h"
#include "block/block.h"
#include "loop/loop.h"
#include "tool/compare.h"
#include "tool/convert.h"
#include "tool/create.h"
#include "tool/crew.h"
#include "tool/extent.h"
#include "tool/open.h"

/* Runs of "D" (data) and "." (zeroes) sectors of 512 bytes. */
static void test_convert_run(void)
{
    static const struct {
        const char *sectors;
        int64_t offset, sparse, unit; /* in sectors */
        const char *want;             /* runs: D or Z and their lengths */
    } cases[] = {
        {"DDDD", 0, 1, 1, "D4"},
        {"....", 0, 1, 1, "Z4"},
        {"D..D", 0, 1, 1, "D1 Z2 D1"},
        {"D..D", 0, 0, 1, "D4"},
        /* Too short to be left out. */
        {"D.D.", 0, 2, 1, "D3 Z1"},
        {"D..D", 0, 3, 1, "D4"},
        {".D..", 0, 2, 1, "D2 Z2"},
        /* Blocks that are not all zeroes count as data. */
        {"..D.....", 0, 4, 4, "D4 Z4"},
        {"....D...", 0, 4, 4, "Z4 D4"},
        /* Blocks are those of the disk, not of the buffer. */
        {"..DDDD..", 2, 2, 4, "Z2 D4 Z2"},
        {"..DD....", 2, 4, 4, "D6 Z2"},
        /* Zeroes at the end may go on. */
        {"D.......", 0, 16, 1, "D1 Z7"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        int64_t n = (int64_t)strlen(cases[i].sectors);
        g_autofree char *buf = g_malloc0((size_t)n * 512);
        g_autoptr(GString) got = g_string_new(NULL);

        for (int64_t s = 0; s < n; s++) {
            buf[s * 512 + 100] = cases[i].sectors[s] == 'D';
        }
        for (int64_t at = 0; at < n;) {
            bool zero;
            int64_t run = convert_run(
                buf + at * 512, (cases[i].offset + at) * 512, (n - at) * 512,
                cases[i].sparse * 512, cases[i].unit * 512, &zero);

            g_assert_cmpint(run, >, 0);
            g_assert_cmpint(run % 512, ==, 0);
            g_string_append_printf(got, "%s%c%d", at ? " " : "",
                                   zero ? 'Z' : 'D', (int)(run / 512));
            at += run / 512;
        }
        g_test_message("%s", cases[i].sectors);
        g_assert_cmpstr(got->str, ==, cases[i].want);
    }
}

static void test_compare_buffers(void)
{
    char a[1536] = {0}, b[1536] = {0};

    g_assert_cmpint(compare_buffers(a, b, 1536), ==, 1536);
    b[1535] = 1;
    g_assert_cmpint(compare_buffers(a, b, 1536), ==, 1024);
    b[700] = 1;
    g_assert_cmpint(compare_buffers(a, b, 1536), ==, 512);
    b[0] = 1;
    g_assert_cmpint(compare_buffers(a, b, 1536), ==, 0);
    /* The last sector need not be whole. */
    g_assert_cmpint(compare_buffers(a + 1, b + 1, 600), ==, 600);
}

static void test_extent_continues(void)
{
    const struct extent e = {.offset = 0, .bytes = 10, .data = true, .map = 50};
    struct extent next = {.offset = 10, .bytes = 5, .data = true, .map = 60};

    g_assert_true(extent_continues(&e, &next));
    next.map = 61;
    g_assert_false(extent_continues(&e, &next));
    next.map = -1;
    g_assert_false(extent_continues(&e, &next));
    next.map = 60;
    next.offset = 11;
    g_assert_false(extent_continues(&e, &next));
    next.offset = 10;
    next.zero = true;
    g_assert_false(extent_continues(&e, &next));
    next.zero = false;
    next.depth = 1;
    g_assert_false(extent_continues(&e, &next));
    next.depth = 0;
    next.compressed = true;
    g_assert_false(extent_continues(&e, &next));
}

/* What is nowhere in a file continues what is nowhere in a file. */
static void test_extent_unmapped(void)
{
    const struct extent e = {.bytes = 10, .zero = true, .map = -1};
    const struct extent next = {
        .offset = 10, .bytes = 5, .zero = true, .map = -1};

    g_assert_true(extent_continues(&e, &next));
}

static void test_extent_slice(void)
{
    const struct extent e = {.offset = 100, .bytes = 50, .map = 1000};
    const struct extent hole = {.offset = 100, .bytes = 50, .map = -1};
    struct extent part = extent_slice(&e, 110, 20);

    g_assert_cmpint(part.offset, ==, 110);
    g_assert_cmpint(part.bytes, ==, 20);
    g_assert_cmpint(part.map, ==, 1010);
    g_assert_cmpint(extent_slice(&e, 110, 100).bytes, ==, 40);
    g_assert_cmpint(extent_slice(&hole, 110, 20).map, ==, -1);
}

static void test_cache_modes(void)
{
    static const struct {
        const char *name;
        unsigned flags;
        bool writethrough;
    } cases[] = {
        {"none", NODE_DIRECT, false},     {"writeback", 0, false},
        {"writethrough", 0, true},        {"directsync", NODE_DIRECT, true},
        {"unsafe", NODE_NO_FLUSH, false},
    };
    g_autoptr(GError) err = NULL;
    unsigned flags = 0;
    bool writethrough;

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        /* Other flags stay, an earlier mode does not. */
        flags = NODE_RDWR | NODE_DIRECT | NODE_NO_FLUSH;
        g_assert_cmpint(
            tool_parse_cache(cases[i].name, &flags, &writethrough, NULL), ==,
            0);
        g_assert_cmpint(flags, ==, NODE_RDWR | cases[i].flags);
        g_assert_cmpint(writethrough, ==, cases[i].writethrough);
    }
    g_assert_cmpint(tool_parse_cache("nine", &flags, &writethrough, &err), ==,
                    -EINVAL);
    g_assert_nonnull(strstr(err->message, "nine"));
}

static void test_resolve(void)
{
    static const struct {
        const char *image, *name, *want;
    } cases[] = {
        {"a.img", "b.img", "b.img"},
        {"dir/a.img", "b.img", "dir/b.img"},
        {"dir/a.img", "../b.img", "dir/../b.img"},
        {"/x/a.img", "b.img", "/x/b.img"},
        {"dir/a.img", "/b.img", "/b.img"},
        {"dir/a.img", "json:{}", "json:{}"},
        {"dir/a.img", "nbd://host", "nbd://host"},
        {"dir/a.img", "sub/b:c", "dir/sub/b:c"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *got = create_resolve(cases[i].image, cases[i].name);

        g_assert_cmpstr(got, ==, cases[i].want);
    }
}

/* -- The crew ------------------------------------------------------------ */

struct party {
    struct crew *crew;
    struct loop *home;
    atomic_int met;  /* workers that are there */
    atomic_int left; /* and gone */
    int ticks;
    int prepared;
};

static struct party *the_party;

static int party_prepare(struct loop *loop)
{
    g_assert_true(loop != the_party->home);
    the_party->prepared++;
    return 0;
}

/* Ends only when all workers are in it at once. */
static void party_work(void *opaque)
{
    struct party *p = opaque;

    co_assert_role();
    g_assert_true(loop_co_home() != p->home);
    atomic_fetch_add(&p->met, 1);
    while (atomic_load(&p->met) < (int)crew_size(p->crew)) {
        loop_co_relax();
    }
    atomic_fetch_add(&p->left, 1);
}

static void party_tick(void *opaque)
{
    struct party *p = opaque;

    g_assert_true(loop_current() == p->home);
    p->ticks++;
}

static void party_entry(void *opaque)
{
    struct party *p = opaque;

    co_assert_role();
    for (int round = 1; round <= 3; round++) {
        atomic_store(&p->met, 0);
        atomic_store(&p->left, 0);
        crew_co_run(p->crew, party_work, party_tick, p);
        g_assert_cmpint(atomic_load(&p->left), ==, 4);
        g_assert_cmpint(p->ticks, >=, round);
    }
}

static void test_crew(void)
{
    struct party p = {.ticks = 0};

    the_party = &p;
    g_assert_cmpint(loop_new(&p.home), ==, 0);
    loop_adopt(p.home);
    g_assert_cmpint(crew_new(4, party_prepare, &p.crew), ==, 0);
    g_assert_cmpint(p.prepared, ==, 4);
    g_assert_cmpint(loop_co_run_blocking(p.home, party_entry, &p), ==, 0);
    crew_free(p.crew);
    loop_free(p.home);
}

static int refuse(struct loop *loop)
{
    return -ENOMEM;
}

static void test_crew_refused(void)
{
    struct crew *crew = NULL;

    g_assert_cmpint(crew_new(2, refuse, &crew), ==, -ENOMEM);
    g_assert_null(crew);
    crew_free(NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tool/convert-run", test_convert_run);
    g_test_add_func("/tool/compare-buffers", test_compare_buffers);
    g_test_add_func("/tool/extent/continues", test_extent_continues);
    g_test_add_func("/tool/extent/unmapped", test_extent_unmapped);
    g_test_add_func("/tool/extent/slice", test_extent_slice);
    g_test_add_func("/tool/cache-modes", test_cache_modes);
    g_test_add_func("/tool/resolve", test_resolve);
    g_test_add_func("/tool/crew", test_crew);
    g_test_add_func("/tool/crew-refused", test_crew_refused);
    return g_test_run();
}
