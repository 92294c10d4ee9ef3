/* SPDX-License-Identifier: MIT */
/*
 * view: attributes, open files, status files.
 */
#include "base/json.h"
#include "view-rig.h"

#define P1 (1 * MiB) /* where p1 begins */

/* -- Attributes ---------------------------------------------------------- */

static void co_fn test_attr(struct rig *r)
{
    struct view_attr a = rig_stat(r, "p2");

    g_assert_cmpint((int)a.mode, ==, S_IFREG | 0600);
    g_assert_cmpint(a.size, ==, 2 * MiB);
    g_assert_cmpint((int)a.uid, ==, 7);
    g_assert_cmpint((int)a.gid, ==, 8);
    g_assert_cmpint(a.blksize, ==, 4096);
    g_assert_cmpint(a.atime.tv_sec, ==, 100);
    g_assert_cmpint(a.mtime.tv_sec, ==, 200);
    g_assert_cmpint(a.mtime.tv_nsec, ==, 2);
    g_assert_cmpint(a.ctime.tv_sec, ==, 300);
    g_assert_cmpint((int)rig_stat(r, "").mode, ==, S_IFDIR | 0700);
    g_assert_cmpint((int)rig_stat(r, ".coblk/info.json").mode, ==,
                    S_IFREG | 0400);
}

static void co_fn test_attr_rdonly(struct rig *r)
{
    struct view_attr a = {0};

    r->backend_flags = BACKEND_RDONLY;
    r->opts.mode = 0644;
    rig_remount(r);
    g_assert_cmpint((int)rig_stat(r, "disk").mode, ==, S_IFREG | 0444);
    g_assert_cmpint((int)rig_stat(r, "").mode, ==, S_IFDIR | 0555);
    g_assert_cmpint(
        view_co_setattr(r->view, rig_ino(r, "disk"), VIEW_SET_MODE, &a, &a), ==,
        -EROFS);
}

/* The image has holes: so, for all that is known, have its partitions. */
static void co_fn test_allocated(struct rig *r)
{
    g_assert_cmpint(rig_stat(r, "disk").allocated, ==, RIG_BYTES);
    g_assert_cmpint(rig_stat(r, "p2").allocated, ==, 2 * MiB);
    r->stat.allocated = RIG_BYTES / 4;
    g_assert_cmpint(rig_stat(r, "disk").allocated, ==, RIG_BYTES / 4);
    g_assert_cmpint(rig_stat(r, "p2").allocated, ==, 2 * MiB / 4);
    r->stat.allocated = -1; /* the host does not know */
    g_assert_cmpint(rig_stat(r, "p2").allocated, ==, 2 * MiB);
}

static void co_fn test_set_mode(struct rig *r)
{
    struct view_attr a = {.mode = 0640};

    g_assert_cmpint(
        view_co_setattr(r->view, rig_ino(r, "p1"), VIEW_SET_MODE, &a, &a), ==,
        0);
    g_assert_cmpint((int)a.mode, ==, S_IFREG | 0640);
    g_assert_cmpint((int)rig_stat(r, "p1").mode, ==, S_IFREG | 0640);
    g_assert_cmpint((int)rig_stat(r, "p2").mode, ==, S_IFREG | 0600);
    g_assert_cmpint(rig_stat(r, "p1").ctime.tv_sec, >, 300); /* now */
}

/* A time that was set lasts until the image's own moves. */
static void co_fn test_set_time(struct rig *r)
{
    struct view_attr a = {.mtime = {.tv_sec = 42}, .atime = {.tv_sec = 43}};

    g_assert_cmpint(view_co_setattr(r->view, rig_ino(r, "p1"),
                                    VIEW_SET_MTIME | VIEW_SET_ATIME, &a, &a),
                    ==, 0);
    g_assert_cmpint(rig_stat(r, "p1").mtime.tv_sec, ==, 42);
    g_assert_cmpint(rig_stat(r, "p1").atime.tv_sec, ==, 43);
    g_assert_cmpint(rig_stat(r, "disk").mtime.tv_sec, ==, 200);
    r->stat.mtime.nsec++;
    g_assert_cmpint(rig_stat(r, "p1").mtime.tv_sec, ==, 200);
    g_assert_cmpint(rig_stat(r, "p1").atime.tv_sec, ==, 43);
}

static int co_fn set_size(struct rig *r, const char *path, int64_t size)
{
    struct view_attr a = {.size = size};

    return view_co_setattr(r->view, rig_ino(r, path), VIEW_SET_SIZE, &a, &a);
}

