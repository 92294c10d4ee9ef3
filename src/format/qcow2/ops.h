/* SPDX-License-Identifier: MIT */
/*
 * ops: the functions that the tables in driver.c consist of; struct driver and
 * struct image_ops say what each is to do.
 */
#ifndef FORMAT_QCOW2_OPS_H
#define FORMAT_QCOW2_OPS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/iov.h"
#include "base/options.h"
#include "block/block.h"
#include "block/image.h"
#include "co/co.h"

struct json;
struct node;

/* -- struct driver ------------------------------------------------------- */

int co_fn qcow2_co_open(struct node *node, struct options *opts, GError **err);
void co_fn qcow2_co_close(struct node *node);
int co_fn qcow2_co_preadv(struct node *node, int64_t offset,
                          const struct iovs *dst);
int co_fn qcow2_co_pwritev(struct node *node, int64_t offset,
                           const struct iovs *src, unsigned flags);
int co_fn qcow2_co_pwrite_zeroes(struct node *node, int64_t offset,
                                 int64_t bytes, unsigned flags);
int co_fn qcow2_co_pdiscard(struct node *node, int64_t offset, int64_t bytes);
int co_fn qcow2_co_block_status(struct node *node, bool precise, int64_t offset,
                                int64_t bytes, struct block_status *ret);
int co_fn qcow2_co_flush_to_os(struct node *node);
int co_fn qcow2_co_truncate(struct node *node, int64_t length,
                            enum prealloc_mode prealloc, unsigned flags,
                            GError **err);

/* -- struct image_ops ---------------------------------------------------- */

extern const struct image_option qcow2_options[];

int co_fn qcow2_co_create(const char *filename, int64_t bytes,
                          struct options *options, GError **err);
int co_fn qcow2_co_measure(struct options *options, int64_t bytes,
                           struct node *src, struct image_measure *ret,
                           GError **err);
int co_fn qcow2_co_info(struct node *node, struct image_info *ret);
int co_fn qcow2_co_info_json(struct node *node, struct json *out, GError **err);
int co_fn qcow2_co_check(struct node *node, unsigned fix,
                         struct image_check *ret, GError **err);
int co_fn qcow2_co_amend(struct node *node, struct options *opts, bool force,
                         image_progress_fn *progress, void *opaque,
                         GError **err);
int co_fn qcow2_co_change_backing(struct node *node, const char *filename,
                                  const char *format, GError **err);
int co_fn qcow2_co_make_empty(struct node *node);
void co_fn qcow2_co_unwritten(struct node *node, GPtrArray *ret);

int co_fn qcow2_co_vm_state_readv(struct node *node, int64_t offset,
                                  const struct iovs *dst);
int co_fn qcow2_co_vm_state_writev(struct node *node, int64_t offset,
                                   const struct iovs *src);

int co_fn qcow2_co_snapshot_list(struct node *node, GArray **ret);
int co_fn qcow2_co_snapshot_create(struct node *node, const char *name,
                                   GError **err);
int co_fn qcow2_co_snapshot_apply(struct node *node, const char *id,
                                  GError **err);
int co_fn qcow2_co_snapshot_delete(struct node *node, const char *id,
                                   GError **err);
int co_fn qcow2_co_snapshot_load(struct node *node, const char *id,
                                 GError **err);

int co_fn qcow2_co_bitmap_list(struct node *node, GArray **ret, GError **err);
int co_fn qcow2_co_bitmap_add(struct node *node, const char *name,
                              int64_t granularity, bool enabled, GError **err);
int co_fn qcow2_co_bitmap_change(struct node *node, const char *name,
                                 enum image_bitmap_change what, GError **err);
int co_fn qcow2_co_bitmap_merge(struct node *node, const char *name,
                                struct node *src, const char *src_name,
                                GError **err);
int co_fn qcow2_co_bitmap_store(struct node *node, GError **err);

#endif /* FORMAT_QCOW2_OPS_H */
