/* SPDX-License-Identifier: MIT */
/*
 * nearest: which known names a mistyped one may have meant.  Pure.
 */
#ifndef CMD_NEAREST_H
#define CMD_NEAREST_H

#include <stddef.h>

/*
 * Returns "; did you mean a or b?" for those of @names (@n of them, NULLs are
 * skipped) that are close to @typed, best first and at most three, or "" when
 * none is.  g_free() it.
 */
char *nearest_hint(const char *typed, const char *const *names, size_t n);

/* How many insertions, deletions, replacements and swaps of neighbours turn
 * @a into @b.  Only the first 32 bytes count. */
unsigned edit_distance(const char *a, const char *b);

#endif /* CMD_NEAREST_H */