static void co_fn test_set_size(struct rig *r)
{
    g_assert_cmpint(set_size(r, "p1", 1 * MiB), ==, 0); /* it has that */
    g_assert_cmpint(set_size(r, "p1", 2 * MiB), ==, -EPERM);
    g_assert_cmpint(set_size(r, "p1", 0), ==, -EPERM);
    g_assert_cmpint(set_size(r, "disk", 0), ==, -EPERM);
    g_assert_cmpint(set_size(r, "", 0), ==, -EISDIR);
    g_assert_cmpint(r->length, ==, RIG_BYTES);
    g_assert_cmpint(set_size(r, "disk", RIG_BYTES + 100), ==, 0);
    g_assert_cmpint(r->length, ==, RIG_BYTES + 100);
    g_assert_cmpint(rig_stat(r, "disk").size, ==, RIG_BYTES + 100);
}

static void co_fn test_statfs(struct rig *r)
{
    struct view_statfs st;

    view_statfs(r->view, &st);
    g_assert_cmpint(st.bytes, ==, RIG_BYTES);
    /* root, .coblk and 2, disk, 4 directories, p1, p2, 2 links to each */
    g_assert_cmpint(st.files, ==, 1 + 3 + 1 + 4 + 2 + 4);
}

/* -- Open and ranges ----------------------------------------------------- */

static int co_fn try_open(struct rig *r, const char *path, unsigned flags)
{
    struct view_file *f;
    int rc = view_co_open(r->view, rig_ino(r, path), flags, &f);

    if (rc == 0) {
        rig_close(f);
    }
    return rc;
}

static void co_fn test_open(struct rig *r)
{
    g_assert_cmpint(try_open(r, "disk", RW), ==, 0);
    g_assert_cmpint(try_open(r, "", VIEW_OPEN_READ), ==, -EISDIR);
    g_assert_cmpint(try_open(r, "by-partlabel/one", VIEW_OPEN_READ), ==,
                    -ELOOP);
    g_assert_cmpint(try_open(r, ".coblk/info.json", RW), ==, -EACCES);
    g_assert_cmpint((int)view_open_files(r->view), ==, 0);
}

static void co_fn test_open_rdonly(struct rig *r)
{
    r->backend_flags = BACKEND_RDONLY;
    rig_remount(r);
    g_assert_cmpint(try_open(r, "disk", VIEW_OPEN_READ), ==, 0);
    g_assert_cmpint(try_open(r, "p1", RW), ==, -EROFS);
}

static void co_fn test_open_count(struct rig *r)
{
    struct view_file *f1 = rig_open(r, "disk", VIEW_OPEN_READ);
    struct view_file *f2 = rig_open(r, ".coblk/stats.json", VIEW_OPEN_READ);

    g_assert_cmpint((int)view_open_files(r->view), ==, 2);
    rig_close(f1);
    g_assert_cmpint((int)view_open_files(r->view), ==, 1);
    rig_close(f2);
    g_assert_cmpint((int)view_open_files(r->view), ==, 0);
}

static void co_fn test_direct(struct rig *r)
{
    struct view_file *f = rig_open(r, "p1", RW);

    g_assert_false(f->direct_io);
    rig_close(f);
    f = rig_open(r, "p1", RW | VIEW_OPEN_DIRECT);
    g_assert_true(f->direct_io);
    rig_close(f);
    r->opts.direct_io = true;
    rig_remount(r);
    f = rig_open(r, "p1", RW);
    g_assert_true(f->direct_io);
    rig_close(f);
}

static void co_fn test_ranges(struct rig *r)
{
    static const struct {
        int64_t offset, bytes, want_read, want_write;
    } cases[] = {
        {0, 10, 10, 10},
        {1 * MiB - 10, 10, 10, 10},
        {1 * MiB - 10, 11, 10, 10}, /* short, not into the next one */
        {1 * MiB, 1, 0, -ENOSPC},
        {1 * MiB, 0, 0, 0},
        {1 * MiB + 1, 1, 0, -ENOSPC},
        {INT64_MAX, 1, 0, -ENOSPC},
        {1, INT64_MAX, 1 * MiB - 1, 1 * MiB - 1},
        {-1, 10, 0, -EINVAL},
        {0, -1, 0, -EINVAL},
    };
    struct view_file *f = rig_open(r, "p1", RW);
    struct view_file *ro = rig_open(r, "p1", VIEW_OPEN_READ);

    g_assert_cmpint(f->offset, ==, P1);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        int64_t offset = cases[i].offset, bytes = cases[i].bytes;

        g_assert_cmpint(view_file_readable(f, offset, bytes), ==,
                        cases[i].want_read);
        g_assert_cmpint(view_file_will_write(f, offset, bytes), ==,
                        cases[i].want_write);
        g_assert_cmpint(view_file_will_write(ro, offset, bytes), ==, -EBADF);
    }
    rig_close(f);
    rig_close(ro);
}

