/* SPDX-License-Identifier: MIT */
/*
 * write_priv: what write.c and write_fresh.c share.
 */
#ifndef FORMAT_QCOW2_WRITE_PRIV_H
#define FORMAT_QCOW2_WRITE_PRIV_H

#include <stdint.h>

#include "base/compiler.h"
#include "co/co.h"

struct iovs;
struct qcow2;

/* Writes data of guest offset @guest to their place @host, encrypted if need
 * be.  Fails with -EIO if that holds metadata: the image is marked corrupt. */
nodiscard int co_fn qcow2_co_write_data(struct qcow2 *s, int64_t guest,
                                        int64_t host, const struct iovs *src);

/* Writes up to @bytes of @src from @at on to clusters, from that of @offset on,
 * that are to be mapped anew.  Returns how many, or 0 when the first cluster
 * was mapped meanwhile. */
nodiscard int64_t co_fn qcow2_co_write_fresh(struct qcow2 *s, int64_t offset,
                                             const struct iovs *src, int64_t at,
                                             int64_t bytes);

#endif /* FORMAT_QCOW2_WRITE_PRIV_H */
