/* SPDX-License-Identifier: MIT */
/*
 * view-rig: a view of a disk in memory, for the tests of view.
 *
 * The disk has 8 MiB and, unless a test makes another table,
 *
 *   p1   1 MiB at 1 MiB   "one"
 *   p2   2 MiB at 2 MiB   "two"
 *
 * Each test runs in a coroutine and gets a struct rig.  What the view tells
 * the kernel and what it logs is recorded as text.
 */
#ifndef TEST_UNIT_VIEW_RIG_H
#define TEST_UNIT_VIEW_RIG_H

#include <errno.h>
#include <glib.h>
#include <string.h>
#include <sys/stat.h>

#include "backend/backend.h"
#include "base/log.h"
#include "block/driver.h"
#include "block/node.h"
#include "loop/loop.h"
#include "part-image.h"
#include "view/view.h"

#define RIG_BYTES (8 * MiB)
#define SECTOR    512

struct rig {
    struct loop *loop;
    struct backend *be;
    struct view *view;
    struct view_opts opts;
    unsigned backend_flags;

    /* The disk. */
    uint8_t *bytes;
    int64_t length;
    struct node_stat stat;
    int fail_read, fail_write, fail_flush; /* negative errno */
    /* Runs once, in the next read. */
    void (*in_read)(struct rig *r) co_fn_ptr;
    struct view_file *file; /* for in_read */

    GString *events, *log;
};

static struct rig rig; /* one test runs at a time */

/* -- The driver "mem" ---------------------------------------------------- */

static inline int co_fn mem_co_open(struct node *node, struct options *opts,
                                    GError **err)
{
    node_set_length(node, rig.length);
    node_set_filename(node, "mem");
    return 0;
}

static inline int co_fn mem_co_preadv(struct node *node, int64_t offset,
                                      const struct iovs *dst)
{
    void (*in_read)(struct rig *) = rig.in_read;

    loop_co_relax(); /* as a real one, which yields */
    rig.in_read = NULL;
    if (in_read) {
        in_read(&rig);
    }
    iovs_from_buf(dst, 0, rig.bytes + offset, dst->bytes);
    return rig.fail_read;
}

static inline int co_fn mem_co_pwritev(struct node *node, int64_t offset,
                                       const struct iovs *src, unsigned flags)
{
    if (rig.fail_write == 0) {
        iovs_to_buf(src, 0, rig.bytes + offset, src->bytes);
    }
    return rig.fail_write;
}

static inline int co_fn mem_co_flush_to_disk(struct node *node)
{
    return rig.fail_flush;
}

/* Blocks of 64 KiB that are all zero are holes. */
static inline int co_fn mem_co_block_status(struct node *node, bool precise,
                                            int64_t offset, int64_t bytes,
                                            struct block_status *ret)
{
    int64_t block = align_down(offset, 64 * KiB);
    int64_t end = MIN(block + 64 * KiB, rig.length);
    bool zero = buf_is_zero(rig.bytes + block, end - block);

    *ret = (struct block_status){
        .flags = (zero ? BLOCK_ZERO : BLOCK_DATA) | BLOCK_OFFSET_VALID,
        .bytes = MIN(end - offset, bytes),
        .map = offset,
        .file = node,
    };
    return 0;
}

static inline int co_fn mem_co_truncate(struct node *node, int64_t length,
                                        enum prealloc_mode prealloc,
                                        unsigned flags, GError **err)
{
    rig.bytes = g_realloc(rig.bytes, (size_t)length);
    memset(rig.bytes + rig.length, 0, (size_t)(length - rig.length));
    rig.length = length;
    node_set_length(node, length);
    return 0;
}

static inline int co_fn mem_co_stat(struct node *node, struct node_stat *ret)
{
    *ret = rig.stat;
    return 0;
}

static const struct driver mem_driver = {
    .name = "mem",
    .traits = DRIVER_LEAF,
    .co_open = mem_co_open,
    .co_preadv = mem_co_preadv,
    .co_pwritev = mem_co_pwritev,
    .co_flush_to_disk = mem_co_flush_to_disk,
    .co_block_status = mem_co_block_status,
    .co_truncate = mem_co_truncate,
    .co_stat = mem_co_stat,
};

