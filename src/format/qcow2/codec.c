/* SPDX-License-Identifier: MIT */

#include "config.h"

#include "format/qcow2/codec.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>
#ifdef HAVE_LIBDEFLATE
#    include <libdeflate.h>
#endif

/*
 * Deflate is done by libdeflate where there is one, which takes half the time,
 * and else by zlib.  Other programs expand a cluster in one call, for which the
 * size of the window does not matter; what zlib writes here has the 2^12 bytes
 * that they announce all the same.  We read what was written with any.
 */
#define DEFLATE_WINDOW  (-12)
#define INFLATE_WINDOW  (-15)
#define DEFLATE_MEM     9
#define DEFLATE_LEVEL   6
#define ZSTD_MAX_WINDOW 23 /* log2; more is of no use to 2 MiB clusters */

struct codec {
    enum qcow2_compression type;
#ifdef HAVE_LIBDEFLATE
    struct libdeflate_compressor *compressor;
    struct libdeflate_decompressor *decompressor;
#endif
    z_stream deflater, inflater;
    bool has_deflater, has_inflater;
    ZSTD_CCtx *zstd_packer; /* made on first use, like all of these */
    ZSTD_DCtx *zstd_unpacker;
};

struct codec *codec_new(enum qcow2_compression type)
{
    struct codec *c = calloc(1, sizeof(*c));

    if (c) {
        c->type = type;
    }
    return c;
}

void codec_free(struct codec *c)
{
    if (!c) {
        return;
    }
#ifdef HAVE_LIBDEFLATE
    libdeflate_free_compressor(c->compressor);
    libdeflate_free_decompressor(c->decompressor);
#endif
    if (c->has_deflater) {
        (void)deflateEnd(&c->deflater);
    }
    if (c->has_inflater) {
        (void)inflateEnd(&c->inflater);
    }
    ZSTD_freeCCtx(c->zstd_packer);
    ZSTD_freeDCtx(c->zstd_unpacker);
    free(c);
}

/* -- deflate, fast ------------------------------------------------------- */

/* Both return whether they did it; if not, zlib shall try. */
#ifdef HAVE_LIBDEFLATE

static bool fast_pack(struct codec *c, const void *src, size_t n, void *dst,
                      size_t room, int64_t *ret)
{
    if (!c->compressor) {
        c->compressor = libdeflate_alloc_compressor(DEFLATE_LEVEL);
    }
    if (!c->compressor) {
        return false;
    }
    *ret =
        (int64_t)libdeflate_deflate_compress(c->compressor, src, n, dst, room);
    return true;
}

/* Data that go on behind the end of the cluster are left to zlib. */
static bool fast_unpack(struct codec *c, const void *src, size_t room,
                        void *dst, size_t n)
{
    size_t used;

    if (!c->decompressor) {
        c->decompressor = libdeflate_alloc_decompressor();
    }
    return c->decompressor &&
           libdeflate_deflate_decompress_ex(c->decompressor, src, room, dst, n,
                                            &used, NULL) == LIBDEFLATE_SUCCESS;
}

#else

static bool fast_pack(struct codec *c, const void *src, size_t n, void *dst,
                      size_t room, int64_t *ret)
{
    return false;
}

static bool fast_unpack(struct codec *c, const void *src, size_t room,
                        void *dst, size_t n)
{
    return false;
}

#endif

/* -- deflate ------------------------------------------------------------- */

static int deflater_ready(struct codec *c)
{
    if (c->has_deflater) {
        return deflateReset(&c->deflater) == Z_OK ? 0 : -EIO;
    }
    if (deflateInit2(&c->deflater, DEFLATE_LEVEL, Z_DEFLATED, DEFLATE_WINDOW,
                     DEFLATE_MEM, Z_DEFAULT_STRATEGY) != Z_OK) {
        return -ENOMEM;
    }
    c->has_deflater = true;
    return 0;
}

