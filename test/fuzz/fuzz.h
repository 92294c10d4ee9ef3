/* SPDX-License-Identifier: MIT */
/*
 * fuzz: what every fuzz target is.
 *
 * A target is fuzz-<name>.c with LLVMFuzzerTestOneInput() in it, one line in
 * meson.build, and inputs in corpus/<name>/.  It is linked twice: with
 * replay.c, which feeds it the corpus as a test, and, with -Dfuzz=true, with
 * libFuzzer.  A broken promise of the code under test aborts.
 */
#ifndef TEST_FUZZ_FUZZ_H
#define TEST_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#endif /* TEST_FUZZ_FUZZ_H */
