/* SPDX-License-Identifier: MIT */
/*
 * fuzz-qcow2: any file as a qcow2 image: look at it, check it, write to it,
 * take snapshots, repair it.
 *
 * Nothing must crash.  Beyond that, of an image that a check finds no error
 * in, what was written and what was not reads as it should, and no error
 * comes from writing.  A repair that says that all is well is believed by the
 * next check.
 */
#include <assert.h>
#include <glib.h>
#include <string.h>

#include "base/align.h"
#include "base/endian.h"
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "block/driver.h"
#include "block/image.h"
#include "block/node.h"
#include "disk.h"
#include "driver/driver_list.h"
#include "format/qcow2/driver.h"
#include "fuzz.h"
#include "loop/loop.h"
#include "memory.h"

enum {
    HAS_BACKING = 1 << 0, /* of zeroes, shorter than the window */
    PASS_DISCARDS = 1 << 1,
    COMPRESS = 1 << 2,
    LAZY = 1 << 3,
    AT_END = 1 << 4, /* the window is at the end of the disk */
};

#define WINDOW       (64 * KiB) /* of the disk, whose content is compared */
#define MAX_EXTENTS  64
#define MAX_SNAPSHOT 3

struct scene {
    struct fuzz_disk disk;
    bool sound;    /* a check found no error, and no read will fail */
    bool readable; /* @model is what is in the window */
    uint8_t model[WINDOW], got[WINDOW];
    int64_t window; /* bytes of it that the disk has */
    int64_t at;     /* where it begins */
};

/* -- Opening ------------------------------------------------------------- */

static bool has_data_file(const struct fuzz_disk *d)
{
    uint8_t head[80];

    if (d->size < (int64_t)sizeof(head)) {
        return false;
    }
    fuzz_disk_peek(d, 0, head, sizeof(head));
    return load_be32(head + 4) >= 3 && (load_be64(head + 72) & 4);
}

/* The image as it was. */
static void make_files(struct scene *sc)
{
    struct fuzz_patch p = {.next = NULL};

    memory_reset(0, sc->disk.size);
    memory_reset(1, sc->disk.size);
    while (fuzz_disk_next(&sc->disk, &p)) {
        memory_put(0, p.offset, p.bytes, p.n);
    }
}

static void set_options(const struct scene *sc, struct options *o)
{
    options_set(o, "driver", "qcow2");
    options_set(o, "file.driver", "memory");
    options_set(o, "l2-cache-size", "32k"); /* large ones are slow to make */
    options_set(o, "refcount-cache-size", "32k");
    if (has_data_file(&sc->disk)) {
        options_set(o, "data-file.driver", "memory");
        options_set(o, "data-file.id", "1");
    }
    if (sc->disk.flags & HAS_BACKING) {
        options_set(o, "backing.driver", "null-co");
        options_set(o, "backing.size", "12345");
    } else {
        options_set(o, "backing", "");
    }
    if (sc->disk.flags & LAZY) {
        options_set(o, "lazy-refcounts", "on");
    }
}

static struct node *co_fn open_image(struct scene *sc, unsigned flags)
{
    struct options *o = options_new();
    GError *err = NULL;
    struct node *node;

    set_options(sc, o);
    if (sc->disk.flags & PASS_DISCARDS) {
        flags |= NODE_UNMAP;
    }
    node = node_co_open(o, flags, &err); /* yields */
    assert(!node == (err && *err->message));
    g_clear_error(&err);
    if (node) {
        int64_t length = node_length(node);

        sc->window = min_i64(length, WINDOW);
        sc->at = sc->disk.flags & AT_END ? length - sc->window : 0;
    }
    return node;
}

/* -- Reading ------------------------------------------------------------- */

