/* SPDX-License-Identifier: MIT */

#include "crash-log.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/align.h"
#include "base/endian.h"
#include "format/writelog.h"
#include "qcow2-rig.h"

/* -- Reading ------------------------------------------------------------- */

static struct crash_entry *entry_at(const struct crash_log *log, int i)
{
    return &g_array_index(log->entries, struct crash_entry, i);
}

static struct crash_entry load_entry(const uint8_t *head)
{
    struct crash_entry e = {
        .offset = (int64_t)load_le64(head + WRITELOG_ENTRY_SECTOR),
        .bytes = (int64_t)load_le64(head + WRITELOG_ENTRY_SECTORS),
        .flags = load_le64(head + WRITELOG_ENTRY_FLAGS),
        .order = load_le64(head + WRITELOG_ENTRY_ORDER),
        .began = load_le64(head + WRITELOG_ENTRY_BEGAN),
        .mark = load_le64(head + WRITELOG_ENTRY_MARK),
        .value = load_le64(head + WRITELOG_ENTRY_VALUE),
    };

    e.offset *= WRITELOG_SECTOR;
    e.bytes *= WRITELOG_SECTOR;
    g_assert_cmpuint(e.began, <, e.order);
    return e;
}

static void load_file(struct crash_log *log, int file, const char *name)
{
    g_autofree char *path = rig_path(name);
    const uint8_t *text, *p;
    gsize bytes;
    uint64_t n;

    g_assert_true(g_file_get_contents(path, &log->texts[file], &bytes, NULL));
    text = p = (const uint8_t *)log->texts[file];
    g_assert_cmpuint(load_le64(p + WRITELOG_SUPER_MAGIC), ==, WRITELOG_MAGIC);
    g_assert_cmpuint(load_le32(p + WRITELOG_SUPER_SECTOR_SIZE), ==,
                     WRITELOG_SECTOR);
    n = load_le64(p + WRITELOG_SUPER_ENTRIES);
    p += WRITELOG_SECTOR;
    for (uint64_t i = 0; i < n; i++) {
        struct crash_entry e = load_entry(p);

        e.file = file;
        e.place = p - text;
        p += WRITELOG_SECTOR;
        if (!(e.flags & (WRITELOG_FLUSH | WRITELOG_DISCARD | WRITELOG_MARK))) {
            e.data = p;
            p += e.bytes;
        }
        g_assert_true(p <= text + bytes);
        g_array_append_val(log->entries, e);
    }
}

static gint compare(gconstpointer a, gconstpointer b)
{
    const struct crash_entry *x = a, *y = b;

    return (x->order > y->order) - (x->order < y->order);
}

void crash_log_load(struct crash_log *log, int n_files,
                    const char *const *names, GByteArray **before)
{
    *log = (struct crash_log){
        .n_files = n_files,
        .entries = g_array_new(FALSE, FALSE, sizeof(struct crash_entry)),
        .loose = g_array_new(FALSE, FALSE, sizeof(int)),
    };
    for (int i = 0; i < n_files; i++) {
        load_file(log, i, names[i]);
        log->files[i] = before[i];
    }
    g_array_sort(log->entries, compare);
}

void crash_log_fini(struct crash_log *log)
{
    for (int i = 0; i < log->n_files; i++) {
        g_free(log->texts[i]);
        g_byte_array_unref(log->files[i]);
    }
    g_array_unref(log->entries);
    g_array_unref(log->loose);
}

int crash_log_at(const struct crash_log *log, const int64_t *lengths)
{
    int n = 0;

    for (int i = 0; i < crash_log_length(log); i++) {
        const struct crash_entry *e = entry_at(log, i);

        n += e->place < lengths[e->file];
    }
    return n;
}

bool crash_log_is_flushed(const struct crash_log *log, int i)
{
    return entry_at(log, i)->mark == WRITELOG_MARK_FLUSHED;
}

bool crash_log_in_flight(const struct crash_log *log, guint i)
{
    return g_array_index(log->loose, int, i) >= log->cut;
}

/* -- Replaying ----------------------------------------------------------- */

