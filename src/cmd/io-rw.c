/* SPDX-License-Identifier: MIT */
/*
 * io-rw: the verbs of `io` that read and write.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "block/node.h"
#include "cmd/cmd.h"
#include "cmd/io-shell.h"
#include "cmd/io-text.h"
#include "format/blkverify.h"

/* The most bytes of one request with data. */
#define MAX_BYTES (INT64_C(0x7fffffff) & ~INT64_C(511))

#define FILL_READ  0xab /* what a read has not filled shows */
#define FILL_WRITE 0xcd

/* -- One request --------------------------------------------------------- */

struct rw {
    struct io_request rq;
    const char *verb; /* as in "read failed" */
    const char *what; /* as in "wrote 512/512 bytes" */
    bool csv, quiet, dump;
    int pattern; /* READ: what to find from @start on; -1: nothing */
    int64_t start, length;
    uint8_t *buf;
    struct iovec *iov;
};

static void rw_fini(struct rw *rw)
{
    free(rw->buf);
    g_free(rw->iov);
}

static bool is_filled(const uint8_t *buf, int byte, int64_t n)
{
    return n == 0 ||
           (buf[0] == byte && memcmp(buf, buf + 1, (size_t)(n - 1)) == 0);
}

/* Does the data match?  If not, says so. */
static bool rw_verify(const struct rw *rw)
{
    if (rw->pattern < 0 ||
        is_filled(rw->buf + rw->start, rw->pattern, rw->length)) {
        return true;
    }
    (void)printf("Pattern verification failed at offset %" PRId64 ", %" PRId64
                 " bytes\n",
                 rw->rq.offset + rw->start, rw->length);
    return false;
}

static void print_text(char *text)
{
    (void)fputs(text, stdout);
    g_free(text);
}

/* Prints what has become of @rw.  Returns whether all is well. */
static bool rw_report(const struct rw *rw)
{
    const struct io_request *rq = &rw->rq;
    bool ok;

    if (rq->rc < 0) {
        (void)printf("%s failed: %s\n", rw->verb, g_strerror(-rq->rc));
        return false;
    }
    ok = rw_verify(rw);
    if (rw->quiet) {
        return ok;
    }
    if (rw->dump) {
        print_text(io_dump_text(rw->buf, rq->offset, rq->bytes));
    }
    print_text(rw->csv
                   ? io_result_csv(rq->bytes, rq->ns)
                   : io_result_text(rw->what, rq->offset, rq->bytes, rq->ns));
    return ok;
}

/* Data that are not what they should be: nothing after that means anything. */
static bool stop_at_mismatch(struct io_shell *sh)
{
    struct blkverify_mismatch m;

    if (!blkverify_take_mismatch(io_root(sh->image), &m)) {
        return false;
    }
    (void)fprintf(stderr,
                  "blkverify: read offset=%" PRId64 " bytes=%" PRId64
                  " contents mismatch at offset %" PRId64 "\n",
                  m.offset, m.bytes, m.at);
    sh->quit = true;
    return true;
}

/* Runs @rw and reports; returns whether all is well. */
static bool co_fn rw_run(struct io_shell *sh, struct rw *rw)
{
    bool ok;

    io_co_run(sh->image, &rw->rq); /* yields */
    ok = !stop_at_mismatch(sh) && rw_report(rw);
    rw_fini(rw);
    return ok;
}

static void rw_done(struct io_request *rq)
{
    struct rw *rw = container_of(rq, struct rw, rq);

    (void)rw_report(rw); /* a verb that only starts it has succeeded */
    rw_fini(rw);
    g_free(rw);
}

/* Starts a copy of @rw, which reports when it has ended. */
static bool co_fn rw_submit(struct io_shell *sh, const struct rw *rw)
{
    struct rw *own = g_memdup2(rw, sizeof(*rw));
    int rc;

    own->rq.done = rw_done;
    rc = io_start(sh->image, &own->rq);
    if (rc < 0) {
        rw_fini(own);
        g_free(own);
        return io_fail("%s: %s", rw->verb, g_strerror(-rc));
    }
    return true;
}

