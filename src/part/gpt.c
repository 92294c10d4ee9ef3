/* SPDX-License-Identifier: MIT */
/*
 * gpt: the GUID partition table, kept twice.
 *
 *   sector 1     primary header       last sector      backup header
 *   sector 2...  primary entries      just before it   backup entries
 *
 * Each header has a checksum of itself and one of its entries, so a copy is
 * whole or it is not.  The primary counts when it is whole, else the backup:
 * the one at the place that the primary names, if its header is intact, or the
 * one in the last sector.  The sector size is the one with which a copy makes
 * sense, the device's own being tried first.
 *
 * One kind of unsound copy is used when there is no better: an intact header
 * that claims more entries than GPT_MAX_ARRAY holds.  Entries are then read up
 * to where the header says that data begins; their checksum cannot be known.
 *
 *   header: signature 0, revision 8, header size 12, header CRC 16, own sector
 *   24, other header's 32, first usable 40, last usable 48, disk GUID 56,
 *   entries' sector 72, their number 80, size of one 84, CRC of them 88
 *   entry: type GUID 0, own GUID 16, first sector 32, last 40, attributes 48,
 *   name 56 (72 bytes)
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/align.h"
#include "base/endian.h"
#include "base/iov.h"
#include "part/crc32.h"
#include "part/part_priv.h"
#include "part/text.h"

#define GPT_SIGNATURE "EFI PART"

enum {
    GPT_HEADER_BYTES = 92, /* of revision 1.0; a later one may be longer */
    GPT_HEADER_CRC = 16,
    GPT_ENTRY_BYTES = 128,
    GPT_MAX_ENTRY_BYTES = 4096,
    GPT_MAX_ARRAY = 1 << 20, /* 8192 entries, where 128 are usual */

    GPT_ATTR_BIOS_BOOTABLE = 1 << 2,
};

enum gpt_state {
    GPT_BAD,
    GPT_TRUNCATED, /* claims too many entries; the first ones are here */
    GPT_WHOLE,
};

/* One of the two copies. */
struct gpt_copy {
    enum gpt_state state;
    char why[96];   /* when GPT_BAD */
    bool seen;      /* the signature is there */
    bool header_ok; /* the fields below are what somebody wrote */

    uint64_t lba, other_lba;
    uint64_t first_usable, last_usable;
    uint64_t entries_lba;
    uint32_t n_entries; /* those in @entries */
    uint32_t n_claimed;
    uint32_t entry_bytes;
    uint32_t entries_crc;
    uint8_t guid[16];
    uint8_t *entries; /* owned; NULL when GPT_BAD */
};

static void G_GNUC_PRINTF(2, 3)
    gpt_reject(struct gpt_copy *c, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    g_vsnprintf(c->why, sizeof(c->why), format, ap);
    va_end(ap);
}

static bool gpt_has_signature(const uint8_t *header)
{
    return memcmp(header, GPT_SIGNATURE, strlen(GPT_SIGNATURE)) == 0;
}

bool gpt_seen(const struct part_scan *s)
{
    return gpt_has_signature(s->head + 512) ||
           gpt_has_signature(s->head + 4096);
}

/* Is the checksum right?  @bytes is the header's size; changes @header. */
static bool gpt_header_crc_ok(uint8_t *header, uint32_t bytes)
{
    uint32_t crc = load_le32(header + GPT_HEADER_CRC);

    store_le32(header + GPT_HEADER_CRC, 0);
    return crc32_of(header, bytes) == crc;
}

