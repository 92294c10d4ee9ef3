/* SPDX-License-Identifier: MIT */
/*
 * qcow2/cache: how much memory slices take, which go first, and what is
 * written.
 */
#include <errno.h>
#include <string.h>

#include "format/qcow2/cache.h"
#include "qcow2-rig.h"

#define SLICE       512
#define SLICES      64 /* that fit */
#define FILE_SLICES 1000

struct rig {
    struct node *file;
    struct cache *cache;
    int cleaned; /* how often the cache has asked for a write-back */
    bool broken; /* which fails then */
};

static int64_t place(int i)
{
    return (int64_t)i * SLICE;
}

static int co_fn write_all(struct rig *r)
{
    struct capture cap = {.n = 0};
    int rc = cache_capture(r->cache, &cap);

    rc = rc ? rc : cache_co_write(r->cache, &cap); /* yields */
    cache_uncapture(r->cache, &cap);
    return rc;
}

static int co_fn clean(void *opaque)
{
    struct rig *r = opaque;

    r->cleaned++;
    return r->broken ? -EIO : write_all(r); /* yields */
}

/* Each slice of the file begins with its number. */
static void rig_open_cache(struct rig *r)
{
    g_autofree uint8_t *data = g_malloc0(place(FILE_SLICES));
    g_autofree char *path = rig_path("cached");

    for (int i = 0; i < FILE_SLICES; i++) {
        memcpy(data + place(i), &i, sizeof(i));
    }
    g_assert_true(g_file_set_contents(path, (const char *)data,
                                      place(FILE_SLICES), NULL));
    *r = (struct rig){.file = rig_open("cached", "driver=raw", NODE_RDWR)};
    r->cache = cache_new(r->file, SLICE, place(SLICES), clean, r);
    g_assert_nonnull(r->cache);
}

static void rig_close_cache(struct rig *r)
{
    cache_free(r->cache);
    g_assert_cmpint(rig_close(r->file), ==, 0);
}

/* Gets slice @i, looks whether it is that one, and with @edit changes it. */
static void co_fn use(struct rig *r, int i, bool edit)
{
    struct slice *sl = NULL;
    uint8_t *data;
    int number;

    g_assert_cmpint(cache_co_get(r->cache, place(i), &sl), ==, 0); /* yields */
    memcpy(&number, slice_lock(sl), sizeof(number));
    g_assert_cmpint(number, ==, i);
    data = edit ? slice_edit_locked(sl) : NULL;
    if (data) {
        data[SLICE - 1] = 1;
    }
    slice_unlock(sl);
    slice_put(sl);
}

static bool is_cached(struct rig *r, int i)
{
    struct slice *sl = cache_find_locked(r->cache, place(i));

    if (sl) {
        slice_unlock(sl);
    }
    return sl != NULL;
}

static void expect_on_disk(int i, int last)
{
    g_autofree char *path = rig_path("cached");
    g_autofree char *data = NULL;
    gsize bytes;

    g_assert_true(g_file_get_contents(path, &data, &bytes, NULL));
    g_assert_cmpint(data[place(i + 1) - 1], ==, last);
}

/* -- How much ------------------------------------------------------------ */

static void bounded_entry(void *opaque)
{
    struct rig *r = opaque;

    co_assert_role();
    for (int i = 0; i < FILE_SLICES; i++) {
        use(r, i, false); /* yields */
        g_assert_cmpint(cache_bytes(r->cache), <=, place(SLICES));
    }
}

static void test_bounded(void)
{
    struct rig r;

    rig_open_cache(&r);
    rig_run(bounded_entry, &r);
    g_assert_cmpint(cache_bytes(r.cache), >, place(SLICES / 2));
    g_assert_cmpint(r.cleaned, ==, 0);
    rig_close_cache(&r);
}

/* What is changed is written when it is in the way, and stays bounded, too. */
static void dirty_entry(void *opaque)
{
    struct rig *r = opaque;

    co_assert_role();
    for (int i = 0; i < FILE_SLICES; i++) {
        use(r, i, true); /* yields */
        g_assert_cmpint(cache_bytes(r->cache), <=, place(SLICES));
    }
    g_assert_cmpint(write_all(r), ==, 0);
}

static void test_dirty_bounded(void)
{
    struct rig r;

    rig_open_cache(&r);
    rig_run(dirty_entry, &r);
    g_assert_cmpint(r.cleaned, >, 0);
    for (int i = 0; i < FILE_SLICES; i += 100) {
        expect_on_disk(i, 1);
    }
    rig_close_cache(&r);
}