/* -- What is asked for --------------------------------------------------- */

/* -P BYTE */
static bool parse_pattern(const char *text, int *ret)
{
    char *end;
    long n;

    errno = 0;
    n = strtol(text, &end, 0);
    if (errno || end == text || *end || n < 0 || n > 0xff) {
        (void)printf("%s is not a valid pattern byte\n", text);
        return false;
    }
    *ret = (int)n;
    return true;
}

/* Reads the lengths of the parts of a request and sets up its memory, filled
 * with @fill. */
static bool rw_set_lengths(struct io_shell *sh, struct rw *rw, int n,
                           char **lengths, int fill)
{
    struct io_request *rq = &rw->rq;
    uint8_t *at;

    rw->iov = g_new0(struct iovec, (size_t)n);
    for (int i = 0; i < n; i++) {
        int64_t bytes;

        if (!io_parse_size(lengths[i], &bytes)) {
            return false;
        }
        if (bytes > MAX_BYTES - rq->bytes) {
            return io_fail("%s: one request has at most %" PRId64 " bytes",
                           rw->verb, MAX_BYTES);
        }
        rw->iov[i].iov_len = (size_t)bytes;
        rq->bytes += bytes;
    }
    rw->buf = node_try_alloc(io_root(sh->image), rq->bytes);
    if (!rw->buf) {
        return io_fail("%s: there is no memory for %" PRId64 " bytes", rw->verb,
                       rq->bytes);
    }
    memset(rw->buf, fill, (size_t)rq->bytes);
    at = rw->buf;
    for (int i = 0; i < n; i++) {
        rw->iov[i].iov_base = at;
        at += rw->iov[i].iov_len;
    }
    rq->iovs = iovs_of(rw->iov, n);
    return true;
}

/* Reads -s and -l, which part of what was read -P is about. */
static bool rw_set_part(struct rw *rw, const struct io_opts *o)
{
    rw->length = rw->rq.bytes;
    if ((o->start || o->length) && !o->pattern) {
        return io_fail("%s: -s and -l say where to find -P BYTE; give that too",
                       rw->verb);
    }
    if (o->start && !io_parse_size(o->start, &rw->start)) {
        return false;
    }
    rw->length = max_i64(rw->rq.bytes - rw->start, 0);
    if (o->length && !io_parse_size(o->length, &rw->length)) {
        return false;
    }
    if (!range_ok(rw->start, rw->length, rw->rq.bytes)) {
        return io_fail("%s: the part from -s %" PRId64 " with %" PRId64
                       " bytes is not within the %" PRId64 " bytes to read",
                       rw->verb, rw->start, rw->length, rw->rq.bytes);
    }
    return true;
}

static struct rw rw_new(const char *verb, const char *what, enum backend_op op,
                        const struct io_opts *o)
{
    return (struct rw){
        .rq = {.op = op, .vm_state = o->vm_state},
        .verb = verb,
        .what = what,
        .csv = o->csv,
        .quiet = o->quiet,
        .dump = o->dump,
        .pattern = -1,
    };
}

/* Sets up a read of the operands: an offset, and lengths. */
static bool rw_set_read(struct io_shell *sh, struct rw *rw,
                        const struct io_opts *o, int n, char **operands)
{
    return (!o->pattern || parse_pattern(o->pattern, &rw->pattern)) &&
           io_parse_size(operands[0], &rw->rq.offset) &&
           rw_set_lengths(sh, rw, n - 1, operands + 1, FILL_READ) &&
           rw_set_part(rw, o);
}

