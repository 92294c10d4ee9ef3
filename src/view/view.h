/* SPDX-License-Identifier: MIT */
/*
 * view: which files a mount shows and what each of them does.  No FUSE types.
 *
 *   /                  (or, in a single-file mount, the one file itself)
 *   ├── disk           the whole device
 *   ├── p1, p2, …      its partitions, numbered as Linux numbers them
 *   ├── by-partlabel/ by-partuuid/ by-label/ by-uuid/    links to the above
 *   └── .coblk/        stats.json and info.json, made afresh at each open
 *
 * All data files are windows of one backend, so `disk` and `pN` are always the
 * same bytes.  Reads and writes of data do not pass through here: the front
 * maps them with struct view_file and gives them to the queue.
 *
 * Units:     bytes.
 * Errors:    0 or a negative errno, as the system call would return it.
 * Threading: co_fn functions in coroutines of any loop, several at once; the
 *            others on any thread.
 */
#ifndef VIEW_VIEW_H
#define VIEW_VIEW_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "co/co.h"

struct backend;
struct json;
struct view;

#define VIEW_ROOT 1 /* inode number of the root */

struct view_opts {
    uid_t uid;
    gid_t gid;
    mode_t mode;      /* of data files when writable; & 0444 when read-only */
    bool direct_io;   /* every open of a data file is direct */
    bool single_file; /* the root is the file itself: the disk, or ... */
    bool part_wanted; /* ... with @single_file, partition @part */
    unsigned part;
    bool unmap;      /* discard=unmap: punching holes frees space */
    int sector_size; /* logical sector of a block device; 0: an image */
    /* Adds members of its own to the object in info.json; see base/json.h. */
    void (*info)(struct json *out, void *opaque);
    void *opaque;
};

/*
 * Makes the view of @be (not owned; outlives the view) and reads its partition
 * tables.  What is wrong with them is logged as warnings; a disk whose table
 * cannot be read is shown without partitions.  Returns 0, -ENOMEM, or
 *   -ENOENT  opts->part is not there; *@err lists what is
 */
nodiscard int co_fn view_co_new(struct backend *be,
                                const struct view_opts *opts, struct view **ret,
                                GError **err);
/* Nobody uses it or its files any more, nor will.  NULL is fine. */
void view_free(struct view *v);

/* -- Attributes and names ------------------------------------------------ */

/*
 * Inode numbers are never used twice in the life of a view.  All functions
 * that take one return -ESTALE when that file has vanished.
 */
struct view_attr {
    uint64_t ino;
    mode_t mode; /* with the file type */
    unsigned nlink;
    uid_t uid;
    gid_t gid;
    int64_t size;      /* 0 for text, which is made at open */
    int64_t allocated; /* bytes on the host; st_blocks is this / 512 */
    int64_t blksize;
    struct timespec atime, mtime, ctime;
};

#define VIEW_NAME_MAX 255

/* -ENOENT must not be cached: new names are not announced.  -ENAMETOOLONG: by
 * VIEW_NAME_MAX. */
nodiscard int co_fn view_co_lookup(struct view *v, uint64_t parent,
                                   const char *name, struct view_attr *ret);
nodiscard int co_fn view_co_getattr(struct view *v, uint64_t ino,
                                    struct view_attr *ret);

enum view_set {
    VIEW_SET_SIZE = 1 << 0, /* `disk` of an image that can grow */
    VIEW_SET_MODE = 1 << 1, /* for this mount only */
    VIEW_SET_ATIME = 1 << 2,
    VIEW_SET_MTIME = 1 << 3, /* for this mount, until the next write */
    VIEW_SET_UID = 1 << 4,   /* to what it is already */
    VIEW_SET_GID = 1 << 5,   /* likewise */
};

/*
 * Changes what @what says of @attr; @ret are the attributes afterwards.
 *   -EPERM  another owner, another size of a partition, or a smaller one of
 *           the disk: no stray truncation destroys data (open(2) with O_TRUNC
 *           had better be ignored, as block devices do)
 *   -EROFS  read-only
 */
nodiscard int co_fn view_co_setattr(struct view *v, uint64_t ino, unsigned what,
                                    const struct view_attr *attr,
                                    struct view_attr *ret);

/* Receives one entry; returns false when it has no room for more.  @next is
 * the cookie to go on after it. */
typedef bool view_dirent_fn(void *opaque, const char *name,
                            const struct view_attr *attr, int64_t next);
/* Lists directory @ino from @cookie (0: the start), "." and ".." included. */
nodiscard int co_fn view_co_readdir(struct view *v, uint64_t ino,
                                    int64_t cookie, view_dirent_fn *fn,
                                    void *opaque);
