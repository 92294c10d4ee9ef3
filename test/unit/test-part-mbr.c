/* SPDX-License-Identifier: MIT */
/*
 * part: MBR and the chains of EBRs.  Each row lists the entries of sectors and
 * says what is seen.
 */
#include "part-image.h"

#define DISK_SECTORS 2048
#define DISK_ID      0xdeadbeef

struct raw {
    int64_t lba; /* of the table; the row ends with an entry of no type */
    int slot;
    uint8_t flag, type;
    uint32_t start, sectors;
};

static const struct mbr_case {
    const char *name;
    struct raw raw[10];
    const char *want;        /* "N:start+sectors ..." */
    const char *warnings[4]; /* in part */
} cases[] = {
    {"primary",
     {{0, 0, 0x80, 0x83, 64, 100}, {0, 3, 0, 0x07, 200, 50}},
     "1:64+100 4:200+50",
     {NULL}},
    {"out-of-order",
     {{0, 0, 0, 0x83, 200, 50}, {0, 1, 0, 0x83, 64, 100}},
     "1:200+50 2:64+100",
     {NULL}},
    {"to-the-last-sector", {{0, 0, 0, 0x83, 2000, 48}}, "1:2000+48", {NULL}},

    {"zero-length",
     {{0, 0, 0, 0x83, 64, 0}, {0, 1, 0, 0x83, 64, 1}},
     "2:64+1",
     {"p1 has no sectors"}},
    {"starts-beyond-the-end",
     {{0, 0, 0, 0x83, 64, 10}, {0, 1, 0, 0x83, 2048, 1}},
     "1:64+10",
     {"p2 starts beyond the end"}},
    {"starts-and-ends-far-beyond",
     {{0, 0, 0, 0x83, UINT32_MAX, UINT32_MAX}},
     "",
     {"p1 starts beyond the end"}},
    {"ends-beyond-the-end",
     {{0, 0, 0, 0x83, 2000, UINT32_MAX}},
     "1:2000+48",
     {"p1 ends beyond the end"}},
    {"overlap",
     {{0, 0, 0, 0x83, 64, 10}, {0, 1, 0, 0x83, 73, 10}},
     "1:64+10 2:73+10",
     {"p1 and p2 overlap"}},
    {"overlap-not-with-the-last-one",
     {{0, 0, 0, 0x83, 64, 100},
      {0, 1, 0, 0x83, 70, 10},
      {0, 2, 0, 0x83, 100, 10}},
     "1:64+100 2:70+10 3:100+10",
     {"p1 and p2 overlap", "p1 and p3 overlap"}},
    {"around-the-table",
     {{0, 1, 0, 0x17, 0, 2048}},
     "2:0+2048",
     {"p2 contains the partition table"}},

    {"extended-without-logical",
     {{0, 0, 0, 0x83, 64, 10}, {0, 1, 0, 0x05, 80, 100}},
     "1:64+10",
     {NULL}},
    {"one-logical",
     {{0, 1, 0, 0x0f, 100, 200}, {100, 0, 0, 0x83, 10, 20}},
     "5:110+20",
     {NULL}},
    {"linux-extended",
     {{0, 1, 0, 0x85, 100, 200}, {100, 0, 0, 0x83, 10, 20}},
     "5:110+20",
     {NULL}},
    {"three-logical",
     {{0, 0, 0, 0x83, 10, 20},
      {0, 1, 0, 0x05, 100, 300},
      {100, 0, 0x80, 0x83, 10, 20},
      {100, 1, 0, 0x05, 50, 50},
      {150, 0, 0, 0x82, 10, 30},
      {150, 1, 0, 0x05, 100, 50},
      {200, 0, 0, 0x83, 10, 40}},
     "1:10+20 5:110+20 6:160+30 7:210+40",
     {NULL}},
    {"logical-before-and-after-primary",
     {{0, 0, 0, 0x05, 100, 300},
      {0, 3, 0, 0x83, 400, 20},
      {100, 0, 0, 0x83, 10, 20}},
     "4:400+20 5:110+20",
     {NULL}},
    {"two-extended",
     {{0, 0, 0, 0x05, 100, 100},
      {0, 1, 0, 0x05, 200, 100},
      {100, 0, 0, 0x83, 10, 20},
      {200, 0, 0, 0x83, 10, 20}},
     "5:110+20 6:210+20",
     {NULL}},
    {"link-without-data",
     {{0, 0, 0, 0x05, 100, 300},
      {100, 0, 0, 0x05, 50, 50},
      {150, 0, 0, 0x83, 10, 20}},
     "5:160+20",
     {NULL}},
    {"unlikely-third-entry",
     {{0, 0, 0, 0x05, 100, 100},
      {100, 0, 0, 0x83, 10, 20},
      {100, 2, 0, 0x83, 40, 10},
      {100, 3, 0, 0x83, 90, 11}},
     "5:110+20 6:140+10",
     {NULL}},

    {"loop-to-itself",
     {{0, 0, 0, 0x05, 100, 100},
      {100, 0, 0, 0x83, 10, 20},
      {100, 1, 0, 0x05, 0, 50}},
     "5:110+20",
     {"extended partition 1 is a loop"}},
    {"loop-of-two",
     {{0, 3, 0, 0x05, 100, 100},
      {100, 0, 0, 0x83, 10, 20},
      {100, 1, 0, 0x05, 50, 50},
      {150, 0, 0, 0x83, 10, 20},
      {150, 1, 0, 0x05, 0, 50}},
     "5:110+20 6:160+20",
     {"extended partition 4 is a loop"}},
    {"chain-into-nothing",
     {{0, 0, 0, 0x05, 100, 100},
      {100, 0, 0, 0x83, 10, 20},
      {100, 1, 0, 0x05, 50, 50}},
     "5:110+20",
     {"extended partition 1: sector 150 should continue it"}},
    {"chain-beyond-the-end",
     {{0, 0, 0, 0x05, 100, 100},
      {100, 0, 0, 0x83, 10, 20},
      {100, 1, 0, 0x05, UINT32_MAX, 50}},
     "5:110+20",
     {"extended partition 1 continues beyond the end"}},
    {"extended-beyond-the-end",
     {{0, 0, 0, 0x83, 10, 20}, {0, 1, 0, 0x05, 5000, 100}},
     "1:10+20",
     {"extended partition 2 continues beyond the end"}},
    {"logical-beyond-its-extended",
     {{0, 0, 0, 0x05, 100, 100}, {100, 0, 0, 0x83, 10, 91}},
     "5:110+91",
     {"p5 reaches beyond extended partition 1"}},
    {"logical-beyond-the-end",
     {{0, 0, 0, 0x05, 100, 100},
      {100, 0, 0, 0x83, 5000, 10},
      {100, 1, 0, 0x05, 50, 50},
      {150, 0, 0, 0x83, 10, 20}},
     "6:160+20",
     {"p5 reaches beyond extended partition 1",
      "p5 starts beyond the end of the disk"}},
    {"logical-over-primary",
     {{0, 0, 0, 0x83, 90, 30},
      {0, 1, 0, 0x05, 100, 100},
      {100, 0, 0, 0x83, 10, 20}},
     "1:90+30 5:110+20",
     {"p1 and p5 overlap"}},

    {"protective-entry-alone",
     {{0, 0, 0, 0xee, 1, 2047}},
     NULL,
     {"both copies of the GPT are bad"}},
    {"protective-entry-and-others",
     {{0, 0, 0, 0xee, 1, 2047}, {0, 2, 0, 0x83, 64, 10}},
     "3:64+10",
     {"both copies of the GPT are bad"}},
    {"strange-flag", {{0, 0, 0x01, 0x83, 64, 10}}, NULL, {NULL}},
};

