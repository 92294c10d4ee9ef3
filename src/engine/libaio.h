/* SPDX-License-Identifier: MIT */
/*
 * libaio: what tests of the Linux AIO engine need beside engine.h.
 */
#ifndef ENGINE_LIBAIO_H
#define ENGINE_LIBAIO_H

#include <stdbool.h>

#include "base/compiler.h"
#include "engine/engine.h"

enum libaio_flags {
    LIBAIO_NO_RING = 1 << 0,   /* ask the kernel for completions */
    LIBAIO_BAD_DSYNC = 1 << 1, /* have RWF_DSYNC refused */
};

/*
 * Makes an engine of @loop for at least @depth requests in the kernel at once;
 * free it with ops->free() when all is complete.  Returns 0, or -EAGAIN
 * (fs.aio-max-nr is used up), -ENOSYS, -ENOMEM.
 */
nodiscard int libaio_new(struct loop *loop, unsigned depth, unsigned flags,
                         struct engine **ret);

/* Does it read the kernel's completion ring? */
bool libaio_uses_ring(const struct engine *e);

#endif /* ENGINE_LIBAIO_H */
