/* SPDX-License-Identifier: MIT */
/*
 * replay: feeds a fuzz target each file it is given, and each file in each
 * directory: the corpus as a test, or one input in a debugger.
 *
 * No input may take more time or memory than the limits here.  The last line
 * before a crash, or the signal of a timer, names the input.
 */
#include <glib.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "fuzz.h"

#ifdef __has_feature
#    define HAS_ASAN __has_feature(address_sanitizer)
#else
#    define HAS_ASAN 0
#endif

/* What sanitizers take is not the fault of an input. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || HAS_ASAN
#    define MAX_SECONDS 20
#    define MAX_KIB     LONG_MAX
#else
#    define MAX_SECONDS 5
#    define MAX_KIB     (256 * 1024L)
#endif
#define MAX_WAIT 60 /* seconds of sleep, or on a busy machine */

static int n_inputs;

/* -- Limits -------------------------------------------------------------- */

/* Of time that is used, a SIGPROF; of time that passes, a SIGALRM. */
static void set_timers(int seconds, unsigned wait)
{
    struct itimerval t = {.it_value.tv_sec = seconds};

    g_assert(setitimer(ITIMER_PROF, &t, NULL) == 0);
    (void)alarm(wait);
}

static bool small_enough(const char *path)
{
    struct rusage use;

    g_assert(getrusage(RUSAGE_SELF, &use) == 0);
    if (use.ru_maxrss > MAX_KIB) {
        (void)fprintf(stderr, "%s: took %ld KiB of memory\n", path,
                      use.ru_maxrss);
        return false;
    }
    return true;
}

/* -- Files --------------------------------------------------------------- */

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
    set_timers(MAX_SECONDS, MAX_WAIT);
    (void)LLVMFuzzerTestOneInput((const uint8_t *)data, bytes);
    set_timers(0, 0);
    n_inputs++;
    return small_enough(path);
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
