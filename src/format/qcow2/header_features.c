/* SPDX-License-Identifier: MIT */
/*
 * header_features: the bits that say what an image makes use of, and the table
 * in it that names them for programs that do not know them.
 */
#include <errno.h>
#include <string.h>

#include "format/qcow2/header_priv.h"

/* An entry of the table. */
#define FEATURE_BYTES 48
#define FEATURE_NAME  46 /* bytes of the name, behind kind and bit */

enum feature_kind {
    FEATURE_INCOMPATIBLE,
    FEATURE_COMPATIBLE,
    FEATURE_AUTOCLEAR,
};

/* The table that we write. */
static const struct {
    enum feature_kind kind;
    unsigned bit;
    const char *name;
} features[] = {
    {FEATURE_INCOMPATIBLE, 0, "dirty bit"},
    {FEATURE_INCOMPATIBLE, 1, "corrupt bit"},
    {FEATURE_INCOMPATIBLE, 2, "external data file"},
    {FEATURE_INCOMPATIBLE, 3, "compression type"},
    {FEATURE_INCOMPATIBLE, 4, "extended L2 entries"},
    {FEATURE_COMPATIBLE, 0, "lazy refcounts"},
    {FEATURE_AUTOCLEAR, 0, "bitmaps"},
    {FEATURE_AUTOCLEAR, 1, "raw external data"},
};

static char *feature_name(const struct header_parser *p, enum feature_kind kind,
                          unsigned bit)
{
    /* The last entry may be cut short behind its name. */
    for (size_t pos = 0; pos + 3 <= p->names_bytes; pos += FEATURE_BYTES) {
        const uint8_t *f = p->names + pos;
        size_t room = MIN(p->names_bytes - pos - 2, FEATURE_NAME);

        if (f[0] == kind && f[1] == bit && f[2] != 0) {
            g_autofree char *raw = g_strndup((const char *)f + 2, room);

            return g_utf8_make_valid(raw, -1);
        }
    }
    return g_strdup_printf("bit %u", bit);
}

/* Names of the @unknown bits, separated by commas. */
static char *feature_names(const struct header_parser *p, uint64_t unknown)
{
    GString *names = g_string_new(NULL);

    for (unsigned bit = 0; bit < 64; bit++) {
        if (unknown >> bit & 1) {
            g_autofree char *name = feature_name(p, FEATURE_INCOMPATIBLE, bit);

            g_string_append_printf(names, "%s%s", names->len ? ", " : "", name);
        }
    }
    return g_string_free(names, FALSE);
}

static int check_compression(const struct header_parser *p)
{
    const struct qcow2_header *h = p->h;
    bool bit = (h->incompatible & QCOW2_COMPRESSION) != 0;

    if (bit != (h->compression != QCOW2_DEFLATE)) {
        return header_refuse(p, -EINVAL,
                             "its compression type %u contradicts its features",
                             (unsigned)h->compression);
    }
    if (h->compression > QCOW2_ZSTD) {
        return header_refuse(
            p, -EOPNOTSUPP,
            "is compressed by the unknown method %u; deflate and "
            "zstd are known",
            (unsigned)h->compression);
    }
    return 0;
}

int header_check_features(const struct header_parser *p)
{
    const struct qcow2_header *h = p->h;
    uint64_t unknown = h->incompatible & ~(uint64_t)QCOW2_KNOWN_INCOMPATIBLE;

    if (unknown) {
        g_autofree char *names = feature_names(p, unknown);

        return header_refuse(p, -EOPNOTSUPP,
                             "needs features that are not known here: %s",
                             names);
    }
    if ((h->incompatible & QCOW2_EXTENDED_L2) &&
        h->cluster_bits < QCOW2_MIN_EXT_L2_BITS) {
        return header_refuse(
            p, -EINVAL,
            "has extended L2 entries, which need clusters of 16 KiB "
            "or more");
    }
    return check_compression(p);
}

size_t header_feature_table_bytes(void)
{
    return G_N_ELEMENTS(features) * FEATURE_BYTES;
}

void header_store_feature_table(uint8_t *dst)
{
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        uint8_t *f = dst + i * FEATURE_BYTES;

        f[0] = (uint8_t)features[i].kind;
        f[1] = (uint8_t)features[i].bit;
        memcpy(f + 2, features[i].name, strlen(features[i].name));
    }
}
