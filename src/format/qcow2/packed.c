/* SPDX-License-Identifier: MIT */
/*
 * packed: compressed clusters.
 *
 * Compressing and expanding take long, so they are done in the thread pool.
 * Who does either takes a bench: a codec and the two buffers it works on.
 * There is a limited number of benches, so that many requests at once do not
 * take all the memory there is; who finds none waits.  A bench that has
 * expanded a cluster remembers it: small reads that walk through a cluster
 * expand it once.
 *
 * Compressed data are written one behind the other, also into a cluster that
 * holds some already; each of those that touch a cluster counts as one
 * reference to it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "format/fan.h"
#include "format/qcow2/codec.h"
#include "format/qcow2/qcow2.h"
#include "loop/loop.h"

#define BENCH_MEMORY (32 * MiB) /* of all of one image, roughly */
#define MIN_BENCHES  4
#define MAX_BENCHES  32

struct bench {
    struct list link; /* s->packing.idle */
    struct codec *codec;
    uint8_t *plain;  /* a cluster */
    uint8_t *packed; /* as much as an entry can name */

    /* What @plain holds: the cluster that was packed at @host (0: nothing),
     * as of @generation. */
    int64_t host;
    uint64_t generation;

    /* The job that it does, for the worker thread. */
    size_t packed_bytes;
};

/* -- Benches ------------------------------------------------------------- */

void qcow2_packing_init(struct qcow2 *s)
{
    pthread_mutex_init(&s->packing.lock, NULL);
    list_init(&s->packing.idle);
    co_queue_init(&s->packing.waiters);
}

static void bench_free(struct bench *b)
{
    if (b) {
        codec_free(b->codec);
        free(b->plain);
        free(b->packed);
        free(b);
    }
}

void qcow2_packing_fini(struct qcow2 *s)
{
    struct bench *b;

    while ((b = list_first(&s->packing.idle, struct bench, link))) {
        list_del(&b->link);
        bench_free(b);
    }
    pthread_mutex_destroy(&s->packing.lock);
}

/* How long the data of one entry can be. */
static int64_t packed_room(const struct qcow2 *s)
{
    return 2 * s->cluster_size;
}

static struct bench *bench_new(const struct qcow2 *s)
{
    struct bench *b = calloc(1, sizeof(*b));

    if (!b) {
        return NULL;
    }
    b->codec = codec_new(s->header.compression);
    b->plain = malloc((size_t)s->cluster_size);
    b->packed = malloc((size_t)packed_room(s));
    if (!b->codec || !b->plain || !b->packed) {
        bench_free(b);
        return NULL;
    }
    return b;
}

static int max_benches(const struct qcow2 *s)
{
    int64_t n = BENCH_MEMORY / (3 * s->cluster_size);

    return (int)max_i64(MIN_BENCHES, min_i64(n, MAX_BENCHES));
}

/* The idle bench that holds the cluster packed at @host, or else any. */
static struct bench *bench_find_locked(struct qcow2 *s, int64_t host)
{
    struct bench *b;

    list_for_each(b, &s->packing.idle, link) {
        if (host && b->host == host && b->generation == s->packing.generation) {
            return b;
        }
    }
    return list_first(&s->packing.idle, struct bench, link);
}

/* A bench for the caller alone; NULL when there is no memory. */
static struct bench *co_fn bench_take(struct qcow2 *s, int64_t host)
{
    struct bench *b;

    pthread_mutex_lock(&s->packing.lock);
    while (!(b = bench_find_locked(s, host)) &&
           s->packing.n >= max_benches(s)) {
        co_queue_wait_pthread(&s->packing.waiters, &s->packing.lock);
    }
    if (b) {
        list_del(&b->link);
        if (b->host != host || b->generation != s->packing.generation) {
            b->host = 0;
        }
        b->generation = s->packing.generation;
    } else {
        b = bench_new(s);
        s->packing.n += b != NULL;
    }
    pthread_mutex_unlock(&s->packing.lock);
    return b;
}

static void bench_give(struct qcow2 *s, struct bench *b)
{
    pthread_mutex_lock(&s->packing.lock);
    list_add_tail(&s->packing.idle, &b->link);
    (void)co_queue_wake_one(&s->packing.waiters);
    pthread_mutex_unlock(&s->packing.lock);
}

void qcow2_packing_forget(struct qcow2 *s)
{
    pthread_mutex_lock(&s->packing.lock);
    s->packing.generation++;
    pthread_mutex_unlock(&s->packing.lock);
}

/* -- In the thread pool -------------------------------------------------- */

struct packing_job {
    const struct qcow2 *s;
    struct bench *bench;
};

static int64_t job_unpack(void *opaque)
{
    const struct packing_job *j = opaque;

    return codec_unpack(j->bench->codec, j->bench->packed,
                        j->bench->packed_bytes, j->bench->plain,
                        (size_t)j->s->cluster_size);
}

