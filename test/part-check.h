/* SPDX-License-Identifier: MIT */
/*
 * part-check: what holds for each partition table, whatever is on the disk.
 *
 * The unit tests and the fuzz targets of part share it.  A broken rule aborts.
 */
#ifndef TEST_PART_CHECK_H
#define TEST_PART_CHECK_H

#include <glib.h>
#include <string.h>

#include "base/align.h"
#include "part/part.h"

static inline void part_check_entry(const struct part_entry *e, int64_t size,
                                    int sector_size)
{
    g_assert_cmpint(e->index, >, 0);
    g_assert_cmpint(e->bytes, >, 0);
    g_assert_true(range_ok(e->offset, e->bytes, size));
    g_assert_true(is_aligned(e->offset, sector_size));
    g_assert_true(is_aligned(e->bytes, sector_size));
    g_assert_true(memchr(e->name, '\0', sizeof(e->name)));
    g_assert_true(g_utf8_validate(e->name, -1, NULL));
    g_assert_cmpint(strspn(e->uuid, "0123456789abcdef-"), ==, strlen(e->uuid));
    g_assert_cmpint(strspn(e->type, "x0123456789abcdef-"), ==, strlen(e->type));
}

static inline void part_check_table(const struct part_table *t, int64_t size)
{
    g_assert_true(t->sector_size == 512 || t->sector_size == 4096);
    for (size_t i = 0; i < t->n_entries; i++) {
        part_check_entry(&t->entries[i], size, t->sector_size);
        if (i > 0) {
            g_assert_cmpint(t->entries[i].index, >, t->entries[i - 1].index);
        }
    }
    if (t->scheme == PART_NONE) {
        g_assert_cmpint(t->n_entries, ==, 0);
    }
    g_assert_cmpint(t->n_warnings, <=, PART_MAX_WARNINGS);
    for (size_t i = 0; i < t->n_warnings; i++) {
        g_assert_true(g_str_is_ascii(t->warnings[i]));
        g_assert_null(strchr(t->warnings[i], '\n'));
    }
}

#endif /* TEST_PART_CHECK_H */
