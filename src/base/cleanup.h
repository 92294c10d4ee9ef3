/* SPDX-License-Identifier: MIT */
/*
 * cleanup: file descriptors that close themselves at the end of a scope.
 *
 * For memory use GLib's g_autofree and g_autoptr().  Never use either for
 * something whose release can fail or yield (flush, drain): those are calls.
 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <errno.h>
#include <unistd.h>

/* Closes *@fd unless it is negative.  Leaves errno as it was. */
static inline void cleanup_close(const int *fd)
{
    int saved = errno;

    if (*fd >= 0) {
        (void)close(*fd);
    }
    errno = saved;
}

#define auto_close __attribute__((cleanup(cleanup_close)))

/* Hands the descriptor in *@fd to the caller; an auto_close forgets it. */
static inline int steal_fd(int *fd)
{
    int stolen = *fd;

    *fd = -1;
    return stolen;
}

#endif /* BASE_CLEANUP_H */
