/* SPDX-License-Identifier: MIT */
/*
 * A driver of the user's becomes one of ours whose functions call his.
 */
#include "block/driver.h"

#include <coblk/driver.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/align.h"
#include "base/error.h"
#include "block/node.h"
#include "driver/driver_list.h"
#include "format/blkdebug.h"
#include "format/blkverify.h"
#include "format/compress.h"
#include "format/copy_on_read.h"
#include "format/luks.h"
#include "format/qcow2/driver.h"
#include "format/raw.h"
#include "format/writelog.h"
#include "lib/lib_priv.h"

#define MAX_REGISTERED 32

struct registered {
    struct driver drv; /* first: what the registry points to */
    const struct coblk_driver *user;
};

static unsigned n_registered;

static struct coblk_node *node_to_public(struct node *node)
{
    return (struct coblk_node *)node;
}

static struct node *node_of_public(const struct coblk_node *node)
{
    return (struct node *)(uintptr_t)node;
}

static const struct coblk_driver *user_of(const struct node *node)
{
    const struct driver *drv = node_driver(node);

    return ((const struct registered *)(const void *)drv)->user;
}

/* -- Errors -------------------------------------------------------------- */

int lib_error(GError *err, char **error)
{
    int rc = -err->code;

    if (error) {
        *error = g_strdup(err->message); /* GLib's memory is malloc()'s */
    }
    g_error_free(err);
    return rc;
}

int coblk_error(char **error, int rc, const char *format, ...)
{
    va_list ap;

    if (error) {
        va_start(ap, format);
        *error = g_strdup_vprintf(format, ap);
        va_end(ap);
    }
    return rc;
}

/* -- Our functions, which call the user's -------------------------------- */

static int co_fn user_co_open(struct node *node, struct options *opts,
                              GError **err)
{
    char *why = NULL;
    int rc = user_of(node)->co_open(
        node_to_public(node), (struct coblk_options *)opts, &why); /* yields */

    if (rc < 0 && why) {
        error_set(err, rc, "%s", why);
    }
    free(why);
    return rc;
}

static void co_fn user_co_close(struct node *node)
{
    user_of(node)->co_close(node_to_public(node)); /* yields */
}

static int co_fn user_co_preadv(struct node *node, int64_t offset,
                                const struct iovs *dst)
{
    return user_of(node)->co_readv(node_to_public(node), offset, dst->iov,
                                   dst->n, dst->bytes); /* yields */
}

static int co_fn user_co_pwritev(struct node *node, int64_t offset,
                                 const struct iovs *src, unsigned flags)
{
    return user_of(node)->co_writev(node_to_public(node), offset, src->iov,
                                    src->n, src->bytes); /* yields */
}

static int co_fn user_co_flush(struct node *node)
{
    return user_of(node)->co_flush(node_to_public(node)); /* yields */
}

static void user_limits(struct node *node, struct node_limits *limits)
{
    const struct coblk_driver *user = user_of(node);

    limits->request_align = max_i64(limits->request_align, user->align);
    limits->max_transfer =
        min_non_zero(limits->max_transfer, user->max_transfer);
}

/* -- Registration -------------------------------------------------------- */

static void register_builtin(void)
{
    driver_register(&driver_file);
    driver_register(&driver_host_device);
    driver_register(&driver_host_cdrom);
    driver_register(&driver_null);
    driver_register(&driver_null_co);
    driver_register(&driver_null_aio);
    driver_register(&driver_raw);
    driver_register(&driver_qcow2);
    driver_register(&driver_luks);
    driver_register(&driver_blkdebug);
    driver_register(&driver_blkverify);
    driver_register(&driver_compress);
    driver_register(&driver_copy_on_read);
    driver_register(&driver_writelog);
}

void lib_register_drivers(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, register_builtin);
}

int coblk_driver_register(const struct coblk_driver *user)
{
    struct registered *r;

    lib_register_drivers();
    if (!user->name || !user->co_open || !user->co_readv ||
        (user->align & (user->align - 1)) != 0 ||
        (user->max_transfer > 0 && user->max_transfer < user->align)) {
        return -EINVAL;
    }
    if (driver_find(user->name)) {
        return -EEXIST;
    }
    if (n_registered == MAX_REGISTERED) {
        return -ENOSPC;
    }
    n_registered++;
    r = g_new0(struct registered, 1); /* lives as long as the program */
    r->user = user;
    r->drv = (struct driver){
        .name = user->name,
        .state_size = user->state_size,
        .traits = user->traits & COBLK_DRIVER_LEAF ? DRIVER_LEAF : 0,
        .co_open = user_co_open,
        .co_close = user->co_close ? user_co_close : NULL,
        .limits = user_limits,
        .co_preadv = user_co_preadv,
        .co_pwritev = user->co_writev ? user_co_pwritev : NULL,
        .co_flush_to_disk = user->co_flush ? user_co_flush : NULL,
    };
    driver_register(&r->drv);
    return 0;
}

/* -- For co_open --------------------------------------------------------- */

char *coblk_options_take(struct coblk_options *opts, const char *key)
{
    return options_take((struct options *)opts, key);
}

int coblk_options_take_size(struct coblk_options *opts, const char *key,
                            int64_t *ret, char **error)
{
    GError *err = NULL;
    int rc = options_take_size((struct options *)opts, key, ret, &err);

    return rc < 0 ? lib_error(err, error) : rc;
}

int coblk_node_co_open_child(struct coblk_node *node, const char *name,
                             struct coblk_options *opts, char **error)
{
    struct node *n = node_of_public(node);
    GError *err = NULL;
    int rc;

    co_assert_role();
    rc = node_co_open_child(n, name, (struct options *)opts, node_flags(n),
                            &err); /* yields */
    return err ? lib_error(err, error) : rc;
}

void coblk_node_set_length(struct coblk_node *node, int64_t length)
{
    node_set_length(node_of_public(node), length);
}

int64_t coblk_node_length(const struct coblk_node *node)
{
    return node_length(node_of_public(node));
}

/* -- For all functions of a driver --------------------------------------- */

void *coblk_node_state(struct coblk_node *node)
{
    return node_state(node_of_public(node));
}

struct coblk_node *coblk_node_child(const struct coblk_node *node,
                                    const char *name)
{
    return node_to_public(node_child(node_of_public(node), name));
}

int coblk_node_co_readv(struct coblk_node *node, int64_t offset,
                        const struct iovec *iov, int n)
{
    struct iovs dst = iovs_of(iov, n);

    co_assert_role();
    return node_co_preadv(node_of_public(node), offset, &dst, 0);
}

int coblk_node_co_writev(struct coblk_node *node, int64_t offset,
                         const struct iovec *iov, int n)
{
    struct iovs src = iovs_of(iov, n);

    co_assert_role();
    return node_co_pwritev(node_of_public(node), offset, &src, 0);
}