/* Reads the window; false if it cannot be read. */
static bool co_fn read_window(struct scene *sc, struct node *node, uint8_t *buf)
{
    int64_t half = sc->window / 2;

    if (sc->window == 0) {
        return true;
    }
    if (node_co_pread(node, sc->at, buf, sc->window) < 0) {
        return false;
    }
    /* In two parts it is the same. */
    if (half > 0 && node_co_pread(node, sc->at, sc->got, half) == 0) {
        assert(memcmp(buf, sc->got, (size_t)half) == 0);
    }
    return true;
}

static bool is_zero(const uint8_t *p, int64_t n)
{
    return n == 0 || (*p == 0 && memcmp(p, p + 1, (size_t)n - 1) == 0);
}

/* Reads some of an extent. */
static void co_fn read_extent(struct scene *sc, struct node *node,
                              int64_t offset, const struct block_status *st)
{
    int64_t n = min_i64(st->bytes, WINDOW);

    if (node_co_pread(node, offset, sc->got, n) == 0 &&
        (st->flags & BLOCK_ZERO)) {
        assert(is_zero(sc->got, n));
    }
}

static void co_fn look_from(struct scene *sc, struct node *node, int64_t offset)
{
    int64_t length = node_length(node);
    struct block_status st;

    for (int i = 0; i < MAX_EXTENTS && offset < length; i++) {
        if (node_co_block_status(node, true, offset, length - offset, &st) <
            0) {
            return;
        }
        assert(st.bytes > 0 && st.bytes <= length - offset);
        read_extent(sc, node, offset, &st); /* yields */
        offset += st.bytes;
    }
}

static void co_fn describe(struct node *node)
{
    const struct image_ops *ops = node_driver(node)->image;
    struct json *out = json_new();
    struct image_info info;
    GArray *list = NULL;
    GError *err = NULL;
    int rc;

    assert(ops->co_info(node, &info) == 0); /* yields */
    image_info_fini(&info);
    json_object_begin(out, NULL);
    rc = ops->co_info_json(node, out, &err); /* yields */
    assert((rc < 0) == (err != NULL));
    g_clear_error(&err);
    json_object_end(out);
    g_free(json_finish(out));
    if (ops->co_snapshot_list(node, &list) == 0) { /* yields */
        g_array_unref(list);
    }
}

static void co_fn look(struct scene *sc)
{
    struct node *node = open_image(sc, 0); /* yields */

    if (!node) {
        return;
    }
    describe(node);              /* yields */
    look_from(sc, node, 0);      /* yields */
    look_from(sc, node, sc->at); /* yields */
    (void)!node_co_unref(node);  /* yields */
}

/* -- Checking ------------------------------------------------------------ */

static bool co_fn check(struct scene *sc, unsigned fix, struct image_check *r)
{
    unsigned flags = NODE_CHECK | NODE_NO_BACKING | (fix ? NODE_RDWR : 0);
    struct node *node = open_image(sc, flags); /* yields */
    GError *err = NULL;
    int rc;

    *r = (struct image_check){.corruptions = 0};
    if (!node) {
        return false;
    }
    rc = node_driver(node)->image->co_check(node, fix, r, &err); /* yields */
    assert((rc < 0) == (err != NULL));
    assert(r->corruptions >= 0 && r->leaks >= 0 && r->check_errors >= 0);
    assert(r->corruptions_fixed >= 0 && r->leaks_fixed >= 0);
    g_clear_error(&err);
    (void)!node_co_unref(node); /* yields */
    return rc == 0;
}

static bool no_errors(const struct image_check *r)
{
    return r->corruptions == 0 && r->check_errors == 0;
}

/* -- Changing ------------------------------------------------------------ */

static void changed(struct scene *sc, int rc)
{
    assert(rc <= 0);
    if (rc < 0) {
        sc->readable = false; /* what failed may have been done in part */
    }
}

/* Says it went wrong the way operations on images do. */
static void changed_image(struct scene *sc, int rc, GError **err)
{
    assert((rc < 0) == (*err != NULL));
    g_clear_error(err);
    changed(sc, rc);
}

