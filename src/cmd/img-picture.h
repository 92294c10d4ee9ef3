/* SPDX-License-Identifier: MIT */
/*
 * img-picture: an image in one line: what is data, zeroes and holes.
 */
#ifndef CMD_IMG_PICTURE_H
#define CMD_IMG_PICTURE_H

#include <stdint.h>

#include "co/co.h"

struct node;

/* What there is in one column of the line. */
enum picture_flags {
    PICTURE_DATA = 1 << 0,
    PICTURE_ZERO = 1 << 1, /* allocated zeroes */
    PICTURE_HOLE = 1 << 2,
};

/* One character for a set of enum picture_flags.  Pure. */
char picture_char(unsigned flags);

/*
 * A line of @columns characters for people, with a legend and a newline, or
 * NULL when the image cannot say.  Looks at few places only.  g_free() it.
 */
char *co_fn picture_co_draw(struct node *node, int columns);

#endif /* CMD_IMG_PICTURE_H */
