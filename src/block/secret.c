/* SPDX-License-Identifier: MIT */

#include "block/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/secure.h"

#define MAX_BYTES (32 * 1024) /* of a secret, and of the file it is in */

struct entry {
    struct entry *next;
    char *id;
    struct secret secret;
    uint8_t bytes[MAX_BYTES]; /* what @secret is; decoded in place */
};

static struct entry *entries; /* each of secure_alloc() */

static void entry_free(struct entry *e)
{
    if (e) {
        g_free(e->id);
        secure_free(e, sizeof(*e));
    }
}

static void wipe_all(void)
{
    while (entries) {
        struct entry *e = entries;

        entries = e->next;
        entry_free(e);
    }
}

static struct entry *find(const char *id)
{
    for (struct entry *e = entries; e; e = e->next) {
        if (strcmp(e->id, id) == 0) {
            return e;
        }
    }
    return NULL;
}

const struct secret *secret_find(const char *id, GError **err)
{
    const struct entry *e = find(id);

    if (!e) {
        error_set(err, -ENOENT,
                  "there is no secret '%s'; give it with --object "
                  "secret,id=%s,file=PATH",
                  id, id);
        return NULL;
    }
    return &e->secret;
}

/* -- Adding -------------------------------------------------------------- */

static int too_long(const struct entry *e, GError **err)
{
    return error_set(err, -E2BIG, "secret '%s' is longer than %d bytes", e->id,
                     MAX_BYTES);
}

/* Reads all of @path, "-" being nothing special. */
static int read_file(struct entry *e, const char *path, GError **err)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : 1;

    while (n > 0 && e->secret.bytes < MAX_BYTES) {
        n = TEMP_FAILURE_RETRY(
            read(fd, e->bytes + e->secret.bytes, MAX_BYTES - e->secret.bytes));
        e->secret.bytes += n > 0 ? (size_t)n : 0;
    }
    if (n < 0) {
        return error_set_errno(err, -errno, "%s: the file of secret '%s'", path,
                               e->id);
    }
    return n > 0 ? too_long(e, err) : 0;
}

static int take_data(struct entry *e, const char *data, GError **err)
{
    size_t n = strlen(data);

    if (n > MAX_BYTES) {
        return too_long(e, err);
    }
    memcpy(e->bytes, data, n);
    e->secret.bytes = n;
    return 0;
}

/* Is it base64, apart from white space, and nothing else? */
static bool is_base64(const uint8_t *text, size_t n)
{
    size_t digits = 0, pads = 0;

    for (size_t i = 0; i < n; i++) {
        char c = (char)text[i];

        if (g_ascii_isspace(c)) {
            continue;
        }
        if (c == '=') {
            pads++;
        } else if (pads == 0 && (g_ascii_isalnum(c) || c == '+' || c == '/')) {
            digits++;
        } else {
            return false;
        }
    }
    return pads <= 2 && (digits + pads) % 4 == 0;
}

static int decode(struct entry *e, GError **err)
{
    gint state = 0;
    guint save = 0;

    if (!is_base64(e->bytes, e->secret.bytes)) {
        return error_set(err, -EINVAL, "secret '%s' is not base64", e->id);
    }
    /* What is decoded is shorter than what it is made of, at each step. */
    e->secret.bytes = g_base64_decode_step(
        (const char *)e->bytes, e->secret.bytes, e->bytes, &state, &save);
    return 0;
}

/* Reads what @opts say into @e, which has its id. */
static int fill(struct entry *e, struct options *opts, GError **err)
{
    static const char *const formats[] = {"raw", "base64", NULL};
    g_autofree char *data = options_take(opts, "data");
    g_autofree char *file = options_take(opts, "file");
    int format = 0;
    int rc;

    if (options_peek(opts, "keyid") || options_peek(opts, "iv")) {
        rc = error_set(err, -EOPNOTSUPP,
                       "secret '%s': secrets that are encrypted with another "
                       "one (keyid, iv) are not supported; use file=PATH",
                       e->id);
    } else if (!data == !file) {
        rc = error_set(err, -EINVAL,
                       "secret '%s' needs one of file=PATH and data=TEXT",
                       e->id);
    } else {
        rc = options_take_enum(opts, "format", formats, &format, err);
    }
    if (rc >= 0) {
        rc = file ? read_file(e, file, err) : take_data(e, data, err);
    }
    if (data) {
        explicit_bzero(data, strlen(data));
    }
    return rc == 0 && format == 1 ? decode(e, err) : rc;
}

int secret_add(struct options *opts, GError **err)
{
    g_autofree char *id = options_take(opts, "id");
    struct entry *e;
    int rc;

    if (!id || !*id) {
        return error_set(err, -EINVAL,
                         "a secret needs an id: secret,id=ID,file=PATH");
    }
    if (find(id)) {
        return error_set(err, -EEXIST, "there are two secrets '%s'", id);
    }
    e = secure_alloc(sizeof(*e));
    if (!e) {
        return error_set(err, -ENOMEM, "out of memory for secret '%s'", id);
    }
    e->id = g_steal_pointer(&id);
    e->secret.data = e->bytes;
    rc = fill(e, opts, err);
    if (rc < 0) {
        entry_free(e);
        return rc;
    }
    if (!entries) {
        (void)atexit(wipe_all);
    }
    e->next = entries;
    entries = e;
    return 0;
}
