/* SPDX-License-Identifier: MIT */

#include "cmd/img-picture.h"

#include <glib.h>

#include "base/align.h"
#include "tool/extent.h"
#include "tool/open.h"

/* A column that is more fragmented than this is drawn from its beginning. */
#define MAX_LOOKS 32

char picture_char(unsigned flags)
{
    if ((flags & PICTURE_DATA) && (flags & (PICTURE_ZERO | PICTURE_HOLE))) {
        return '+';
    }
    if (flags & PICTURE_DATA) {
        return '#';
    }
    return flags & PICTURE_ZERO ? '0' : '.';
}

static unsigned flags_of(const struct extent *e)
{
    if (e->data && !e->zero) {
        return PICTURE_DATA;
    }
    return e->data ? PICTURE_ZERO : PICTURE_HOLE;
}

/* What is in [@offset, @end): 0 or a negative errno. */
static int co_fn look(struct extent_cursor *c, int64_t offset, int64_t end,
                      unsigned *flags)
{
    *flags = 0;
    for (int i = 0; offset < end && i < MAX_LOOKS; i++) {
        struct extent e;
        int rc = extent_cursor_co_at(c, offset, end, &e); /* yields */

        if (rc < 0) {
            return rc;
        }
        *flags |= flags_of(&e);
        offset += e.bytes;
    }
    return 0;
}

char *co_fn picture_co_draw(struct node *node, int columns)
{
    g_autoptr(GString) line = g_string_new("[");
    struct extent_cursor cursor = {.node = node};
    int64_t length = tool_length(node);
    /* Whole sectors per column; small images have fewer columns. */
    int64_t step = align_up(length / columns + 1, 512);

    for (int64_t at = 0; at < length; at += step) {
        unsigned flags;

        if (look(&cursor, at, min_i64(at + step, length), &flags) < 0) {
            return NULL;
        }
        g_string_append_c(line, picture_char(flags));
    }
    g_string_append(line, "]  # data  0 zeroes  + both  . hole\n");
    return g_strdup(line->str);
}
