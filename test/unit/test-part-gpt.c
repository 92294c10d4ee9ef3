/* SPDX-License-Identifier: MIT */
/*
 * part: GPT.  Each row takes a good table, spoils it, and says what is seen.
 */
#include "part-image.h"

/*
 * The good table: p1 40-99, p2 100-199, p4 200-239, in sectors.  128 entries;
 * the disk has 1 MiB.
 */
static struct image *gpt_image(int sector_size)
{
    struct image *im = image_new(MiB, sector_size);

    image_put_gpt(im);
    image_put_gpt_entry(im, 0, 0x10, 40, 99, "EFI System");
    image_put_gpt_entry(im, 1, 0x20, 100, 199, "");
    image_put_gpt_entry(im, 3, 0x30, 200, 239,
                        "Gr\xc3\xb6\xc3\x9f"
                        "e \xf0\x9f\x92\xbe");
    image_seal(im, 1);
    image_seal(im, image_last(im));
    return im;
}

enum where {
    NOWHERE,
    MBR,
    HEADER1, /* of the primary */
    HEADER2, /* of the backup */
    HEADERS,
    ENTRIES1,
    ENTRIES2,
    ENTRIES,
};

struct poke {
    enum where where;
    int offset;
    int bytes;
    uint64_t value;
};

static void poke_at(uint8_t *p, const struct poke *poke)
{
    uint64_t le = htole64(poke->value);

    memcpy(p + poke->offset, &le, (size_t)poke->bytes);
}

static void poke_image(struct image *im, const struct poke *p)
{
    int64_t last = image_last(im);

    switch (p->where) {
    case NOWHERE:
        break;
    case MBR:
        poke_at(im->head, p);
        break;
    case HEADER1:
        poke_at(image_sector(im, 1), p);
        break;
    case HEADER2:
        poke_at(image_sector(im, last), p);
        break;
    case HEADERS:
        poke_at(image_sector(im, 1), p);
        poke_at(image_sector(im, last), p);
        break;
    case ENTRIES1:
        poke_at(image_gpt_entries(im, 1), p);
        break;
    case ENTRIES2:
        poke_at(image_gpt_entries(im, last), p);
        break;
    case ENTRIES:
        poke_at(image_gpt_entries(im, 1), p);
        poke_at(image_gpt_entries(im, last), p);
        break;
    }
}

#define SIGNATURE   0, 8
#define REVISION    8, 4
#define HEADER_SIZE 12, 4
#define HEADER_CRC  16, 4
#define MY_LBA      24, 8
#define OTHER_LBA   32, 8
#define USABLE      40, 8
#define ENTRY_LBA   72, 8
#define COUNT       80, 4
#define ENTRY_SIZE  84, 4
#define FIRST(slot) 128 * (slot) + 32, 8
#define LAST(slot)  128 * (slot) + 40, 8

#define MBR_FLAG(slot)    446 + 16 * (slot), 1
#define MBR_TYPE(slot)    450 + 16 * (slot), 1
#define MBR_START(slot)   454 + 16 * (slot), 4
#define MBR_SECTORS(slot) 458 + 16 * (slot), 4
#define MBR_MAGIC         510, 2

static void expect_good_entries(const struct part_table *t, int64_t sector)
{
    const struct part_entry *e = t->entries;

    g_assert_cmpint((int)t->n_entries, ==, 3);
    g_assert_cmpint((int)t->sector_size, ==, sector);
    g_assert_cmpstr(t->uuid, ==, "44332211-6655-8877-99aa-bbccddee0000");
    g_assert_cmpint(e[0].index, ==, 1);
    g_assert_cmpint(e[0].offset, ==, 40 * sector);
    g_assert_cmpint(e[0].bytes, ==, 60 * sector);
    g_assert_cmpstr(e[0].type, ==, "10101010-1010-1010-1010-101010101010");
    g_assert_cmpstr(e[0].uuid, ==, "11111111-1111-1111-1111-111111111111");
    g_assert_cmpstr(e[0].name, ==, "EFI System");
    g_assert_cmpint(e[1].index, ==, 2);
    g_assert_cmpint(e[1].offset, ==, 100 * sector);
    g_assert_cmpint(e[1].bytes, ==, 100 * sector);
    g_assert_cmpstr(e[1].name, ==, "");
    g_assert_cmpint(e[2].index, ==, 4);
    g_assert_cmpstr(e[2].name, ==,
                    "Gr\xc3\xb6\xc3\x9f"
                    "e \xf0\x9f\x92\xbe");
}

