/* SPDX-License-Identifier: MIT */
/*
 * cmd/mount-opts: what -o takes, what it means, and what it refuses.
 */
#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <string.h>

#include "cmd/mount-opts.h"
#include "cmd/nearest.h"

/* Parses and checks @text; NULL and the message when it is refused. */
static struct mount_opts *parse(const char *text, char **ret_error)
{
    g_autoptr(mount_opts) o = mount_opts_new();
    g_autoptr(GError) error = NULL;

    if (mount_opts_parse(o, text, 0, &error) < 0 ||
        mount_opts_check(o, &error) < 0) {
        *ret_error = g_strdup(error->message);
        return NULL;
    }
    return g_steal_pointer(&o);
}

/* The options as a text, so that a table can hold what is expected.  Only
 * what differs from the defaults is in it. */
static char *describe(const struct mount_opts *o)
{
    g_autoptr(mount_opts) d = mount_opts_new();
    GString *s = g_string_new(NULL);

#define NUMBER(field)                                                         \
    if ((int64_t)o->field != (int64_t)d->field) {                             \
        g_string_append_printf(s, #field "=%" PRId64 " ", (int64_t)o->field); \
    }
#define STRING(field)                                       \
    if (o->field) {                                         \
        g_string_append_printf(s, #field "=%s ", o->field); \
    }
    NUMBER(rdonly)
    STRING(format)
    NUMBER(aio)
    NUMBER(cache)
    NUMBER(iothreads)
    NUMBER(merge)
    NUMBER(discard)
    NUMBER(detect_zeroes)
    NUMBER(offset)
    NUMBER(size)
    NUMBER(part)
    NUMBER(uid)
    NUMBER(gid)
    NUMBER(mode)
    NUMBER(max_background)
    NUMBER(poll_max_ns)
    NUMBER(locking)
    NUMBER(allow_other)
    NUMBER(direct_io)
    NUMBER(force)
    NUMBER(debug)
    STRING(log)
    STRING(trace)
    NUMBER(ready_fd)
#undef NUMBER
#undef STRING
    if (o->fuse->len) {
        g_string_append_printf(s, "fuse=%s ", o->fuse->str);
    }
    return g_strchomp(g_string_free(s, FALSE));
}

static void test_accepted(void)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", ""},
        {"ro", "rdonly=1"},
        {"rw", ""},
        {"ro,rw", ""},
        {"rw,ro", "rdonly=1"},
        {"format=raw", "format=raw"},
        {"format=raw,format=qcow2", "format=qcow2"},
        {"aio=native", "aio=1"},
        {"aio=threads,cache=writeback", "aio=2 cache=2"},
        {"cache=none", "cache=1"},
        {"cache=writethrough", "cache=3"},
        {"cache=directsync,aio=native", "aio=1 cache=4"},
        {"cache=unsafe", "cache=5"},
        {"cache=unsafe,cache=auto", ""},
        {"iothreads=64", "iothreads=64"},
        {"merge=off", "merge=0"},
        {"discard=unmap", "discard=1"},
        {"discard=unmap,detect-zeroes=unmap", "discard=1 detect_zeroes=2"},
        {"detect-zeroes=on", "detect_zeroes=1"},
        {"offset=1M,size=2g", "offset=1048576 size=2147483648"},
        {"offset=1M,size=2x", NULL},
        {"offset=1M,size=2G", "offset=1048576 size=2147483648"},
        {"offset=0", ""},
        {"part=128", "part=128"},
        {"uid=0,gid=4294967294", "uid=0 gid=4294967294"},
        {"mode=644", "mode=420"},
        {"mode=0777", "mode=511"},
        {"mode=0", "mode=0"},
        {"max_background=65535", "max_background=65535"},
        {"poll-max-ns=0", "poll_max_ns=0"},
        {"locking=off", "locking=2"},
        {"allow_other,direct_io,force,debug",
         "allow_other=1 direct_io=1 force=1 debug=1"},
        {"log=/tmp/a,,b:debug", "log=/tmp/a,b:debug"},
        {"trace=queue:block", "trace=queue:block"},
        {"ready-fd=3", "ready_fd=3"},
        {"nodev,noatime,nosuid", "fuse=nodev,noatime,nosuid"},
        {"defaults,_netdev,user,noauto,nofail", ""},
        {"x-systemd.automount,X-mount.mkdir=0755,comment=hi", ""},
        {"user=joe", ""},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *error = NULL;
        g_autoptr(mount_opts) o = parse(cases[i].text, &error);
        g_autofree char *got = o ? describe(o) : NULL;

        g_test_message("-o '%s': %s", cases[i].text, error ? error : "ok");
        g_assert_cmpstr(got, ==, cases[i].want);
    }
}

