/* SPDX-License-Identifier: MIT */
/*
 * tool: crashes of what changes whole images: commit, rebase, convert into an
 * image that is there, and repairs.
 *
 * Each is done to images behind a write log; see crash-points.h for the
 * crashes that are tried.  A chain of images that is committed or rebased
 * reads as before after any of them; a target of convert has the old or the
 * new in each sector; an image in repair can be repaired again, and has lost
 * nothing.
 *
 * The seed is printed; --seed=R… repeats a run.  COBLK_CRASH_PERCENT is how
 * many of the crashes are tried (50).
 */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/align.h"
#include "base/endian.h"
#include "block/driver.h"
#include "crash-points.h"
#include "format/qcow2/driver.h"
#include "qcow2-rig.h"
#include "tool/commit.h"
#include "tool/convert.h"
#include "tool/crew.h"
#include "tool/rebase.h"

#define SECTOR      512
#define SECTORS     640 /* of a disk */
#define HISTORIES   2   /* of each kind of image */
#define MIN_CRASHES 1000

static const char *const names[CRASH_FILES] = {"a.qcow2", "b.qcow2"};
static const char *const log_names[CRASH_FILES] = {"a.log", "b.log"};
static const char *const crashed[CRASH_FILES] = {"c-a.qcow2", "c-b.qcow2"};

static const char *const kinds[] = {
    "cluster_size=512",
    "cluster_size=4k,refcount_bits=64",
    "cluster_size=16k,extended_l2=on",
    "cluster_size=4k,lazy_refcounts=on",
    "cluster_size=64k",
};

static int n_crashes, percent;
static uint64_t last_value;

struct scene;

/* What is tried. */
struct scenario {
    const char *name;
    int n_files; /* that it writes to */
    void (*prepare)(struct scene *sc);
    void (*run)(void *scene);
    void (*look)(void *scene);
};

struct scene {
    const char *kind;
    bool lazy;
    uint64_t old[SECTORS], new[SECTORS];
    struct crash_log log;
};

/* -- Disks --------------------------------------------------------------- */

static void read_values(struct node *node, uint64_t *values)
{
    static uint64_t buf[SECTORS * SECTOR / 8];

    g_assert_cmpint(node_length(node), ==, SECTORS * SECTOR);
    g_assert_cmpint(rig_read(node, 0, buf, sizeof(buf)), ==, 0);
    for (int i = 0; i < SECTORS; i++) {
        values[i] = buf[i * SECTOR / 8];
        for (int k = 1; k < SECTOR / 8; k++) {
            g_assert_cmphex(buf[i * SECTOR / 8 + k], ==, values[i]);
        }
    }
}

static void write_values(struct node *node, int64_t first, int64_t n)
{
    g_autofree uint64_t *buf = g_malloc((gsize)(n * SECTOR));

    for (int64_t i = 0; i < n * SECTOR / 8; i++) {
        buf[i] = last_value + (uint64_t)(i / (SECTOR / 8)) + 1;
    }
    last_value += (uint64_t)n;
    g_assert_cmpint(rig_write_buf(node, first * SECTOR, buf, n * SECTOR, 0), ==,
                    0);
}

