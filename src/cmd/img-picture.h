/* SPDX-License-Identifier: MIT */
/*
 * img-picture: an image in one line: what is data, zeroes and holes.
 *
 *   [####++++++++....0000....]  # data  + some  0 zeroes  . hole
 *
 * Where the terminal has Unicode, a column with some data is a bar as high as
 * its share of data.
 */
#ifndef CMD_IMG_PICTURE_H
#define CMD_IMG_PICTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "co/co.h"

struct node;

/* What was seen in one column of the line, in bytes. */
struct picture_column {
    int64_t data;
    int64_t zero; /* recorded as such, or allocated */
    int64_t hole;
};

/* What stands for @column: one character of ASCII, or of Unicode in UTF-8.
 * Pure. */
const char *picture_cell(const struct picture_column *column, bool unicode);

/*
 * A line for people that fits the terminal, with a newline and, where there is
 * room, a legend, or
 * NULL when the image cannot say.  Looks at few places only.  g_free() it.
 */
char *co_fn picture_co_draw(struct node *node);

#endif /* CMD_IMG_PICTURE_H */
