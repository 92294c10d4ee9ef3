/* SPDX-License-Identifier: MIT */

#include "cmd/img-picture.h"

#include <glib.h>

#include "base/align.h"
#include "cmd/cmd.h"
#include "tool/extent.h"
#include "tool/open.h"

/* A column that is more fragmented than this is drawn from its beginning. */
#define MAX_LOOKS 32
#define MIN_CELLS 16

static const char legend_ascii[] = "]  # data  + some  0 zeroes  . hole\n";
static const char legend_unicode[] = "]  █ data  ░ zeroes  · hole\n";

const char *picture_cell(const struct picture_column *column, bool unicode)
{
    static const char *const bars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇"};
    int64_t all = column->data + column->zero + column->hole;

    if (column->data > 0 && column->data == all) {
        return unicode ? "█" : "#";
    }
    if (column->data > 0) {
        double share = (double)column->data / (double)all;

        return unicode ? bars[(size_t)(share * G_N_ELEMENTS(bars))] : "+";
    }
    if (column->zero > 0) {
        return unicode ? "░" : "0";
    }
    return unicode ? "·" : ".";
}

/* Zeroes are what an image says they are, or has room for; a hole of the
 * host's file is neither. */
static void column_add(struct picture_column *column, const struct extent *e)
{
    if (e->data && !e->zero) {
        column->data += e->bytes;
    } else if (e->data || (e->present && e->map < 0)) {
        column->zero += e->bytes;
    } else {
        column->hole += e->bytes;
    }
}

/* What is in [@offset, @end): 0 or a negative errno. */
static int co_fn look(struct extent_cursor *c, int64_t offset, int64_t end,
                      struct picture_column *ret)
{
    *ret = (struct picture_column){.data = 0};
    for (int i = 0; offset < end && i < MAX_LOOKS; i++) {
        struct extent e;
        int rc = extent_cursor_co_at(c, offset, end, &e); /* yields */

        if (rc < 0) {
            return rc;
        }
        column_add(ret, &e);
        offset += e.bytes;
    }
    return 0;
}

/* How many cells fit beside *@legend, which is left out where few would. */
static int count_cells(const char **legend)
{
    /* The newline of the legend makes up for the bracket on the left; the last
     * column stays free, as some terminals go to the next line there. */
    int width = cmd_columns() - 1;
    int cells = width - (int)g_utf8_strlen(*legend, -1);

    if (cells < MIN_CELLS) {
        *legend = "]\n";
        cells = MAX(width - 2, 1);
    }
    return cells;
}

char *co_fn picture_co_draw(struct node *node)
{
    bool unicode = g_get_charset(NULL);
    const char *legend = unicode ? legend_unicode : legend_ascii;
    g_autoptr(GString) line = g_string_new("[");
    struct extent_cursor cursor = {.node = node};
    int64_t length = tool_length(node);
    int cells = count_cells(&legend);
    /* Whole sectors per cell; small images have fewer cells. */
    int64_t step = align_up((length + cells - 1) / cells, 512);

    for (int64_t at = 0; at < length; at += step) {
        struct picture_column column;

        if (look(&cursor, at, min_i64(at + step, length), &column) < 0) {
            return NULL;
        }
        g_string_append(line, picture_cell(&column, unicode));
    }
    g_string_append(line, legend);
    return g_strdup(line->str);
}
