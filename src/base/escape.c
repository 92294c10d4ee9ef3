/* SPDX-License-Identifier: MIT */

#include "base/escape.h"

#include <glib.h>
#include <string.h>

#define ESCAPE_BYTES 4 /* \xNN */

/* How many bytes at @p, one character, may stay as they are; 0 if none. */
static size_t escape_plain_bytes(const char *p)
{
    gunichar c;

    if ((unsigned char)*p < 0x80) {
        return g_ascii_isalnum(*p) || strchr("#+-.:=@_", *p) ? 1 : 0;
    }
    c = g_utf8_get_char_validated(p, -1);
    if (c == (gunichar)-1 || c == (gunichar)-2 || g_unichar_iscntrl(c)) {
        return 0;
    }
    return (size_t)(g_utf8_next_char(p) - p);
}

bool escape_name(const char *name, char ret[ESCAPE_NAME_MAX + 1])
{
    bool dots = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
    size_t used = 0;

    for (const char *p = name; *p;) {
        size_t plain = dots ? 0 : escape_plain_bytes(p);

        if (used + (plain ? plain : ESCAPE_BYTES) > ESCAPE_NAME_MAX) {
            break;
        }
        if (plain) {
            memcpy(ret + used, p, plain);
            used += plain;
            p += plain;
        } else {
            g_snprintf(ret + used, ESCAPE_BYTES + 1, "\\x%02x",
                       (unsigned char)*p);
            used += ESCAPE_BYTES;
            p++;
        }
    }
    ret[used] = '\0';
    return used > 0;
}