/* What is wrong with the header, read from sector @lba; NULL if nothing. */
static const char *gpt_header_fault(uint8_t *header, int sector_size,
                                    uint64_t lba)
{
    uint32_t bytes = load_le32(header + 12);
    uint32_t entry_bytes = load_le32(header + 84);

    if (!gpt_has_signature(header)) {
        return "it has no signature";
    }
    if (bytes < GPT_HEADER_BYTES || bytes > (uint32_t)sector_size) {
        return "its header has an impossible size";
    }
    if (!gpt_header_crc_ok(header, bytes)) {
        return "the checksum of its header is wrong";
    }
    if (load_le32(header + 8) >> 16 != 1) {
        return "its version is unknown";
    }
    if (load_le64(header + 24) != lba) {
        return "it belongs to another sector";
    }
    if (load_le64(header + 40) > load_le64(header + 48)) {
        return "it leaves no room for partitions";
    }
    if (entry_bytes < GPT_ENTRY_BYTES || entry_bytes > GPT_MAX_ENTRY_BYTES ||
        !is_power_of_2(entry_bytes)) {
        return "its entries have an impossible size";
    }
    if (load_le32(header + 80) == 0) {
        return "it has no entries";
    }
    return NULL;
}

static void gpt_header_decode(struct gpt_copy *c, const uint8_t *header)
{
    c->header_ok = true;
    c->lba = load_le64(header + 24);
    c->other_lba = load_le64(header + 32);
    c->first_usable = load_le64(header + 40);
    c->last_usable = load_le64(header + 48);
    memcpy(c->guid, header + 56, sizeof(c->guid));
    c->entries_lba = load_le64(header + 72);
    c->n_claimed = load_le32(header + 80);
    c->entry_bytes = load_le32(header + 84);
    c->entries_crc = load_le32(header + 88);
}

/*
 * Reads and decodes the header in sector @lba.  Returns 0, also after
 * gpt_reject(), or -ENOMEM.
 */
static int gpt_load_header(struct part_scan *s, int sector_size, uint64_t lba,
                           struct gpt_copy *c)
{
    const struct part_source *src = s->src;
    g_autofree uint8_t *header = NULL;
    const char *fault;
    int rc;

    if (lba >= part_sectors(s, sector_size)) {
        gpt_reject(c, "it would be beyond the end of the disk");
        return 0;
    }
    header = g_try_malloc((gsize)sector_size);
    if (!header) {
        return -ENOMEM;
    }
    rc =
        src->read(src->opaque, (int64_t)lba * sector_size, header, sector_size);
    if (rc < 0) {
        gpt_reject(c, "cannot read it: %s", g_strerror(-rc));
        return 0;
    }
    c->seen = gpt_has_signature(header);
    fault = gpt_header_fault(header, sector_size, lba);
    if (fault) {
        gpt_reject(c, "%s", fault);
        return 0;
    }
    gpt_header_decode(c, header);
    return 0;
}

/*
 * How many entries are worth reading.  With too many of them, what lies
 * between the first one and the next thing that the header knows of.
 */
static uint32_t gpt_entries_to_read(const struct gpt_copy *c, int sector_size)
{
    uint64_t max = GPT_MAX_ARRAY / c->entry_bytes;
    uint64_t end = c->entries_lba < c->lba ? c->lba : c->first_usable;
    uint64_t room;

    if (c->n_claimed <= max) {
        return c->n_claimed;
    }
    if (end <= c->entries_lba) {
        return 0;
    }
    room = end - c->entries_lba;
    if (room >= GPT_MAX_ARRAY / (unsigned)sector_size) {
        return (uint32_t)max;
    }
    return (uint32_t)(room * (unsigned)sector_size / c->entry_bytes);
}

/* Reads the entries of a good header.  Returns like gpt_load_header(). */
static int gpt_load_entries(struct part_scan *s, int sector_size,
                            struct gpt_copy *c)
{
    const struct part_source *src = s->src;
    g_autofree uint8_t *entries = NULL;
    uint32_t n = gpt_entries_to_read(c, sector_size);
    int64_t bytes = (int64_t)n * c->entry_bytes;
    int64_t offset;
    int rc;

