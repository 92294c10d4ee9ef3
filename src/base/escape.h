/* SPDX-License-Identifier: MIT */
/*
 * escape: turns names that a disk chose (labels, partition names) into file
 * names, spelt as udev spells those in /dev/disk/by-label/.
 *
 * Pure; any thread.
 */
#ifndef BASE_ESCAPE_H
#define BASE_ESCAPE_H

#include <stdbool.h>

#include "base/compiler.h"

#define ESCAPE_NAME_MAX 255 /* the longest file name, without its NUL */

/*
 * Writes @name, any bytes, as one safe path component: ASCII letters, digits,
 * the characters # + - . : = @ _ and valid UTF-8 characters beyond ASCII stay
 * as they are; each other byte becomes \xNN.  So do the dots of "." and "..",
 * and control characters beyond ASCII, which udev leaves alone.
 *
 * A name that would get too long is cut between two characters, so different
 * names may give the same result.  Returns false, with @ret "", when @name is
 * empty.
 */
nodiscard bool escape_name(const char *name, char ret[ESCAPE_NAME_MAX + 1]);

#endif /* BASE_ESCAPE_H */
