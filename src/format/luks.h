/* SPDX-License-Identifier: MIT */
/*
 * luks: the driver of disks that are encrypted as a whole, with a LUKS header
 * of version 1 in front.
 *
 *   key-secret=ID  the secret that opens it (block/secret.h); only what says
 *                  what the image is (NODE_NO_IO) does without
 */
#ifndef FORMAT_LUKS_H
#define FORMAT_LUKS_H

#include "block/driver.h"

extern const struct driver driver_luks;

#endif /* FORMAT_LUKS_H */
