/* SPDX-License-Identifier: MIT */
/*
 * image: what image formats can do besides I/O: create, describe, check,
 * snapshot, change.  The table hangs off a driver; tool/ calls it.
 *
 * Units:     bytes.
 * Errors:    a negative errno and a GError, one line with file and remedy.
 * Threading: coroutines; the node is used by nobody else meanwhile unless a
 *            comment says otherwise.
 */
#ifndef BLOCK_IMAGE_H
#define BLOCK_IMAGE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/iov.h"
#include "base/options.h"
#include "block/block.h"
#include "co/co.h"

struct json;
struct node;

/* When an option can be given. */
enum image_option_when {
    IMAGE_OPTION_NEW,   /* to a new image only */
    IMAGE_OPTION_ANY,   /* and changed later */
    IMAGE_OPTION_AMEND, /* to an image that exists only */
};

/* An option of create and amend, for checking and for help. */
struct image_option {
    const char *name;
    const char *help;  /* one line: what it does and what it may be */
    const char *value; /* the default, or NULL */
    enum image_option_when when;
};

/* Those of a new file in which the disk lies as it is. */
extern const struct image_option image_file_options[];

struct image_measure {
    int64_t required;        /* bytes of a new image that holds the data */
    int64_t fully_allocated; /* and of one that is full */
    int64_t bitmaps;         /* -1: the format has none */
};

enum image_fix {
    IMAGE_FIX_LEAKS = 1 << 0,
    IMAGE_FIX_ERRORS = 1 << 1,
};

/* Results of a check, named as in the JSON output; -1: not known. */
struct image_check {
    int64_t check_errors; /* could not be checked: I/O errors, no memory */
    int64_t corruptions, leaks;
    int64_t corruptions_fixed, leaks_fixed;
    int64_t image_end_offset;
    int64_t total_clusters, allocated_clusters;
    int64_t fragmented_clusters, compressed_clusters;
    /* Receives each finding as one line; may be NULL. */
    void (*report)(void *opaque, const char *line);
    void *opaque;
};

struct image_snapshot {
    char *id, *name; /* owned */
    int64_t vm_state_bytes;
    int64_t date_sec, date_nsec;
    int64_t vm_clock_ns;
    int64_t icount;     /* -1: none */
    int64_t disk_bytes; /* virtual size when it was taken */
};
/* Frees what @s owns; for g_array_set_clear_func(). */
void image_snapshot_clear(struct image_snapshot *s);

/* A record, kept in an image, of which parts of its disk were written to. */
struct image_bitmap {
    char *name;          /* owned */
    int64_t granularity; /* bytes of the disk for each bit */
    bool enabled;        /* it records */
    bool usable;         /* if not, it can only be removed */
};
/* Frees what @b owns; for g_array_set_clear_func(). */
void image_bitmap_clear(struct image_bitmap *b);

enum image_bitmap_change {
    IMAGE_BITMAP_REMOVE,
    IMAGE_BITMAP_CLEAR, /* of all bits */
    IMAGE_BITMAP_ENABLE,
    IMAGE_BITMAP_DISABLE,
};

struct image_info {
    int64_t cluster_size;    /* 0: none */
    int64_t vm_state_offset; /* where the VM state would begin; 0: nowhere */
    bool dirty, corrupt, encrypted, compressed;
    char *backing_filename;      /* as written in the image, or NULL */
    char *backing_format;        /* or NULL */
    char *full_backing_filename; /* resolved against the image, or NULL */
    char *json_filename; /* opens it where its name alone does not, or NULL */
};
void image_info_fini(struct image_info *info);
/* json:{…} that opens @node, whose file is a leaf, with @key as @value. */
char *image_json_filename(struct node *node, const char *key,
                          const char *value);

/* Receives progress, 0 to @total in any unit. */
typedef void image_progress_fn(void *opaque, int64_t done, int64_t total);

/* All are optional: without one, the format cannot do that. */
struct image_ops {
    const struct image_option *options; /* ends with a name of NULL */

    /* Makes a new image of @bytes in file @filename, or in the host file that
     * exists there, which it empties (node_co_create_file()).  Takes its
     * options out of @options; what is left there is nobody's. */
    int (*co_create)(const char *filename, int64_t bytes,
                     struct options *options, GError **err) co_fn_ptr;
    /* How large an image of @bytes, or of the data of @src (may be NULL),
     * would be with @options. */
    int (*co_measure)(struct options *options, int64_t bytes, struct node *src,
                      struct image_measure *ret, GError **err) co_fn_ptr;
    int (*co_info)(struct node *node, struct image_info *ret) co_fn_ptr;
    /* Adds the members of "format-specific" / "data", keys as qemu-img's. */
    int (*co_info_json)(struct node *node, struct json *out, GError **err)
        co_fn_ptr;
    /* Checks, and repairs as @fix (enum image_fix) says. */
    int (*co_check)(struct node *node, unsigned fix, struct image_check *ret,
                    GError **err) co_fn_ptr;
    int (*co_amend)(struct node *node, struct options *options, bool force,
                    image_progress_fn *progress, void *opaque, GError **err)
        co_fn_ptr;
    int (*co_change_backing)(struct node *node, const char *filename,
                             const char *format, GError **err) co_fn_ptr;
    /* Forgets all data, so that everything reads from the backing file. */
    int (*co_make_empty)(struct node *node) co_fn_ptr;

    /* After a flush that failed: adds to @ret, in a few words each, what of
     * the image's own tables is not known to be on disk.  The strings are
     * constant. */
    void (*co_unwritten)(struct node *node, GPtrArray *ret) co_fn_ptr;

    /* Read and write the state of a virtual machine, which an image can hold
     * beside the disk: bytes from @offset (>= 0) on; what was never written
     * reads as zeroes. */
    int (*co_vm_state_readv)(struct node *node, int64_t offset,
                             const struct iovs *dst) co_fn_ptr;
    int (*co_vm_state_writev)(struct node *node, int64_t offset,
                              const struct iovs *src) co_fn_ptr;

    /* *@ret is an array of struct image_snapshot. */
    int (*co_snapshot_list)(struct node *node, GArray **ret) co_fn_ptr;
    int (*co_snapshot_create)(struct node *node, const char *name, GError **err)
        co_fn_ptr;
    /* @id is an id or a name. */
    int (*co_snapshot_apply)(struct node *node, const char *id, GError **err)
        co_fn_ptr;
    int (*co_snapshot_delete)(struct node *node, const char *id, GError **err)
        co_fn_ptr;
    /* Shows the data of a snapshot instead of the newest, read-only. */
    int (*co_snapshot_load)(struct node *node, const char *id, GError **err)
        co_fn_ptr;

    /* Bitmaps.  Changes take effect with co_bitmap_store(), all at once, or
     * when the node is closed.  *@ret is an array of struct image_bitmap. */
    int (*co_bitmap_list)(struct node *node, GArray **ret, GError **err)
        co_fn_ptr;
    /* @granularity 0: what suits the format. */
    int (*co_bitmap_add)(struct node *node, const char *name,
                         int64_t granularity, bool enabled, GError **err)
        co_fn_ptr;
    int (*co_bitmap_change)(struct node *node, const char *name,
                            enum image_bitmap_change what, GError **err)
        co_fn_ptr;
    /* Adds the bits of another bitmap, of @node or of another node @src of the
     * same driver. */
    int (*co_bitmap_merge)(struct node *node, const char *name,
                           struct node *src, const char *src_name, GError **err)
        co_fn_ptr;
    int (*co_bitmap_store)(struct node *node, GError **err) co_fn_ptr;
};

#endif /* BLOCK_IMAGE_H */
