/* SPDX-License-Identifier: MIT */
/*
 * mount-opts: the options of `coblk mount -o OPTION[,OPTION]…`.  Pure.
 *
 * One table serves parsing, error messages, --help and whoever wants to
 * complete or fuzz option names.  Options that mount(8) hands to every file
 * system are understood too: some are passed on to fuse, some mean nothing
 * here.  A doubled comma is a comma of the value; the last option wins.
 *
 * Errors: GError, one line that names the option and what is allowed.
 */
#ifndef CMD_MOUNT_OPTS_H
#define CMD_MOUNT_OPTS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "block/block.h"

/* Values are indices into the names that the table allows. */
enum mount_aio {
    MOUNT_AIO_AUTO,
    MOUNT_AIO_NATIVE,
    MOUNT_AIO_THREADS,
};

enum mount_cache {
    MOUNT_CACHE_AUTO,
    MOUNT_CACHE_NONE,
    MOUNT_CACHE_WRITEBACK,
    MOUNT_CACHE_WRITETHROUGH,
    MOUNT_CACHE_DIRECTSYNC,
    MOUNT_CACHE_UNSAFE,
};

enum mount_locking {
    MOUNT_LOCKING_AUTO,
    MOUNT_LOCKING_ON,
    MOUNT_LOCKING_OFF,
};

/* What the options say; owns its strings.  Enumerations are kept as int so
 * that the table can fill them in. */
struct mount_opts {
    bool rdonly;
    char *format;           /* NULL: probe */
    char *key_file;         /* of the passphrase; NULL: none */
    int aio;                /* enum mount_aio */
    int cache;              /* enum mount_cache */
    int64_t iothreads;      /* 1..64 */
    int merge;              /* 0 off, 1 on */
    int discard;            /* 0 ignore, 1 unmap */
    int detect_zeroes;      /* enum detect_zeroes */
    int64_t offset;         /* of the window in the image */
    int64_t size;           /* of the window; -1: to the end */
    int64_t part;           /* of a single-file mount; -1: the whole disk */
    int64_t uid, gid;       /* -1: the mounting user's */
    int64_t mode;           /* -1: 0600 */
    int64_t max_background; /* 0: the front's default */
    int64_t poll_max_ns;    /* 0: never busy-poll */
    int locking;            /* enum mount_locking */
    bool allow_other;
    bool direct_io;
    bool force;       /* a block device in use by the kernel is fine */
    bool debug;       /* libfuse prints each request */
    char *log;        /* TARGET[:LEVEL], see logging.h; NULL: default */
    char *trace;      /* TOPIC[:TOPIC]…; NULL: none */
    int64_t ready_fd; /* -1: none */
    GString *fuse;    /* options passed on to fuse, comma separated */
};

enum mount_option_kind {
    MOUNT_OPTION_SET,    /* no value; sets a bool to @max */
    MOUNT_OPTION_ENUM,   /* one of @choices; stored as its index */
    MOUNT_OPTION_SIZE,   /* bytes, or with a suffix, @min..@max */
    MOUNT_OPTION_INT,    /* decimal, @min..@max */
    MOUNT_OPTION_OCTAL,  /* octal, @min..@max */
    MOUNT_OPTION_STRING, /* not empty */
    MOUNT_OPTION_FUSE,   /* no value; passed on */
    MOUNT_OPTION_IGNORE, /* with or without a value; means nothing here */
};

struct mount_option {
    const char *name; /* with kind IGNORE, a '*' at the end: any ending */
    enum mount_option_kind kind;
    size_t field; /* offset in struct mount_opts */
    int64_t min, max;
    const char *const *choices; /* ENUM; ends in NULL */
    const char *value;          /* what --help calls the value; ENUM: NULL */
    const char *help;           /* NULL: not shown in --help */
};

/* The table; *@n is its length. */
const struct mount_option *mount_option_table(size_t *n);

enum mount_parse_flags {
    MOUNT_PARSE_SLOPPY = 1 << 0, /* mount -s: skip options nobody knows */
};

/* A new set of options, all at their defaults. */
struct mount_opts *mount_opts_new(void);
void mount_opts_free(struct mount_opts *o); /* NULL is fine */
typedef struct mount_opts mount_opts;       /* for g_autoptr() only */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(mount_opts, mount_opts_free)

/* Applies @text to @o.  Returns 0, or -EINVAL: @o is then part changed. */
nodiscard int mount_opts_parse(struct mount_opts *o, const char *text,
                               unsigned flags, GError **err);

/* Refuses what cannot go together.  Returns 0 or -EINVAL. */
nodiscard int mount_opts_check(const struct mount_opts *o, GError **err);

/* As options spell it. */
const char *mount_cache_name(int cache);
const char *mount_locking_name(int locking);

/* Is the image opened with O_DIRECT?  With MOUNT_CACHE_AUTO: if it can be. */
bool mount_cache_is_direct(int cache);

/* The text of --help: each option with its values.  g_free() it. */
char *mount_opts_help(void);

#endif /* CMD_MOUNT_OPTS_H */
