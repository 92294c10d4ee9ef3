/* SPDX-License-Identifier: MIT */
/*
 * same_file: do two names mean one file, also by links?
 *
 * Used before a file is emptied or written to that must not be read as well.
 */
#ifndef BASE_SAME_FILE_H
#define BASE_SAME_FILE_H

#include <stdbool.h>

/* True also for two names of one device, and for equal names of no file. */
bool same_file(const char *a, const char *b);

#endif /* BASE_SAME_FILE_H */