static void test_refused(void)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {",", "an option is empty; write OPTION[,OPTION]"},
        {"ro,,rw", "unknown option 'ro,rw'"},
        {"ro, rw", "unknown option ' rw'; did you mean rw?"},
        {"=x", "unknown option ''"},
        {"cahce=none", "unknown option 'cahce'; did you mean cache?"},
        {"iothread=2", "unknown option 'iothread'; did you mean iothreads?"},
        {"allow-other", "unknown option 'allow-other'; did you mean "
                        "allow_other?"},
        {"completely-else=1", "unknown option 'completely-else'"},
        {"cache", "cache needs a value: cache=auto"},
        {"cache=", "cache needs a value: cache=auto"},
        {"cache=fast", "cache=fast: not one of auto, none, writeback, "
                       "writethrough, directsync, unsafe"},
        {"aio=io_uring", "aio=io_uring: not one of auto, native, threads"},
        {"ro=1", "ro=1: ro takes no value"},
        {"nodev=1", "nodev=1: nodev takes no value"},
        {"iothreads=0", "iothreads=0: not a number from 1 to 64"},
        {"iothreads=65", "iothreads=65: not a number from 1 to 64"},
        {"iothreads=two", "iothreads=two: not a number from 1 to 64"},
        {"iothreads=-1", "iothreads=-1: not a number from 1 to 64"},
        {"part=0", "part=0: not a number from 1 to 1000000"},
        {"uid=joe", "uid=joe: not a number from 0 to 4294967294"},
        {"mode=8", "mode=8: not an octal number from 0 to 777"},
        {"mode=1777", "mode=1777: not an octal number from 0 to 777"},
        {"offset=1x", "offset=1x: not a size; write bytes, or a number with "
                      "one of k M G T P E"},
        {"offset=-1", "offset=-1: not a size; write bytes, or a number with "
                      "one of k M G T P E"},
        {"size=0", "size=0: must be at least 1"},
        {"size=8E", "size=8E: not a size; write bytes, or a number with one "
                    "of k M G T P E"},
        {"offset=7E,size=7E",
         "offset=8070450532247928832 and size=8070450532247928832: the window "
         "would end past 2^63 bytes"},
        {"aio=native,cache=writeback",
         "aio=native needs cache=none or cache=directsync, not "
         "cache=writeback; leave one of them out"},
        {"aio=native,cache=unsafe",
         "aio=native needs cache=none or cache=directsync, not "
         "cache=unsafe; leave one of them out"},
        {"detect-zeroes=unmap", "detect-zeroes=unmap needs discard=unmap"},
        {"log=", "log needs a value: log=FILE|syslog|stderr[:LEVEL]"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *error = NULL;
        g_autoptr(mount_opts) o = parse(cases[i].text, &error);

        g_assert_null(o);
        g_assert_cmpstr(error, ==, cases[i].error);
    }
}

static void test_sloppy(void)
{
    g_autoptr(mount_opts) o = mount_opts_new();
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(
        mount_opts_parse(o, "nonsense,ro,more=1", MOUNT_PARSE_SLOPPY, &error),
        ==, 0);
    g_assert_true(o->rdonly);
    /* A bad value of an option that is known is still an error. */
    g_assert_cmpint(
        mount_opts_parse(o, "cache=fast", MOUNT_PARSE_SLOPPY, &error), ==,
        -EINVAL);
}

/* --help and the table cannot drift apart. */
static void test_help(void)
{
    g_autofree char *help = mount_opts_help();
    size_t n;
    const struct mount_option *table = mount_option_table(&n);

    for (size_t i = 0; i < n; i++) {
        g_autofree char *line = g_strdup_printf("\n  %s", table[i].name);
        g_autofree char *all = g_strconcat("\n", help, NULL);

        g_assert_cmpint(strstr(all, line) != NULL, ==, table[i].help != NULL);
    }
    g_assert_nonnull(strstr(help, "aio=auto|native|threads"));
}

static void test_edit_distance(void)
{
    static const struct {
        const char *a, *b;
        unsigned want;
    } cases[] = {
        {"", "", 0},           {"", "abc", 3},           {"abc", "", 3},
        {"abc", "abc", 0},     {"abc", "abd", 1},        {"abc", "ab", 1},
        {"cahce", "cache", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_assert_cmpint(edit_distance(cases[i].a, cases[i].b), ==,
                        cases[i].want);
    }
}

static void test_nearest(void)
{
    static const char *const names[] = {"mount", "umount", NULL, "stat"};
    static const struct {
        const char *typed, *want;
    } cases[] = {
        {"mont", "; did you mean mount?"},
        {"unmount", "; did you mean umount or mount?"},
        {"status", "; did you mean stat?"},
        {"st", "; did you mean stat?"},
        {"x", ""},
        {"", ""},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *hint =
            nearest_hint(cases[i].typed, names, G_N_ELEMENTS(names));

        g_assert_cmpstr(hint, ==, cases[i].want);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/mount-opts/accepted", test_accepted);
    g_test_add_func("/mount-opts/refused", test_refused);
    g_test_add_func("/mount-opts/sloppy", test_sloppy);
    g_test_add_func("/mount-opts/help", test_help);
    g_test_add_func("/nearest/edit-distance", test_edit_distance);
    g_test_add_func("/nearest/hint", test_nearest);
    return g_test_run();
}
