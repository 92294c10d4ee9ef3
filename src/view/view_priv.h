/* SPDX-License-Identifier: MIT */
/*
 * view_priv: what the files of the view share.
 *
 *   view.c       making and freeing, the tree that never changes
 *   inode.c      inodes and directories, and their numbers
 *   table.c      partitions: reading the table, and reading it again
 *   links.c      the by-… directories
 *   identify.c   what a partition holds (libblkid)
 *   attr.c       attributes
 *   dir.c        lookup, readdir, readlink
 *   file.c       open files
 *   coherence.c  what the kernel may keep cached
 *   text.c       stats.json and info.json
 *
 * An inode is one of four kinds, each a struct that begins with struct inode:
 * dir, data (disk, partition), link, text.  struct inode_ops says what differs.
 */
#ifndef VIEW_VIEW_PRIV_H
#define VIEW_VIEW_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "backend/backend.h"
#include "loop/sync.h"
#include "part/part.h"
#include "view/identify.h"
#include "view/view.h"

/* In the order in which they are made. */
enum link_dir {
    BY_PARTLABEL,
    BY_PARTUUID,
    BY_LABEL,
    BY_UUID,
    N_LINK_DIRS,
};

struct view {
    /* Constant while it is served. */
    struct backend *be; /* not owned */
    struct view_opts opts;
    mode_t file_mode, dir_mode; /* permissions only */
    struct view_events events;
    struct inode *root; /* this and the next are owned by @inodes */
    struct data *disk;  /* NULL in a single-file mount of a partition */
    struct dir *links[N_LINK_DIRS]; /* NULL in a single-file mount */

    /* Locks, to be taken in this order. */
    struct co_mutex tree_lock; /* one change of the tree at a time */
    struct co_mutex size_lock; /* one change of the size at a time */
    pthread_mutex_t lock;      /* never held over a yield */

    /* Changed under @tree_lock and @lock, so either is enough for reading. */
    GHashTable *inodes; /* all there are, by number; owns a reference */
    GPtrArray *data;    /* struct data: partitions in table order, the disk */
    struct part_table *table;
    GPtrArray *link_warnings; /* char * */

    /* Under @lock. */
    uint64_t next_ino;
    struct timespec changed; /* when names changed last */
    unsigned files_open;     /* atomic, for those who only look */
    struct list open_files;  /* struct open_file */
    uint64_t synced;         /* cursor: errors that an fsync has reported */
    unsigned parts_open;     /* of those, how many are partitions */
    bool table_stale;        /* the table was written since it was read */
    bool identity_stale;     /* so may be what some partition holds */
};

static inline void view_lock(struct view *v)
{
    pthread_mutex_lock(&v->lock);
}

static inline void view_unlock(struct view *v)
{
    pthread_mutex_unlock(&v->lock);
}

bool view_is_rdonly(const struct view *v);

/* -- Inodes -------------------------------------------------------------- */

struct inode;

/* What one kind of file does. */
struct inode_ops {
    mode_t type; /* S_IFDIR, … */
    /* Completes @attr, in which what all kinds have in common is set.  @st is
     * the image's.  Lock held. */
    void (*attr)(const struct inode *i, const struct node_stat *st,
                 struct view_attr *attr);
    /* Optional: without it -EISDIR. */
    int (*co_open)(struct inode *i, unsigned flags, struct view_file **ret)
        co_fn_ptr;
    void (*free)(struct inode *i);
};

/* A time that was set through this mount counts as long as the image's own
 * is still what it was then. */
struct set_time {
    bool set;
    struct timespec value, image;
};

struct inode {
    /* Constant. */
    const struct inode_ops *ops;
    struct view *view;
    uint64_t ino;
    struct dir *parent; /* the root's is NULL */
    char *name;
    int refs; /* atomic */

    /* Under view->lock. */
    bool gone; /* not in the tree any more */
    mode_t mode;
    struct set_time atime, mtime;
    struct timespec ctime; /* of a change of the above; else zero */
};

struct dir {
    struct inode inode;
    bool hidden_if_empty;
    GHashTable *children; /* by name, not owned; under view->lock */
};

/* The disk or a partition: a window of the backend. */
struct data {
    struct inode inode;
    int64_t offset, bytes; /* constant; @bytes -1: to the backend's end */
    unsigned index;        /* constant; N of pN, 0: the disk */

    /* Under view->lock. */
    const struct part_entry *entry; /* in view->table; NULL: the disk */
    struct identity identity;       /* changed under tree_lock, too */
    bool identity_stale;
    struct {
        unsigned writers;        /* files open for writing */
        unsigned direct_writers; /* of those, how many pass the cache */
        bool used;               /* the kernel may hold pages of it */
        uint64_t changes; /* times that such pages may have become wrong */
        uint64_t dropped; /* of those, how many came before the kernel
                           * dropped all pages for the last time */
    } cache;
};

struct link {
    struct inode inode;
    char *target; /* constant */
};

