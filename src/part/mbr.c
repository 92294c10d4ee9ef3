/* SPDX-License-Identifier: MIT */
/*
 * mbr: the table in the first sector, and the logical partitions behind it.
 *
 * A table is at the end of its sector:
 *
 *   440  disk signature       4 bytes
 *   446  four entries         16 bytes each: active 0, type 4, start 8,
 *                             sectors 12; CHS addresses are not looked at
 *   510  0x55 0xaa
 *
 * Boot sectors of file systems end in 0x55 0xaa as well, and have code, text
 * or nothing where the entries are.
 *
 * An extended partition holds a chain of sectors of the same form (EBR).  An
 * entry of a data partition is relative to its EBR, the entry of the next EBR
 * to the start of the extended partition.  Numbers follow Linux: logical
 * partitions count from 5 in the order of the chain, an entry is in use when
 * it has sectors, whatever its type, and with more than one extended partition
 * the chains follow each other.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/align.h"
#include "base/endian.h"
#include "base/iov.h"
#include "part/part_priv.h"

enum {
    MBR_BYTES = 512,
    MBR_ID = 440,
    MBR_ENTRIES = 446,
    MBR_ENTRY_BYTES = 16,
    MBR_MAGIC = 510,

    MBR_TYPE_PROTECTIVE = 0xee,

    EBR_MAX_LINKS = 256,   /* per extended partition */
    MBR_MAX_LOGICAL = 256, /* per disk */
    MBR_FIRST_LOGICAL = 5,
};

static bool mbr_has_magic(const uint8_t *sector)
{
    return sector[MBR_MAGIC] == 0x55 && sector[MBR_MAGIC + 1] == 0xaa;
}

static struct mbr_entry mbr_entry_of(const uint8_t *sector, int slot)
{
    const uint8_t *p = &sector[MBR_ENTRIES + slot * MBR_ENTRY_BYTES];

    return (struct mbr_entry){
        .active = p[0] == 0x80,
        .type = p[4],
        .start = load_le32(p + 8),
        .sectors = load_le32(p + 12),
    };
}

static bool mbr_is_extended(const struct mbr_entry *e)
{
    return e->type == 0x05 || e->type == 0x0f || e->type == 0x85;
}

/* An active flag other than 0 and 0x80 is code or text. */
static bool mbr_flags_are_sane(const uint8_t *sector)
{
    for (int i = 0; i < 4; i++) {
        uint8_t active = sector[MBR_ENTRIES + i * MBR_ENTRY_BYTES];

        if (active != 0 && active != 0x80) {
            return false;
        }
    }
    return true;
}

/* Does a FAT, exFAT, NTFS or XFS start at this sector? */
static bool mbr_is_file_system(const uint8_t *sector)
{
    bool jump = (sector[0] == 0xeb && sector[2] == 0x90) || sector[0] == 0xe9;
    int sector_bytes = load_le16(sector + 11);
    int fats = sector[16];
    int media = sector[21];

    if (memcmp(sector, "XFSB", 4) == 0) {
        return true;
    }
    if (!jump) {
        return false;
    }
    if (memcmp(sector + 3, "NTFS    ", 8) == 0 ||
        memcmp(sector + 3, "EXFAT   ", 8) == 0) {
        return true;
    }
    return sector_bytes >= 512 && sector_bytes <= 4096 &&
           is_power_of_2(sector_bytes) && is_power_of_2(sector[13]) &&
           (fats == 1 || fats == 2) && (media == 0xf0 || media >= 0xf8);
}

/*
 * Some boot loaders keep a FAT header in a true MBR, and mkfs.fat writes a
 * table with one entry that is the file system itself.  The former has entries
 * that leave the first sector alone and end on the disk.
 */
static bool mbr_fits_beside_file_system(const struct part_scan *s,
                                        const struct mbr *m)
{
    uint64_t sectors = part_sectors(s, s->table->sector_size);

    for (int i = 0; i < 4; i++) {
        const struct mbr_entry *e = &m->entry[i];

        if (e->sectors == 0 || e->type == MBR_TYPE_PROTECTIVE) {
            continue;
        }
        if (e->start == 0 || (uint64_t)e->start + e->sectors > sectors) {
            return false;
        }
    }
    return m->used > 0 || m->protective;
}

