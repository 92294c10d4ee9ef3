/* SPDX-License-Identifier: MIT */
/*
 * node: lifetime, children and plain properties of a node.
 */
#include <string.h>

#include "base/same_file.h"
#include "block/node_priv.h"
#include "block/open.h"

struct node *co_fn node_new(const struct driver *drv, unsigned flags)
{
    struct node *node = g_new0(struct node, 1);

    node->drv = drv;
    node->state = g_malloc0(drv->state_size);
    node->flags = flags;
    node->rdonly = !(flags & NODE_RDWR) || !drv->co_pwritev;
    node->limits = (struct node_limits){.request_align = 1, .mem_align = 1};
    list_init(&node->children);
    list_init(&node->parents);
    list_init(&node->requests);
    list_init(&node->flushes);
    co_queue_init(&node->flush_queue);
    pthread_mutex_init(&node->lock, NULL);
    atomic_init(&node->refs, 1);
    atomic_init(&node->length, 0);
    atomic_init(&node->detect_zeroes, DETECT_ZEROES_OFF);
    return node;
}

/* -- Children ------------------------------------------------------------ */

static struct edge *edge_find(const struct node *node, const char *name)
{
    struct edge *e;

    list_for_each(e, &node->children, link) {
        if (strcmp(e->name, name) == 0) {
            return e;
        }
    }
    return NULL;
}

/* Frees @e and drops the child.  Returns the error of its last flush. */
static int co_fn edge_drop(struct edge *e)
{
    struct node *child = e->child;

    node_del_parent(child, &e->parent);
    list_del(&e->link);
    if (e->owner->file == child && strcmp(e->name, "file") == 0) {
        e->owner->file = NULL;
    }
    g_free(e->name);
    g_free(e);
    return node_co_unref(child); /* yields */
}

static void edge_add(struct node *node, const char *name, struct node *child)
{
    struct edge *e = g_new0(struct edge, 1);

    e->owner = node;
    e->child = node_ref(child);
    e->name = g_strdup(name);
    edge_init_parent(e);
    list_add_tail(&node->children, &e->link);
    node_add_parent(child, &e->parent);
    if (strcmp(name, "file") == 0) {
        node->file = child;
    }
}

void co_fn node_co_set_child(struct node *node, const char *name,
                             struct node *child)
{
    struct edge *old = edge_find(node, name);

    if (old) {
        /* Its writes were flushed with this node's; what is left to fail is
         * nobody's data. */
        (void)edge_drop(old); /* yields */
    }
    if (child) {
        edge_add(node, name, child);
    }
}

struct node *node_child(const struct node *node, const char *name)
{
    struct edge *e = edge_find(node, name);

    return e ? e->child : NULL;
}

struct node *node_file(const struct node *node)
{
    return node->file;
}

bool node_uses_file(const struct node *node, const char *filename)
{
    struct edge *e;

    if (same_file(node_filename(node), filename)) {
        return true;
    }
    list_for_each(e, &node->children, link) {
        if (node_uses_file(e->child, filename)) {
            return true;
        }
    }
    return false;
}

/* -- Lifetime ------------------------------------------------------------ */

struct node *node_ref(struct node *node)
{
    atomic_fetch_add(&node->refs, 1);
    return node;
}

int co_fn node_drop(struct node *node)
{
    struct edge *e;
    int first = 0;

    assert(list_empty(&node->requests) && node->in_flight == 0);
    assert(list_empty(&node->parents));
    if (node->preopened) {
        first = node_co_unref(node->preopened); /* yields */
    }
    while ((e = list_first(&node->children, struct edge, link))) {
        int rc = edge_drop(e); /* yields */

        first = first ? first : rc;
    }
    pthread_mutex_destroy(&node->lock);
    g_free(node->filename);
    g_free(node->state);
    g_free(node);
    return first;
}

int co_fn node_co_unref(struct node *node)
{
    int flush_rc, rc;

    if (!node || atomic_fetch_sub(&node->refs, 1) > 1) {
        return 0;
    }
    flush_rc = node_co_flush(node); /* yields */
    if (node->drv->co_close) {
        node->drv->co_close(node); /* yields */
    }
    rc = node_drop(node); /* yields */
    return flush_rc ? flush_rc : rc;
}

/* -- Properties ---------------------------------------------------------- */

void *node_state(struct node *node)
{
    return node->state;
}

const struct driver *node_driver(const struct node *node)
{
    return node->drv;
}

unsigned node_flags(const struct node *node)
{
    return node->flags;
}

bool node_is_rdonly(const struct node *node)
{
    return node->rdonly;
}

bool node_probed_raw(const struct node *node)
{
    return node->probed_raw;
}

const char *node_filename(const struct node *node)
{
    while (!node->filename && node->file) {
        node = node->file;
    }
    return node->filename ? node->filename : node->drv->name;
}

void node_set_filename(struct node *node, const char *filename)
{
    g_free(node->filename);
    node->filename = g_strdup(filename);
}

int64_t node_length(const struct node *node)
{
    return atomic_load_explicit(&node->length, memory_order_acquire);
}

void node_set_length(struct node *node, int64_t length)
{
    atomic_store_explicit(&node->length, length, memory_order_release);
}

void node_set_detect_zeroes(struct node *node, enum detect_zeroes mode)
{
    atomic_store(&node->detect_zeroes, (int)mode);
}
