/* SPDX-License-Identifier: MIT */
/*
 * endian: unaligned loads and stores of fixed byte order, for on-disk formats.
 */
#ifndef BASE_ENDIAN_H
#define BASE_ENDIAN_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define ENDIAN_ACCESS(name, type, to_host, to_disk)  \
    static inline type load_##name(const void *p)    \
    {                                                \
        type v;                                      \
                                                     \
        memcpy(&v, p, sizeof(v));                    \
        return to_host(v);                           \
    }                                                \
                                                     \
    static inline void store_##name(void *p, type v) \
    {                                                \
        v = to_disk(v);                              \
        memcpy(p, &v, sizeof(v));                    \
    }

ENDIAN_ACCESS(le16, uint16_t, le16toh, htole16)
ENDIAN_ACCESS(le32, uint32_t, le32toh, htole32)
ENDIAN_ACCESS(le64, uint64_t, le64toh, htole64)
ENDIAN_ACCESS(be16, uint16_t, be16toh, htobe16)
ENDIAN_ACCESS(be32, uint32_t, be32toh, htobe32)
ENDIAN_ACCESS(be64, uint64_t, be64toh, htobe64)

#undef ENDIAN_ACCESS

#endif /* BASE_ENDIAN_H */
