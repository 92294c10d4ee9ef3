/* SPDX-License-Identifier: MIT */

#include "format/crypted.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "block/node.h"
#include "crypt/cipher.h"
#include "engine/engine.h"
#include "format/fan.h"
#include "loop/loop.h"

/* What is done at once.  Below INLINE_BYTES, going to another thread and back
 * takes longer than the work. */
#define PIECE        (256 * KiB)
#define INLINE_BYTES (128 * KiB)

/* -- Decrypting in place -------------------------------------------------- */

/* A sector that lies in more than one element of the vector. */
static void decrypt_split(const struct cipher *c, int64_t position,
                          const struct iovs *v, int64_t at)
{
    uint8_t buf[CIPHER_SECTOR];

    iovs_to_buf(v, at, buf, sizeof(buf));
    cipher_decrypt(c, position, buf, buf, sizeof(buf));
    iovs_from_buf(v, at, buf, sizeof(buf));
}

static void decrypt_iovs(const struct cipher *c, int64_t position,
                         const struct iovs *v)
{
    int64_t at = 0;  /* what is done */
    int64_t end = 0; /* of the elements so far */

    for (int i = 0; i < v->n; i++) {
        uint8_t *base = v->iov[i].iov_base;
        int64_t skip = at - end;
        int64_t whole =
            align_down((int64_t)v->iov[i].iov_len - skip, CIPHER_SECTOR);

        end += (int64_t)v->iov[i].iov_len;
        if (whole > 0) {
            cipher_decrypt(c, position + at, base + skip, base + skip, whole);
            at += whole;
        }
        if (at < end) {
            decrypt_split(c, position + at, v, at);
            at += CIPHER_SECTOR;
        }
    }
}

/* -- One piece ------------------------------------------------------------ */

/* A part of a request that is done at once. */
struct piece {
    struct node *node;
    const struct cipher *cipher;
    int64_t offset;
    int64_t position;
    const struct iovs *data; /* what is read to; encryption is in @bounce */
    uint8_t *bounce;
    int64_t bytes; /* of that */
};

static int64_t job_decrypt(void *opaque)
{
    const struct piece *p = opaque;

    decrypt_iovs(p->cipher, p->position, p->data);
    return 0;
}

static int64_t job_encrypt(void *opaque)
{
    const struct piece *p = opaque;

    iovs_to_buf(p->data, 0, p->bounce, p->data->bytes);
    memset(p->bounce + p->data->bytes, 0, (size_t)(p->bytes - p->data->bytes));
    cipher_encrypt(p->cipher, p->position, p->bounce, p->bounce, p->bytes);
    return 0;
}

static void co_fn run_job(int64_t (*job)(void *opaque), struct piece *p)
{
    struct engine *e;

    if (p->data->bytes < INLINE_BYTES ||
        engine_threads.get(loop_co_home(), &e) < 0) {
        (void)job(p);
    } else {
        (void)engine_co_call(e, job, p); /* yields */
    }
}

static int co_fn piece_read(struct piece *p)
{
    int rc = node_co_preadv_past_end(p->node, p->offset, p->data); /* yields */

    if (rc == 0) {
        run_job(job_decrypt, p); /* yields */
    }
    return rc;
}

static int co_fn piece_write(struct piece *p)
{
    struct iovec iov;
    struct iovs src;
    int rc;

    p->bytes = align_up(p->data->bytes, CIPHER_SECTOR);
    p->bounce = node_try_alloc(p->node, p->bytes);
    if (!p->bounce) {
        return -ENOMEM;
    }
    run_job(job_encrypt, p); /* yields */
    src = iovs_one(&iov, p->bounce, p->bytes);
    rc = node_co_pwritev(p->node, p->offset, &src, 0); /* yields */
    free(p->bounce);
    return rc;
}

/* -- Many pieces ---------------------------------------------------------- */

typedef int piece_fn(struct piece *p);

/* One that stands by itself. */
struct piece_of {
    struct piece piece;
    piece_fn *fn;
    struct iovs data;
    struct iovec iov[];
};

static int co_fn run_piece(void *opaque)
{
    struct piece_of *p = opaque;
    int rc = p->fn(&p->piece); /* yields */

    free(p);
    return rc;
}

/* The @bytes from @at on of the whole. */
static struct piece_of *piece_of_new(const struct piece *whole, piece_fn *fn,
                                     int64_t at, int64_t bytes)
{
    int n = iovs_count(whole->data, at, bytes);
    struct piece_of *p = malloc(sizeof(*p) + (size_t)n * sizeof(p->iov[0]));

    if (p) {
        p->piece = *whole;
        p->piece.offset += at;
        p->piece.position += at;
        p->piece.data = &p->data;
        p->fn = fn;
        p->data = iovs_of(p->iov, iovs_slice(whole->data, at, bytes, p->iov));
    }
    return p;
}

static int co_fn run_pieces(struct piece *whole, piece_fn *fn)
{
    int64_t bytes = whole->data->bytes;
    struct fan fan = {.running = 0};
    int rc = 0, fan_rc;

    if (likely(bytes <= PIECE)) {
        return fn(whole); /* yields */
    }
    for (int64_t at = 0; at < bytes && rc == 0 && fan.rc == 0; at += PIECE) {
        struct piece_of *p =
            piece_of_new(whole, fn, at, min_i64(PIECE, bytes - at));

        if (p) {
            fan_start(&fan, run_piece, p); /* yields */
        }
        rc = p ? 0 : -ENOMEM;
    }
    fan_rc = fan_finish(&fan); /* yields */
    return rc ? rc : fan_rc;
}

int co_fn crypted_co_read(struct node *node, const struct cipher *cipher,
                          int64_t offset, int64_t position,
                          const struct iovs *dst)
{
    struct piece p = {
        .node = node,
        .cipher = cipher,
        .offset = offset,
        .position = position,
        .data = dst,
    };

    return run_pieces(&p, piece_read); /* yields */
}

int co_fn crypted_co_write(struct node *node, const struct cipher *cipher,
                           int64_t offset, int64_t position,
                           const struct iovs *src)
{
    struct piece p = {
        .node = node,
        .cipher = cipher,
        .offset = offset,
        .position = position,
        .data = src,
    };

    return run_pieces(&p, piece_write); /* yields */
}
