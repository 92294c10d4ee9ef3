/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/log.h"
#include "view/view_priv.h"

bool view_is_rdonly(const struct view *v)
{
    return backend_flags(v->be) & BACKEND_RDONLY;
}

static void text_add(struct view *v, struct dir *parent,
                     const struct text_kind *kind)
{
    struct text *t = g_new0(struct text, 1);

    inode_init(&t->inode, &text_ops, v, kind->name, v->file_mode & 0444);
    t->kind = kind;
    tree_add(&t->inode, parent);
}

static struct dir *dir_add(struct view *v, struct dir *parent, const char *name)
{
    struct dir *d = g_new0(struct dir, 1);

    inode_init(&d->inode, &dir_ops, v, name, v->dir_mode);
    d->children = g_hash_table_new(g_str_hash, g_str_equal);
    tree_add(&d->inode, parent);
    return d;
}

/* All files but the partitions and the links to them. */
static void make_tree(struct view *v)
{
    static const char *const names[N_LINK_DIRS] = {
        [BY_PARTLABEL] = "by-partlabel",
        [BY_PARTUUID] = "by-partuuid",
        [BY_LABEL] = "by-label",
        [BY_UUID] = "by-uuid",
    };
    struct dir *root = dir_add(v, NULL, "/");
    struct dir *status = dir_add(v, root, ".coblk");

    text_add(v, status, &stats_text);
    text_add(v, status, &info_text);
    data_add(v, NULL, "disk", root);
    for (int i = 0; i < N_LINK_DIRS; i++) {
        v->links[i] = dir_add(v, root, names[i]);
        v->links[i]->hidden_if_empty = true;
    }
}

static int no_such_part(const struct view *v, GError **err)
{
    g_autoptr(GString) have = g_string_new(NULL);

    for (size_t i = 0; v->table && i < v->table->n_entries; i++) {
        g_string_append_printf(have, "%s p%u", i == 0 ? "" : ",",
                               v->table->entries[i].index);
    }
    return error_set(err, -ENOENT, "no partition %u: there %s%s", v->opts.part,
                     have->len > 0 ? "is" : "are none", have->str);
}

/* The one file of a single-file mount. */
static int make_single(struct view *v, GError **err)
{
    const struct part_entry *e = NULL;

    if (v->opts.part_wanted) {
        e = table_find(v->table, v->opts.part);
        if (!e) {
            return no_such_part(v, err);
        }
    }
    data_add(v, e, "", NULL);
    return 0;
}

static struct view *view_alloc(struct backend *be, const struct view_opts *opts)
{
    struct view *v = g_new0(struct view, 1);

    v->be = be;
    v->opts = *opts;
    v->file_mode = opts->mode & (view_is_rdonly(v) ? 0444 : 0666);
    v->dir_mode = v->file_mode | (v->file_mode & 0444) >> 2;
    v->next_ino = VIEW_ROOT;
    v->inodes = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL,
                                      (GDestroyNotify)inode_put);
    v->data = g_ptr_array_new();
    v->link_warnings = g_ptr_array_new_with_free_func(g_free);
    list_init(&v->open_files);
    co_mutex_init(&v->tree_lock);
    co_mutex_init(&v->size_lock);
    pthread_mutex_init(&v->lock, NULL);
    return v;
}

int co_fn view_co_new(struct backend *be, const struct view_opts *opts,
                      struct view **ret, GError **err)
{
    struct view *v = view_alloc(be, opts);
    struct part_table *table = NULL;
    int rc = 0;

    if (!opts->single_file || opts->part_wanted) {
        rc = table_co_read(v, &table); /* yields */
    }
    if (rc == -ENOMEM) {
        view_free(v);
        return error_set_errno(err, rc, "cannot read the partition table");
    }
    if (rc < 0) {
        log_warning("cannot read the partition table: %s", strerror(-rc));
        rc = 0;
    }

    /* Nobody else knows it yet, so no lock is needed. */
    if (opts->single_file) {
        v->table = table;
        rc = make_single(v, err);
    } else {
        make_tree(v);
        table_install(v, table);
    }
    if (rc < 0) {
        view_free(v);
        return rc;
    }
    *ret = v;
    return 0;
}

void view_free(struct view *v)
{
    struct open_file *o;

    if (!v) {
        return;
    }
    /* Those that the kernel did not release because the connection ended. */
    while ((o = list_first(&v->open_files, struct open_file, link))) {
        list_del(&o->link);
        open_file_free(o);
    }
    g_hash_table_destroy(v->inodes);
    g_ptr_array_unref(v->data);
    g_ptr_array_unref(v->link_warnings);
    part_table_free(v->table);
    pthread_mutex_destroy(&v->lock);
    co_mutex_fini(&v->size_lock);
    co_mutex_fini(&v->tree_lock);
    g_free(v);
}

void view_set_events(struct view *v, const struct view_events *events)
{
    v->events = *events;
}

unsigned view_open_files(const struct view *v)
{
    return __atomic_load_n(&v->files_open, __ATOMIC_RELAXED);
}

void view_statfs(struct view *v, struct view_statfs *ret)
{
    ret->bytes = backend_length(v->be);
    ret->blksize = 4096;
    view_lock(v);
    ret->files = g_hash_table_size(v->inodes);
    view_unlock(v);
}
