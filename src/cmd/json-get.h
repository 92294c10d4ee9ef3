/* SPDX-License-Identifier: MIT */
/*
 * json-get: takes single values out of a JSON text by their path.  Pure.
 *
 * A path is the keys from the top, separated by dots ("read.latency_ns.p50");
 * keys that contain dots cannot be reached, nor can members of arrays.  Text
 * that is not JSON is safe: the value is not found.
 */
#ifndef CMD_JSON_GET_H
#define CMD_JSON_GET_H

#include <stdbool.h>
#include <stdint.h>

/* Returns whether there is a whole number at @path; else *@ret stays. */
bool json_get_int(const char *text, const char *path, int64_t *ret);

#endif /* CMD_JSON_GET_H */
