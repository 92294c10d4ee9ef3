/* SPDX-License-Identifier: MIT */
/*
 * raw: the driver "raw", for whoever registers drivers.
 */
#ifndef FORMAT_RAW_H
#define FORMAT_RAW_H

struct driver;

extern const struct driver driver_raw;

#endif /* FORMAT_RAW_H */
