/* SPDX-License-Identifier: MIT */

#include "part/text.h"

#include <glib.h>

#include "base/endian.h"

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

/* The character at @unit, which may use a second unit before @end. */
static gunichar part_utf16_char(const uint8_t *unit, const uint8_t *end,
                                int *used)
{
    gunichar c = load_le16(unit);
    gunichar low;

    *used = 2;
    if (is_low_surrogate(c)) {
        return 0xfffd;
    }
    if (!is_high_surrogate(c)) {
        return c;
    }
    low = unit + 2 < end ? load_le16(unit + 2) : 0;
    if (!is_low_surrogate(low)) {
        return 0xfffd;
    }
    *used = 4;
    return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
}

void part_name_text(const uint8_t units[72], char ret[PART_NAME_SIZE])
{
    const uint8_t *end = units + 72;
    int used;

    for (const uint8_t *unit = units; unit < end; unit += used) {
        gunichar c = part_utf16_char(unit, end, &used);

        if (c == 0) {
            break;
        }
        ret += g_unichar_to_utf8(c, ret);
    }
    *ret = '\0';
}