void mbr_parse(const struct part_scan *s, struct mbr *ret)
{
    const uint8_t *sector = s->head;
    struct mbr m = {.id = load_le32(sector + MBR_ID)};

    memset(ret, 0, sizeof(*ret));
    ret->file_system = mbr_is_file_system(sector);
    if (!mbr_has_magic(sector) || !mbr_flags_are_sane(sector)) {
        return;
    }
    for (int i = 0; i < 4; i++) {
        m.entry[i] = mbr_entry_of(sector, i);
        if (m.entry[i].type == MBR_TYPE_PROTECTIVE) {
            m.protective = true;
            m.protective_good |= m.entry[i].start == 1;
        } else if (m.entry[i].sectors > 0) {
            m.used++;
        }
    }
    if (ret->file_system) {
        m.valid = mbr_fits_beside_file_system(s, &m);
    } else {
        m.valid = m.used > 0 || m.protective || m.id != 0;
    }
    if (m.valid) {
        *ret = m;
    }
}

static void mbr_add(struct part_scan *s, const struct mbr *m, unsigned index,
                    const struct mbr_entry *raw, uint64_t first)
{
    struct part_entry *e = part_add(s, index, first, first + raw->sectors - 1);

    if (!e) {
        return;
    }
    e->bootable = raw->active;
    g_snprintf(e->type, sizeof(e->type), "0x%02x", raw->type);
    if (m->id != 0) {
        g_snprintf(e->uuid, sizeof(e->uuid), "%08x-%02x", m->id, index);
    }
    if (first == 0) {
        part_warn(s, "p%u contains the partition table itself", index);
    }
}

/* The way along one extended partition's chain. */
struct ebr_walk {
    struct part_scan *scan;
    const struct mbr *mbr;
    unsigned slot;     /* of the extended partition, for warnings */
    uint64_t first;    /* where it starts, in sectors */
    uint64_t sectors;  /* its length */
    unsigned next;     /* the next logical partition's number */
    uint64_t at;       /* the current EBR */
    uint64_t at_limit; /* how many sectors the link to it claimed */
    int n_links;
    uint64_t links[EBR_MAX_LINKS]; /* where the chain has been */
    uint8_t sector[MBR_BYTES];
};

/* May the chain go on to w->at?  If not, warns why. */
static bool ebr_may_visit(struct ebr_walk *w)
{
    int sector_size = w->scan->table->sector_size;

    if (w->at >= part_sectors(w->scan, sector_size)) {
        part_warn(w->scan,
                  "extended partition %u continues beyond the end of the disk",
                  w->slot);
        return false;
    }
    for (int i = 0; i < w->n_links; i++) {
        if (w->links[i] == w->at) {
            part_warn(w->scan,
                      "extended partition %u is a loop: it is followed once",
                      w->slot);
            return false;
        }
    }
    if (w->n_links == EBR_MAX_LINKS) {
        part_warn(w->scan,
                  "extended partition %u has more than %d links: the "
                  "rest is not shown",
                  w->slot, EBR_MAX_LINKS);
        return false;
    }
    w->links[w->n_links++] = w->at;
    return true;
}

static bool ebr_read(struct ebr_walk *w)
{
    const struct part_source *src = w->scan->src;
    int64_t offset = (int64_t)w->at * w->scan->table->sector_size;
    int rc = src->read(src->opaque, offset, w->sector, MBR_BYTES);

    if (rc < 0) {
        part_warn(w->scan,
                  "extended partition %u: cannot read sector %" PRIu64 ": %s",
                  w->slot, w->at, g_strerror(-rc));
        return false;
    }
    if (mbr_has_magic(w->sector)) {
        return true;
    }

    /* An extended partition that nobody has put anything into is fine. */
    if (w->n_links > 1 || !buf_is_zero(w->sector, MBR_BYTES)) {
        part_warn(w->scan,
                  "extended partition %u: sector %" PRIu64
                  " should continue it and does not",
                  w->slot, w->at);
    }
    return false;
}