/* Writes here and there. */
static void scribble(const char *name)
{
    struct node *node = rig_open(name, NULL, NODE_RDWR | NODE_UNMAP);

    for (int i = 0; i < 12; i++) {
        int64_t first = pick(SECTORS);
        int64_t n = min_i64(1 + pick(60), SECTORS - first);

        if (pick(4)) {
            write_values(node, first, n);
        } else {
            g_assert_cmpint(rig_zero(node, first * SECTOR, n * SECTOR,
                                     pick(2) ? REQ_MAY_UNMAP : 0),
                            ==, 0);
        }
    }
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void make(const struct scene *sc, const char *name, const char *more)
{
    g_autofree char *text = g_strconcat("compat=1.1,", sc->kind, more, NULL);

    rig_create(name, SECTORS * SECTOR, text);
    scribble(name);
}

static void load(const char *name, uint64_t *values)
{
    struct node *node = rig_open(name, NULL, 0);

    read_values(node, values);
    g_assert_cmpint(rig_close(node), ==, 0);
}

/* JSON of file @i behind its log. */
static char *logged(int i)
{
    g_autofree char *path = rig_path(names[i]);
    g_autofree char *log = rig_path(log_names[i]);
    char *json = g_strdup_printf(
        "json:{'driver':'qcow2','file':{'driver':'writelog','file':{'driver':"
        "'file','filename':'%s','cache':{'no-flush':true}},'log':{'driver':"
        "'file','filename':'%s','cache':{'no-flush':true}}}}",
        path, log);

    return g_strdelimit(json, "'", '"');
}

/* -- Checks -------------------------------------------------------------- */

struct check {
    struct node *node;
    unsigned fix;
    struct image_check r;
    GString *findings;
};

static void note_finding(void *opaque, const char *line)
{
    g_string_append_printf(opaque, "%s\n", line);
}

static void check_entry(void *opaque)
{
    struct check *c = opaque;
    GError *err = NULL;

    co_assert_role();
    c->r.report = note_finding;
    c->r.opaque = c->findings;
    g_assert_cmpint(driver_qcow2.image->co_check(c->node, c->fix, &c->r, &err),
                    ==, 0);
    g_assert_no_error(err);
}

/* Asserts that no error is left; returns the leaks that are. */
static int64_t check(const char *name, unsigned fix)
{
    g_autoptr(GString) findings = g_string_new(NULL);
    struct check c = {.fix = fix, .findings = findings};

    c.node = rig_open(name, NULL,
                      NODE_CHECK | NODE_NO_BACKING | NODE_NO_FLUSH |
                          (fix ? NODE_RDWR : 0));
    rig_run(check_entry, &c);
    g_assert_cmpint(rig_close(c.node), ==, 0);
    if (c.r.check_errors + c.r.corruptions > 0) {
        g_error("%s is corrupt:\n%s", name, findings->str);
    }
    return c.r.leaks;
}

/* Is the image @name as one may be after a crash? */
static void check_crashed(const struct scene *sc, const char *name)
{
    if (sc->lazy) { /* it says that it must be counted again */
        struct node *node =
            rig_open(name, NULL, NODE_RDWR | NODE_NO_BACKING | NODE_NO_FLUSH);

        g_assert_cmpint(rig_close(node), ==, 0);
    }
    (void)check(name, 0);
}

static void expect(const uint64_t *got, const uint64_t *a, const uint64_t *b)
{
    for (int i = 0; i < SECTORS; i++) {
        if (got[i] != a[i] && got[i] != b[i]) {
            g_error("sector %d is 0x%" PRIx64 " instead of 0x%" PRIx64
                    " or 0x%" PRIx64,
                    i, got[i], a[i], b[i]);
        }
    }
}

/* -- Commit -------------------------------------------------------------- */

/* a is the base, b on top of it. */
static void prepare_commit(struct scene *sc)
{
    g_autofree char *base = logged(0);
    g_auto(GStrv) parts = g_strsplit(base, ",", -1);
    g_autofree char *quoted = g_strjoinv(",,", parts);
    g_autofree char *more =
        g_strdup_printf(",backing_file=%s,backing_fmt=qcow2", quoted);

    make(sc, names[0], "");
    make(sc, names[1], more);
    load(names[1], sc->old);
    memcpy(sc->new, sc->old, sizeof(sc->new));
}

static void run_commit(void *opaque)
{
    g_autofree char *top = logged(1);
    struct commit_request rq = {.image = {.name = top}};
    GError *err = NULL;
    int rc;

    co_assert_role();
    rc = commit_co_run(&rq, &err); /* yields */
    g_assert_no_error(err);
    g_assert_cmpint(rc, ==, 0);
}

static void look_commit(void *opaque)
{
    struct scene *sc = opaque;
    g_autofree char *base = rig_path(crashed[0]);
    g_autofree char *text =
        g_strdup_printf("driver=qcow2,backing.driver=qcow2,backing.file."
                        "driver=file,backing.file.filename=%s",
                        base);
    static uint64_t got[SECTORS];
    struct node *node;

    check_crashed(sc, crashed[0]);
    check_crashed(sc, crashed[1]);
    node = rig_open(crashed[1], text, NODE_NO_FLUSH);
    read_values(node, got);
    g_assert_cmpint(rig_close(node), ==, 0);
    expect(got, sc->old, sc->old);
}

/* -- Rebase -------------------------------------------------------------- */

/* a is on top of one image and gets another one. */
static void prepare_rebase(struct scene *sc)
{
    make(sc, "old.qcow2", "");
    make(sc, "new.qcow2", "");
    make(sc, names[0], ",backing_file=old.qcow2,backing_fmt=qcow2");
    load(names[0], sc->old);
}

static void run_rebase(void *opaque)
{
    g_autofree char *top = logged(0);
    bool other = pick(3);
    struct rebase_request rq = {
        .image = {.name = top},
        .backing = other ? "new.qcow2" : "",
        .format = other ? "qcow2" : NULL,
        .compress = pick(2),
    };
    GError *err = NULL;
    int rc;

    co_assert_role();
    rc = rebase_co_run(&rq, &err); /* yields */
    g_assert_no_error(err);
    g_assert_cmpint(rc, ==, 0);
}

static void look_rebase(void *opaque)
{
    struct scene *sc = opaque;
    static uint64_t got[SECTORS];

    check_crashed(sc, crashed[0]);
    load(crashed[0], got);
    expect(got, sc->old, sc->old);
}

/* -- Convert ------------------------------------------------------------- */

static void prepare_convert(struct scene *sc)
{
    make(sc, "source.qcow2", "");
    make(sc, names[0], "");
    load("source.qcow2", sc->new);
    load(names[0], sc->old);
}

static struct node *co_fn open_named(const char *name, unsigned flags)
{
    const struct tool_image image = {.name = name, .flags = flags};
    GError *err = NULL;
    struct node *node = tool_co_open(&image, &err); /* yields */

    g_assert_no_error(err);
    return node;
}

static void run_convert(void *opaque)
{
    static const unsigned ways[] = {0, CONVERT_OUT_OF_ORDER, CONVERT_COMPRESS};
    g_autofree char *target = logged(0);
    struct convert_source source = {.bytes = SECTORS * SECTOR};
    struct convert_request rq = {
        .sources = &source,
        .n_sources = 1,
        .flags = ways[pick(G_N_ELEMENTS(ways))],
        .sparse = 4096,
        .cluster = 64 * KiB,
    };
    struct convert_result result;
    struct crew *crew;

    co_assert_role();
    source.node = open_named("source.qcow2", 0);            /* yields */
    rq.target = open_named(target, NODE_RDWR | NODE_UNMAP); /* yields */
    g_assert_cmpint(crew_new(2, NULL, &crew), ==, 0);
    convert_co_run(&rq, crew, &result); /* yields */
    g_assert_cmpint(result.rc, ==, 0);
    crew_free(crew);
    g_assert_cmpint(tool_co_close(rq.target, NULL), ==, 0);   /* yields */
    g_assert_cmpint(tool_co_close(source.node, NULL), ==, 0); /* yields */
}

static void look_convert(void *opaque)
{
    struct scene *sc = opaque;
    static uint64_t got[SECTORS];

    check_crashed(sc, crashed[0]);
    load(crashed[0], got);
    expect(got, sc->old, sc->new);
    if (sc->log.cut == crash_log_length(&sc->log)) { /* it was closed */
        expect(got, sc->new, sc->new);
    }
}

/* -- Repair -------------------------------------------------------------- */

static uint64_t peek(int fd, int64_t offset)
{
    uint8_t buf[8];

    g_assert_cmpint(pread(fd, buf, sizeof(buf), offset), ==, sizeof(buf));
    return load_be64(buf);
}

static void poke(int fd, int64_t offset, uint64_t value)
{
    uint8_t buf[8];

    store_be64(buf, value);
    g_assert_cmpint(pwrite(fd, buf, sizeof(buf), offset), ==, sizeof(buf));
}

/* Makes some counts, or what is said of them, wrong. */
static void damage(int fd)
{
    int64_t l1 = (int64_t)peek(fd, 40), table = (int64_t)peek(fd, 48);
    int64_t block = (int64_t)peek(fd, table);
    int64_t l2 = (int64_t)(peek(fd, l1) & INT64_C(0xfffffffffffe00));
    int what = (int)pick(6);

    if (what == 0) {
        poke(fd, table, 0); /* no counts at all */
    } else if (what == 1) {
        poke(fd, table, (uint64_t)block + 256); /* there are none there */
    }
    for (int i = 0; i < 4; i++) {
        int64_t at = pick(64) * 8;

        if (what >= 2) {
            poke(fd, block + at, peek(fd, block + at) ^ 1 << pick(17));
        }
        if (what >= 4 && l2 && pick(2)) {
            poke(fd, l1, peek(fd, l1) ^ UINT64_C(1) << 63);
        }
    }
}

static void prepare_repair(struct scene *sc)
{
    g_autofree char *path = rig_path(names[0]);
    int fd;

    make(sc, names[0], "");
    load(names[0], sc->old);
    fd = open(path, O_RDWR | O_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    damage(fd);
    g_assert_cmpint(close(fd), ==, 0);
}

#define FIX_ALL (IMAGE_FIX_LEAKS | IMAGE_FIX_ERRORS)

static void run_repair(void *opaque)
{
    g_autofree char *name = logged(0);
    g_autoptr(GString) findings = g_string_new(NULL);
    struct check c = {.fix = FIX_ALL, .findings = findings};

    co_assert_role();
    c.node = open_named(name, NODE_CHECK | NODE_RDWR | NODE_UNMAP);
    check_entry(&c);                                     /* yields */
    g_assert_cmpint(tool_co_close(c.node, NULL), ==, 0); /* yields */
    g_assert_cmpint(c.r.corruptions + c.r.check_errors, ==, 0);
}

static void look_repair(void *opaque)
{
    struct scene *sc = opaque;
    static uint64_t got[SECTORS];

    g_assert_cmpint(check(crashed[0], FIX_ALL), ==, 0);
    g_assert_cmpint(check(crashed[0], 0), ==, 0);
    load(crashed[0], got);
    expect(got, sc->old, sc->old);
}

/* -- All of them --------------------------------------------------------- */

static const struct scenario scenarios[] = {
    {"commit", 2, prepare_commit, run_commit, look_commit},
    {"rebase", 1, prepare_rebase, run_rebase, look_rebase},
    {"convert", 1, prepare_convert, run_convert, look_convert},
    {"repair", 1, prepare_repair, run_repair, look_repair},
};

static void test_once(const struct scenario *scenario, const char *kind)
{
    static struct scene sc;
    struct crash_points p = {
        .log = &sc.log,
        .names = crashed,
        .percent = percent,
        .look = scenario->look,
        .opaque = &sc,
    };
    GByteArray *before[CRASH_FILES];

    sc.kind = kind;
    sc.lazy = strstr(kind, "lazy") != NULL;
    for (int i = 0; i < CRASH_FILES; i++) {
        g_autofree char *log = rig_path(log_names[i]);

        g_assert_true(g_file_set_contents(log, "", 0, NULL));
    }
    scenario->prepare(&sc);
    for (int i = 0; i < scenario->n_files; i++) {
        g_autofree char *path = rig_path(names[i]);
        char *data;
        gsize bytes;

        g_assert_true(g_file_get_contents(path, &data, &bytes, NULL));
        before[i] = g_byte_array_new_take((guint8 *)data, (guint)bytes);
    }
    rig_run(scenario->run, &sc);
    crash_log_load(&sc.log, scenario->n_files, log_names, before);
    crash_everywhere(&p);
    crash_log_fini(&sc.log);
    n_crashes += p.n;
}

static void test_scenario(gconstpointer opaque)
{
    int before = n_crashes;

    for (int i = 0; i < HISTORIES; i++) {
        for (size_t k = 0; k < G_N_ELEMENTS(kinds); k++) {
            test_once(opaque, kinds[k]);
        }
    }
    g_test_message("%d crashes", n_crashes - before);
}

static void test_number(void)
{
    g_test_message("%d crashes", n_crashes);
    g_assert_cmpint(n_crashes, >=, MIN_CRASHES * percent / 100);
}

static void add_tests(void)
{
    percent = crash_percent();
    rig_ignore_log(); /* repairs tell what they find */
    for (size_t i = 0; i < G_N_ELEMENTS(scenarios); i++) {
        rig_add_row("/tool-crash", scenarios[i].name, &scenarios[i],
                    test_scenario);
    }
    g_test_add_func("/tool-crash/number", test_number);
}

int main(int argc, char **argv)
{
    return rig_main(argc, argv, add_tests);
}
