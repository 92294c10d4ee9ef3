/* SPDX-License-Identifier: MIT */
/*
 * blkverify: a filter that holds an image against a plain copy of what it
 * should contain.
 *
 *   raw.…    the copy: a file, byte by byte
 *   test.…   the image; test.filename= alone: its format is looked up
 *
 * The name blkverify:RAW:TEST stands for raw.filename=RAW,test.filename=TEST.
 *
 * What is written goes to both.  What is read is read from both; data that
 * differ make the read fail with -EIO.  The length is the image's.
 *
 * Threading: any loop.
 */
#ifndef FORMAT_BLKVERIFY_H
#define FORMAT_BLKVERIFY_H

#include <stdbool.h>
#include <stdint.h>

struct driver;
struct node;

extern const struct driver driver_blkverify;

/* A read that found the two to differ. */
struct blkverify_mismatch {
    int64_t offset, bytes; /* of the request */
    int64_t at;            /* the first byte that differs */
};

/* Takes the first mismatch that the first blkverify node at or below @root has
 * found since the last time.  Returns whether there was one. */
bool blkverify_take_mismatch(struct node *root, struct blkverify_mismatch *ret);

#endif /* FORMAT_BLKVERIFY_H */