/* Cuts [@from, @from + @n) of the window where the window ends. */
static int64_t cut(const struct scene *sc, int64_t from, int64_t n)
{
    return max_i64(min_i64(n, sc->window - from), 0);
}

static void co_fn put(struct scene *sc, struct node *node, int64_t from,
                      int64_t n, int fill, unsigned flags)
{
    n = cut(sc, from, n);
    if (n > 0) {
        memset(sc->model + from, fill, (size_t)n);
        changed(sc, node_co_pwrite(node, sc->at + from, sc->model + from, n,
                                   flags)); /* yields */
    }
}

static void co_fn zero(struct scene *sc, struct node *node, int64_t from,
                       int64_t n, unsigned flags)
{
    n = cut(sc, from, n);
    if (n > 0) {
        memset(sc->model + from, 0, (size_t)n);
        changed(sc, node_co_pwrite_zeroes(node, sc->at + from, n, flags));
    }
}

/* What it reads as afterwards is for the image to say. */
static void co_fn discard(struct scene *sc, struct node *node, int64_t from,
                          int64_t n)
{
    n = cut(sc, from, n);
    if (n > 0) {
        changed(sc, node_co_pdiscard(node, sc->at + from, n)); /* yields */
        if (node_co_pread(node, sc->at + from, sc->model + from, n) < 0) {
            sc->readable = false;
        }
    }
}

static void co_fn expect_model(struct scene *sc, struct node *node)
{
    static uint8_t now[WINDOW];

    if (sc->readable && sc->sound) {
        assert(read_window(sc, node, now)); /* yields */
        assert(memcmp(now, sc->model, (size_t)sc->window) == 0);
    }
}

static void co_fn write_some(struct scene *sc, struct node *node)
{
    int64_t cluster = node_limits(node)->discard_align;

    put(sc, node, 100, 700, 0x11, 0);
    put(sc, node, 5000, 4096, 0x12, REQ_FUA);
    zero(sc, node, 512, 3000, 0);
    zero(sc, node, 8192, 8192, REQ_MAY_UNMAP);
    discard(sc, node, 20 * KiB, 12 * KiB);
    put(sc, node, 24 * KiB, 512, 0x13, 0);
    if ((sc->disk.flags & COMPRESS) && cluster <= 16 * KiB && sc->at == 0 &&
        sc->window == WINDOW) {
        put(sc, node, 32 * KiB, cluster, 0x14, REQ_WRITE_COMPRESSED);
        put(sc, node, 32 * KiB + 10, 10, 0x15, 0);
        put(sc, node, 48 * KiB, cluster, 0x16, REQ_WRITE_COMPRESSED);
    }
    changed(sc, node_co_flush(node)); /* yields */
    expect_model(sc, node);           /* yields */
}

/* One of our own. */
static void co_fn use_snapshot(struct scene *sc, struct node *node)
{
    const struct image_ops *ops = node_driver(node)->image;
    static uint8_t before[WINDOW];
    GError *err = NULL;
    int rc = ops->co_snapshot_create(node, "fuzz", &err); /* yields */

    changed_image(sc, rc, &err);
    if (rc < 0) {
        return;
    }
    memcpy(before, sc->model, sizeof(before));
    put(sc, node, 0, 2000, 0x21, 0);
    discard(sc, node, 8 * KiB, 32 * KiB);
    expect_model(sc, node);                          /* yields */
    rc = ops->co_snapshot_apply(node, "fuzz", &err); /* yields */
    changed_image(sc, rc, &err);
    memcpy(sc->model, before, sizeof(before));
    expect_model(sc, node); /* yields */
    put(sc, node, 1000, 1000, 0x22, 0);
    rc = ops->co_snapshot_delete(node, "fuzz", &err); /* yields */
    changed_image(sc, rc, &err);
    expect_model(sc, node); /* yields */
}

