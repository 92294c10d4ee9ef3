/* SPDX-License-Identifier: MIT */

#include "cmd/mount-opts.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/options.h"
#include "cmd/nearest.h"

static const char *const aio_names[] = {"auto", "native", "threads", NULL};
static const char *const cache_names[] = {
    "auto", "none", "writeback", "writethrough", "directsync", "unsafe", NULL};
static const char *const locking_names[] = {"auto", "on", "off", NULL};
static const char *const off_on_names[] = {"off", "on", NULL};
static const char *const discard_names[] = {"ignore", "unmap", NULL};
static const char *const zeroes_names[] = {"off", "on", "unmap", NULL};

#define FIELD(name) offsetof(struct mount_opts, name)
#define SET(opt, field_, value_, help_)                                \
    {                                                                  \
        .name = opt, .kind = MOUNT_OPTION_SET, .field = FIELD(field_), \
        .max = value_, .help = help_,                                  \
    }
#define ENUM(opt, field_, choices_, help_)                              \
    {                                                                   \
        .name = opt, .kind = MOUNT_OPTION_ENUM, .field = FIELD(field_), \
        .choices = choices_, .help = help_,                             \
    }
#define NUMBER(opt, kind_, field_, min_, max_, value_, help_)              \
    {                                                                      \
        .name = opt, .kind = MOUNT_OPTION_##kind_, .field = FIELD(field_), \
        .min = min_, .max = max_, .value = value_, .help = help_,          \
    }
#define STRING(opt, field_, value_, help_)                                \
    {                                                                     \
        .name = opt, .kind = MOUNT_OPTION_STRING, .field = FIELD(field_), \
        .value = value_, .help = help_,                                   \
    }
#define FUSE(opt)                              \
    {                                          \
        .name = opt, .kind = MOUNT_OPTION_FUSE \
    }
#define IGNORE(opt)                              \
    {                                            \
        .name = opt, .kind = MOUNT_OPTION_IGNORE \
    }

/* clang-format off */
static const struct mount_option table[] = {
    SET("ro", rdonly, true, "mount read-only"),
    SET("rw", rdonly, false, "mount read-write (the default)"),
    STRING("format", format, "NAME",
           "the image's format (default: its first bytes decide)"),
    STRING("key-file", key_file, "FILE",
           "file with the passphrase of an encrypted image:\n"
           "all of it, also a newline at its end"),
    ENUM("cache", cache, cache_names,
         "how writes reach the disk; auto: none where the image\n"
         "allows O_DIRECT, else writeback"),
    ENUM("aio", aio, aio_names,
         "who does the I/O: the kernel (Linux AIO) or threads;\n"
         "auto: native where the cache mode is direct"),
    NUMBER("iothreads", INT, iothreads, 1, 64, "N",
           "threads that serve requests (1 to 64; default 2,\n"
           "or 1 where there is one processor)"),
    ENUM("merge", merge, off_on_names,
         "join requests that are neighbours (default on)"),
    ENUM("discard", discard, discard_names,
         "do punched holes free space? (default ignore)"),
    ENUM("detect-zeroes", detect_zeroes, zeroes_names,
         "write blocks of zeroes as holes; unmap: free their space"),
    NUMBER("offset", SIZE, offset, 0, INT64_MAX, "BYTES",
           "the disk begins here in the image (suffixes k M G T)"),
    NUMBER("size", SIZE, size, 1, INT64_MAX, "BYTES",
           "the disk has this size (default: the rest of the image)"),
    NUMBER("part", INT, part, 1, 1000000, "N",
           "show partition N; MOUNTPOINT must be a regular file"),
    NUMBER("uid", INT, uid, 0, UINT32_MAX - 1, "N",
           "owner of the files (default: who mounts)"),
    NUMBER("gid", INT, gid, 0, UINT32_MAX - 1, "N",
           "group of the files (default: of who mounts)"),
    NUMBER("mode", OCTAL, mode, 0, 0777, "OCTAL",
           "permissions of the files (default 0600; read-only 0400)"),
    SET("allow_other", allow_other, true,
        "other users may see the mount, as far as mode permits"),
    SET("direct_io", direct_io, true,
        "send each request to the image, bypass the page cache"),
    ENUM("locking", locking, locking_names,
         "lock the image against others; auto: where possible"),
    SET("force", force, true,
        "write to a block device although the kernel uses it"),
    NUMBER("max_background", INT, max_background, 1, UINT16_MAX, "N",
           "most requests that the kernel has under way"),
    NUMBER("poll-max-ns", INT, poll_max_ns, 0, 1000000000, "NS",
           "busy-poll at most this long before sleeping; 0: never"),
    STRING("log", log, "FILE|syslog|stderr[:LEVEL]",
           "where messages go in the background (default syslog);\n"
           "LEVEL is error, warning, info or debug"),
    STRING("trace", trace, "TOPIC[:TOPIC]",
           "log each request at: front queue backend block driver\n"
           "engine format, or all"),
    NUMBER("ready-fd", INT, ready_fd, 0, INT32_MAX, "N",
           "write a line to descriptor N when the mount works"),
    SET("debug", debug, true, "print each FUSE request (with -f)"),

    FUSE("default_permissions"), FUSE("dev"), FUSE("nodev"), FUSE("suid"),
    FUSE("nosuid"), FUSE("exec"), FUSE("noexec"), FUSE("atime"),
    FUSE("noatime"), FUSE("diratime"), FUSE("nodiratime"), FUSE("sync"),
    FUSE("async"), FUSE("dirsync"),

    IGNORE("defaults"), IGNORE("auto"), IGNORE("noauto"), IGNORE("nofail"),
    IGNORE("_netdev"), IGNORE("user"), IGNORE("users"), IGNORE("nouser"),
    IGNORE("owner"), IGNORE("group"), IGNORE("relatime"),
    IGNORE("norelatime"), IGNORE("strictatime"), IGNORE("nostrictatime"),
    IGNORE("lazytime"), IGNORE("nolazytime"), IGNORE("silent"),
    IGNORE("loud"), IGNORE("comment"), IGNORE("x-*"), IGNORE("X-*"),
};
/* clang-format on */