/* A disk that is no multiple of a sector: its tail is there. */
static void co_fn test_odd_size(struct rig *r)
{
    struct view_file *f;

    rig_unmount(r);
    r->length -= 100;
    rig_mount(r);
    g_assert_cmpint(rig_stat(r, "disk").size, ==, RIG_BYTES - 100);
    f = rig_open(r, "disk", RW);
    g_assert_cmpint(view_file_readable(f, RIG_BYTES - 600, 600), ==, 500);
    g_assert_cmpint(rig_write(f, RIG_BYTES - 105, "tail!", 5), ==, 0);
    g_assert_cmpint(memcmp(r->bytes + RIG_BYTES - 105, "tail!", 5), ==, 0);
    rig_close(f);
}

/* -- Errors -------------------------------------------------------------- */

static void co_fn fail_write(struct rig *r, struct view_file *f, int rc)
{
    r->fail_write = rc;
    g_assert_cmpint(rig_write(f, 0, "x", 1), ==, rc);
    r->fail_write = 0;
}

/* Each open file is told once by close and once by fsync. */
static void co_fn test_errors(struct rig *r)
{
    struct view_file *f1 = rig_open(r, "disk", RW);
    struct view_file *f2 = rig_open(r, "disk", RW);

    fail_write(r, f1, -EIO);
    fail_write(r, f1, -ENOSPC);
    g_assert_cmpint(view_co_fsync(f1), ==, -EIO);
    g_assert_cmpint(view_co_fsync(f1), ==, 0);
    g_assert_cmpint(view_co_close(f1), ==, -EIO);
    g_assert_cmpint(view_co_close(f1), ==, 0);
    /* A child that closes its copy takes nothing away from the parent. */
    g_assert_cmpint(view_co_close(f2), ==, -EIO);
    g_assert_cmpint(view_co_fsync(f2), ==, -EIO);
    g_assert_cmpint(view_co_fsync(f2), ==, 0);
    view_co_release(f1);
    view_co_release(f2);
}

/* What fsync has told somebody is not told again at the end of the mount; what
 * nobody was told, is. */
static void co_fn test_lost_write(struct rig *r)
{
    struct view_file *f = rig_open(r, "disk", RW);

    fail_write(r, f, -EIO);
    g_assert_cmpint(view_co_fsync(f), ==, -EIO);
    g_assert_cmpint(view_lost_write(r->view), ==, 0);
    fail_write(r, f, -ENOSPC);
    g_assert_cmpint(view_lost_write(r->view), ==, -ENOSPC);
    g_assert_cmpint(view_lost_write(r->view), ==, 0);
    view_co_release(f);
}

static void co_fn test_failed_flush(struct rig *r)
{
    struct view_file *f = rig_open(r, "p1", RW);

    g_assert_cmpint(rig_write(f, 0, "x", 1), ==, 0);
    r->fail_flush = -EIO;
    g_assert_cmpint(view_co_fsync(f), ==, -EIO);
    r->fail_flush = 0;
    g_assert_cmpint(view_co_fsync(f), ==, 0);
    g_assert_cmpint(view_co_close(f), ==, -EIO);
    view_co_release(f);
}

/* -- Seek, allocate, copy ------------------------------------------------ */

static void co_fn test_seek(struct rig *r)
{
    /* Data in the second and third of p1's blocks of 64 KiB. */
    static const struct {
        int64_t offset, data, hole;
    } cases[] = {
        {0, 64 * KiB, 0},
        {64 * KiB + 5, 64 * KiB + 5, 192 * KiB},
        {128 * KiB, 128 * KiB, 192 * KiB},
        {192 * KiB, -ENXIO, 192 * KiB},
        {1 * MiB - 1, -ENXIO, 1 * MiB - 1},
        {1 * MiB, -ENXIO, -ENXIO},
        {-1, -ENXIO, -ENXIO},
    };
    struct view_file *f = rig_open(r, "p1", VIEW_OPEN_READ);

    r->bytes[P1 + 64 * KiB] = r->bytes[P1 + 128 * KiB] = 1;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_assert_cmpint(view_co_seek(f, cases[i].offset, true), ==,
                        cases[i].data);
        g_assert_cmpint(view_co_seek(f, cases[i].offset, false), ==,
                        cases[i].hole);
    }
    /* Data right behind p1 is not p1's; at p1's end there is a hole. */
    memset(r->bytes + P1, 1, 1 * MiB);
    r->bytes[2 * MiB] = 1;
    g_assert_cmpint(view_co_seek(f, 0, false), ==, 1 * MiB);
    rig_close(f);
}