static struct image *mbr_image(const struct raw *raw, size_t n)
{
    struct image *im = image_new((int64_t)DISK_SECTORS * 512, 512);

    store_le32(im->head + 440, DISK_ID);
    for (size_t i = 0; i < n && raw[i].type; i++) {
        image_put_mbr_entry(image_sector(im, raw[i].lba), raw[i].slot,
                            raw[i].flag, raw[i].type, raw[i].start,
                            raw[i].sectors);
    }
    return im;
}

static char *entries_text(const struct part_table *t)
{
    GString *s = g_string_new(NULL);

    for (size_t i = 0; i < t->n_entries; i++) {
        const struct part_entry *e = &t->entries[i];

        g_string_append_printf(s, "%s%u:%d+%d", i ? " " : "", e->index,
                               (int)(e->offset / t->sector_size),
                               (int)(e->bytes / t->sector_size));
    }
    return g_string_free(s, FALSE);
}

static void test_case(gconstpointer data)
{
    const struct mbr_case *c = data;
    g_autofree struct image *im = mbr_image(c->raw, G_N_ELEMENTS(c->raw));
    struct part_table *t = image_table(im, 0);
    g_autofree char *got = entries_text(t);

    g_assert_cmpstr(part_scheme_name(t->scheme), ==,
                    part_scheme_name(c->want ? PART_MBR : PART_NONE));
    g_assert_cmpstr(got, ==, c->want ? c->want : "");
    image_expect_warnings(t, c->warnings, G_N_ELEMENTS(c->warnings));
    part_table_free(t);
}