static int64_t job_pack(void *opaque)
{
    const struct packing_job *j = opaque;

    return codec_pack(j->bench->codec, j->bench->plain,
                      (size_t)j->s->cluster_size, j->bench->packed,
                      (size_t)j->s->cluster_size - 1);
}

static int64_t co_fn run_in_pool(int64_t (*job)(void *opaque),
                                 const struct qcow2 *s, struct bench *b)
{
    struct packing_job j = {.s = s, .bench = b};
    struct engine *e;

    if (engine_threads.get(loop_co_home(), &e) < 0) {
        return job(&j); /* slow is better than failed */
    }
    return engine_co_call(e, job, &j); /* yields */
}

/* -- Reading ------------------------------------------------------------- */

static int co_fn expand(struct qcow2 *s, struct bench *b,
                        const struct extent *e)
{
    int rc;

    b->packed_bytes = (size_t)e->packed_bytes;
    node_event(s->file, EVENT_READ_COMPRESSED);
    rc = qcow2_co_read_table(s, e->host, b->packed, e->packed_bytes);
    if (rc == 0) {
        rc = (int)run_in_pool(job_unpack, s, b); /* yields */
    }
    b->host = rc == 0 ? e->host : 0;
    return rc;
}

/* Reads compressed data that stay where they are. */
static int co_fn read_there(struct qcow2 *s, const struct extent *e,
                            int64_t skip, const struct iovs *dst)
{
    struct bench *b = bench_take(s, e->host); /* yields */
    int rc = 0;

    if (!b) {
        return -ENOMEM;
    }
    if (b->host != e->host) {
        rc = expand(s, b, e); /* yields */
    }
    if (rc == 0) {
        iovs_from_buf(dst, 0, b->plain + skip, dst->bytes);
    }
    bench_give(s, b);
    return rc;
}

int co_fn qcow2_co_read_packed(struct qcow2 *s, const struct extent *e,
                               int64_t offset, const struct iovs *dst)
{
    struct packed_read reading;
    struct extent now;
    int rc;

    /* From here on the place is not given to others.  It may have been since
     * the caller has looked. */
    packed_read_begin(s, &reading, e->host, e->packed_bytes);
    rc = qcow2_co_map(s, offset, dst->bytes, &now); /* yields */
    if (rc == 0 && (now.kind != QCOW2_PACKED || now.host != e->host ||
                    now.packed_bytes != e->packed_bytes)) {
        rc = 1;
    }
    if (rc == 0) {
        rc = read_there(s, e, offset & (s->cluster_size - 1), dst);
    }
    packed_read_end(s, &reading);
    return rc;
}

/* -- A place for compressed data ----------------------------------------- */

/* Behind the data that were written last, if @bytes fit there.  Returns 0, or
 * -ENOSPC: look elsewhere. */
static int co_fn place_behind(struct qcow2 *s, int64_t bytes, int64_t *ret)
{
    int64_t next = s->packed_next;
    int64_t end = cluster_up(s, next); /* of the cluster it is in */
    bool more = next + bytes > end;
    int64_t n;
    int rc;

    if (next == 0 || next + bytes > end + s->cluster_size) {
        return -ENOSPC;
    }
    if (more) {
        n = qcow2_co_alloc_at(s, end, 1); /* yields */
        if (n <= 0) {
            return n < 0 ? (int)n : -ENOSPC;
        }
    }
    rc = qcow2_co_refcount_add(s, next >> s->cluster_bits, 1, 1, NULL);
    if (rc < 0 && more) {
        qcow2_co_unalloc(s, end, 1); /* yields */
    }
    *ret = next;
    return rc == -ERANGE ? -ENOSPC : rc;
}

/* Gives the place of @bytes at @host back, which nothing refers to. */
static void co_fn unplace_packed(struct qcow2 *s, int64_t host, int64_t bytes)
{
    int64_t first = cluster_down(s, host);

    qcow2_co_unalloc(s, first, clusters_of(s, host + bytes - first));
    s->packed_next = 0;
}

/* Finds a place for @bytes of compressed data.  @meta held. */
static int co_fn place_packed(struct qcow2 *s, int64_t bytes, int64_t *ret)
{
    int64_t n, end;
    int rc;

    node_event(s->file, EVENT_CLUSTER_ALLOC_BYTES);
    rc = place_behind(s, bytes, ret); /* yields */

    if (rc == -ENOSPC) {
        n = qcow2_co_alloc(s, 1, ret, NULL); /* yields */
        rc = n < 0 ? (int)n : 0;
    }
    if (rc < 0) {
        return rc;
    }
    end = *ret + bytes;
    s->packed_next = is_aligned(end, s->cluster_size) ? 0 : end;
    rc = qcow2_co_reach(s, cluster_up(s, end)); /* yields */
    if (rc < 0) {
        unplace_packed(s, *ret, bytes); /* yields */
    }
    return rc;
}

/* -- Writing ------------------------------------------------------------- */