struct text_kind {
    const char *name;
    char *(*co_make)(struct view *v)co_fn_ptr; /* to be g_free()d */
};

struct text {
    struct inode inode;
    const struct text_kind *kind;
};

extern const struct inode_ops dir_ops, data_ops, link_ops, text_ops;

/* Fills the common part of a zeroed inode; takes a copy of @name. */
void inode_init(struct inode *i, const struct inode_ops *ops, struct view *v,
                const char *name, mode_t mode);

/* Gives @i its number and its place: in @parent, or the root's when NULL.
 * The view owns the caller's reference.  Lock held. */
void tree_add(struct inode *i, struct dir *parent);
/* Takes @i out of the tree and tells the kernel.  Lock held. */
void tree_remove(struct inode *i);

/* A reference to inode @ino, or NULL when there is none (-ESTALE). */
struct inode *inode_get(struct view *v, uint64_t ino);
void inode_put(struct inode *i); /* NULL is fine */

/* For when the kind is known. */
static inline struct dir *dir_of(const struct inode *i)
{
    return container_of(i, struct dir, inode);
}

static inline struct data *data_of(const struct inode *i)
{
    return container_of(i, struct data, inode);
}

static inline struct link *link_of(const struct inode *i)
{
    return container_of(i, struct link, inode);
}

static inline bool is_dir(const struct inode *i)
{
    return i->ops == &dir_ops;
}

static inline bool is_data(const struct inode *i)
{
    return i->ops == &data_ops;
}

/* Adds partition @e of the table, or the disk when it is NULL, as @name in
 * @parent.  Lock held. */
struct data *data_add(struct view *v, const struct part_entry *e,
                      const char *name, struct dir *parent);

int64_t data_length(const struct data *d);

/* -- Partitions and links ------------------------------------------------ */

/* Reads the table for the first time.  Returns 0 or a negative errno. */
nodiscard int co_fn table_co_read(struct view *v, struct part_table **ret);
/* Entry pN, or NULL; also when there is no table. */
const struct part_entry *table_find(const struct part_table *t, unsigned index);
/* Makes the partitions of @table (NULL: none) files and takes it over.  Both
 * locks held. */
void table_install(struct view *v, struct part_table *table);
/* Reads the table again if it is stale and no partition is open. */
void co_fn table_co_refresh(struct view *v);
/* Logs each of @n lines that is not among @old. */
void log_new_warnings(char *const *lines, size_t n, char *const *old,
                      size_t n_old);

/* Brings what partitions hold, and the links to them, up to date. */
void co_fn links_co_settle(struct view *v);
/* Makes the links follow from the table and the identities.  Both locks
 * held. */
void links_rebuild(struct view *v);
/* What @d holds may have changed: so may the links to it.  Lock held. */
void links_forget(struct data *d);

/* -- Attributes ---------------------------------------------------------- */

/* @st: the image's.  Lock held. */
void attr_fill(const struct inode *i, const struct node_stat *st,
               struct view_attr *ret);
nodiscard int co_fn attr_co_get(struct inode *i, struct view_attr *ret);
/* Makes the disk at least @length long. */
nodiscard int co_fn size_co_grow(struct view *v, int64_t length);

/* -- Open files ---------------------------------------------------------- */

/* The smallest range that holds all that was written; offsets of the disk. */
struct written {
    _Atomic int64_t from, to;
    atomic_bool fresh; /* something was written since it was published */
};

struct open_file {
    struct view_file pub;
    struct inode *inode; /* owned */
    char *text;          /* owned; what pub.text points to */
    struct written written;

    /* Constant.  The kernel drops its pages of the inode at this open. */
    bool drops_cache;
    uint64_t drops_at; /* cache.changes then */

    /* Under view->lock. */
    uint64_t close_cursor, fsync_cursor;
    struct list link; /* view->open_files */
};

static inline struct open_file *open_file_of(const struct view_file *f)
{
    return container_of(f, struct open_file, pub);
}

/* Enters a new open file into the books.  Lock held. */
void open_file_enter(struct open_file *o);
/* Frees one that has left them. */
void open_file_free(struct open_file *o);

int co_fn data_co_open(struct inode *i, unsigned flags, struct view_file **ret);

/* -- Coherence ----------------------------------------------------------- */

void written_init(struct written *w);
/* The range is about to be written.  Any thread, cheap. */
void written_add(struct written *w, int64_t offset, int64_t bytes);
/* Was anything, ever? */
bool written_any(struct written *w);
/* Was anything since the last call? */
bool written_take_fresh(struct written *w);

/* A file of data is opened, closed, released.  Lock held. */
void coherence_open(struct open_file *o);
void coherence_close(struct open_file *o);
void coherence_release(struct open_file *o);
/* What @o has written must be seen by those who open now.  Lock held. */
void coherence_publish(struct open_file *o);

/* -- Text ---------------------------------------------------------------- */

extern const struct text_kind stats_text, info_text;

#endif /* VIEW_VIEW_PRIV_H */