static void test_fields(void)
{
    static const struct raw raw[] = {
        {0, 0, 0x80, 0x83, 64, 10},
        {0, 1, 0, 0x05, 100, 100},
        {100, 0, 0, 0x07, 10, 20},
    };
    g_autofree struct image *im = mbr_image(raw, G_N_ELEMENTS(raw));
    struct part_table *t = image_table(im, 512);
    const struct part_entry *e = t->entries;

    g_assert_cmpstr(t->uuid, ==, "deadbeef");
    g_assert_cmpint(t->sector_size, ==, 512);
    g_assert_cmpint((int)t->n_entries, ==, 2);
    g_assert_true(e[0].bootable);
    g_assert_cmpstr(e[0].type, ==, "0x83");
    g_assert_cmpstr(e[0].uuid, ==, "deadbeef-01");
    g_assert_cmpstr(e[0].name, ==, "");
    g_assert_false(e[1].bootable);
    g_assert_cmpstr(e[1].type, ==, "0x07");
    g_assert_cmpstr(e[1].uuid, ==, "deadbeef-05");
    part_table_free(t);
}

/* A disk without a signature has no identifiers to offer. */
static void test_no_signature(void)
{
    static const struct raw raw[] = {{0, 0, 0, 0x83, 64, 10}};
    g_autofree struct image *im = mbr_image(raw, 1);
    struct part_table *t;

    store_le32(im->head + 440, 0);
    t = image_table(im, 0);
    g_assert_cmpstr(t->uuid, ==, "");
    g_assert_cmpint((int)t->n_entries, ==, 1);
    g_assert_cmpstr(t->entries[0].uuid, ==, "");
    part_table_free(t);
}

/* Nothing in an MBR tells its sector size: it is the device's. */
static void test_sectors_of_4096(void)
{
    g_autofree struct image *im = image_new(MiB, 4096);
    struct part_table *t;

    image_put_mbr_entry(im->head, 0, 0, 0x83, 8, 10);
    image_put_mbr_entry(im->head, 1, 0, 0x05, 20, 30);
    image_put_mbr_entry(image_sector(im, 20), 0, 0, 0x83, 2, 3);
    t = image_table(im, 4096);
    g_assert_cmpint(t->sector_size, ==, 4096);
    g_assert_cmpint((int)t->n_entries, ==, 2);
    g_assert_cmpint(t->entries[0].offset, ==, 8 * 4096);
    g_assert_cmpint(t->entries[0].bytes, ==, 10 * 4096);
    g_assert_cmpint(t->entries[1].offset, ==, 22 * 4096);
    part_table_free(t);
}

/* An empty table is one if it has a signature, and else just a boot sector. */
static void test_empty(void)
{
    g_autofree struct image *im = mbr_image(NULL, 0);
    struct part_table *t;

    im->head[510] = 0x55;
    im->head[511] = 0xaa;
    t = image_table(im, 0);
    g_assert_cmpint(t->scheme, ==, PART_MBR);
    g_assert_cmpint((int)t->n_entries, ==, 0);
    part_table_free(t);

    store_le32(im->head + 440, 0);
    t = image_table(im, 0);
    g_assert_cmpint(t->scheme, ==, PART_NONE);
    part_table_free(t);
}

