/* SPDX-License-Identifier: MIT */
/*
 * read-sector: prints a sector of a disk image of any format that coblk reads.
 *
 *     cc read-sector.c $(pkg-config --cflags --libs coblk) -o read-sector
 *     ./read-sector disk.img 0
 */
#include <coblk/backend.h>
#include <coblk/loop.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512
#define LINE   16

static void print_sector(int64_t offset, const unsigned char *sector)
{
    for (int i = 0; i < SECTOR; i += LINE) {
        (void)printf("%08" PRIx64 " ", (uint64_t)offset + i);
        for (int j = i; j < i + LINE; j++) {
            (void)printf(" %02x", sector[j]);
        }
        (void)printf("\n");
    }
}

static int read_sector(struct coblk_loop *loop, const char *image, int64_t n)
{
    unsigned char sector[SECTOR];
    struct coblk_backend *be;
    char *error = NULL;
    int rc = coblk_backend_open_blocking(loop, image, NULL, 0, &be, &error);

    if (rc < 0) {
        (void)fprintf(stderr, "%s\n", error ? error : strerror(-rc));
        free(error);
        return rc;
    }
    rc = coblk_backend_read_blocking(be, n * SECTOR, sector, SECTOR);
    if (rc == 0) {
        print_sector(n * SECTOR, sector);
    } else {
        (void)fprintf(stderr, "%s: %s image of %" PRId64 " bytes: %s\n", image,
                      coblk_backend_format(be), coblk_backend_length(be),
                      strerror(-rc));
    }
    (void)coblk_backend_close_blocking(be); /* nothing was written */
    return rc;
}

int main(int argc, char **argv)
{
    struct coblk_loop *loop;
    int rc;

    if (argc != 3) {
        (void)fprintf(stderr, "usage: %s IMAGE SECTOR\n", argv[0]);
        return 2;
    }
    rc = coblk_loop_new(&loop);
    if (rc == 0) {
        rc = read_sector(loop, argv[1], strtoll(argv[2], NULL, 10));
        coblk_loop_free(loop);
    }
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
