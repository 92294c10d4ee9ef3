#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Turns disk images into inputs of the fuzz targets that read a disk, and back.

  disk.py pack [--hint 0|512|4096] [--flags N] IMAGE INPUT
  disk.py unpack INPUT IMAGE
  disk.py list INPUT

An input holds the runs of an image that are not zero; see disk.h.
"""
import argparse
import struct
import sys

SECTOR = 512
FROM_END = 1 << 31
HINTS = [0, 512, 4096]
MAX_INPUT = 64 * 1024


def runs(block, gap=12):
    """Yields (start, end) of what is not zero, over zeroes shorter than gap."""
    start = end = None
    for i, byte in enumerate(block):
        if not byte:
            continue
        if start is not None and i - end > gap:
            yield start, end
            start = None
        if start is None:
            start = i
        end = i + 1
    if start is not None:
        yield start, end


def pack(image, hint, flags):
    image.seek(0, 2)
    size = image.tell()
    sectors = size // SECTOR
    out = [struct.pack("<IBBBB", sectors, size % SECTOR, HINTS.index(hint),
                       flags, 0)]
    image.seek(0)
    for lba in range(sectors):
        block = image.read(SECTOR)
        if not any(block):
            continue
        where = lba if lba < sectors // 2 else FROM_END | (sectors - lba)
        for start, end in runs(block):
            out.append(struct.pack("<IHH", where, start, end - start))
            out.append(block[start:end])
    data = b"".join(out)
    if len(data) > MAX_INPUT:
        sys.exit("more than 64 KiB of the image are not zero: use one without "
                 "file systems")
    return data


def patches(data):
    sectors = struct.unpack_from("<I", data)[0]
    at = 8
    while at + 8 < len(data):
        lba, offset, n = struct.unpack_from("<IHH", data, at)
        if lba & FROM_END:
            lba = sectors - (lba & ~FROM_END)
        yield lba * SECTOR + offset, data[at + 8:at + 8 + n]
        at += 8 + n


def unpack(data, image):
    sectors, tail = struct.unpack_from("<IB", data)
    size = sectors * SECTOR + tail
    image.truncate(size)
    for offset, patch in patches(data):
        skip = max(0, -offset)
        patch = patch[skip:max(skip, size - offset)]
        image.seek(offset + skip)
        image.write(patch)


def show(data):
    sectors, tail, hint, flags, bad_read = struct.unpack_from("<IBBBB", data)
    print(f"size {sectors * SECTOR + tail}, hint {HINTS[hint % 3]}, "
          f"flags {flags:#x}, bad read {bad_read}")
    for offset, patch in patches(data):
        print(f"{offset:#x}: {patch.hex(' ', 4)}")


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("pack")
    verb.add_argument("--hint", type=int, choices=HINTS, default=0)
    verb.add_argument("--flags", type=int, default=0)
    verb.add_argument("image", type=argparse.FileType("rb"))
    verb.add_argument("input", type=argparse.FileType("wb"))
    verb = verbs.add_parser("unpack")
    verb.add_argument("input", type=argparse.FileType("rb"))
    verb.add_argument("image", type=argparse.FileType("wb"))
    verb = verbs.add_parser("list")
    verb.add_argument("input", type=argparse.FileType("rb"))
    args = parser.parse_args()

    if args.verb == "pack":
        args.input.write(pack(args.image, args.hint, args.flags))
    elif args.verb == "unpack":
        unpack(args.input.read(), args.image)
    else:
        show(args.input.read())


if __name__ == "__main__":
    main()
