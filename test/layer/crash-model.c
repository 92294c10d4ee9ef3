/* SPDX-License-Identifier: MIT */

#include "crash-model.h"

#include <inttypes.h>
#include <string.h>

#include "base/align.h"

/* -- Snapshots ----------------------------------------------------------- */

static void saved_unref(void *opaque)
{
    struct saved *sn = opaque;

    if (--sn->refs == 0) {
        g_free(sn->disk);
        g_free(sn);
    }
}

struct saved *model_save(const struct model *m, const char *name)
{
    struct saved *sn = g_new0(struct saved, 1);

    g_strlcpy(sn->name, name, sizeof(sn->name));
    sn->sectors = m->sectors;
    sn->disk = g_memdup2(m->disk, (gsize)m->sectors * sizeof(*sn->disk));
    return sn;
}

GPtrArray *model_without(GPtrArray *list, const struct saved *sn)
{
    GPtrArray *copy = g_ptr_array_new_with_free_func(saved_unref);

    for (guint i = 0; i < list->len; i++) {
        struct saved *other = list->pdata[i];

        if (other != sn) {
            other->refs++;
            g_ptr_array_add(copy, other);
        }
    }
    return copy;
}

GPtrArray *model_with(GPtrArray *list, struct saved *sn)
{
    GPtrArray *copy = model_without(list, NULL);

    sn->refs++;
    g_ptr_array_add(copy, sn);
    return copy;
}

/* -- Histories ----------------------------------------------------------- */

static void change_clear(void *opaque)
{
    struct change *c = opaque;

    g_free(c->values);
    g_clear_pointer(&c->saved, g_ptr_array_unref);
}

static void promise_clear(void *opaque)
{
    struct promise *p = opaque;

    g_free(p->disk);
    g_ptr_array_unref(p->saved);
}

void model_init(struct model *m, int64_t max, int64_t sectors)
{
    *m = (struct model){
        .max = max,
        .sectors = sectors,
        .disk = g_new0(uint64_t, (gsize)max),
        .saved = g_ptr_array_new_with_free_func(saved_unref),
        .changes = g_array_new(FALSE, FALSE, sizeof(struct change)),
        .promises = g_array_new(FALSE, FALSE, sizeof(struct promise)),
    };
    g_array_set_clear_func(m->changes, change_clear);
    g_array_set_clear_func(m->promises, promise_clear);
}

void model_fini(struct model *m)
{
    g_array_unref(m->changes);
    g_array_unref(m->promises);
    g_ptr_array_unref(m->saved);
    g_free(m->disk);
}

struct change *model_change(struct model *m, struct moment now, int64_t first,
                            int64_t n, const uint64_t *values)
{
    struct change c = {
        .begin = now,
        .first = first,
        .n = values ? n : 0,
        .values = values ? g_memdup2(values, (gsize)n * sizeof(*values)) : NULL,
        .sectors = -1,
    };

    g_assert_cmpint(first + c.n, <=, m->max);
    g_array_append_val(m->changes, c);
    return &g_array_index(m->changes, struct change, m->changes->len - 1);
}

void model_values(struct model *m, uint64_t *values, int64_t first, int64_t n)
{
    m->last++;
    for (int64_t i = 0; i < n; i++) {
        values[i] = m->last << 32 | (uint64_t)(first + i);
    }
}

/* Has a change of those in [@first, @end) made @sector @value?  *@may_stay:
 * none of them must have made it anything. */
static bool is_changed_to(const struct model *m, guint first, guint end,
                          int64_t sector, uint64_t value, bool *may_stay)
{
    *may_stay = true;
    for (guint i = first; i < end; i++) {
        const struct change *c = &g_array_index(m->changes, struct change, i);

        if (sector >= c->first && sector < c->first + c->n) {
            *may_stay = *may_stay && c->may_stay;
            if (c->values[sector - c->first] == value) {
                return true;
            }
        }
    }
    return false;
}

