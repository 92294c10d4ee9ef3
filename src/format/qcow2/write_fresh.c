/* SPDX-License-Identifier: MIT */
/*
 * write_fresh: data to clusters that are to be mapped anew.
 *
 * Those of a write form a "fresh run": consecutive clusters that get places in
 * a row, old or new; those that are in place may be among them, if they lie in
 * that row.  What the write leaves of its first and last cluster (or
 * subcluster), unless that is in place, is read and goes out with the data in
 * one write:
 *
 *     |  head  |        data        |   tail   |
 *     from     offset               end        to
 *
 * Only when that is on disk do the L2 entries change.  Head and tail are left
 * out where they are zeroes and the place was never written before.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/qcow2/qcow2.h"
#include "format/qcow2/write_priv.h"

/* -- Runs of clusters that are to be mapped anew ------------------------- */

/* Guest ranges are [from, to). */
struct fresh_run {
    struct qcow2 *s;
    int64_t offset, bytes; /* what is written */
    int64_t first, n;      /* its clusters: where the first begins, how many */
    int64_t host;          /* where the first one goes */
    bool in_place;         /* they have that place already */
    bool fresh;            /* the place reads as zeroes */
    int64_t from, to;      /* data and what goes with them */
    struct busy busy;
    struct l2_ref ref;
};

/* How a cluster is to be treated. */
enum fate {
    FATE_KEEP,     /* all that is written is in place already */
    FATE_IN_PLACE, /* it has a place that is ours alone */
    FATE_MOVE,     /* it needs a new one */
    FATE_BROKEN,   /* its entry is not possible */
};

/* Subcluster @sub is the first one that is written. */
static enum fate entry_fate(const struct qcow2 *s, struct qcow2_entry e,
                            unsigned sub)
{
    bool copied = (e.l2 & QCOW2_COPIED) != 0;

    if (unlikely(qcow2_entry_is_broken(&s->entry, e))) {
        return FATE_BROKEN;
    }
    switch (qcow2_entry_kind(&s->entry, e, sub)) {
    case QCOW2_DATA:
        return copied ? FATE_KEEP : FATE_MOVE;
    case QCOW2_HOLE_ALLOC:
    case QCOW2_ZEROES_ALLOC:
        return copied ? FATE_IN_PLACE : FATE_MOVE;
    case QCOW2_HOLE:
    case QCOW2_ZEROES:
    case QCOW2_PACKED:
    case QCOW2_BROKEN:
        break;
    }
    return FATE_MOVE;
}

/* Can a cluster of fate @next follow those of fate @fate in a run? */
static bool fates_join(enum fate fate, enum fate next)
{
    return fate == next ? fate != FATE_BROKEN
                        : fate <= FATE_IN_PLACE && next <= FATE_IN_PLACE;
}

static unsigned sub_of(const struct qcow2 *s, int64_t offset)
{
    return (unsigned)(offset >> s->sub_bits) & (s->n_subs - 1);
}

/* Looks at the entries of the run: how many go together, and how.  Clusters
 * that stay may be among those that are mapped where they are. */
static enum fate run_look(struct fresh_run *r)
{
    const struct qcow2 *s = r->s;
    const uint8_t *data = slice_lock(r->ref.slice);
    enum fate fate = FATE_KEEP;
    int64_t i;

    for (i = 0; i < r->n; i++) {
        struct qcow2_entry e = l2_load(s, data, r->ref.index + (int)i);
        unsigned sub = i == 0 ? sub_of(s, r->offset) : 0;
        enum fate f = entry_fate(s, e, sub);

        if (i == 0) {
            fate = f;
            r->host = qcow2_entry_host(e);
        } else if (!fates_join(fate, f) ||
                   (f != FATE_MOVE &&
                    qcow2_entry_host(e) != r->host + (i << s->cluster_bits))) {
            break;
        }
        fate = f > fate ? f : fate;
    }
    slice_unlock(r->ref.slice);
    r->n = i;
    return fate;
}

/* Gives the run a place: all of it, or the beginning of it.  @meta held. */
static int co_fn run_place(struct fresh_run *r)
{
    struct qcow2 *s = r->s;
    int64_t n;
    int rc;

    if (s->external) {
        r->host = r->first;
        return 0;
    }
    n = qcow2_co_alloc(s, r->n, &r->host, &r->fresh); /* yields */
    if (n < 0) {
        return (int)n;
    }
    r->n = n;
    r->fresh = r->fresh && !s->encrypted; /* what is there gets decrypted */
    rc = qcow2_co_reach(s, r->host + (n << s->cluster_bits)); /* yields */
    if (rc < 0) {
        qcow2_co_unalloc(s, r->host, n); /* yields */
    }
    return rc;
}

/* Finds out what is to be done.  Returns 1, or 0 when nothing is to be: the
 * clusters were mapped meanwhile. */
