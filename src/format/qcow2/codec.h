/* SPDX-License-Identifier: MIT */
/*
 * codec: compression of one cluster.  Pure: memory to memory.
 *
 * Input is untrusted: what is broken gives an error, and the memory that it
 * makes a decoder take is bounded.
 *
 * Threading: a codec is used by one thread at a time.
 */
#ifndef FORMAT_QCOW2_CODEC_H
#define FORMAT_QCOW2_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "format/qcow2/header.h"

struct codec;

/* NULL when there is no memory. */
struct codec *codec_new(enum qcow2_compression type);
void codec_free(struct codec *c); /* NULL is fine */

/* Compresses @n bytes to at most @room bytes at @dst.  Returns how many, or 0
 * when they do not fit, or -ENOMEM. */
nodiscard int64_t codec_pack(struct codec *c, const void *src, size_t n,
                             void *dst, size_t room);
/* Makes exactly @n bytes at @dst of what begins at @src; bytes behind the end
 * of the compressed data are ignored.  Returns 0, -EIO, or -ENOMEM. */
nodiscard int codec_unpack(struct codec *c, const void *src, size_t room,
                           void *dst, size_t n);

#endif /* FORMAT_QCOW2_CODEC_H */
