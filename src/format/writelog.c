/* SPDX-License-Identifier: MIT */
/*
 * writelog: a filter that writes down what is written through it, to find out
 * what a crash could leave behind.
 *
 *   log.…   options of the file that the log goes to, log.filename=PATH
 *
 * A write is logged when it is complete, a flush when it begins and, as a mark,
 * when it has ended: entries above a flush are durable from its mark on, and no
 * others need be.  Zeroes are logged as data, what is cut off the end as a
 * discard, and what is added there as a mark.
 * Requests pass in sectors of 512 bytes, as a disk would get them.
 */
#include "format/writelog.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/align.h"
#include "base/endian.h"
#include "base/error.h"
#include "block/driver.h"
#include "block/node.h"
#include "format/pass.h"
#include "loop/sync.h"

#define ZERO_STEP (256 * KiB) /* most zeroes in one entry */

static _Atomic uint64_t order; /* of what happens, whichever log it is in */

struct writelog {
    struct co_mutex lock; /* guards the rest */
    struct node *log;
    int64_t next;     /* where in the log the next entry goes */
    uint64_t entries; /* before that */
};

/* -- The log ------------------------------------------------------------- */

/* Writes the number of entries, so that what is there can be read. */
static int co_fn log_super(struct writelog *w)
{
    uint8_t super[WRITELOG_SECTOR] = {0};

    store_le64(super + WRITELOG_SUPER_MAGIC, WRITELOG_MAGIC);
    store_le64(super + WRITELOG_SUPER_VERSION, WRITELOG_VERSION);
    store_le64(super + WRITELOG_SUPER_ENTRIES, w->entries);
    store_le32(super + WRITELOG_SUPER_SECTOR_SIZE, WRITELOG_SECTOR);
    return node_co_pwrite(w->log, 0, super, sizeof(super), 0); /* yields */
}

/* What an entry says. */
struct entry {
    int64_t offset, bytes;
    unsigned flags;
    uint64_t began;
    enum writelog_mark mark;
    uint64_t value;
};

static void entry_store(uint8_t *head, const struct entry *e, uint64_t now)
{
    store_le64(head + WRITELOG_ENTRY_SECTOR,
               (uint64_t)(e->offset / WRITELOG_SECTOR));
    store_le64(head + WRITELOG_ENTRY_SECTORS,
               (uint64_t)(e->bytes / WRITELOG_SECTOR));
    store_le64(head + WRITELOG_ENTRY_FLAGS, e->flags);
    store_le64(head + WRITELOG_ENTRY_ORDER, now);
    store_le64(head + WRITELOG_ENTRY_BEGAN, e->began);
    store_le64(head + WRITELOG_ENTRY_MARK, e->mark);
    store_le64(head + WRITELOG_ENTRY_VALUE, e->value);
}

static uint64_t now(void)
{
    return atomic_fetch_add(&order, 1);
}

/* Appends an entry and its data (may be NULL); *@ret_order (may be NULL) is
 * its order. */
static int co_fn log_entry(struct writelog *w, const struct entry *e,
                           const struct iovs *data, uint64_t *ret_order)
{
    uint8_t head[WRITELOG_SECTOR] = {0};
    uint64_t moment = now();
    int rc;

    entry_store(head, e, moment);
    co_mutex_lock(&w->lock);                                     /* yields */
    rc = node_co_pwrite(w->log, w->next, head, sizeof(head), 0); /* yields */
    if (rc == 0 && data) {
        rc = node_co_pwritev(w->log, w->next + WRITELOG_SECTOR, data, 0);
    }
    if (rc == 0) {
        w->next += WRITELOG_SECTOR + (data ? e->bytes : 0);
        w->entries++;
        rc = e->flags & WRITELOG_FLUSH ? log_super(w) : 0; /* yields */
    }
    co_mutex_unlock(&w->lock);
    if (rc == 0 && ret_order) {
        *ret_order = moment;
    }
    return rc;
}

static int co_fn log_discard(struct writelog *w, int64_t offset, int64_t bytes,
                             uint64_t began)
{
    struct entry e = {
        .offset = offset,
        .bytes = bytes,
        .flags = WRITELOG_DISCARD,
        .began = began,
    };

    return log_entry(w, &e, NULL, NULL); /* yields */
}

static int co_fn log_mark(struct writelog *w, enum writelog_mark mark,
                          uint64_t value, uint64_t began)
{
    struct entry e = {
        .flags = WRITELOG_MARK,
        .began = began,
        .mark = mark,
        .value = value,
    };

    return log_entry(w, &e, NULL, NULL); /* yields */
}

/* -- Requests ------------------------------------------------------------ */

/* A write that ends at an unaligned end of the file is logged with zeroes
 * behind it. */
static int co_fn log_write(struct writelog *w, int64_t offset,
                           const struct iovs *src, unsigned flags,
                           uint64_t began)
{
    struct entry e = {
        .offset = offset,
        .bytes = align_up(src->bytes, WRITELOG_SECTOR),
        .flags = flags,
        .began = began,
    };
    uint8_t *buf;
    struct iovec iov;
    struct iovs all;
    int rc;

    if (e.bytes == src->bytes) {
        return log_entry(w, &e, src, NULL); /* yields */
    }
    buf = calloc(1, (size_t)e.bytes);
    if (!buf) {
        return -ENOMEM;
    }
    iovs_to_buf(src, 0, buf, src->bytes);
    all = iovs_one(&iov, buf, e.bytes);
    rc = log_entry(w, &e, &all, NULL); /* yields */
    free(buf);
    return rc;
}

