/* SPDX-License-Identifier: MIT */
/*
 * writelog: the driver "writelog", for whoever registers drivers, and the
 * layout of its log, for whoever replays one.
 *
 * The log is laid out as that of the kernel's device-mapper target log-writes,
 * so its replay tools serve: sectors of 512 bytes, numbers in little endian.
 * Sector 0 is the superblock; each entry is one sector with the header below,
 * followed by the data of a write.  The order of entries is our addition, of
 * use where an image has two files with a log each.
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
    WRITELOG_ENTRY_ORDER = 32     /* 8: rises over all logs of the process */
};

enum writelog_flags {
    WRITELOG_FLUSH = 1 << 0,   /* what is above is durable; no data */
    WRITELOG_FUA = 1 << 1,     /* this write is */
    WRITELOG_DISCARD = 1 << 2, /* no data */
};

struct driver;

extern const struct driver driver_writelog;

#endif /* FORMAT_WRITELOG_H */
