/* SPDX-License-Identifier: MIT */
/*
 * limits: what a node's requests must look like.
 *
 * A child aligns and splits for itself, so a parent inherits no alignment of
 * requests: padding and copying happen once, at the node that needs them.
 * Buffers that parents allocate suit all children, and requests are split
 * early where that saves doing it again below.
 */
#include <limits.h>

#include "block/node_priv.h"

static void limits_merge(struct node_limits *l, const struct node_limits *child)
{
    l->opt_mem_align = max_i64(l->opt_mem_align, child->opt_mem_align);
    l->opt_transfer = max_i64(l->opt_transfer, child->opt_transfer);
    l->max_transfer = min_non_zero(l->max_transfer, child->max_transfer);
    l->max_iov = (int)min_non_zero(l->max_iov, child->max_iov);
}

/* The largest multiple of @align that is at most @max, but not 0 of them; 0
 * stays "no limit". */
static int64_t limits_round(int64_t max, int64_t align)
{
    return max > 0 ? max_i64(round_down(max, align), align) : 0;
}

/* Makes any set of limits consistent, so that nobody has to check again. */
static void limits_settle(struct node_limits *l)
{
    int64_t align = max_i64(l->request_align, 1);

    assert(is_power_of_2(align) && align <= BLOCK_MAX_ALIGNMENT);
    l->request_align = align;
    l->mem_align = max_i64(l->mem_align, 1);
    l->opt_mem_align = max_i64(l->opt_mem_align, l->mem_align);
    assert(is_power_of_2(l->mem_align) && is_power_of_2(l->opt_mem_align));
    l->max_transfer = min_non_zero(l->max_transfer, BLOCK_MAX_TRANSFER);
    l->max_transfer = limits_round(l->max_transfer, align);
    l->max_iov = l->max_iov > 0 ? l->max_iov : IOV_MAX;
    l->zeroes_align = max_i64(round_up(l->zeroes_align, align), align);
    l->max_zeroes = limits_round(l->max_zeroes, l->zeroes_align);
    l->discard_align = max_i64(round_up(l->discard_align, align), align);
    l->max_discard = limits_round(l->max_discard, l->discard_align);
}

void limits_refresh(struct node *node)
{
    struct node_limits l = {.request_align = 1, .mem_align = 1};
    struct edge *e;

    list_for_each(e, &node->children, link) {
        limits_merge(&l, &e->child->limits);
    }
    if (node->drv->limits) {
        node->drv->limits(node, &l);
    }
    limits_settle(&l);
    node->limits = l;
}

const struct node_limits *node_limits(const struct node *node)
{
    return &node->limits;
}