static int64_t deflate_pack(struct codec *c, const void *src, size_t n,
                            void *dst, size_t room)
{
    z_stream *z = &c->deflater;
    int64_t bytes;
    int rc;

    if (fast_pack(c, src, n, dst, room, &bytes)) {
        return bytes;
    }
    rc = deflater_ready(c);
    if (rc < 0) {
        return rc;
    }
    z->next_in = (Bytef *)(uintptr_t)src;
    z->avail_in = (uInt)n;
    z->next_out = dst;
    z->avail_out = (uInt)room;
    if (deflate(z, Z_FINISH) != Z_STREAM_END) {
        return 0;
    }
    return (int64_t)(room - z->avail_out);
}

static int inflater_ready(struct codec *c)
{
    if (c->has_inflater) {
        return inflateReset(&c->inflater) == Z_OK ? 0 : -EIO;
    }
    if (inflateInit2(&c->inflater, INFLATE_WINDOW) != Z_OK) {
        return -ENOMEM;
    }
    c->has_inflater = true;
    return 0;
}

static int deflate_unpack(struct codec *c, const void *src, size_t room,
                          void *dst, size_t n)
{
    z_stream *z = &c->inflater;
    int rc;

    if (fast_unpack(c, src, room, dst, n)) {
        return 0;
    }
    rc = inflater_ready(c);
    if (rc < 0) {
        return rc;
    }
    z->next_in = (Bytef *)(uintptr_t)src;
    z->avail_in = (uInt)room;
    z->next_out = dst;
    z->avail_out = (uInt)n;
    rc = inflate(z, Z_FINISH);
    /* When the output is full the end of the stream may not have been seen. */
    return (rc == Z_STREAM_END || rc == Z_BUF_ERROR || rc == Z_OK) &&
                   z->avail_out == 0
               ? 0
               : -EIO;
}

/* -- zstd ---------------------------------------------------------------- */

static int64_t zstd_pack(struct codec *c, const void *src, size_t n, void *dst,
                         size_t room)
{
    size_t rc;

    if (!c->zstd_packer) {
        c->zstd_packer = ZSTD_createCCtx();
    }
    if (!c->zstd_packer) {
        return -ENOMEM;
    }
    rc = ZSTD_compress2(c->zstd_packer, dst, room, src, n);
    return ZSTD_isError(rc) ? 0 : (int64_t)rc;
}

static int zstd_ready(struct codec *c)
{
    size_t rc;

    if (c->zstd_unpacker) {
        rc = ZSTD_DCtx_reset(c->zstd_unpacker, ZSTD_reset_session_only);
        return ZSTD_isError(rc) ? -EIO : 0;
    }
    c->zstd_unpacker = ZSTD_createDCtx();
    if (!c->zstd_unpacker) {
        return -ENOMEM;
    }
    rc = ZSTD_DCtx_setParameter(c->zstd_unpacker, ZSTD_d_windowLogMax,
                                ZSTD_MAX_WINDOW);
    return ZSTD_isError(rc) ? -EIO : 0;
}

static int zstd_unpack(struct codec *c, const void *src, size_t room, void *dst,
                       size_t n)
{
    ZSTD_inBuffer in = {.src = src, .size = room};
    ZSTD_outBuffer out = {.dst = dst, .size = n};
    int rc = zstd_ready(c);

    /* What follows the frame is somebody else's, so the one-call function,
     * which wants the exact size, does not serve.  There may be several
     * frames. */
    while (rc == 0 && out.pos < n) {
        size_t before = in.pos + out.pos;
        size_t left = ZSTD_decompressStream(c->zstd_unpacker, &out, &in);

        if (ZSTD_isError(left) || in.pos + out.pos == before) {
            rc = -EIO;
        }
    }
    return rc;
}

/* -- Either -------------------------------------------------------------- */

int64_t codec_pack(struct codec *c, const void *src, size_t n, void *dst,
                   size_t room)
{
    return c->type == QCOW2_ZSTD ? zstd_pack(c, src, n, dst, room)
                                 : deflate_pack(c, src, n, dst, room);
}

int codec_unpack(struct codec *c, const void *src, size_t room, void *dst,
                 size_t n)
{
    return c->type == QCOW2_ZSTD ? zstd_unpack(c, src, room, dst, n)
                                 : deflate_unpack(c, src, room, dst, n);
}
