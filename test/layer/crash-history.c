/* SPDX-License-Identifier: MIT */

#include "crash-history.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "block/driver.h"
#include "crash-points.h"
#include "format/qcow2/driver.h"
#include "loop/loop.h"
#include "qcow2-bits.h"
#include "qcow2-rig.h"

/* How an image is opened; no harm where nothing is encrypted. */
#define KEY "encrypt.key-secret=rig"

#define STEPS 16
#define PARTS 4    /* requests at once */
#define MOST  3900 /* sectors, of FULL */

static const char *const log_names[CRASH_FILES] = {"o.log", "o.raw.log"};
static const char *const file_names[CRASH_FILES] = {"o.qcow2", "o.raw"};

static int n_files(const struct kind *kind)
{
    return kind->flags & EXTERNAL ? 2 : 1;
}

/* -- Sectors ------------------------------------------------------------- */

void fill_sectors(uint8_t *buf, const uint64_t *values, int64_t n)
{
    for (int64_t i = 0; i < n * (SECTOR / 8); i++) {
        memcpy(buf + i * 8, &values[i / (SECTOR / 8)], 8);
    }
}

static uint64_t value_of(const uint8_t *buf, int64_t sector)
{
    uint64_t value;

    memcpy(&value, buf, 8);
    if (memcmp(buf, buf + 8, SECTOR - 8) != 0) {
        g_error("sector %" PRId64 " was torn", sector);
    }
    return value;
}

int64_t read_disk(struct history *h, struct node *node, uint64_t *values)
{
    int64_t n = node_length(node) / SECTOR;

    g_assert_cmpint(n, <=, h->m.max);
    g_assert_cmpint(rig_read(node, 0, h->buf, n * SECTOR), ==, 0);
    for (int64_t i = 0; i < n; i++) {
        values[i] = value_of(h->buf + i * SECTOR, i);
    }
    return n;
}

/* -- Snapshots ----------------------------------------------------------- */

struct call {
    struct node *node;
    snapshot_fn *fn;
    const char *name;
    GError *err;
    int rc;
};

static void change_entry(void *opaque)
{
    struct call *c = opaque;

    co_assert_role();
    c->rc = c->fn(c->node, c->name, &c->err); /* yields */
}

void snapshot(struct node *node, snapshot_fn *fn, const char *name)
{
    struct call c = {.node = node, .fn = fn, .name = name};

    rig_run(change_entry, &c);
    g_assert_no_error(c.err);
    g_assert_cmpint(c.rc, ==, 0);
}

/* These only look up what coroutines will call. */
TSA(no_thread_safety_analysis)
static snapshot_fn *create_fn(void)
{
    return driver_qcow2.image->co_snapshot_create;
}

TSA(no_thread_safety_analysis)
static snapshot_fn *apply_fn(void)
{
    return driver_qcow2.image->co_snapshot_apply;
}

TSA(no_thread_safety_analysis)
static snapshot_fn *delete_fn(void)
{
    return driver_qcow2.image->co_snapshot_delete;
}

/* -- Histories ----------------------------------------------------------- */

static struct moment now(const struct history *h)
{
    struct moment now = {.entry = -1};

    for (int i = 0; i < n_files(h->kind); i++) {
        g_autofree char *path = rig_path(log_names[i]);
        struct stat st;

        g_assert_cmpint(stat(path, &st), ==, 0);
        now.lengths[i] = st.st_size;
    }
    return now;
}

static struct change *change(struct history *h, int64_t first, int64_t n,
                             const uint64_t *values)
{
    return model_change(&h->m, now(h), first, n, values);
}

/* All changes from the @first on have ended. */
static void ended(struct history *h, guint first)
{
    g_autofree uint64_t *disk = g_new(uint64_t, (gsize)h->m.max);
    int64_t sectors = read_disk(h, h->node, disk);

    model_ended(&h->m, first, disk, sectors);
}

/* They are durable. */
static void promise(struct history *h)
{
    model_promise(&h->m, now(h), h->m.changes->len, h->m.disk);
}

static void pick_range(const struct history *h, int64_t *first, int64_t *n)
{
    int64_t unit = pick(2) ? 1 : 8;
    int64_t most = pick(4) ? 40 : 300;

    *first = pick(h->m.sectors / unit) * unit;
    *n = min_i64((1 + pick(most / unit)) * unit, h->m.sectors - *first);
}

/* A request, and what it changes. */
enum part_what {
    WRITE,
    PACKED,
    ZERO,
    ZERO_UNMAP,
    DISCARD,
    FLUSH,
    PART_WHATS
};

struct part {
    enum part_what what;
    struct node *node;
    int64_t first, n;
    uint8_t *buf;
    int *running;
    int rc;
};

