/* SPDX-License-Identifier: MIT */
/*
 * text: .coblk/stats.json and .coblk/info.json, made at each open.
 */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "backend/stats.h"
#include "base/json.h"
#include "view/view_priv.h"

/* -- Files --------------------------------------------------------------- */

static void text_attr(const struct inode *i, const struct node_stat *st,
                      struct view_attr *attr)
{
    clock_gettime(CLOCK_REALTIME, &attr->mtime);
    attr->atime = attr->ctime = attr->mtime;
}

static void text_free(struct inode *i)
{
    g_free(container_of(i, struct text, inode));
}

static int co_fn text_co_open(struct inode *i, unsigned flags,
                              struct view_file **ret)
{
    struct text *t = container_of(i, struct text, inode);
    struct view *v = i->view;
    struct open_file *o;

    if (flags & VIEW_OPEN_WRITE) {
        return -EACCES;
    }
    o = g_new0(struct open_file, 1);
    __atomic_fetch_add(&i->refs, 1, __ATOMIC_RELAXED);
    o->inode = i;
    o->text = t->kind->co_make(v);
    o->pub = (struct view_file){
        .view = v,
        .ino = i->ino,
        .flags = flags,
        .text = o->text,
        .bytes = (int64_t)strlen(o->text),
        .direct_io = true, /* so that it may be longer than stat(2) says */
    };
    view_lock(v);
    open_file_enter(o);
    view_unlock(v);
    *ret = &o->pub;
    return 0;
}

const struct inode_ops text_ops = {
    .type = S_IFREG,
    .attr = text_attr,
    .co_open = text_co_open,
    .free = text_free,
};

/* -- stats.json ---------------------------------------------------------- */

static void put_latency(struct json *j, const struct stats_counters *c)
{
    json_object_begin(j, "latency_ns");
    json_int(j, "p50", stats_percentile(c, 500));
    json_int(j, "p90", stats_percentile(c, 900));
    json_int(j, "p99", stats_percentile(c, 990));
    json_int(j, "p999", stats_percentile(c, 999));
    json_int(j, "max", (int64_t)c->max_ns);
    json_int(j, "mean", stats_mean(c));
    json_object_end(j);
}

static void put_counters(struct json *j, const char *key,
                         const struct stats_counters *c)
{
    json_object_begin(j, key);
    json_int(j, "requests", (int64_t)c->requests);
    json_int(j, "bytes", (int64_t)c->bytes);
    json_int(j, "merged", (int64_t)c->merged);
    json_int(j, "backend_requests", (int64_t)c->backend_requests);
    json_int(j, "failed", (int64_t)c->failed);
    put_latency(j, c);
    json_object_end(j);
}

char *view_stats_json(const struct view *v)
{
    static const char *const names[STATS_N_TYPES] = {
        [STATS_READ] = "read",
        [STATS_WRITE] = "write",
        [STATS_FLUSH] = "flush",
        [STATS_DISCARD] = "discard",
    };
    g_autofree struct stats_snapshot *s = g_new(struct stats_snapshot, 1);
    struct json *j = json_new();

    backend_stats_read(backend_stats(v->be), s);
    json_object_begin(j, NULL);
    for (int i = 0; i < STATS_N_TYPES; i++) {
        put_counters(j, names[i], &s->type[i]);
    }
    json_int(j, "queue_depth", s->queue_depth);
    json_object_end(j);
    return json_finish(j);
}

static char *co_fn stats_co_make(struct view *v)
{
    return view_stats_json(v);
}

const struct text_kind stats_text = {
    .name = "stats.json",
    .co_make = stats_co_make,
};

/* -- info.json ----------------------------------------------------------- */

static void put_string(struct json *j, const char *key, const char *value)
{
    if (value && *value) {
        json_string(j, key, value);
    } else {
        json_null(j, key);
    }
}

static void put_identity(struct json *j, const struct identity *id)
{
    json_object_begin(j, "content");
    put_string(j, "type", id->type);
    put_string(j, "label", id->label);
    put_string(j, "uuid", id->uuid);
    json_object_end(j);
}

static void put_partition(struct json *j, const struct data *d)
{
    const struct part_entry *e = d->entry;

    json_object_begin(j, NULL);
    json_int(j, "index", d->index);
    json_string(j, "file", d->inode.name);
    json_int(j, "offset", d->offset);
    json_int(j, "bytes", d->bytes);
    put_string(j, "type", e->type);
    put_string(j, "partuuid", e->uuid);
    put_string(j, "partlabel", e->name);
    json_bool(j, "bootable", e->bootable);
    put_identity(j, &d->identity);
    json_object_end(j);
}

static void put_warnings(struct json *j, const struct view *v)
{
    json_array_begin(j, "warnings");
    for (size_t i = 0; v->table && i < v->table->n_warnings; i++) {
        json_string(j, NULL, v->table->warnings[i]);
    }
    for (unsigned i = 0; i < v->link_warnings->len; i++) {
        json_string(j, NULL, g_ptr_array_index(v->link_warnings, i));
    }
    json_array_end(j);
}

/* Lock held. */
static void put_data(struct json *j, const struct view *v)
{
    const struct part_table *t = v->table;

    json_int(j, "bytes", backend_length(v->be));
    json_object_begin(j, "table");
    json_string(j, "scheme", part_scheme_name(t ? t->scheme : PART_NONE));
    put_string(j, "uuid", t ? t->uuid : NULL);
    json_int(j, "sector_size", t ? t->sector_size : 0);
    json_object_end(j);
    json_array_begin(j, "partitions");
    for (unsigned i = 0; i < v->data->len; i++) {
        const struct data *d = g_ptr_array_index(v->data, i);

        if (d->entry) {
            put_partition(j, d);
        }
    }
    json_array_end(j);
    put_identity(j, &v->disk->identity); /* text exists only where it does */
    put_warnings(j, v);
}

static void put_coroutines(struct json *j)
{
    struct co_pool_stats s;

    co_pool_stats(&s);
    json_object_begin(j, "coroutines");
    json_int(j, "created", (int64_t)s.created);
    json_int(j, "pooled", (int64_t)s.pooled);
    json_int(j, "cap", (int64_t)s.cap);
    json_object_end(j);
}

static char *co_fn info_co_make(struct view *v)
{
    struct json *j = json_new();

    links_co_settle(v); /* yields */
    json_object_begin(j, NULL);
    json_string(j, "version", COBLK_VERSION);
    if (v->opts.info) {
        v->opts.info(j, v->opts.opaque);
    }
    view_lock(v);
    put_data(j, v);
    view_unlock(v);
    put_coroutines(j);
    json_object_end(j);
    return json_finish(j);
}

const struct text_kind info_text = {
    .name = "info.json",
    .co_make = info_co_make,
};