/* What makes the primary unusable, so that the backup stands in. */
static const struct bad_primary_case {
    const char *name;
    struct poke poke;
    bool seal;           /* make the checksums right again */
    const char *warning; /* in part */
} bad_primary_cases[] = {
    {"signature",
     {HEADER1, SIGNATURE, 0},
     true,
     "the primary is bad: it has no signature"},
    {"header-checksum",
     {HEADER1, HEADER_CRC, 0},
     false,
     "the checksum of its header"},
    {"header-too-small", {HEADER1, HEADER_SIZE, 91}, true, "impossible size"},
    {"header-larger-than-its-sector",
     {HEADER1, HEADER_SIZE, 513},
     true,
     "impossible size"},
    {"version", {HEADER1, REVISION, 0x20000}, true, "version"},
    {"elsewhere", {HEADER1, MY_LBA, 2}, true, "belongs to another sector"},
    {"without-room", {HEADER1, USABLE, 2015}, true, "no room for partitions"},
    {"entry-size-64",
     {HEADER1, ENTRY_SIZE, 64},
     true,
     "entries have an impossible size"},
    {"entry-size-192",
     {HEADER1, ENTRY_SIZE, 192},
     true,
     "entries have an impossible size"},
    {"entry-size-huge",
     {HEADER1, ENTRY_SIZE, UINT32_C(1) << 31},
     true,
     "entries have an impossible size"},
    {"without-entries", {HEADER1, COUNT, 0}, true, "it has no entries"},
    {"entries-beyond-the-end",
     {HEADER1, ENTRY_LBA, UINT64_MAX},
     true,
     "its entries would be beyond the end"},
    {"entries-where-bytes-overflow",
     {HEADER1, ENTRY_LBA, UINT64_C(1) << 55},
     true,
     "its entries would be beyond the end"},
    {"entries-across-the-end",
     {HEADER1, ENTRY_LBA, 2040},
     true,
     "its entries would be beyond the end"},
    {"entries-checksum",
     {ENTRIES1, LAST(1), 198},
     false,
     "the checksum of its entries"},
    {"unused-entry-checksum",
     {ENTRIES1, LAST(127), 1},
     false,
     "the checksum of its entries"},
    {"a-billion-entries",
     {HEADER1, COUNT, 1000000000},
     true,
     "the primary is bad: it claims too many entries"},
};

static void test_bad_primary(gconstpointer data)
{
    const struct bad_primary_case *c = data;
    g_autofree struct image *im = gpt_image(512);
    struct part_table *t;

    poke_image(im, &c->poke);
    if (c->seal) {
        image_seal(im, 1);
    }
    t = image_table(im, 0);
    g_assert_cmphex(t->flags, ==, PART_BACKUP_USED);
    image_expect_warnings(t, &c->warning, 1);
    expect_good_entries(t, 512);
    part_table_free(t);
}