const struct mount_option *mount_option_table(size_t *n)
{
    *n = G_N_ELEMENTS(table);
    return table;
}

/* The second one only works while the first has more than it can do. */
static int64_t default_iothreads(void)
{
    return g_get_num_processors() > 1 ? 2 : 1;
}

struct mount_opts *mount_opts_new(void)
{
    struct mount_opts *o = g_new(struct mount_opts, 1);

    *o = (struct mount_opts){
        .iothreads = default_iothreads(),
        .merge = true,
        .size = -1,
        .part = -1,
        .uid = -1,
        .gid = -1,
        .mode = -1,
        .poll_max_ns = 64000,
        .ready_fd = -1,
        .fuse = g_string_new(NULL),
    };
    return o;
}

void mount_opts_free(struct mount_opts *o)
{
    if (!o) {
        return;
    }
    g_free(o->format);
    g_free(o->key_file);
    g_free(o->log);
    g_free(o->trace);
    (void)g_string_free(o->fuse, TRUE);
    g_free(o);
}

static bool option_is(const struct mount_option *opt, const char *name)
{
    size_t n = strlen(opt->name);

    if (opt->name[n - 1] == '*') {
        return strncmp(opt->name, name, n - 1) == 0;
    }
    return strcmp(opt->name, name) == 0;
}

static const struct mount_option *option_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        if (option_is(&table[i], name)) {
            return &table[i];
        }
    }
    return NULL;
}

static int option_unknown(const char *name, GError **err)
{
    const char *names[G_N_ELEMENTS(table)];
    g_autofree char *hint = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        names[i] = strchr(table[i].name, '*') ? NULL : table[i].name;
    }
    hint = nearest_hint(name, names, G_N_ELEMENTS(table));
    return error_set(err, -EINVAL, "unknown option '%s'%s", name, hint);
}

static int option_set_enum(const struct mount_option *opt, int *field,
                           const char *value, GError **err)
{
    g_autofree char *allowed = NULL;

    for (int i = 0; opt->choices[i]; i++) {
        if (strcmp(opt->choices[i], value) == 0) {
            *field = i;
            return 0;
        }
    }
    allowed = g_strjoinv(", ", (char **)opt->choices);
    return error_set(err, -EINVAL, "%s=%s: not one of %s", opt->name, value,
                     allowed);
}

static int option_set_size(const struct mount_option *opt, int64_t *field,
                           const char *value, GError **err)
{
    int64_t n = 0;

    if (parse_size(value, &n) < 0) {
        return error_set(err, -EINVAL,
                         "%s=%s: not a size; write bytes, or a number with "
                         "one of k M G T P E",
                         opt->name, value);
    }
    if (n < opt->min) {
        return error_set(err, -EINVAL, "%s=%s: must be at least %" PRId64,
                         opt->name, value, opt->min);
    }
    *field = n;
    return 0;
}

static int option_set_number(const struct mount_option *opt, int64_t *field,
                             const char *value, GError **err)
{
    bool octal = opt->kind == MOUNT_OPTION_OCTAL;
    guint64 n;

    if (!g_ascii_string_to_unsigned(value, octal ? 8 : 10, (guint64)opt->min,
                                    (guint64)opt->max, &n, NULL)) {
        return error_set(err, -EINVAL,
                         octal ? "%s=%s: not an octal number from "
                                 "%" PRIo64 " to %" PRIo64
                               : "%s=%s: not a number from "
                                 "%" PRIu64 " to %" PRIu64,
                         opt->name, value, (guint64)opt->min,
                         (guint64)opt->max);
    }
    *field = (int64_t)n;
    return 0;
}

static void option_set_string(char **field, const char *value)
{
    g_free(*field);
    *field = g_strdup(value);
}

