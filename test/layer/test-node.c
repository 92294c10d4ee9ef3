/* SPDX-License-Identifier: MIT */
/*
 * Nodes: opening and what goes wrong with it, children, guards.
 */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "fixtures.h"

/* -- Opening, and its errors --------------------------------------------- */

static void test_open_errors(void)
{
    static const struct {
        const char *opts;
        const char *want;
    } cases[] = {
        {"size=1k", "nothing says what to open; give driver=NAME or filename="},
        {"driver=zip,filename=a.zip",
         "a.zip: there is no format or driver 'zip'; known are mem, mem-grows, "
         "mem-fua, bare, raw, huge, file"},
        {"driver=mem,size=1k,colour=red",
         "mem: 'mem' does not know the option 'colour'; leave it out"},
        {"driver=raw,file.driver=mem,file.size=1k,file.colour=red",
         "mem: 'mem' does not know the option 'colour'; leave it out"},
        {"driver=raw,file.driver=mem,file.size=1k,size=2k",
         "mem: size=2048 does not fit; there are 1024 bytes from offset=0 on"},
        {"driver=raw,file.driver=mem,file.size=1k,offset=2k",
         "mem: offset=2048 is past its end; it has 1024 bytes"},
        {"driver=raw,file.driver=mem,file.size=1k,offset=x",
         "offset=x: not a size; write bytes, or a number with one of k M G T P "
         "E"},
        {"driver=raw", "'raw' reads another file, and nothing says which; give "
                       "file.filename="},
        {"driver=mem,size=1k,detect-zeroes=maybe",
         "detect-zeroes=maybe: not one of off, on, unmap"},
        {"driver=huge", "huge: is too large (9223372036854775807 bytes)"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *message = open_node_error(cases[i].opts, NODE_RDWR);

        g_assert_cmpstr(message, ==, cases[i].want);
    }
}

static int co_fn huge_co_open(struct node *node, struct options *opts,
                              GError **err)
{
    node_set_length(node, INT64_MAX);
    return 0;
}

static int co_fn huge_co_preadv(struct node *node, int64_t offset,
                                const struct iovs *dst)
{
    return -EIO;
}

static const struct driver driver_huge = {
    .name = "huge",
    .traits = DRIVER_LEAF,
    .co_open = huge_co_open,
    .co_preadv = huge_co_preadv,
};

/* -- Probing ------------------------------------------------------------- */

/* "file" for these tests: a mem node whose content is named by the file's
 * name, so that nothing has to be made on the host. */
static const char *file_content;

static int co_fn fake_file_co_open(struct node *node, struct options *opts,
                                   GError **err)
{
    g_autofree char *filename = options_take(opts, "filename");
    int rc;

    options_set(opts, "size", "8k");
    rc = driver_find("mem")->co_open(node, opts, err);
    if (rc == 0) {
        node_set_filename(node, filename);
        memcpy(mem_of(node)->data, file_content, 128);
    }
    return rc;
}

static struct driver driver_fake_file;

static void make_fake_file(void *opaque)
{
    co_assert_role();
    driver_fake_file = *driver_find("mem");
    driver_fake_file.name = "file";
    driver_fake_file.co_open = fake_file_co_open;
}

struct open_file_args {
    const char *opts; /* or NULL */
    struct node *node;
    GError *err;
};

static void open_file_entry(void *opaque)
{
    struct open_file_args *a = opaque;
    struct options *opts = NULL;

    co_assert_role();
    if (a->opts) {
        opts = options_new();
        g_assert_cmpint(options_parse(opts, a->opts, NULL), ==, 0);
    }
    a->node = node_co_open_file("disk.img", opts, NODE_RDWR | NODE_UNMAP,
                                &a->err); /* yields */
}

/* Opens a file that begins with @content (128 bytes). */
static struct open_file_args open_file(const char *content, const char *opts)
{
    struct open_file_args a = {.opts = opts};

    file_content = content;
    job_run(&job(CALL, .call = open_file_entry, .opaque = &a));
    return a;
}

static void test_probe_raw(void)
{
    struct open_file_args a = open_file((char[128]){"nothing"}, NULL);

    g_assert_no_error(a.err);
    g_assert_cmpstr(node_driver(a.node)->name, ==, "raw");
    g_assert_true(node_probed_raw(a.node));
    g_assert_cmpstr(node_filename(a.node), ==, "disk.img");
    g_assert_cmpint(node_length(a.node), ==, 8192);
    close_node(a.node);
}

static void test_named_format(void)
{
    struct open_file_args a = open_file((char[128]){"KDMV"}, "driver=raw");

    g_assert_no_error(a.err);
    g_assert_false(node_probed_raw(a.node));
    close_node(a.node);

    a = open_file((char[128]){""}, "driver=file");
    g_assert_no_error(a.err);
    g_assert_cmpstr(node_driver(a.node)->name, ==, "file");
    close_node(a.node);

    a = open_file((char[128]){""}, "driver=zip");
    g_assert_null(a.node);
    g_assert_cmpstr(a.err->message, ==,
                    "disk.img: there is no format or driver 'zip'; known are "
                    "mem, mem-grows, mem-fua, bare, raw, huge, file");
    g_error_free(a.err);
}

/* Options reach the format and, with a prefix, the file. */
static void test_file_options(void)
{
    struct open_file_args a =
        open_file((char[128]){""}, "offset=1k,size=512,file.align=512");

    g_assert_no_error(a.err);
    g_assert_cmpint(node_length(a.node), ==, 512);
    g_assert_cmpint(node_limits(node_file(a.node))->request_align, ==, 512);
    close_node(a.node);

    a = open_file((char[128]){""}, "file.colour=red");
    g_assert_null(a.node);
    g_assert_cmpstr(a.err->message, ==,
                    "disk.img: 'file' does not know the option 'colour'; "
                    "leave it out");
    g_error_free(a.err);
}

static const struct {
    const char *format;
    char head[128];
} foreign[] = {
    {"qcow2", "QFI\xfb\0\0\0\3"},
    {"qcow2", "QFI\xfb\0\0\0\2"},
    {"qcow", "QFI\xfb\0\0\0\1"},
    {"qed", "QED\0"},
    {"vmdk", "KDMV"},
    {"vmdk", "# Disk DescriptorFile\n"},
    {"vhdx", "vhdxfile"},
    {"vpc", "conectix"},
    {"vdi", {[64] = '\x7f', '\x10', '\xda', '\xbe'}},
    {"parallels", "WithoutFreeSpace"},
};

static void test_foreign_formats(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(foreign); i++) {
        struct open_file_args a = open_file(foreign[i].head, NULL);
        g_autofree char *want = g_strdup_printf(
            "disk.img: looks like a %s image, which cannot be opened as such; "
            "format=raw shows its bytes as they are",
            foreign[i].format);

        g_assert_null(a.node);
        g_assert_cmpstr(a.err->message, ==, want);
        g_error_free(a.err);
    }
}

