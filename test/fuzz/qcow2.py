#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the inputs that fuzz-qcow2 begins with: small images, and what one
would try first to break who reads them.

  qcow2.py COBLK DIRECTORY

COBLK is the program, which makes the images; each input goes into DIRECTORY
under the first digits of its checksum.
"""
import hashlib
import os
import struct
import subprocess
import sys
import tempfile

import disk

BACKING, UNMAP, COMPRESS, LAZY, AT_END = (1 << i for i in range(5))

# Options to create with, size, flags of the target, commands of `coblk io`;
# "snapshot NAME" in between takes one.
IMAGES = {
    "empty": ("cluster_size=512", "1M", 0, []),
    "old": ("compat=0.10,cluster_size=512", "64k", COMPRESS,
            ["write -P 1 0 9", "write -P 2 9k 8", "write -c -P 3 16k 512"]),
    "large": ("cluster_size=2M", "8G", 0, ["write -P 1 4G 16"]),
    "huge": ("cluster_size=64k", "1T", AT_END, ["write -P 9 1099511627264 10"]),
    "data": ("cluster_size=512", "100k", UNMAP,
             ["write -P 1 500 24", "write -z 4k 2k", "write -P 5 50k 70",
              "discard 512 512"]),
    "bits1": ("cluster_size=1k,refcount_bits=1", "64k", 0,
              ["write -P 1 4090 16"]),
    "bits64": ("cluster_size=512,refcount_bits=64", "64k", 0,
               ["write -P 1 4090 16", "snapshot s", "write -P 2 4090 9"]),
    "zlib": ("cluster_size=4k", "64k", COMPRESS,
             ["write -c -P 1 0 4k", "write -c -P 2 4k 4k",
              "write -c -P 3 32k 4k", "write -P 4 32k 10"]),
    "zstd": ("cluster_size=4k,compression_type=zstd", "64k", COMPRESS,
             ["write -c -P 1 0 4k", "write -c -P 2 8k 4k"]),
    "extended": ("cluster_size=16k,extended_l2=on", "256k", COMPRESS | UNMAP,
                 ["write -P 1 0 50", "write -P 2 1k 70", "write -z 20k 3k",
                  "write -c -P 3 32k 16k"]),
    "snapshots": ("cluster_size=512", "64k", UNMAP,
                  ["write -P 1 0 16", "write -P 1 1k 16", "snapshot one",
                   "write -P 2 1k 16", "write -P 2 2k 16", "snapshot two",
                   "write -P 3 60k 16"]),
    "lazy": ("cluster_size=512,lazy_refcounts=on", "64k", LAZY,
             ["write -P 1 0 12"]),
    "backed": ("cluster_size=1k", "48k", BACKING,
               ["write -P 1 10k 10", "write -z 30k 1k"]),
    "full": ("cluster_size=512,preallocation=metadata", "64k", UNMAP, []),
    "external": ("cluster_size=4k,data_file=data", "64k", 0,
                 ["write -P 1 4k 5"]),
    "rawdata": ("cluster_size=4k,data_file=data,data_file_raw=on", "64k", 0,
                ["write -P 1 4k 5"]),
}

FAR = [0, 1, 0x200, 0x10000, 1 << 55, (1 << 56) - 512, 1 << 62,
       (1 << 63) - 512, 1 << 63, (1 << 64) - 1]
HEADER = {  # offset, format, values
    "version": (4, ">I", [1, 2, 4]),
    "backing": (8, ">Q", [104, 400, 1 << 63]),
    "backing_bytes": (16, ">I", [1, 1023, 0xffffffff]),
    "cluster_bits": (20, ">I", [8, 10, 16, 21, 22, 63]),
    "size": (24, ">Q", [0, 1, 1000, 1 << 40, 1 << 62, 1 << 63]),
    "crypt": (32, ">I", [1, 2, 3]),
    "l1_entries": (36, ">I", [0, 1, 1 << 16, 1 << 22, (1 << 22) + 1, (1 << 32) - 1]),
    "l1": (40, ">Q", FAR),
    "reftable": (48, ">Q", FAR),
    "reftable_clusters": (56, ">I", [0, 2, 1 << 14, (1 << 14) + 1]),
    "n_snapshots": (60, ">I", [0, 1, 3, 65536, 65537, (1 << 32) - 1]),
    "snapshots": (64, ">Q", FAR),
    "incompatible": (72, ">Q", [1, 2, 4, 8, 16, 32, 1 << 63]),
    "autoclear": (88, ">Q", [1, 2, 1 << 63]),
    "order": (96, ">I", [0, 3, 6, 7]),
    "length": (100, ">I", [0, 72, 105, 512, 1 << 31]),
}


def tables(image):
    """Where tables of an image with 512-byte clusters are."""
    l1, reftable = struct.unpack_from(">QQ", image, 40)
    snapshots = struct.unpack_from(">Q", image, 64)[0]
    l2 = struct.unpack_from(">Q", image, l1)[0] & ((1 << 56) - 512)
    block = struct.unpack_from(">Q", image, reftable)[0]
    return l1, l2, reftable, block, snapshots


def damages(image):
    """Yields what to put where: in tables, then in the header."""
    l1, l2, reftable, block, snapshots = tables(image)
    copied = 1 << 63
    for at in l1, l1 + 8, l2, l2 + 16, reftable, reftable + 8:
        for host in l1, l2, reftable, block, 0, 512, 1 << 55, (1 << 56) - 512:
            yield at, struct.pack(">Q", host | copied)
        yield at, struct.pack(">Q", (1 << 64) - 1)
        yield at, struct.pack(">Q", (1 << 62) | (len(image) - 8))
    yield l2, struct.pack(">Q", (1 << 62) | (len(image) + 4096))
    for at in 0, 8, 12, 14, 32, 36, 40, 48:
        for value in 0x10000000, 0xffffffff, 0xffff0000:
            yield snapshots + at, struct.pack(">I", value)
    for at in range(4):
        yield block + 2 * at, struct.pack(">H", 0)
        yield block + 2 * at, struct.pack(">H", 7)
    for at, form, values in HEADER.values():
        for value in values:
            yield at, struct.pack(form, value)


def crowd(image, n=600):
    """Makes @n snapshots whose L1 tables are as large as they can be, none in
    the file: together far more clusters than memory has room for."""
    l1_bytes = 32 << 20
    struct.pack_into(">IQ", image, 60, n, len(image))
    for i in range(n):
        image += struct.pack(">QIHHIIQII", (1 + i) * l1_bytes, l1_bytes // 8,
                             1, 1, 1, 1, 1, 1, 16)
        image += struct.pack(">QQ2s6x", 1, 64 << 10, b"%ds" % (i % 10))
    return image


class Maker:
    def __init__(self, program, where):
        self.program = program
        self.where = where

    def run(self, *args):
        subprocess.run([self.program, *args], check=True,
                       stdout=subprocess.DEVNULL)

    def image(self, name, how):
        options, size, _, commands = how
        self.run("create", "-q", "-f", "qcow2", "-o", options, name, size)
        for command in commands:
            if command.startswith("snapshot "):
                self.run("snapshot", "-c", command.split()[1], name)
            else:
                self.run("io", "-f", "qcow2", "-c", command, name)
        with open(name, "rb") as f:
            return bytearray(f.read())

    def keep(self, image, flags):
        with tempfile.TemporaryFile() as f:
            f.write(image)
            f.write(bytes(-len(image) % disk.SECTOR))
            data = disk.pack(f, 0, flags)
        name = hashlib.sha1(data).hexdigest()[:12]
        with open(os.path.join(self.where, name), "wb") as f:
            f.write(data)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    maker = Maker(*map(os.path.abspath, sys.argv[1:]))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        made = {name: maker.image(name, how) for name, how in IMAGES.items()}
    for name, image in made.items():
        maker.keep(image, IMAGES[name][2])
    maker.keep(crowd(made["old"]), COMPRESS)
    for at, value in damages(made["snapshots"]):
        broken = bytearray(made["snapshots"])
        broken[at:at + len(value)] = value
        maker.keep(broken, COMPRESS | UNMAP)


if __name__ == "__main__":
    main()