static void set_length(GByteArray *file, int64_t length)
{
    guint old = file->len;

    g_byte_array_set_size(file, (guint)length);
    if (file->len > old) {
        memset(file->data + old, 0, file->len - old);
    }
}

/* What was discarded up to the end may have been cut off; all else that was
 * discarded reads as zeroes. */
static void discard(GByteArray *file, const struct crash_entry *e, bool torn)
{
    if (e->offset >= file->len) {
        return;
    }
    if (e->offset + e->bytes >= file->len) {
        set_length(file, e->offset);
        return;
    }
    for (int64_t at = 0; at < e->bytes; at += WRITELOG_SECTOR) {
        if (!torn || g_test_rand_bit()) {
            memset(file->data + e->offset + at, 0, WRITELOG_SECTOR);
        }
    }
}

static void put_sector(GByteArray *file, int64_t offset, const uint8_t *data)
{
    set_length(file, max_i64(offset + WRITELOG_SECTOR, file->len));
    memcpy(file->data + offset, data, WRITELOG_SECTOR);
}

static void apply(GByteArray *file, const struct crash_entry *e, bool torn)
{
    if (e->flags & WRITELOG_DISCARD) {
        discard(file, e, torn);
    }
    if (e->mark == WRITELOG_MARK_LENGTH) {
        set_length(file, max_i64((int64_t)e->value, file->len));
    }
    if (!e->data) {
        return;
    }
    for (int64_t at = 0; at < e->bytes; at += WRITELOG_SECTOR) {
        if (!torn || g_test_rand_bit()) {
            put_sector(file, e->offset + at, e->data + at);
        }
    }
}

/* The flush that @mark ends makes durable what was complete before it
 * began. */
static void settle(struct crash_log *log, const struct crash_entry *mark)
{
    for (int i = 0; i < log->cut; i++) {
        struct crash_entry *e = entry_at(log, i);

        if (e->file == mark->file && e->order < mark->value && !e->durable) {
            apply(log->files[e->file], e, false);
            e->durable = true;
        }
    }
}

static bool changes_something(const struct crash_entry *e)
{
    return e->data || (e->flags & WRITELOG_DISCARD) ||
           e->mark == WRITELOG_MARK_LENGTH;
}

static void find_loose(struct crash_log *log)
{
    int n = crash_log_length(log);
    uint64_t end = log->cut < n ? entry_at(log, log->cut)->order : UINT64_MAX;

    g_array_set_size(log->loose, 0);
    for (int i = 0; i < n; i++) {
        const struct crash_entry *e = entry_at(log, i);

        if (changes_something(e) && !e->durable &&
            (i < log->cut || e->began < end)) {
            g_array_append_val(log->loose, i);
        }
    }
}

void crash_log_cut(struct crash_log *log, int cut)
{
    for (; log->cut < cut; log->cut++) {
        const struct crash_entry *e = entry_at(log, log->cut);

        if (e->mark == WRITELOG_MARK_FLUSHED) {
            settle(log, e);
        }
        g_assert_false(e->flags & WRITELOG_FUA); /* nobody uses it */
    }
    find_loose(log);
}

/* Not g_file_set_contents(), which waits for the disk. */
static void put_file(const char *path, const GByteArray *file)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pwrite(fd, file->data, file->len, 0), ==, file->len);
    g_assert_cmpint(ftruncate(fd, file->len), ==, 0);
    g_assert_cmpint(close(fd), ==, 0);
}

void crash_log_crash(const struct crash_log *log, const enum crash_fate *fates,
                     const char *const *names)
{
    for (int f = 0; f < log->n_files; f++) {
        const GByteArray *durable = log->files[f];
        g_autoptr(GByteArray) file = g_byte_array_sized_new(durable->len);
        g_autofree char *path = rig_path(names[f]);

        g_byte_array_append(file, durable->data, durable->len);
        for (guint i = 0; i < log->loose->len; i++) {
            const struct crash_entry *e =
                entry_at(log, g_array_index(log->loose, int, i));

            if (e->file == f && fates[i] != CRASH_LOST) {
                apply(file, e, fates[i] == CRASH_TORN);
            }
        }
        put_file(path, file);
    }
}
