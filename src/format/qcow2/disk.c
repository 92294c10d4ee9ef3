/* SPDX-License-Identifier: MIT */
/*
 * disk: the file below as such, the header in it, and the marks that say what
 * state the image is in.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "format/qcow2/bitmaps.h"
#include "format/qcow2/qcow2.h"

#define INCOMPATIBLE_OFFSET 72 /* of that field in the header */
#define MIN_AHEAD           MiB
#define MAX_AHEAD           (64 * MiB)

/* -- Reading and writing ------------------------------------------------- */

int co_fn qcow2_co_read_table(struct qcow2 *s, int64_t offset, void *buf,
                              int64_t bytes)
{
    struct iovec iov;
    struct iovs dst = iovs_one(&iov, buf, bytes);

    return node_co_preadv_past_end(s->file, offset, &dst); /* yields */
}

int co_fn qcow2_co_write_table(struct qcow2 *s, int64_t offset, const void *buf,
                               int64_t bytes)
{
    return node_co_pwrite(s->file, offset, buf, bytes, 0); /* yields */
}

/* How much longer than needed a file is made that has @length already. */
static int64_t reach_ahead(int64_t length)
{
    return max_i64(MIN_AHEAD, min_i64(length / 8, MAX_AHEAD));
}

int co_fn qcow2_co_reach(struct qcow2 *s, int64_t end)
{
    int64_t length = node_length(s->file);
    int64_t want = align_up(end + reach_ahead(length), s->cluster_size);
    int rc;

    if (end <= length) {
        return 0;
    }
    /* A write that makes a file longer is slower than one that does not, and
     * with O_DIRECT holds up all others; so most should not. */
    rc = node_co_truncate(s->file, want, PREALLOC_OFF, 0, NULL); /* yields */
    if (rc == 0) {
        s->reached = want;
        return 0;
    }
    if (node_driver(s->file)->traits & DRIVER_GROWS) {
        return 0; /* it will, if it can */
    }
    /* A device may be longer than it was, but is as long as it is. */
    rc = node_co_truncate(s->file, cluster_up(s, end), PREALLOC_OFF, 0, NULL);
    return rc == -EOPNOTSUPP || rc == -EINVAL ? -ENOSPC : rc;
}

/* Where the file may end: a table at its end is not filled up. */
static int64_t needed_end(const struct qcow2 *s)
{
    const struct qcow2_header *h = &s->header;
    const int64_t ends[] = {
        h->l1_offset + (int64_t)h->l1_entries * 8,
        h->bitmaps.directory_offset + h->bitmaps.directory_bytes,
    };

    for (size_t i = 0; i < G_N_ELEMENTS(ends); i++) {
        if (cluster_up(s, ends[i]) == s->used_end) {
            return ends[i];
        }
    }
    return s->used_end;
}

void co_fn qcow2_co_cut_ahead(struct qcow2 *s)
{
    int64_t end = needed_end(s);

    if (s->reached > end && node_length(s->file) == s->reached) {
        (void)!node_co_truncate(s->file, end, PREALLOC_OFF, 0,
                                NULL); /* yields */
    }
    s->reached = 0;
}

/* -- The header ---------------------------------------------------------- */

#define HEAD QCOW2_HEADER_SECTOR /* what is written at once, or not at all */

/* Where what is not zero ends in both, in whole sectors. */
static int64_t header_end(const uint8_t *a, const uint8_t *b, int64_t bytes)
{
    while (bytes > 0 && a[bytes - 1] == 0 && b[bytes - 1] == 0) {
        bytes--;
    }
    return align_up(bytes, HEAD);
}

static int co_fn write_part(struct qcow2 *s, const uint8_t *buf, int64_t from,
                            int64_t to)
{
    int rc = from < to ? qcow2_co_write_table(s, from, buf + from, to - from)
                       : 0; /* yields */

    return rc ? rc : node_co_flush(s->file); /* yields */
}

/*
 * Makes @to, which differs from @now behind the first sector, the header.  In
 * between it is in one sector, and the backing file's name behind all else:
 * neither @now nor @to needs to be whole then.  @now is used up.
 */
static int co_fn write_in_steps(struct qcow2 *s, const struct qcow2_header *h,
                                uint8_t *now, const uint8_t *to)
{
    const char *name = h->backing_name;
    size_t bytes = name ? strlen(name) : 0;
    int64_t end = header_end(now, to, s->cluster_size);
    int64_t name_end = align_up(end + (int64_t)bytes, HEAD);
    int rc;

    if (name_end > s->cluster_size ||
        qcow2_header_serialise_short(h, now, end) < 0) {
        return qcow2_co_write_table(s, 0, to, s->cluster_size); /* yields */
    }
    memcpy(now + end, name ? name : "", bytes);
    rc = write_part(s, now, end, name_end);            /* yields */
    rc = rc ? rc : write_part(s, now, 0, HEAD);        /* yields */
    rc = rc ? rc : write_part(s, to, HEAD, end);       /* yields */
    rc = rc ? rc : write_part(s, to, 0, HEAD);         /* yields */
    return rc ? rc : write_part(s, to, end, name_end); /* yields */
}

static int co_fn write_header(struct qcow2 *s, const struct qcow2_header *h)
{
    size_t bytes = (size_t)s->cluster_size;
    uint8_t *now = malloc(bytes), *to = malloc(bytes);
    int rc = now && to ? qcow2_header_serialise(h, to) : -ENOMEM;

    rc = rc ? rc : qcow2_co_read_table(s, 0, now, s->cluster_size);
    if (rc == 0 && memcmp(now + HEAD, to + HEAD, bytes - HEAD) == 0) {
        rc = qcow2_co_write_table(s, 0, to, HEAD); /* yields */
    } else if (rc == 0) {
        rc = write_in_steps(s, h, now, to); /* yields */
    }
    free(now);
    free(to);
    return rc;
}