/* Fills the memory of @rw with what the file @name holds, again and again. */
static bool fill_from_file(struct rw *rw, const char *name)
{
    g_autofree char *data = NULL;
    g_autoptr(GError) err = NULL;
    gsize n;

    if (!g_file_get_contents(name, &data, &n, &err)) {
        return io_fail("%s: %s", rw->verb, err->message);
    }
    if (n == 0) {
        return io_fail("%s: %s: is empty: there is nothing to write", rw->verb,
                       name);
    }
    for (int64_t at = 0; at < rw->rq.bytes; at += (int64_t)n) {
        memcpy(rw->buf + at, data, MIN(n, (gsize)(rw->rq.bytes - at)));
    }
    return true;
}

/* Do the options of a write go together? */
static bool check_write(const char *verb, const struct io_opts *o)
{
    static const char message[] = "%s: %s";
    const char *wrong = NULL;

    if (o->vm_state && o->zeroes) {
        wrong = "-b and -z exclude each other";
    } else if (o->vm_state && o->compressed) {
        wrong = "-b and -c exclude each other";
    } else if (o->fua && (o->vm_state || o->compressed)) {
        wrong = "-f works with neither -b nor -c";
    } else if (o->no_fallback && !o->zeroes) {
        wrong = "-n only means something with -z";
    } else if (o->unmap && !o->zeroes) {
        wrong = "-u only means something with -z";
    } else if (o->zeroes + (o->pattern != NULL) + (o->file != NULL) > 1) {
        wrong = "-z, -P and -s exclude each other";
    }
    return wrong ? io_fail(message, verb, wrong) : true;
}

static unsigned write_flags(const struct io_opts *o)
{
    return (o->fua ? REQ_FUA : 0) | (o->unmap ? REQ_MAY_UNMAP : 0) |
           (o->no_fallback ? REQ_NO_FALLBACK : 0) |
           (o->compressed && !o->zeroes ? REQ_WRITE_COMPRESSED : 0);
}

/* Sets up a write to the operands: an offset, and lengths. */
static bool rw_set_write(struct io_shell *sh, struct rw *rw,
                         const struct io_opts *o, int n, char **operands)
{
    int fill = FILL_WRITE;

    rw->rq.flags = write_flags(o);
    if (!check_write(rw->verb, o) ||
        (o->pattern && !parse_pattern(o->pattern, &fill)) ||
        !io_parse_size(operands[0], &rw->rq.offset)) {
        return false;
    }
    if (!o->zeroes) {
        return rw_set_lengths(sh, rw, n - 1, operands + 1, fill) &&
               (!o->file || fill_from_file(rw, o->file));
    }
    if (n > 2) {
        return io_fail("%s: -z takes one length only", rw->verb);
    }
    rw->rq.op = BACKEND_ZEROES;
    return io_parse_size(operands[1], &rw->rq.bytes);
}

static bool co_fn run_read(struct io_shell *sh, const char *verb,
                           const struct io_opts *o, int n, char **operands)
{
    struct rw rw = rw_new(verb, "read", BACKEND_READ, o);

    if (!rw_set_read(sh, &rw, o, n, operands)) {
        rw_fini(&rw);
        return false;
    }
    return rw_run(sh, &rw); /* yields */
}

static bool co_fn run_write(struct io_shell *sh, const char *verb,
                            const struct io_opts *o, int n, char **operands)
{
    struct rw rw = rw_new(verb, "wrote", BACKEND_WRITE, o);

    if (!rw_set_write(sh, &rw, o, n, operands)) {
        rw_fini(&rw);
        return false;
    }
    return rw_run(sh, &rw); /* yields */
}

/* -- Verbs --------------------------------------------------------------- */

#define ROW(field, letter, help)                    \
    {                                               \
        letter, NULL, NULL, help, .flag = &o->field \
    }
#define ROW_TEXT(field, letter, value, help)         \
    {                                                \
        letter, NULL, value, help, .text = &o->field \
    }
