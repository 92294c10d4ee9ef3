/* SPDX-License-Identifier: MIT */
/*
 * writelog: the driver "writelog", for whoever registers drivers, and the
 * layout of its log, for whoever replays one.
 *
 * The log is laid out as that of the kernel's device-mapper target log-writes,
 * so its replay tools serve: sectors of 512 bytes, numbers in little endian.
 * Sector 0 is the superblock; each entry is one sector with the header below,
 * followed by the data of a write.
 *
 * Numbers that rise with time are our addition: they tell what was in flight
 * when, also where an image has two files with a log each.  So are marks, that
 * other tools pass over.
 *
 *   a write, zeroes, a discard   logged when complete; it may be on the disk,
 *                                in part, from BEGAN on
 *   a flush                      logged when it begins
 *   MARK_FLUSHED                 that flush has ended: all entries above it
 *                                are durable
 *   MARK_LENGTH                  the file was made longer
 */
#ifndef FORMAT_WRITELOG_H
#define FORMAT_WRITELOG_H

#include <stdint.h>

#define WRITELOG_MAGIC   UINT64_C(0x6a736677736872)
#define WRITELOG_VERSION 1
#define WRITELOG_SECTOR  512

/* Offsets in the superblock. */
enum {
    WRITELOG_SUPER_MAGIC = 0,       /* 8 bytes */
    WRITELOG_SUPER_VERSION = 8,     /* 8 */
    WRITELOG_SUPER_ENTRIES = 16,    /* 8: how many follow */
    WRITELOG_SUPER_SECTOR_SIZE = 24 /* 4 */
};

/* Offsets in the header of an entry. */
enum {
    WRITELOG_ENTRY_SECTOR = 0,    /* 8: where on the disk */
    WRITELOG_ENTRY_SECTORS = 8,   /* 8: how many */
    WRITELOG_ENTRY_FLAGS = 16,    /* 8: enum writelog_flags */
    WRITELOG_ENTRY_DATA_LEN = 24, /* 8: 0; the data are those sectors */
    /* Both rise over all logs of the process. */
    WRITELOG_ENTRY_ORDER = 32, /* 8: when it was logged */
    WRITELOG_ENTRY_BEGAN = 40, /* 8: when it began */
    WRITELOG_ENTRY_MARK = 48,  /* 8: enum writelog_mark */
    WRITELOG_ENTRY_VALUE = 56  /* 8: of a mark */
};

enum writelog_flags {
    WRITELOG_FLUSH = 1 << 0,   /* no data */
    WRITELOG_FUA = 1 << 1,     /* this write is durable */
    WRITELOG_DISCARD = 1 << 2, /* no data */
    WRITELOG_MARK = 1 << 3,    /* no data */
};

enum writelog_mark {
    WRITELOG_MARK_NONE,
    WRITELOG_MARK_FLUSHED, /* value: the order of that flush */
    WRITELOG_MARK_LENGTH,  /* value: bytes that the file has now */
};

struct driver;

extern const struct driver driver_writelog;

#endif /* FORMAT_WRITELOG_H */