/* Those that were there. */
static void co_fn use_snapshots(struct scene *sc, struct node *node)
{
    const struct image_ops *ops = node_driver(node)->image;
    GArray *list = NULL;
    GError *err = NULL;

    if (ops->co_snapshot_list(node, &list) < 0) { /* yields */
        return;
    }
    for (int i = 0; i < MIN((int)list->len, MAX_SNAPSHOT); i++) {
        const char *id = g_array_index(list, struct image_snapshot, i).id;
        int rc = ops->co_snapshot_apply(node, id, &err); /* yields */

        changed_image(sc, rc, &err);
        sc->window = min_i64(node_length(node), WINDOW);
        sc->at = 0;
        sc->readable = read_window(sc, node, sc->model);
        put(sc, node, 0, WINDOW, 0x31, 0);
        rc = ops->co_snapshot_delete(node, id, &err); /* yields */
        changed_image(sc, rc, &err);
    }
    g_array_unref(list);
}

/* A change of bitmaps, which is no change of the disk. */
static void co_fn changed_bitmaps(struct scene *sc, struct node *node, int rc,
                                  GError **err)
{
    assert((rc < 0) == (*err != NULL));
    g_clear_error(err);
    expect_model(sc, node); /* yields */
}

/* One of our own, that records, and those that were there. */
static void co_fn use_bitmaps(struct scene *sc, struct node *node)
{
    const struct image_ops *ops = node_driver(node)->image;
    GArray *list = NULL;
    GError *err = NULL;
    int rc = ops->co_bitmap_add(node, "fuzz", 0, true, &err); /* yields */

    changed_bitmaps(sc, node, rc, &err);
    put(sc, node, 2000, 100, 0x41, 0);
    rc = ops->co_bitmap_store(node, &err); /* yields */
    changed_bitmaps(sc, node, rc, &err);
    if (ops->co_bitmap_list(node, &list, &err) < 0) { /* yields */
        g_clear_error(&err);
        return;
    }
    for (guint i = 0; i < list->len; i++) {
        const char *name = g_array_index(list, struct image_bitmap, i).name;

        rc = ops->co_bitmap_change(node, name,
                                   (enum image_bitmap_change)(i % 4), &err);
        changed_bitmaps(sc, node, rc, &err);
    }
    g_array_unref(list);
    put(sc, node, 3000, 100, 0x42, 0);
}

static void no_progress(void *opaque, int64_t done, int64_t total)
{
    assert(done >= 0 && done <= total);
}

/* What cannot be amended is refused before anything is changed. */
static void co_fn amend(struct scene *sc, struct node *node, const char *text)
{
    g_autoptr(options) o = options_new();
    GError *err = NULL;
    int rc;

    assert(options_parse(o, text, NULL) == 0);
    rc = node_driver(node)->image->co_amend(node, o, false, no_progress, NULL,
                                            &err); /* yields */
    assert((rc < 0) == (err != NULL));
    g_clear_error(&err);
    expect_model(sc, node); /* yields */
}

static void co_fn resize(struct scene *sc, struct node *node)
{
    int64_t length = align_down(node_length(node), 512);
    GError *err = NULL;
    int rc = 0;

    if (length <= BLOCK_MAX_LENGTH - 2 * MiB) {
        rc = node_co_truncate(node, length + MiB, PREALLOC_OFF, 0, &err);
        g_clear_error(&err);
    }
    if (rc == 0 && length >= 1024) {
        rc = node_co_truncate(node, align_down(length / 2, 512), PREALLOC_OFF,
                              0, &err);
        g_clear_error(&err);
    }
}

