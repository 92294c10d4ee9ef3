/* SPDX-License-Identifier: MIT */
/*
 * text: GUIDs and UTF-16 names of GPT as text.
 */
#ifndef PART_TEXT_H
#define PART_TEXT_H

#include <stdint.h>

#include "part/part.h"

/*
 * Writes the 16 bytes at @g in lower case.  The first three groups are
 * little-endian on disk.
 */
void part_guid_text(const uint8_t g[16], char ret[PART_UUID_SIZE]);

/*
 * Writes the name of 36 UTF-16LE units at @units, which ends early at a zero
 * unit, as UTF-8.  A surrogate without its partner becomes U+FFFD.
 */
void part_name_text(const uint8_t units[72], char ret[PART_NAME_SIZE]);

#endif /* PART_TEXT_H */
