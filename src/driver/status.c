/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <unistd.h>

#include "base/align.h"
#include "driver/file_priv.h"

/* What lseek() says of a place in a file. */
struct extent_job {
    struct file *file;
    int64_t offset;
    bool hole;
    int64_t end; /* of the extent; INT64_MAX: there is no other behind it */
};

/* Finds the extent at @offset.  Returns 0, or a negative errno when the host
 * does not tell. */
static int64_t file_find_extent(void *opaque)
{
    struct extent_job *j = opaque;
    int64_t data, hole;

    data = lseek(j->file->fd, j->offset, SEEK_DATA);
    if (data < 0 && errno == ENXIO) { /* no data up to the end of the file */
        j->hole = true;
        j->end = INT64_MAX;
        return 0;
    }
    if (data < 0) {
        return -errno;
    }
    if (data > j->offset) {
        j->hole = true;
        j->end = data;
        return 0;
    }
    if (data < j->offset) { /* network file systems have done that */
        return -EIO;
    }

    hole = lseek(j->file->fd, j->offset, SEEK_HOLE);
    if (hole < 0) {
        return -errno;
    }
    if (hole <= j->offset) { /* somebody punched it meanwhile */
        return -EBUSY;
    }
    j->hole = false;
    j->end = hole;
    return 0;
}

/* @bytes up to the extent's end, in units of the alignment: where the file
 * ends inside a block the block belongs to what is before. */
static int64_t extent_bytes(const struct file *f, const struct extent_job *j,
                            int64_t bytes)
{
    int64_t n;

    if (j->end - j->offset >= bytes) {
        return bytes;
    }
    n = j->end - j->offset;
    n = j->hole ? align_down(n, f->offset_align) : align_up(n, f->offset_align);
    return min_i64(n, bytes);
}

int co_fn file_co_block_status(struct node *node, bool precise, int64_t offset,
                               int64_t bytes, struct block_status *ret)
{
    struct file *f = node_state(node);
    struct extent_job j = {.file = f, .offset = offset};
    int64_t rc, n;

    /* This holds whatever the host says or does not say. */
    *ret = (struct block_status){
        .flags = BLOCK_DATA | BLOCK_OFFSET_VALID,
        .bytes = bytes,
        .map = offset,
        .file = node,
    };
    if (!precise || !file_can(f, FILE_NO_SEEK_DATA)) {
        return 0;
    }
    rc = file_co_call(f, file_find_extent, &j); /* yields */
    if (rc == -EINVAL || file_rc_is_unsupported((int)rc)) {
        file_set_cannot(f, FILE_NO_SEEK_DATA);
    }
    if (rc < 0) {
        return 0;
    }
    n = extent_bytes(f, &j, bytes);
    if (n > 0) {
        ret->bytes = n;
        if (j.hole) {
            ret->flags = BLOCK_ZERO | BLOCK_OFFSET_VALID;
        }
    } else {
        ret->bytes = min_i64(bytes, f->offset_align);
    }
    return 0;
}
