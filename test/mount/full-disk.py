#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A client of a mount whose image cannot grow: who is told what.

usage: full-disk.py MOUNTPOINT fill|after|lose

fill    write until there is no space left
after   space was freed: go on
lose    change a page that cannot be written, so that nobody is told

Prints "ok - WHAT" or "not ok - WHAT" for each check.
"""
import mmap
import os
import sys

from checks import equal, result

MIB = 1 << 20
FULL = 'No space left on device'


def block(i):
    return bytes([i + 1]) * (256 << 10)


def fill_with(path, name, flags):
    fd = os.open(path, os.O_RDWR | flags)
    at = 0
    while (got := result(os.pwrite, fd, block(at), at * len(block(0)))) \
            == len(block(0)):
        at += 1
    equal(f'{name}: a write says that the disk is full', got, FULL)
    equal(f'{name}: and so does the next',
          result(os.pwrite, fd, block(at), (at + 8) * len(block(0))), FULL)
    equal(f'{name}: fsync says it once', result(os.fsync, fd), FULL)
    equal(f'{name}: only once', result(os.fsync, fd), None)
    other = os.open(path, os.O_RDWR)
    equal(f'{name}: another who opens it is not told', result(os.fsync, other),
          None)
    os.close(other)
    equal(f'{name}: what was there can be written',
          result(os.pwrite, fd, block(0), 0), len(block(0)))
    equal(f'{name}: some was written', at > 4, True)
    good = all(os.pread(fd, len(block(0)), i * len(block(0))) == block(i)
               for i in range(at))
    equal(f'{name}: what was written is all there', good, True)
    tail = os.pread(fd, len(block(0)), at * len(block(0)))
    kept = len(tail) - len(tail.lstrip(bytes([at + 1])))
    equal(f'{name}: what failed is new up to somewhere, then old',
          tail[kept:].strip(b'\0'), b'')
    equal(f'{name}: close says it', result(os.close, fd), FULL)


def fill(path):
    fill_with(path, 'cached', 0)
    fill_with(path, 'direct', os.O_DIRECT)
    fd = os.open(path, os.O_RDWR)
    memory = mmap.mmap(fd, 64 * MIB)
    memory[48 * MIB] = 1
    equal('a mapping: msync says it', result(memory.flush), FULL)
    memory.close()
    # The kernel has said it on its own account; now the mount does.
    equal('a mapping: fsync says it, too', result(os.fsync, fd), FULL)
    equal('a mapping: not for ever', result(os.fsync, fd), None)
    result(os.close, fd)


def after(path):
    for name, flags in ('cached', 0), ('direct', os.O_DIRECT):
        fd = os.open(path, os.O_RDWR | flags)
        at = (40 + 2 * flags.bit_count()) * MIB
        equal(f'{name}: a write', result(os.pwrite, fd, b'n' * MIB, at), MIB)
        equal(f'{name}: fsync', result(os.fsync, fd), None)
        equal(f'{name}: the data', os.pread(fd, MIB, at) == b'n' * MIB, True)
        equal(f'{name}: close', result(os.close, fd), None)


def lose(path):
    fd = os.open(path, os.O_RDWR)
    memory = mmap.mmap(fd, 64 * MIB)
    os.close(fd)
    memory[56 * MIB] = 1


def main(mnt, what):
    {'fill': fill, 'after': after, 'lose': lose}[what](f'{mnt}/disk')


if __name__ == '__main__':
    main(*sys.argv[1:])
