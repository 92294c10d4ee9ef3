#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Write through one file of a mount, read through another that overlaps.

usage: coherence.py MOUNTPOINT

p1 begins 1 MiB into disk.  Prints a line "ok", "bad" or "skip", a tab, and what
was tried, for each of the tests below; what raises is bad.
"""
import errno
import mmap
import os
import random
import sys
import threading
import time

P1 = 1 << 20
PAGE = 4096
SPAN = 64 * PAGE        # what the tests touch
ROUNDS = 40

mount = sys.argv[1]
rng = random.Random(1)


def noise(size=SPAN):
    return rng.randbytes(size)


class File:
    """disk or p1, such that offset 0 is the same byte in both."""

    def __init__(self, name, flags=os.O_RDWR):
        self.base = P1 if name == 'disk' else 0
        self.fd = os.open(f'{mount}/{name}', flags)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def write(self, data, at=0):
        assert os.pwrite(self.fd, data, self.base + at) == len(data)

    def read(self, size=SPAN, at=0):
        return os.pread(self.fd, size, self.base + at)

    def map(self, access=mmap.ACCESS_WRITE):
        return mmap.mmap(self.fd, SPAN, access=access, offset=self.base)


class Direct(File):
    """The same with O_DIRECT."""

    def __init__(self, name):
        super().__init__(name, os.O_RDWR | os.O_DIRECT)
        self.buf = mmap.mmap(-1, SPAN)  # page-aligned

    def write(self, data, at=0):
        self.buf[:len(data)] = data
        view = memoryview(self.buf)[:len(data)]
        assert os.pwritev(self.fd, [view], self.base + at) == len(data)

    def read(self, size=SPAN, at=0):
        view = memoryview(self.buf)[:size]
        assert os.preadv(self.fd, [view], self.base + at) == size
        return bytes(view)


BOTH_WAYS = (('disk', 'p1'), ('p1', 'disk'))


def reopened(reader_name, want):
    with File(reader_name, os.O_RDONLY) as reader:
        assert reader.read() == want, f'{reader_name} is stale'


def test_close_then_open():
    """a cached open sees what was written and closed"""
    for _ in range(ROUNDS):
        for writer_name, reader_name in BOTH_WAYS:
            data = noise()
            with File(reader_name) as reader:
                reader.read()  # into the cache
            with File(writer_name) as writer:
                writer.write(data)
            reopened(reader_name, data)


def test_reader_stays_open():
    """... also while others have the file open"""
    for writer_name, reader_name in BOTH_WAYS:
        with File(reader_name) as other:
            for _ in range(ROUNDS):
                data = noise()
                other.read()
                with File(writer_name) as writer:
                    writer.write(data)
                reopened(reader_name, data)


def test_writer_stays_open():
    """... also while the writer has it open"""
    for writer_name, reader_name in BOTH_WAYS:
        with File(writer_name) as writer:
            for _ in range(ROUNDS):
                data = noise()
                writer.write(data)
                reopened(reader_name, data)


def test_direct_to_cached():
    """a cached open sees what was written directly"""
    for writer_name in 'disk', 'p1':
        for reader_name in 'disk', 'p1':
            with Direct(writer_name) as writer:
                for _ in range(ROUNDS):
                    data = noise()
                    writer.write(data)
                    reopened(reader_name, data)
            reopened(reader_name, data)


def test_direct_at_once():
    """direct I/O sees at once what was written, cached or directly"""
    for kind in File, Direct:
        for writer_name, reader_name in BOTH_WAYS:
            with kind(writer_name) as writer, Direct(reader_name) as reader:
                for _ in range(ROUNDS):
                    data = noise()
                    writer.write(data)
                    assert reader.read() == data


def test_small_neighbours():
    """writes of a few bytes through both files lose none of them"""
    want = bytearray(SPAN)
    with File('disk') as disk:
        disk.write(bytes(want))
    for _ in range(10 * ROUNDS):
        name = rng.choice(('disk', 'p1'))
        at, data = rng.randrange(SPAN - 20), noise(rng.randrange(1, 20))
        with File(name) as f:
            f.write(data, at)
        want[at:at + len(data)] = data
    for name in 'disk', 'p1':
        reopened(name, bytes(want))


def mapping(f, access=mmap.ACCESS_WRITE):
    try:
        return f.map(access)
    except OSError as e:
        # A shared mapping of a file that is all direct I/O.
        if e.errno == errno.ENODEV:
            raise NotImplementedError from e
        raise


def test_map_synced():
    """what was stored and synced is seen at once by direct I/O"""
    for writer_name, reader_name in BOTH_WAYS:
        with File(writer_name) as writer, Direct(reader_name) as reader:
            with mapping(writer) as stores:
                for _ in range(ROUNDS):
                    data = noise()
                    stores[:] = data
                    stores.flush()
                    assert reader.read() == data


def test_map_closed():
    """what was stored is seen by an open after unmapping and closing"""
    for writer_name, reader_name in BOTH_WAYS:
        for _ in range(ROUNDS):
            data = noise()
            with File(reader_name) as reader:
                reader.read()
            with File(writer_name) as writer:
                with mapping(writer) as stores:
                    stores[:] = data
            reopened(reader_name, data)


def test_map_reads():
    """a mapping made after an open sees what was written before it"""
    for writer_name, reader_name in BOTH_WAYS:
        for _ in range(ROUNDS):
            data = noise()
            with File(reader_name) as reader:
                with mapping(reader, mmap.ACCESS_READ) as loads:
                    assert loads[0] is not None  # into the cache
            with File(writer_name) as writer:
                writer.write(data)
            with File(reader_name) as reader:
                with mapping(reader, mmap.ACCESS_READ) as loads:
                    assert loads[:] == data


def test_open_soon():
    """who has a file open sees a change soon (not promised)"""
    for writer_name, reader_name in BOTH_WAYS:
        data = noise()
        with File(reader_name) as reader:
            reader.read()
            with File(writer_name) as writer:
                writer.write(data)
            end = time.monotonic() + 60
            while reader.read() != data:
                assert time.monotonic() < end
                time.sleep(0.01)


def test_beside_traffic():
    """all of it while other threads read and write beside it"""
    stop = threading.Event()

    def traffic(name, at):
        own = random.Random(at)
        with File(name) as f:
            while not stop.is_set():
                data = own.randbytes(PAGE)
                f.write(data, at)
                f.read(PAGE, at)

    threads = [threading.Thread(target=traffic, args=(name, (128 + i) * PAGE))
               for i, name in enumerate(('disk', 'p1'))]
    for t in threads:
        t.start()
    try:
        test_close_then_open()
        test_direct_to_cached()
    finally:
        stop.set()
        for t in threads:
            t.join()


def main():
    for name, test in list(globals().items()):
        if not name.startswith('test_'):
            continue
        try:
            test()
            result, why = 'ok', ''
        except NotImplementedError:
            result, why = 'skip', ''
        except Exception as e:  # pylint: disable=broad-except
            result, why = 'bad', f' ({type(e).__name__}: {e})'
        print(f'{result}\t{test.__doc__}{why}', flush=True)


main()
