/* SPDX-License-Identifier: MIT */
/*
 * view: what the kernel may keep cached when files overlap.
 */
#include "view-rig.h"

#define P1 (1 * MiB) /* where p1 begins */

/* Opens @path as a reader of the cache does, and closes it again; returns
 * whether the kernel may use what it has cached. */
static bool co_fn keeps(struct rig *r, const char *path)
{
    struct view_file *f = rig_open(r, path, VIEW_OPEN_READ);
    bool keep = f->keep_cache;

    rig_close(f);
    return keep;
}

static char *data_event(uint64_t ino, int64_t offset, int64_t bytes)
{
    return g_strdup_printf("data %d %d+%d\n", (int)ino, (int)offset,
                           (int)bytes);
}

static void co_fn test_kept(struct rig *r)
{
    g_assert_true(keeps(r, "p1"));
    g_assert_true(keeps(r, "p1"));
    g_assert_true(keeps(r, "disk"));
}

/* What is written through one file is dropped by those that share it. */
static void co_fn test_drop(struct rig *r)
{
    static const struct {
        const char *path;
        int64_t offset; /* in it */
        bool disk, p1, p2;
    } cases[] = {
        {"disk", 0, true, true, true}, /* before p1 */
        {"disk", 1 * MiB, true, false, true},
        {"disk", 2 * MiB - 1, true, false, true},
        {"disk", 2 * MiB, true, true, false},
        {"p1", 0, false, true, true},
        {"p2", 2 * MiB - 1, false, true, true},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        rig_touch(r, cases[i].path, cases[i].offset);
        g_assert_cmpint(keeps(r, "disk"), ==, cases[i].disk);
        g_assert_cmpint(keeps(r, "p1"), ==, cases[i].p1);
        g_assert_cmpint(keeps(r, "p2"), ==, cases[i].p2);
        /* Once is enough. */
        g_assert_true(keeps(r, "disk"));
        g_assert_true(keeps(r, "p1"));
        g_assert_true(keeps(r, "p2"));
    }
}

/* Who has the file open is told soon. */
static void co_fn test_told(struct rig *r)
{
    uint64_t p1 = rig_ino(r, "p1");
    g_autofree char *want = data_event(p1, 10, 6);
    struct view_file *reader = rig_open(r, "p1", VIEW_OPEN_READ);
    struct view_file *f = rig_open(r, "disk", RW);

    g_assert_cmpint(rig_write(f, P1 + 10, "x", 1), ==, 0);
    g_assert_cmpint(rig_write(f, P1 + 15, "x", 1), ==, 0);
    g_assert_cmpstr(rig_take(r->events), ==, "");
    g_assert_cmpint(view_co_close(f), ==, 0);
    g_assert_cmpstr(rig_take(r->events), ==, want);
    /* Nothing was written since. */
    g_assert_cmpint(view_co_close(f), ==, 0);
    g_assert_cmpstr(rig_take(r->events), ==, "");
    view_co_release(f);
    rig_close(reader);
}

/* A range that begins before a partition and ends behind it. */
static void co_fn test_told_clipped(struct rig *r)
{
    uint64_t p1 = rig_ino(r, "p1");
    g_autofree char *want = data_event(p1, 0, 1 * MiB);
    struct view_file *f;

    g_assert_true(keeps(r, "p1"));
    f = rig_open(r, "disk", RW);
    g_assert_cmpint(rig_write(f, P1 - 1, "x", 1), ==, 0);
    g_assert_cmpint(rig_write(f, 2 * MiB, "x", 1), ==, 0);
    g_assert_cmpint(view_co_close(f), ==, 0);
    g_assert_cmpstr(rig_take(r->events), ==, want);
    view_co_release(f);
}

/* All files of data, whatever was opened: mappings may have changed pages of
 * any. */
static void co_fn test_recalled(struct rig *r)
{
    g_autofree char *disk = data_event(rig_ino(r, "disk"), 0, 0);
    g_autofree char *p1 = data_event(rig_ino(r, "p1"), 0, 0);
    g_autofree char *p2 = data_event(rig_ino(r, "p2"), 0, 0);
    g_autofree char *want = g_strconcat(p1, p2, disk, NULL);

    view_recall(r->view);
    g_assert_cmpstr(rig_take(r->events), ==, want);
}

/* The kernel has nothing of a file that was only opened past the cache. */
static void co_fn test_not_told(struct rig *r)
{
    struct view_file *reader =
        rig_open(r, "p1", VIEW_OPEN_READ | VIEW_OPEN_DIRECT);

    rig_touch(r, "disk", P1);
    g_assert_cmpstr(rig_take(r->events), ==, "");
    rig_close(reader);
}

/*
 *   writer of disk      p1
 *   open
 *   write
 *                       open: drops, though nothing was published
 *   close
 *                       open: drops, since it was
 *                       open: keeps
 */
static void co_fn test_writer_open(struct rig *r)
{
    struct view_file *f = rig_open(r, "disk", RW);

    g_assert_cmpint(rig_write(f, P1, "x", 1), ==, 0);
    g_assert_false(keeps(r, "p1"));
    g_assert_false(keeps(r, "p1"));
    rig_close(f);
    g_assert_false(keeps(r, "p1"));
    g_assert_true(keeps(r, "p1"));
}