#define ROW_CSV   ROW(csv, 'C', "print the result for programs: with commas")
#define ROW_QUIET ROW(quiet, 'q', "print no result")
#define ROW_DUMP  ROW(dump, 'v', "print the data")
#define ROW_CHECK \
    ROW_TEXT(pattern, 'P', "BYTE", "check that all bytes are this")
#define ROW_FILL  ROW_TEXT(pattern, 'P', "BYTE", "write this; else 0xcd")
#define ROW_FUA   ROW(fua, 'f', "durable when it ends")
#define ROW_ZERO  ROW(zeroes, 'z', "write zeroes, without data")
#define ROW_UNMAP ROW(unmap, 'u', "with -z: the space may be given back")

static size_t read_args(struct io_opts *o, struct arg *ret)
{
    const struct arg rows[] = {
        ROW_CHECK,
        ROW_TEXT(start, 's', "BYTES", "with -P: begin there in what was read"),
        ROW_TEXT(length, 'l', "BYTES", "with -P: check as much"),
        ROW_DUMP,
        ROW_QUIET,
        ROW_CSV,
        ROW(vm_state, 'b', "the state of the machine rather than the disk"),
        ROW(old, 'p', NULL),
        ROW(old, 'a', NULL),
    };

    memcpy(ret, rows, sizeof(rows));
    return G_N_ELEMENTS(rows);
}

static bool co_fn verb_read(struct io_shell *sh, const struct io_opts *o, int n,
                            char **operands)
{
    return run_read(sh, "read", o, n, operands); /* yields */
}

static size_t readv_args(struct io_opts *o, struct arg *ret)
{
    const struct arg rows[] = {ROW_CHECK, ROW_DUMP, ROW_QUIET, ROW_CSV};

    memcpy(ret, rows, sizeof(rows));
    return G_N_ELEMENTS(rows);
}

static bool co_fn verb_readv(struct io_shell *sh, const struct io_opts *o,
                             int n, char **operands)
{
    return run_read(sh, "readv", o, n, operands); /* yields */
}

static size_t write_args(struct io_opts *o, struct arg *ret)
{
    const struct arg rows[] = {
        ROW_FILL,
        ROW_TEXT(file, 's', "FILE", "write what is in this file"),
        ROW_ZERO,
        ROW_UNMAP,
        ROW(no_fallback, 'n', "with -z: fail rather than write data"),
        ROW(compressed, 'c', "write compressed"),
        ROW_FUA,
        ROW_QUIET,
        ROW_CSV,
        ROW(vm_state, 'b', "the state of the machine rather than the disk"),
        ROW(old, 'p', NULL),
    };

    memcpy(ret, rows, sizeof(rows));
    return G_N_ELEMENTS(rows);
}

static bool co_fn verb_write(struct io_shell *sh, const struct io_opts *o,
                             int n, char **operands)
{
    return run_write(sh, "write", o, n, operands); /* yields */
}

static size_t writev_args(struct io_opts *o, struct arg *ret)
{
    const struct arg rows[] = {ROW_FILL, ROW_FUA, ROW_QUIET, ROW_CSV};

    memcpy(ret, rows, sizeof(rows));
    return G_N_ELEMENTS(rows);
}

static bool co_fn verb_writev(struct io_shell *sh, const struct io_opts *o,
                              int n, char **operands)
{
    return run_write(sh, "writev", o, n, operands); /* yields */
}

static size_t aio_read_args(struct io_opts *o, struct arg *ret)
{
    const struct arg rows[] = {
        ROW_CHECK,
        ROW_DUMP,
        ROW_QUIET,
        ROW_CSV,
        ROW(invalid, 'i', "only count it as invalid"),
    };

    memcpy(ret, rows, sizeof(rows));
    return G_N_ELEMENTS(rows);
}