void model_ended(struct model *m, guint first, const uint64_t *disk,
                 int64_t sectors)
{
    for (int64_t i = 0; i < sectors; i++) {
        bool may_stay;

        if (!is_changed_to(m, first, m->changes->len, i, disk[i], &may_stay) &&
            !(may_stay && i < m->sectors && disk[i] == m->disk[i])) {
            g_error("sector %" PRId64 " is 0x%" PRIx64 ", was 0x%" PRIx64, i,
                    disk[i], m->disk[i]);
        }
    }
    for (guint i = first; i < m->changes->len; i++) {
        struct change *c = &g_array_index(m->changes, struct change, i);

        if (c->saved) {
            g_ptr_array_unref(m->saved);
            m->saved = g_ptr_array_ref(c->saved);
        }
        g_assert_true(c->sectors < 0 || c->sectors == sectors);
    }
    memcpy(m->disk, disk, (size_t)sectors * sizeof(*disk));
    memset(m->disk + sectors, 0, (size_t)(m->max - sectors) * sizeof(*disk));
    m->sectors = sectors;
}

void model_promise(struct model *m, struct moment now, guint n_changes,
                   const uint64_t *disk)
{
    struct promise p = {
        .end = now,
        .n_changes = n_changes,
        .sectors = m->sectors,
        .disk = g_memdup2(disk, (gsize)m->max * sizeof(*disk)),
        .saved = g_ptr_array_ref(m->saved),
    };

    g_array_append_val(m->promises, p);
}

void model_load(struct model *m, const struct crash_log *log)
{
    for (guint i = 0; i < m->changes->len; i++) {
        struct change *c = &g_array_index(m->changes, struct change, i);

        c->begin.entry = crash_log_at(log, c->begin.lengths);
    }
    for (guint i = 0; i < m->promises->len; i++) {
        struct promise *p = &g_array_index(m->promises, struct promise, i);

        p->end.entry = crash_log_at(log, p->end.lengths);
    }
}

/* -- Crashes ------------------------------------------------------------- */

static const struct promise *last_promise(const struct model *m, int cut)
{
    const struct promise *last = NULL;

    for (guint i = 0; i < m->promises->len; i++) {
        const struct promise *p =
            &g_array_index(m->promises, struct promise, i);

        last = p->end.entry <= cut ? p : last;
    }
    g_assert_nonnull(last);
    return last;
}

static bool are_names(const GPtrArray *saved, char *const *names)
{
    guint n = g_strv_length((char **)(uintptr_t)names);

    for (guint i = 0; i < saved->len && i < n; i++) {
        const struct saved *sn = saved->pdata[i];

        if (strcmp(sn->name, names[i]) != 0) {
            return false;
        }
    }
    return n == saved->len;
}

static void expect_sectors(const struct model *m, const struct promise *p,
                           guint end, const uint64_t *disk, int64_t sectors)
{
    bool may_stay;

    for (int64_t i = 0; i < sectors; i++) {
        if (disk[i] != p->disk[i] &&
            !is_changed_to(m, p->n_changes, end, i, disk[i], &may_stay)) {
            g_error("sector %" PRId64 " is 0x%" PRIx64 ", 0x%" PRIx64
                    " had been flushed",
                    i, disk[i], p->disk[i]);
        }
    }
}

const GPtrArray *model_expect(const struct model *m, int cut,
                              const uint64_t *disk, int64_t sectors,
                              char *const *names)
{
    const struct promise *p = last_promise(m, cut);
    const GPtrArray *saved = are_names(p->saved, names) ? p->saved : NULL;
    bool right_size = sectors == p->sectors;
    guint end = p->n_changes;

    for (; end < m->changes->len; end++) {
        const struct change *c = &g_array_index(m->changes, struct change, end);

        if (c->begin.entry > cut) {
            break;
        }
        right_size = right_size || sectors == c->sectors;
        if (c->saved && are_names(c->saved, names)) {
            saved = c->saved;
        }
    }
    if (!right_size) {
        g_error("the disk has %" PRId64 " sectors, had %" PRId64, sectors,
                p->sectors);
    }
    if (!saved) {
        g_error("the snapshots are not what they were, nor are to be");
    }
    expect_sectors(m, p, end, disk, sectors);
    return saved;
}
