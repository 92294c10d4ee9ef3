/* SPDX-License-Identifier: MIT */
/*
 * iov: a scattered buffer and what the block layer does with it.
 *
 * A struct iovs is a view: it owns neither the array nor the memory.  It is
 * small, passed by pointer to const, and never changed by a callee, so one
 * buffer can be seen through several views at once (fragments, padding).
 */
#ifndef BASE_IOV_H
#define BASE_IOV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/compiler.h"

struct iovs {
    const struct iovec *iov;
    int n;
    int64_t bytes; /* sum of all iov_len */
};

/* A view of one buffer; @iov is the caller's storage for the one element. */
struct iovs iovs_one(struct iovec *iov, void *base, int64_t bytes);

/* A view of @n elements of @iov. */
struct iovs iovs_of(const struct iovec *iov, int n);

/* How many elements of @src the range [@offset, @offset + @bytes) touches. */
int iovs_count(const struct iovs *src, int64_t offset, int64_t bytes);

/*
 * Fills @out with the elements of @src that make up [@offset, @offset + @bytes)
 * and returns how many they are; @out has room for iovs_count() of them.
 */
int iovs_slice(const struct iovs *src, int64_t offset, int64_t bytes,
               struct iovec *out);

/* Copies @bytes from @src at @offset to @buf, and the other way round. */
void iovs_to_buf(const struct iovs *src, int64_t offset, void *buf,
                 int64_t bytes);
void iovs_from_buf(const struct iovs *dst, int64_t offset, const void *buf,
                   int64_t bytes);

/* Fills @bytes of @dst at @offset with @byte. */
void iovs_memset(const struct iovs *dst, int64_t offset, int byte,
                 int64_t bytes);

/* Are all bytes of @src zero? */
bool iovs_is_zero(const struct iovs *src);

/* Do all elements start at, and have lengths of, multiples of @align? */
bool iovs_is_aligned(const struct iovs *src, int64_t mem_align,
                     int64_t len_align);

/* Are all @bytes at @buf zero? */
bool buf_is_zero(const void *buf, int64_t bytes);

#endif /* BASE_IOV_H */
