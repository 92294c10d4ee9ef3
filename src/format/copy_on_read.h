/* SPDX-License-Identifier: MIT */
/*
 * copy-on-read: a filter above an image with backing files: what is read from
 * one of them is written to the image, so that it is there next time.
 *
 * A read that cannot be kept fails.
 */
#ifndef FORMAT_COPY_ON_READ_H
#define FORMAT_COPY_ON_READ_H

struct driver;

extern const struct driver driver_copy_on_read;

#endif /* FORMAT_COPY_ON_READ_H */
