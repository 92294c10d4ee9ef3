/* SPDX-License-Identifier: MIT */
/*
 * crc32: the checksum of GPT, the CRC-32 of IEEE 802.3 (reflected 0xedb88320).
 */
#ifndef PART_CRC32_H
#define PART_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of @bytes at @data; of "123456789" it is 0xcbf43926. */
uint32_t crc32_of(const void *data, size_t bytes);

#endif /* PART_CRC32_H */
