/* SPDX-License-Identifier: MIT */
/*
 * driver: sources of data of one's own.
 *
 * A driver fills in a struct coblk_driver and registers it.  From then on
 * coblk_backend_open…() opens nodes of it where the options say driver=NAME.
 * A driver either makes up its data by itself (COBLK_DRIVER_LEAF) or keeps it
 * in children, nodes below it that it opens and does I/O on.
 *
 * The block layer comes first, for every driver: it checks ranges, splits what
 * is longer than @max_transfer, reads, modifies and writes what is not aligned
 * to @align, and keeps overlapping requests apart where that matters.  So a
 * driver sees requests that lie within the node's length, are aligned and not
 * empty.  If the length is no multiple of @align, a read of the last block
 * passes it (what is past it reads as zeroes), and a write ends at it.
 *
 * See coblk/api.h for units, errors and threading.  Functions of a driver run
 * in coroutines, on several loops at once if the backend is used so.
 */
#ifndef COBLK_DRIVER_H
#define COBLK_DRIVER_H

#include <coblk/api.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct coblk_node;    /* an open image, or a part of one, as drivers see it */
struct coblk_options; /* what options the node was given */

enum coblk_driver_traits {
    COBLK_DRIVER_LEAF = 1 << 0, /* has no child "file" */
};

struct coblk_driver {
    const char *name;      /* as in driver=NAME */
    size_t state_size;     /* of coblk_node_state() */
    unsigned traits;       /* enum coblk_driver_traits */
    uint32_t align;        /* of offsets and lengths, a power of 2; 0: any */
    uint32_t max_transfer; /* most bytes of a request; 0: no limit */

    /*
     * Opens @node: takes its options out of @opts, opens children, sets
     * the length.  Returns 0 or a negative errno, and then may set *@error,
     * which is never NULL (see coblk_error()); it has cleaned up except for
     * children.
     */
    int (*co_open)(struct coblk_node *node, struct coblk_options *opts,
                   char **error);
    /* Releases what co_open made.  @node is flushed and idle.  Optional. */
    void (*co_close)(struct coblk_node *node);

    /* Reads the @bytes that the @n elements of @iov hold. */
    int (*co_readv)(struct coblk_node *node, int64_t offset,
                    const struct iovec *iov, int n, int64_t bytes);
    /* Writes.  Optional: without it nodes are read-only. */
    int (*co_writev)(struct coblk_node *node, int64_t offset,
                     const struct iovec *iov, int n, int64_t bytes);
    /* Makes all writes durable that have returned.  Children are flushed
     * without it.  Optional. */
    int (*co_flush)(struct coblk_node *node);
};

/*
 * Makes @driver known; it stays the caller's and must last.  Before the first
 * backend is opened, one thread.  Returns 0, or
 *   -EINVAL  a name, co_open or co_readv is missing, or a size makes no sense
 *   -EEXIST  a driver has that name
 *   -ENOSPC  there are 32 already
 */
COBLK_API COBLK_NODISCARD int coblk_driver_register(
    const struct coblk_driver *driver);

/* -- For co_open --------------------------------------------------------- */

/* Takes the option @key out.  Returns its value, to be freed with free(), or
 * NULL when it was not given.  What nobody takes is an error. */
COBLK_API char *coblk_options_take(struct coblk_options *opts, const char *key);
/* Takes a number of bytes, which may have a suffix k, M, G, T, P or E.  Returns
 * 1, 0 when it was not given (*@ret is left alone), or -EINVAL and *@error. */
COBLK_API COBLK_NODISCARD int coblk_options_take_size(
    struct coblk_options *opts, const char *key, int64_t *ret, char **error);

/* Sets *@error, unless @error is NULL, to a line for a person and returns the
 * negative errno @rc: `return coblk_error(error, -EINVAL, "…")`. */
COBLK_API int coblk_error(char **error, int rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Opens the child @name from the options that begin with "@name." ("file" is
 * the image that coblk_backend_open…() was given).  Returns 0, or a negative
 * errno and *@error. */
COBLK_API COBLK_NODISCARD int coblk_node_co_open_child(
    struct coblk_node *node, const char *name, struct coblk_options *opts,
    char **error);

/* Any time, and any thread: the node's length. */
COBLK_API void coblk_node_set_length(struct coblk_node *node, int64_t length);
COBLK_API int64_t coblk_node_length(const struct coblk_node *node);

/* -- For all functions of a driver --------------------------------------- */

/* The driver's own @state_size bytes, zeroed before co_open. */
COBLK_API void *coblk_node_state(struct coblk_node *node);
/* NULL when there is no such child.  It lives as long as @node. */
COBLK_API struct coblk_node *coblk_node_child(const struct coblk_node *node,
                                              const char *name);
/* I/O on a child, of any alignment and length.  Return 0, -EIO when the range
 * passes its end, -EACCES for a write when it is read-only, or its error. */
COBLK_API COBLK_NODISCARD int coblk_node_co_readv(struct coblk_node *node,
                                                  int64_t offset,
                                                  const struct iovec *iov,
                                                  int n);
COBLK_API COBLK_NODISCARD int coblk_node_co_writev(struct coblk_node *node,
                                                   int64_t offset,
                                                   const struct iovec *iov,
                                                   int n);

#ifdef __cplusplus
}
#endif

#endif /* COBLK_DRIVER_H */
