/* SPDX-License-Identifier: MIT */
/*
 * iothread: a thread that runs a loop of its own.
 */
#ifndef LOOP_IOTHREAD_H
#define LOOP_IOTHREAD_H

#include "base/compiler.h"

struct iothread;
struct loop;

/* Starts a thread called @name (at most 15 bytes).  Returns 0 or a negative
 * errno.  All signals are blocked in it. */
nodiscard int iothread_new(const char *name, struct iothread **ret);

/* Any thread.  Asks the loop to stop, once, without waiting: of several, each
 * is stopped before the first is freed.  All work of the loop must be done. */
void iothread_stop(struct iothread *t);

/* Stops the loop, joins the thread, frees the loop on that thread.  NULL is
 * fine.  All work of the loop must be done. */
void iothread_free(struct iothread *t);

struct loop *iothread_loop(struct iothread *t);

#endif /* LOOP_IOTHREAD_H */
