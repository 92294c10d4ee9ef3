#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Bitmaps of qcow2 images, read as the format's description says.

    bitmap.py dump IMAGE
        a line for each: name, flags, granularity, which granules are set
    bitmap.py history SEED OPTIONS
        a random history of two images made with OPTIONS: in one, coblk and
        qemu's programs take turns; in the other, qemu's do all.  Their bitmaps
        must be the same at any time, and the first image consistent for both.
        OURS is the folder of coblk-img and coblk-io.
"""
import os
import random
import struct
import subprocess
import sys

EXTENSION = 0x23852875
STEPS = 40
MiB = 1 << 20


# -- Reading


def be(kind, data, at=0):
    return struct.unpack_from(">" + kind, data, at)[0]


class Image:
    def __init__(self, name):
        with open(name, "rb") as f:
            self.data = f.read()
        self.cluster = 1 << be("I", self.data, 20)
        self.size = be("Q", self.data, 24)

    def extension(self):
        at = be("I", self.data, 100)
        while be("I", self.data, at):
            if be("I", self.data, at) == EXTENSION:
                return self.data[at + 8 : at + 32]
            at += 8 + (be("I", self.data, at + 4) + 7) // 8 * 8
        return None

    def part(self, entry):
        """The bits that an entry of a table stands for, as a number."""
        host = entry & 0x00FFFFFFFFFFFE00
        if host:
            data = self.data[host : host + self.cluster]
            return int.from_bytes(data, "little")
        return (1 << self.cluster * 8) - 1 if entry & 1 else 0

    def bits(self, table, n):
        bits = 0
        for i in range(n):
            entry = be("Q", self.data, table + 8 * i)
            bits |= self.part(entry) << i * self.cluster * 8
        return bits

    def bitmaps(self):
        ext = self.extension()
        if not ext or not self.data[95] & 1:
            return
        at = be("Q", ext, 16)
        for _ in range(be("I", ext)):
            n, flags = be("I", self.data, at + 8), be("I", self.data, at + 12)
            granularity = 1 << self.data[at + 17]
            length = be("H", self.data, at + 18)
            name = self.data[at + 24 : at + 24 + length].decode()
            bits = self.bits(be("Q", self.data, at), n)
            assert bits >> -(-self.size // granularity) == 0, "bits at the end"
            yield name, flags, granularity, bits
            at += (24 + length + 7) // 8 * 8


def runs(bits):
    """The numbers of bits that are set, as ranges."""
    found, at = [], 0
    text = bin(bits)[:1:-1]
    while (first := text.find("1", at)) >= 0:
        at = text.find("0", first)
        at = at if at >= 0 else len(text)
        found.append(f"{first}-{at - 1}")
    return ",".join(found)


def dump(name):
    return [
        f"{n} {flags} {granularity} {runs(bits)}"
        for n, flags, granularity, bits in Image(name).bitmaps()
    ]


# -- Histories

OURS = os.environ.get("OURS", "")


def run(program, *args):
    done = subprocess.run([program, *args], capture_output=True, text=True)
    return done.returncode, done.stderr


class History:
    def __init__(self, options):
        self.size = 6 * MiB
        for name in ("turns", "theirs"):
            os.path.exists(name) and os.remove(name)
            self.must("qemu-img", "create", "-q", "-f", "qcow2", "-o", options,
                      name, str(self.size))

    def must(self, *command):
        rc, err = run(*command)
        assert rc == 0, (command, err)

    def both(self, tool, *args):
        """Does the same to both images; @ stands for the image's name."""
        ours = os.path.join(OURS, "coblk-" + tool)
        mine = random.choice([ours, "qemu-" + tool])
        for program, name in ((mine, "turns"), ("qemu-" + tool, "theirs")):
            rc, err = run(program, *[a.replace("@", name) for a in args])
            if name == "turns":
                want, who = rc, (program, args, err)
        assert want == rc, (who, want, rc, err)

    def step(self):
        name = random.choice(["first", "second", "third"])
        choice = random.randrange(12)
        if choice < 4:
            offset = random.randrange(self.size // 512) * 512
            n = min(random.randrange(1, 400) * 512, self.size - offset)
            verb = random.choice(["write", "write -z", "write -P 7"])
            self.both("io", "-f", "qcow2", "-c", f"{verb} {offset} {n}", "@")
        elif choice < 5:
            self.size = random.randrange(1, 12 * MiB // 512) * 512
            self.both("img", "resize", "-q", "--shrink", "-f", "qcow2", "@",
                      str(self.size))
        elif choice < 7:
            g = 1 << random.randrange(9, 20)
            self.both("img", "bitmap", "--add", "-g", str(g), "@", name)
        elif choice < 8:
            self.both("img", "bitmap", "--add", "--disable", "@", name)
        elif choice < 10:
            other = random.choice(["first", "second", "third"])
            self.both("img", "bitmap", "--merge", other, "@", name)
        else:
            verb = random.choice(["remove", "clear", "enable", "disable"])
            self.both("img", "bitmap", "--" + verb, "@", name)

    def compare(self):
        turns, theirs = dump("turns"), dump("theirs")
        assert turns == theirs, (turns, theirs)
        self.must("qemu-img", "check", "-q", "-f", "qcow2", "turns")
        self.must(OURS + "/coblk-img", "check", "-q", "-f", "qcow2", "turns")

    def copy(self):
        """Copied by both, they are the same bitmaps, whatever the order."""
        for program in ("qemu-img", OURS + "/coblk-img"):
            self.must(program, "convert", "--bitmaps", "-O", "qcow2", "turns",
                      "copy")
            self.must("qemu-img", "check", "-q", "copy")
            assert sorted(dump("copy")) == sorted(dump("turns")), program


def history(seed, options):
    random.seed(f"{seed} {options}")
    h = History(options)
    for i in range(STEPS):
        h.step()
        h.compare()
        if i % 8 == 7:
            h.copy()


if __name__ == "__main__":
    if sys.argv[1] == "dump":
        print("\n".join(dump(sys.argv[2])))
    else:
        history(*sys.argv[2:])
