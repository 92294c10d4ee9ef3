/* SPDX-License-Identifier: MIT */

#include "base/iov.h"

#include <assert.h>
#include <string.h>

#include "base/align.h"

struct iovs iovs_one(struct iovec *iov, void *base, int64_t bytes)
{
    iov->iov_base = base;
    iov->iov_len = (size_t)bytes;
    return (struct iovs){.iov = iov, .n = 1, .bytes = bytes};
}

struct iovs iovs_of(const struct iovec *iov, int n)
{
    struct iovs v = {.iov = iov, .n = n};

    for (int i = 0; i < n; i++) {
        v.bytes += (int64_t)iov[i].iov_len;
    }
    return v;
}

/* Walks the pieces of a view that make up a range of it. */
struct iov_cursor {
    const struct iovec *iov;
    int64_t skip; /* bytes of *iov that lie before the range */
    int64_t left; /* bytes of the range still to come */
};

static struct iov_cursor cursor_start(const struct iovs *v, int64_t offset,
                                      int64_t bytes)
{
    struct iov_cursor c = {.iov = v->iov, .skip = offset, .left = bytes};

    assert(range_ok(offset, bytes, v->bytes));
    while (c.left > 0 && c.skip >= (int64_t)c.iov->iov_len) {
        c.skip -= (int64_t)c.iov->iov_len;
        c.iov++;
    }
    return c;
}

static bool cursor_next(struct iov_cursor *c, struct iovec *piece)
{
    while (c->left > 0 && c->iov->iov_len == 0) {
        c->iov++;
    }
    if (c->left == 0) {
        return false;
    }
    piece->iov_base = (char *)c->iov->iov_base + c->skip;
    piece->iov_len =
        (size_t)min_i64((int64_t)c->iov->iov_len - c->skip, c->left);
    c->left -= (int64_t)piece->iov_len;
    c->skip = 0;
    c->iov++;
    return true;
}

int iovs_count(const struct iovs *src, int64_t offset, int64_t bytes)
{
    struct iov_cursor c = cursor_start(src, offset, bytes);
    struct iovec piece;
    int n = 0;

    while (cursor_next(&c, &piece)) {
        n++;
    }
    return n;
}

int iovs_slice(const struct iovs *src, int64_t offset, int64_t bytes,
               struct iovec *out)
{
    struct iov_cursor c = cursor_start(src, offset, bytes);
    int n = 0;

    while (cursor_next(&c, &out[n])) {
        n++;
    }
    return n;
}

void iovs_to_buf(const struct iovs *src, int64_t offset, void *buf,
                 int64_t bytes)
{
    struct iov_cursor c = cursor_start(src, offset, bytes);
    struct iovec piece;
    char *out = buf;

    while (cursor_next(&c, &piece)) {
        memcpy(out, piece.iov_base, piece.iov_len);
        out += piece.iov_len;
    }
}

void iovs_from_buf(const struct iovs *dst, int64_t offset, const void *buf,
                   int64_t bytes)
{
    struct iov_cursor c = cursor_start(dst, offset, bytes);
    struct iovec piece;
    const char *in = buf;

    while (cursor_next(&c, &piece)) {
        memcpy(piece.iov_base, in, piece.iov_len);
        in += piece.iov_len;
    }
}

void iovs_memset(const struct iovs *dst, int64_t offset, int byte,
                 int64_t bytes)
{
    struct iov_cursor c = cursor_start(dst, offset, bytes);
    struct iovec piece;

    while (cursor_next(&c, &piece)) {
        memset(piece.iov_base, byte, piece.iov_len);
    }
}

bool iovs_is_zero(const struct iovs *src)
{
    for (int i = 0; i < src->n; i++) {
        if (!buf_is_zero(src->iov[i].iov_base, (int64_t)src->iov[i].iov_len)) {
            return false;
        }
    }
    return true;
}

bool iovs_is_aligned(const struct iovs *src, int64_t mem_align,
                     int64_t len_align)
{
    for (int i = 0; i < src->n; i++) {
        if (!ptr_is_aligned(src->iov[i].iov_base, mem_align) ||
            !is_aligned((int64_t)src->iov[i].iov_len, len_align)) {
            return false;
        }
    }
    return true;
}

bool buf_is_zero(const void *buf, int64_t bytes)
{
    const char *p = buf;

    /* A buffer whose first 16 bytes are zero, and which equals itself shifted
     * by 16, is zero throughout; memcmp() runs at memory speed. */
    if (bytes < 16) {
        for (int64_t i = 0; i < bytes; i++) {
            if (p[i]) {
                return false;
            }
        }
        return true;
    }
    return memcmp(p, (const char[16]){0}, 16) == 0 &&
           memcmp(p, p + 16, (size_t)bytes - 16) == 0;
}
