#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A client of a mount whose disk has bad places.

usage: bad-disk.py MOUNTPOINT DISK BAD TEST

DISK and BAD are those of the program bad-disk.  Prints "ok - WHAT" or "not
ok - WHAT" for each check.
"""
import concurrent.futures
import json
import mmap
import os
import signal
import sys
import time

from checks import equal, result

BLOCK = 4096
N = 24
EIO = 'Input/output error'


def close(fd):
    """Closing says once more what a write has said."""
    result(os.close, fd)


class Mount:
    def __init__(self, mnt, disk, bad):
        self.mnt, self.disk, self.bad = mnt, disk, bad
        self.path = f'{mnt}/disk'
        with open(f'{mnt}/.coblk/info.json') as f:
            self.pid = json.load(f)['pid']
        self.waiting = '/sys/fs/fuse/connections/' \
            f'{os.minor(os.stat(mnt).st_dev)}/waiting'

    def set_bad(self, what, offset):
        with open(f'{self.bad}/{what}', 'w') as f:
            print(offset, file=f)

    def set_good(self):
        for name in os.listdir(self.bad):
            os.unlink(f'{self.bad}/{name}')

    def stats(self, kind):
        with open(f'{self.mnt}/.coblk/stats.json') as f:
            return json.load(f)[kind]

    def n_waiting(self):
        with open(self.waiting) as f:
            return int(f.read())

    def is_stopped(self):
        for thread in os.listdir(f'/proc/{self.pid}/task'):
            with open(f'/proc/{self.pid}/task/{thread}/stat') as f:
                if f.read().rsplit(')', 1)[1].split()[0] != 'T':
                    return False
        return True

    def stop(self):
        """Stops the daemon when it has answered everything."""
        while self.n_waiting() > 0:
            time.sleep(0.01)
        os.kill(self.pid, signal.SIGSTOP)
        while not self.is_stopped():
            time.sleep(0.01)

    def at_once(self, calls):
        """The results of calls whose requests the daemon gets in one go."""
        with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
            self.stop()
            try:
                futures = [pool.submit(result, *call) for call in calls]
                while self.n_waiting() < len(calls):
                    time.sleep(0.01)
            finally:
                os.kill(self.pid, signal.SIGCONT)
            return [f.result() for f in futures]

    def on_disk(self, offset, n):
        with open(self.disk, 'rb') as f:
            return os.pread(f.fileno(), n, offset)


def block(seed):
    return bytes([seed]) * BLOCK


def counted(mount, kind, calls):
    """Results of calls, and what they added to requests, to requests that
    left, to failed ones."""
    keys = 'requests', 'backend_requests', 'failed'
    before = mount.stats(kind)
    results = mount.at_once(calls)
    after = mount.stats(kind)
    return results, [after[k] - before[k] for k in keys]


def merged(m):
    """One request of a merged run meets the bad block."""
    fd = os.open(m.path, os.O_RDWR | os.O_DIRECT)
    calls = [(os.pwrite, fd, block(i + 1), i * BLOCK) for i in range(N)]
    results, counts = counted(m, 'write', calls)
    equal('writes that arrive together leave as one', counts, [N, 1, 0])
    equal('... all succeed', results, [BLOCK] * N)
    equal('... and are right', m.on_disk(0, N * BLOCK),
          b''.join(block(i + 1) for i in range(N)))

    m.set_bad('write', 9 * BLOCK)
    calls = [(os.pwrite, fd, block(i + 101), i * BLOCK) for i in range(N)]
    results, counts = counted(m, 'write', calls)
    want = [EIO if i == 9 else BLOCK for i in range(N)]
    equal('one bad block among writes: only its request fails', results, want)
    equal('... and is counted', counts[2], 1)
    equal('... the others are on the disk', m.on_disk(0, N * BLOCK),
          b''.join(block(i + (1 if i == 9 else 101)) for i in range(N)))
    equal('... fsync says so', result(os.fsync, fd), EIO)
    equal('... once', result(os.fsync, fd), None)

    m.set_good()
    m.set_bad('read', 5 * BLOCK)
    calls = [(os.pread, fd, BLOCK, i * BLOCK) for i in range(N)]
    results, counts = counted(m, 'read', calls)
    want = [EIO if i == 5 else block(i + (1 if i == 9 else 101))
            for i in range(N)]
    equal('one bad block among reads: only its request fails',
          results == want, True)
    equal('... and is counted', counts[2], 1)
    equal('... fsync does not mind', result(os.fsync, fd), None)
    close(fd)


def single(m):
    """Requests that are not merged, cached ones, parts of blocks."""
    for name, flags in ('cached', 0), ('direct', os.O_DIRECT):
        m.set_good()
        fd = os.open(m.path, os.O_RDWR | flags)
        at = (64 + 64 * bool(flags)) * BLOCK
        os.pwrite(fd, block(7) * 2, at)
        m.set_bad('write', at)
        equal(f'{name}: a write', result(os.pwrite, fd, block(8), at), EIO)
        equal(f'{name}: a part of a block',
              result(os.pwrite, fd, b'x' * 100, at + 50), EIO)
        equal(f'{name}: its neighbour',
              result(os.pwrite, fd, block(8), at + BLOCK), BLOCK)
        equal(f'{name}: fsync', result(os.fsync, fd), EIO)
        m.set_good()
        equal(f'{name}: it is good again',
              result(os.pwrite, fd, block(9), at), BLOCK)
        equal(f'{name}: fsync', result(os.fsync, fd), None)
        equal(f'{name}: the data', m.on_disk(at, 2 * BLOCK),
              block(9) + block(8))
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        m.set_bad('read', at)
        equal(f'{name}: a read', result(os.pread, fd, BLOCK, at), EIO)
        equal(f'{name}: a write to a part of a block that cannot be read',
              result(os.pwrite, fd, b'x' * 100, at + 50), EIO)
        equal(f'{name}: changes nothing', m.on_disk(at, BLOCK), block(9))
        m.set_good()
        equal(f'{name}: a read of what is good again',
              result(os.pread, fd, BLOCK, at), block(9))
        close(fd)


def flush(m):
    """The write succeeds, the flush does not."""
    fd = os.open(m.path, os.O_RDWR)
    os.pwrite(fd, block(3), 0)
    m.set_bad('flush', 0)
    equal('a failed flush', result(os.fsync, fd), EIO)
    os.pwrite(fd, block(4), 0)
    equal('a failed flush of another write', result(os.fsync, fd), EIO)
    m.set_good()
    equal('the flush succeeds when it can', result(os.fsync, fd), None)
    close(fd)


def flush_fails(m):
    os.system(f'dd if=/dev/zero of={m.path} bs=4k count=1 conv=notrunc '
              'status=none')
    m.set_bad('flush', 0)


def lose(m):
    """A page that cannot be written, when nobody is there to be told."""
    fd = os.open(m.path, os.O_RDWR)
    memory = mmap.mmap(fd, BLOCK * 300)
    memory[0] = 1
    m.set_bad('write', 256 * BLOCK)
    close(fd)
    memory[256 * BLOCK] = 1


def main(mnt, disk, bad, test):
    signal.alarm(140)
    m = Mount(mnt, disk, bad)
    {f.__name__: f for f in (merged, single, flush, flush_fails, lose)}[test](m)


if __name__ == '__main__':
    main(*sys.argv[1:])