static void test_no_magic(void)
{
    static const struct raw raw[] = {{0, 0, 0, 0x83, 64, 10}};
    g_autofree struct image *im = mbr_image(raw, 1);
    struct part_table *t;

    im->head[510] = 0;
    t = image_table(im, 0);
    g_assert_cmpint(t->scheme, ==, PART_NONE);
    image_expect_warnings(t, NULL, 0);
    part_table_free(t);
}

static void put_fat(uint8_t *sector)
{
    memcpy(sector, "\xeb\x3c\x90mkfs.fat", 11);
    store_le16(sector + 11, 512);
    sector[13] = 4;
    sector[16] = 2;
    sector[21] = 0xf8;
}

static void put_ntfs(uint8_t *sector)
{
    memcpy(sector, "\xeb\x52\x90NTFS    ", 11);
}

static void put_exfat(uint8_t *sector)
{
    memcpy(sector,
           "\xeb\x76\x90"
           "EXFAT   ",
           11);
}

static void put_xfs(uint8_t *sector)
{
    memcpy(sector, "XFSB", 4);
}

/*
 * The boot sector of a file system is no table, unless entries are there that
 * leave the file system's own sector alone and fit on the disk.
 */
static void test_file_systems(void)
{
    static void (*const put[])(uint8_t *) = {put_fat, put_ntfs, put_exfat,
                                             put_xfs};
    static const struct {
        struct raw raw;
        enum part_scheme want;
    } rows[] = {
        {{0, 0, 0, 0x00, 0, 0}, PART_NONE},
        {{0, 0, 0x80, 0x0c, 0, 2048}, PART_NONE},
        {{0, 0, 0, 0x0c, 64, 2048}, PART_NONE},
        {{0, 0, 0x80, 0x0c, 64, 100}, PART_MBR},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(put); i++) {
        for (size_t j = 0; j < G_N_ELEMENTS(rows); j++) {
            g_autofree struct image *im = mbr_image(&rows[j].raw, 1);
            struct part_table *t;

            im->head[510] = 0x55;
            im->head[511] = 0xaa;
            put[i](im->head);
            t = image_table(im, 0);
            g_assert_cmpint(t->scheme, ==, rows[j].want);
            image_expect_warnings(t, NULL, 0);
            part_table_free(t);
        }
    }
}

/* Boot code that begins with a jump but has no FAT parameters is boot code. */
static void test_boot_code(void)
{
    static const struct raw raw[] = {{0, 0, 0, 0x83, 0, 2048}};
    g_autofree struct image *im = mbr_image(raw, 1);
    struct part_table *t;

    memcpy(im->head, "\xeb\x63\x90", 3);
    t = image_table(im, 0);
    g_assert_cmpint(t->scheme, ==, PART_MBR);
    part_table_free(t);
}

/* A long chain is followed for a while. */
static void test_endless_chain(void)
{
    g_autofree struct image *im = image_new(256 * KiB, 512);
    struct part_table *t;

    image_put_mbr_entry(im->head, 0, 0, 0x05, 1, 511);
    for (uint32_t lba = 1; lba < 511; lba++) {
        uint8_t *ebr = image_sector(im, lba);

        image_put_mbr_entry(ebr, 0, 0, 0x83, 1, 1);
        image_put_mbr_entry(ebr, 1, 0, 0x05, lba, 1);
    }
    t = image_table(im, 0);
    g_assert_cmpint((int)t->n_entries, ==, 256);
    g_assert_cmpint(t->entries[255].index, ==, 260);
    g_assert_cmpint((int)t->n_warnings, ==, 1);
    g_assert_nonnull(strstr(t->warnings[0], "more than 256 links"));
    part_table_free(t);
}