    if (n == 0) {
        gpt_reject(c, "it has no room for its %" PRIu32 " entries",
                   c->n_claimed);
        return 0;
    }
    if (c->entries_lba >= part_sectors(s, sector_size) ||
        !range_ok((int64_t)c->entries_lba * sector_size, bytes, src->size)) {
        gpt_reject(c, "its entries would be beyond the end of the disk");
        return 0;
    }
    offset = (int64_t)c->entries_lba * sector_size;
    entries = g_try_malloc((gsize)bytes);
    if (!entries) {
        return -ENOMEM;
    }
    rc = src->read(src->opaque, offset, entries, bytes);
    if (rc < 0) {
        gpt_reject(c, "cannot read its entries: %s", g_strerror(-rc));
        return 0;
    }
    if (n == c->n_claimed &&
        crc32_of(entries, (size_t)bytes) != c->entries_crc) {
        gpt_reject(c, "the checksum of its entries is wrong");
        return 0;
    }
    c->n_entries = n;
    c->entries = g_steal_pointer(&entries);
    c->state = n == c->n_claimed ? GPT_WHOLE : GPT_TRUNCATED;
    return 0;
}

/* Loads the copy whose header is in sector @lba.  @c must be zeroed. */
static int gpt_load(struct part_scan *s, int sector_size, uint64_t lba,
                    struct gpt_copy *c)
{
    int rc = gpt_load_header(s, sector_size, lba, c);

    if (rc < 0 || !c->header_ok) {
        return rc;
    }
    return gpt_load_entries(s, sector_size, c);
}

static void gpt_clear(struct gpt_copy *c)
{
    g_free(c->entries);
    memset(c, 0, sizeof(*c));
}

/*
 * Looks for the backup where the primary says that it is, if that can be
 * believed, and then in the last sector.
 */
static int gpt_load_backup(struct part_scan *s, int sector_size,
                           const struct gpt_copy *primary, struct gpt_copy *c)
{
    uint64_t last = part_sectors(s, sector_size) - 1; /* wraps: none */
    struct gpt_copy other = {.state = GPT_BAD};
    int rc;

    if (!primary->header_ok || primary->other_lba <= 1) {
        return gpt_load(s, sector_size, last, c);
    }
    rc = gpt_load(s, sector_size, primary->other_lba, c);
    if (rc < 0 || c->state == GPT_WHOLE || primary->other_lba == last) {
        return rc;
    }
    rc = gpt_load(s, sector_size, last, &other);
    if (other.state > c->state) {
        gpt_clear(c);
        *c = other;
    } else {
        gpt_clear(&other);
    }
    return rc;
}

static void gpt_check_entry(struct part_scan *s, const struct gpt_copy *c,
                            unsigned index, uint64_t first, uint64_t last)
{
    if (first < c->first_usable || last > c->last_usable) {
        part_warn(s, "p%u lies outside the area for partitions of the GPT",
                  index);
    }
}

static bool gpt_entry_is_used(const struct gpt_copy *c, uint32_t slot)
{
    return !buf_is_zero(c->entries + (size_t)slot * c->entry_bytes, 16);
}

static void gpt_add(struct part_scan *s, const struct gpt_copy *c,
                    uint32_t slot)
{
    const uint8_t *raw = c->entries + (size_t)slot * c->entry_bytes;
    uint64_t first = load_le64(raw + 32);
    uint64_t last = load_le64(raw + 40);
    struct part_entry *e = part_add(s, slot + 1, first, last);

    if (!e) {
        return;
    }
    gpt_check_entry(s, c, slot + 1, first, last);
    part_guid_text(raw, e->type);
    part_guid_text(raw + 16, e->uuid);
    e->attributes = load_le64(raw + 48);
    e->bootable = e->attributes & GPT_ATTR_BIOS_BOOTABLE;
    part_name_text(raw + 56, e->name);
}

static int gpt_show(struct part_scan *s, int sector_size,
                    const struct gpt_copy *c)
{
    struct part_table *t = s->table;
    size_t n = 0;
    int rc;

    for (uint32_t i = 0; i < c->n_entries; i++) {
        n += gpt_entry_is_used(c, i);
    }
    rc = part_reserve(s, n);
    if (rc < 0) {
        return rc;
    }
    t->scheme = PART_GPT;
    t->sector_size = sector_size;
    part_guid_text(c->guid, t->uuid);
    if (c->state == GPT_TRUNCATED) {
        part_warn(s,
                  "the GPT claims %" PRIu32 " entries: only the first %" PRIu32
                  " are looked at, and their checksum is not known",
                  c->n_claimed, c->n_entries);
    }
    if (c->last_usable >= part_sectors(s, sector_size)) {
        part_warn(s, "the disk is shorter than its GPT says");
    }
    for (uint32_t i = 0; i < c->n_entries; i++) {
        if (gpt_entry_is_used(c, i)) {
            gpt_add(s, c, i);
        }
    }
    return 0;
}

