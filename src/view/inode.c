/* SPDX-License-Identifier: MIT */

#include <assert.h>
#include <sys/stat.h>

#include "view/view_priv.h"

/* The number of ".." as a directory cookie; see dir.c. */
#define INO_RESERVED 2

void inode_init(struct inode *i, const struct inode_ops *ops, struct view *v,
                const char *name, mode_t mode)
{
    i->ops = ops;
    i->view = v;
    i->name = g_strdup(name);
    i->mode = mode;
    i->refs = 1;
}

struct inode *inode_get(struct view *v, uint64_t ino)
{
    struct inode *i;

    view_lock(v);
    i = g_hash_table_lookup(v->inodes, &ino);
    if (i) {
        __atomic_fetch_add(&i->refs, 1, __ATOMIC_RELAXED);
    }
    view_unlock(v);
    return i;
}

void inode_put(struct inode *i)
{
    if (!i || __atomic_sub_fetch(&i->refs, 1, __ATOMIC_ACQ_REL) > 0) {
        return;
    }
    g_free(i->name);
    i->ops->free(i);
}

static uint64_t next_ino(struct view *v)
{
    if (v->next_ino == INO_RESERVED) {
        v->next_ino++;
    }
    return v->next_ino++;
}

void tree_add(struct inode *i, struct dir *parent)
{
    struct view *v = i->view;

    i->ino = next_ino(v);
    i->parent = parent;
    g_hash_table_insert(v->inodes, &i->ino, i);
    if (parent) {
        g_hash_table_insert(parent->children, i->name, i);
    } else {
        assert(i->ino == VIEW_ROOT);
        v->root = i;
    }
    clock_gettime(CLOCK_REALTIME, &v->changed);
}

void tree_remove(struct inode *i)
{
    struct view *v = i->view;

    assert(i->parent);
    i->gone = true;
    if (v->events.entry_gone) {
        v->events.entry_gone(v->events.opaque, i->parent->inode.ino, i->name);
    }
    g_hash_table_remove(i->parent->children, i->name);
    clock_gettime(CLOCK_REALTIME, &v->changed);
    g_hash_table_remove(v->inodes, &i->ino); /* may free it */
}
