/* SPDX-License-Identifier: MIT */
/*
 * open: what open.c needs of node.c to make a node.  Only block/ includes it.
 */
#ifndef BLOCK_OPEN_H
#define BLOCK_OPEN_H

#include "co/co.h"

struct driver;
struct node;

/* A node that is not open yet; one reference, the caller's. */
struct node *co_fn node_new(const struct driver *drv, unsigned flags);

/* Frees a node whose driver is closed, and drops its children.  Returns the
 * first error of their last flush. */
int co_fn node_drop(struct node *node);

#endif /* BLOCK_OPEN_H */
