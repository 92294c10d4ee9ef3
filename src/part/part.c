/* SPDX-License-Identifier: MIT */
/*
 * part: decides which table counts, and the rules that hold for all of them.
 */
#include "part/part.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "part/part_priv.h"

void part_warn(struct part_scan *s, const char *format, ...)
{
    struct part_table *t = s->table;
    va_list ap;

    if (t->n_warnings == PART_MAX_WARNINGS) {
        return;
    }
    if (t->n_warnings == PART_MAX_WARNINGS - 1) {
        t->warnings[t->n_warnings++] =
            g_strdup("the partition table has more faults than are listed");
        return;
    }
    va_start(ap, format);
    t->warnings[t->n_warnings++] = g_strdup_vprintf(format, ap);
    va_end(ap);
}

int part_reserve(struct part_scan *s, size_t n)
{
    assert(!s->table->entries);

    if (n == 0) {
        return 0;
    }
    s->table->entries = g_try_new0(struct part_entry, n);
    if (!s->table->entries) {
        return -ENOMEM;
    }
    s->room = n;
    return 0;
}

struct part_entry *part_add(struct part_scan *s, unsigned index, uint64_t first,
                            uint64_t last)
{
    struct part_table *t = s->table;
    uint64_t sectors = part_sectors(s, t->sector_size);
    struct part_entry *e;

    if (last < first) {
        part_warn(s, "p%u has no sectors and is not shown", index);
        return NULL;
    }
    if (first >= sectors) {
        part_warn(s, "p%u starts beyond the end of the disk and is not shown",
                  index);
        return NULL;
    }
    if (last >= sectors) {
        part_warn(s, "p%u ends beyond the end of the disk and is cut there",
                  index);
        last = sectors - 1;
    }

    assert(t->n_entries < s->room);
    e = &t->entries[t->n_entries++];
    e->index = index;
    e->offset = (int64_t)first * t->sector_size;
    e->bytes = (int64_t)(last - first + 1) * t->sector_size;
    return e;
}

/* What the check for overlaps needs of an entry. */
struct part_extent {
    int64_t offset, end;
    unsigned index;
};

static int part_compare_extents(const void *a, const void *b)
{
    const struct part_extent *x = a, *y = b;

    if (x->offset != y->offset) {
        return x->offset < y->offset ? -1 : 1;
    }
    return x->index < y->index ? -1 : 1;
}

/*
 * Warns once for each entry that starts inside an earlier one.  Going by
 * offset, it is enough to remember the entry that reaches furthest.
 */
static int part_check_overlaps(struct part_scan *s)
{
    const struct part_table *t = s->table;
    g_autofree struct part_extent *x = NULL;
    const struct part_extent *far;

    if (t->n_entries < 2) {
        return 0;
    }
    x = g_try_new(struct part_extent, t->n_entries);
    if (!x) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < t->n_entries; i++) {
        const struct part_entry *e = &t->entries[i];

        x[i] = (struct part_extent){e->offset, e->offset + e->bytes, e->index};
    }
    qsort(x, t->n_entries, sizeof(*x), part_compare_extents);

    far = x;
    for (size_t i = 1; i < t->n_entries; i++) {
        if (x[i].offset < far->end) {
            part_warn(s,
                      "p%u and p%u overlap: writing to one changes the other",
                      MIN(far->index, x[i].index), MAX(far->index, x[i].index));
        }
        if (x[i].end > far->end) {
            far = &x[i];
        }
    }
    return 0;
}

static void part_check_protection(struct part_scan *s, const struct mbr *mbr)
{
    struct part_table *t = s->table;

    if (!mbr->protective_good) {
        t->flags |= PART_PROTECTIVE_BAD;
        part_warn(s, "the first sector does not protect the GPT: programs that "
                     "know only MBR may overwrite it");
    }
    if (mbr->used > 0) {
        t->flags |= PART_HYBRID;
        part_warn(s, "the disk has a hybrid MBR: its partitions are those of "
                     "the GPT, the entries of the MBR are not looked at");
    }
}

static int part_scan_tables(struct part_scan *s)
{
    bool gpt = gpt_seen(s);
    struct mbr mbr;
    int rc;

    mbr_parse(s, &mbr);
    if (mbr.protective || (gpt && mbr.used == 0 && !mbr.file_system)) {
        rc = gpt_scan(s, mbr.protective);
        if (rc < 0) {
            return rc;
        }
        if (s->table->scheme == PART_GPT) {
            part_check_protection(s, &mbr);
            return part_check_overlaps(s);
        }
    } else if (gpt && mbr.used > 0) {
        part_warn(s, "the disk has an MBR and, unprotected, an older GPT: the "
                     "MBR is used");
    }

    /* A table that held nothing but the protective entry is no table. */
    if (mbr.valid && (mbr.used > 0 || !mbr.protective)) {
        rc = mbr_scan(s, &mbr);
        if (rc < 0) {
            return rc;
        }
    }
    return part_check_overlaps(s);
}

/*
 * Reads the start of the disk.  When a part of it cannot be read, the first
 * sector alone has to do: it tells whether there is a backup to look for.
 */
static int part_read_head(const struct part_source *src, uint8_t *head)
{
    int rc;

    if (src->size == 0) {
        return 0;
    }
    rc = src->read(src->opaque, 0, head, min_i64(src->size, PART_HEAD_BYTES));
    if (rc < 0) {
        memset(head, 0, PART_HEAD_BYTES);
        rc = src->read(src->opaque, 0, head, min_i64(src->size, 512));
    }
    return rc;
}

int part_table_read(const struct part_source *src, struct part_table **ret)
{
    g_autofree uint8_t *head = g_try_new0(uint8_t, PART_HEAD_BYTES);
    struct part_table *t = g_try_new0(struct part_table, 1);
    struct part_scan s = {.src = src, .table = t, .head = head};
    int rc = -ENOMEM;

    assert(src->sector_size == 0 || src->sector_size == 512 ||
           src->sector_size == 4096);

    if (!head || !t) {
        goto fail;
    }
    t->sector_size = src->sector_size ? src->sector_size : 512;

    rc = part_read_head(src, head);
    if (rc < 0) {
        goto fail;
    }
    rc = part_scan_tables(&s);
    if (rc < 0) {
        goto fail;
    }
    *ret = t;
    return 0;

fail:
    part_table_free(t);
    return rc;
}

void part_table_free(struct part_table *table)
{
    if (!table) {
        return;
    }
    for (size_t i = 0; i < table->n_warnings; i++) {
        g_free(table->warnings[i]);
    }
    g_free(table->entries);
    g_free(table);
}

const char *part_scheme_name(enum part_scheme scheme)
{
    static const char *const names[] = {
        [PART_NONE] = "none",
        [PART_MBR] = "mbr",
        [PART_GPT] = "gpt",
    };

    return names[scheme];
}
