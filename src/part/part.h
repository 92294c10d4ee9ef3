/* SPDX-License-Identifier: MIT */
/*
 * part: reads the partition table of a disk: GPT, MBR, and the chain of
 * extended boot records (EBR) behind an MBR.
 *
 * The view shows each entry as a file pN.  This layer does no I/O of its own:
 * the caller lends it a function that reads the disk.  Nothing on the disk is
 * trusted: what is read and allocated is bounded, and a table that is wrong in
 * places is shown as far as it makes sense, with a warning for each place.
 *
 * Which table counts, as on Linux:
 *
 *   first sector              GPT            result
 *   entry of type 0xee        a good copy    GPT (hybrid: other entries too)
 *   entry of type 0xee        none           the other entries, if any, as MBR
 *   other entries only        not looked at  MBR
 *   start of a file system    not looked at  no partitions
 *   anything else             primary seen   GPT, if a copy of it is good
 *   anything else             not seen       no partitions
 *
 * Units:     bytes, int64_t, never negative.
 * Errors:    0 or a negative errno value.
 * Threading: pure functions.  They yield where the caller's read function
 *            does, and hold nothing but memory while it runs.
 */
#ifndef PART_PART_H
#define PART_PART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

#define PART_UUID_SIZE    37  /* with its NUL: 8-4-4-4-12 digits */
#define PART_NAME_SIZE    109 /* 36 UTF-16 units of at most 3 bytes, NUL */
#define PART_MAX_WARNINGS 32

/*
 * Reads exactly @bytes at @offset of the disk into @buf.  The range lies within
 * the disk.  Returns 0 or a negative errno value.  May yield.
 */
typedef int part_read_fn(void *opaque, int64_t offset, void *buf,
                         int64_t bytes);

struct part_source {
    int64_t size;       /* of the disk; need not be whole sectors */
    int sector_size;    /* of the device: 512 or 4096; 0 for an image */
    part_read_fn *read; /* called with @opaque */
    void *opaque;
};

enum part_scheme {
    PART_NONE,
    PART_MBR,
    PART_GPT,
};

enum part_flags {
    PART_BACKUP_USED = 1 << 0,    /* GPT: the primary copy is bad */
    PART_BACKUP_BAD = 1 << 1,     /* GPT: the backup copy is bad or misplaced */
    PART_GPT_BAD = 1 << 2,        /* there is a GPT, but no copy is good */
    PART_PROTECTIVE_BAD = 1 << 3, /* GPT: the first sector does not guard it */
    PART_HYBRID = 1 << 4,         /* GPT: the MBR has entries of its own */
};

/* One partition: bytes > 0, and offset + bytes <= size of the disk. */
struct part_entry {
    unsigned index; /* N of pN: GPT slot + 1; MBR 1-4, logical from 5 */
    int64_t offset;
    int64_t bytes;
    uint64_t attributes;       /* of GPT; 0 with MBR */
    bool bootable;             /* MBR: active; GPT: legacy BIOS bootable */
    char type[PART_UUID_SIZE]; /* GUID in lower case, or "0x83" */
    char uuid[PART_UUID_SIZE]; /* PARTUUID as Linux spells it, or "" */
    char name[PART_NAME_SIZE]; /* valid UTF-8, any character; "" with MBR */
};

struct part_table {
    enum part_scheme scheme;
    unsigned flags;             /* enum part_flags */
    int sector_size;            /* the unit of the table */
    char uuid[PART_UUID_SIZE];  /* of the disk: GUID, "%08x", or "" */
    struct part_entry *entries; /* by ascending index */
    size_t n_entries;

    /* One line each, without a newline: what is wrong, with which partition. */
    char *warnings[PART_MAX_WARNINGS];
    size_t n_warnings;
};

/*
 * Reads the partition table of @src.  A disk without one gives a table of
 * scheme PART_NONE and no entries.  An extended partition is a container and
 * not an entry.  An entry that ends beyond the disk is cut, one that starts
 * there or is empty is left out, and overlapping entries are all kept.
 *
 * On success *@ret is to be freed with part_table_free(); on failure it is
 * untouched.  A read error of the first sector is returned; further on it
 * counts as damage of what could not be read.
 *
 * Returns 0, -ENOMEM, or what @src->read returned.
 */
nodiscard int part_table_read(const struct part_source *src,
                              struct part_table **ret);

/* NULL is fine. */
void part_table_free(struct part_table *table);

/* "none", "mbr" or "gpt". */
const char *part_scheme_name(enum part_scheme scheme);

#endif /* PART_PART_H */