static void co_fn test_allocate(struct rig *r)
{
    struct view_file *p1 = rig_open(r, "p1", RW);
    struct view_file *disk = rig_open(r, "disk", RW);
    struct view_file *ro = rig_open(r, "disk", VIEW_OPEN_READ);

    g_assert_cmpint(view_co_allocate(p1, 0, 1 * MiB, true), ==, 0);
    g_assert_cmpint(view_co_allocate(p1, 0, 1 * MiB + 1, true), ==, -ENOSPC);
    g_assert_cmpint(view_co_allocate(p1, INT64_MAX, 1, true), ==, -EFBIG);
    g_assert_cmpint(view_co_allocate(p1, 0, 0, true), ==, -EINVAL);
    g_assert_cmpint(view_co_allocate(ro, 0, 1, true), ==, -EBADF);
    g_assert_cmpint(view_co_allocate(disk, RIG_BYTES, 1, false), ==, -ENOSPC);
    g_assert_cmpint(r->length, ==, RIG_BYTES);
    g_assert_cmpint(view_co_allocate(disk, RIG_BYTES, 512, true), ==, 0);
    g_assert_cmpint(r->length, ==, RIG_BYTES + 512);
    g_assert_cmpint(view_file_length(disk), ==, RIG_BYTES + 512);
    rig_close(p1);
    rig_close(disk);
    rig_close(ro);
}

static void co_fn test_copy(struct rig *r)
{
    struct view_file *p1 = rig_open(r, "p1", RW);
    struct view_file *p2 = rig_open(r, "p2", RW);
    struct view_file *disk = rig_open(r, "disk", RW);

    memcpy(r->bytes + 2 * MiB + 10, "from p2", 7);
    g_assert_cmpint(view_co_copy(p2, 10, p1, 20, 7), ==, 7);
    g_assert_cmpint(memcmp(r->bytes + P1 + 20, "from p2", 7), ==, 0);
    /* At the ends: short, and nothing. */
    g_assert_cmpint(view_co_copy(p1, 1 * MiB - 5, p2, 0, 100), ==, 5);
    g_assert_cmpint(view_co_copy(p1, 0, p2, 2 * MiB - 5, 100), ==, 5);
    g_assert_cmpint(view_co_copy(p1, 1 * MiB, p2, 0, 100), ==, 0);
    g_assert_cmpint(view_co_copy(p1, 0, p2, 2 * MiB, 100), ==, -ENOSPC);
    /* The same bytes under two names. */
    g_assert_cmpint(view_co_copy(disk, P1, p1, 50, 100), ==, -EINVAL);
    g_assert_cmpint(view_co_copy(disk, P1, p1, 100, 100), ==, 100);
    rig_close(p1);
    rig_close(p2);
    rig_close(disk);
}

static void co_fn test_copy_flags(struct rig *r)
{
    struct view_file *ro = rig_open(r, "p1", VIEW_OPEN_READ);
    struct view_file *wo = rig_open(r, "p2", VIEW_OPEN_WRITE);
    struct view_file *text = rig_open(r, ".coblk/info.json", VIEW_OPEN_READ);

    g_assert_cmpint(view_co_copy(ro, 0, wo, 0, 1), ==, 1);
    g_assert_cmpint(view_co_copy(wo, 0, wo, 9, 1), ==, -EBADF);
    g_assert_cmpint(view_co_copy(ro, 0, ro, 9, 1), ==, -EBADF);
    g_assert_cmpint(view_co_copy(text, 0, wo, 0, 1), ==, -EOPNOTSUPP);
    rig_close(ro);
    rig_close(wo);
    rig_close(text);
}

/* -- Status -------------------------------------------------------------- */

/* What the Python expression @expr makes of the JSON text in @path. */
static char *co_fn json_eval(struct rig *r, const char *path, const char *expr)
{
    struct view_file *f = rig_open(r, path, VIEW_OPEN_READ);
    const char *argv[] = {"python3",
                          "-c",
                          "import json, sys\n"
                          "d = json.loads(sys.argv[1])\n"
                          "print(eval(sys.argv[2]), end='')",
                          f->text,
                          expr,
                          NULL};
    char *out = NULL;
    int status = -1;

    g_assert_cmpint(f->bytes, ==, (int64_t)strlen(f->text));
    g_assert_true(f->direct_io);
    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH,
                               NULL, NULL, &out, NULL, &status, NULL));
    g_assert_cmpint(status, ==, 0);
    rig_close(f);
    return out;
}