static const struct gpt_case {
    const char *name;
    struct poke pokes[4];
    bool seal; /* make the checksums right again */
    struct {
        enum part_scheme scheme;
        unsigned flags;
        int n_entries;
    } want;
    const char *warnings[3]; /* the start or the middle of each */
} cases[] = {
    {"good", {{NOWHERE, 0, 0, 0}}, false, {PART_GPT, 0, 3}, {NULL}},

    {"header-of-a-whole-sector",
     {{HEADERS, HEADER_SIZE, 512}},
     true,
     {PART_GPT, 0, 3},
     {NULL}},
    {"later-minor-version",
     {{HEADERS, REVISION, 0x10001}},
     true,
     {PART_GPT, 0, 3},
     {NULL}},
    {"backup-header",
     {{HEADER2, HEADER_CRC, 0}},
     false,
     {PART_GPT, PART_BACKUP_BAD, 3},
     {"the backup GPT is bad: the checksum of its header"}},
    {"backup-entries",
     {{ENTRIES2, FIRST(1), 101}},
     false,
     {PART_GPT, PART_BACKUP_BAD, 3},
     {"the backup GPT is bad: the checksum of its entries"}},
    {"backup-of-another-disk",
     {{HEADER2, 56, 1, 0}},
     true,
     {PART_GPT, PART_BACKUP_BAD, 3},
     {"differs"}},
    {"backup-with-other-entries",
     {{ENTRIES2, FIRST(1), 101}},
     true,
     {PART_GPT, PART_BACKUP_BAD, 3},
     {"differs"}},
    {"other-header-is-this-one",
     {{HEADER1, OTHER_LBA, 1}},
     true,
     {PART_GPT, 0, 3},
     {NULL}},
    {"other-header-nowhere",
     {{HEADER1, OTHER_LBA, UINT64_MAX}},
     true,
     {PART_GPT, 0, 3},
     {NULL}},

    /* Both are. */
    {"both-headers",
     {{HEADERS, HEADER_CRC, 0}},
     false,
     {PART_NONE, PART_GPT_BAD, 0},
     {"both copies of the GPT are bad (primary: the checksum of its header is "
      "wrong; backup: the checksum of its header is wrong)"}},
    {"both-entries",
     {{ENTRIES, LAST(1), 198}},
     false,
     {PART_NONE, PART_GPT_BAD, 0},
     {"both copies"}},
    {"both-signatures",
     {{HEADERS, SIGNATURE, 0}},
     false,
     {PART_NONE, PART_GPT_BAD, 0},
     {"both copies"}},
    {"both-headers-of-a-hybrid",
     {{HEADERS, HEADER_CRC, 0},
      {MBR, MBR_TYPE(1), 0x83},
      {MBR, MBR_START(1), 100},
      {MBR, MBR_SECTORS(1), 100}},
     false,
     {PART_MBR, PART_GPT_BAD, 1},
     {"both copies"}},

    /* Too many entries. */
    {"a-billion-entries",
     {{HEADERS, COUNT, 1000000000}},
     true,
     {PART_GPT, 0, 3},
     {"claims 1000000000 entries: only the first 128 are looked at"}},
    {"4-billion-large-entries",
     {{HEADERS, COUNT, UINT32_MAX}, {HEADERS, ENTRY_SIZE, 4096}},
     true,
     {PART_GPT, 0, 1},
     {"claims 4294967295 entries: only the first 4 are looked at"}},
    {"a-billion-entries-without-room",
     {{HEADERS, COUNT, 1000000000}, {HEADER1, USABLE, 2}},
     true,
     {PART_GPT, PART_BACKUP_USED, 3},
     {"the primary is bad: it has no room for its 1000000000 entries",
      "claims 1000000000 entries"}},
    {"too-many-entries-behind-the-data",
     {{HEADERS, COUNT, 1000000000}, {HEADER1, USABLE, 1}},
     true,
     {PART_GPT, PART_BACKUP_USED, 3},
     {"the primary is bad: it has no room for its 1000000000 entries",
      "claims 1000000000 entries"}},
    {"entries-of-256-bytes",
     {{HEADERS, COUNT, 64}, {HEADERS, ENTRY_SIZE, 256}},
     true,
     {PART_GPT, 0, 1},
     {NULL}},

    /* The first sector. */
    {"no-mbr",
     {{MBR, MBR_MAGIC, 0}},
     false,
     {PART_GPT, PART_PROTECTIVE_BAD, 3},
     {"does not protect"}},
    {"no-mbr-and-bad-primary",
     {{MBR, MBR_MAGIC, 0}, {HEADER1, HEADER_CRC, 0}},
     false,
     {PART_GPT, PART_PROTECTIVE_BAD | PART_BACKUP_USED, 3},
     {"the checksum of its header", "does not protect"}},
    {"no-mbr-and-no-primary",
     {{MBR, MBR_MAGIC, 0}, {HEADER1, SIGNATURE, 0}},
     false,
     {PART_NONE, 0, 0},
     {NULL}},
    {"protective-entry-elsewhere",
     {{MBR, MBR_START(0), 2}},
     false,
     {PART_GPT, PART_PROTECTIVE_BAD, 3},
     {"does not protect"}},
    {"hybrid",
     {{MBR, MBR_TYPE(1), 0x83},
      {MBR, MBR_START(1), 100},
      {MBR, MBR_SECTORS(1), 100}},
     false,
     {PART_GPT, PART_HYBRID, 3},
     {"hybrid"}},
    {"mbr-over-an-old-gpt",
     {{MBR, MBR_TYPE(0), 0x83}},
     false,
     {PART_MBR, 0, 1},
     {"the MBR is used"}},
    {"file-system-over-an-old-gpt",
     {{MBR, 0, 8, UINT64_C(0x205346544e9058eb)}, /* jump, "NTFS " */
      {MBR, 8, 8, UINT64_C(0x0000000000202020)},
      {MBR, MBR_TYPE(0), 0},
      {MBR, MBR_SECTORS(0), 0}},
     false,
     {PART_NONE, 0, 0},
     {NULL}},

    /* Entries that are wrong. */
    {"zero-length",
     {{ENTRIES, LAST(1), 99}},
     true,
     {PART_GPT, 0, 2},
     {"p2 has no sectors"}},
    {"negative-length",
     {{ENTRIES, FIRST(1), UINT64_MAX}, {ENTRIES, LAST(1), 0}},
     true,
     {PART_GPT, 0, 2},
     {"p2 has no sectors"}},
    {"starts-beyond-the-end",
     {{ENTRIES, FIRST(1), 2048}, {ENTRIES, LAST(1), 4000}},
     true,
     {PART_GPT, 0, 2},
     {"p2 starts beyond the end of the disk"}},
    {"starts-where-bytes-overflow",
     {{ENTRIES, FIRST(1), UINT64_MAX / 512}, {ENTRIES, LAST(1), UINT64_MAX}},
     true,
     {PART_GPT, 0, 2},
     {"p2 starts beyond the end of the disk"}},
    {"ends-beyond-the-end",
     {{ENTRIES, LAST(3), UINT64_MAX}},
     true,
     {PART_GPT, 0, 3},
     {"p4 ends beyond the end of the disk", "p4 lies outside the area"}},
    {"over-the-table",
     {{ENTRIES, FIRST(0), 1}},
     true,
     {PART_GPT, 0, 3},
     {"p1 lies outside the area"}},
    {"overlap-by-a-sector",
     {{ENTRIES, FIRST(1), 99}},
     true,
     {PART_GPT, 0, 3},
     {"p1 and p2 overlap"}},
    {"one-inside-another",
     {{ENTRIES, FIRST(3), 120}, {ENTRIES, LAST(3), 130}},
     true,
     {PART_GPT, 0, 3},
     {"p2 and p4 overlap"}},
    {"one-around-the-others",
     {{ENTRIES, FIRST(3), 40}, {ENTRIES, LAST(3), 1000}},
     true,
     {PART_GPT, 0, 3},
     {"p1 and p4 overlap", "p2 and p4 overlap"}},
};

