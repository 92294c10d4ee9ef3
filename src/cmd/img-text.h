/* SPDX-License-Identifier: MIT */
/*
 * img-text: the forms in which qemu-img prints things, which scripts read.
 * Pure; g_free() each result.
 */
#ifndef CMD_IMG_TEXT_H
#define CMD_IMG_TEXT_H

#include <glib.h>
#include <stdint.h>

struct image_snapshot;

/* "0 B", "1.5 GiB": three digits, and the next unit from 1000 on. */
char *img_size_text(int64_t bytes);

/* The table of snapshot -l: its head, and one row. */
char *img_snapshot_head(void);
char *img_snapshot_row(const struct image_snapshot *s);

/*
 * The members of the JSON object @json (as base/json.h writes it) as lines
 * "    key: value", four blanks more per level; '-' in a key is a blank and an
 * element of an array has its index in brackets as its key.
 */
char *img_json_to_lines(const char *json);

#endif /* CMD_IMG_TEXT_H */
