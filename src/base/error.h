/* SPDX-License-Identifier: MIT */
/*
 * error: GError for control paths (open, create, probe, mount).
 *
 * The code of a coblk error is a positive errno value and its message is one
 * line for a person: it names the file and, where there is one, the remedy.
 * I/O paths use plain negative errno values instead.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <glib.h>

#include "base/compiler.h"

#define COBLK_ERROR (coblk_error_quark())
GQuark coblk_error_quark(void);

/*
 * Sets *@err (unless @err is NULL) to code -@rc and the formatted message.
 * @rc is a negative errno value.  Returns @rc, so that a failing function can
 * `return error_set(err, -EINVAL, …)`.
 */
int error_set(GError **err, int rc, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/* The same, with ": " and strerror(-@rc) after the message. */
int error_set_errno(GError **err, int rc, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

#endif /* BASE_ERROR_H */
