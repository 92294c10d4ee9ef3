/* SPDX-License-Identifier: MIT */
/*
 * image: what the results of operations on images own.
 */
#include "block/image.h"

void image_info_fini(struct image_info *info)
{
    g_free(info->backing_filename);
    g_free(info->backing_format);
    g_free(info->full_backing_filename);
}

void image_bitmap_clear(struct image_bitmap *b)
{
    g_free(b->name);
}

void image_snapshot_clear(struct image_snapshot *s)
{
    g_free(s->id);
    g_free(s->name);
}
