/* SPDX-License-Identifier: MIT */
/*
 * json: writes JSON text, indented as python3 -m json.tool does.
 *
 * Inside an object each value has a key; inside an array, and for the value
 * at the top, the key is NULL.  Strings are taken as UTF-8; bytes that are not
 * become U+FFFD.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>

struct json;

struct json *json_new(void);
/* Ends the text (with a newline) and frees @j; g_free() the result. */
char *json_finish(struct json *j);

void json_object_begin(struct json *j, const char *key);
void json_object_end(struct json *j);
void json_array_begin(struct json *j, const char *key);
void json_array_end(struct json *j);
void json_string(struct json *j, const char *key, const char *value);
void json_int(struct json *j, const char *key, int64_t value);
void json_double(struct json *j, const char *key, double value);
void json_bool(struct json *j, const char *key, bool value);
void json_null(struct json *j, const char *key);
/* A value that is JSON text of this writer already; it is indented anew. */
void json_raw(struct json *j, const char *key, const char *text);

#endif /* BASE_JSON_H */
