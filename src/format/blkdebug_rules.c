/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "format/blkdebug_priv.h"

/* As sections of a file and as prefixes of options. */
static const char *const kinds[] = {
    [RULE_INJECT_ERROR] = "inject-error",
    [RULE_SET_STATE] = "set-state",
};

static const struct {
    const char *name;
    unsigned types;
} io_types[] = {
    {"read", IO_READ},       {"write", IO_WRITE}, {"write-zeroes", IO_ZEROES},
    {"discard", IO_DISCARD}, {"flush", IO_FLUSH}, {"block-status", IO_STATUS},
};

#define DEFAULT_IO_TYPES \
    (IO_READ | IO_WRITE | IO_ZEROES | IO_DISCARD | IO_FLUSH)

struct rule *rule_new(struct blkdebug *b, enum rule_kind kind)
{
    struct rule *rule = g_new0(struct rule, 1);

    rule->kind = kind;
    list_add_tail(&b->rules, &rule->link);
    return rule;
}

void rule_free(struct rule *rule)
{
    list_del(&rule->link);
    g_free(rule->tag);
    g_free(rule);
}

/* -- One rule ------------------------------------------------------------ */

static int take_event(struct rule *rule, struct options *opts, GError **err)
{
    g_autofree char *name = options_take(opts, "event");

    if (!name) {
        return error_set(err, -EINVAL,
                         "a rule %s needs an event; give event=write_aio, say",
                         kinds[rule->kind]);
    }
    if (node_event_find(name, &rule->event) < 0) {
        return error_set(err, -EINVAL,
                         "event=%s: there is no such event; some are read_aio, "
                         "write_aio, l2_update, flush_to_disk, none",
                         name);
    }
    return 0;
}

static int take_io_type(struct rule *rule, struct options *opts, GError **err)
{
    const char *names[G_N_ELEMENTS(io_types) + 1] = {NULL};
    int type = -1;
    int rc;

    for (size_t i = 0; i < G_N_ELEMENTS(io_types); i++) {
        names[i] = io_types[i].name;
    }
    rc = options_take_enum(opts, "iotype", names, &type, err);
    rule->io_types = type < 0 ? DEFAULT_IO_TYPES : io_types[type].types;
    return rc;
}

static int take_inject_error(struct rule *rule, struct options *opts,
                             GError **err)
{
    int64_t error = EIO;

    rule->sector = -1;
    if (options_take_int(opts, "errno", 0, 4095, &error, err) < 0 ||
        options_take_int(opts, "sector", -1, INT64_MAX / 512, &rule->sector,
                         err) < 0 ||
        options_take_bool(opts, "once", &rule->once, err) < 0 ||
        options_take_bool(opts, "immediately", &rule->immediately, err) < 0 ||
        take_io_type(rule, opts, err) < 0) {
        return -EINVAL;
    }
    rule->error = (int)error;
    rule->active = rule->event == EVENT_NONE;
    return 0;
}

/* Makes a rule of all that @opts say. */
static int rule_take(struct blkdebug *b, enum rule_kind kind,
                     struct options *opts, GError **err)
{
    struct rule *rule = rule_new(b, kind);
    int rc = take_event(rule, opts, err);

    if (rc == 0) {
        rc = options_take_int(opts, "state", 0, INT32_MAX, &rule->state, err);
    }
    if (rc >= 0) {
        rc = kind == RULE_INJECT_ERROR
                 ? take_inject_error(rule, opts, err)
                 : options_take_int(opts, "new_state", 0, INT32_MAX,
                                    &rule->new_state, err);
    }
    if (rc >= 0 && options_leftover(opts)) {
        rc = error_set(err, -EINVAL, "a rule %s does not know '%s'",
                       kinds[kind], options_leftover(opts));
    }
    return rc < 0 ? -EINVAL : 0;
}

/* -- Rules in options ---------------------------------------------------- */

