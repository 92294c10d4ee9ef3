#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What system calls do on the files of a mount, each compared with its errno.

usage: posix.py GROUP MOUNTPOINT IMAGE

Prints "ok - WHAT" or "not ok - WHAT" for each check.  GROUP is one of the
functions at the end of this file whose names begin with group_.
"""
import ctypes
import errno
import fcntl
import mmap
import os
import stat
import sys

BLOCK = 4096
libc = ctypes.CDLL(None, use_errno=True)


def report(good, what, detail=''):
    print(f'{"ok" if good else "not ok"} - {what}')
    if not good:
        print(f'# {detail}')


def equal(what, got, want):
    report(got == want, what, f'got {got!r}, want {want!r}')


def fails(what, want, call, *arguments, **options):
    """call() fails with one of the errors named in want."""
    try:
        result = call(*arguments, **options)
    except OSError as e:
        report(e.errno in [getattr(errno, name) for name in want.split('|')],
               f'{what}: {want}', f'got {e}')
    else:
        report(False, f'{what}: {want}', f'succeeded with {result!r}')


def works(what, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except OSError as e:
        report(False, what, f'failed: {e}')
    else:
        report(True, what)


class Open:
    """An open file: with Open(...) as fd."""

    def __init__(self, path, flags, mode=0o600):
        self.fd = os.open(path, flags, mode)

    def __enter__(self):
        return self.fd

    def __exit__(self, *exc):
        os.close(self.fd)


def with_file(path, flags, call, *arguments, **options):
    """call(fd, ...) on the file at path."""
    with Open(path, flags) as fd:
        return call(fd, *arguments, **options)


def check_libc(result):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def fallocate(fd, mode, offset, length):
    return check_libc(libc.fallocate(fd, mode, ctypes.c_long(offset),
                                     ctypes.c_long(length)))


def pattern(n, seed):
    return bytes((seed + i * 7 + (i >> 8)) & 255 for i in range(n))


def aligned(n):
    """Memory that O_DIRECT takes."""
    return mmap.mmap(-1, n)


# -- Opening ------------------------------------------------------------------

def truncating_opens(mnt):
    for name in 'p1', 'disk':
        path = f'{mnt}/{name}'
        with Open(path, os.O_RDWR) as fd:
            os.pwrite(fd, b'precious', 1 << 20)
            size = os.fstat(fd).st_size
            memory = mmap.mmap(fd, 2 << 20)
            memory[BLOCK:BLOCK + 5] = b'dirty'
            with Open(path, os.O_WRONLY | os.O_TRUNC):
                equal(f'O_TRUNC on {name}: the size stays',
                      os.stat(path).st_size, size)
                equal(f'O_TRUNC on {name}: a mapping stays',
                      memory[BLOCK:BLOCK + 5], b'dirty')
            equal(f'O_TRUNC on {name}: the data stay',
                  os.pread(fd, 8, 1 << 20), b'precious')
            memory.flush()
            equal(f'O_TRUNC on {name}: what was dirty was not lost',
                  os.pread(fd, 5, BLOCK), b'dirty')
            memory.close()


def group_open(mnt, image):
    path = f'{mnt}/p1'
    size = os.stat(path).st_size
    truncating_opens(mnt)
    with Open(path, os.O_RDWR | os.O_TRUNC) as fd:
        equal('O_TRUNC: this descriptor sees the size', os.fstat(fd).st_size,
              size)
        memory = mmap.mmap(fd, size)
        equal('O_TRUNC: and can map all of it', len(memory[-4:]), 4)
        memory.close()
    with Open(path, os.O_RDONLY) as fd:
        fails('write on O_RDONLY', 'EBADF', os.write, fd, b'x')
        fails('fallocate on O_RDONLY', 'EBADF', fallocate, fd, 0, 0, 512)
        fails('ftruncate on O_RDONLY', 'EINVAL', os.ftruncate, fd, size)
    with Open(path, os.O_WRONLY) as fd:
        fails('read on O_WRONLY', 'EBADF', os.read, fd, 1)
    with Open(path, os.O_RDWR | os.O_APPEND) as fd:
        fails('O_APPEND writes at the end', 'ENOSPC', os.write, fd, b'x')
        fails('... with O_DIRECT, too', 'ENOSPC', with_file, path,
              os.O_WRONLY | os.O_APPEND | os.O_DIRECT, os.write, b'x' * 512)
    works('O_CREAT on what is there', with_file, path,
          os.O_RDWR | os.O_CREAT, os.read, 1)
    fails('O_CREAT|O_EXCL on what is there', 'EEXIST', os.open, path,
          os.O_RDWR | os.O_CREAT | os.O_EXCL)
    fails('O_CREAT of a new name', 'EPERM', os.open, f'{mnt}/new',
          os.O_RDWR | os.O_CREAT)
    fails('O_TMPFILE', 'EOPNOTSUPP|EISDIR|EPERM', os.open, mnt,
          os.O_RDWR | os.O_TMPFILE)
    fails('O_DIRECTORY on a file', 'ENOTDIR', os.open, path,
          os.O_RDONLY | os.O_DIRECTORY)
    fails('a directory for writing', 'EISDIR', os.open, mnt, os.O_RDWR)
    link = os.path.join(mnt, 'by-partlabel', 'one')
    fails('O_NOFOLLOW on a link', 'ELOOP', os.open, link,
          os.O_RDONLY | os.O_NOFOLLOW)
    with Open(link, os.O_RDONLY) as fd:
        equal('a link leads to its file', os.fstat(fd).st_ino,
              os.stat(path).st_ino)
    with Open(path, os.O_PATH) as fd:
        equal('O_PATH', os.fstat(fd).st_size, size)
        fails('read on O_PATH', 'EBADF', os.read, fd, 1)
    fails('execve', 'EACCES', os.execv, path, [path])
    fails('stats.json for writing', 'EACCES', os.open,
          f'{mnt}/.coblk/stats.json', os.O_WRONLY)


# -- Data ---------------------------------------------------------------------

def group_data(mnt, image):
    path = f'{mnt}/p1'
    size = os.stat(path).st_size
    for name, flags in ('cached', 0), ('direct', os.O_DIRECT):
        with Open(path, os.O_RDWR | flags) as fd:
            data = pattern(12345, len(name))
            equal(f'{name}: an unaligned write', os.pwrite(fd, data, 777),
                  len(data))
            equal(f'{name}: and an unaligned read',
                  os.pread(fd, len(data), 777), data)
            parts = [pattern(100 + i % 17, i) for i in range(1000)]
            whole = b''.join(parts)
            equal(f'{name}: pwritev of 1000 buffers',
                  os.pwritev(fd, parts, 70001), len(whole))
            buffers = [bytearray(len(p)) for p in parts]
            equal(f'{name}: preadv of 1000 buffers',
                  (os.preadv(fd, buffers, 70001), b''.join(buffers)),
                  (len(whole), whole))
            memory = aligned(1 << 20)
            equal(f'{name}: a read into aligned memory',
                  os.preadv(fd, [memory], 0), 1 << 20)
            equal(f'{name}: has the data', memory[777:777 + len(data)], data)
            equal(f'{name}: a write that passes the end is short',
                  os.pwrite(fd, bytes(8192), size - 100), 100)
            fails(f'{name}: a write at the end', 'ENOSPC', os.pwrite, fd,
                  b'x', size)
            fails(f'{name}: a write far beyond', 'ENOSPC|EFBIG', os.pwrite,
                  fd, b'x', 1 << 62)
            fails(f'{name}: a negative offset', 'EINVAL', os.pwrite, fd, b'x',
                  -1)
            equal(f'{name}: a write of nothing', os.pwrite(fd, b'', 0), 0)
            equal(f'{name}: a read that passes the end is short',
                  len(os.pread(fd, 8192, size - 100)), 100)
            equal(f'{name}: a read at the end', os.pread(fd, 1, size), b'')
            equal(f'{name}: a read far beyond',
                  os.pread(fd, 1, (1 << 62) + 5), b'')
            equal(f'{name}: the size is as before', os.fstat(fd).st_size,
                  size)
    data = pattern(1 << 20, 3)
    with Open(path, os.O_RDWR) as fd:
        os.pwrite(fd, data, 1 << 20)
        receive, send = os.pipe()
        equal('sendfile', os.sendfile(send, fd, 1 << 20, 4096), 4096)
        equal('sendfile: the data', os.read(receive, 4096), data[:4096])
        equal('splice', os.splice(fd, send, 4096, (1 << 20) + 4096), 4096)
        equal('splice: the data', os.read(receive, 4096), data[4096:8192])
        os.write(send, b'piped!')
        equal('splice into the file',
              os.splice(receive, fd, 6, None, 5000), 6)
        equal('splice into the file: the data', os.pread(fd, 6, 5000),
              b'piped!')
    with Open(f'{mnt}/disk', os.O_RDWR) as fd:
        end = os.fstat(fd).st_size
        os.pwrite(fd, b'far away', end - 8)
        equal('the last bytes of a big disk', os.pread(fd, 9, end - 8),
              b'far away')
        with open(image, 'rb') as f:
            f.seek(end - 8)
            equal('... are where they belong', f.read(), b'far away')


# -- Seeking and space ----------------------------------------------------------

def group_seek(mnt, image):
    path = f'{mnt}/p2'
    size = os.stat(path).st_size
    with Open(path, os.O_RDWR) as fd:
        equal('SEEK_END', os.lseek(fd, -5, os.SEEK_END), size - 5)
        equal('SEEK_CUR', os.lseek(fd, 2, os.SEEK_CUR), size - 3)
        equal('a seek beyond the end', os.lseek(fd, size * 2, os.SEEK_SET),
              size * 2)
        fails('a seek to before the start', 'EINVAL', os.lseek, fd, -1,
              os.SEEK_SET)
        equal('an empty partition: the hole begins at 0',
              os.lseek(fd, 0, os.SEEK_HOLE), 0)
        fails('... and has no data', 'ENXIO', os.lseek, fd, 0, os.SEEK_DATA)
        os.pwrite(fd, b'x' * BLOCK, 1 << 20)
        os.fsync(fd)
        equal('SEEK_DATA', os.lseek(fd, 0, os.SEEK_DATA), 1 << 20)
        equal('SEEK_HOLE', os.lseek(fd, 1 << 20, os.SEEK_HOLE),
              (1 << 20) + BLOCK)
        equal('SEEK_DATA within the data',
              os.lseek(fd, (1 << 20) + 9, os.SEEK_DATA), (1 << 20) + 9)
        fails('SEEK_DATA at the end', 'ENXIO', os.lseek, fd, size,
              os.SEEK_DATA)
        fails('SEEK_HOLE beyond the end', 'ENXIO', os.lseek, fd, size + 1,
              os.SEEK_HOLE)
        fails('an unknown whence', 'EINVAL', os.lseek, fd, 0, 9)


KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO_RANGE, INSERT, UNSHARE = \
    1, 2, 8, 16, 32, 64


def zeroing(path, flags, kind):
    """Punching and zeroing: what is asked for becomes zero, no more."""
    modes = (('PUNCH_HOLE', PUNCH_HOLE | KEEP_SIZE),
             ('ZERO_RANGE', ZERO_RANGE),
             ('ZERO_RANGE|KEEP_SIZE', ZERO_RANGE | KEEP_SIZE))
    for name, mode in modes:
        for offset, length in (BLOCK, 2 * BLOCK), (5001, 3), (100, 20000):
            with Open(path, os.O_RDWR | flags) as fd:
                before = pattern(32768, mode)
                os.pwrite(fd, before, 0)
                os.pread(fd, len(before), 0)
                fallocate(fd, mode, offset, length)
                want = (before[:offset] + bytes(length)
                        + before[offset + length:])
                equal(f'{kind}: {name} of {length} at {offset}',
                      os.pread(fd, len(want), 0) == want, True)


def group_allocate(mnt, image):
    path = f'{mnt}/p1'
    size = os.stat(path).st_size
    zeroing(path, 0, 'cached')
    zeroing(path, os.O_DIRECT, 'direct')
    with Open(path, os.O_RDWR) as fd:
        os.pwrite(fd, b'stays', 0)
        works('allocate', fallocate, fd, 0, 0, size)
        works('allocate, KEEP_SIZE', fallocate, fd, KEEP_SIZE, 0, size)
        equal('... keeps the data', os.pread(fd, 5, 0), b'stays')
        works('posix_fallocate', os.posix_fallocate, fd, 0, size)
        fails('allocate past the end', 'ENOSPC', fallocate, fd, 0, 0,
              size + 512)
        fails('allocate past the end, KEEP_SIZE', 'ENOSPC', fallocate, fd,
              KEEP_SIZE, 0, size + 512)
        fails('zero past the end', 'ENOSPC', fallocate, fd, ZERO_RANGE,
              size - 512, 1024)
        equal('... touches nothing', os.pread(fd, 5, 0), b'stays')
        works('punch past the end', fallocate, fd, PUNCH_HOLE | KEEP_SIZE,
              size - 512, 1 << 30)
        works('punch beyond the end', fallocate, fd, PUNCH_HOLE | KEEP_SIZE,
              size + 512, 512)
        equal('the size is as before', os.fstat(fd).st_size, size)
        for name, mode in (('COLLAPSE_RANGE', COLLAPSE), ('INSERT', INSERT),
                           ('UNSHARE_RANGE', UNSHARE)):
            fails(name, 'EOPNOTSUPP', fallocate, fd, mode, 0, BLOCK)
        fails('allocate nothing', 'EINVAL', fallocate, fd, 0, 0, 0)
        fails('allocate at a negative offset', 'EINVAL', fallocate, fd, 0,
              -1, 512)
        fails('allocate more than there is', 'EFBIG|ENOSPC', fallocate, fd, 0,
              1 << 62, 1 << 62)


def group_copy(mnt, image):
    data = pattern(300000, 5)
    with Open(f'{mnt}/p1', os.O_RDWR) as one, \
            Open(f'{mnt}/p2', os.O_RDWR) as two, \
            Open(f'{mnt}/p1', os.O_RDONLY) as reader:
        size = os.fstat(one).st_size
        os.pwrite(one, data, 12345)
        os.pread(two, len(data), 777)  # into the page cache
        equal('from one partition to another',
              os.copy_file_range(one, two, len(data), 12345, 777), len(data))
        equal('... the data', os.pread(two, len(data), 777) == data, True)
        equal('within one',
              os.copy_file_range(one, one, len(data), 12345, 1 << 20),
              len(data))
        equal('... the data', os.pread(one, len(data), 1 << 20) == data, True)
        fails('overlapping', 'EINVAL', os.copy_file_range, one, one, BLOCK, 0,
              512)
        equal('from the end', os.copy_file_range(one, two, 512, size, 0), 0)
        equal('from before the end',
              os.copy_file_range(one, two, BLOCK, size - 100, 0), 100)
        fails('to the end', 'ENOSPC', os.copy_file_range, one, two, 512, 0,
              os.fstat(two).st_size)
        fails('to a file open for reading', 'EBADF', os.copy_file_range, two,
              reader, 512, 0, 0)
        fails('between views of the same bytes', 'EINVAL',
              with_file, f'{mnt}/disk', os.O_RDWR,
              lambda disk: os.copy_file_range(one, disk, BLOCK, 0, 1 << 20))


# -- Attributes -----------------------------------------------------------------

def group_attributes(mnt, image):
    path = f'{mnt}/p1'
    disk, host = os.stat(f'{mnt}/disk'), os.stat(image)
    equal('the size is the image\'s', disk.st_size, host.st_size)
    equal('and the blocks', disk.st_blocks, host.st_blocks)
    equal('and the time of the last write', disk.st_mtime_ns,
          host.st_mtime_ns)
    equal('one link', disk.st_nlink, 1)
    report(os.stat(path).st_blocks * 512 < os.stat(path).st_size,
           'a partition of a sparse image is sparse')
    old = host.st_mode
    works('chmod', os.chmod, path, 0o640)
    equal('... is seen', stat.S_IMODE(os.stat(path).st_mode), 0o640)
    equal('... not by the image', os.stat(image).st_mode, old)
    works('fchmod', with_file, path, os.O_RDONLY, os.fchmod, 0o600)
    me = os.geteuid(), os.getegid()
    works('chown to whom it belongs', os.chown, path, *me)
    works('chown of nothing', os.chown, path, -1, -1)
    fails('chown to another', 'EPERM', os.chown, path, me[0] + 1, -1)
    fails('chgrp to another', 'EPERM', os.chown, path, -1, me[1] + 1)
    times = 1_000_000_000_123_456_789, 1_100_000_000_987_654_321
    works('utimensat', os.utime, path, ns=times)
    st = os.stat(path)
    equal('... is seen', (st.st_atime_ns, st.st_mtime_ns), times)
    with Open(path, os.O_WRONLY) as fd:
        os.pwrite(fd, b'x', 0)
        os.fsync(fd)
    report(os.stat(path).st_mtime_ns > times[1], 'a write moves mtime')
    works('utimensat with UTIME_NOW', os.utime, path)
    fails('truncate a partition', 'EPERM', os.truncate, path, 512)
    fails('grow a partition', 'EPERM', os.truncate, path,
          disk.st_size * 2)
    fails('ftruncate a partition to nothing', 'EPERM', with_file, path,
          os.O_RDWR, os.ftruncate, 0)
    works('truncate a partition to nothing: ignored, as O_TRUNC is',
          os.truncate, path, 0)
    equal('... the size', os.stat(path).st_size, 16 << 20)
    fails('shrink the disk', 'EPERM', os.truncate, f'{mnt}/disk', 512)
    works('truncate to the same size', os.truncate, path,
          os.stat(path).st_size)
    works('grow the disk', os.truncate, f'{mnt}/disk',
          disk.st_size + (1 << 20))
    equal('... the disk', os.stat(f'{mnt}/disk').st_size,
          disk.st_size + (1 << 20))
    equal('... and the image grew', os.stat(image).st_size,
          disk.st_size + (1 << 20))
    fails('truncate a directory', 'EISDIR', os.truncate, mnt, 0)
    fs = os.statvfs(path)
    equal('statvfs: the disk\'s size', fs.f_blocks * fs.f_frsize,
          disk.st_size + (1 << 20))
    equal('statvfs: nothing is free', (fs.f_bfree, fs.f_bavail, fs.f_ffree),
          (0, 0, 0))
    equal('statvfs: names', fs.f_namemax, 255)
    fails('getxattr', 'EOPNOTSUPP', os.getxattr, path, 'user.x')
    fails('setxattr', 'EOPNOTSUPP', os.setxattr, path, 'user.x', b'y')
    equal('access', os.access(path, os.R_OK | os.W_OK), True)
    with Open(path, os.O_RDWR) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
        fails('flock excludes', 'EAGAIN', with_file, path, os.O_RDWR,
              fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB)


# -- Names ------------------------------------------------------------------------

def listing(path):
    return sorted(os.listdir(path))


def telldir(path):
    """Each name read after seekdir to where telldir was before it."""
    libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
    libc.telldir.restype = ctypes.c_long

    def read(stream):
        entry = libc.readdir(ctypes.c_void_p(stream))
        return entry and ctypes.string_at(entry + 19).decode()

    stream = libc.opendir(path.encode())
    names, places = [], []
    while True:
        place = libc.telldir(ctypes.c_void_p(stream))
        name = read(stream)
        if not name:
            break
        names.append(name)
        places.append(place)
    again = []
    for place in reversed(places):
        libc.seekdir(ctypes.c_void_p(stream), ctypes.c_long(place))
        again.append(read(stream))
    libc.closedir(ctypes.c_void_p(stream))
    return names, again[::-1]


def refusals(mnt, want):
    """Nobody adds, removes or renames."""
    path = f'{mnt}/p1'
    fails('unlink', want, os.unlink, path)
    fails('unlink a link', want, os.unlink, f'{mnt}/by-partlabel/one')
    fails('rmdir', want, os.rmdir, f'{mnt}/by-partlabel')
    fails('mkdir', want, os.mkdir, f'{mnt}/new')
    fails('mkfifo', want, os.mkfifo, f'{mnt}/new')
    fails('mknod', want, os.mknod, f'{mnt}/new', stat.S_IFREG | 0o600)
    fails('symlink', want, os.symlink, 'p1', f'{mnt}/new')
    fails('link', want, os.link, path, f'{mnt}/new')
    fails('rename', want, os.rename, path, f'{mnt}/new')
    fails('rename over another', want, os.rename, path, f'{mnt}/p2')
    fails('rename of a directory', want, os.rename, f'{mnt}/by-partlabel',
          f'{mnt}/new')


def group_names(mnt, image):
    before = listing(mnt)
    refusals(mnt, 'EPERM')
    equal('all names are still there', listing(mnt), before)
    fails('rename to another file system', 'EXDEV', os.rename, f'{mnt}/p1',
          image + '.out')
    fails('no such file', 'ENOENT', os.stat, f'{mnt}/p9')
    fails('below a file', 'ENOTDIR', os.stat, f'{mnt}/p1/x')
    fails('rmdir of a file', 'ENOTDIR', os.rmdir, f'{mnt}/p1')
    fails('unlink of a directory', 'EISDIR', os.unlink, f'{mnt}/.coblk')
    fails('mkdir of what is there', 'EEXIST', os.mkdir, f'{mnt}/p1')
    fails('a name of 255 bytes', 'ENOENT', os.stat, f'{mnt}/{"x" * 255}')
    fails('a name of 256 bytes', 'ENAMETOOLONG', os.stat,
          f'{mnt}/{"x" * 256}')
    fails('a path of 4096 bytes', 'ENAMETOOLONG', os.stat,
          mnt + '/.' * 2048 + '/p1')
    fails('readlink of a file', 'EINVAL', os.readlink, f'{mnt}/p1')
    equal('readlink', os.readlink(f'{mnt}/by-partlabel/one'), '../p1')
    for name in mnt, f'{mnt}/.coblk', f'{mnt}/by-partuuid':
        names, again = telldir(name)
        equal(f'{os.path.basename(name)}: seekdir finds each entry', again,
              names)
        equal(f'{os.path.basename(name)}: . and .. are listed',
              sorted(set(names) & {'.', '..'}), ['.', '..'])
        equal(f'{os.path.basename(name)}: each name once',
              len(names), len(set(names)))
    equal('.. of a directory', os.stat(f'{mnt}/.coblk/..').st_ino,
          os.stat(mnt).st_ino)
    kinds = {e.name: e.is_file(follow_symlinks=False)
             for e in os.scandir(mnt)}
    equal('readdir knows the types',
          (kinds['p1'], kinds['disk'], kinds['.coblk']), (True, True, False))
    equal('and the inode numbers',
          [e.inode() for e in os.scandir(mnt) if e.name == 'p1'],
          [os.stat(f'{mnt}/p1').st_ino])
    stale(mnt)


def stale(mnt):
    """A partition that vanished is stale, also when another has its name."""
    table = with_file(f'{mnt}/disk', os.O_RDONLY, os.pread, 1 << 20, 0)
    with Open(f'{mnt}/p1', os.O_PATH) as fd:
        with Open(f'{mnt}/disk', os.O_RDWR) as disk:
            os.pwrite(disk, bytes(1 << 20), 0)
        fails('a partition that is gone', 'ENOENT', os.open, f'{mnt}/p1',
              os.O_RDONLY)
        fails('... by an old descriptor', 'ESTALE|ENOENT', os.open,
              f'/proc/self/fd/{fd}', os.O_RDONLY)
        with Open(f'{mnt}/disk', os.O_RDWR) as disk:
            os.pwrite(disk, table, 0)
        works('it is back', os.stat, f'{mnt}/p1')
        fails('... as another file', 'ESTALE|ENOENT', os.open,
              f'/proc/self/fd/{fd}', os.O_RDONLY)


# -- Read-only ----------------------------------------------------------------------

def group_readonly(mnt, image):
    path = f'{mnt}/p1'
    refusals(mnt, 'EROFS')
    fails('open for writing', 'EROFS', os.open, path, os.O_WRONLY)
    fails('open for both', 'EROFS', os.open, path, os.O_RDWR)
    fails('O_TRUNC', 'EROFS', os.open, path, os.O_RDONLY | os.O_TRUNC)
    fails('O_CREAT', 'EROFS', os.open, f'{mnt}/new', os.O_WRONLY | os.O_CREAT)
    fails('chmod', 'EROFS', os.chmod, path, 0o600)
    fails('chown', 'EROFS', os.chown, path, 1, 1)
    fails('utimensat', 'EROFS', os.utime, path)
    fails('truncate', 'EROFS', os.truncate, path, 0)
    equal('access for writing', os.access(path, os.W_OK), False)
    with Open(path, os.O_RDONLY) as fd:
        fails('a shared mapping for writing', 'EACCES', mmap.mmap, fd, BLOCK)
        memory = mmap.mmap(fd, BLOCK, mmap.MAP_PRIVATE)
        memory[0] = 1
        memory.close()
    with Open(path, os.O_RDONLY) as fd:
        works('fsync', os.fsync, fd)


# -- Other users ----------------------------------------------------------------------

def as_user(uid, call):
    """Runs call() in a child as uid; checks print what they found."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        call()
        sys.stdout.flush()
        os._exit(0)
    equal(f'what user {uid} did ended well', os.waitpid(child, 0)[1], 0)


