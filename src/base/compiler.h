/* SPDX-License-Identifier: MIT */
/*
 * compiler: attributes and small macros that every file may use.
 */
#ifndef BASE_COMPILER_H
#define BASE_COMPILER_H

#include <stddef.h>

#ifdef NDEBUG
#    error "coblk relies on assert(): build without NDEBUG"
#endif

#define nodiscard   __attribute__((warn_unused_result))
#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define container_of(ptr, type, member) \
    ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* clang's thread-safety attributes; other compilers see nothing. */
#ifdef __clang__
#    define TSA(x) __attribute__((x))
#else
#    define TSA(x)
#endif

#endif /* BASE_COMPILER_H */
