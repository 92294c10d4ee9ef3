#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Write stamped blocks to a file from several threads until it fails.

usage: acknowledged.py FILE RECORD      write; RECORD gets what was confirmed
       acknowledged.py --check FILE RECORD

Each thread has blocks of its own and stamps them with a counter.  A block must
hold the last stamp that was confirmed, or the one that was under way when the
file was taken from us.
"""

import json
import mmap
import os
import random
import sys
import threading

BLOCK = 4096
THREADS = 16
BLOCKS_EACH = 64


def stamp(thread, block, count):
    """The content of a block: the stamp, repeated."""
    text = f"{thread:04d}:{block:04d}:{count:012d}\n".encode()
    return (text * (BLOCK // len(text) + 1))[:BLOCK]


def place(thread, block):
    """Blocks of a thread are next to each other, so that writes merge."""
    return (thread * BLOCKS_EACH + block) * BLOCK


class Writer(threading.Thread):
    """Writes its blocks in random order and keeps count."""

    def __init__(self, fd, number):
        super().__init__()
        self.fd, self.number = fd, number
        self.begun = threading.Event()  # a write was confirmed, or failed
        self.done = [0] * BLOCKS_EACH
        self.tried = [0] * BLOCKS_EACH
        self.error = None

    def run(self):
        buf = mmap.mmap(-1, BLOCK)  # page-aligned, for O_DIRECT
        rng = random.Random(self.number)
        try:
            while True:
                block = rng.randrange(BLOCKS_EACH)
                self.tried[block] += 1
                buf[:] = stamp(self.number, block, self.tried[block])
                os.pwrite(self.fd, buf, place(self.number, block))
                self.done[block] = self.tried[block]
                self.begun.set()
        except OSError as e:
            self.error = e.strerror
            self.begun.set()


def write(path, record):
    """Write until the file is taken away."""
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    writers = [Writer(fd, i) for i in range(THREADS)]
    for w in writers:
        w.start()
    for w in writers:
        w.begun.wait()
    print("started", flush=True)
    for w in writers:
        w.join()
    with open(record, "w", encoding="utf-8") as f:
        json.dump([{"done": w.done, "tried": w.tried, "error": w.error}
                   for w in writers], f)


def check(path, record):
    """Compare the file with what was confirmed."""
    with open(record, encoding="utf-8") as f:
        writers = json.load(f)
    confirmed = 0
    with open(path, "rb") as f:
        for number, w in enumerate(writers):
            for block in range(BLOCKS_EACH):
                f.seek(place(number, block))
                got = f.read(BLOCK)
                done, tried = w["done"][block], w["tried"][block]
                fine = [stamp(number, block, n) for n in {done, tried} if n]
                if got not in fine + ([bytes(BLOCK)] if not done else []):
                    sys.exit(f"thread {number} block {block}: {got[:24]!r}, "
                             f"confirmed {done}, tried {tried}")
                confirmed += done
    if confirmed < THREADS:
        sys.exit(f"only {confirmed} writes were confirmed")
    print(f"{confirmed} confirmed writes are there")


if __name__ == "__main__":
    if sys.argv[1] == "--check":
        check(*sys.argv[2:4])
    else:
        write(*sys.argv[1:3])