static void test_no_false_alarm(void)
{
    static const char heads[][128] = {
        "",
        "QFI\xfb\0\0\0\4", /* a version nobody has */
        "QFI\xfb",
        "KDM",
        "QEDx",
        {[63] = '\x7f', '\x10', '\xda', '\xbe'},
        {[0] = '\xeb', '\x63', '\x90', [64] = '\x80'}, /* a boot sector */
    };

    for (size_t i = 0; i < G_N_ELEMENTS(heads); i++) {
        g_assert_null(driver_foreign_format((const uint8_t *)heads[i], 128));
    }
    /* A magic that is cut off is none. */
    g_assert_null(driver_foreign_format((const uint8_t *)"KDMV", 3));
    g_assert_null(driver_foreign_format((const uint8_t *)foreign[8].head, 67));
}

/* -- A raw image stays one ----------------------------------------------- */

static void test_head_is_guarded(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(foreign); i++) {
        struct open_file_args a = open_file((char[128]){"nothing"}, NULL);
        struct mem *m = mem_of(a.node);
        struct iovec iov = {(char *)foreign[i].head, 128};
        struct iovs v = iovs_of(&iov, 1);

        g_assert_cmpint(job_run(&job(WRITE, a.node, 0, .iovs = &v)), ==,
                        -EPERM);
        g_assert_cmpstr((char *)m->data, ==, "nothing");
        /* Further in it is data like any other. */
        g_assert_cmpint(job_run(&job(WRITE, a.node, 512, .iovs = &v)), ==, 0);
        close_node(a.node);
    }
}