static void test_case(gconstpointer data)
{
    const struct gpt_case *c = data;
    g_autofree struct image *im = gpt_image(512);
    struct part_table *t;

    for (size_t i = 0; i < G_N_ELEMENTS(c->pokes); i++) {
        poke_image(im, &c->pokes[i]);
    }
    if (c->seal) {
        image_seal(im, 1);
        image_seal(im, image_last(im));
    }
    t = image_table(im, 0);
    g_assert_cmpstr(part_scheme_name(t->scheme), ==,
                    part_scheme_name(c->want.scheme));
    g_assert_cmphex(t->flags, ==, c->want.flags);
    g_assert_cmpint((int)t->n_entries, ==, c->want.n_entries);
    image_expect_warnings(t, c->warnings, G_N_ELEMENTS(c->warnings));
    part_table_free(t);
}

/* The sector size of the table is found whatever the device's own is. */
static void test_sector_sizes(void)
{
    static const int sizes[] = {512, 4096}, hints[] = {0, 512, 4096};

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        for (size_t j = 0; j < G_N_ELEMENTS(hints); j++) {
            g_autofree struct image *im = gpt_image(sizes[i]);
            struct part_table *t = image_table(im, hints[j]);

            image_expect_warnings(t, NULL, 0);
            expect_good_entries(t, sizes[i]);
            part_table_free(t);
        }
    }
}

static void test_backup_sector_sizes(void)
{
    static const int sizes[] = {512, 4096};

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree struct image *im = gpt_image(sizes[i]);
        struct part_table *t;

        memset(image_sector(im, 1), 0, (size_t)sizes[i]);
        t = image_table(im, 0);
        g_assert_cmphex(t->flags, ==, PART_BACKUP_USED);
        expect_good_entries(t, sizes[i]);
        part_table_free(t);
    }
}