/* -- What is on the disk ------------------------------------------------- */

struct rig_part {
    uint64_t first, sectors;
    const char *name;
};

/* Writes a GPT of @n partitions, past the view. */
static inline void rig_put_gpt(struct rig *r, const struct rig_part *parts,
                               int n)
{
    struct image *im = image_new(r->length, SECTOR);

    for (int i = 0; i < n; i++) {
        image_put_gpt_entry(im, i, (uint8_t)(0x10 + 2 * i), parts[i].first,
                            parts[i].first + parts[i].sectors - 1,
                            parts[i].name);
    }
    image_put_gpt(im);
    memcpy(r->bytes, im->head, 64 * KiB);
    memcpy(r->bytes + r->length - 64 * KiB, im->tail + IMAGE_EDGE - 64 * KiB,
           64 * KiB);
    g_free(im);
}

static inline void rig_put_swap(struct rig *r, int64_t offset,
                                const char *label, uint8_t uuid)
{
    uint8_t *p = r->bytes + offset + 1024;

    memset(p - 1024, 0, 4096);
    store_le32(p, 1);     /* version */
    store_le32(p + 4, 9); /* last page */
    memset(p + 12, uuid, 16);
    memcpy(p + 28, label, MIN(strlen(label), 16));
    memcpy(r->bytes + offset + 4096 - 10, "SWAPSPACE2", 10);
}

/* -- The view ------------------------------------------------------------ */

static inline void rig_log(enum log_level level, const char *line, void *opaque)
{
    g_string_append_printf(rig.log, "%s\n", line);
}

static inline void rig_data_changed(void *opaque, uint64_t ino, int64_t offset,
                                    int64_t bytes)
{
    g_string_append_printf(rig.events, "data %d %d+%d\n", (int)ino, (int)offset,
                           (int)bytes);
}

static inline void rig_entry_gone(void *opaque, uint64_t parent,
                                  const char *name)
{
    g_string_append_printf(rig.events, "gone %d %s\n", (int)parent, name);
}

/* What was recorded since the last call; valid until the next one. */
static inline const char *rig_take(GString *text)
{
    static char *taken;

    g_free(taken);
    taken = g_strdup(text->str);
    g_string_truncate(text, 0);
    return taken;
}

static inline int co_fn rig_try_mount(struct rig *r, GError **err)
{
    static const struct view_events events = {
        .data_changed = rig_data_changed,
        .entry_gone = rig_entry_gone,
    };
    struct options *o = options_new();
    struct node *root;
    int rc;

    options_set(o, "driver", "mem");
    root = node_co_open(o, r->backend_flags & BACKEND_RDONLY ? 0 : NODE_RDWR,
                        NULL);
    g_assert_nonnull(root);
    g_assert_cmpint(backend_new(root, r->backend_flags, &r->be), ==, 0);
    g_assert_cmpint(node_co_unref(root), ==, 0);
    rc = view_co_new(r->be, &r->opts, &r->view, err);
    if (rc == 0) {
        view_set_events(r->view, &events);
    }
    return rc;
}

static inline void co_fn rig_mount(struct rig *r)
{
    g_assert_cmpint(rig_try_mount(r, NULL), ==, 0);
}

static inline void co_fn rig_unmount(struct rig *r)
{
    view_free(r->view);
    r->view = NULL;
    (void)backend_co_free(r->be); /* tests of errors look at them before */
    r->be = NULL;
}

/* Mounts anew what is on the disk now. */
static inline void co_fn rig_remount(struct rig *r)
{
    rig_unmount(r);
    rig_mount(r);
}

/* The number of "a/b/c", 0 when there is no such file. */
static inline uint64_t co_fn rig_ino(struct rig *r, const char *path)
{
    g_auto(GStrv) names = g_strsplit(path, "/", -1);
    struct view_attr a = {.ino = VIEW_ROOT};

    for (int i = 0; names[i] && *names[i]; i++) {
        if (view_co_lookup(r->view, a.ino, names[i], &a) < 0) {
            return 0;
        }
    }
    return a.ino;
}

static inline struct view_attr co_fn rig_stat(struct rig *r, const char *path)
{
    struct view_attr a;

    g_assert_cmpint(view_co_getattr(r->view, rig_ino(r, path), &a), ==, 0);
    return a;
}