/* Chains together do not give more logical partitions than one may. */
static void test_too_many_logical(void)
{
    g_autofree struct image *im = image_new(256 * KiB, 512);
    struct part_table *t;

    image_put_mbr_entry(im->head, 0, 0, 0x05, 1, 250);
    image_put_mbr_entry(im->head, 1, 0, 0x05, 251, 250);
    for (uint32_t lba = 1; lba < 501; lba++) {
        uint8_t *ebr = image_sector(im, lba);

        image_put_mbr_entry(ebr, 0, 0, 0x83, 0, 1);
        if (lba != 250 && lba != 500) {
            image_put_mbr_entry(ebr, 1, 0, 0x05, lba < 251 ? lba : lba - 250,
                                1);
        }
    }
    t = image_table(im, 0);
    g_assert_cmpint((int)t->n_entries, ==, 256);
    g_assert_nonnull(strstr(t->warnings[0], "after p260 are too many"));
    part_table_free(t);
}

static void test_unreadable_link(void)
{
    static const struct raw raw[] = {
        {0, 0, 0, 0x05, 100, 100},
        {100, 0, 0, 0x83, 10, 20},
        {100, 1, 0, 0x05, 50, 50},
    };
    static const char *const warnings[] = {
        "extended partition 1: cannot read sector 150: Input/output error"};
    g_autofree struct image *im = mbr_image(raw, G_N_ELEMENTS(raw));
    struct part_table *t;

    im->bad_offset = 150 * 512;
    t = image_table(im, 0);
    g_assert_cmpint((int)t->n_entries, ==, 1);
    image_expect_warnings(t, warnings, 1);
    part_table_free(t);
}

static void test_any_size(void)
{
    static const struct raw raw[] = {
        {0, 0, 0, 0x05, 2, 100},
        {2, 0, 0, 0x83, 1, 20},
        {2, 1, 0, 0x05, 4, 50},
    };
    g_autofree struct image *im = mbr_image(raw, G_N_ELEMENTS(raw));

    for (int64_t size = 0; size < 10 * KiB; size += 61) {
        im->size = size;
        part_table_free(image_table(im, 0));
        part_table_free(image_table(im, 4096));
    }
}

/* Random chains in a small area, with random damage, break no rule. */
static void test_mutations(void)
{
    g_autofree struct image *im = image_new(MiB, 512);

    for (int round = 0; round < 5000; round++) {
        int n = g_test_rand_int_range(1, 30);

        memset(im->head, 0, 32 * 512);
        image_put_mbr_entry(im->head, 1, 0, 0x05, 2, 20);
        while (n-- > 0) {
            static const uint8_t types[] = {0, 5, 0x0f, 0x83, 0xee};
            uint32_t start = (uint32_t)g_test_rand_int_range(0, 20);
            uint32_t sectors = (uint32_t)g_test_rand_int();

            if (g_test_rand_bit()) {
                start = (uint32_t)g_test_rand_int();
            }
            sectors >>= g_test_rand_int_range(0, 32);
            image_put_mbr_entry(image_sector(im, g_test_rand_int_range(0, 20)),
                                g_test_rand_int_range(0, 4), 0,
                                types[g_test_rand_int_range(0, 5)], start,
                                sectors);
        }
        im->n_reads = 0;
        part_table_free(image_table(im, 0));
        g_assert_cmpint(im->n_reads, <, 1200);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strconcat("/mbr/", cases[i].name, NULL);

        g_test_add_data_func(path, &cases[i], test_case);
    }
    g_test_add_func("/mbr/fields", test_fields);
    g_test_add_func("/mbr/no-signature", test_no_signature);
    g_test_add_func("/mbr/sectors-of-4096", test_sectors_of_4096);
    g_test_add_func("/mbr/empty", test_empty);
    g_test_add_func("/mbr/no-magic", test_no_magic);
    g_test_add_func("/mbr/file-systems", test_file_systems);
    g_test_add_func("/mbr/boot-code", test_boot_code);
    g_test_add_func("/mbr/endless-chain", test_endless_chain);
    g_test_add_func("/mbr/too-many-logical", test_too_many_logical);
    g_test_add_func("/mbr/unreadable-link", test_unreadable_link);
    g_test_add_func("/mbr/any-size", test_any_size);
    g_test_add_func("/mbr/mutations", test_mutations);
    return g_test_run();
}
