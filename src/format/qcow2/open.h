/* SPDX-License-Identifier: MIT */
/*
 * open: what the files that open an image share.  Only they include it.
 */
#ifndef FORMAT_QCOW2_OPEN_H
#define FORMAT_QCOW2_OPEN_H

#include "format/qcow2/qcow2.h"

/* -- open_options.c ------------------------------------------------------ */

/* Options of the node as they were given. */
struct qcow2_open_options {
    int64_t cache, l2_cache, refcount_cache, slice; /* bytes; -1: not given */
    bool lazy, lazy_given;
    bool pass[QCOW2_FREE_WHYS];
    unsigned guarded;
    int64_t clean_interval; /* seconds; 0: never */
};

/* Takes them out of @opts.  Sizes of caches, which have no default here, are
 * checked against each other, not against the image. */
nodiscard int qcow2_take_options(struct node *node, struct options *opts,
                                 struct qcow2_open_options *ret, GError **err);

/* -- open_files.c -------------------------------------------------------- */

/* Sets s->data.  The header is known. */
nodiscard int co_fn qcow2_co_open_data_file(struct qcow2 *s,
                                            struct options *opts, GError **err);
/* Opens the backing file, if there is one and it is wanted. */
nodiscard int co_fn qcow2_co_open_backing(struct qcow2 *s, struct options *opts,
                                          GError **err);

#endif /* FORMAT_QCOW2_OPEN_H */
