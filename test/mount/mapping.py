#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Shared mappings of the files of a mount.

usage: mapping.py MOUNTPOINT IMAGE

Prints "ok - WHAT" or "not ok - WHAT" for each check.
"""
import mmap
import os
import signal
import sys

from checks import equal

PAGE = 4096
MIB = 1 << 20

n_used = 0


def fresh():
    """A page nobody has touched yet, so that no check helps another."""
    global n_used
    n_used += 1
    return n_used * 3 * PAGE


def in_child(call):
    """Runs call() in another process; True when it ended well."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os._exit(0 if call() else 1)
    return os.waitpid(child, 0)[1] == 0


def of_image(image, at, n):
    with open(image, 'rb', buffering=0) as f:
        return os.pread(f.fileno(), n, at)


def one_descriptor(kind, path, flags, image, offset):
    fd = os.open(path, os.O_RDWR | flags)
    size = os.fstat(fd).st_size
    memory = mmap.mmap(fd, size)

    at = fresh()
    os.pwrite(fd, b'before', at)
    equal(f'{kind}: a mapping shows what was written', memory[at:at + 6],
          b'before')
    os.pwrite(fd, b'after!', at)
    equal(f'{kind}: ... and what is written now', memory[at:at + 6],
          b'after!')

    at = fresh()
    memory[at:at + 6] = b'mapped'
    equal(f'{kind}: read sees a change of the mapping',
          os.pread(fd, 6, at), b'mapped')
    memory.flush(at, PAGE)
    equal(f'{kind}: msync and fsync take it to the image',
          of_image(image, offset + at, 6), b'mapped')

    at = fresh()
    memory[at:at + 6] = b'shared'
    other = mmap.mmap(fd, size)
    equal(f'{kind}: another mapping sees it at once', other[at:at + 6],
          b'shared')
    equal(f'{kind}: another process, too',
          in_child(lambda: memory[at:at + 6] == b'shared'), True)
    in_child(lambda: memory.__setitem__(at, 33) is None)
    equal(f'{kind}: and changes it for all', memory[at], 33)
    other.close()

    at = fresh()
    memory[at:at + PAGE] = b'm' * PAGE
    os.pwrite(fd, b'w' * 100, at + 1000)
    equal(f'{kind}: a write beside what is dirty keeps both',
          memory[at:at + PAGE],
          b'm' * 1000 + b'w' * 100 + b'm' * (PAGE - 1100))
    memory.flush()
    equal(f'{kind}: ... on the image, too',
          of_image(image, offset + at, PAGE),
          b'm' * 1000 + b'w' * 100 + b'm' * (PAGE - 1100))

    memory[size - 3:size] = b'end'
    memory.flush()
    equal(f'{kind}: the last bytes', of_image(image, offset + size - 3, 3),
          b'end')
    private = mmap.mmap(fd, PAGE, mmap.MAP_PRIVATE)
    private[:4] = b'mine'
    equal(f'{kind}: a private mapping is private', os.pread(fd, 4, 0)
          == b'mine', False)
    private.close()
    memory.close()
    os.close(fd)

    fd = os.open(path, os.O_RDWR | flags)
    memory = mmap.mmap(fd, size)
    os.close(fd)
    at = fresh()
    memory[at:at + 6] = b'closed'
    memory.close()
    fd = os.open(path, os.O_RDWR)
    os.fsync(fd)
    os.close(fd)
    equal(f'{kind}: what is mapped by a file that was closed is not lost',
          of_image(image, offset + at, 6), b'closed')


def two_descriptors(path):
    """A cached and a direct descriptor of one file."""
    cached = os.open(path, os.O_RDWR)
    direct = os.open(path, os.O_RDWR | os.O_DIRECT)
    memory = mmap.mmap(cached, 8 * MIB)
    at = fresh()
    memory[at:at + 6] = b'mapped'
    equal('a direct read sees what a mapping holds',
          os.pread(direct, 6, at), b'mapped')
    os.pwrite(direct, b'direct', at)
    equal('a mapping sees a direct write', memory[at:at + 6], b'direct')
    equal('a cached read, too', os.pread(cached, 6, at), b'direct')
    os.pwrite(cached, b'cached', at)
    equal('a direct read sees a cached write', os.pread(direct, 6, at),
          b'cached')
    # The source or target of a request is a mapping of the very file.
    at, to = fresh(), fresh()
    memory[at:at + PAGE] = b'x' * PAGE
    os.pwrite(direct, memoryview(memory)[at:at + PAGE], to)
    equal('a direct write from a mapping of the file',
          os.pread(cached, PAGE, to), b'x' * PAGE)
    to = fresh()
    os.preadv(direct, [memoryview(memory)[to:to + PAGE]], at)
    equal('a direct read into a mapping of the file',
          os.pread(cached, PAGE, to), b'x' * PAGE)
    os.close(cached)
    os.close(direct)


def main(mnt, image):
    offset = MIB
    signal.alarm(140)
    one_descriptor('cached', f'{mnt}/p1', 0, image, offset)
    one_descriptor('O_DIRECT', f'{mnt}/p1', os.O_DIRECT, image, offset)
    two_descriptors(f'{mnt}/p1')


if __name__ == '__main__':
    main(*sys.argv[1:])
