/* SPDX-License-Identifier: MIT */
/*
 * lib_priv: what the files of this folder share.
 *
 * The public types stand for types of ours, pointer for pointer; only backends
 * and drivers are structs of their own.
 */
#ifndef LIB_LIB_PRIV_H
#define LIB_LIB_PRIV_H

#include <coblk/loop.h>
#include <glib.h>

#include "loop/loop.h"

static inline struct loop *loop_of_public(struct coblk_loop *loop)
{
    return (struct loop *)loop;
}

static inline struct coblk_loop *loop_to_public(struct loop *loop)
{
    return (struct coblk_loop *)loop;
}

/* Passes the message of @err, which it frees, on to *@error unless that is
 * NULL.  Returns @err's negative errno. */
int lib_error(GError *err, char **error);

/* Registers the drivers of the library, once. */
void lib_register_drivers(void);

#endif /* LIB_LIB_PRIV_H */
