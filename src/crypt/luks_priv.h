/* SPDX-License-Identifier: MIT */
/*
 * luks_priv: what the files of the LUKS header share.
 */
#ifndef CRYPT_LUKS_PRIV_H
#define CRYPT_LUKS_PRIV_H

#include <stdint.h>

#include "crypt/luks.h"

#define LUKS_MIN_ITERATIONS 1000          /* as the specification asks */
#define LUKS_MAX_ITERATIONS 0x40000000    /* more: it is broken, or a trap */
#define LUKS_ALIGNMENT      INT64_C(4096) /* of what is in a new header */

/* The key material of @slot without the rest of its last sector. */
int64_t luks_slot_bytes(const struct luks *luks, int slot);

/* Writes the header to the beginning of @area. */
void luks_store(const struct luks *luks, uint8_t *area);

#endif /* CRYPT_LUKS_PRIV_H */
