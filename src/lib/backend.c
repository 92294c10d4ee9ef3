/* SPDX-License-Identifier: MIT */
#include "backend/backend.h"

#include <coblk/backend.h>

#include "base/error.h"
#include "base/options.h"
#include "block/driver.h"
#include "block/node.h"
#include "lib/lib_priv.h"

struct coblk_backend {
    struct backend *be;
    struct loop *loop; /* of the blocking functions */
};

/* -- Opening and closing ------------------------------------------------- */

static unsigned node_flags_of(unsigned flags)
{
    return (flags & COBLK_RDWR ? NODE_RDWR : 0) |
           (flags & COBLK_DIRECT ? NODE_DIRECT : 0) |
           (flags & COBLK_NO_FLUSH ? NODE_NO_FLUSH : 0) |
           (flags & COBLK_UNMAP ? NODE_UNMAP : 0) |
           (flags & COBLK_FORCE_SHARE ? NODE_FORCE_SHARE : 0);
}

static unsigned backend_flags_of(unsigned flags)
{
    return (flags & COBLK_RDWR ? 0 : BACKEND_RDONLY) |
           (flags & COBLK_WRITETHROUGH ? BACKEND_WRITETHROUGH : 0);
}

static struct node *co_fn open_node(const char *filename, const char *opts,
                                    unsigned flags, GError **err)
{
    g_autoptr(options) o = options_new();

    if (opts && options_parse(o, opts, err) < 0) {
        return NULL;
    }
    if (filename) {
        return node_co_open_file(filename, g_steal_pointer(&o), flags, err);
    }
    return node_co_open(g_steal_pointer(&o), flags, err); /* yields */
}

int coblk_backend_co_open(const char *filename, const char *opts,
                          unsigned flags, struct coblk_backend **ret,
                          char **error)
{
    struct backend *be;
    struct node *root;
    GError *err = NULL;
    int rc;

    co_assert_role();
    lib_register_drivers();
    root = open_node(filename, opts, node_flags_of(flags), &err);
    if (!root) {
        return lib_error(err, error);
    }
    rc = backend_new(root, backend_flags_of(flags), &be);
    if (rc < 0) {
        error_set(&err, rc, "%s: '%s' cannot write; open it without COBLK_RDWR",
                  node_filename(root), node_driver(root)->name);
    }
    (void)node_co_unref(root); /* nothing was written; yields */
    if (rc < 0) {
        return lib_error(err, error);
    }
    *ret = g_new(struct coblk_backend, 1);
    **ret = (struct coblk_backend){.be = be, .loop = loop_co_home()};
    return 0;
}

int coblk_backend_co_close(struct coblk_backend *be)
{
    int rc = 0;

    co_assert_role();
    if (be) {
        rc = backend_co_free(be->be); /* yields */
        g_free(be);
    }
    return rc;
}

int64_t coblk_backend_length(const struct coblk_backend *be)
{
    return backend_length(be->be);
}

const char *coblk_backend_format(const struct coblk_backend *be)
{
    return node_driver(backend_root(be->be))->name;
}

/* -- Reading and writing ------------------------------------------------- */

int coblk_backend_co_read(struct coblk_backend *be, int64_t offset, void *buf,
                          int64_t bytes)
{
    co_assert_role();
    return backend_co_pread(be->be, offset, buf, bytes);
}

int coblk_backend_co_readv(struct coblk_backend *be, int64_t offset,
                           const struct iovec *iov, int n)
{
    struct iovs dst = iovs_of(iov, n);

    co_assert_role();
    return backend_co_preadv(be->be, offset, &dst, 0);
}

int coblk_backend_co_write(struct coblk_backend *be, int64_t offset,
                           const void *buf, int64_t bytes)
{
    co_assert_role();
    return backend_co_pwrite(be->be, offset, buf, bytes);
}

int coblk_backend_co_writev(struct coblk_backend *be, int64_t offset,
                            const struct iovec *iov, int n)
{
    struct iovs src = iovs_of(iov, n);

    co_assert_role();
    return backend_co_pwritev(be->be, offset, &src, 0);
}

int coblk_backend_co_write_zeroes(struct coblk_backend *be, int64_t offset,
                                  int64_t bytes)
{
    co_assert_role();
    return backend_co_pwrite_zeroes(be->be, offset, bytes, REQ_MAY_UNMAP);
}

int coblk_backend_co_discard(struct coblk_backend *be, int64_t offset,
                             int64_t bytes)
{
    co_assert_role();
    return backend_co_pdiscard(be->be, offset, bytes);
}

int coblk_backend_co_flush(struct coblk_backend *be)
{
    co_assert_role();
    return backend_co_flush(be->be);
}

/* -- Blocking ------------------------------------------------------------ */

/* Arguments and result of one call. */
struct call {
    struct coblk_backend *be;
    int64_t offset;
    void *buf;
    int64_t bytes;
    const char *filename, *opts;
    unsigned flags;
    char **error;
    int rc;
};

static int call_blocking(struct loop *loop, co_entry_fn *entry,
                         struct call *call)
{
    int rc = loop_co_run_blocking(loop, entry, call);

    return rc < 0 ? rc : call->rc;
}

static void co_open(void *opaque)
{
    struct call *c = opaque;

    co_assert_role();
    c->rc =
        coblk_backend_co_open(c->filename, c->opts, c->flags, &c->be, c->error);
}

int coblk_backend_open_blocking(struct coblk_loop *loop, const char *filename,
                                const char *opts, unsigned flags,
                                struct coblk_backend **ret, char **error)
{
    struct call call = {
        .filename = filename,
        .opts = opts,
        .flags = flags,
        .error = error,
    };
    int rc = call_blocking(loop_of_public(loop), co_open, &call);

    if (rc == 0) {
        *ret = call.be;
    }
    return rc;
}

static void co_close(void *opaque)
{
    struct call *c = opaque;

    c->rc = coblk_backend_co_close(c->be);
}

int coblk_backend_close_blocking(struct coblk_backend *be)
{
    struct call call = {.be = be};

    return be ? call_blocking(be->loop, co_close, &call) : 0;
}

static void co_read(void *opaque)
{
    struct call *c = opaque;

    c->rc = coblk_backend_co_read(c->be, c->offset, c->buf, c->bytes);
}

int coblk_backend_read_blocking(struct coblk_backend *be, int64_t offset,
                                void *buf, int64_t bytes)
{
    struct call call = {
        .be = be,
        .offset = offset,
        .buf = buf,
        .bytes = bytes,
    };

    return call_blocking(be->loop, co_read, &call);
}

static void co_write(void *opaque)
{
    struct call *c = opaque;

    c->rc = coblk_backend_co_write(c->be, c->offset, c->buf, c->bytes);
}

int coblk_backend_write_blocking(struct coblk_backend *be, int64_t offset,
                                 const void *buf, int64_t bytes)
{
    struct call call = {
        .be = be,
        .offset = offset,
        .buf = (void *)(uintptr_t)buf, /* only read */
        .bytes = bytes,
    };

    return call_blocking(be->loop, co_write, &call);
}

static void co_flush(void *opaque)
{
    struct call *c = opaque;

    c->rc = coblk_backend_co_flush(c->be);
}

int coblk_backend_flush_blocking(struct coblk_backend *be)
{
    struct call call = {.be = be};

    return call_blocking(be->loop, co_flush, &call);
}
