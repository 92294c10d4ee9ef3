/* SPDX-License-Identifier: MIT */
/*
 * replay: feeds a fuzz target each file it is given, and each file in each
 * directory: the corpus as a test, or one input in a debugger.
 *
 * The last line before a crash names the input.
 */
#include <glib.h>
#include <stdbool.h>
#include <stdio.h>

#include "fuzz.h"

static int n_inputs;

static bool replay_file(const char *path)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *data = NULL;
    gsize bytes;

    if (!g_file_get_contents(path, &data, &bytes, &err)) {
        (void)fprintf(stderr, "%s\n", err->message);
        return false;
    }
    printf("%s\n", path);
    (void)fflush(stdout);
    (void)LLVMFuzzerTestOneInput((const uint8_t *)data, bytes);
    n_inputs++;
    return true;
}

static bool replay_directory(const char *path)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(GDir) dir = g_dir_open(path, 0, &err);
    const char *name;

    if (!dir) {
        (void)fprintf(stderr, "%s\n", err->message);
        return false;
    }
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(path, name, NULL);

        if (!replay_file(file)) {
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        bool ok = g_file_test(argv[i], G_FILE_TEST_IS_DIR)
                      ? replay_directory(argv[i])
                      : replay_file(argv[i]);

        if (!ok) {
            return 1;
        }
    }
    if (n_inputs == 0) {
        (void)fprintf(stderr, "no input: give files or directories\n");
        return 1;
    }
    printf("%d inputs\n", n_inputs);
    return 0;
}
