/* SPDX-License-Identifier: MIT */
/*
 * qcow2: in which order things reach the disk.
 *
 * An image is written to through a write log.  Cutting the log at any entry,
 * and dropping any of the writes since the last flush before that, gives a
 * file as a crash could leave it: its reference counts may be too high, but
 * nothing else may be wrong with it, and what had been flushed is there.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "format/writelog.h"
#include "qcow2-rig.h"

#define DISK  (2 * MiB)
#define STEPS 60

struct entry {
    int64_t offset, bytes;
    uint64_t flags;
    const uint8_t *data;
};

struct log {
    uint8_t *text;
    gsize bytes;
    struct entry *entries;
    int n;
};

/* -- The log ------------------------------------------------------------- */

static void load_log(struct log *log, const char *name)
{
    g_autofree char *path = rig_path(name);
    const uint8_t *p, *end;

    g_assert_true(
        g_file_get_contents(path, (char **)&log->text, &log->bytes, NULL));
    p = log->text;
    end = p + log->bytes;
    g_assert_cmpuint(load_le64(p + WRITELOG_SUPER_MAGIC), ==, WRITELOG_MAGIC);
    g_assert_cmpuint(load_le32(p + WRITELOG_SUPER_SECTOR_SIZE), ==, 512);
    log->n = (int)load_le64(p + WRITELOG_SUPER_ENTRIES);
    log->entries = g_new0(struct entry, (gsize)log->n);
    p += WRITELOG_SECTOR;
    for (int i = 0; i < log->n; i++) {
        struct entry *e = &log->entries[i];

        e->offset = (int64_t)load_le64(p + WRITELOG_ENTRY_SECTOR) * 512;
        e->bytes = (int64_t)load_le64(p + WRITELOG_ENTRY_SECTORS) * 512;
        e->flags = load_le64(p + WRITELOG_ENTRY_FLAGS);
        p += WRITELOG_SECTOR;
        if (!(e->flags & (WRITELOG_FLUSH | WRITELOG_DISCARD))) {
            e->data = p;
            p += e->bytes;
        }
        g_assert_true(p <= end);
    }
}

static void free_log(struct log *log)
{
    g_free(log->text);
    g_free(log->entries);
}

/* -- Replaying ----------------------------------------------------------- */

static void apply(GByteArray *file, const struct entry *e)
{
    guint end = (guint)(e->offset + e->bytes);
    guint old = file->len;

    if (!e->data) {
        return;
    }
    if (old < end) {
        g_byte_array_set_size(file, end);
        memset(file->data + old, 0, end - old);
    }
    memcpy(file->data + e->offset, e->data, (size_t)e->bytes);
}

/* The file after a crash before entry @cut: each write since the last flush
 * is lost with a probability of @lost percent. */
static void crash(const struct log *log, const GByteArray *before, int cut,
                  int lost, const char *name)
{
    g_autoptr(GByteArray) file = g_byte_array_new();
    g_autofree char *path = rig_path(name);
    int flushed = cut;

    while (flushed > 0 && !(log->entries[flushed].flags & WRITELOG_FLUSH)) {
        flushed--;
    }
    g_byte_array_append(file, before->data, before->len);
    for (int i = 0; i < cut; i++) {
        if (i < flushed || g_test_rand_int_range(0, 100) >= lost) {
            apply(file, &log->entries[i]);
        }
    }
    g_assert_true(
        g_file_set_contents(path, (const char *)file->data, file->len, NULL));
}

/* -- Writing ------------------------------------------------------------- */

/* What must be on the disk once the log has this many entries. */
struct promise {
    int entries;
    uint8_t *disk;    /* at the flush */
    uint8_t *touched; /* 1: written since then */
};

struct run {
    struct node *node;
    uint8_t *model;
    GArray *promises; /* struct promise */
};

static void step(struct run *r)
{
    int64_t unit = g_test_rand_bit() ? 512 : 4096;
    int64_t offset = g_test_rand_int_range(0, (gint32)(DISK / unit)) * unit;
    int64_t bytes = min_i64(g_test_rand_int_range(1, 20) * unit, DISK - offset);
    struct promise *last =
        &g_array_index(r->promises, struct promise, r->promises->len - 1);
    int what = g_test_rand_int_range(0, 10);

    memset(last->touched + offset, 1, (size_t)bytes);
    if (what < 7) {
        for (int64_t i = 0; i < bytes; i++) {
            r->model[offset + i] = (uint8_t)(g_test_rand_int() | 1);
        }
        g_assert_cmpint(
            rig_write_buf(r->node, offset, r->model + offset, bytes, 0), ==, 0);
    } else {
        memset(r->model + offset, 0, (size_t)bytes);
        g_assert_cmpint(rig_zero(r->node, offset, bytes, REQ_MAY_UNMAP), ==, 0);
    }
}

