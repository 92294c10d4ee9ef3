/* SPDX-License-Identifier: MIT */
/*
 * disk: a disk that fits in a small input of a fuzz target.
 *
 * The input is a header of 8 bytes and patches on a disk full of zeroes, all
 * little-endian:
 *
 *   header  sectors of 512 bytes: 4, bytes after them: 1, hint of the sector
 *           size: 1 (modulo 3: none, 512, 4096), flags of the target: 1,
 *           which read fails: 1 (0: none)
 *   patch   sector: 4, offset: 2, length: 2, then the bytes
 *
 * A sector with its top bit set counts from the end: 0x80000001 is the last
 * one.  Later patches win.  What does not fit is cut.  disk.py turns images
 * into inputs and back.
 */
#ifndef TEST_FUZZ_DISK_H
#define TEST_FUZZ_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "part/part.h"

#define FUZZ_MAX_FIXES 8

struct fuzz_disk {
    int64_t size;
    int sector_size; /* 0, 512 or 4096 */
    unsigned flags;
    int bad_read; /* this one fails, counting from 1 */
    int n_reads;

    const uint8_t *patches; /* not owned */
    size_t patch_bytes;

    struct {
        int64_t offset;
        uint8_t bytes[4];
    } fix[FUZZ_MAX_FIXES]; /* patches of the target, after those of the input */
    int n_fixes;
};

/* One of the patches: where it is, and the bytes. */
struct fuzz_patch {
    int64_t offset; /* negative if it begins before the disk does */
    const uint8_t *bytes;
    int64_t n;
    const uint8_t *next; /* internal: where the next one is */
};

/* Takes an input apart; false if it is too short to be one. */
bool fuzz_disk_init(struct fuzz_disk *d, const uint8_t *data, size_t bytes);

/* Goes through the patches; @p->next begins as NULL.  False at the end. */
bool fuzz_disk_next(const struct fuzz_disk *d, struct fuzz_patch *p);

/* Reads what is on the disk; the range must lie on it. */
void fuzz_disk_peek(const struct fuzz_disk *d, int64_t offset, void *buf,
                    int64_t bytes);

/* Reads as a part_read_fn does, and fails with -EIO where the input says so. */
int fuzz_disk_read(void *disk, int64_t offset, void *buf, int64_t bytes);

/* Puts a little-endian number on the disk, above what the input says. */
void fuzz_disk_fix_le32(struct fuzz_disk *d, int64_t offset, uint32_t value);

/*
 * Reads the table of @d through @read, a part_read_fn with @d for its opaque,
 * and aborts if it breaks a rule.
 */
void fuzz_part_table(struct fuzz_disk *d, part_read_fn *read);

#endif /* TEST_FUZZ_DISK_H */
