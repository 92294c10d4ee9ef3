/* SPDX-License-Identifier: MIT */

#include "base/secure.h"

#include <string.h>
#include <sys/mman.h>

void *secure_alloc(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        return NULL;
    }
    /* RLIMIT_MEMLOCK may forbid it; then the system's swap is trusted. */
    (void)mlock(p, bytes);
    (void)madvise(p, bytes, MADV_DONTDUMP);
    return p;
}

void secure_free(void *p, size_t bytes)
{
    if (p) {
        explicit_bzero(p, bytes);
        (void)munmap(p, bytes);
    }
}
