/* SPDX-License-Identifier: MIT */
/*
 * secret: passphrases that options of images name by an id.
 *
 * One table for the process, filled from the command line before anything is
 * opened: --object secret,id=ID,… .  Drivers look up what key-secret=ID names.
 * All is wiped when the process exits.
 *
 * Errors:    GError, with what to type.
 * Threading: secret_add() at start-up, one thread; secret_find() any thread.
 */
#ifndef BLOCK_SECRET_H
#define BLOCK_SECRET_H

#include <glib.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/options.h"

struct secret {
    const void *data; /* any bytes, maybe none */
    size_t bytes;
};

/*
 * Adds a secret:
 *   id=ID         its name
 *   data=TEXT     what it is, or
 *   file=PATH     the file that holds it: all of its bytes, also a newline at
 *                 the end
 *   format=base64 data or file are encoded; default raw: they are not
 *
 * Takes the options out of @opts.  Returns 0 or a negative errno.
 */
nodiscard int secret_add(struct options *opts, GError **err);

/* The secret called @id, valid until the process exits, or NULL. */
const struct secret *secret_find(const char *id, GError **err);

#endif /* BLOCK_SECRET_H */