/* It does not help to write the magic in two pieces, or to uncover it. */
static void test_head_in_pieces(void)
{
    struct open_file_args a = open_file((char[128]){"nothing"}, NULL);
    struct mem *m = mem_of(a.node);
    char head[4][2] = {"KD", "MV"};
    struct iovec iov[] = {{head[0], 2}, {head[1], 2}};
    struct iovs first = iovs_of(&iov[0], 1), second = iovs_of(&iov[1], 1);

    g_assert_cmpint(job_run(&job(WRITE, a.node, 0, .iovs = &first)), ==, 0);
    g_assert_cmpint(job_run(&job(WRITE, a.node, 2, .iovs = &second)), ==,
                    -EPERM);
    g_assert_cmpmem(m->data, 7, "KDthing", 7);
    close_node(a.node);

    a = open_file((char[128]){"QEDx"}, NULL); /* one byte from a magic */
    g_assert_cmpint(job_run(&job(ZEROES, a.node, 3, 1)), ==, -EPERM);
    g_assert_cmpint(job_run(&job(ZEROES, a.node, 0, 1)), ==, 0);
    close_node(a.node);
}

/* Two writes that are harmless alone, at once. */
static void test_head_at_once(void)
{
    struct open_file_args a = open_file((char[128]){"nothing"}, NULL);
    struct mem *m = mem_of(a.node);
    char head[4][2] = {"KD", "MV"};
    struct iovec iov[] = {{head[0], 2}, {head[1], 2}};
    struct iovs first = iovs_of(&iov[0], 1), second = iovs_of(&iov[1], 1);
    struct job w1 = job(WRITE, a.node, 0, .iovs = &first);
    struct job w2 = job(WRITE, a.node, 2, .iovs = &second);

    m->hold = true;
    job_start(&w1);
    job_start(&w2);
    mem_complete_all(m);
    g_assert_cmpint(job_finish(&w1), ==, 0);
    g_assert_cmpint(job_finish(&w2), ==, -EPERM);
    close_node(a.node);
}

/* When the beginning cannot be read, nothing is written. */
static void test_head_unreadable(void)
{
    struct open_file_args a = open_file((char[128]){"nothing"}, NULL);
    struct mem *m = mem_of(a.node);
    struct job w = job(WRITE, a.node, 0, 512, .fill = 'w');

    g_free(mem_log_take(m));
    m->hold = true;
    job_start(&w);
    mem_fail(m, 0, -EIO);
    mem_expect(m, "R0+4096");
    g_assert_cmpint(job_finish(&w), ==, -EIO);
    close_node(a.node);
}

/* Who says raw gets raw. */
static void test_named_raw_is_free(void)
{
    struct open_file_args a = open_file((char[128]){""}, "driver=raw");
    struct iovec iov = {(char *)foreign[0].head, 128};
    struct iovs v = iovs_of(&iov, 1);

    g_assert_cmpint(job_run(&job(WRITE, a.node, 0, .iovs = &v)), ==, 0);
    mem_expect(mem_of(a.node), "W0+128");
    close_node(a.node);
}

