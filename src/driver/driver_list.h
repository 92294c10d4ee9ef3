/* SPDX-License-Identifier: MIT */
/*
 * driver_list: the drivers of this folder, for the program to register.
 *
 * file and host_device, alias host_cdrom, take the options
 *
 *   filename     the path; required
 *   aio          native (Linux AIO; only with NODE_DIRECT) or threads; the
 *                default is what the node's flags say, else native with
 *                NODE_DIRECT, threads without
 *   locking      on, off or auto (default: on where the host has OFD locks)
 *   force        host_device: on = write although the kernel uses the device
 *
 * When the file system knows no O_DIRECT, opening with NODE_DIRECT fails with
 * the code EOPNOTSUPP, and another try without it may do.  When Linux AIO
 * cannot be set up, I/O falls back to threads: the driver's description then
 * has aio=threads and a text under "warning".
 *
 * A flush that failed in the host's page cache is remembered: the kernel drops
 * the pages it could not write, so all later flushes of that node fail too.
 *
 * null, alias null-co and null-aio, takes the options
 *
 *   size         its length; default 1 GiB
 *   read-zeroes  off = leave the memory of reads alone (benchmarks)
 *   latency-ns   how long each request takes; default 0
 */
#ifndef DRIVER_DRIVER_LIST_H
#define DRIVER_DRIVER_LIST_H

#include "block/driver.h"

extern const struct driver driver_file;
extern const struct driver driver_host_device;
extern const struct driver driver_host_cdrom;
extern const struct driver driver_null;
extern const struct driver driver_null_co;
extern const struct driver driver_null_aio;

#endif /* DRIVER_DRIVER_LIST_H */
