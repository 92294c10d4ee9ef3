/* SPDX-License-Identifier: MIT */
/*
 * crash-log: the logs of one or two files that were written to through the
 * filter "writelog", and what these files could be after a crash.
 *
 * A crash happens right before an entry is logged, the "cut".  What a file's
 * last flush that had ended by then covers is there; of each write since then
 * all, some or none of its sectors of 512 bytes may be.  Those writes are
 * "loose": they were complete, though not flushed, or they were in flight.
 *
 * Failures end the test.
 */
#ifndef TEST_LAYER_CRASH_LOG_H
#define TEST_LAYER_CRASH_LOG_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define CRASH_FILES 2 /* most */

struct crash_entry {
    int file;
    int64_t place; /* in the log */
    uint64_t order, began;
    int64_t offset, bytes;
    uint64_t flags; /* enum writelog_flags */
    uint64_t mark, value;
    const uint8_t *data; /* NULL: not a write */
    bool durable;        /* at the cut */
};

struct crash_log {
    int n_files;
    char *texts[CRASH_FILES];
    GArray *entries;                /* struct crash_entry, in order */
    GByteArray *files[CRASH_FILES]; /* all that is durable at the cut */
    int cut;
    GArray *loose; /* int: entries, at the cut */
};

/* What becomes of a loose write. */
enum crash_fate {
    CRASH_LOST,
    CRASH_KEPT,
    CRASH_TORN
};

/* Reads the logs of files in the folder of the rig, whose content from before
 * it takes over. */
void crash_log_load(struct crash_log *log, int n_files,
                    const char *const *names, GByteArray **before);
void crash_log_fini(struct crash_log *log);

static inline int crash_log_length(const struct crash_log *log)
{
    return (int)log->entries->len;
}

/* How many entries there were when the logs had these lengths. */
int crash_log_at(const struct crash_log *log, const int64_t *lengths);

/* Does a flush end with entry @i, so that less is loose after it? */
bool crash_log_is_flushed(const struct crash_log *log, int i);

/* Moves the cut forward to @cut. */
void crash_log_cut(struct crash_log *log, int cut);

/* Was loose write @i in flight? */
bool crash_log_in_flight(const struct crash_log *log, guint i);

/* Writes the files as the crash leaves them: @fates are those of loose
 * writes, in order. */
void crash_log_crash(const struct crash_log *log, const enum crash_fate *fates,
                     const char *const *names);

#endif /* TEST_LAYER_CRASH_LOG_H */