/*
 * The third and fourth entry of an EBR should be unused, and some programs
 * leave rubbish there: Linux believes them when they fit.
 */
static bool ebr_entry_counts(const struct ebr_walk *w, int slot,
                             const struct mbr_entry *e)
{
    uint64_t start = w->at + e->start;

    if (e->sectors == 0 || mbr_is_extended(e)) {
        return false;
    }
    return slot < 2 ||
           ((uint64_t)e->start + e->sectors <= w->at_limit &&
            start >= w->first && start + e->sectors <= w->first + w->sectors);
}

/* Returns false when there is no number left for one. */
static bool ebr_add_entries(struct ebr_walk *w)
{
    for (int i = 0; i < 4; i++) {
        struct mbr_entry e = mbr_entry_of(w->sector, i);
        uint64_t start = w->at + e.start;

        if (!ebr_entry_counts(w, i, &e)) {
            continue;
        }
        if (w->next == MBR_FIRST_LOGICAL + MBR_MAX_LOGICAL) {
            part_warn(w->scan,
                      "logical partitions after p%u are too many and not shown",
                      w->next - 1);
            return false;
        }
        if (start + e.sectors > w->first + w->sectors) {
            part_warn(w->scan, "p%u reaches beyond extended partition %u",
                      w->next, w->slot);
        }
        mbr_add(w->scan, w->mbr, w->next++, &e, start);
    }
    return true;
}

/* Moves on to the next EBR.  Returns false at the end of the chain. */
static bool ebr_next(struct ebr_walk *w)
{
    for (int i = 0; i < 4; i++) {
        struct mbr_entry e = mbr_entry_of(w->sector, i);

        if (e.sectors > 0 && mbr_is_extended(&e)) {
            w->at = w->first + e.start;
            w->at_limit = e.sectors;
            return true;
        }
    }
    return false;
}

static void ebr_follow(struct ebr_walk *w, int slot)
{
    const struct mbr_entry *e = &w->mbr->entry[slot];

    w->slot = (unsigned)slot + 1;
    w->first = w->at = e->start;
    w->sectors = w->at_limit = e->sectors;
    w->n_links = 0;

    while (ebr_may_visit(w) && ebr_read(w) && ebr_add_entries(w) &&
           ebr_next(w)) {
    }
}

static int mbr_scan_logical(struct part_scan *s, const struct mbr *m)
{
    g_autofree struct ebr_walk *w = g_try_new0(struct ebr_walk, 1);

    if (!w) {
        return -ENOMEM;
    }
    w->scan = s;
    w->mbr = m;
    w->next = MBR_FIRST_LOGICAL;
    for (int i = 0; i < 4; i++) {
        if (m->entry[i].sectors > 0 && mbr_is_extended(&m->entry[i])) {
            ebr_follow(w, i);
        }
    }
    return 0;
}

int mbr_scan(struct part_scan *s, const struct mbr *m)
{
    int rc = part_reserve(s, 4 + MBR_MAX_LOGICAL);

    if (rc < 0) {
        return rc;
    }
    s->table->scheme = PART_MBR;
    if (m->id != 0) {
        g_snprintf(s->table->uuid, sizeof(s->table->uuid), "%08x", m->id);
    }
    for (int i = 0; i < 4; i++) {
        const struct mbr_entry *e = &m->entry[i];
        unsigned index = (unsigned)i + 1;

        if (e->type == MBR_TYPE_PROTECTIVE || mbr_is_extended(e)) {
            continue;
        }
        if (e->sectors > 0) {
            mbr_add(s, m, index, e, e->start);
        } else if (e->type != 0) {
            part_warn(s, "p%u has no sectors and is not shown", index);
        }
    }
    return mbr_scan_logical(s, m);
}