static int co_fn run_plan(struct fresh_run *r)
{
    struct qcow2 *s = r->s;
    enum fate fate;
    int rc = qcow2_co_l2_get(s, r->offset, true, &r->ref); /* yields */

    if (rc < 0) {
        return rc;
    }
    r->n = min_i64(r->n, r->ref.end - r->ref.index);
    fate = run_look(r);
    r->in_place = fate == FATE_IN_PLACE;
    if (fate == FATE_MOVE) {
        rc = run_place(r); /* yields */
    } else if (unlikely(fate == FATE_BROKEN)) {
        rc = qcow2_co_set_broken(s, r->offset); /* yields */
    }
    r->bytes =
        min_i64(r->bytes, r->first + (r->n << s->cluster_bits) - r->offset);
    return rc ? rc : fate != FATE_KEEP;
}

/* -- What goes with the data --------------------------------------------- */

/* The entry of the run's first or last cluster, as it is now. */
static struct qcow2_entry run_entry(const struct fresh_run *r, int64_t i)
{
    const uint8_t *data = slice_lock(r->ref.slice);
    struct qcow2_entry e = l2_load(r->s, data, r->ref.index + (int)i);

    slice_unlock(r->ref.slice);
    return e;
}

/* Does the cluster have data elsewhere, so that all of it has to move? */
static bool moves_whole(const struct fresh_run *r, struct qcow2_entry e)
{
    return !r->s->entry.extended ||
           (!r->in_place &&
            ((e.l2 & QCOW2_COMPRESSED) || qcow2_entry_host(e) != 0));
}

/* Is the subcluster around @offset, of entry @e, in place already? */
static bool sub_is_there(const struct fresh_run *r, struct qcow2_entry e,
                         int64_t offset)
{
    return r->in_place && qcow2_entry_kind(&r->s->entry, e,
                                           sub_of(r->s, offset)) == QCOW2_DATA;
}

static void run_widen(struct fresh_run *r)
{
    const struct qcow2 *s = r->s;
    int64_t end = r->offset + r->bytes;
    struct qcow2_entry e = run_entry(r, 0);

    r->from = r->offset;
    r->to = end;
    if (!sub_is_there(r, e, r->offset)) {
        r->from =
            moves_whole(r, e) ? r->first : align_down(r->offset, s->sub_size);
    }
    e = run_entry(r, r->n - 1);
    if (!sub_is_there(r, e, end - 1)) {
        r->to = moves_whole(r, e) ? r->first + (r->n << s->cluster_bits)
                                  : align_up(end, s->sub_size);
    }
    /* A data file ends where the disk ends, unless it has VM state as well. */
    if (s->external && r->offset < node_length(s->node)) {
        r->to = min_i64(r->to, max_i64(end, node_length(s->node)));
    }
}

/* Fills @buf with guest bytes as they are now.  *@zero: all of them are 0. */
static int co_fn read_old(struct qcow2 *s, int64_t offset, uint8_t *buf,
                          int64_t bytes, bool *zero)
{
    struct iovec iov;
    struct iovs dst = iovs_one(&iov, buf, bytes);
    int rc;

    if (bytes == 0 || qcow2_co_is_zero(s, offset, bytes)) {
        memset(buf, 0, (size_t)bytes);
        *zero = true;
        return 0;
    }
    node_event(s->file, EVENT_COW_READ);
    rc = qcow2_co_read(s, offset, &dst); /* yields */
    *zero = rc == 0 && buf_is_zero(buf, bytes);
    return rc;
}

/* Memory for head, tail and the vector that has data in between. */
struct merged {
    uint8_t *edges; /* head, then tail */
    int64_t head, tail;
    struct iovec *iov;
    struct iovs all;
};

static int merged_init(struct merged *m, const struct fresh_run *r,
                       const struct iovs *src, int64_t at)
{
    int n = iovs_count(src, at, r->bytes);

    m->head = r->offset - r->from;
    m->tail = r->to - (r->offset + r->bytes);
    m->edges = node_try_alloc(r->s->data, max_i64(m->head + m->tail, 1));
    m->iov = malloc((size_t)(n + 2) * sizeof(*m->iov));
    return m->edges && m->iov ? 0 : -ENOMEM;
}

static void merged_fini(struct merged *m)
{
    free(m->edges);
    free(m->iov);
}

/* Puts head, data and tail together, as far as they have to be written. */
static void merged_join(struct merged *m, const struct fresh_run *r,
                        const struct iovs *src, int64_t at, bool with_head,
                        bool with_tail)
{
    int n = 0;

    if (with_head) {
        m->iov[n].iov_base = m->edges;
        m->iov[n++].iov_len = (size_t)m->head;
    }
    n += iovs_slice(src, at, r->bytes, m->iov + n);
    if (with_tail) {
        m->iov[n].iov_base = m->edges + m->head;
        m->iov[n++].iov_len = (size_t)m->tail;
    }
    m->all = iovs_of(m->iov, n);
}

