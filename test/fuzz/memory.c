/* SPDX-License-Identifier: MIT */

#include "memory.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "base/align.h"
#include "block/driver.h"
#include "block/node.h"

struct file {
    int64_t length;
    GHashTable *pages; /* int64_t * (number) to uint8_t * */
};

static struct file files[MEMORY_FILES];
static int fail_read;

/* -- Files --------------------------------------------------------------- */

void memory_reset(int id, int64_t length)
{
    struct file *f = &files[id];

    if (f->pages) {
        g_hash_table_unref(f->pages);
        f->pages = NULL;
    }
    if (length >= 0) {
        f->length = length;
        f->pages =
            g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    }
}

void memory_fail_read(int n)
{
    fail_read = n;
}

static uint8_t *find_page(const struct file *f, int64_t number)
{
    return g_hash_table_lookup(f->pages, &number);
}

static uint8_t *make_page(struct file *f, int64_t number)
{
    uint8_t *page = find_page(f, number);

    if (!page) {
        page = g_malloc0(MEMORY_PAGE);
        g_hash_table_insert(f->pages, g_memdup2(&number, sizeof(number)), page);
    }
    return page;
}

/* How many of @bytes at @offset are in its page, and where in it. */
static int64_t in_page(int64_t offset, int64_t bytes, int64_t *ret_at)
{
    *ret_at = offset % MEMORY_PAGE;
    return min_i64(bytes, MEMORY_PAGE - *ret_at);
}

void memory_put(int id, int64_t offset, const uint8_t *buf, int64_t bytes)
{
    struct file *f = &files[id];
    int64_t end = min_i64(offset + bytes, f->length);
    int64_t at;

    if (offset < 0) {
        buf -= offset;
        offset = 0;
    }
    while (offset < end) {
        int64_t n = in_page(offset, end - offset, &at);

        memcpy(make_page(f, offset / MEMORY_PAGE) + at, buf, (size_t)n);
        offset += n;
        buf += n;
    }
}

/* Makes what is stored of a range read as @byte; pages of zeroes are free. */
static void fill(struct file *f, int64_t offset, int64_t bytes, int byte)
{
    GHashTableIter iter;
    gpointer key, value;

    g_hash_table_iter_init(&iter, f->pages);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        int64_t at = *(int64_t *)key * MEMORY_PAGE;
        int64_t from = max_i64(at, offset);
        int64_t to = min_i64(at + MEMORY_PAGE, offset + bytes);

        if (byte == 0 && to - from == MEMORY_PAGE) {
            g_hash_table_iter_remove(&iter);
        } else if (from < to) {
            memset((uint8_t *)value + (from - at), byte, (size_t)(to - from));
        }
    }
}

/* -- The driver ---------------------------------------------------------- */

static struct file *file_of(struct node *node)
{
    return *(struct file **)node_state(node);
}

static int co_fn memory_co_open(struct node *node, struct options *opts,
                                GError **err)
{
    struct file **state = node_state(node);
    int64_t id = 0;
    int rc = options_take_int(opts, "id", 0, MEMORY_FILES - 1, &id, err);

    *state = &files[id];
    node_set_length(node, (*state)->length);
    node_set_filename(node, "memory");
    return rc < 0 ? rc : 0;
}

static int co_fn memory_co_preadv(struct node *node, int64_t offset,
                                  const struct iovs *dst)
{
    struct file *f = file_of(node);
    int64_t done = 0, at;

    if (fail_read > 0 && --fail_read == 0) {
        return -EIO;
    }
    while (done < dst->bytes) {
        int64_t n = in_page(offset + done, dst->bytes - done, &at);
        uint8_t *page = find_page(f, (offset + done) / MEMORY_PAGE);

        if (page) {
            iovs_from_buf(dst, done, page + at, n);
        } else {
            iovs_memset(dst, done, 0, n);
        }
        done += n;
    }
    return 0;
}

static int co_fn memory_co_pwritev(struct node *node, int64_t offset,
                                   const struct iovs *src, unsigned flags)
{
    struct file *f = file_of(node);
    int64_t done = 0, at;

    while (done < src->bytes) {
        int64_t n = in_page(offset + done, src->bytes - done, &at);

        if (g_hash_table_size(f->pages) >= MEMORY_MAX_PAGES) {
            return -ENOSPC;
        }
        iovs_to_buf(src, done, make_page(f, (offset + done) / MEMORY_PAGE) + at,
                    n);
        done += n;
    }
    f->length = max_i64(f->length, offset + done);
    return 0;
}

static int co_fn memory_co_pwrite_zeroes(struct node *node, int64_t offset,
                                         int64_t bytes, unsigned flags)
{
    struct file *f = file_of(node);

    fill(f, offset, bytes, 0);
    f->length = max_i64(f->length, offset + bytes);
    return 0;
}

/* What is discarded is not zeroes, so that who relies on it is found out. */
static int co_fn memory_co_pdiscard(struct node *node, int64_t offset,
                                    int64_t bytes)
{
    fill(file_of(node), offset, bytes, 0xdd);
    return 0;
}

static int co_fn memory_co_truncate(struct node *node, int64_t length,
                                    enum prealloc_mode prealloc, unsigned flags,
                                    GError **err)
{
    struct file *f = file_of(node);

    if (length < f->length) {
        fill(f, length, f->length - length, 0);
    }
    f->length = length;
    node_set_length(node, length);
    return 0;
}

static int co_fn memory_co_flush_to_disk(struct node *node)
{
    return 0;
}

const struct driver driver_memory = {
    .name = "memory",
    .state_size = sizeof(struct file *),
    .traits = DRIVER_LEAF | DRIVER_GROWS,
    .write_flags = REQ_FUA,
    .zeroes_flags = REQ_MAY_UNMAP | REQ_NO_FALLBACK | REQ_FUA,
    .co_open = memory_co_open,
    .co_preadv = memory_co_preadv,
    .co_pwritev = memory_co_pwritev,
    .co_pwrite_zeroes = memory_co_pwrite_zeroes,
    .co_pdiscard = memory_co_pdiscard,
    .co_flush_to_disk = memory_co_flush_to_disk,
    .co_truncate = memory_co_truncate,
};