/* A discard is a hint: the beginning is left out. */
static void test_head_discard(void)
{
    struct open_file_args a = open_file((char[128]){""}, NULL);
    struct mem *m = mem_of(a.node);

    g_free(mem_log_take(m));
    g_assert_cmpint(job_run(&job(DISCARD, a.node, 0, 8192)), ==, 0);
    g_assert_cmpint(job_run(&job(DISCARD, a.node, 512, 512)), ==, 0);
    mem_expect(m, "D4096+4096");
    close_node(a.node);
}

/* -- Guards -------------------------------------------------------------- */

static void test_read_only(void)
{
    struct node *node = open_node("driver=mem,size=4k", 0);

    g_assert_true(node_is_rdonly(node));
    g_assert_cmpint(job_run(&job(WRITE, node, 0, 512)), ==, -EACCES);
    g_assert_cmpint(job_run(&job(ZEROES, node, 0, 512)), ==, -EACCES);
    g_assert_cmpint(job_run(&job(DISCARD, node, 0, 512)), ==, -EACCES);
    g_assert_cmpint(job_run(&job(TRUNCATE, node, 0)), ==, -EACCES);
    g_assert_cmpint(job_run(&job(ALLOCATE, node, 0, 512)), ==, -EACCES);
    g_assert_cmpint(job_run(&job(FLUSH, node)), ==, 0);
    g_assert_cmpint(job_run(&job(READ, node, 0, 512)), ==, 0);
    mem_expect(mem_of(node), "R0+512");
    close_node(node);
}

static void test_ranges(void)
{
    static const struct {
        int64_t offset, bytes;
    } bad[] = {
        {4096, 1}, {4095, 2}, {-1, 1}, {-512, 512}, {INT64_MAX, 1},
    };
    struct node *node = open_node("driver=mem,size=4k", NODE_RDWR | NODE_UNMAP);

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        int64_t offset = bad[i].offset, bytes = bad[i].bytes;

        g_assert_cmpint(job_run(&job(READ, node, offset, bytes)), ==, -EIO);
        g_assert_cmpint(job_run(&job(WRITE, node, offset, bytes)), ==, -EIO);
        g_assert_cmpint(job_run(&job(ZEROES, node, offset, bytes)), ==, -EIO);
        g_assert_cmpint(job_run(&job(DISCARD, node, offset, bytes)), ==, -EIO);
        g_assert_cmpint(job_run(&job(ALLOCATE, node, offset, bytes)), ==, -EIO);
    }
    mem_expect(mem_of(node), "");
    close_node(node);
}

static void test_window_io(void)
{
    struct node *node = open_node("driver=raw,offset=1000,size=2000,"
                                  "file.driver=mem,file.size=8k",
                                  NODE_RDWR | NODE_UNMAP);
    struct mem *m = mem_of(node);

    g_assert_cmpint(node_length(node), ==, 2000);
    g_assert_cmpint(job_run(&job(WRITE, node, 500, 1500, .fill = 'w')), ==, 0);
    g_assert_cmpint(job_run(&job(READ, node, 0, 100)), ==, 0);
    g_assert_cmpint(job_run(&job(ZEROES, node, 500, 10)), ==, 0);
    g_assert_cmpint(job_run(&job(DISCARD, node, 0, 10)), ==, 0);
    g_assert_cmpint(job_run(&job(ALLOCATE, node, 0, 10)), ==, 0);
    mem_expect(m, "W1500+1500 R1000+100 Z1500+10 D1000+10 A1000+10");
    g_assert_cmpint(job_run(&job(WRITE, node, 1999, 2)), ==, -EIO);
    g_assert_cmpint(job_run(&job(TRUNCATE, node, 100)), ==, -EOPNOTSUPP);
    g_assert_true(bytes_are(m->data + 1510, 'w', 1490));
    g_assert_cmpint(m->data[3000], ==, 0);
    close_node(node);
}

