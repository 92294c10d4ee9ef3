/* SPDX-License-Identifier: MIT */

#include "qcow2-rig.h"

#include <glib/gstdio.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "block/driver.h"
#include "block/secret.h"
#include "driver/driver_list.h"
#include "format/compress.h"
#include "format/qcow2/driver.h"
#include "format/raw.h"
#include "format/writelog.h"
#include "loop/loop.h"

static struct loop *loop;
static char *folder;

static void rig_init(void)
{
    g_autoptr(options) secret = options_new();
    GError *err = NULL;

    driver_register(&driver_file);
    driver_register(&driver_host_device);
    driver_register(&driver_null);
    driver_register(&driver_raw);
    driver_register(&driver_qcow2);
    driver_register(&driver_compress);
    driver_register(&driver_writelog);
    options_set(secret, "id", "rig");
    options_set(secret, "data", "word");
    g_assert_cmpint(secret_add(secret, NULL), ==, 0);
    g_assert_cmpint(loop_new(&loop), ==, 0);
    loop_adopt(loop);
    folder = g_dir_make_tmp("coblk-qcow2-XXXXXX", &err);
    g_assert_no_error(err);
    g_assert_cmpint(chdir(folder), ==, 0); /* for names of data files */
}

static void rig_fini(void)
{
    g_assert_cmpint(rig_shell(NULL, "rm -rf \"$PWD\""), ==, 0);
    g_free(folder);
    loop_free(loop);
}

int rig_main(int argc, char **argv, void (*add_tests)(void))
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    rig_init();
    add_tests();
    rc = g_test_run();
    rig_fini();
    return rc;
}

void rig_add_row(const char *prefix, const char *name, const void *row,
                 GTestDataFunc test)
{
    g_autofree char *path = g_strdup_printf("%s/%s", prefix, name);

    g_test_add_data_func(path, row, test);
}

static void drop_line(enum log_level level, const char *line, void *opaque)
{
}

void rig_ignore_log(void)
{
    log_init(LOG_LEVEL_ERROR, drop_line, NULL);
}

char *rig_path(const char *name)
{
    if (g_str_has_prefix(name, "json:")) {
        return g_strdup(name);
    }
    return g_build_filename(folder, name, NULL);
}

void rig_run(void (*fn)(void *opaque), void *opaque)
{
    g_assert_cmpint(loop_co_run_blocking(loop, fn, opaque), ==, 0);
}

/* -- Images -------------------------------------------------------------- */

struct call {
    const char *name;
    int64_t offset, bytes;
    const char *options;
    unsigned flags;
    enum prealloc_mode prealloc;
    struct node *node;
    const struct iovs *iovs;
    struct block_status status;
    GError *err;
    int rc;
};

static struct options *parse(const char *text)
{
    struct options *o = options_new();

    g_assert_cmpint(options_parse(o, text ? text : "", NULL), ==, 0);
    return o;
}

static void create_entry(void *opaque)
{
    struct call *c = opaque;
    g_autofree char *path = rig_path(c->name);
    g_autoptr(options) o = parse(c->options);

    co_assert_role();
    c->rc = driver_qcow2.image->co_create(path, c->bytes, o, &c->err);
    if (c->rc == 0) {
        g_assert_null(options_leftover(o));
    }
}

void rig_create(const char *name, int64_t bytes, const char *text)
{
    struct call c = {.name = name, .bytes = bytes, .options = text};

    rig_run(create_entry, &c);
    g_assert_no_error(c.err);
    g_assert_cmpint(c.rc, ==, 0);
}

static char *take_message(struct call *c)
{
    char *message;

    g_assert_nonnull(c->err);
    message = g_strdup(c->err->message);
    g_error_free(c->err);
    return message;
}

char *rig_create_error(const char *name, int64_t bytes, const char *text)
{
    struct call c = {.name = name, .bytes = bytes, .options = text};

    rig_run(create_entry, &c);
    g_assert_cmpint(c.rc, <, 0);
    return take_message(&c);
}

static void open_entry(void *opaque)
{
    struct call *c = opaque;
    g_autofree char *path = rig_path(c->name);

    co_assert_role();
    c->node = node_co_open_file(path, parse(c->options), c->flags, &c->err);
}

struct node *rig_open(const char *name, const char *text, unsigned flags)
{
    struct call c = {.name = name, .options = text, .flags = flags};

    rig_run(open_entry, &c);
    g_assert_no_error(c.err);
    g_assert_nonnull(c.node);
    return c.node;
}

char *rig_open_error(const char *name, const char *text, unsigned flags)
{
    struct call c = {.name = name, .options = text, .flags = flags};

    rig_run(open_entry, &c);
    g_assert_null(c.node);
    return take_message(&c);
}

static void close_entry(void *opaque)
{
    struct call *c = opaque;

    co_assert_role();
    c->rc = node_co_unref(c->node);
}

int rig_close(struct node *node)
{
    struct call c = {.node = node};

    rig_run(close_entry, &c);
    return c.rc;
}

/* -- Requests ------------------------------------------------------------ */

static void write_entry(void *opaque)
{
    struct call *c = opaque;

    co_assert_role();
    c->rc = node_co_pwritev(c->node, c->offset, c->iovs, c->flags);
}