def group_private(mnt, image):
    """Without allow_other."""
    def check():
        fails('another user cannot enter', 'EACCES', os.listdir, mnt)
        fails('... nor open', 'EACCES', os.open, f'{mnt}/p1', os.O_RDONLY)
    as_user(65534, check)


def group_shared(mnt, image):
    """With allow_other,mode=0644,uid=1234,gid=4321."""
    path = f'{mnt}/p1'
    st = os.stat(path)
    equal('uid, gid and mode', (st.st_uid, st.st_gid, oct(st.st_mode & 0o777)),
          (1234, 4321, '0o644'))

    def stranger():
        works('another user may list', os.listdir, mnt)
        works('... and read', with_file, path, os.O_RDONLY, os.read, 512)
        fails('... not write', 'EACCES', os.open, path, os.O_WRONLY)
        fails('... not chmod', 'EPERM', os.chmod, path, 0o666)
        fails('... not set times', 'EPERM', os.utime, path, (1, 1))
        fails('... not truncate', 'EACCES', os.truncate, path, 0)
        fails('... not O_TRUNC', 'EACCES', os.open, path,
              os.O_RDONLY | os.O_TRUNC)

    def owner():
        works('the owner may write', with_file, path, os.O_RDWR, os.write,
              b'x')
        works('... and chmod', os.chmod, path, 0o600)

    as_user(65534, stranger)
    as_user(1234, owner)

    def stranger_again():
        fails('what the owner closed is closed', 'EACCES', os.open, path,
              os.O_RDONLY)

    as_user(65534, stranger_again)


def main():
    group, mnt, image = sys.argv[1:]
    globals()[f'group_{group}'](mnt, image)


if __name__ == '__main__':
    main()
