/* SPDX-License-Identifier: MIT */
/*
 * drivers: the one place that names the concrete drivers and formats.
 */
#include "block/driver.h"
#include "cmd/cmd.h"
#include "driver/driver_list.h"
#include "format/blkdebug.h"
#include "format/blkverify.h"
#include "format/compress.h"
#include "format/copy_on_read.h"
#include "format/luks.h"
#include "format/qcow2/driver.h"
#include "format/raw.h"
#include "format/writelog.h"

void cmd_register_drivers(void)
{
    static const struct driver *const drivers[] = {
        &driver_file,         &driver_host_device, &driver_host_cdrom,
        &driver_null,         &driver_null_co,     &driver_null_aio,
        &driver_raw,          &driver_qcow2,       &driver_luks,
        &driver_blkdebug,     &driver_blkverify,   &driver_compress,
        &driver_copy_on_read, &driver_writelog,
    };

    for (size_t i = 0; i < G_N_ELEMENTS(drivers); i++) {
        driver_register(drivers[i]);
    }
}
