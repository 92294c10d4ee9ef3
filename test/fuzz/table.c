/* SPDX-License-Identifier: MIT */

#include "../part-check.h"
#include "disk.h"

void fuzz_part_table(struct fuzz_disk *d, part_read_fn *read)
{
    struct part_source src = {
        .size = d->size,
        .sector_size = d->sector_size,
        .read = read,
        .opaque = d,
    };
    struct part_table *t;

    g_assert_cmpint(part_table_read(&src, &t), ==, 0);
    part_check_table(t, d->size);
    part_table_free(t);
}
