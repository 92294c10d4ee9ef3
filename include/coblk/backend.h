/* SPDX-License-Identifier: MIT */
/*
 * backend: a disk image that is open.
 *
 * Reads and writes may have any offset, length and memory; aligned ones avoid
 * a copy when the image is open with COBLK_DIRECT.  There are no short reads
 * and no short writes.
 *
 * See coblk/api.h for units, errors and threading.  Coroutine functions may be
 * called by several coroutines at once, also of different loops.  Those named
 * _blocking wait in coblk_loop_run_co() of the loop the backend was opened on,
 * and are called where that may be.
 */
#ifndef COBLK_BACKEND_H
#define COBLK_BACKEND_H

#include <coblk/api.h>
#include <coblk/loop.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct coblk_backend;

enum coblk_open_flags {
    COBLK_RDWR = 1 << 0,   /* else every change fails with -EROFS */
    COBLK_DIRECT = 1 << 1, /* O_DIRECT and Linux AIO, not the page cache */
    COBLK_WRITETHROUGH = 1 << 2, /* each write is durable when it returns */
    COBLK_NO_FLUSH = 1 << 3,     /* flushes do nothing: data may be lost */
    COBLK_UNMAP = 1 << 4,        /* discards free space in the image */
    COBLK_FORCE_SHARE = 1 << 5,  /* read although another program writes */
};

/* -- Opening and closing ------------------------------------------------- */

/*
 * Opens the image @filename as @flags (enum coblk_open_flags) say.
 *
 * @opts, which may be NULL, is "KEY=VALUE,KEY=VALUE,…", where a doubled
 * comma is a comma of the value:
 *
 *   driver=NAME       the format, else the first bytes of the file decide
 *   detect-zeroes=on  write blocks of zeroes as holes (on, off, unmap)
 *   file.KEY=VALUE    for the file below the format: file.aio=native|threads,
 *                     file.locking=on|off|auto
 *
 * and whatever the driver understands (raw: offset=, size=).  @filename may be
 * NULL when the options say everything ("driver=null,size=1G").
 *
 * *@ret is to be closed.  Returns 0, or for example
 *   -ENOENT      no such file, or no such driver
 *   -EBUSY       another program has the image open
 *   -EINVAL      an option is wrong or nobody knows it, or the format is not
 *                known
 *   -EOPNOTSUPP  COBLK_DIRECT, and the file system has no O_DIRECT
 */
COBLK_API COBLK_NODISCARD int coblk_backend_co_open(const char *filename,
                                                    const char *opts,
                                                    unsigned flags,
                                                    struct coblk_backend **ret,
                                                    char **error);
COBLK_API COBLK_NODISCARD int coblk_backend_open_blocking(
    struct coblk_loop *loop, const char *filename, const char *opts,
    unsigned flags, struct coblk_backend **ret, char **error);

/*
 * Waits for requests under way, flushes, closes and frees @be, whatever it
 * returns; NULL is fine.  Nobody may begin a request any more.  Returns 0, or
 * the first error that a write or a flush of @be has had: data may be lost.
 */
COBLK_API int coblk_backend_co_close(struct coblk_backend *be);
COBLK_API int coblk_backend_close_blocking(struct coblk_backend *be);

/* Any thread.  The size of the disk. */
COBLK_API int64_t coblk_backend_length(const struct coblk_backend *be);
/* Any thread.  The name of its format; lives as long as @be. */
COBLK_API const char *coblk_backend_format(const struct coblk_backend *be);

/* -- Reading and writing ------------------------------------------------- */

/*
 * All of these return 0, -EIO when the range passes the end of the disk,
 * -ENOMEM, or the host's error; those that change something also -EROFS, and
 * -EPERM where a raw image whose format nobody named would come to look like
 * one of another format.  After an error a buffer, or the range written to, is
 * undefined.
 */

/* Read @bytes at @offset into @buf, or as many as the @n elements of @iov
 * hold. */
COBLK_API COBLK_NODISCARD int coblk_backend_co_read(struct coblk_backend *be,
                                                    int64_t offset, void *buf,
                                                    int64_t bytes);
COBLK_API COBLK_NODISCARD int coblk_backend_co_readv(struct coblk_backend *be,
                                                     int64_t offset,
                                                     const struct iovec *iov,
                                                     int n);
COBLK_API COBLK_NODISCARD int coblk_backend_read_blocking(
    struct coblk_backend *be, int64_t offset, void *buf, int64_t bytes);

/* Write.  Requests that overlap and are under way at once have no order. */
COBLK_API COBLK_NODISCARD int coblk_backend_co_write(struct coblk_backend *be,
                                                     int64_t offset,
                                                     const void *buf,
                                                     int64_t bytes);
COBLK_API COBLK_NODISCARD int coblk_backend_co_writev(struct coblk_backend *be,
                                                      int64_t offset,
                                                      const struct iovec *iov,
                                                      int n);
COBLK_API COBLK_NODISCARD int coblk_backend_write_blocking(
    struct coblk_backend *be, int64_t offset, const void *buf, int64_t bytes);

/* Makes @bytes at @offset read as zeroes; with COBLK_UNMAP, their space is
 * freed where the host can. */
COBLK_API COBLK_NODISCARD int coblk_backend_co_write_zeroes(
    struct coblk_backend *be, int64_t offset, int64_t bytes);

/* A hint that @bytes at @offset, whose content is undefined afterwards, are
 * not needed.  Does nothing without COBLK_UNMAP. */
COBLK_API COBLK_NODISCARD int coblk_backend_co_discard(struct coblk_backend *be,
                                                       int64_t offset,
                                                       int64_t bytes);

/* Makes all writes durable that have returned. */
COBLK_API COBLK_NODISCARD int coblk_backend_co_flush(struct coblk_backend *be);
COBLK_API COBLK_NODISCARD int coblk_backend_flush_blocking(
    struct coblk_backend *be);

#ifdef __cplusplus
}
#endif

#endif /* COBLK_BACKEND_H */
