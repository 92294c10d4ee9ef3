/* SPDX-License-Identifier: MIT */

#include "cmd/io-text.h"

#include <inttypes.h>
#include <string.h>

#define NS_PER_SEC  INT64_C(1000000000)
#define NS_PER_CENT (NS_PER_SEC / 100)

/* The number without its decimals when these are all zero. */
static char *number_text(const char *format, double n)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE + 320];
    char *point;

    (void)g_ascii_formatd(text, (int)sizeof(text), format, n);
    point = strchr(text, '.');
    if (point && point[1 + strspn(point + 1, "0")] == '\0') {
        *point = '\0';
    }
    return g_strdup(text);
}

char *io_size_text(double bytes)
{
    static const char units[] = "KMGTPE";
    g_autofree char *number = NULL;
    int i = -1;

    while (bytes >= 1024 && i < (int)sizeof(units) - 2) {
        bytes /= 1024;
        i++;
    }
    number = number_text(i < 0 ? "%f" : "%.3f", bytes);
    return i < 0 ? g_strdup_printf("%s bytes", number)
                 : g_strdup_printf("%s %ciB", number, units[i]);
}

/* H:MM:SS.cc */
static char *clock_text(int64_t ns)
{
    int64_t cents = ns / NS_PER_CENT;
    int64_t seconds = cents / 100;

    return g_strdup_printf("%" PRId64 ":%02" PRId64 ":%02" PRId64 ".%02" PRId64,
                           seconds / 3600, seconds / 60 % 60, seconds % 60,
                           cents % 100);
}

/* "00.12 sec", from a minute on "0:01:01.58". */
static char *time_text(int64_t ns)
{
    if (ns >= 60 * NS_PER_SEC) {
        return clock_text(ns);
    }
    return g_strdup_printf("%02" PRId64 ".%02" PRId64 " sec", ns / NS_PER_SEC,
                           ns / NS_PER_CENT % 100);
}

/* How much of @n there is in a second. */
static double per_second(double n, int64_t ns)
{
    return n * (double)NS_PER_SEC / (double)MAX(ns, 1);
}

char *io_result_text(const char *what, int64_t offset, int64_t bytes,
                     int64_t ns)
{
    g_autofree char *size = io_size_text((double)bytes);
    g_autofree char *rate = io_size_text(per_second((double)bytes, ns));
    g_autofree char *time = time_text(ns);

    return g_strdup_printf("%s %" PRId64 "/%" PRId64 " bytes at offset %" PRId64
                           "\n%s, 1 ops; %s (%s/sec and %.4f ops/sec)\n",
                           what, bytes, bytes, offset, size, time, rate,
                           per_second(1, ns));
}

char *io_result_csv(int64_t bytes, int64_t ns)
{
    g_autofree char *time = clock_text(ns);

    return g_strdup_printf("%" PRId64 ",1,%s,%.3f,%.3f\n", bytes, time,
                           per_second((double)bytes, ns), per_second(1, ns));
}

static void dump_line(GString *out, const uint8_t *buf, int64_t offset,
                      int64_t n)
{
    g_string_append_printf(out, "%08" PRIx64 ":  ", (uint64_t)offset);
    for (int64_t i = 0; i < n; i++) {
        g_string_append_printf(out, "%02x ", buf[i]);
    }
    g_string_append_c(out, ' ');
    for (int64_t i = 0; i < n; i++) {
        g_string_append_c(out, g_ascii_isalnum(buf[i]) ? (char)buf[i] : '.');
    }
    g_string_append_c(out, '\n');
}

char *io_dump_text(const uint8_t *buf, int64_t offset, int64_t bytes)
{
    GString *out = g_string_new(NULL);

    for (int64_t at = 0; at < bytes; at += 16) {
        dump_line(out, buf + at, offset + at, MIN(bytes - at, 16));
    }
    return g_string_free(out, FALSE);
}

char *io_run_text(int64_t offset, int64_t bytes, bool allocated)
{
    g_autofree char *size = io_size_text((double)bytes);
    g_autofree char *at = io_size_text((double)offset);

    return g_strdup_printf("%s (0x%" PRIx64 ") bytes %s allocated at offset %s "
                           "(0x%" PRIx64 ")\n",
                           size, (uint64_t)bytes, allocated ? "   " : "not", at,
                           (uint64_t)offset);
}
