/* SPDX-License-Identifier: MIT */
/*
 * crypt: encrypted guest data, for everything else in this folder.
 *
 * An image is encrypted as a whole: clusters of data are, tables are not, and
 * neither is what reads as zeroes or from the backing file.  Each sector of
 * 512 bytes is encrypted by itself, with a number that says where it is:
 *
 *   luks  the sector in the file that has the data (the image or its data
 *         file).  A header of LUKS, which no cluster of data may touch, is
 *         named by the header of the image.
 *   aes   the sector of the disk.  Old and weak; images like that are read
 *         and written so that they can be given up.
 *
 * A place that was never written holds no zeroes: they would be decrypted.
 *
 * Units:     bytes, whole sectors of guest data.
 * Errors:    negative errno; GError where somebody opens, makes or changes an
 *            image.
 * Threading: requests of any loop share the cipher; large ones are encrypted
 *            and decrypted in the thread pool.
 */
#ifndef FORMAT_QCOW2_CRYPT_H
#define FORMAT_QCOW2_CRYPT_H

#include <glib.h>

#include "base/compiler.h"
#include "base/iov.h"
#include "base/options.h"
#include "format/luks_image.h"
#include "format/qcow2/qcow2.h"

struct json;

/*
 * Reads the header of the encryption, if there is one, and with the secret
 * that @opts name unlocks the image.  Takes encrypt.format and
 * encrypt.key-secret out of @opts.  Without a secret the image stays locked,
 * which is refused unless the flags of the node say that no data are needed.
 */
nodiscard int co_fn qcow2_co_open_crypt(struct qcow2 *s, struct options *opts,
                                        GError **err);
void qcow2_close_crypt(struct qcow2 *s);

/* Read and write data at @host, which are those of the disk at @guest; the
 * memory of @src is left as it is.  -EACCES: the image is locked. */
nodiscard int co_fn qcow2_co_read_cipher(struct qcow2 *s, int64_t guest,
                                         int64_t host, const struct iovs *dst);
nodiscard int co_fn qcow2_co_write_cipher(struct qcow2 *s, int64_t guest,
                                          int64_t host, const struct iovs *src);

/* How a new image is to be encrypted. */
struct qcow2_new_crypt {
    enum qcow2_crypt crypt;
    struct luks_options luks; /* QCOW2_CRYPT_LUKS */
    char *secret;             /* its id; owned, NULL: not given */
    struct luks_image image;  /* what qcow2_co_make_crypt() made */
};

/* Takes encryption and encrypt.* out of @o. */
nodiscard int qcow2_take_crypt_options(struct options *o,
                                       struct qcow2_new_crypt *ret,
                                       GError **err);
void qcow2_new_crypt_fini(struct qcow2_new_crypt *c);
/* Bytes that it needs in the file besides the data. */
int64_t qcow2_new_crypt_bytes(const struct qcow2_new_crypt *c);
/* Makes the keys; takes seconds, but not the loop. */
nodiscard int co_fn qcow2_co_make_crypt(struct qcow2_new_crypt *c,
                                        GError **err);
/* Makes an image that was created and holds nothing yet an encrypted one.  It
 * stays locked. */
nodiscard int co_fn qcow2_co_begin_crypt(struct qcow2 *s,
                                         const struct qcow2_new_crypt *c);

/* Changes key slots as @o, which were "encrypt.…", say. */
nodiscard int co_fn qcow2_co_amend_crypt(struct qcow2 *s, struct options *o,
                                         bool force, GError **err);

/* The name that opens the image with the secret that was given, or NULL. */
char *qcow2_crypt_filename(const struct qcow2 *s);

/* Adds "encrypt" for an image that is encrypted. */
void qcow2_crypt_json(const struct qcow2 *s, struct json *out);

#endif /* FORMAT_QCOW2_CRYPT_H */