/* Takes "inject-error.0.…", "inject-error.1.…" and so on. */
static int take_inline(struct blkdebug *b, enum rule_kind kind,
                       struct options *opts, GError **err)
{
    for (unsigned i = 0;; i++) {
        g_autofree char *prefix = g_strdup_printf("%s.%u", kinds[kind], i);
        g_autoptr(options) one = options_take_child(opts, prefix);
        int rc;

        if (!options_leftover(one)) {
            return 0;
        }
        rc = rule_take(b, kind, one, err);
        if (rc < 0) {
            g_prefix_error(err, "%s: ", prefix);
            return rc;
        }
    }
}

/* -- Rules in a file ----------------------------------------------------- */

/* A section while it is read. */
struct section {
    bool open; /* there was a [header] */
    enum rule_kind kind;
    struct options *opts;
};

static int section_end(struct section *s, struct blkdebug *b, GError **err)
{
    int rc = s->open ? rule_take(b, s->kind, s->opts, err) : 0;

    s->open = false;
    return rc;
}

static int section_begin(struct section *s, const char *line, GError **err)
{
    size_t n = strcspn(line + 1, " \t\"]");

    if (line[strlen(line) - 1] != ']') {
        return error_set(err, -EINVAL, "'%s' lacks its ']'", line);
    }
    for (int kind = 0; kind < (int)G_N_ELEMENTS(kinds); kind++) {
        if (strlen(kinds[kind]) == n && memcmp(kinds[kind], line + 1, n) == 0) {
            s->open = true;
            s->kind = (enum rule_kind)kind;
            return 0;
        }
    }
    return error_set(err, -EINVAL,
                     "there is no section '%s'; known are [inject-error] and "
                     "[set-state]",
                     line);
}

/* One line KEY = "VALUE", with or without the quotes. */
static int section_add(struct section *s, char *line, GError **err)
{
    char *value = strchr(line, '=');
    size_t n;

    if (!s->open || !value || value == line) {
        return error_set(err, -EINVAL,
                         "'%s' is neither [SECTION] nor, within one, KEY = "
                         "\"VALUE\"",
                         line);
    }
    *value++ = '\0';
    value = g_strstrip(value);
    n = strlen(value);
    if (n >= 2 && value[0] == '"' && value[n - 1] == '"') {
        value[n - 1] = '\0';
        value++;
    }
    options_set(s->opts, g_strstrip(line), value);
    return 0;
}

static int read_line(struct section *s, struct blkdebug *b, char *line,
                     GError **err)
{
    int rc;

    line = g_strstrip(line);
    if (!*line || *line == '#') {
        return 0;
    }
    if (*line != '[') {
        return section_add(s, line, err);
    }
    rc = section_end(s, b, err);
    return rc < 0 ? rc : section_begin(s, line, err);
}

static int take_file(struct blkdebug *b, const char *filename, GError **err)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    g_autoptr(options) opts = options_new();
    struct section section = {.opts = opts};
    GError *why = NULL;
    int rc = 0;

    if (!g_file_get_contents(filename, &text, NULL, &why)) {
        rc = error_set(err, -ENOENT, "the rules of blkdebug: %s", why->message);
        g_error_free(why);
        return rc;
    }
    lines = g_strsplit(text, "\n", -1);
    for (unsigned i = 0; lines[i] && rc == 0; i++) {
        rc = read_line(&section, b, lines[i], err);
        if (rc < 0) {
            g_prefix_error(err, "%s, up to line %u: ", filename, i + 1);
        }
    }
    if (rc == 0) {
        rc = section_end(&section, b, err);
        if (rc < 0) {
            g_prefix_error(err, "%s, last section: ", filename);
        }
    }
    return rc;
}

int rules_take(struct blkdebug *b, struct options *opts, GError **err)
{
    g_autofree char *filename = options_take(opts, "config");
    int rc = filename ? take_file(b, filename, err) : 0;

    if (rc == 0) {
        rc = take_inline(b, RULE_INJECT_ERROR, opts, err);
    }
    return rc < 0 ? rc : take_inline(b, RULE_SET_STATE, opts, err);
}