static void test_attributes(void)
{
    g_autofree struct image *im = gpt_image(512);
    const struct poke poke = {ENTRIES, 48, 8, UINT64_C(0x8000000000000005)};
    struct part_table *t;

    poke_image(im, &poke);
    image_seal(im, 1);
    t = image_table(im, 0);
    g_assert_cmphex(t->entries[0].attributes, ==, poke.value);
    g_assert_true(t->entries[0].bootable);
    g_assert_false(t->entries[1].bootable);
    part_table_free(t);
}

/* A disk larger than when it was partitioned: the backup is in its middle. */
static void test_grown(void)
{
    static const char *const warnings[] = {"not at the end of the disk"};
    g_autofree struct image *im = image_new(200 * KiB, 512);
    struct part_table *t;

    image_put_gpt(im);
    image_put_gpt_entry(im, 0, 0x10, 40, 99, "");
    image_seal(im, 1);
    image_seal(im, image_last(im));
    im->size = 8 * TiB;
    t = image_table(im, 0);
    g_assert_cmphex(t->flags, ==, PART_BACKUP_BAD);
    g_assert_cmpint((int)t->n_entries, ==, 1);
    image_expect_warnings(t, warnings, 1);
    part_table_free(t);

    /* The place that an intact header names is looked at first. */
    memset(image_gpt_entries(im, 1), 0xff, 1);
    t = image_table(im, 0);
    g_assert_cmphex(t->flags, ==, PART_BACKUP_USED);
    g_assert_cmpint((int)t->n_entries, ==, 1);
    part_table_free(t);
}

/* A disk that is cut in the middle of p4, and not at a whole sector. */
static void test_cut(void)
{
    static const char *const warnings[] = {
        "the backup GPT is bad: it would be beyond the end",
        "the disk is shorter",
        "p4 ends beyond the end",
    };
    g_autofree struct image *im = gpt_image(512);
    struct part_table *t;

    im->size = 220 * 512 + 100;
    t = image_table(im, 0);
    g_assert_cmphex(t->flags, ==, PART_BACKUP_BAD);
    g_assert_cmpint((int)t->n_entries, ==, 3);
    g_assert_cmpint(t->entries[2].offset, ==, 200 * 512);
    g_assert_cmpint(t->entries[2].bytes, ==, 20 * 512);
    image_expect_warnings(t, warnings, 3);
    part_table_free(t);
}

/* However short the disk, what it holds of a GPT does no harm. */
static void test_any_size(void)
{
    g_autofree struct image *im = gpt_image(512);

    for (int64_t size = 0; size < 20 * KiB; size += 61) {
        im->size = size;
        part_table_free(image_table(im, 0));
        part_table_free(image_table(im, 4096));
    }
}

