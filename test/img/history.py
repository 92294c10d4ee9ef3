#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A random history of one qcow2 image, by two sets of programs in turn.

usage: history.py SEED OPTIONS [BACKING]

OPTIONS are those of create; BACKING is the size of a raw backing file.  The
image, which is made in the current folder, is written, discarded, zeroed,
resized and given snapshots by coblk-img and coblk-io ($OURS) or by qemu-img and
qemu-io, whoever's turn it is.  After each turn qemu-img and coblk-img must find
it consistent and without leaks, and equal to a model file.
"""

import os
import random
import subprocess
import sys

DISK = 3 << 20
MAX_DISK = 5 << 20
TURNS = 8
COMMANDS = 14  # in a turn
CHUNK = 4096   # of what is compared

OURS = os.environ["OURS"]
PROGRAMS = {
    "coblk": (OURS + "/coblk-img", OURS + "/coblk-io"),
    "qemu": ("qemu-img", "qemu-io"),
}


def run(*words):
    """Runs a program that must succeed and say nothing on stderr."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=60,
                          check=False)
    bad = done.returncode != 0 or done.stderr or "failed" in done.stdout
    if bad:
        sys.exit(f"{' '.join(words)}: status {done.returncode}\n"
                 f"{done.stdout}{done.stderr}")
    return done.stdout


def read(path):
    """All bytes of a file."""
    with open(path, "rb") as f:
        return f.read()