static void part_entry(void *opaque)
{
    struct part *p = opaque;
    int64_t offset = p->first * SECTOR, bytes = p->n * SECTOR;
    struct iovec iov;
    struct iovs src = iovs_one(&iov, p->buf, bytes);

    co_assert_role();
    switch (p->what) {
    case WRITE:
        p->rc = node_co_pwritev(p->node, offset, &src, 0);
        break;
    case PACKED:
        p->rc = node_co_pwritev(p->node, offset, &src, REQ_WRITE_COMPRESSED);
        break;
    case ZERO:
    case ZERO_UNMAP:
        p->rc = node_co_pwrite_zeroes(
            p->node, offset, bytes, p->what == ZERO_UNMAP ? REQ_MAY_UNMAP : 0);
        break;
    case DISCARD:
        p->rc = node_co_pdiscard(p->node, offset, bytes);
        break;
    case FLUSH:
    case PART_WHATS:
        p->rc = node_co_flush(p->node);
        break;
    }
    (*p->running)--;
}

/* What sectors are where nothing is. */
static void change_to_nothing(struct history *h, int64_t first, int64_t n,
                              bool may_stay)
{
    g_autofree uint64_t *zeroes = g_new0(uint64_t, (gsize)n + 1);

    change(h, first, n, zeroes)->may_stay = may_stay;
    if (h->kind->backing) {
        change(h, first, n, h->backing + first)->may_stay = may_stay;
    }
}

/* Requests that overlap may be logged in another order than that in which they
 * are done, so those at one time do not. */
static void part_place(const struct history *h, struct part *parts, int i)
{
    int64_t cluster = node_limits(h->node)->discard_align / SECTOR;
    struct part *p = &parts[i];

    pick_range(h, &p->first, &p->n);
    if (p->what == PACKED) {
        p->n = align_up(p->first + p->n, cluster);
        p->first = align_down(p->first, cluster);
        p->n = min_i64(p->n, h->m.sectors) - p->first;
    }
    for (int k = 0; k < i; k++) {
        if (ranges_overlap(p->first, p->n, parts[k].first, parts[k].n)) {
            p->what = FLUSH;
        }
    }
}

static void part_prepare(struct history *h, struct part *p)
{
    g_autofree uint64_t *values = g_new0(uint64_t, (gsize)h->m.max);

    p->node = h->node;
    if (p->what == WRITE || p->what == PACKED) {
        model_values(&h->m, values, p->first, p->n);
        p->buf = g_malloc((gsize)(p->n * SECTOR));
        fill_sectors(p->buf, values, p->n);
    }
    if (p->what == DISCARD) {
        change_to_nothing(h, p->first, p->n, true);
    } else if (p->what != FLUSH) {
        change(h, p->first, p->n, values);
    }
}

static enum part_what pick_what(const struct history *h)
{
    static const enum part_what choices[] = {
        WRITE, WRITE, WRITE,      WRITE,   WRITE, WRITE,  PACKED,
        ZERO,  ZERO,  ZERO_UNMAP, DISCARD, FLUSH, PACKED,
    };
    enum part_what what = choices[pick(G_N_ELEMENTS(choices))];

    return what == PACKED && (h->kind->flags & (EXTERNAL | ENCRYPTED)) ? WRITE
                                                                       : what;
}

/* Several requests at once.  A flush among them covers what was there
 * before. */
static void do_parts(struct history *h, int n)
{
    g_autofree uint64_t *before =
        g_memdup2(h->m.disk, (gsize)h->m.max * sizeof(uint64_t));
    guint first = h->m.changes->len;
    struct part parts[PARTS] = {{.rc = 0}};
    bool flushed = false;
    int running = n;

    for (int i = 0; i < n; i++) {
        parts[i].what = pick_what(h);
        parts[i].running = &running;
        part_place(h, parts, i);
        part_prepare(h, &parts[i]);
        flushed = flushed || parts[i].what == FLUSH;
    }
    for (int i = 0; i < n; i++) {
        struct co *co = co_new(part_entry, &parts[i]);

        g_assert_nonnull(co);
        loop_co_start(co);
    }
    while (running > 0) {
        (void)loop_turn(loop_current(), true);
    }
    for (int i = 0; i < n; i++) {
        g_assert_cmpint(parts[i].rc, ==, 0);
        g_free(parts[i].buf);
    }
    ended(h, first);
    if (flushed) {
        model_promise(&h->m, now(h), first, before);
    }
}

static void do_flush(struct history *h)
{
    g_assert_cmpint(rig_flush(h->node), ==, 0);
    promise(h);
}

