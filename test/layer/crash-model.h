/* SPDX-License-Identifier: MIT */
/*
 * crash-model: what a disk may be after a crash.
 *
 * The disk is sectors of 512 bytes.  Each holds one number 64 times, its
 * "value": 0, or one that no other write, nor another sector, has.
 *
 * A history is a row of changes and promises.  After a crash each sector has
 * the value it had at the last promise that was made, or one that a change
 * that had begun since then has given to it.  Sizes and snapshots likewise.
 *
 * Moments are lengths of the logs, see crash-log.h; model_load() makes numbers
 * of entries of them.  Failures end the test.
 */
#ifndef TEST_LAYER_CRASH_MODEL_H
#define TEST_LAYER_CRASH_MODEL_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "crash-log.h"

#define SECTOR 512

struct moment {
    int64_t lengths[CRASH_FILES];
    int entry;
};

/* A snapshot inside, which never changes. */
struct saved {
    int refs;
    char name[16];
    int64_t sectors;
    uint64_t *disk;
};

struct change {
    struct moment begin;
    int64_t first, n; /* sectors */
    uint64_t *values; /* they may have then; NULL: no sector changes */
    bool may_stay;    /* they may as well not change */
    int64_t sectors;  /* of the disk then; -1: as before */
    GPtrArray *saved; /* struct saved; NULL: as before */
};

struct promise {
    struct moment end; /* from here on it holds */
    guint n_changes;   /* that come before it */
    int64_t sectors;
    uint64_t *disk;
    GPtrArray *saved;
};

struct model {
    int64_t max; /* sectors that the disk ever has */
    /* The disk as it is now, and what is saved. */
    int64_t sectors;
    uint64_t *disk;
    GPtrArray *saved;

    uint64_t last; /* number of a write */
    GArray *changes, *promises;
};

void model_init(struct model *m, int64_t max, int64_t sectors);
void model_fini(struct model *m);

/* A change begins; returns it.  @values (NULL: no sector changes) are
 * copied. */
struct change *model_change(struct model *m, struct moment now, int64_t first,
                            int64_t n, const uint64_t *values);
/* @sn becomes one of @list, a new list that is returned. */
GPtrArray *model_with(GPtrArray *list, struct saved *sn);
GPtrArray *model_without(GPtrArray *list, const struct saved *sn);
struct saved *model_save(const struct model *m, const char *name);

/* All changes from the @first on have ended, and this is the disk now: is it
 * what they leave? */
void model_ended(struct model *m, guint first, const uint64_t *disk,
                 int64_t sectors);
/* All changes before @n_changes are durable now, and made the disk @disk. */
void model_promise(struct model *m, struct moment now, guint n_changes,
                   const uint64_t *disk);

/* New values for @n sectors from @first on. */
void model_values(struct model *m, uint64_t *values, int64_t first, int64_t n);

void model_load(struct model *m, const struct crash_log *log);

/* May these be the disk and the names of snapshots after a crash at entry
 * @cut?  Returns which snapshots these are. */
const GPtrArray *model_expect(const struct model *m, int cut,
                              const uint64_t *disk, int64_t sectors,
                              char *const *names);

#endif /* TEST_LAYER_CRASH_MODEL_H */
