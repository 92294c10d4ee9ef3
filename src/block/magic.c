/* SPDX-License-Identifier: MIT */
/*
 * magic: formats that are known by their first bytes, to say their name when
 * no driver here reads them.
 */
#include <string.h>

#include "block/node_priv.h"

static const struct magic {
    const char *format; /* also the name its driver would have */
    size_t offset;
    const char *bytes;
    size_t n;
} magics[] = {
    {"qcow2", 0, "QFI\xfb\0\0\0\2", 8},
    {"qcow2", 0, "QFI\xfb\0\0\0\3", 8},
    {"qcow", 0, "QFI\xfb\0\0\0\1", 8},
    {"qed", 0, "QED\0", 4},
    {"vmdk", 0, "KDMV", 4},
    {"vmdk", 0, "COWD", 4},
    {"vmdk", 0, "# Disk DescriptorFile", 21},
    {"vhdx", 0, "vhdxfile", 8},
    {"vpc", 0, "conectix", 8},
    {"vdi", 64, "\x7f\x10\xda\xbe", 4},
    {"parallels", 0, "WithoutFreeSpace", 16},
    {"parallels", 0, "WithouFreSpacExt", 16},
};

const char *driver_foreign_format(const uint8_t *head, size_t n)
{
    for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++) {
        const struct magic *m = &magics[i];

        if (m->offset + m->n <= n &&
            memcmp(head + m->offset, m->bytes, m->n) == 0 &&
            !driver_find(m->format)) {
            return m->format;
        }
    }
    return NULL;
}
