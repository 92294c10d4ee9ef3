/* SPDX-License-Identifier: MIT */
/*
 * qcow2-rig: what tests of qcow2 share: images in files of a folder of their
 * own, operations that run to their end, and qemu-img as a second opinion.
 *
 * There is a secret called "rig" for images that are encrypted.
 *
 * Failures of operations that are not what is tested end the test.
 */
#ifndef TEST_LAYER_QCOW2_RIG_H
#define TEST_LAYER_QCOW2_RIG_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
#include "block/image.h"
#include "block/node.h"
#include "co/co.h"

/* The main() of a test: registers drivers, makes a loop and a folder, which
 * becomes the current one, calls @add_tests, runs those, and removes all that
 * is left. */
int rig_main(int argc, char **argv, void (*add_tests)(void));
/* Adds the test PREFIX/NAME, which gets @row. */
void rig_add_row(const char *prefix, const char *name, const void *row,
                 GTestDataFunc test);
/* Nothing that is logged from now on is printed. */
void rig_ignore_log(void);

/* The path of @name in the folder of the test; g_free() it. */
char *rig_path(const char *name);

/* Runs @fn(@opaque) as a coroutine to its end. */
void rig_run(void (*fn)(void *opaque), void *opaque);

/* Creates @name with options "cluster_size=512,compat=0.10". */
void rig_create(const char *name, int64_t bytes, const char *text);
/* The same where it must fail: the message. */
char *rig_create_error(const char *name, int64_t bytes, const char *text);

/* Opens @name; @options as for node_co_open_file(), or NULL. */
struct node *rig_open(const char *name, const char *text, unsigned flags);
char *rig_open_error(const char *name, const char *text, unsigned flags);
int rig_close(struct node *node);

/* Requests, alone.  The data of writes are @bytes times @fill. */
int rig_write(struct node *node, int64_t offset, int64_t bytes, int fill,
              unsigned flags);
int rig_write_buf(struct node *node, int64_t offset, const void *buf,
                  int64_t bytes, unsigned flags);
int rig_read(struct node *node, int64_t offset, void *buf, int64_t bytes);
int rig_zero(struct node *node, int64_t offset, int64_t bytes, unsigned flags);
int rig_discard(struct node *node, int64_t offset, int64_t bytes);
int rig_flush(struct node *node);
int rig_truncate(struct node *node, int64_t bytes, enum prealloc_mode prealloc);
struct block_status rig_status(struct node *node, int64_t offset,
                               int64_t bytes);
/* Asserts that bytes read as @fill. */
void rig_expect(struct node *node, int64_t offset, int64_t bytes, int fill);

/* Is there a qemu-img? */
bool rig_has_qemu(void);
/* Runs a command of the shell in the folder; returns its exit status, and its
 * output if @out is not NULL. */
int rig_shell(char **out, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Asserts that qemu-img, if there is one, finds @name consistent and without
 * leaks. */
void rig_check(const char *name);

#endif /* TEST_LAYER_QCOW2_RIG_H */
