/* SPDX-License-Identifier: MIT */
/*
 * dir: names.
 *
 * A directory is listed in the order of inode numbers, and the cookie of an
 * entry is its number.  So a listing that is read in pieces skips nothing and
 * repeats nothing when the partition table changes in between.  "." and ".."
 * have the cookies 1 and 2: 1 is the root's number, which no entry has, and 2
 * is nobody's.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "view/view_priv.h"

enum {
    COOKIE_SELF = 1,
    COOKIE_PARENT = 2,
};

static void dir_attr(const struct inode *i, const struct node_stat *st,
                     struct view_attr *attr)
{
    attr->size = 0;
}

static void dir_free(struct inode *i)
{
    struct dir *d = dir_of(i);

    g_hash_table_destroy(d->children);
    g_free(d);
}

const struct inode_ops dir_ops = {
    .type = S_IFDIR,
    .attr = dir_attr,
    .free = dir_free,
};

static bool is_hidden(const struct inode *i)
{
    return is_dir(i) && dir_of(i)->hidden_if_empty &&
           g_hash_table_size(dir_of(i)->children) == 0;
}

/* A directory whose links follow from what partitions hold? */
static bool needs_settling(const struct inode *i)
{
    const struct view *v = i->view;

    return is_dir(i) &&
           (dir_of(i) == v->links[BY_LABEL] || dir_of(i) == v->links[BY_UUID]);
}

/* -- Lookup -------------------------------------------------------------- */

/* The child @name with a reference, hidden or not, or NULL. */
static struct inode *child_get(struct dir *d, const char *name)
{
    struct view *v = d->inode.view;
    struct inode *i;

    view_lock(v);
    i = g_hash_table_lookup(d->children, name);
    if (i) {
        __atomic_fetch_add(&i->refs, 1, __ATOMIC_RELAXED);
    }
    view_unlock(v);
    return i;
}

static bool is_visible(struct inode *i)
{
    bool visible;

    view_lock(i->view);
    visible = !is_hidden(i);
    view_unlock(i->view);
    return visible;
}

static int co_fn dir_lookup(struct dir *d, const char *name,
                            struct view_attr *ret)
{
    struct view *v = d->inode.view;
    struct inode *i;
    int rc;

    if (needs_settling(&d->inode)) {
        links_co_settle(v); /* yields */
    }
    i = child_get(d, name);
    if (!i) {
        return -ENOENT;
    }
    if (needs_settling(i)) {
        links_co_settle(v); /* yields */
    }
    rc = is_visible(i) ? attr_co_get(i, ret) : -ENOENT;
    inode_put(i);
    return rc;
}

int co_fn view_co_lookup(struct view *v, uint64_t parent, const char *name,
                         struct view_attr *ret)
{
    struct inode *i;
    int rc;

    if (strlen(name) > VIEW_NAME_MAX) {
        return -ENAMETOOLONG;
    }
    i = inode_get(v, parent);
    if (!i) {
        return -ESTALE;
    }
    rc = is_dir(i) ? dir_lookup(dir_of(i), name, ret) : -ENOTDIR;
    inode_put(i);
    return rc;
}

int view_readlink(struct view *v, uint64_t ino, char **ret)
{
    struct inode *i = inode_get(v, ino);
    int rc = -EINVAL;

    if (!i) {
        return -ESTALE;
    }
    if (i->ops == &link_ops) {
        *ret = g_strdup(link_of(i)->target);
        rc = 0;
    }
    inode_put(i);
    return rc;
}

/* -- Listing ------------------------------------------------------------- */

struct entry {
    char *name;
    struct view_attr attr;
    int64_t next;
};

static void entry_clear(void *p)
{
    g_free(((struct entry *)p)->name);
}

static void entry_add(GArray *list, const char *name, const struct inode *i,
                      const struct node_stat *st, int64_t next)
{
    struct entry e = {.name = g_strdup(name), .next = next};

    attr_fill(i, st, &e.attr);
    g_array_append_val(list, e);
}

static int by_cookie(const void *a, const void *b)
{
    const struct entry *ea = a, *eb = b;

    return ea->next < eb->next ? -1 : ea->next > eb->next;
}

/* All that comes after @cookie. */
static GArray *dir_entries(struct dir *d, int64_t cookie,
                           const struct node_stat *st)
{
    GArray *list = g_array_new(FALSE, FALSE, sizeof(struct entry));
    struct dir *up = d->inode.parent ? d->inode.parent : d;
    GHashTableIter it;
    void *child;

    g_array_set_clear_func(list, entry_clear);
    if (cookie < COOKIE_SELF) {
        entry_add(list, ".", &d->inode, st, COOKIE_SELF);
    }
    if (cookie < COOKIE_PARENT) {
        entry_add(list, "..", &up->inode, st, COOKIE_PARENT);
    }
    g_hash_table_iter_init(&it, d->children);
    while (g_hash_table_iter_next(&it, NULL, &child)) {
        const struct inode *i = child;

        if ((int64_t)i->ino > cookie && !is_hidden(i)) {
            entry_add(list, i->name, i, st, (int64_t)i->ino);
        }
    }
    g_array_sort(list, by_cookie);
    return list;
}

static int co_fn dir_list(struct dir *d, int64_t cookie, view_dirent_fn *fn,
                          void *opaque)
{
    struct view *v = d->inode.view;
    struct node_stat st;
    GArray *list;
    int rc;

    if (&d->inode == v->root || needs_settling(&d->inode)) {
        links_co_settle(v); /* yields */
    }
    rc = backend_co_stat(v->be, &st); /* yields */
    if (rc < 0) {
        return rc;
    }
    view_lock(v);
    list = dir_entries(d, cookie, &st);
    view_unlock(v);
    for (unsigned i = 0; i < list->len; i++) {
        const struct entry *e = &g_array_index(list, struct entry, i);

        if (!fn(opaque, e->name, &e->attr, e->next)) {
            break;
        }
    }
    g_array_unref(list);
    return 0;
}

int co_fn view_co_readdir(struct view *v, uint64_t ino, int64_t cookie,
                          view_dirent_fn *fn, void *opaque)
{
    struct inode *i = inode_get(v, ino);
    int rc;

    if (!i) {
        return -ESTALE;
    }
    rc = is_dir(i) ? dir_list(dir_of(i), cookie, fn, opaque) : -ENOTDIR;
    inode_put(i);
    return rc;
}
