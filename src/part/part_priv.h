/* SPDX-License-Identifier: MIT */
/*
 * part_priv: what part.c, mbr.c and gpt.c share.
 */
#ifndef PART_PART_PRIV_H
#define PART_PART_PRIV_H

#include <glib.h>

#include "part/part.h"

/* Holds the MBR and the primary GPT header for either sector size. */
#define PART_HEAD_BYTES 8192

/* One reading of a table. */
struct part_scan {
    const struct part_source *src;
    struct part_table *table;
    const uint8_t *head; /* PART_HEAD_BYTES; zeroes past the disk's end */
    size_t room;         /* how many entries fit in table->entries */
};

/* Adds a warning; beyond PART_MAX_WARNINGS the last one says "and more". */
void part_warn(struct part_scan *s, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/* Makes room for @n entries, once.  Returns 0 or -ENOMEM. */
nodiscard int part_reserve(struct part_scan *s, size_t n);

/*
 * Adds the entry pN, N = @index, of the sectors @first to @last (any values),
 * cut at the end of the disk.  Returns it, to be filled in, or NULL after a
 * warning when nothing of it is on the disk.
 */
struct part_entry *part_add(struct part_scan *s, unsigned index, uint64_t first,
                            uint64_t last);

/* The disk's number of whole sectors of @sector_size. */
static inline uint64_t part_sectors(const struct part_scan *s, int sector_size)
{
    return (uint64_t)(s->src->size / sector_size);
}

/* The first sector, taken apart. */
struct mbr_entry {
    bool active;
    uint8_t type;
    uint32_t start; /* in sectors */
    uint32_t sectors;
};

struct mbr {
    bool valid;           /* it is a partition table */
    bool file_system;     /* a file system starts here, and no table */
    bool protective;      /* some entry has type 0xee */
    bool protective_good; /* ... and starts at sector 1, as it should */
    int used;             /* entries of other types */
    uint32_t id;
    struct mbr_entry entry[4];
};

/* Takes the first sector apart.  Without a table the rest of *@ret is zero. */
void mbr_parse(const struct part_scan *s, struct mbr *ret);

/* Fills the table from @mbr and its chains of EBRs.  Returns 0 or -ENOMEM. */
nodiscard int mbr_scan(struct part_scan *s, const struct mbr *mbr);

/* Does a primary GPT header seem to be there, for either sector size? */
bool gpt_seen(const struct part_scan *s);

/*
 * Fills the table from a GPT.  @protective: the MBR says that there is one, so
 * the backup counts even if no trace of the primary is left.  When no copy is
 * good, the scheme stays PART_NONE.  Returns 0 or -ENOMEM.
 */
nodiscard int gpt_scan(struct part_scan *s, bool protective);

#endif /* PART_PART_PRIV_H */