static void test_read_errors(void)
{
    static const struct {
        int64_t bad_offset;
        unsigned flags;
        const char *warning;
    } rows[] = {
        {512, PART_BACKUP_USED, "cannot read it: Input/output error"},
        {1024, PART_BACKUP_USED, "cannot read its entries"},
        {MiB - 512, PART_BACKUP_BAD, "the backup GPT is bad: cannot read it"},
        {MiB - 1024, PART_BACKUP_BAD, "bad: cannot read its entries"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree struct image *im = gpt_image(512);
        struct part_table *t;

        im->bad_offset = rows[i].bad_offset;
        t = image_table(im, 0);
        g_assert_cmphex(t->flags, ==, rows[i].flags);
        image_expect_warnings(t, &rows[i].warning, 1);
        expect_good_entries(t, 512);
        part_table_free(t);
    }
}

static void test_first_sector_unreadable(void)
{
    g_autofree struct image *im = gpt_image(512);
    struct part_source src = {im->size, 512, image_read, im};
    struct part_table *t = NULL;

    im->bad_offset = 0;
    g_assert_cmpint(part_table_read(&src, &t), ==, -EIO);
    g_assert_null(t);
}

/* The list of warnings is bounded and says when it is not all. */
static void test_many_warnings(void)
{
    g_autofree struct image *im = gpt_image(512);
    struct part_table *t;

    for (int i = 0; i < 128; i++) {
        image_put_gpt_entry(im, i, 0x10, 100, 99, "");
    }
    image_seal(im, 1);
    image_seal(im, image_last(im));
    t = image_table(im, 0);
    g_assert_cmpint((int)t->n_entries, ==, 0);
    g_assert_cmpint((int)t->n_warnings, ==, PART_MAX_WARNINGS);
    g_assert_nonnull(strstr(t->warnings[PART_MAX_WARNINGS - 1], "more faults"));
    part_table_free(t);
}

/* The largest table that is read, and the smallest that is not. */
static void test_array_limit(void)
{
    static const struct {
        uint32_t count, bytes;
        bool truncated;
    } rows[] = {
        {8192, 128, false},
        {8193, 128, true},
        {256, 4096, false},
        {257, 4096, true},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree struct image *im = image_new(16 * MiB, 512);
        g_autofree uint8_t *zeroes = g_malloc0(MiB);
        uint8_t *h = image_sector(im, 1);
        struct part_table *t;

        image_put_gpt(im);
        store_le64(h + 40, 2 + 2 * MiB / 512);
        store_le64(h + 72, 600); /* where the image reads as zeroes */
        store_le32(h + 80, rows[i].count);
        store_le32(h + 84, rows[i].bytes);
        store_le32(h + 88, crc32_of(zeroes, MiB));
        image_seal(im, 1);
        memset(image_sector(im, image_last(im)), 0, 512);
        t = image_table(im, 0);
        g_assert_cmpint(t->scheme, ==, PART_GPT);
        g_assert_cmpint(strstr(t->warnings[1] ? t->warnings[1] : "",
                               "are looked at") != NULL,
                        ==, rows[i].truncated);
        part_table_free(t);
    }
}

static void mutate(struct image *im)
{
    static const int max_offset[] = {
        [MBR] = 512 - 8,     [HEADER1] = 92 - 8,   [HEADER2] = 92 - 8,
        [HEADERS] = 92 - 8,  [ENTRIES1] = 512 - 8, [ENTRIES2] = 512 - 8,
        [ENTRIES] = 512 - 8,
    };
    static const int widths[] = {1, 2, 4, 8};
    struct poke p = {.where = (enum where)g_test_rand_int_range(MBR, 8)};

    p.offset = g_test_rand_int_range(0, max_offset[p.where] + 1);
    p.bytes = widths[g_test_rand_int_range(0, 4)];
    p.value = (uint64_t)(uint32_t)g_test_rand_int() << 32;
    p.value |= (uint32_t)g_test_rand_int();
    p.value >>= g_test_rand_int_range(0, 64);
    poke_image(im, &p);
}

/* Random damage, mostly with checksums that hide it, breaks no rule. */
static void test_mutations(void)
{
    g_autofree struct image *good = gpt_image(512);
    g_autofree struct image *im = g_new(struct image, 1);

    for (int round = 0; round < 2000; round++) {
        int n = g_test_rand_int_range(1, 5);

        *im = *good;
        while (n-- > 0) {
            mutate(im);
        }
        if (round % 4) {
            image_seal(im, 1);
            image_seal(im, image_last(im));
        }
        im->n_reads = 0;
        part_table_free(image_table(im, 0));
        g_assert_cmpint(im->n_reads, <, 300);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strconcat("/gpt/", cases[i].name, NULL);

        g_test_add_data_func(path, &cases[i], test_case);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(bad_primary_cases); i++) {
        const struct bad_primary_case *c = &bad_primary_cases[i];
        g_autofree char *path = g_strconcat("/gpt/bad-primary/", c->name, NULL);

        g_test_add_data_func(path, c, test_bad_primary);
    }
    g_test_add_func("/gpt/sector-sizes", test_sector_sizes);
    g_test_add_func("/gpt/backup-sector-sizes", test_backup_sector_sizes);
    g_test_add_func("/gpt/attributes", test_attributes);
    g_test_add_func("/gpt/grown", test_grown);
    g_test_add_func("/gpt/cut", test_cut);
    g_test_add_func("/gpt/any-size", test_any_size);
    g_test_add_func("/gpt/read-errors", test_read_errors);
    g_test_add_func("/gpt/first-sector-unreadable",
                    test_first_sector_unreadable);
    g_test_add_func("/gpt/many-warnings", test_many_warnings);
    g_test_add_func("/gpt/array-limit", test_array_limit);
    g_test_add_func("/gpt/mutations", test_mutations);
    return g_test_run();
}
