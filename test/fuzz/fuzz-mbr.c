/* SPDX-License-Identifier: MIT */
/*
 * fuzz-mbr: any disk as a partition table.  With a flag of the input each of
 * its sectors ends like an MBR, so that chains of EBRs are easily hit upon.
 */
#include "base/align.h"
#include "disk.h"
#include "fuzz.h"

enum {
    EACH_SECTOR_IS_TABLE = 1 << 0,
};

static int read_tables(void *disk, int64_t offset, void *buf, int64_t bytes)
{
    uint8_t *p = buf;
    int rc = fuzz_disk_read(disk, offset, buf, bytes);

    for (int64_t end = align_down(offset, 512) + 512; end <= offset + bytes;
         end += 512) {
        p[end - 2 - offset] = 0x55;
        p[end - 1 - offset] = 0xaa;
    }
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_disk d;

    if (fuzz_disk_init(&d, data, bytes)) {
        fuzz_part_table(&d, d.flags & EACH_SECTOR_IS_TABLE ? read_tables
                                                           : fuzz_disk_read);
    }
    return 0;
}
