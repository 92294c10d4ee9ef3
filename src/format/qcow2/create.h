/* SPDX-License-Identifier: MIT */
/*
 * create: the options of new images, for create, measure and amend.
 */
#ifndef FORMAT_QCOW2_CREATE_H
#define FORMAT_QCOW2_CREATE_H

#include <glib.h>

#include "base/compiler.h"
#include "base/options.h"
#include "block/block.h"
#include "format/qcow2/crypt.h"
#include "format/qcow2/header.h"

/* What a new image is to be. */
struct qcow2_new {
    struct qcow2_header header; /* without tables, not yet encrypted */
    struct qcow2_new_crypt crypt;
    enum prealloc_mode prealloc;
};

/* Takes all options of create but the size out of @o and checks that they go
 * together.  *@ret is to be emptied with qcow2_new_fini(); on failure it
 * is. */
nodiscard int qcow2_take_create_options(struct options *o,
                                        struct qcow2_new *ret, GError **err);
void qcow2_new_fini(struct qcow2_new *n);

/* Take an option; without it *@ret stays as it is.  As options_take_int(). */
nodiscard int qcow2_take_compat(struct options *o, struct qcow2_header *ret,
                                GError **err);
nodiscard int qcow2_take_refcount_bits(struct options *o,
                                       struct qcow2_header *ret, GError **err);

#endif /* FORMAT_QCOW2_CREATE_H */
