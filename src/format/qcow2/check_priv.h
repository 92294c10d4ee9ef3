/* SPDX-License-Identifier: MIT */
/*
 * check_priv: what the files of a check share.
 *
 * check.c leads: it has all references counted (check_walk.c), compares that
 * with what the image counts, repairs or rebuilds that (check_counts.c), then
 * looks at the marks that depend on it (check_marks.c).
 *
 * Everything is read from the disk as it is, and trusted in nothing.  Lines
 * of findings are those of qemu-img check, since scripts read them.
 *
 * Memory: a byte for each cluster of the file that is in use, or near one.
 */
#ifndef FORMAT_QCOW2_CHECK_PRIV_H
#define FORMAT_QCOW2_CHECK_PRIV_H

#include "format/qcow2/counts.h"
#include "format/qcow2/qcow2.h"
#include "format/qcow2/snapshots.h"

struct check {
    struct qcow2 *s;
    unsigned fix;          /* enum image_fix */
    struct image_check *r; /* what cannot be or was not fixed */
    struct qcow2_snapshots snapshots;
    int snapshots_wrong; /* they are to be written again */

    struct counts *counts; /* references found */
    bool agrees;           /* the image has the same, for every cluster */
    struct slice *held;    /* the refcounts looked at last, pinned, or NULL */
    int64_t length;        /* of the file */
    bool quiet;            /* findings were reported before */
    bool rebuild;          /* counts cannot be repaired where they are */
    int64_t unused;        /* rebuilding: all clusters before it are used */
    uint8_t *l2;           /* a cluster */
    int64_t next_host;     /* where the next cluster would not be a fragment */
};

/* -- check.c ------------------------------------------------------------- */

/* As qcow2_co_switch_header(). */
nodiscard int co_fn check_switch_header(struct check *c,
                                        const struct qcow2_header *to);
void check_report(const struct check *c, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

static inline bool check_fixes(const struct check *c, enum image_fix what)
{
    return (c->fix & what) != 0;
}

/* What is to stand before a finding that is fixed, if @what is. */
static inline const char *check_verb(const struct check *c, enum image_fix what)
{
    return check_fixes(c, what) ? "Repairing" : "ERROR";
}

/* Counts a finding of an error that is fixed at once, if errors are. */
static inline void check_count_error(struct check *c)
{
    if (check_fixes(c, IMAGE_FIX_ERRORS)) {
        c->r->corruptions_fixed++;
    } else {
        c->r->corruptions++;
    }
}

/* -- check_walk.c -------------------------------------------------------- */

/* Counts what all tables but the refcount table refer to.  Only I/O errors
 * and lack of memory make it fail. */
nodiscard int co_fn check_walk(struct check *c);
/* Counts one more reference to a range. */
nodiscard int check_count(struct check *c, int64_t offset, int64_t bytes);

/* -- check_counts.c ------------------------------------------------------ */

/* The count of a cluster as it is on disk.  -EIO when it has none that can be
 * read.  Holds what it read, for the next one: check_let_go() ends that, before
 * anything drops the cache. */
nodiscard int co_fn check_disk_count(struct check *c, int64_t cluster,
                                     uint64_t *ret);
void check_let_go(struct check *c);
/* Counts the refcount structure itself and says what is wrong with it. */
nodiscard int co_fn check_structure(struct check *c);
/* Compares what was counted with what the image counts; with @fix (enum
 * image_fix) puts that right. */
nodiscard int co_fn check_compare(struct check *c, unsigned fix);
/* Writes all counts anew, elsewhere. */
nodiscard int co_fn check_rebuild(struct check *c);

/* -- check_marks.c ------------------------------------------------------- */

/* Looks at the marks of what is ours alone; with @repair puts them right. */
nodiscard int co_fn check_marks(struct check *c, bool repair);

#endif /* FORMAT_QCOW2_CHECK_PRIV_H */
