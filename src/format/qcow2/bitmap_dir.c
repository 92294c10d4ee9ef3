/* SPDX-License-Identifier: MIT */
/*
 * An entry of the directory is of no fixed length:
 *
 *    0  8  offset of the bitmap's table    17  1  log2 of the granularity
 *    8  4  entries of that                 18  2  bytes of the name
 *   12  4  flags                           20  4  bytes of extra data
 *   16  1  type                            24     extra data, name
 *
 * and begins at a multiple of 8.
 */
#include "format/qcow2/bitmap_dir.h"

#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "block/block.h"

#define ENTRY_BYTES         24
#define TYPE_DIRTY_TRACKING 1

void qcow2_bitmap_entry_fini(struct qcow2_bitmap_entry *e)
{
    g_free(e->name);
    g_free(e->extra);
    memset(e, 0, sizeof(*e));
}

int64_t qcow2_bitmap_entry_bytes(const struct qcow2_bitmap_entry *e)
{
    return align_up(
        ENTRY_BYTES + (int64_t)e->extra_bytes + (int64_t)strlen(e->name), 8);
}

static int check_entry(const uint8_t *p, unsigned cluster_bits)
{
    uint64_t offset = load_be64(p);
    uint32_t entries = load_be32(p + 8);

    if (!is_aligned((int64_t)offset, INT64_C(1) << cluster_bits) ||
        offset > (uint64_t)BLOCK_MAX_LENGTH / 2 ||
        entries > QCOW2_BITMAP_TABLE_ENTRIES ||
        (load_be32(p + 12) & ~(uint32_t)QCOW2_BITMAP_KNOWN_FLAGS)) {
        return -EINVAL;
    }
    return p[16] != TYPE_DIRTY_TRACKING || p[17] < QCOW2_BITMAP_MIN_BITS ||
                   p[17] > QCOW2_BITMAP_MAX_BITS
               ? -ENOTSUP
               : 0;
}

/* Parses the entry at @p, of which there are @left bytes.  Returns how many
 * it fills, or a negative errno. */
static int64_t parse_entry(const uint8_t *p, int64_t left,
                           unsigned cluster_bits,
                           struct qcow2_bitmap_entry *ret)
{
    int64_t name, bytes;
    int rc;

    if (left < ENTRY_BYTES) {
        return -EINVAL;
    }
    name = load_be16(p + 18);
    bytes = ENTRY_BYTES + (int64_t)load_be32(p + 20) + name;
    if (bytes > left || name == 0 || name > QCOW2_BITMAP_MAX_NAME ||
        memchr(p + bytes - name, 0, (size_t)name)) {
        return -EINVAL;
    }
    rc = check_entry(p, cluster_bits);
    if (rc < 0) {
        return rc;
    }
    *ret = (struct qcow2_bitmap_entry){
        .name = g_strndup((const char *)p + bytes - name, (gsize)name),
        .extra_bytes = load_be32(p + 20),
        .flags = load_be32(p + 12),
        .granularity_bits = p[17],
        .table_entries = load_be32(p + 8),
        .table_offset = (int64_t)load_be64(p),
    };
    ret->extra = g_memdup2(p + ENTRY_BYTES, ret->extra_bytes);
    return min_i64(align_up(bytes, 8), left);
}

int qcow2_bitmap_dir_parse(const uint8_t *dir, int64_t bytes, uint32_t n,
                           unsigned cluster_bits, GArray **ret)
{
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GArray) all =
        g_array_new(FALSE, FALSE, sizeof(struct qcow2_bitmap_entry));
    int64_t pos = 0;

    g_array_set_clear_func(all, (GDestroyNotify)qcow2_bitmap_entry_fini);
    for (uint32_t i = 0; i < n; i++) {
        struct qcow2_bitmap_entry e;
        int64_t step = parse_entry(dir + pos, bytes - pos, cluster_bits, &e);

        if (step < 0) {
            return (int)step;
        }
        pos += step;
        g_array_append_val(all, e);
        if (!g_hash_table_add(names, e.name)) {
            return -EINVAL; /* two of one name */
        }
    }
    if (pos != bytes) {
        return -EINVAL;
    }
    *ret = g_steal_pointer(&all);
    return 0;
}

uint8_t *qcow2_bitmap_entry_store(const struct qcow2_bitmap_entry *e,
                                  uint8_t *p)
{
    int64_t bytes = qcow2_bitmap_entry_bytes(e);
    size_t name = strlen(e->name);

    memset(p, 0, (size_t)bytes);
    store_be64(p, (uint64_t)e->table_offset);
    store_be32(p + 8, e->table_entries);
    store_be32(p + 12, e->flags);
    p[16] = TYPE_DIRTY_TRACKING;
    p[17] = (uint8_t)e->granularity_bits;
    store_be16(p + 18, (uint16_t)name);
    store_be32(p + 20, e->extra_bytes);
    if (e->extra_bytes > 0) {
        memcpy(p + ENTRY_BYTES, e->extra, e->extra_bytes);
    }
    memcpy(p + ENTRY_BYTES + e->extra_bytes, e->name, name);
    return p + bytes;
}
