/* SPDX-License-Identifier: MIT */
/*
 * image: what the results of operations on images own; options of plain files.
 */
#include "block/image.h"

#include "base/json.h"
#include "block/driver.h"
#include "block/node.h"

const struct image_option image_file_options[] = {
    {"size", "size of the image in bytes", NULL, IMAGE_OPTION_NEW},
    {"preallocation", "off, falloc (reserve the space) or full (write zeroes)",
     NULL, IMAGE_OPTION_NEW},
    {"extent_size_hint",
     "how much XFS allocates at a time; 0: as it likes; default 1M", NULL,
     IMAGE_OPTION_NEW},
    {"nocow", "on: no copy-on-write on btrfs; default off", NULL,
     IMAGE_OPTION_NEW},
    {NULL, NULL, NULL, IMAGE_OPTION_NEW},
};

void image_info_fini(struct image_info *info)
{
    g_free(info->backing_filename);
    g_free(info->backing_format);
    g_free(info->full_backing_filename);
    g_free(info->json_filename);
}

/* JSON text on one line: no line ends are in its strings. */
static char *one_line(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    GString *ret = g_string_new(NULL);

    for (int i = 0; lines[i]; i++) {
        g_string_append(ret, g_strstrip(lines[i]));
        if (g_str_has_suffix(lines[i], ",")) {
            g_string_append_c(ret, ' ');
        }
    }
    return g_string_free(ret, FALSE);
}

char *image_json_filename(struct node *node, const char *key, const char *value)
{
    struct node *file = node_file(node);
    struct json *j = json_new();
    g_autofree char *text = NULL;
    g_autofree char *line = NULL;

    json_object_begin(j, NULL);
    json_string(j, key, value);
    json_string(j, "driver", node_driver(node)->name);
    json_object_begin(j, "file");
    json_string(j, "driver", node_driver(file)->name);
    json_string(j, "filename", node_filename(file));
    json_object_end(j);
    json_object_end(j);
    text = json_finish(j);
    line = one_line(text);
    return g_strconcat("json:", line, NULL);
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