/* The two copies of one table. */
struct gpt {
    int sector_size;
    struct gpt_copy primary, backup;
};

static void gpt_fini(struct gpt *g)
{
    gpt_clear(&g->primary);
    gpt_clear(&g->backup);
}

/* Compares the copies.  The one to show is the sounder one. */
static void gpt_check_copies(struct part_scan *s, const struct gpt *g)
{
    struct part_table *t = s->table;
    const struct gpt_copy *p = &g->primary, *b = &g->backup;

    if (b->state > p->state) {
        t->flags |= PART_BACKUP_USED;
        part_warn(s, "the backup GPT is used, the primary is bad: %s",
                  p->state == GPT_BAD ? p->why : "it claims too many entries");
        return;
    }
    if (b->state == GPT_BAD) {
        t->flags |= PART_BACKUP_BAD;
        part_warn(s, "the backup GPT is bad: %s", b->why);
    } else if (b->lba != part_sectors(s, g->sector_size) - 1) {
        t->flags |= PART_BACKUP_BAD;
        part_warn(s, "the backup GPT is not at the end of the disk: sgdisk "
                     "--move-second-header puts it there");
    } else if (memcmp(p->guid, b->guid, sizeof(p->guid)) != 0 ||
               p->entries_crc != b->entries_crc) {
        t->flags |= PART_BACKUP_BAD;
        part_warn(s, "the backup GPT differs from the primary, which is used");
    }
}

/*
 * Loads both copies as of @sector_size.  Without a trace of the primary, and
 * nothing in the MBR that promises a GPT, what looks like a backup is what a
 * former use of the disk has left behind: it is not looked at.
 */
static int gpt_load_both(struct part_scan *s, int sector_size, bool protective,
                         struct gpt *g)
{
    int rc;

    g->sector_size = sector_size;
    rc = gpt_load(s, sector_size, 1, &g->primary);
    if (rc < 0) {
        return rc;
    }
    if (!g->primary.seen && !protective) {
        gpt_reject(&g->backup, "it is not looked for");
        return 0;
    }
    return gpt_load_backup(s, sector_size, &g->primary, &g->backup);
}

/* Returns 1 when the table is filled, 0 when @g is bad, or -ENOMEM. */
static int gpt_try(struct part_scan *s, const struct gpt *g)
{
    const struct gpt_copy *p = &g->primary, *b = &g->backup;
    int rc;

    if (p->state == GPT_BAD && b->state == GPT_BAD) {
        return 0;
    }
    gpt_check_copies(s, g);
    rc = gpt_show(s, g->sector_size, b->state > p->state ? b : p);
    return rc < 0 ? rc : 1;
}

int gpt_scan(struct part_scan *s, bool protective)
{
    const int sizes[] = {s->src->sector_size, 512, 4096};
    g_autofree char *fault = NULL;
    bool seen = false;

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        struct gpt g = {.sector_size = 0};
        int rc;

        if (sizes[i] == 0 || (i > 0 && sizes[i] == sizes[0])) {
            continue;
        }
        rc = gpt_load_both(s, sizes[i], protective, &g);
        if (rc == 0) {
            rc = gpt_try(s, &g);
        }
        if (rc == 0 && (!fault || !seen)) {
            g_free(fault);
            fault = g_strdup_printf("both copies of the GPT are bad (primary: "
                                    "%s; backup: %s)",
                                    g.primary.why, g.backup.why);
            seen = g.primary.seen || g.backup.seen;
        }
        gpt_fini(&g);
        if (rc != 0) {
            return rc < 0 ? rc : 0;
        }
    }
    s->table->flags |= PART_GPT_BAD;
    part_warn(s, "%s: its partitions are not shown", fault);
    return 0;
}
