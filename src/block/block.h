/* SPDX-License-Identifier: MIT */
/*
 * block: the vocabulary of the block layer: request flags, limits, status.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/align.h"

struct node;

/* No request is longer than this, whatever a driver could do. */
#define BLOCK_MAX_TRANSFER  (INT64_C(0x7fffffff) & ~(4 * KiB - 1))
#define BLOCK_MAX_ALIGNMENT (1 * GiB)
/* No node is longer: rounding an offset up never overflows. */
#define BLOCK_MAX_LENGTH (INT64_MAX & ~(BLOCK_MAX_ALIGNMENT - 1))
/* Largest buffer of zeroes or bounce memory of one request. */
#define BLOCK_MAX_BOUNCE (1 * MiB)
/* How much of its beginning tells the format of an image. */
#define BLOCK_PROBE_BYTES (4 * KiB)

/* How a node is opened. */
enum node_flags {
    NODE_RDWR = 1 << 0,        /* writes are wanted */
    NODE_DIRECT = 1 << 1,      /* past the host's page cache (O_DIRECT) */
    NODE_NO_FLUSH = 1 << 2,    /* cache=unsafe: flushes do nothing */
    NODE_UNMAP = 1 << 3,       /* discard=unmap: discards reach the host */
    NODE_FORCE_SHARE = 1 << 4, /* read although others may write */
    NODE_NO_BACKING = 1 << 5,  /* formats: do not open the backing file */
    NODE_CHECK = 1 << 6,       /* formats: open although marked corrupt */
    NODE_NO_IO = 1 << 7,       /* only metadata is wanted (info) */
    NODE_AIO_NATIVE = 1 << 8,  /* files without an option aio=: native … */
    NODE_AIO_THREADS = 1 << 9, /* … or threads; neither: their default */
};

/* What a request may carry. */
enum req_flags {
    REQ_FUA = 1 << 0,              /* durable when it completes */
    REQ_MAY_UNMAP = 1 << 1,        /* zeroes may deallocate */
    REQ_NO_FALLBACK = 1 << 2,      /* zeroes: -EOPNOTSUPP rather than slow */
    REQ_SERIALISING = 1 << 3,      /* overlaps wait, also reads */
    REQ_WRITE_COMPRESSED = 1 << 4, /* formats that can: compress */
    REQ_WRITE_UNCHANGED = 1 << 5,  /* the content stays (copy on read) */
    REQ_NO_WAIT = 1 << 6,          /* with SERIALISING: -EBUSY, no wait */
};

/*
 * What a driver can take and prefers.  Alignments are powers of 2 except for
 * zeroes_align and discard_align.  A driver may leave a maximum 0: "no
 * limit".  node_limits() shows max_transfer and max_iov never 0.
 */
struct node_limits {
    int64_t request_align; /* of offset and length of all I/O; >= 1 */
    int64_t mem_align;     /* of buffers; >= 1 */
    int64_t opt_mem_align; /* buffers that we allocate; >= mem_align */
    int64_t max_transfer;  /* most bytes of one read or write */
    int64_t opt_transfer;  /* preferred size and alignment */
    int max_iov;           /* most elements of one read or write; >= 1 */
    int64_t max_zeroes;    /* most bytes of one write_zeroes */
    int64_t zeroes_align;  /* of write_zeroes, or they end at the node's end;
                              else it is a plain write */
    int64_t max_discard;   /* most bytes of one discard */
    int64_t discard_align; /* parts that do not fill it are skipped */
};

/* Where the bytes of a range come from. */
enum block_status_flags {
    BLOCK_DATA = 1 << 0,         /* reads come from a file */
    BLOCK_ZERO = 1 << 1,         /* reads as zeroes */
    BLOCK_OFFSET_VALID = 1 << 2, /* @map is where in @file */
    BLOCK_RAW = 1 << 3,          /* ask @file about @map instead (internal) */
    BLOCK_ALLOCATED = 1 << 4,    /* this node decides, not its backing */
    BLOCK_EOF = 1 << 5,          /* the range ends at the end of the node */
    BLOCK_RECURSE = 1 << 6,      /* @file may know that it is zero */
    BLOCK_COMPRESSED = 1 << 7,
};

struct block_status {
    unsigned flags;
    int64_t bytes;     /* how far this holds, from the offset asked for; > 0 */
    int64_t map;       /* with BLOCK_OFFSET_VALID */
    struct node *file; /* with BLOCK_OFFSET_VALID; not a reference */
};

enum prealloc_mode {
    PREALLOC_OFF,
    PREALLOC_METADATA,
    PREALLOC_FALLOC,
    PREALLOC_FULL,
};

enum truncate_flags {
    TRUNCATE_EXACT = 1 << 0,    /* exactly this size, else fail */
    TRUNCATE_ZERO_NEW = 1 << 1, /* a grown part must read as zeroes */
};

/* Treat blocks of zeroes that are written as write_zeroes. */
enum detect_zeroes {
    DETECT_ZEROES_OFF,
    DETECT_ZEROES_ON,
    DETECT_ZEROES_UNMAP,
};

/* What the host knows of the file below (view: st_blocks and times). */
struct node_stat {
    int64_t allocated; /* bytes on the host, -1: unknown */
    struct {
        int64_t sec, nsec;
    } atime, mtime, ctime;
    int64_t blksize;
};

#endif /* BLOCK_BLOCK_H */