static void option_pass_on(struct mount_opts *o, const char *name)
{
    g_string_append_printf(o->fuse, "%s%s", o->fuse->len ? "," : "", name);
}

/* Stores @value (not empty), or NULL for an option that takes none. */
static int option_apply(const struct mount_option *opt, struct mount_opts *o,
                        const char *value, GError **err)
{
    void *field = (char *)o + opt->field;

    switch (opt->kind) {
    case MOUNT_OPTION_SET:
        *(bool *)field = opt->max;
        return 0;
    case MOUNT_OPTION_ENUM:
        return option_set_enum(opt, field, value, err);
    case MOUNT_OPTION_SIZE:
        return option_set_size(opt, field, value, err);
    case MOUNT_OPTION_INT:
    case MOUNT_OPTION_OCTAL:
        return option_set_number(opt, field, value, err);
    case MOUNT_OPTION_STRING:
        option_set_string(field, value);
        return 0;
    case MOUNT_OPTION_FUSE:
        option_pass_on(o, opt->name);
        return 0;
    case MOUNT_OPTION_IGNORE:
        return 0;
    }
    g_assert_not_reached();
}

static bool option_takes_value(const struct mount_option *opt)
{
    return opt->kind != MOUNT_OPTION_SET && opt->kind != MOUNT_OPTION_FUSE;
}

/* Applies one "name" or "name=value". */
static int mount_opts_item(struct mount_opts *o, char *item, unsigned flags,
                           GError **err)
{
    char *value = strchr(item, '=');
    const struct mount_option *opt;

    if (value) {
        *value++ = '\0';
    }
    opt = option_find(item);
    if (!opt) {
        return flags & MOUNT_PARSE_SLOPPY ? 0 : option_unknown(item, err);
    }
    if (opt->kind == MOUNT_OPTION_IGNORE) {
        return 0;
    }
    if (value && !option_takes_value(opt)) {
        return error_set(err, -EINVAL, "%s=%s: %s takes no value", item, value,
                         item);
    }
    if (option_takes_value(opt) && (!value || !*value)) {
        return error_set(err, -EINVAL, "%s needs a value: %s=%s", item, item,
                         opt->value ? opt->value : opt->choices[0]);
    }
    return option_apply(opt, o, value, err);
}

int mount_opts_parse(struct mount_opts *o, const char *text, unsigned flags,
                     GError **err)
{
    while (*text) {
        g_autofree char *item = options_next_item(&text);
        int rc;

        if (!*item) {
            return error_set(err, -EINVAL,
                             "an option is empty; write OPTION[,OPTION]");
        }
        rc = mount_opts_item(o, item, flags, err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

const char *mount_cache_name(int cache)
{
    return cache_names[cache];
}

const char *mount_locking_name(int locking)
{
    return locking_names[locking];
}

bool mount_cache_is_direct(int cache)
{
    return cache == MOUNT_CACHE_NONE || cache == MOUNT_CACHE_DIRECTSYNC ||
           cache == MOUNT_CACHE_AUTO;
}

int mount_opts_check(const struct mount_opts *o, GError **err)
{
    if (o->aio == MOUNT_AIO_NATIVE && !mount_cache_is_direct(o->cache)) {
        return error_set(err, -EINVAL,
                         "aio=native needs cache=none or cache=directsync, "
                         "not cache=%s; leave one of them out",
                         cache_names[o->cache]);
    }
    if (o->size > INT64_MAX - o->offset) {
        return error_set(err, -EINVAL,
                         "offset=%" PRId64 " and size=%" PRId64
                         ": the window would end past 2^63 bytes",
                         o->offset, o->size);
    }
    if (o->detect_zeroes == DETECT_ZEROES_UNMAP && !o->discard) {
        return error_set(err, -EINVAL,
                         "detect-zeroes=unmap needs discard=unmap");
    }
    return 0;
}

/* "name=a|b|c", "name=VALUE" or "name". */
static char *option_usage(const struct mount_option *opt)
{
    g_autofree char *choices = NULL;

    if (opt->kind == MOUNT_OPTION_ENUM) {
        choices = g_strjoinv("|", (char **)opt->choices);
        return g_strdup_printf("%s=%s", opt->name, choices);
    }
    if (opt->value) {
        return g_strdup_printf("%s=%s", opt->name, opt->value);
    }
    return g_strdup(opt->name);
}

char *mount_opts_help(void)
{
    GString *text = g_string_new(NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autofree char *usage = NULL;
        g_auto(GStrv) lines = NULL;

        if (!table[i].help) {
            continue;
        }
        usage = option_usage(&table[i]);
        lines = g_strsplit(table[i].help, "\n", -1);
        if (strlen(usage) > 20) {
            g_string_append_printf(text, "  %s\n", usage);
            *usage = '\0';
        }
        for (unsigned l = 0; lines[l]; l++) {
            g_string_append_printf(text, "  %-20s %s\n", l ? "" : usage,
                                   lines[l]);
        }
    }
    return g_string_free(text, FALSE);
}