#define assert_json(r, path, expr, want)                  \
    do {                                                  \
        g_autofree char *got_ = json_eval(r, path, expr); \
        g_assert_cmpstr(got_, ==, want);                  \
    } while (0)

static void co_fn test_stats(struct rig *r)
{
    struct backend_stats *s = backend_stats(r->be);
    int64_t begun = backend_stats_begin(s, STATS_WRITE, 4096);

    assert_json(r, ".coblk/stats.json", "d['queue_depth']", "1");
    backend_stats_end(s, STATS_WRITE, begun, -EIO);
    backend_stats_merged(s, STATS_WRITE, 3);
    assert_json(r, ".coblk/stats.json",
                "' '.join(str(d['write'][k]) for k in"
                " ('requests', 'bytes', 'merged', 'failed'))",
                "1 4096 3 1");
    assert_json(r, ".coblk/stats.json", "list(d)",
                "['read', 'write', 'flush', 'discard', 'queue_depth']");
    assert_json(r, ".coblk/stats.json",
                "all(list(d[t]) == ['requests', 'bytes', 'merged',"
                " 'backend_requests', 'failed', 'latency_ns'] and"
                " list(d[t]['latency_ns']) == ['p50', 'p90', 'p99', 'p999',"
                " 'max', 'mean']"
                " for t in ('read', 'write', 'flush', 'discard'))",
                "True");
}

static void add_info(struct json *out, void *opaque)
{
    json_string(out, "image", opaque);
}

static void co_fn test_info(struct rig *r)
{
    char name[] = "x \"y\".img";

    r->opts.info = add_info;
    r->opts.opaque = name;
    rig_put_swap(r, P1, "my swap", 1);
    rig_remount(r);
    assert_json(r, ".coblk/info.json", "d['image']", "x \"y\".img");
    assert_json(r, ".coblk/info.json", "d['table']['scheme'], d['bytes']",
                "('gpt', 8388608)");
    assert_json(r, ".coblk/info.json",
                "[(p['file'], p['offset'], p['bytes'], p['partlabel'],"
                " p['content']['label']) for p in d['partitions']]",
                "[('p1', 1048576, 1048576, 'one', 'my swap'),"
                " ('p2', 2097152, 2097152, 'two', None)]");
    assert_json(r, ".coblk/info.json", "d['coroutines']['created'] > 0",
                "True");
    assert_json(r, ".coblk/info.json", "d['warnings']", "[]");
}

static void co_fn test_info_warnings(struct rig *r)
{
    static const struct rig_part parts[] = {{2048, 8, "same"},
                                            {4096, 8, "same"}};

    rig_put_gpt(r, parts, 2);
    r->bytes[RIG_BYTES - 512] = 0; /* the backup header */
    rig_remount(r);
    assert_json(r, ".coblk/info.json", "len(d['warnings']) > 1", "True");
    assert_json(r, ".coblk/info.json", "d['warnings'][-1]",
                "p2: by-partlabel/same is p1 already, no link");
}

static const struct rig_test tests[] = {
    {"/view/attr/partition", test_attr},
    {"/view/attr/read-only", test_attr_rdonly},
    {"/view/attr/allocated", test_allocated},
    {"/view/attr/set-mode", test_set_mode},
    {"/view/attr/set-time", test_set_time},
    {"/view/attr/set-size", test_set_size},
    {"/view/attr/statfs", test_statfs},
    {"/view/open/kinds", test_open},
    {"/view/open/read-only", test_open_rdonly},
    {"/view/open/count", test_open_count},
    {"/view/open/direct", test_direct},
    {"/view/file/ranges", test_ranges},
    {"/view/file/odd-size", test_odd_size},
    {"/view/file/errors", test_errors},
    {"/view/file/lost-write", test_lost_write},
    {"/view/file/failed-flush", test_failed_flush},
    {"/view/file/seek", test_seek},
    {"/view/file/allocate", test_allocate},
    {"/view/file/copy", test_copy},
    {"/view/file/copy-flags", test_copy_flags},
    {"/view/text/stats", test_stats},
    {"/view/text/info", test_info},
    {"/view/text/warnings", test_info_warnings},
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    rig_add_tests(tests, G_N_ELEMENTS(tests));
    return g_test_run();
}