/* Makes the cluster at @offset refer to @bytes at @host. */
static int link_packed(struct qcow2 *s, const struct l2_ref *ref, int64_t host,
                       int64_t bytes)
{
    struct qcow2_entry old, new = {
                                .l2 = qcow2_entry_pack(&s->entry, host, bytes),
                            };
    uint8_t *data;

    if (new.l2 == 0) {
        return -EFBIG;
    }
    (void)slice_lock(ref->slice);
    data = slice_edit_locked(ref->slice);
    if (data) {
        old = l2_load(s, data, ref->index);
        l2_store(s, data, ref->index, new);
        qcow2_free_entry(s, old, QCOW2_FREE_OTHER);
    }
    slice_unlock(ref->slice);
    return data ? 0 : -ENOMEM;
}

static int co_fn store_packed(struct qcow2 *s, struct bench *b, int64_t offset,
                              int64_t bytes)
{
    struct l2_ref ref = {.slice = NULL};
    int64_t host;
    bool placed;
    int rc;

    co_mutex_lock(&s->meta);                      /* yields */
    rc = qcow2_co_l2_get(s, offset, true, &ref);  /* yields */
    rc = rc ? rc : place_packed(s, bytes, &host); /* yields */
    placed = rc == 0;
    co_mutex_unlock(&s->meta);
    if (placed) {
        rc = qcow2_co_guard_data(s, host, bytes);
        node_event(s->file, EVENT_WRITE_COMPRESSED);
        rc = rc ? rc : qcow2_co_write_table(s, host, b->packed, bytes);
        rc = rc ? rc : link_packed(s, &ref, host, bytes);
    }
    if (rc < 0 && placed) {
        co_mutex_lock(&s->meta); /* yields */
        unplace_packed(s, host, bytes);
        co_mutex_unlock(&s->meta);
    }
    l2_ref_put(&ref);
    return rc;
}

/* Compresses what is in b->plain and writes it.  Returns 1 when that does not
 * work out: it does not get shorter, or lies too far behind. */
static int co_fn write_cluster(struct qcow2 *s, struct bench *b, int64_t offset)
{
    struct busy busy;
    int64_t n = run_in_pool(job_pack, s, b); /* yields */
    int rc;

    if (n <= 0) {
        return n < 0 ? (int)n : 1;
    }
    busy_begin(s, &busy, offset, s->cluster_size); /* yields */
    rc = store_packed(s, b, offset, n);            /* yields */
    busy_end(s, &busy);
    return rc == -EFBIG ? 1 : rc;
}

/* Writes one cluster, or what there is of the last one. */
static int co_fn write_one(struct qcow2 *s, int64_t offset,
                           const struct iovs *src, int64_t at)
{
    int64_t n = min_i64(s->cluster_size, src->bytes - at);
    struct bench *b = bench_take(s, 0); /* yields */
    struct iovec iov;
    struct iovs plain;
    int rc;

    if (!b) {
        return -ENOMEM;
    }
    iovs_to_buf(src, at, b->plain, n);
    memset(b->plain + n, 0, (size_t)(s->cluster_size - n));
    rc = write_cluster(s, b, offset); /* yields */
    if (rc > 0) {
        plain = iovs_one(&iov, b->plain, n);
        rc = qcow2_co_write(s, offset, &plain); /* yields */
    }
    bench_give(s, b);
    return rc;
}

/* One of several clusters of a request. */
struct pack_part {
    struct qcow2 *s;
    int64_t offset;
    const struct iovs *src;
    int64_t at;
};

static int co_fn pack_part(void *opaque)
{
    struct pack_part p = *(struct pack_part *)opaque;

    free(opaque);
    return write_one(p.s, p.offset, p.src, p.at); /* yields */
}

static int co_fn write_many(struct qcow2 *s, int64_t offset,
                            const struct iovs *src)
{
    struct fan fan = {.running = 0};
    int rc = 0, fan_rc;

    for (int64_t at = 0; at < src->bytes && rc == 0 && fan.rc == 0;
         at += s->cluster_size) {
        struct pack_part *p = malloc(sizeof(*p));

        if (p) {
            *p = (struct pack_part){s, offset + at, src, at};
            fan_start(&fan, pack_part, p); /* yields */
        }
        rc = p ? 0 : -ENOMEM;
    }
    fan_rc = fan_finish(&fan); /* yields */
    return rc ? rc : fan_rc;
}

int co_fn qcow2_co_write_packed(struct qcow2 *s, int64_t offset,
                                const struct iovs *src)
{
    int64_t end = offset + src->bytes;

    if (s->external || !is_aligned(offset, s->cluster_size) ||
        (!is_aligned(end, s->cluster_size) && end != node_length(s->node))) {
        return -EINVAL;
    }
    if (src->bytes <= s->cluster_size) {
        return write_one(s, offset, src, 0); /* yields */
    }
    return write_many(s, offset, src); /* yields */
}