/* What changes an image as a whole is durable when it has ended. */
static void do_resize(struct history *h)
{
    static const enum prealloc_mode modes[] = {
        PREALLOC_METADATA,
        PREALLOC_FALLOC,
        PREALLOC_FULL,
    };
    int64_t sectors = 1 + pick(h->m.max);
    int64_t old = h->m.sectors;
    guint first = h->m.changes->len;
    g_autofree uint64_t *zeroes = g_new0(uint64_t, (gsize)h->m.max);
    enum prealloc_mode prealloc = PREALLOC_OFF;

    if (h->kind->flags & NO_RESIZE) {
        return;
    }
    if (sectors < old) {
        change_to_nothing(h, sectors, old - sectors, false);
    } else {
        change(h, old, sectors - old, zeroes);
    }
    change(h, 0, 0, NULL)->sectors = sectors;
    if (sectors > old && pick(2)) {
        prealloc = modes[pick(G_N_ELEMENTS(modes))];
    }
    g_assert_cmpint(rig_truncate(h->node, sectors * SECTOR, prealloc), ==, 0);
    ended(h, first);
    promise(h);
}

struct amend {
    struct node *node;
    const char *text;
    GError *err;
};

static void no_progress(void *opaque, int64_t done, int64_t total)
{
}

static void amend_entry(void *opaque)
{
    struct amend *a = opaque;
    g_autoptr(options) o = options_new();

    co_assert_role();
    g_assert_cmpint(options_parse(o, a->text, NULL), ==, 0);
    (void)!driver_qcow2.image->co_amend(a->node, o, false, no_progress, NULL,
                                        &a->err);
}

/* The disk stays as it is. */
static void do_amend(struct history *h)
{
    struct amend a = {.node = h->node};
    g_autofree char *text =
        h->kind->flags & COMPAT && pick(2)
            ? g_strdup("compat=0.10,refcount_bits=16,lazy_refcounts=off")
            : g_strdup_printf("compat=1.1,refcount_bits=%d,lazy_refcounts=%s",
                              8 << pick(4), pick(2) ? "on" : "off");

    if (h->kind->flags & (AMEND | COMPAT)) {
        a.text = text;
        rig_run(amend_entry, &a);
        g_assert_no_error(a.err);
        ended(h, h->m.changes->len);
        promise(h);
    }
}

static void empty_entry(void *opaque)
{
    struct history *h = opaque;

    co_assert_role();
    g_assert_cmpint(driver_qcow2.image->co_make_empty(h->node), ==, 0);
}

static void do_empty(struct history *h)
{
    guint first = h->m.changes->len;

    if (h->kind->backing) {
        change_to_nothing(h, 0, h->m.sectors, false);
        rig_run(empty_entry, h);
        ended(h, first);
        promise(h);
    }
}

static void take(struct history *h)
{
    g_autofree char *name = g_strdup_printf("s%d", h->n_saved++);
    guint first = h->m.changes->len;

    change(h, 0, 0, NULL)->saved =
        model_with(h->m.saved, model_save(&h->m, name));
    snapshot(h->node, create_fn(), name);
    ended(h, first);
}

static void do_snapshot(struct history *h)
{
    guint first = h->m.changes->len;
    struct change *c;
    struct saved *sn;

    if (h->kind->flags & NO_SNAPSHOTS) {
        return;
    }
    if (h->m.saved->len == 0 || (h->m.saved->len < 3 && pick(3) == 0)) {
        take(h);
        promise(h);
        return;
    }
    sn = h->m.saved->pdata[pick(h->m.saved->len)];
    if (pick(2)) {
        c = change(h, 0, sn->sectors, sn->disk);
        c->sectors = sn->sectors;
        snapshot(h->node, apply_fn(), sn->name);
    } else {
        c = change(h, 0, 0, NULL);
        c->saved = model_without(h->m.saved, sn);
        snapshot(h->node, delete_fn(), sn->name);
    }
    ended(h, first);
    promise(h);
}

/* Stores bitmaps, with one more or one less.  That makes nothing durable that
 * was written. */
static void do_bitmap(struct history *h)
{
    struct bits_change c = {.verb = BITS_ADD, .name = "other"};

    if (!(h->kind->flags & BITMAPS)) {
        return;
    }
    if (pick(2)) {
        c.verb = h->has_other ? BITS_REMOVE : BITS_ADD;
        h->has_other = !h->has_other;
        bits_change(h->node, c);
    }
    bits_change(h->node, (struct bits_change){.verb = BITS_STORE});
}

