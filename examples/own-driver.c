/* SPDX-License-Identifier: MIT */
/*
 * own-driver: a driver "xor", which shows the image below with each byte XORed
 * with a key.  Prints how IMAGE begins, as it is and seen through the driver.
 *
 *     cc own-driver.c $(pkg-config --cflags --libs coblk) -o own-driver
 *     ./own-driver disk.img
 */
#include <coblk/backend.h>
#include <coblk/driver.h>
#include <stdio.h>
#include <stdlib.h>

struct xor { int64_t key; };

static int xor_co_open(struct coblk_node *node, struct coblk_options *opts,
                       char **error)
{
    struct xor *x = coblk_node_state(node);
    int rc = coblk_options_take_size(opts, "key", &x->key, error);

    if (rc >= 0) {
        rc = coblk_node_co_open_child(node, "file", opts, error); /* yields */
    }
    if (rc == 0) {
        struct coblk_node *file = coblk_node_child(node, "file");

        coblk_node_set_length(node, coblk_node_length(file));
    }
    return rc;
}

static int xor_co_readv(struct coblk_node *node, int64_t offset,
                        const struct iovec *iov, int n, int64_t bytes)
{
    struct coblk_node *file = coblk_node_child(node, "file");
    const struct xor *x = coblk_node_state(node);
    int rc = coblk_node_co_readv(file, offset, iov, n); /* yields */

    for (int i = 0; rc == 0 && i < n; i++) {
        for (size_t j = 0; j < iov[i].iov_len; j++) {
            ((unsigned char *)iov[i].iov_base)[j] ^= (unsigned char)x->key;
        }
    }
    return rc;
}

static const struct coblk_driver driver_xor = {
    .name = "xor",
    .state_size = sizeof(struct xor),
    .co_open = xor_co_open,
    .co_readv = xor_co_readv,
};

static int show(struct coblk_loop *loop, const char *image, const char *opts)
{
    struct coblk_backend *be;
    char text[13] = "", *error = NULL;
    int rc = coblk_backend_open_blocking(loop, image, opts, 0, &be, &error);

    if (rc == 0) {
        rc = coblk_backend_read_blocking(be, 0, text, sizeof(text) - 1);
        (void)coblk_backend_close_blocking(be); /* nothing was written */
    }
    (void)printf("%s: %s\n", opts, error ? error : text);
    free(error);
    return rc;
}

int main(int argc, char **argv)
{
    struct coblk_loop *loop;

    return argc != 2 || coblk_driver_register(&driver_xor) < 0 ||
           coblk_loop_new(&loop) < 0 || show(loop, argv[1], "driver=raw") < 0 ||
           show(loop, argv[1], "driver=xor,key=32") < 0;
}
