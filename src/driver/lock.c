/* SPDX-License-Identifier: MIT */

#include "driver/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

#define BYTE_HELD     100 /* + i: somebody holds permission i */
#define BYTE_UNSHARED 200 /* + i: somebody does not share it */
#define N_PERMS       4

/* Sets (F_RDLCK), drops (F_UNLCK) or tests a lock on one byte. */
static int lock_byte(int fd, int cmd, short type, int byte, short *ret_type)
{
    struct flock fl = {
        .l_type = type,
        .l_whence = SEEK_SET,
        .l_start = byte,
        .l_len = 1,
    };
    int rc;

    do {
        rc = fcntl(fd, cmd, &fl);
    } while (rc < 0 && errno == EINTR);
    if (rc < 0) {
        return -errno;
    }
    *ret_type = fl.l_type;
    return 0;
}

static int lock_set(int fd, unsigned perms, int base)
{
    short type;

    for (int i = 0; i < N_PERMS; i++) {
        if (perms & (1u << i)) {
            int rc = lock_byte(fd, F_OFD_SETLK, F_RDLCK, base + i, &type);

            if (rc < 0) {
                return rc == -EAGAIN || rc == -EACCES ? base + i : rc;
            }
        }
    }
    return 0;
}

/* Does another open file have a lock on a byte of @perms?  Returns that byte,
 * 0, or a negative errno. */
static int lock_find_conflict(int fd, unsigned perms, int base)
{
    for (int i = 0; i < N_PERMS; i++) {
        short type = F_UNLCK;

        if (perms & (1u << i)) {
            int rc = lock_byte(fd, F_OFD_GETLK, F_WRLCK, base + i, &type);

            if (rc < 0) {
                return rc;
            }
            if (type != F_UNLCK) {
                return base + i;
            }
        }
    }
    return 0;
}

static void lock_drop_all(int fd)
{
    short type;

    for (int i = 0; i < N_PERMS; i++) {
        (void)lock_byte(fd, F_OFD_SETLK, F_UNLCK, BYTE_HELD + i, &type);
        (void)lock_byte(fd, F_OFD_SETLK, F_UNLCK, BYTE_UNSHARED + i, &type);
    }
}

/* -- Who is it? ---------------------------------------------------------- */

/*
 * Is @line, of a fdinfo file, about a lock on @byte of the file @inode?
 *
 *   lock: 1: OFDLCK  ADVISORY  READ -1 fe:00:1234 100 101
 *
 * The device in it is not always that of stat(), so the inode must do.
 */
static bool fdinfo_line_is_lock(const char *line, uint64_t inode, int byte)
{
    uint64_t ino, first, last;
    char end[24];

    if (sscanf(line,
               "lock: %*d: %*s %*s %*s %*d %*x:%*x:%" SCNu64 " %" SCNu64
               " %23s",
               &ino, &first, end) != 3) {
        return false;
    }
    last =
        strcmp(end, "EOF") == 0 ? UINT64_MAX : g_ascii_strtoull(end, NULL, 10);
    return ino == inode && first <= (uint64_t)byte && (uint64_t)byte <= last;
}

static bool fdinfo_has_lock(const char *path, uint64_t inode, int byte)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return false;
    }
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        if (fdinfo_line_is_lock(*line, inode, byte)) {
            return true;
        }
    }
    return false;
}

/* A lock that is looked for. */
struct wanted {
    int fd; /* our own, which is not meant */
    int byte;
    uint64_t inode;
    const char *path; /* only descriptors that lead there; NULL: all */
};

static char *descriptor_path(const char *pid, const char *name)
{
    g_autofree char *link = g_strdup_printf("/proc/%s/fd/%s", pid, name);

    return g_file_read_link(link, NULL);
}

static bool descriptor_has_lock(const char *pid, const char *name,
                                const struct wanted *w)
{
    g_autofree char *info = g_strdup_printf("/proc/%s/fdinfo/%s", pid, name);
    g_autofree char *path = w->path ? descriptor_path(pid, name) : NULL;

    return g_strcmp0(path, w->path) == 0 &&
           fdinfo_has_lock(info, w->inode, w->byte);
}