static void step(struct history *h)
{
    switch (pick(h->kind->flags & BITMAPS ? 21 : 18)) {
    case 0 ... 7:
        do_parts(h, 1);
        break;
    case 8 ... 10:
        do_parts(h, PARTS);
        break;
    case 11:
        do_resize(h);
        break;
    case 12 ... 13:
        do_snapshot(h);
        break;
    case 14:
        do_amend(h);
        break;
    case 15:
        do_empty(h);
        break;
    case 16 ... 17:
        (h->kind->flags & COMPAT ? do_amend : do_flush)(h);
        break;
    case 18 ... 20:
        do_bitmap(h);
        break;
    default:
        g_assert_not_reached();
    }
}

/* -- Recording ----------------------------------------------------------- */

/* JSON of file @i, behind its log. */
static char *logged_file(int i)
{
    g_autofree char *path = rig_path(file_names[i]);
    g_autofree char *log = rig_path(log_names[i]);

    g_assert_true(g_file_set_contents(log, "", 0, NULL));
    return g_strdup_printf(
        "{'driver':'writelog','file':{'driver':'file','filename':'%s',"
        "'cache':{'no-flush':true}},'log':{'driver':'file','filename':'%s',"
        "'cache':{'no-flush':true}}}",
        path, log);
}

static void open_logged(struct history *h)
{
    g_autofree char *file = logged_file(0);
    g_autofree char *data = logged_file(1);
    g_autofree char *json =
        h->kind->flags & EXTERNAL
            ? g_strdup_printf("json:{'driver':'qcow2',%s'file':%s,"
                              "'data-file':%s}",
                              h->kind->open, file, data)
            : g_strdup_printf("json:{'driver':'qcow2',%s'file':%s}",
                              h->kind->open, file);

    g_strdelimit(json, "'", '"');
    h->node = rig_open(json, NULL, NODE_RDWR | NODE_UNMAP);
}

static void make_backing(struct history *h)
{
    g_autofree char *path = rig_path("b.raw");
    int64_t n = h->kind->backing / SECTOR;

    h->backing = g_new0(uint64_t, (gsize)h->m.max);
    model_values(&h->m, h->backing, 0, n);
    fill_sectors(h->buf, h->backing, n);
    g_assert_true(
        g_file_set_contents(path, (const char *)h->buf, n * SECTOR, NULL));
    memcpy(h->m.disk, h->backing, (size_t)h->m.sectors * 8);
}

/* Before the log begins. */
static void write_most(struct history *h)
{
    model_values(&h->m, h->m.disk, 0, MOST);
    fill_sectors(h->buf, h->m.disk, MOST);
    h->node = rig_open(file_names[0], KEY, NODE_RDWR);
    g_assert_cmpint(rig_write_buf(h->node, 0, h->buf, MOST * SECTOR, 0), ==, 0);
    g_assert_cmpint(rig_close(h->node), ==, 0);
}

static void make_image(struct history *h, GByteArray **before)
{
    g_autofree char *text = g_strdup_printf(
        "compat=%s%s", h->kind->options,
        h->kind->backing ? ",backing_file=b.raw,backing_fmt=raw" : "");

    rig_create(file_names[0], h->kind->disk, text);
    if (h->kind->flags & FULL) {
        write_most(h);
    }
    if (h->kind->flags & BITMAPS) {
        h->node = rig_open(file_names[0], KEY, NODE_RDWR);
        bits_change(h->node, (struct bits_change){.verb = BITS_ADD,
                                                  .name = CRASH_BITMAP,
                                                  .granularity = SECTOR});
        g_assert_cmpint(rig_close(h->node), ==, 0);
    }
    for (int i = 0; i < n_files(h->kind); i++) {
        g_autofree char *path = rig_path(file_names[i]);
        char *data;
        gsize bytes;

        g_assert_true(g_file_get_contents(path, &data, &bytes, NULL));
        before[i] = g_byte_array_new_take((guint8 *)data, (guint)bytes);
    }
}

void history_record(struct history *h, const struct kind *kind,
                    struct crash_log *log)
{
    int64_t max = max_i64(kind->disk, kind->backing) / SECTOR * 5 / 4;
    GByteArray *before[CRASH_FILES];

    *h = (struct history){
        .kind = kind,
        .buf = g_malloc((gsize)(max * SECTOR)),
    };
    model_init(&h->m, max, kind->disk / SECTOR);
    make_backing(h);
    make_image(h, before);
    open_logged(h);
    promise(h);
    for (int i = 0; i < STEPS; i++) {
        step(h);
    }
    g_assert_cmpint(rig_close(h->node), ==, 0);
    promise(h);
    rig_check(file_names[0]);
    crash_log_load(log, n_files(kind), log_names, before);
    model_load(&h->m, log);
}

void history_fini(struct history *h)
{
    model_fini(&h->m);
    g_free(h->backing);
    g_free(h->buf);
}