/* A writer of p2 does not disturb p1, nor does one that only reads. */
static void co_fn test_writer_elsewhere(struct rig *r)
{
    struct view_file *p2 = rig_open(r, "p2", RW);
    struct view_file *disk = rig_open(r, "disk", VIEW_OPEN_READ);

    g_assert_true(keeps(r, "p1"));
    rig_close(p2);
    rig_close(disk);
}

/*
 * Whether the kernel has dropped its pages because of an open is sure when
 * that open file is closed, not before.
 *
 *   first               second
 *   open: drops
 *                       open: drops, too
 *   close
 *                       (a third) open: keeps
 */
static void co_fn test_two_opens(struct rig *r)
{
    struct view_file *first, *second;

    rig_touch(r, "disk", P1);
    first = rig_open(r, "p1", VIEW_OPEN_READ);
    second = rig_open(r, "p1", VIEW_OPEN_READ);
    g_assert_false(first->keep_cache);
    g_assert_false(second->keep_cache);
    rig_close(first);
    g_assert_true(keeps(r, "p1"));
    rig_close(second);
}

/* An open before a change does not stand for one after it. */
static void co_fn test_change_while_open(struct rig *r)
{
    struct view_file *f;

    rig_touch(r, "disk", P1);
    f = rig_open(r, "p1", VIEW_OPEN_READ); /* drops */
    rig_touch(r, "disk", P1);
    rig_close(f);
    g_assert_false(keeps(r, "p1"));
}

/* Cached writes go through the pages of their own file. */
static void co_fn test_own(struct rig *r)
{
    struct view_file *f;

    f = rig_open(r, "p1", RW);
    g_assert_cmpint(rig_write(f, 0, "x", 1), ==, 0);
    g_assert_true(keeps(r, "p1"));
    rig_close(f);
    g_assert_true(keeps(r, "p1"));
    /* Direct ones do not, and a page may be read while they are under way. */
    f = rig_open(r, "p1", RW | VIEW_OPEN_DIRECT);
    g_assert_false(keeps(r, "p1"));
    g_assert_cmpint(rig_write(f, 0, "x", 1), ==, 0);
    rig_close(f);
    g_assert_false(keeps(r, "p1"));
    g_assert_true(keeps(r, "p1"));
}

/*
 *   write               close of another descriptor    reader of p1
 *   begins
 *                       close (and nothing since)
 *                                                      open, close
 *   ends
 *   close, release
 *                                                      open: drops
 */
static void co_fn test_write_during_close(struct rig *r)
{
    struct view_file *f = rig_open(r, "disk", RW);

    g_assert_cmpint(view_file_will_write(f, P1, 1), ==, 1);
    g_assert_cmpint(view_co_close(f), ==, 0);
    g_assert_false(keeps(r, "p1"));
    g_assert_cmpint(backend_co_pwrite(r->be, P1, "x", 1), ==, 0);
    g_assert_cmpint(view_co_close(f), ==, 0);
    view_co_release(f);
    g_assert_false(keeps(r, "p1"));
}

/* -- Many threads -------------------------------------------------------- */

#define N_THREADS 4
#define N_WRITES  20000

/* Thread i writes the bytes i, i + N_THREADS, … of p1, outwards. */
static void *writer_run(void *opaque)
{
    static int next;
    int i = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED);
    struct view_file *f = opaque;

    for (int n = 0; n < N_WRITES; n++) {
        int64_t at = N_THREADS * n + i;
        int64_t offset =
            n % 2 ? 512 * KiB + at : 512 * KiB - 1 - at; /* both ways */

        g_assert_cmpint(view_file_will_write(f, offset, 1), ==, 1);
    }
    return NULL;
}

static void co_fn test_threads(struct rig *r)
{
    const int64_t reach = (int64_t)N_THREADS * N_WRITES;
    g_autofree char *want = NULL;
    struct view_file *f;
    GThread *threads[N_THREADS];

    g_assert_true(keeps(r, "disk"));
    f = rig_open(r, "p1", RW);
    for (int i = 0; i < N_THREADS; i++) {
        threads[i] = g_thread_new("writer", writer_run, f);
    }
    for (int i = 0; i < N_THREADS; i++) {
        (void)g_thread_join(threads[i]);
    }
    g_assert_cmpint(view_co_close(f), ==, 0);
    /* The last n is odd, so the lower end is one round nearer. */
    want = data_event(rig_ino(r, "disk"), P1 + 512 * KiB - (reach - N_THREADS),
                      2 * reach - N_THREADS);
    g_assert_cmpstr(rig_take(r->events), ==, want);
    view_co_release(f);
}

static const struct rig_test tests[] = {
    {"/view/coherence/kept", test_kept},
    {"/view/coherence/dropped-by-those-who-share", test_drop},
    {"/view/coherence/told", test_told},
    {"/view/coherence/told-clipped", test_told_clipped},
    {"/view/coherence/recalled", test_recalled},
    {"/view/coherence/not-told", test_not_told},
    {"/view/coherence/writer-open", test_writer_open},
    {"/view/coherence/writer-elsewhere", test_writer_elsewhere},
    {"/view/coherence/two-opens", test_two_opens},
    {"/view/coherence/change-while-open", test_change_while_open},
    {"/view/coherence/own-writes", test_own},
    {"/view/coherence/write-during-close", test_write_during_close},
    {"/view/coherence/threads", test_threads},
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    rig_add_tests(tests, G_N_ELEMENTS(tests));
    return g_test_run();
}