/* Writes the data of @src from @at on, and what goes with them. */
static int co_fn run_write(struct fresh_run *r, const struct iovs *src,
                           int64_t at)
{
    struct qcow2 *s = r->s;
    struct merged m = {.edges = NULL};
    bool head_zero = false, tail_zero = false;
    bool with_head, with_tail;
    int64_t from;
    int rc;

    run_widen(r);
    rc = merged_init(&m, r, src, at);
    rc = rc ? rc : read_old(s, r->from, m.edges, m.head, &head_zero);
    rc = rc ? rc
            : read_old(s, r->offset + r->bytes, m.edges + m.head, m.tail,
                       &tail_zero); /* yields */
    if (rc == 0) {
        with_head = m.head > 0 && !(head_zero && r->fresh);
        with_tail = m.tail > 0 && !(tail_zero && r->fresh);
        merged_join(&m, r, src, at, with_head, with_tail);
        from = with_head ? r->from : r->offset;
        rc = qcow2_co_write_data(s, from, r->host + from - r->first,
                                 &m.all); /* yields */
    }
    merged_fini(&m);
    return rc;
}

/* -- Linking ------------------------------------------------------------- */

/* What the entry of the run's @i-th cluster, now @old, is to be. */
static struct qcow2_entry run_new_entry(const struct fresh_run *r, int64_t i,
                                        struct qcow2_entry old)
{
    const struct qcow2 *s = r->s;
    int64_t cluster = r->first + (i << s->cluster_bits);
    int64_t host = r->host + (i << s->cluster_bits);
    struct qcow2_entry e = {.l2 = (uint64_t)host | QCOW2_COPIED};
    int64_t from = max_i64(r->offset, cluster) - cluster;
    int64_t to =
        min_i64(r->offset + r->bytes, cluster + s->cluster_size) - cluster;
    uint64_t subs;

    if (!s->entry.extended) {
        return e;
    }
    if (old.l2 & QCOW2_COMPRESSED) {
        e.bitmap = QCOW2_ALL_ALLOC;
        return e;
    }
    /* What the others are does not depend on where the cluster is. */
    subs = qcow2_sub_mask((unsigned)(from >> s->sub_bits),
                          (unsigned)((to + s->sub_size - 1) >> s->sub_bits));
    e.bitmap = (old.bitmap | subs) & ~(subs << QCOW2_SUBCLUSTERS);
    return e;
}

static int run_link(struct fresh_run *r)
{
    struct qcow2 *s = r->s;
    uint8_t *data;

    (void)slice_lock(r->ref.slice);
    data = slice_edit_locked(r->ref.slice);
    for (int64_t i = 0; data && i < r->n; i++) {
        int index = r->ref.index + (int)i;
        struct qcow2_entry old = l2_load(s, data, index);

        l2_store(s, data, index, run_new_entry(r, i, old));
        if (!r->in_place) {
            qcow2_free_entry(s, old, QCOW2_FREE_OTHER);
        }
    }
    slice_unlock(r->ref.slice);
    return data ? 0 : -ENOMEM;
}

/* -- Writing ------------------------------------------------------------- */

static void co_fn run_give_up(struct fresh_run *r)
{
    struct qcow2 *s = r->s;

    if (!r->in_place && !s->external) {
        co_mutex_lock(&s->meta); /* yields */
        qcow2_co_unalloc(s, r->host, r->n);
        co_mutex_unlock(&s->meta);
    }
}

int64_t co_fn qcow2_co_write_fresh(struct qcow2 *s, int64_t offset,
                                   const struct iovs *src, int64_t at,
                                   int64_t bytes)
{
    struct fresh_run r = {.s = s, .offset = offset};
    int64_t table = INT64_C(1) << (s->slice_bits + s->cluster_bits);
    int rc;

    r.bytes = min_i64(bytes, align_down(offset, table) + table - offset);
    r.first = cluster_down(s, offset);
    r.n = clusters_of(s, offset + r.bytes - r.first);
    busy_begin(s, &r.busy, r.first, r.n << s->cluster_bits); /* yields */

    co_mutex_lock(&s->meta); /* yields */
    rc = run_plan(&r);       /* yields */
    co_mutex_unlock(&s->meta);
    if (rc > 0) {
        busy_shrink(s, &r.busy, r.n << s->cluster_bits);
        rc = run_write(&r, src, at); /* yields */
        rc = rc ? rc : run_link(&r);
        if (rc < 0) {
            run_give_up(&r); /* yields */
        }
    } else {
        r.bytes = 0;
    }
    l2_ref_put(&r.ref);
    busy_end(s, &r.busy);
    return rc < 0 ? rc : r.bytes;
}
