/* SPDX-License-Identifier: MIT */
/*
 * crash-history: random histories of a qcow2 image that is written to through
 * a write log: requests, some at once, snapshots, resizes, bitmaps.
 *
 * Failures end the test.
 */
#ifndef TEST_LAYER_CRASH_HISTORY_H
#define TEST_LAYER_CRASH_HISTORY_H

#include <glib.h>
#include <stdint.h>

#include "block/node.h"
#include "crash-log.h"
#include "crash-model.h"

enum kind_flags {
    EXTERNAL = 1 << 0,  /* has a data file */
    NO_RESIZE = 1 << 1, /* these are not possible */
    NO_SNAPSHOTS = 1 << 2,
    LAZY = 1 << 3,
    FULL = 1 << 4,   /* so much is there that the refcount table gets longer */
    AMEND = 1 << 5,  /* may get other counts, and lazy ones */
    COMPAT = 1 << 6, /* may get another version */
    ENCRYPTED = 1 << 8, /* with the secret of the rig; never compressed */
    BITMAPS = 1 << 7, /* has one that records all that is written, and others */
};

/* The bitmap of BITMAPS: a bit for each sector. */
#define CRASH_BITMAP "all"

/* A kind of image. */
struct kind {
    const char *name;
    const char *options; /* of create, from compat= on */
    const char *open;    /* JSON */
    int64_t disk;        /* bytes */
    int64_t backing;     /* bytes of the backing file; 0: none */
    unsigned flags;
};

struct history {
    const struct kind *kind;
    struct node *node;
    struct model m;
    uint64_t *backing; /* values of all sectors the disk may have */
    uint8_t *buf;      /* as many bytes as the disk may have */
    int n_saved;       /* snapshots ever taken */
    bool has_other;    /* another bitmap */
};

/* Makes an image and a history of it. */
void history_record(struct history *h, const struct kind *kind,
                    struct crash_log *log);
void history_fini(struct history *h);

/* -- What looks at images need, too -------------------------------------- */

/* Makes sectors of values. */
void fill_sectors(uint8_t *buf, const uint64_t *values, int64_t n);
/* Reads all of a disk; returns how many sectors it has. */
int64_t read_disk(struct history *h, struct node *node, uint64_t *values);

typedef int snapshot_fn(struct node *node, const char *name, GError **err);

/* Runs @fn, one of struct image_ops. */
void snapshot(struct node *node, snapshot_fn *fn, const char *name);

#endif /* TEST_LAYER_CRASH_HISTORY_H */
