/* SPDX-License-Identifier: MIT */
/*
 * table: which partitions there are.
 *
 * A partition that another reading of the table finds at the same place under
 * the same number stays the same inode.  Any other change makes it vanish and
 * a new one appear, under a number of its own, so that nobody who still knows
 * the old one gets other data.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "view/view_priv.h"

static int table_read_bytes(void *opaque, int64_t offset, void *buf,
                            int64_t bytes)
{
    struct view *v = opaque;

    co_assert_role();
    return backend_co_pread(v->be, offset, buf, bytes);
}

int co_fn table_co_read(struct view *v, struct part_table **ret)
{
    struct part_source src = {
        .size = backend_length(v->be),
        .sector_size = v->opts.sector_size,
        .read = table_read_bytes,
        .opaque = v,
    };

    return part_table_read(&src, ret);
}

static bool same_place(const struct data *d, const struct part_entry *e)
{
    return d->index == e->index && d->offset == e->offset &&
           d->bytes == e->bytes;
}

static int by_index(const void *key, const void *member)
{
    unsigned index = *(const unsigned *)key;
    const struct part_entry *e = member;

    return index < e->index ? -1 : index > e->index;
}

const struct part_entry *table_find(const struct part_table *t, unsigned index)
{
    if (!t || t->n_entries == 0) {
        return NULL;
    }
    return bsearch(&index, t->entries, t->n_entries, sizeof(*t->entries),
                   by_index);
}

/* Partitions that @table does not have, or has elsewhere. */
static void remove_vanished(struct view *v, const struct part_table *table)
{
    for (unsigned i = v->data->len; i-- > 0;) {
        struct data *d = g_ptr_array_index(v->data, i);

        const struct part_entry *e = table_find(table, d->index);

        if (d->index == 0 || (e && same_place(d, e))) {
            continue;
        }
        g_ptr_array_remove_index(v->data, i);
        d->entry = NULL; /* whoever still has a reference sees no table */
        if (v->events.data_changed) {
            v->events.data_changed(v->events.opaque, d->inode.ino, 0, d->bytes);
        }
        tree_remove(&d->inode);
    }
}

static int data_order(const void *a, const void *b)
{
    const struct data *da = *(struct data *const *)a;
    const struct data *db = *(struct data *const *)b;

    /* The disk, 0, comes last. */
    return da->index - 1 < db->index - 1 ? -1 : da->index != db->index;
}

/* What has the name of an entry is that entry, after remove_vanished(). */
static void add_new(struct view *v, const struct part_table *table)
{
    struct dir *root = dir_of(v->root);

    for (size_t i = 0; table && i < table->n_entries; i++) {
        const struct part_entry *e = &table->entries[i];
        struct inode *same;
        char name[16];

        (void)snprintf(name, sizeof(name), "p%u", e->index);
        same = g_hash_table_lookup(root->children, name);
        if (same) {
            data_of(same)->entry = e;
        } else {
            data_add(v, e, name, root);
        }
    }
    g_ptr_array_sort(v->data, data_order);
}

void log_new_warnings(char *const *lines, size_t n, char *const *old,
                      size_t n_old)
{
    for (size_t i = 0; i < n; i++) {
        size_t j = 0;

        while (j < n_old && strcmp(lines[i], old[j]) != 0) {
            j++;
        }
        if (j == n_old) {
            log_warning("%s", lines[i]);
        }
    }
}

void table_install(struct view *v, struct part_table *table)
{
    struct part_table *old = v->table;

    if (table) {
        log_new_warnings(table->warnings, table->n_warnings,
                         old ? old->warnings : NULL, old ? old->n_warnings : 0);
    }
    remove_vanished(v, table);
    add_new(v, table);
    v->table = table;
    links_rebuild(v);
    part_table_free(old);
}

static bool table_is_due(struct view *v)
{
    bool due;

    view_lock(v);
    due = v->table_stale && v->parts_open == 0;
    view_unlock(v);
    return due;
}

/* Reads the table and installs it, unless a partition was opened meanwhile.
 * tree_lock held. */
static void co_fn table_reread(struct view *v)
{
    struct part_table *table = NULL;
    int rc;

    view_lock(v);
    v->table_stale = false; /* before reading: later writes set it again */
    view_unlock(v);
    rc = table_co_read(v, &table); /* yields */
    if (rc < 0) {
        log_warning("cannot read the changed partition table: %s",
                    strerror(-rc));
    }
    view_lock(v);
    if (v->parts_open > 0) {
        v->table_stale = true;
    } else if (rc == 0) {
        table_install(v, table);
        table = NULL;
    }
    view_unlock(v);
    part_table_free(table);
}

void co_fn table_co_refresh(struct view *v)
{
    if (!table_is_due(v)) {
        return;
    }
    co_mutex_lock(&v->tree_lock);
    if (table_is_due(v)) { /* nobody else did it meanwhile */
        table_reread(v);   /* yields */
    }
    co_mutex_unlock(&v->tree_lock);
}
