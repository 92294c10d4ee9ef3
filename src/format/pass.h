/* SPDX-License-Identifier: MIT */
/*
 * pass: functions of a driver that hand a request down as it is, for filters
 * over their child "file", whose offsets are theirs.
 *
 * They fit into struct driver (block/driver.h).
 */
#ifndef FORMAT_PASS_H
#define FORMAT_PASS_H

#include <glib.h>
#include <stdint.h>

#include "base/iov.h"
#include "block/block.h"
#include "co/co.h"

struct node;

/* Where the child has ended, as it may within the last block of a filter that
 * is aligned, are zeroes. */
int co_fn pass_co_preadv(struct node *node, int64_t offset,
                         const struct iovs *dst);
int co_fn pass_co_pwrite_zeroes(struct node *node, int64_t offset,
                                int64_t bytes, unsigned flags);
int co_fn pass_co_pdiscard(struct node *node, int64_t offset, int64_t bytes);
int co_fn pass_co_truncate(struct node *node, int64_t length,
                           enum prealloc_mode prealloc, unsigned flags,
                           GError **err);

#endif /* FORMAT_PASS_H */
