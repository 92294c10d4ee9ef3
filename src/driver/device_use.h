/* SPDX-License-Identifier: MIT */
/*
 * device_use: who keeps a block device busy, for error messages.
 */
#ifndef DRIVER_DEVICE_USE_H
#define DRIVER_DEVICE_USE_H

#include <sys/types.h>

/*
 * What the kernel does with the block device @dev or one of its partitions:
 * "mounted on /home", "swap space", "part of dm-0"; NULL when nothing is found.
 * Free with g_free().
 */
char *device_use(dev_t dev);

#endif /* DRIVER_DEVICE_USE_H */