/* Writes s->header, durable, so that a crash leaves it or the one before; if
 * need be in steps. */
static int co_fn write_current(struct qcow2 *s)
{
    struct qcow2_header h = s->header;
    int rc;

    co_mutex_lock(&s->header_write); /* yields */
    if (atomic_load(&s->damaged)) {
        h.incompatible |= QCOW2_CORRUPT;
    }
    rc = write_header(s, &h); /* yields */
    co_mutex_unlock(&s->header_write);
    return rc ? rc : node_co_flush(s->file); /* yields */
}

int co_fn qcow2_co_switch_header(struct qcow2 *s, const struct qcow2_header *to)
{
    struct qcow2_header old = s->header;
    int rc = node_co_flush(s->file); /* yields */

    if (rc < 0 || atomic_load(&s->corrupt)) {
        return rc < 0 ? rc : -EIO;
    }
    s->header = *to;
    rc = write_current(s); /* yields */
    if (rc == 0) {
        return 0;
    }
    s->header = old;
    if (write_current(s) < 0) { /* yields */
        atomic_store(&s->corrupt, true);
        log_error("%s: its header could not be written, nor the one before; "
                  "nothing more is written to it until it is opened again",
                  node_filename(s->node));
    }
    return rc;
}

/* Bitmaps that are not known are lost with the first change, as the format
 * asks of who does not keep them.  @meta held. */
static int co_fn load_bitmaps(struct qcow2 *s)
{
    int rc = qcow2_co_bitmaps_load(s); /* yields */

    if (rc != -EINVAL && rc != -EOPNOTSUPP) {
        return rc;
    }
    log_warning("%s: its bitmaps are %s and lost with this change",
                node_filename(s->node),
                rc == -EINVAL ? "damaged" : "of an unknown kind");
    s->header.autoclear &= ~(uint64_t)QCOW2_BITMAPS;
    return qcow2_co_bitmaps_load(s); /* none */
}

/* What the header is to say while the image is being written to.  Returns
 * whether that is something else than now. */
static bool mark_header(const struct qcow2 *s, struct qcow2_header *to)
{
    *to = s->header;
    to->long_end = false;
    to->autoclear &= QCOW2_KNOWN_AUTOCLEAR;
    if (s->lazy) {
        to->incompatible |= QCOW2_DIRTY;
    }
    if (!(to->autoclear & QCOW2_BITMAPS)) {
        memset(&to->bitmaps, 0, sizeof(to->bitmaps));
    }
    return to->long_end != s->header.long_end ||
           to->autoclear != s->header.autoclear ||
           to->incompatible != s->header.incompatible ||
           to->bitmaps.n != s->header.bitmaps.n;
}

static int co_fn begin_change(struct qcow2 *s)
{
    struct qcow2_header to;
    int rc = load_bitmaps(s); /* yields */

    if (rc < 0) {
        return rc;
    }
    /* Tables at the end may be shorter than the sectors we write.  A file that
     * cannot be longer is a device, and long enough. */
    if (!(node_driver(s->file)->traits & DRIVER_GROWS)) {
        (void)!qcow2_co_reach(s, s->used_end); /* yields */
    }
    return mark_header(s, &to) ? qcow2_co_switch_header(s, &to) : 0;
}

int co_fn qcow2_co_begin_change(struct qcow2 *s)
{
    int rc = 0;

    if (unlikely(atomic_load(&s->corrupt))) {
        return -EIO;
    }
    if (likely(atomic_load(&s->changed))) {
        return 0;
    }
    co_mutex_lock(&s->meta); /* yields */
    if (!atomic_load(&s->changed)) {
        rc = begin_change(s); /* yields */
        atomic_store(&s->changed, rc == 0);
    }
    co_mutex_unlock(&s->meta);
    return rc;
}

/* -- Corruption ---------------------------------------------------------- */

/*
 * Sets the bit on disk; if that fails it is found again next time.  Callers may
 * hold @meta or not, so the header in memory cannot be looked at: whatever
 * is on disk gets the bit, and so does what is written from now on.
 */
static void co_fn mark_corrupt(struct qcow2 *s)
{
    uint8_t head[INCOMPATIBLE_OFFSET + 8];
    uint8_t *bits = head + INCOMPATIBLE_OFFSET;
    int rc;

    if (node_is_rdonly(s->node)) {
        return;
    }
    co_mutex_lock(&s->header_write);                    /* yields */
    rc = qcow2_co_read_table(s, 0, head, sizeof(head)); /* yields */
    if (rc == 0 && load_be32(head + 4) >= 3) {
        store_be64(bits, load_be64(bits) | QCOW2_CORRUPT);
        rc = qcow2_co_write_table(s, INCOMPATIBLE_OFFSET, bits, 8);
    }
    co_mutex_unlock(&s->header_write);
    if (rc == 0) {
        (void)!node_co_flush(s->file); /* yields */
    }
}

int co_fn qcow2_co_set_corrupt(struct qcow2 *s, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    if (atomic_exchange(&s->corrupt, true)) {
        return -EIO;
    }
    atomic_store(&s->damaged, true);
    va_start(ap, format);
    text = g_strdup_vprintf(format, ap);
    va_end(ap);
    mark_corrupt(s); /* yields */
    /* No caller can pass this on: whoever wrote gets a plain I/O error. */
    log_error("%s: is corrupt: %s; nothing more is written to it until "
              "'check -r all' has repaired it",
              node_filename(s->node), text);
    return -EIO;
}