static inline struct view_file *co_fn rig_open(struct rig *r, const char *path,
                                               unsigned flags)
{
    struct view_file *f;

    g_assert_cmpint(view_co_open(r->view, rig_ino(r, path), flags, &f), ==, 0);
    return f;
}

#define RW (VIEW_OPEN_READ | VIEW_OPEN_WRITE)

/* What the front does with a write: 0 or a negative errno. */
static inline int co_fn rig_write(struct view_file *f, int64_t offset,
                                  const void *buf, int64_t bytes)
{
    int64_t n = view_file_will_write(f, offset, bytes);

    if (n < 0) {
        return (int)n;
    }
    g_assert_cmpint(n, ==, bytes);
    return backend_co_pwrite(rig.be, f->offset + offset, buf, bytes);
}

static inline void co_fn rig_close(struct view_file *f)
{
    g_assert_cmpint(view_co_close(f), ==, 0);
    view_co_release(f);
}

/* Opens, writes one byte at @offset, closes. */
static inline void co_fn rig_touch(struct rig *r, const char *path,
                                   int64_t offset)
{
    struct view_file *f = rig_open(r, path, VIEW_OPEN_WRITE);

    g_assert_cmpint(rig_write(f, offset, "x", 1), ==, 0);
    rig_close(f);
}

struct rig_listing {
    GString *names;
    int64_t cookie;
    int room;
};

static inline bool rig_list_one(void *opaque, const char *name,
                                const struct view_attr *attr, int64_t next)
{
    struct rig_listing *l = opaque;

    if (l->room-- == 0) {
        return false;
    }
    g_string_append_printf(l->names, "%s ", name);
    l->cookie = next;
    return true;
}

/* The names in @path; valid until the next call. */
static inline const char *co_fn rig_list(struct rig *r, const char *path)
{
    static GString *names;
    struct rig_listing l = {.room = 10000};

    if (names) {
        g_string_free(names, TRUE);
    }
    l.names = names = g_string_new(NULL);
    g_assert_cmpint(
        view_co_readdir(r->view, rig_ino(r, path), 0, rig_list_one, &l), ==, 0);
    return names->str;
}

/* -- Tests --------------------------------------------------------------- */

struct rig_test {
    const char *name;
    void (*fn)(struct rig *r) co_fn_ptr;
};

static inline void rig_set_up(void)
{
    static const struct rig_part parts[] = {
        {2048, 2048, "one"},
        {4096, 4096, "two"},
    };

    rig = (struct rig){
        .length = RIG_BYTES,
        .bytes = g_malloc0(RIG_BYTES),
        .opts = {.mode = 0600, .uid = 7, .gid = 8},
        .stat = {.allocated = RIG_BYTES,
                 .atime = {100, 1},
                 .mtime = {200, 2},
                 .ctime = {300, 3},
                 .blksize = 4096},
        .events = g_string_new(NULL),
        .log = g_string_new(NULL),
    };
    rig_put_gpt(&rig, parts, 2);
    g_assert_cmpint(loop_new(&rig.loop), ==, 0);
    loop_adopt(rig.loop);
    log_init(LOG_LEVEL_WARNING, rig_log, NULL);
}

static inline void rig_run(void *opaque)
{
    const struct rig_test *t = opaque;

    co_assert_role();
    rig_mount(&rig);
    t->fn(&rig);
    rig_unmount(&rig);
}

static inline void rig_test_run(const void *opaque)
{
    rig_set_up();
    g_assert_cmpint(
        loop_co_run_blocking(rig.loop, rig_run, (void *)(uintptr_t)opaque), ==,
        0);
    log_init(LOG_LEVEL_WARNING, NULL, NULL);
    loop_free(rig.loop);
    g_string_free(rig.events, TRUE);
    g_string_free(rig.log, TRUE);
    g_free(rig.bytes);
}

static inline void rig_add_tests(const struct rig_test *tests, size_t n)
{
    driver_register(&mem_driver);
    for (size_t i = 0; i < n; i++) {
        g_test_add_data_func(tests[i].name, &tests[i], rig_test_run);
    }
}

#endif /* TEST_UNIT_VIEW_RIG_H */
