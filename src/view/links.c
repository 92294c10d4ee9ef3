/* SPDX-License-Identifier: MIT */
/*
 * links: by-partlabel, by-partuuid, by-label and by-uuid.
 *
 * The first two follow from the partition table, the others from what the
 * partitions hold.  Finding that out reads from each of them, so it is done
 * when somebody looks, not when something was written: a partition that was
 * written is identified anew at the next look.
 *
 * When two partitions bear the same name the first one gets the link.
 */
#include <string.h>
#include <sys/stat.h>

#include "base/escape.h"
#include "base/log.h"
#include "view/view_priv.h"

static void link_attr(const struct inode *i, const struct node_stat *st,
                      struct view_attr *attr)
{
    attr->size = (int64_t)strlen(link_of(i)->target);
}

static void link_free(struct inode *i)
{
    struct link *l = link_of(i);

    g_free(l->target);
    g_free(l);
}

const struct inode_ops link_ops = {
    .type = S_IFLNK,
    .attr = link_attr,
    .free = link_free,
};

static void link_add(struct view *v, struct dir *dir, const char *name,
                     const char *target)
{
    struct link *l = g_new0(struct link, 1);

    inode_init(&l->inode, &link_ops, v, name, 0777);
    l->target = g_strdup(target);
    tree_add(&l->inode, dir);
}

/* The name that @d bears in one of the directories, or NULL. */
static const char *name_in(const struct data *d, enum link_dir which)
{
    switch (which) {
    case BY_PARTLABEL:
        return d->entry ? d->entry->name : NULL;
    case BY_PARTUUID:
        return d->entry ? d->entry->uuid : NULL;
    case BY_LABEL:
        return d->identity.label;
    case BY_UUID:
        return d->identity.uuid;
    case N_LINK_DIRS:
    default:
        return NULL;
    }
}

/* The same as a file name; false when it has none. */
static bool link_name(const struct data *d, enum link_dir which,
                      char ret[ESCAPE_NAME_MAX + 1])
{
    const char *name = name_in(d, which);

    return name && escape_name(name, ret);
}

static void warn_twice(GPtrArray *warnings, const struct data *d,
                       const struct dir *dir, const char *name,
                       const struct data *first)
{
    /* RAID members and the like at the end of the last partition are at the
     * end of the disk as well: nothing is wrong. */
    if (d->index == 0) {
        return;
    }
    g_ptr_array_add(warnings,
                    g_strdup_printf("%s: %s/%s is %s already, no link",
                                    d->inode.name, dir->inode.name, name,
                                    first->inode.name));
}

/* The links that @which should have: name to struct data. */
static GHashTable *links_wanted(struct view *v, enum link_dir which,
                                GPtrArray *warnings)
{
    GHashTable *wanted =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    for (unsigned i = 0; i < v->data->len; i++) {
        struct data *d = g_ptr_array_index(v->data, i), *first;
        char name[ESCAPE_NAME_MAX + 1];

        if (!link_name(d, which, name)) {
            continue;
        }
        first = g_hash_table_lookup(wanted, name);
        if (first) {
            warn_twice(warnings, d, v->links[which], name, first);
        } else {
            g_hash_table_insert(wanted, g_strdup(name), d);
        }
    }
    return wanted;
}

static char *target_of(const struct data *d)
{
    return g_strconcat("../", d->inode.name, NULL);
}

/* Removes the links that are wrong, and from @wanted those that are right. */
static void remove_wrong(struct dir *dir, GHashTable *wanted)
{
    g_autoptr(GList) links = g_hash_table_get_values(dir->children);

    for (GList *l = links; l; l = l->next) {
        struct inode *i = l->data;
        struct data *d = g_hash_table_lookup(wanted, i->name);
        g_autofree char *target = d ? target_of(d) : NULL;

        if (g_strcmp0(link_of(i)->target, target)) {
            tree_remove(i);
        } else {
            g_hash_table_remove(wanted, i->name);
        }
    }
}

static void rebuild_one(struct view *v, enum link_dir which,
                        GPtrArray *warnings)
{
    g_autoptr(GHashTable) wanted = links_wanted(v, which, warnings);

    remove_wrong(v->links[which], wanted);
    for (unsigned i = 0; i < v->data->len; i++) {
        struct data *d = g_ptr_array_index(v->data, i);
        char name[ESCAPE_NAME_MAX + 1];

        if (link_name(d, which, name) &&
            g_hash_table_lookup(wanted, name) == d) {
            g_autofree char *target = target_of(d);

            link_add(v, v->links[which], name, target);
        }
    }
}

void links_rebuild(struct view *v)
{
    GPtrArray *old = v->link_warnings;

    v->link_warnings = g_ptr_array_new_with_free_func(g_free);
    for (int i = 0; i < N_LINK_DIRS; i++) {
        rebuild_one(v, i, v->link_warnings);
    }
    log_new_warnings((char *const *)v->link_warnings->pdata,
                     v->link_warnings->len, (char *const *)old->pdata,
                     old->len);
    g_ptr_array_unref(old);
}

void links_forget(struct data *d)
{
    struct view *v = d->inode.view;

    d->identity_stale = true;
    v->identity_stale = true;
    if (!v->events.entry_gone) {
        return;
    }
    for (int which = BY_LABEL; which <= BY_UUID; which++) {
        char name[ESCAPE_NAME_MAX + 1];

        if (v->links[which] && link_name(d, which, name)) {
            v->events.entry_gone(v->events.opaque, v->links[which]->inode.ino,
                                 name);
        }
    }
}

/* Forgets that @flag was set; returns whether it was. */
static bool take_flag(struct view *v, bool *flag)
{
    bool was;

    view_lock(v);
    was = *flag;
    *flag = false;
    view_unlock(v);
    return was;
}

static void co_fn identify_one(struct view *v, struct data *d)
{
    struct identity id = {0}, old;
    int rc;

    rc = identify_co(v->be, d->offset, data_length(d), &id); /* yields */
    if (rc < 0) {
        log_warning("%s: cannot find out what it holds: %s", d->inode.name,
                    strerror(-rc));
    }
    view_lock(v);
    old = d->identity;
    d->identity = id;
    view_unlock(v);
    identity_clear(&old);
}

/* No more than these are looked at, so that a malicious table of thousands of
 * partitions does not make a listing take forever. */
#define MAX_IDENTIFIED 256

/* Under tree_lock, so that who comes second waits for what the first finds. */
static void co_fn settle_locked(struct view *v)
{
    if (!take_flag(v, &v->identity_stale)) {
        return;
    }
    for (unsigned i = 0; i < v->data->len; i++) {
        struct data *d = g_ptr_array_index(v->data, i);

        if (d->index <= MAX_IDENTIFIED && take_flag(v, &d->identity_stale)) {
            identify_one(v, d); /* yields */
        }
    }
    view_lock(v);
    links_rebuild(v);
    view_unlock(v);
}

void co_fn links_co_settle(struct view *v)
{
    co_mutex_lock(&v->tree_lock);
    settle_locked(v);
    co_mutex_unlock(&v->tree_lock);
}