static bool co_fn verb_aio_read(struct io_shell *sh, const struct io_opts *o,
                                int n, char **operands)
{
    struct rw rw = rw_new("readv", "read", BACKEND_READ, o);

    if (o->invalid) {
        (void)printf("injecting invalid read request\n");
        return true;
    }
    if (!rw_set_read(sh, &rw, o, n, operands)) {
        rw_fini(&rw);
        return false;
    }
    return rw_submit(sh, &rw);
}

static size_t aio_write_args(struct io_opts *o, struct arg *ret)
{
    const struct arg rows[] = {
        ROW_FILL,
        ROW_ZERO,
        ROW_UNMAP,
        ROW_FUA,
        ROW_QUIET,
        ROW_CSV,
        ROW(invalid, 'i', "only count it as invalid"),
    };

    memcpy(ret, rows, sizeof(rows));
    return G_N_ELEMENTS(rows);
}

static bool co_fn verb_aio_write(struct io_shell *sh, const struct io_opts *o,
                                 int n, char **operands)
{
    struct rw rw = rw_new("aio_write", "wrote", BACKEND_WRITE, o);

    if (o->invalid) {
        (void)printf("injecting invalid write request\n");
        return true;
    }
    if (!rw_set_write(sh, &rw, o, n, operands)) {
        rw_fini(&rw);
        return false;
    }
    return rw_submit(sh, &rw);
}

static bool co_fn verb_aio_flush(struct io_shell *sh, const struct io_opts *o,
                                 int n, char **operands)
{
    io_co_wait(sh->image); /* yields */
    return true;
}

static size_t discard_args(struct io_opts *o, struct arg *ret)
{
    const struct arg rows[] = {ROW_QUIET, ROW_CSV};

    memcpy(ret, rows, sizeof(rows));
    return G_N_ELEMENTS(rows);
}

static bool co_fn verb_discard(struct io_shell *sh, const struct io_opts *o,
                               int n, char **operands)
{
    struct rw rw = rw_new("discard", "discard", BACKEND_DISCARD, o);

    return io_parse_size(operands[0], &rw.rq.offset) &&
           io_parse_size(operands[1], &rw.rq.bytes) && rw_run(sh, &rw);
}

static bool co_fn verb_flush(struct io_shell *sh, const struct io_opts *o,
                             int n, char **operands)
{
    struct io_request rq = {.op = BACKEND_FLUSH};

    io_co_run(sh->image, &rq); /* yields */
    if (rq.rc < 0) {
        return io_fail("flush: %s: %s", node_filename(io_root(sh->image)),
                       g_strerror(-rq.rc));
    }
    return true;
}

const struct io_verb io_rw_verbs[] = {
    {"read", "r", "OFFSET BYTES", "reads, and may check or print the data", 0,
     2, 2, read_args, verb_read},
    {"readv", NULL, "OFFSET BYTES...", "reads into several buffers at once", 0,
     2, -1, readv_args, verb_readv},
    {"write", "w", "OFFSET BYTES", "writes", IO_VERB_WRITES, 2, 2, write_args,
     verb_write},
    {"writev", NULL, "OFFSET BYTES...", "writes from several buffers at once",
     IO_VERB_WRITES, 2, -1, writev_args, verb_writev},
    {"aio_read", NULL, "OFFSET BYTES...",
     "starts to read; it reports when it ends", 0, 2, -1, aio_read_args,
     verb_aio_read},
    {"aio_write", NULL, "OFFSET BYTES...",
     "starts to write; it reports when it ends", IO_VERB_WRITES, 2, -1,
     aio_write_args, verb_aio_write},
    {"aio_flush", NULL, "", "waits for all that was started", 0, 0, 0, NULL,
     verb_aio_flush},
    {"discard", "d", "OFFSET BYTES", "tells that bytes are not needed",
     IO_VERB_WRITES, 2, 2, discard_args, verb_discard},
    {"flush", "f", "", "makes durable what was written", 0, 0, 0, NULL,
     verb_flush},
    {.name = NULL},
};