/* What a driver lacks is said, not crashed over. */
static void test_bare_driver(void)
{
    struct node *node = open_node("driver=bare,size=4k", NODE_RDWR);
    struct node *other = open_node("driver=bare,size=4k", NODE_RDWR);

    g_assert_cmpint(job_run(&job(TRUNCATE, node, 100)), ==, -EOPNOTSUPP);
    g_assert_cmpint(job_run(&job(ALLOCATE, node, 0, 512)), ==, 0);
    g_assert_cmpint(job_run(&job(COPY, node, 0, 512, .dst = other)), ==,
                    -EOPNOTSUPP);
    g_assert_cmpint(job_run(&job(WRITE, node, 0, 512, REQ_WRITE_COMPRESSED)),
                    ==, -EOPNOTSUPP);
    mem_expect(mem_of(node), "");
    close_node(node);
    close_node(other);
}

/* -- Lifetime ------------------------------------------------------------ */

static void test_references(void)
{
    struct node *node =
        open_node("driver=raw,file.driver=mem,file.size=4k", NODE_RDWR);
    struct node *file = node_ref(node_file(node));

    g_assert_true(node_child(node, "file") == file);
    g_assert_null(node_child(node, "backing"));
    close_node(node); /* closes raw; the file lives on */
    g_assert_cmpint(job_run(&job(WRITE, file, 0, 512)), ==, 0);
    mem_expect(mem_of(file), "W0+512");
    close_node(file);
}

/* -- Past the end -------------------------------------------------------- */

static void read_past_end_entry(void *opaque)
{
    struct node *node = opaque;
    uint8_t buf[1024];
    struct iovec iov[] = {{buf, 300}, {buf + 300, 724}};
    struct iovs v = iovs_of(iov, 2);

    co_assert_role();
    memset(buf, 0xee, sizeof(buf));
    g_assert_cmpint(node_co_preadv_past_end(node, 600, &v), ==, 0);
    g_assert_true(bytes_are(buf, 'm', 400));
    g_assert_true(bytes_are(buf + 400, 0, 624));
    memset(buf, 0xee, sizeof(buf));
    g_assert_cmpint(node_co_preadv_past_end(node, 5000, &v), ==, 0);
    g_assert_true(bytes_are(buf, 0, 1024));
}

/* What is past the end reads as zeroes, whatever was in memory. */
static void test_read_past_end(void)
{
    struct node *node = open_node("driver=mem,size=1000,align=512", NODE_RDWR);

    memset(mem_of(node)->data, 'm', 1000);
    job_run(&job(CALL, .call = read_past_end_entry, .opaque = node));
    close_node(node);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    fixture_register();
    g_test_add_func("/node/read-only", test_read_only);
    g_test_add_func("/node/ranges", test_ranges);
    g_test_add_func("/node/window", test_window_io);
    g_test_add_func("/node/bare-driver", test_bare_driver);
    g_test_add_func("/node/references", test_references);
    g_test_add_func("/node/open-errors", test_open_errors);
    g_test_add_func("/node/probe-raw", test_probe_raw);
    g_test_add_func("/node/named-format", test_named_format);
    g_test_add_func("/node/file-options", test_file_options);
    g_test_add_func("/node/foreign-formats", test_foreign_formats);
    g_test_add_func("/node/no-false-alarm", test_no_false_alarm);
    g_test_add_func("/raw/head-is-guarded", test_head_is_guarded);
    g_test_add_func("/raw/head-in-pieces", test_head_in_pieces);
    g_test_add_func("/raw/head-at-once", test_head_at_once);
    g_test_add_func("/raw/head-unreadable", test_head_unreadable);
    g_test_add_func("/raw/named-raw-is-free", test_named_raw_is_free);
    g_test_add_func("/raw/head-discard", test_head_discard);
    driver_register(&driver_huge);
    job_run(&job(CALL, .call = make_fake_file));
    driver_register(&driver_fake_file);
    g_test_add_func("/node/read-past-end", test_read_past_end);
    rc = g_test_run();
    fixture_loop_free();
    return rc;
}
