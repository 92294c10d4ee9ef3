/* SPDX-License-Identifier: MIT */
/*
 * fuzz-mount-opts: any text after -o.
 */
#include <assert.h>
#include <glib.h>
#include <string.h>

#include "cmd/mount-opts.h"
#include "fuzz.h"

static bool in_range(int64_t n, int64_t min, int64_t max)
{
    return n >= min && n <= max;
}

static void check_accepted(const struct mount_opts *o)
{
    assert(in_range(o->aio, MOUNT_AIO_AUTO, MOUNT_AIO_THREADS));
    assert(in_range(o->cache, MOUNT_CACHE_AUTO, MOUNT_CACHE_UNSAFE));
    assert(in_range(o->locking, MOUNT_LOCKING_AUTO, MOUNT_LOCKING_OFF));
    assert(in_range(o->detect_zeroes, DETECT_ZEROES_OFF, DETECT_ZEROES_UNMAP));
    assert(in_range(o->merge, 0, 1));
    assert(in_range(o->discard, 0, 1));
    assert(in_range(o->iothreads, 1, 64));
    assert(in_range(o->offset, 0, INT64_MAX));
    assert(o->size == -1 || in_range(o->size, 1, INT64_MAX));
    assert(o->part == -1 || in_range(o->part, 1, 1000000));
    assert(in_range(o->uid, -1, UINT32_MAX - 1));
    assert(in_range(o->gid, -1, UINT32_MAX - 1));
    assert(in_range(o->mode, -1, 0777));
    assert(in_range(o->max_background, 0, UINT16_MAX));
    assert(in_range(o->poll_max_ns, 0, 1000000000));
    assert(in_range(o->ready_fd, -1, INT32_MAX));
    assert(!o->format || *o->format);
    assert(!o->log || *o->log);
    assert(!o->trace || *o->trace);
    assert(!strstr(o->fuse->str, ",,") && !strchr(o->fuse->str, '='));
}

/* The same options once more change nothing but the list for fuse. */
static void check_again(struct mount_opts *o, const char *text, unsigned flags)
{
    const struct mount_opts before = *o;
    g_autoptr(GError) error = NULL;

    assert(mount_opts_parse(o, text, flags, &error) == 0);
    assert(o->rdonly == before.rdonly);
    assert(o->cache == before.cache);
    assert(o->aio == before.aio);
    assert(o->offset == before.offset);
    assert(o->size == before.size);
    assert(o->mode == before.mode);
}

static void check_refused(const char *text, const GError *error)
{
    assert(error && *error->message);
    /* One line, unless the text itself had more. */
    assert(strchr(text, '\n') || !strchr(error->message, '\n'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    g_autofree char *text = g_strndup((const char *)data, bytes);
    unsigned flags = bytes % 2 ? MOUNT_PARSE_SLOPPY : 0;
    g_autoptr(mount_opts) o = mount_opts_new();
    g_autoptr(GError) error = NULL;

    if (mount_opts_parse(o, text, flags, &error) < 0) {
        check_refused(text, error);
        return 0;
    }
    check_accepted(o);
    if (mount_opts_check(o, &error) < 0) {
        check_refused(text, error);
        return 0;
    }
    assert(o->size < 0 || o->offset + o->size >= 0);
    check_again(o, text, flags);
    return 0;
}
