/* SPDX-License-Identifier: MIT */

#include "history-kind.h"

#include <stdarg.h>
#include <string.h>

bool kind_has(const struct history_kind *kind, const char *text)
{
    return strstr(kind->create, text) != NULL;
}

bool kind_takes_snapshots(const struct history_kind *kind)
{
    return !kind_has(kind, "data_file") && !kind_has(kind, "refcount_bits=1,");
}

bool kind_packs(const struct history_kind *kind)
{
    return !kind_has(kind, "data_file") && !kind_has(kind, "encrypt.");
}

/* -- Drawing one --------------------------------------------------------- */

/* Options that are being put together. */
struct draft {
    GRand *dice;
    GString *create, *open;
    int cluster_bits;
    bool v2, raw_data;
};

static bool one_in(struct draft *d, int n)
{
    return g_rand_int_range(d->dice, 0, n) == 0;
}

static G_GNUC_PRINTF(2, 3) void add(GString *to, const char *format, ...)
{
    va_list ap;

    if (to->len > 0) {
        g_string_append_c(to, ',');
    }
    va_start(ap, format);
    g_string_append_vprintf(to, format, ap);
    va_end(ap);
}

static void draw_layout(struct draft *d)
{
    d->cluster_bits = g_rand_int_range(d->dice, 9, 18);
    add(d->create, "cluster_size=%d", 1 << d->cluster_bits);
    d->v2 = one_in(d, 5);
    if (d->v2) {
        add(d->create, "compat=0.10");
        return;
    }
    if (one_in(d, 2)) {
        add(d->create, "refcount_bits=%d",
            1 << g_rand_int_range(d->dice, 1, 7));
    }
    if (one_in(d, 5)) {
        add(d->create, "lazy_refcounts=on");
    }
    if (one_in(d, 4)) {
        add(d->create, "compression_type=zstd");
    }
    if (d->cluster_bits >= 14 && one_in(d, 2)) {
        add(d->create, "extended_l2=on");
    }
    if (one_in(d, 5)) {
        d->raw_data = one_in(d, 2);
        add(d->create, "data_file=h.raw");
        add(d->create, "data_file_raw=%s", d->raw_data ? "on" : "off");
    }
}

static void draw_encryption(struct draft *d)
{
    if (d->raw_data || !one_in(d, 4)) {
        return;
    }
    add(d->create, "encrypt.key-secret=rig");
    add(d->open, "encrypt.key-secret=rig");
    if (one_in(d, 2)) {
        add(d->create, "encrypt.format=aes");
    } else {
        add(d->create, "encrypt.format=luks,encrypt.iter-time=1");
    }
}

static void draw_opening(struct draft *d)
{
    if (one_in(d, 3)) {
        add(d->open, "l2-cache-size=%d", g_rand_int_range(d->dice, 1, 20000));
        add(d->open, "refcount-cache-size=%d",
            g_rand_int_range(d->dice, 1, 20000));
    }
    if (one_in(d, 4)) {
        add(d->open, "l2-cache-entry-size=512");
    }
    if (one_in(d, 4)) {
        add(d->open, "pass-discard-other=on");
    }
    if (one_in(d, 4)) {
        add(d->open, "pass-discard-request=off");
    }
    if (!d->v2 && one_in(d, 6)) {
        add(d->open, "lazy-refcounts=on");
    }
    if (one_in(d, 3)) {
        add(d->open, "overlap-check=all");
    }
}

struct history_kind *kind_draw(GRand *dice, int64_t most)
{
    struct history_kind *kind = g_new0(struct history_kind, 1);
    struct draft d = {
        .dice = dice,
        .create = g_string_new(NULL),
        .open = g_string_new(NULL),
    };

    draw_layout(&d);
    draw_encryption(&d);
    if (!d.raw_data && one_in(&d, 3)) {
        kind->backing = g_rand_int_range(dice, 1, (gint32)most);
        add(d.create, "backing_fmt=raw,backing_file=b.raw");
    } else if (!d.v2 && one_in(&d, 3)) {
        static const char *modes[] = {"metadata", "falloc", "full"};

        add(d.create, "preallocation=%s",
            modes[g_rand_int_range(dice, 0, G_N_ELEMENTS(modes))]);
    }
    draw_opening(&d);
    kind->create = g_string_free(d.create, FALSE);
    kind->open = g_string_free(d.open, FALSE);
    return kind;
}

void kind_free(struct history_kind *kind)
{
    g_free((char *)kind->create);
    g_free((char *)kind->open);
    g_free(kind);
}