/* -- Which --------------------------------------------------------------- */

/* A slice that is used again and again outlives all others. */
static void recent_entry(void *opaque)
{
    struct rig *r = opaque;

    co_assert_role();
    use(r, 0, false);
    use(r, 1, false);
    for (int i = 2; i < FILE_SLICES; i++) {
        use(r, i, false); /* yields */
        g_assert_true(is_cached(r, 0));
    }
    g_assert_false(is_cached(r, 1));
}

static void test_recent_stays(void)
{
    struct rig r;

    rig_open_cache(&r);
    rig_run(recent_entry, &r);
    rig_close_cache(&r);
}

/* Of what is not used between two calls nothing stays but what is changed. */
static void unused_entry(void *opaque)
{
    struct rig *r = opaque;

    co_assert_role();
    use(r, 0, false);
    use(r, 1, false);
    use(r, 2, true);
    cache_drop_unused(r->cache);
    g_assert_cmpint(cache_bytes(r->cache), ==, place(3));
    use(r, 1, false);
    cache_drop_unused(r->cache);
    g_assert_cmpint(cache_bytes(r->cache), ==, place(2));
    g_assert_true(is_cached(r, 1)); /* used by this look */
    cache_drop_unused(r->cache);
    g_assert_true(is_cached(r, 1));
    g_assert_true(is_cached(r, 2));
    g_assert_cmpint(write_all(r), ==, 0);
    cache_drop_unused(r->cache);
    cache_drop_unused(r->cache);
    g_assert_cmpint(cache_bytes(r->cache), ==, 0);
}

static void test_unused(void)
{
    struct rig r;

    rig_open_cache(&r);
    rig_run(unused_entry, &r);
    expect_on_disk(2, 1);
    rig_close_cache(&r);
}

/* One that is changed or in use is not dropped; if it cannot be written, the
 * cache gets too large rather than forget it. */
static void kept_entry(void *opaque)
{
    struct rig *r = opaque;
    struct slice *sl = NULL;

    co_assert_role();
    use(r, 0, true);
    g_assert_cmpint(cache_co_get(r->cache, place(1), &sl), ==, 0);
    for (int i = 2; i < FILE_SLICES; i++) {
        use(r, i, false); /* yields */
    }
    g_assert_true(is_cached(r, 0));
    g_assert_true(is_cached(r, 1));
    slice_put(sl);
}

static void test_kept(void)
{
    struct rig r;

    rig_open_cache(&r);
    r.broken = true;
    rig_run(kept_entry, &r);
    expect_on_disk(0, 0);
    rig_close_cache(&r);
}

/* -- What is written ----------------------------------------------------- */

/* A slice that is changed after it was captured is written as it was. */
static void picture_entry(void *opaque)
{
    struct rig *r = opaque;
    struct capture cap = {.n = 0};
    struct slice *sl = NULL;

    co_assert_role();
    use(r, 3, true);
    g_assert_cmpint(cache_capture(r->cache, &cap), ==, 0);
    g_assert_cmpint(cap.n, ==, 1);
    g_assert_cmpint(cache_co_get(r->cache, place(3), &sl), ==, 0);
    (void)slice_lock(sl);
    slice_edit_locked(sl)[SLICE - 1] = 2;
    slice_unlock(sl);
    slice_put(sl);
    g_assert_cmpint(cache_co_write(r->cache, &cap), ==, 0); /* yields */
    cache_uncapture(r->cache, &cap);
    expect_on_disk(3, 1);
    g_assert_true(cache_is_dirty(r->cache));
    g_assert_cmpint(write_all(r), ==, 0);
    expect_on_disk(3, 2);
    g_assert_false(cache_is_dirty(r->cache));
}

static void test_picture(void)
{
    struct rig r;

    rig_open_cache(&r);
    rig_run(picture_entry, &r);
    rig_close_cache(&r);
}

static void add_tests(void)
{
    g_test_add_func("/qcow2-cache/bounded", test_bounded);
    g_test_add_func("/qcow2-cache/dirty-bounded", test_dirty_bounded);
    g_test_add_func("/qcow2-cache/recent-stays", test_recent_stays);
    g_test_add_func("/qcow2-cache/unused", test_unused);
    g_test_add_func("/qcow2-cache/kept", test_kept);
    g_test_add_func("/qcow2-cache/picture", test_picture);
}

int main(int argc, char **argv)
{
    return rig_main(argc, argv, add_tests);
}