/* *@ret is to be freed with g_free(). */
nodiscard int view_readlink(struct view *v, uint64_t ino, char **ret);

struct view_statfs {
    int64_t bytes, files;
    int64_t blksize;
};
void view_statfs(struct view *v, struct view_statfs *ret);

/* -- Open files ---------------------------------------------------------- */

enum view_open_flags {
    VIEW_OPEN_READ = 1 << 0,
    VIEW_OPEN_WRITE = 1 << 1,
    VIEW_OPEN_DIRECT = 1 << 2, /* O_DIRECT was given */
};

/* An open file description. */
struct view_file {
    /* Constant while it is open. */
    struct view *view;
    uint64_t ino;
    unsigned flags;   /* enum view_open_flags */
    const char *text; /* made at open, @bytes long; NULL: backend's data */
    int64_t offset;   /* of the window in the backend */
    int64_t bytes;    /* of the window or the text; -1: to the backend's end */
    bool direct_io;   /* each request comes here, none is cached */
    bool keep_cache;  /* what the kernel has cached is still right */
};

nodiscard int co_fn view_co_open(struct view *v, uint64_t ino, unsigned flags,
                                 struct view_file **ret);
/* The last close; does what view_co_close() does, for what came after it. */
void co_fn view_co_release(struct view_file *f);

/* The length of the window now. */
int64_t view_file_length(const struct view_file *f);

/* How many of @bytes at @offset a read may return: 0 at and past the end. */
int64_t view_file_readable(const struct view_file *f, int64_t offset,
                           int64_t bytes);

/*
 * Marks [@offset, @offset + @bytes) as about to be changed through @f; each
 * writing request (data, zeroes, discard) calls it before it is queued.
 * Cheap.  Returns how many of @bytes may be written: fewer when the range
 * passes the end (a short write, as on a block device of Linux), or
 *   -EBADF   not open for writing
 *   -EINVAL  a negative offset or length
 *   -ENOSPC  it begins at or past the end (and @bytes > 0)
 */
nodiscard int64_t view_file_will_write(struct view_file *f, int64_t offset,
                                       int64_t bytes);

/*
 * close(2) of one descriptor: other files may now see what was written, and a
 * partition table written through `disk` is read again, unless a partition is
 * open; then that happens when the last partition is released.  Returns the
 * first write error since the last call on this open file, or 0.
 */
nodiscard int co_fn view_co_close(struct view_file *f);

/* Everything written is durable, or the first write error since the last
 * fsync on this open file. */
nodiscard int co_fn view_co_fsync(struct view_file *f);

/* As lseek(2) with SEEK_DATA or SEEK_HOLE; -ENXIO past the end. */
nodiscard int64_t co_fn view_co_seek(struct view_file *f, int64_t offset,
                                     bool data);

/* Reserves space (mode 0 of fallocate(2)): within the device it succeeds;
 * past the end, it grows `disk` when @grow and the image can, else it is
 * -ENOSPC. */
nodiscard int co_fn view_co_allocate(struct view_file *f, int64_t offset,
                                     int64_t bytes, bool grow);

/* Copies between two open files of one view; returns bytes copied, which may
 * be fewer; 0 at the end of @src.  -EINVAL: the ranges share bytes. */
nodiscard int64_t co_fn view_co_copy(struct view_file *src, int64_t src_offset,
                                     struct view_file *dst, int64_t dst_offset,
                                     int64_t bytes);

/* -- What the kernel must forget ----------------------------------------- */

/*
 * Called from coroutines with the view locked: they must neither wait for the
 * kernel nor call the view.  Promises about cached data do not depend on how
 * soon the kernel is told; files that are open the whole time do.
 */
struct view_events {
    /* Pages of [@offset, @offset + @bytes) of @ino are out of date; with 0
     * @bytes, all from @offset. */
    void (*data_changed)(void *opaque, uint64_t ino, int64_t offset,
                         int64_t bytes);
    /* @name in directory @parent is not, or means something else now. */
    void (*entry_gone)(void *opaque, uint64_t parent, const char *name);
    void *opaque;
};
/* By the front, before it serves the view. */
void view_set_events(struct view *v, const struct view_events *events);

/* Has all cached pages dropped, by data_changed(): those that were changed
 * through mappings are written on that occasion. */
void view_recall(struct view *v);

/* What .coblk/stats.json would show now, also where there is no such file.
 * Any thread.  g_free() it. */
char *view_stats_json(const struct view *v);

/* The first write error that no fsync has reported, though the writer itself
 * or a close(2) may have, or 0; the next call returns what came after it. */
int view_lost_write(struct view *v);

/* How many files are open.  Any thread. */
unsigned view_open_files(const struct view *v);

#endif /* VIEW_VIEW_H */