int rig_write_buf(struct node *node, int64_t offset, const void *buf,
                  int64_t bytes, unsigned flags)
{
    struct iovec iov;
    struct iovs src = iovs_one(&iov, (void *)(uintptr_t)buf, bytes);
    struct call c = {
        .node = node,
        .offset = offset,
        .iovs = &src,
        .flags = flags,
    };

    rig_run(write_entry, &c);
    return c.rc;
}

int rig_write(struct node *node, int64_t offset, int64_t bytes, int fill,
              unsigned flags)
{
    g_autofree uint8_t *buf = g_malloc((gsize)bytes);

    memset(buf, fill, (size_t)bytes);
    return rig_write_buf(node, offset, buf, bytes, flags);
}

static void read_entry(void *opaque)
{
    struct call *c = opaque;

    co_assert_role();
    c->rc = node_co_preadv(c->node, c->offset, c->iovs, 0);
}

int rig_read(struct node *node, int64_t offset, void *buf, int64_t bytes)
{
    struct iovec iov;
    struct iovs dst = iovs_one(&iov, buf, bytes);
    struct call c = {.node = node, .offset = offset, .iovs = &dst};

    rig_run(read_entry, &c);
    return c.rc;
}

static void zero_entry(void *opaque)
{
    struct call *c = opaque;

    co_assert_role();
    c->rc = node_co_pwrite_zeroes(c->node, c->offset, c->bytes, c->flags);
}

int rig_zero(struct node *node, int64_t offset, int64_t bytes, unsigned flags)
{
    struct call c = {
        .node = node,
        .offset = offset,
        .bytes = bytes,
        .flags = flags,
    };

    rig_run(zero_entry, &c);
    return c.rc;
}

static void discard_entry(void *opaque)
{
    struct call *c = opaque;

    co_assert_role();
    c->rc = node_co_pdiscard(c->node, c->offset, c->bytes);
}

int rig_discard(struct node *node, int64_t offset, int64_t bytes)
{
    struct call c = {.node = node, .offset = offset, .bytes = bytes};

    rig_run(discard_entry, &c);
    return c.rc;
}

static void flush_entry(void *opaque)
{
    struct call *c = opaque;

    co_assert_role();
    c->rc = node_co_flush(c->node);
}

int rig_flush(struct node *node)
{
    struct call c = {.node = node};

    rig_run(flush_entry, &c);
    return c.rc;
}

static void truncate_entry(void *opaque)
{
    struct call *c = opaque;

    co_assert_role();
    c->rc = node_co_truncate(c->node, c->bytes, c->prealloc, 0, &c->err);
}

int rig_truncate(struct node *node, int64_t bytes, enum prealloc_mode prealloc)
{
    struct call c = {.node = node, .bytes = bytes, .prealloc = prealloc};

    rig_run(truncate_entry, &c);
    if (c.err) {
        g_test_message("%s", c.err->message);
        g_error_free(c.err);
    }
    return c.rc;
}

static void status_entry(void *opaque)
{
    struct call *c = opaque;

    co_assert_role();
    c->rc =
        node_co_block_status(c->node, true, c->offset, c->bytes, &c->status);
}

struct block_status rig_status(struct node *node, int64_t offset, int64_t bytes)
{
    struct call c = {.node = node, .offset = offset, .bytes = bytes};

    rig_run(status_entry, &c);
    g_assert_cmpint(c.rc, ==, 0);
    return c.status;
}

void rig_expect(struct node *node, int64_t offset, int64_t bytes, int fill)
{
    g_autofree uint8_t *buf = g_malloc((gsize)bytes);

    g_assert_cmpint(rig_read(node, offset, buf, bytes), ==, 0);
    for (int64_t i = 0; i < bytes; i++) {
        if (buf[i] != (uint8_t)fill) {
            g_error("byte %" PRId64 " is 0x%02x instead of 0x%02x", offset + i,
                    buf[i], (unsigned)fill);
        }
    }
}

/* -- Other programs ------------------------------------------------------ */

bool rig_has_qemu(void)
{
    g_autofree char *img = g_find_program_in_path("qemu-img");
    g_autofree char *io = g_find_program_in_path("qemu-io");

    return img && io;
}

int rig_shell(char **out, const char *format, ...)
{
    g_autofree char *text = NULL;
    g_autofree char *output = NULL;
    const char *argv[] = {"sh", "-c", NULL, NULL};
    GError *err = NULL;
    va_list ap;
    int status;

    va_start(ap, format);
    text = g_strdup_vprintf(format, ap);
    va_end(ap);
    argv[2] = text;
    g_spawn_sync(folder, (char **)(uintptr_t)argv, NULL, G_SPAWN_SEARCH_PATH,
                 NULL, NULL, &output, NULL, &status, &err);
    g_assert_no_error(err);
    g_assert_true(WIFEXITED(status));
    if (out) {
        *out = g_steal_pointer(&output);
    } else if (WEXITSTATUS(status) != 0) {
        g_test_message("%s: status %d\n%s", text, WEXITSTATUS(status), output);
    }
    return WEXITSTATUS(status);
}

void rig_check(const char *name)
{
    if (rig_has_qemu()) {
        g_assert_cmpint(
            rig_shell(NULL,
                      "qemu-img check -q --object secret,id=rig,data=word "
                      "--image-opts driver=qcow2,file.filename='%s',"
                      "encrypt.key-secret=rig 2>&1",
                      name),
            ==, 0);
    }
}