static int co_fn writelog_co_pwritev(struct node *node, int64_t offset,
                                     const struct iovs *src, unsigned flags)
{
    unsigned fua = flags & REQ_FUA ? WRITELOG_FUA : 0;
    uint64_t began = now();
    int rc = node_co_pwritev(node_file(node), offset, src, flags); /* yields */

    return rc ? rc : log_write(node_state(node), offset, src, fua, began);
}

static int co_fn writelog_co_pwrite_zeroes(struct node *node, int64_t offset,
                                           int64_t bytes, unsigned flags)
{
    struct writelog *w = node_state(node);
    int64_t step = min_i64(align_up(bytes, WRITELOG_SECTOR), ZERO_STEP);
    uint64_t began = now();
    void *zeroes;
    int rc = node_co_pwrite_zeroes(node_file(node), offset, bytes, flags);

    if (rc < 0) {
        return rc;
    }
    zeroes = calloc(1, (size_t)step);
    rc = zeroes ? 0 : -ENOMEM;
    for (int64_t pos = 0; pos < bytes && rc == 0; pos += step) {
        struct iovec iov;
        struct iovs src = iovs_one(&iov, zeroes, min_i64(bytes - pos, step));

        rc = log_write(w, offset + pos, &src, 0, began); /* yields */
    }
    free(zeroes);
    return rc;
}

static int co_fn writelog_co_pdiscard(struct node *node, int64_t offset,
                                      int64_t bytes)
{
    uint64_t began = now();
    int rc = node_co_pdiscard(node_file(node), offset, bytes); /* yields */

    return rc ? rc
              : log_discard(node_state(node), offset,
                            align_down(bytes, WRITELOG_SECTOR), began);
}

/* Flushes the file itself, though the core will: to know when that ends. */
static int co_fn writelog_co_flush_to_disk(struct node *node)
{
    struct writelog *w = node_state(node);
    struct entry e = {.flags = WRITELOG_FLUSH, .began = now()};
    uint64_t moment = 0;
    int rc = log_entry(w, &e, NULL, &moment); /* yields */

    rc = rc ? rc : node_co_flush(node_file(node)); /* yields */
    return rc ? rc : log_mark(w, WRITELOG_MARK_FLUSHED, moment, e.began);
}

static int co_fn log_length(struct node *node, int64_t old, int64_t length,
                            uint64_t began)
{
    struct writelog *w = node_state(node);
    int64_t from = align_up(length, WRITELOG_SECTOR);

    if (length > old) {
        return log_mark(w, WRITELOG_MARK_LENGTH, (uint64_t)length, began);
    }
    return from < old
               ? log_discard(w, from, align_up(old, WRITELOG_SECTOR) - from,
                             began) /* yields */
               : 0;
}

static int co_fn writelog_co_truncate(struct node *node, int64_t length,
                                      enum prealloc_mode prealloc,
                                      unsigned flags, GError **err)
{
    int64_t old = node_length(node);
    uint64_t began = now();
    int rc = node_co_truncate(node_file(node), length, prealloc, flags, err);

    if (rc < 0) {
        return rc;
    }
    node_set_length(node, length);
    rc = log_length(node, old, length, began); /* yields */
    return rc ? error_set_errno(err, rc, "%s: cannot write the log",
                                node_filename(node))
              : 0;
}

/* -- Opening ------------------------------------------------------------- */

static void writelog_limits(struct node *node, struct node_limits *limits)
{
    limits->request_align = max_i64(limits->request_align, WRITELOG_SECTOR);
    limits->zeroes_align = WRITELOG_SECTOR;
    limits->discard_align = WRITELOG_SECTOR;
}

static int co_fn writelog_co_open(struct node *node, struct options *opts,
                                  GError **err)
{
    struct writelog *w = node_state(node);
    int rc = node_co_open_child(node, "file", opts, node_flags(node), err);

    if (rc == 0) {
        rc = node_co_open_child(node, "log", opts, NODE_RDWR, err); /* yields */
    }
    if (rc < 0) {
        return rc;
    }
    w->log = node_child(node, "log");
    w->next = WRITELOG_SECTOR;
    rc = log_super(w); /* yields */
    if (rc < 0) {
        return error_set_errno(err, rc, "%s: cannot write the log",
                               node_filename(w->log));
    }
    co_mutex_init(&w->lock);
    node_set_length(node, node_length(node_file(node)));
    return 0;
}

static void co_fn writelog_co_close(struct node *node)
{
    struct writelog *w = node_state(node);

    (void)!log_super(w); /* what a flush has counted is there; yields */
    co_mutex_fini(&w->lock);
}

const struct driver driver_writelog = {
    .name = "writelog",
    .state_size = sizeof(struct writelog),
    .traits = DRIVER_FILTER | DRIVER_GROWS,
    .write_flags = REQ_FUA | REQ_WRITE_UNCHANGED,
    .zeroes_flags = REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .co_open = writelog_co_open,
    .co_close = writelog_co_close,
    .limits = writelog_limits,
    .co_preadv = pass_co_preadv,
    .co_pwritev = writelog_co_pwritev,
    .co_pwrite_zeroes = writelog_co_pwrite_zeroes,
    .co_pdiscard = writelog_co_pdiscard,
    .co_flush_to_disk = writelog_co_flush_to_disk,
    .co_truncate = writelog_co_truncate,
};