class History:
    """The image, and what is to be in it."""

    def __init__(self, seed, options, backing):
        self.rng = random.Random(seed)
        self.options = options
        self.size = DISK
        self.model = bytearray(DISK)
        self.backing = bytes(MAX_DISK)
        self.soft = []        # what was discarded: (offset, end)
        self.unknown = []     # what nobody promises: (offset, end)
        self.touched = set()  # clusters that may have a place
        self.packs = 0        # compressed clusters of this turn
        self.snapshots = {}   # name: (size, bytes)
        self.n_taken = 0
        self.cluster = 65536
        for option in options.split(","):
            if option.startswith("cluster_size="):
                text = option.split("=")[1]
                unit = {"k": 1 << 10, "M": 1 << 20}.get(text[-1])
                self.cluster = int(text[:-1]) * unit if unit else int(text)
        self.create(backing)

    def create(self, backing):
        """Makes the image, by anybody."""
        words = ["-o", self.options] if self.options else []
        if backing:
            data = self.rng.randbytes(251) * (backing // 251 + 1)
            self.backing = data[:backing].ljust(MAX_DISK, b"\0")
            with open("base", "wb") as f:
                f.write(data[:backing])
            words += ["-b", "base", "-F", "raw"]
        self.model[:] = self.backing[:DISK]
        img = self.rng.choice(list(PROGRAMS.values()))[0]
        run(img, "create", "-q", "-f", "qcow2", *words, "image", str(DISK))

    # -- Commands of io

    def pick_range(self):
        """A range of the disk, often aligned, often short."""
        unit = self.rng.choice([1, 512, 4096, 65536])
        offset = self.rng.randrange(max(self.size // unit, 1)) * unit
        n = self.rng.randint(1, max(self.rng.choice([20000, 400000]) // unit,
                                    1)) * unit
        return offset, min(n, self.size - offset)

    def touch(self, offset, n):
        """Notes that clusters may have a place now."""
        self.touched.update(range(offset // self.cluster,
                                  (offset + n - 1) // self.cluster + 1))

    def change(self, offset, n, fill):
        """All of a range is @fill."""
        self.model[offset:offset + n] = bytes([fill]) * n
        end = offset + n
        left = []
        for a, b in self.soft:
            if a < offset:
                left.append((a, min(b, offset)))
            if b > end:
                left.append((max(a, end), b))
        self.soft = [(a, b) for a, b in left if a < b]

    def command(self, who):
        """The next command of io."""
        offset, n = self.pick_range()
        fill = self.rng.randrange(1, 256)
        what = self.rng.choice(["write"] * 5 + ["packed", "zero", "unmap",
                                                "discard", "read", "flush"])
        if what == "packed":
            return self.packed(who, offset, fill)
        if what == "read":
            return f"read {offset} {n}"
        if what == "flush":
            return "flush"
        self.touch(offset, n)
        if what == "discard":
            self.soft.append((offset, offset + n))
            return f"discard {offset} {n}"
        if what == "write":
            self.change(offset, n, fill)
            return f"write -P {fill} {offset} {n}"
        self.change(offset, n, 0)
        return f"write -z{'u' if what == 'unmap' else ''} {offset} {n}"

    def packed(self, who, offset, fill):
        """A compressed cluster.

        qemu-io wants one that has no place, and one for each time it opens the
        image: it puts the next behind the last, even if that was overwritten
        and its cluster has become another's.
        """
        cluster = offset // self.cluster
        start = cluster * self.cluster
        n = min(self.cluster, self.size - start)
        if "data_file" in self.options or "prealloc" in self.options or (
                who == "qemu" and (self.packs or cluster in self.touched)
                ) or n % 512:
            return "flush"
        self.packs += 1
        self.touch(start, n)
        self.change(start, n, fill)
        return f"write -c -P {fill} {start} {n}"

    # -- Turns

    def turn(self):
        """Somebody works on the image."""
        who = self.rng.choice(list(PROGRAMS))
        img, io = PROGRAMS[who]
        words = []
        self.packs = 0
        for _ in range(COMMANDS):
            words += ["-c", self.command(who)]
        run(io, "-f", "qcow2", "-d", "unmap", *words, "image")
        self.check(f"{who}'s turn: {words}")
        if self.rng.random() < 0.3:
            self.resize(img)
            self.check(f"{who}'s resize")
        if "data_file" not in self.options and "bits=1" not in self.options:
            self.snapshot(img)
        self.check(f"{who}'s snapshot")

    def resize(self, img):
        """The disk gets longer or shorter."""
        if "compat=0.10" in self.options and self.snapshots:
            return
        size = self.rng.randrange(1, MAX_DISK // 512) * 512
        if size > self.size and "compat=0.10" in self.options:
            # qemu-img refuses to grow over a longer backing file, which takes
            # zeroes that have a place.
            img = PROGRAMS["coblk"][0]
            self.touch(self.size, size - self.size)
        run(img, "resize", "-q", "-f", "qcow2", "--shrink", "image", str(size))
        if img == "qemu-img" and size > self.size:
            # It leaves what the last cluster has behind the old end.
            end = -self.size % self.cluster + self.size
            self.unknown.append((self.size, min(end, size)))
        self.model = self.model[:size].ljust(size, b"\0")
        self.size = size

    def snapshot(self, img):
        """A snapshot is taken, applied or deleted."""
        what = self.rng.choice("cccad")
        if what == "c" and len(self.snapshots) < 4:
            self.n_taken += 1
            name = f"s{self.n_taken}"
            self.snapshots[name] = bytes(self.model)
        elif what != "c" and self.snapshots:
            name = self.rng.choice(sorted(self.snapshots))
        else:
            return
        if what == "a":
            self.model = bytearray(self.snapshots[name])
            self.size = len(self.model)
        if what == "d":
            del self.snapshots[name]
        run(img, "snapshot", "-" + what, name, "image")
        self.touch(0, MAX_DISK)

    # -- Looking

    def check(self, what):
        """The image is consistent, and is what it is to be."""
        for img, _ in PROGRAMS.values():
            run(img, "check", "-q", "-f", "qcow2", "image")
        img = self.rng.choice(list(PROGRAMS.values()))[0]
        run(img, "convert", "-f", "qcow2", "-O", "raw", "image", "raw")
        self.settle(read("raw"), what)
        with open("model", "wb") as f:
            f.write(self.model)
        for img, _ in PROGRAMS.values():
            run(img, "compare", "-q", "-f", "raw", "-F", "qcow2", "model",
                "image")

    def settle(self, got, what):
        """Takes what became of discarded bytes into the model."""
        if len(got) != self.size:
            sys.exit(f"{what}: {len(got)} bytes, should be {self.size}")
        for a, b in self.soft:
            for sector in range(a // 512 * 512, min(b, self.size), 512):
                i = max(sector, a)
                end = min(sector + 512, b, self.size)
                old = self.model[i:end]
                if got[i:end] not in (old, bytes(end - i),
                                      self.backing[i:end]):
                    sys.exit(f"{what}: discarded bytes at {i} are new")
                self.model[i:end] = got[i:end]
        for a, b in self.unknown:
            self.model[a:b] = got[a:b]
        self.soft = []
        self.unknown = []
        for i in range(0, self.size, CHUNK):
            if got[i:i + CHUNK] != self.model[i:i + CHUNK]:
                at = next(k for k in range(i, self.size)
                          if got[k] != self.model[k])
                sys.exit(f"{what}: byte {at} is {got[at]}, should be "
                         f"{self.model[at]}")

    def check_snapshots(self):
        """All snapshots are as they were when they were taken.

        qemu-img shows each with the size that the disk has now.
        """
        for name, want in self.snapshots.items():
            for img, _ in PROGRAMS.values():
                run(img, "convert", "-l", f"snapshot.name={name}", "-f",
                    "qcow2", "-O", "raw", "image", "raw")
                got = read("raw")
                n = min(len(got), len(want))
                if got[:n] != want[:n] or (img != "qemu-img" and
                                           len(got) != len(want)):
                    sys.exit(f"{img}: snapshot {name} has changed")


def main():
    history = History(int(sys.argv[1]), sys.argv[2],
                      int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    for _ in range(TURNS):
        history.turn()
    history.check_snapshots()


if __name__ == "__main__":
    main()