static bool process_has_lock(const char *pid, const struct wanted *w)
{
    g_autofree char *folder = g_strdup_printf("/proc/%s/fdinfo", pid);
    g_autofree char *own_name = g_strdup_printf("%d", w->fd);
    g_autofree char *own_pid = g_strdup_printf("%d", getpid());
    bool self = strcmp(pid, own_pid) == 0;
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        if ((!self || strcmp(name, own_name) != 0) &&
            descriptor_has_lock(pid, name, w)) {
            return true;
        }
    }
    return false;
}

/* The process that has that lock; 0 when it cannot be found. */
static int process_with_lock(const struct wanted *w)
{
    g_autoptr(GDir) dir = g_dir_open("/proc", 0, NULL);
    const char *pid;

    while (dir && (pid = g_dir_read_name(dir))) {
        if (g_ascii_isdigit(*pid) && process_has_lock(pid, w)) {
            return (int)g_ascii_strtoll(pid, NULL, 10);
        }
    }
    return 0;
}

/* The process that has a lock on @byte; 0 when it cannot be found. */
static int lock_find_holder(int fd, int byte)
{
    g_autofree char *name = g_strdup_printf("%d", fd);
    g_autofree char *path = descriptor_path("self", name);
    struct wanted w = {.fd = fd, .byte = byte, .path = path};
    struct stat st;
    int holder;

    if (fstat(fd, &st) < 0) {
        return 0;
    }
    w.inode = st.st_ino;
    /* What locks there are on other files may take the kernel long to tell, so
     * those who have the file by this name come first. */
    holder = process_with_lock(&w);
    if (holder == 0) {
        w.path = NULL;
        holder = process_with_lock(&w);
    }
    return holder;
}

/* "pid 4711 (qemu-nbd)". */
static char *holder_name(int pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/comm", pid);
    g_autofree char *comm = NULL;

    if (pid == 0) {
        return g_strdup("another program");
    }
    if (g_file_get_contents(path, &comm, NULL, NULL)) {
        g_strchomp(comm);
    }
    return g_strdup_printf("pid %d (%s)", pid, comm ? comm : "?");
}

/* Would somebody who only reads be let in?  We hold nothing. */
static bool lock_lets_read(int fd)
{
    return lock_find_conflict(fd, IMAGE_CONSISTENT_READ, BYTE_UNSHARED) == 0 &&
           lock_find_conflict(fd, IMAGE_WRITE | IMAGE_RESIZE, BYTE_HELD) == 0;
}

static int lock_explain(int fd, int byte, const char *filename, GError **err)
{
    static const char *const holds[N_PERMS] = {
        "reads",
        "writes to",
        "writes to",
        "may resize",
    };
    int pid = lock_find_holder(fd, byte);
    g_autofree char *holder = holder_name(pid);

    if (pid == getpid()) {
        return error_set(err, -EBUSY,
                         "%s: image is locked by %s, which is this command: it "
                         "is open already, maybe as a backing file",
                         filename, holder);
    }
    if (byte < BYTE_UNSHARED) {
        return error_set(err, -EBUSY,
                         "%s: image is in use: %s %s it; stop that first",
                         filename, holder, holds[byte - BYTE_HELD]);
    }
    return error_set(
        err, -EBUSY, "%s: image is locked by %s; stop that first%s", filename,
        holder, lock_lets_read(fd) ? ", or open it read-only (ro)" : "");
}

int image_lock(int fd, unsigned perms, unsigned unshared, const char *filename,
               GError **err)
{
    /* First take, then look: of two that come at once at least one sees the
     * other. */
    int rc = lock_set(fd, perms, BYTE_HELD);

    if (rc == 0) {
        rc = lock_set(fd, unshared, BYTE_UNSHARED);
    }
    if (rc == 0) {
        rc = lock_find_conflict(fd, perms, BYTE_UNSHARED);
    }
    if (rc == 0) {
        rc = lock_find_conflict(fd, unshared, BYTE_HELD);
    }
    if (rc == 0) {
        return 0;
    }
    lock_drop_all(fd);
    if (rc > 0) {
        return lock_explain(fd, rc, filename, err);
    }
    return error_set(err, -EOPNOTSUPP,
                     "%s: cannot be locked (%s); locking=off does without",
                     filename, g_strerror(-rc));
}
