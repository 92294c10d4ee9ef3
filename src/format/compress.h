/* SPDX-License-Identifier: MIT */
/*
 * compress: a filter above an image whose format can compress: all that is
 * written is.
 *
 * A write of part of a cluster reads the rest of it and compresses the whole;
 * this is for images that are filled once and read often.  Writes of zeroes,
 * and discards, are passed on as they are.
 */
#ifndef FORMAT_COMPRESS_H
#define FORMAT_COMPRESS_H

struct driver;

extern const struct driver driver_compress;

#endif /* FORMAT_COMPRESS_H */
