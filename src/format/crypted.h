/* SPDX-License-Identifier: MIT */
/*
 * crypted: reads and writes data that are stored encrypted.
 *
 * Each sector of 512 bytes is encrypted by itself, with its number.  Long
 * requests are cut in pieces that are encrypted and decrypted beside each
 * other, in the thread pool.
 *
 * Units:     bytes; offsets are multiples of CIPHER_SECTOR.
 * Errors:    negative errno.
 * Threading: coroutines of any loop; the cipher is only read.
 */
#ifndef FORMAT_CRYPTED_H
#define FORMAT_CRYPTED_H

#include <stdint.h>

#include "base/compiler.h"
#include "base/iov.h"
#include "co/co.h"

struct cipher;
struct node;

/*
 * Reads the sectors at @offset of @node, which are numbered as if they were at
 * @position, into @dst.  What is past the end of @node counts as zeroes,
 * encrypted like everything else.
 */
nodiscard int co_fn crypted_co_read(struct node *node,
                                    const struct cipher *cipher, int64_t offset,
                                    int64_t position, const struct iovs *dst);

/* Writes @src, whose memory stays as it is.  A last sector that is not whole
 * is filled with zeroes. */
nodiscard int co_fn crypted_co_write(struct node *node,
                                     const struct cipher *cipher,
                                     int64_t offset, int64_t position,
                                     const struct iovs *src);

#endif /* FORMAT_CRYPTED_H */
