/* SPDX-License-Identifier: MIT */
/*
 * part: GUIDs, names and checksums of GPT.
 */
#include <glib.h>
#include <string.h>

#include "base/endian.h"
#include "part/crc32.h"
#include "part/text.h"

static void test_names(void)
{
    static const struct {
        const char *want;
        uint16_t units[37];
    } rows[] = {
        {"", {0, 'x'}},
        {"a/b\n", {'a', '/', 'b', '\n'}},
        {"\xef\xbf\xbfz", {0xffff, 'z'}},
        {"\xf0\x90\x80\x80", {0xd800, 0xdc00}},
        {"\xf4\x8f\xbf\xbf", {0xdbff, 0xdfff}},
        {"\xef\xbf\xbdz", {0xd800, 'z'}},
        {"\xef\xbf\xbdz", {0xdc00, 'z'}},
        {"\xef\xbf\xbd\xf0\x90\x80\x80", {0xd800, 0xd800, 0xdc00}},
        {"\xef\xbf\xbd", {0xdbff}},
        {"123456789012345678901234567890123456",
         {'1', '2', '3', '4', '5', '6', '7', '8', '9', '0', '1', '2', '3',
          '4', '5', '6', '7', '8', '9', '0', '1', '2', '3', '4', '5', '6',
          '7', '8', '9', '0', '1', '2', '3', '4', '5', '6', '!'}},
        {"12345678901234567890123456789012345\xef\xbf\xbd",
         {'1', '2', '3', '4', '5', '6', '7', '8', '9', '0',    '1',   '2', '3',
          '4', '5', '6', '7', '8', '9', '0', '1', '2', '3',    '4',   '5', '6',
          '7', '8', '9', '0', '1', '2', '3', '4', '5', 0xd800, 0xdc00}},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        uint8_t raw[74];
        char got[PART_NAME_SIZE];

        for (int u = 0; u < 37; u++) {
            store_le16(raw + 2 * u, rows[i].units[u]);
        }
        part_name_text(raw, got);
        g_assert_cmpstr(got, ==, rows[i].want);
    }
}

/* 36 characters of three bytes fill the name exactly. */
static void test_longest_name(void)
{
    uint8_t raw[72];
    char got[PART_NAME_SIZE];

    memset(raw, 0xff, sizeof(raw));
    part_name_text(raw, got);
    g_assert_cmpint((int)strlen(got), ==, PART_NAME_SIZE - 1);
}

static void test_guid(void)
{
    static const uint8_t raw[16] = {0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84,
                                    0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69,
                                    0xd8, 0x47, 0x7d, 0xe4};
    char got[PART_UUID_SIZE];

    part_guid_text(raw, got);
    g_assert_cmpstr(got, ==, "0fc63daf-8483-4772-8e79-3d69d8477de4");
}

static void test_crc32(void)
{
    g_assert_cmphex(crc32_of("123456789", 9), ==, 0xcbf43926);
    g_assert_cmphex(crc32_of("", 0), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/part-text/names", test_names);
    g_test_add_func("/part-text/longest-name", test_longest_name);
    g_test_add_func("/part-text/guid", test_guid);
    g_test_add_func("/part-text/crc32", test_crc32);
    return g_test_run();
}
