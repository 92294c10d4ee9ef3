/* SPDX-License-Identifier: MIT */
/*
 * header_priv: what the files about the header share.  Only they include it.
 *
 *   header.c             parses: fields, the backing file's name, all of it
 *   header_extensions.c  parses header extensions
 *   header_features.c    names of features; are all of an image's known?
 *   header_write.c       from the struct back to bytes
 */
#ifndef FORMAT_QCOW2_HEADER_PRIV_H
#define FORMAT_QCOW2_HEADER_PRIV_H

#include "format/qcow2/header.h"

/* Types of header extensions. */
enum {
    EXT_END = 0,
    EXT_BITMAPS = 0x23852875,
    EXT_CRYPT = 0x0537be77,
    EXT_FEATURES = 0x6803f857,
    EXT_DATA_FILE = 0x44415441,
};
#define EXT_BACKING_FORMAT UINT32_C(0xe2792aca)

#define EXT_HEAD_BYTES 8 /* type and length */
#define BITMAPS_BYTES  24
#define CRYPT_BYTES    16

/* How many bytes @n bytes of an extension's data take. */
static inline size_t ext_padded(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

/* The input while it is parsed. */
struct header_parser {
    const uint8_t *buf;
    size_t n;
    const char *filename;
    struct qcow2_header *h;
    size_t fields_end;     /* where the extensions begin */
    size_t extensions_end; /* and where they end at the latest */
    const uint8_t *names;  /* the feature name table, or NULL */
    size_t names_bytes;
    GError **err;
};

/* -- header.c ------------------------------------------------------------ */

/* Sets the error "FILENAME: TEXT", and returns @rc. */
int header_refuse(const struct header_parser *p, int rc, const char *format,
                  ...) G_GNUC_PRINTF(3, 4);
/* Checks a table of @bytes at @offset. */
nodiscard int header_check_table(const struct header_parser *p,
                                 const char *name, uint64_t offset,
                                 int64_t bytes);

/* -- header_extensions.c ------------------------------------------------- */

/* Parses those between p->fields_end and p->extensions_end; sets p->names. */
nodiscard int header_parse_extensions(struct header_parser *p);

/* -- header_features.c --------------------------------------------------- */

/* Are all features known that an image cannot be read without? */
nodiscard int header_check_features(const struct header_parser *p);

/* The data of the feature name table that we write. */
size_t header_feature_table_bytes(void);
void header_store_feature_table(uint8_t *dst); /* which holds zeroes */

#endif /* FORMAT_QCOW2_HEADER_PRIV_H */
