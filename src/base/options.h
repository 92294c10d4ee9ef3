/* SPDX-License-Identifier: MIT */
/*
 * options: a flat set of KEY=VALUE strings, for opening things.
 *
 * Options of a child node carry its name and a dot before the key
 * ("file.filename").  Whoever understands a key takes it out; what is left at
 * the end was understood by nobody and is an error.
 *
 * Errors: GError, naming the key, the value and what is allowed.
 */
#ifndef BASE_OPTIONS_H
#define BASE_OPTIONS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

typedef struct options options; /* for g_autoptr(options) only */

struct options *options_new(void);
void options_free(struct options *o); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(options, options_free)
struct options *options_clone(const struct options *o);

/* Sets @key, replacing an earlier value. */
void options_set(struct options *o, const char *key, const char *value);
/* Sets @key unless it has a value. */
void options_set_default(struct options *o, const char *key, const char *value);
/* Sets all that is set in @from. */
void options_merge(struct options *o, const struct options *from);
/* The value of @key, or NULL; stays in the set. */
const char *options_peek(const struct options *o, const char *key);

/* Reads an item of a list up to the next single comma; leaves *@text behind it.
 * A doubled comma is a comma of the item.  g_free() it. */
char *options_next_item(const char **text);

/*
 * Adds "k=v,k=v,k".  A doubled comma is a comma of the value, and a key
 * without '=' means "on"; the last value of a key wins.  Returns 0, or -EINVAL
 * on an empty key.
 */
nodiscard int options_parse(struct options *o, const char *text, GError **err);

/*
 * Adds the members of the JSON object @text: those of an inner object as
 * "outer.inner", elements of an array as "array.0".  Strings may stand in
 * single quotes; true and false become "on" and "off", null "".  Returns 0,
 * or -EINVAL: @o is then part changed.
 */
nodiscard int options_parse_json(struct options *o, const char *text,
                                 GError **err);

/* Take the value out; @ret is untouched when the key is not there.
 * Return 1 when it was there, 0 when not, -EINVAL when it is malformed. */
char *options_take(struct options *o, const char *key); /* NULL: not there */
nodiscard int options_take_bool(struct options *o, const char *key, bool *ret,
                                GError **err);
/* Bytes, as parse_size() reads them. */
nodiscard int options_take_size(struct options *o, const char *key,
                                int64_t *ret, GError **err);
nodiscard int options_take_int(struct options *o, const char *key, int64_t min,
                               int64_t max, int64_t *ret, GError **err);
/* One of the NULL-terminated @names; *@ret is its index. */
nodiscard int options_take_enum(struct options *o, const char *key,
                                const char *const *names, int *ret,
                                GError **err);

/* Calls @each for all options, in any order. */
void options_foreach(const struct options *o,
                     void (*each)(void *opaque, const char *key,
                                  const char *value),
                     void *opaque);

/* Is there an option that begins with "@child."? */
bool options_has_child(const struct options *o, const char *child);
/* Takes all options that begin with "@child." out as a set of their own,
 * without that prefix.  Never NULL. */
struct options *options_take_child(struct options *o, const char *child);

/* Renames the options that begin with "@from." to "@to.", and @from itself. */
void options_rename_child(struct options *o, const char *from, const char *to);

/* A key that is still there (any), or NULL when the set is empty. */
const char *options_leftover(const struct options *o);

/* Parses a size: a decimal or hexadecimal number of bytes, or a number, maybe
 * with a decimal point, of one of k M G T P E.  Returns 0, -EINVAL,
 * or -ERANGE for one that is too large. */
nodiscard int parse_size(const char *text, int64_t *ret);

#endif /* BASE_OPTIONS_H */