static void co_fn change(struct scene *sc)
{
    struct node *node = open_image(sc, NODE_RDWR); /* yields */
    struct image_check r;

    if (!node) {
        return;
    }
    sc->readable = read_window(sc, node, sc->model); /* yields */
    write_some(sc, node);                            /* yields */
    use_snapshot(sc, node);                          /* yields */
    amend(sc, node, "compat=0.10,refcount_bits=16"); /* yields */
    amend(sc, node, "compat=1.1,refcount_bits=8");   /* yields */
    amend(sc, node, "refcount_bits=64");             /* yields */
    use_snapshots(sc, node);                         /* yields */
    use_bitmaps(sc, node);                           /* yields */
    resize(sc, node);                                /* yields */
    (void)!node_co_unref(node);                      /* yields */
    if (sc->sound) {
        assert(check(sc, 0, &r) && no_errors(&r)); /* yields */
    }
}

static void co_fn load_snapshot(struct scene *sc)
{
    struct node *node = open_image(sc, 0); /* yields */
    const struct image_ops *ops;
    GError *err = NULL;

    if (!node) {
        return;
    }
    ops = node_driver(node)->image;
    if (ops->co_snapshot_load(node, "1", &err) == 0) { /* yields */
        look_from(sc, node, 0);                        /* yields */
    }
    g_clear_error(&err);
    (void)!node_co_unref(node); /* yields */
}

/* Tables that overlap can be counted right, but opened for reading only. */
static bool co_fn can_write(struct scene *sc)
{
    struct node *node = open_image(sc, NODE_RDWR | NODE_NO_BACKING);

    return node && node_co_unref(node) == 0; /* yields */
}

static void co_fn repair(struct scene *sc)
{
    const unsigned all = IMAGE_FIX_LEAKS | IMAGE_FIX_ERRORS;
    struct image_check r;
    bool ok;

    if (!check(sc, all, &r) || !no_errors(&r) || r.leaks > 0 ||
        sc->disk.bad_read || !can_write(sc)) { /* yields */
        return;
    }
    ok = check(sc, 0, &r); /* yields */
    assert(ok && no_errors(&r) && r.leaks == 0);
}

/* -- An input ------------------------------------------------------------ */

static void play(void *opaque)
{
    struct scene *sc = opaque;
    struct image_check r;
    bool checked;

    co_assert_role();
    make_files(sc);
    memory_fail_read(sc->disk.bad_read);
    look(sc); /* yields */
    load_snapshot(sc);
    checked = check(sc, 0, &r); /* yields */
    sc->sound = checked && no_errors(&r) && !sc->disk.bad_read;
    memory_fail_read(sc->disk.bad_read);
    change(sc); /* yields */
    make_files(sc);
    memory_fail_read(sc->disk.bad_read);
    repair(sc); /* yields */
    memory_reset(0, -1);
    memory_reset(1, -1);
}

static void drop_line(enum log_level level, const char *line, void *opaque)
{
}

static struct loop *set_up(void)
{
    struct loop *loop;

    log_init(LOG_LEVEL_ERROR, drop_line, NULL);
    driver_register(&driver_memory);
    driver_register(&driver_null_co);
    driver_register(&driver_qcow2);
    assert(loop_new(&loop) == 0);
    loop_adopt(loop);
    return loop;
}

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
/* Long tables take seconds and show little that short ones do not: libFuzzer
 * better does without.  The corpus has some, for the test. */
static bool takes_long(const struct fuzz_disk *d)
{
    uint8_t head[72];

    if (d->size < (int64_t)sizeof(head)) {
        return false;
    }
    fuzz_disk_peek(d, 0, head, sizeof(head));
    return load_be32(head + 36) > 4096 || load_be32(head + 56) > 1024;
}
#else
static bool takes_long(const struct fuzz_disk *d)
{
    return false;
}
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct loop *loop;
    static struct scene sc;

    if (!loop) {
        loop = set_up();
    }
    if (fuzz_disk_init(&sc.disk, data, bytes) && !takes_long(&sc.disk)) {
        assert(loop_co_run_blocking(loop, play, &sc) == 0);
    }
    return 0;
}
