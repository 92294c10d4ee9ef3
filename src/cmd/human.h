/* SPDX-License-Identifier: MIT */
/*
 * human: numbers and tables as people read them.  Pure; g_free() each result.
 */
#ifndef CMD_HUMAN_H
#define CMD_HUMAN_H

#include <glib.h>
#include <stdint.h>

/* "0 B", "512 B", "1.5 GiB": at most three digits before and one behind the
 * point; whole numbers without one. */
char *human_size(int64_t bytes);

/* "0", "850 ns", "12.3 us", "4.6 ms", "1.2 s". */
char *human_latency(int64_t ns);

/* "1,234,567". */
char *human_count(int64_t n);

/* "12 s", "3 min", "5 h", "2 d": the larger unit only. */
char *human_age(int64_t seconds);

/* @part of @whole in percent, "-" when @whole is 0. */
char *human_percent(int64_t part, int64_t whole);

/* A table: the first column is aligned left, the others right. */
struct table;

struct table *table_new(unsigned columns);
/* Appends a cell and takes @text over; rows fill from the left. */
void table_take(struct table *t, char *text);
void table_add(struct table *t, const char *text);
/* All rows, two spaces between columns, each ending in a newline, without
 * trailing blanks; frees @t.  The last row must be full. */
char *table_finish(struct table *t);

#endif /* CMD_HUMAN_H */
