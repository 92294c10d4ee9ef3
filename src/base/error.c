/* SPDX-License-Identifier: MIT */

#include "base/error.h"

#include <assert.h>

G_DEFINE_QUARK(coblk - error - quark, coblk_error)

int error_set(GError **err, int rc, const char *format, ...)
{
    va_list ap;

    assert(rc < 0);
    if (err) {
        va_start(ap, format);
        *err = g_error_new_valist(COBLK_ERROR, -rc, format, ap);
        va_end(ap);
    }
    return rc;
}

int error_set_errno(GError **err, int rc, const char *format, ...)
{
    g_autofree char *what = NULL;
    va_list ap;

    va_start(ap, format);
    what = g_strdup_vprintf(format, ap);
    va_end(ap);
    return error_set(err, rc, "%s: %s", what, g_strerror(-rc));
}
