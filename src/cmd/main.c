/* SPDX-License-Identifier: MIT */
/*
 * main: finds the command and runs it.
 *
 * The program has several faces: `coblk COMMAND`, the names by which mount(8)
 * calls it, and those by which it is qemu-img.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/img.h"
#include "cmd/nearest.h"

static const struct command commands[] = {
    {"mount", "Show a disk image or block device as files", cmd_mount},
    {"umount", "Unmount; wait until everything is on disk", cmd_umount},
    {"stat", "Show the live counters of a mount", cmd_stat},
    {"io", "Read and write parts of an image, for tests", cmd_io},
};

/* Names of the program itself that stand for a command. */
static const struct command faces[] = {
    {"mount.coblk", NULL, cmd_mount_helper},
    {"mount.fuse.coblk", NULL, cmd_mount_helper},
    {"coblk-img", NULL, cmd_img},
    {"qemu-img", NULL, cmd_img},
    {"coblk-io", NULL, cmd_io},
    {"qemu-io", NULL, cmd_io},
};

static const struct command *find(const struct command *table, size_t n,
                                  const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(table[i].name, name) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

static int run_command(const struct command *command, int argc, char **argv)
{
    g_autofree char *name = g_strdup_printf("coblk %s", command->name);
    int status;

    cmd_set_name(name);
    status = command->run(argc, argv);
    cmd_set_name("coblk"); /* @name ends here */
    return status;
}

static const struct command *find_command(const char *name)
{
    size_t n;
    const struct command *img = img_commands(&n);
    const struct command *own = find(commands, G_N_ELEMENTS(commands), name);

    return own ? own : find(img, n, name);
}

static void print_commands(const struct command *table, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        (void)printf("  %-10s %s\n", table[i].name, table[i].summary);
    }
}

static int print_help(void)
{
    size_t n;
    const struct command *img = img_commands(&n);

    (void)printf("Usage: coblk COMMAND [OPTION]... [ARGUMENT]...\n\n"
                 "Shows disk images and block devices as files.\n\n"
                 "Commands:\n");
    print_commands(commands, G_N_ELEMENTS(commands));
    (void)printf("\nCommands for images, as those of qemu-img:\n");
    print_commands(img, n);
    (void)printf("\n`coblk COMMAND --help` tells more of a command;\n"
                 "see also coblk(1), coblk-img(1) and `coblk --version`.\n");
    return CMD_OK;
}

static int print_version(void)
{
    (void)printf("coblk %s\n", COBLK_VERSION);
    return CMD_OK;
}

static int unknown_command(const char *name)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autofree char *hint = NULL;
    size_t n;
    const struct command *img = img_commands(&n);

    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        g_ptr_array_add(names, (char *)commands[i].name);
    }
    for (size_t i = 0; i < n; i++) {
        g_ptr_array_add(names, (char *)img[i].name);
    }
    hint = nearest_hint(name, (const char *const *)names->pdata, names->len);
    return cmd_usage("unknown %s '%s'%s", *name == '-' ? "option" : "command",
                     name, hint);
}

static int dispatch(int argc, char **argv)
{
    const struct command *command;

    if (argc < 2) {
        return cmd_usage("a command is needed");
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        (strcmp(argv[1], "help") == 0 && argc == 2)) {
        return print_help();
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        return print_version();
    }
    if (strcmp(argv[1], "help") == 0) { /* help COMMAND: COMMAND --help */
        argv[1] = argv[2];
        argv[2] = (char *)"--help";
    }
    command = find_command(argv[1]);
    if (!command) {
        return unknown_command(argv[1]);
    }
    return run_command(command, argc - 1, argv + 1);
}

/* A descriptor that we open must never become 0, 1 or 2: messages would end
 * up in an image. */
static int open_standard_fds(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
            open("/dev/null", O_RDWR) != fd) {
            return -1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    const struct command *face;
    g_autofree char *name = NULL;
    int status;

    /* Characters only: numbers and messages are for scripts, too. */
    (void)setlocale(LC_CTYPE, "");
    if (open_standard_fds() < 0) {
        return CMD_FAILURE;
    }
    name = g_path_get_basename(argc > 0 ? argv[0] : "coblk");
    face = find(faces, G_N_ELEMENTS(faces), name);
    cmd_set_name(face ? name : "coblk");
    status = face ? face->run(argc, argv) : dispatch(argc, argv);
    /* A reader that has gone wanted no more. */
    if (fflush(stdout) != 0 && errno != EPIPE && status == CMD_OK) {
        status =
            cmd_fail("cannot write to standard output: %s", g_strerror(errno));
    }
    return status;
}
