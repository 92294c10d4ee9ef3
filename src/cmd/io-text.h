/* SPDX-License-Identifier: MIT */
/*
 * io-text: the forms in which qemu-io prints results, which scripts read.
 * Pure; g_free() each result.
 */
#ifndef CMD_IO_TEXT_H
#define CMD_IO_TEXT_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* "64 KiB", "1.500 MiB", "40 bytes", "11.876317 bytes". */
char *io_size_text(double bytes);

/*
 * The two lines of a result:
 *   read 65536/65536 bytes at offset 0
 *   64 KiB, 1 ops; 00.00 sec (246.453 MiB/sec and 3943.2488 ops/sec)
 * @what is "read", "wrote" or "discard".
 */
char *io_result_text(const char *what, int64_t offset, int64_t bytes,
                     int64_t ns);

/* The same for programs: "65536,1,0:00:00.00,258426470.588,3943.249". */
char *io_result_csv(int64_t bytes, int64_t ns);

/* @bytes of @buf, which stand at @offset, 16 a line, in hex and as text. */
char *io_dump_text(const uint8_t *buf, int64_t offset, int64_t bytes);

/* "1 MiB (0x100000) bytes     allocated at offset 0 bytes (0x0)". */
char *io_run_text(int64_t offset, int64_t bytes, bool allocated);

#endif /* CMD_IO_TEXT_H */