static int log_length(const char *name)
{
    struct log log = {.n = 0};
    int n;

    load_log(&log, name);
    n = log.n;
    free_log(&log);
    return n;
}

static void promise(struct run *r, int entries)
{
    struct promise p = {
        .entries = entries,
        .disk = g_memdup2(r->model, DISK),
        .touched = g_malloc0(DISK),
    };

    g_array_append_val(r->promises, p);
}

static void flush(struct run *r)
{
    g_assert_cmpint(rig_flush(r->node), ==, 0);
    promise(r, log_length("o.log"));
}

/* -- Looking ------------------------------------------------------------- */

static void check_crashed(void)
{
    int status;

    if (!rig_has_qemu()) {
        return;
    }
    status = rig_shell(NULL, "qemu-img check -q c.qcow2 2>&1");
    if (status != 0 && status != 3) {
        g_autofree char *text = NULL;

        (void)rig_shell(&text, "qemu-img check c.qcow2 2>&1");
        g_error("%s", text);
    }
}

static void check_promises(const struct run *r, int cut)
{
    const struct promise *p = NULL;
    g_autofree uint8_t *buf = g_malloc(DISK);
    struct node *node;

    for (guint i = 0; i < r->promises->len; i++) {
        const struct promise *next =
            &g_array_index(r->promises, struct promise, i);

        p = next->entries <= cut ? next : p;
    }
    g_assert_nonnull(p);
    node = rig_open("c.qcow2", "driver=qcow2", 0);
    g_assert_cmpint(rig_read(node, 0, buf, DISK), ==, 0);
    for (int64_t i = 0; i < DISK; i++) {
        if (!p->touched[i] && buf[i] != p->disk[i]) {
            g_error("cut at %d: byte %" PRId64
                    " is 0x%02x, but 0x%02x had been flushed",
                    cut, i, buf[i], p->disk[i]);
        }
    }
    g_assert_cmpint(rig_close(node), ==, 0);
}

static void free_run(struct run *r)
{
    for (guint i = 0; i < r->promises->len; i++) {
        struct promise *p = &g_array_index(r->promises, struct promise, i);

        g_free(p->disk);
        g_free(p->touched);
    }
    g_array_free(r->promises, TRUE);
    g_free(r->model);
}

static void test_crashes(gconstpointer opaque)
{
    g_autofree char *path = rig_path("o.qcow2");
    g_autofree char *log_path = rig_path("o.log");
    g_autofree char *how = g_strdup_printf(
        "json:{'driver':'qcow2','file':{'driver':'writelog','file':"
        "{'driver':'file','filename':'%s'},'log':{'driver':'file',"
        "'filename':'%s'}}}",
        path, log_path);
    g_autoptr(GByteArray) before = g_byte_array_new();
    struct run r = {.model = g_malloc0(DISK)};
    struct log log = {.n = 0};
    g_autofree char *image = NULL;
    gsize bytes;

    g_strdelimit(how, "'", '"');
    r.promises = g_array_new(FALSE, FALSE, sizeof(struct promise));
    rig_create("o.qcow2", DISK, opaque);
    g_assert_true(g_file_get_contents(path, &image, &bytes, NULL));
    g_byte_array_append(before, (const guint8 *)image, (guint)bytes);
    g_assert_true(g_file_set_contents(log_path, "", 0, NULL));
    r.node = rig_open(how, NULL, NODE_RDWR | NODE_UNMAP);
    promise(&r, 0);
    for (int i = 0; i < STEPS; i++) {
        step(&r);
        if (i % 7 == 6) {
            flush(&r);
        }
    }
    g_assert_cmpint(rig_close(r.node), ==, 0);

    load_log(&log, "o.log");
    g_assert_cmpint(log.n, >, STEPS);
    for (int cut = 1; cut < log.n; cut++) {
        crash(&log, before, cut, cut % 3 * 40, "c.qcow2");
        if (cut % 3 == 0 || cut % 8 == 1) {
            check_crashed();
        }
        check_promises(&r, cut);
    }
    free_log(&log);
    free_run(&r);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    rig_init();
    g_test_add_data_func("/qcow2-order/plain", "", test_crashes);
    g_test_add_data_func("/qcow2-order/small-clusters",
                         "cluster_size=512,refcount_bits=64", test_crashes);
    g_test_add_data_func("/qcow2-order/subclusters",
                         "cluster_size=16k,extended_l2=on", test_crashes);
    rc = g_test_run();
    rig_fini();
    return rc;
}
