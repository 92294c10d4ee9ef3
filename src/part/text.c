/* SPDX-License-Identifier: MIT */

#include "part/text.h"

#include <glib.h>

#include "base/endian.h"

#define NAME_UNITS 36
#define NAME_BYTES (2 * NAME_UNITS)

void part_guid_text(const uint8_t g[16], char ret[PART_UUID_SIZE])
{
    g_snprintf(ret, PART_UUID_SIZE,
               "%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x", load_le32(g),
               load_le16(g + 4), load_le16(g + 6), g[8], g[9], g[10], g[11],
               g[12], g[13], g[14], g[15]);
}

static bool is_high_surrogate(gunichar c)
{
    return c >= 0xd800 && c <= 0xdbff;
}

static bool is_low_surrogate(gunichar c)
{
    return c >= 0xdc00 && c <= 0xdfff;
}

/* The character at @units, NAME_BYTES in all; *@used is 1 or 2 units. */
static gunichar part_utf16_char(const uint8_t *units, int at, int *used)
{
    gunichar c = load_le16(units + 2 * at);
    gunichar low;

    *used = 1;
    if (is_low_surrogate(c)) {
        return 0xfffd;
    }
    if (!is_high_surrogate(c)) {
        return c;
    }
    low = at + 1 < NAME_UNITS ? load_le16(units + 2 * at + 2) : 0;
    if (!is_low_surrogate(low)) {
        return 0xfffd;
    }
    *used = 2;
    return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
}

void part_name_text(const uint8_t units[NAME_BYTES], char ret[PART_NAME_SIZE])
{
    int used;

    for (int at = 0; at < NAME_UNITS; at += used) {
        gunichar c = part_utf16_char(units, at, &used);

        if (c == 0) {
            break;
        }
        ret += g_unichar_to_utf8(c, ret);
    }
    *ret = '\0';
}
