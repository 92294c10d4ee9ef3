#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Change a GPT (512-byte sectors) so that its checksums stay right.

usage: gpt-edit.py IMAGE [count=N] [ENTRY:FIRST:LAST]...

count=N     claim N entries; their checksum cannot be kept
E:F:L       entry E (from 1) spans the sectors F to L, whatever that is
"""
import struct
import sys
import zlib

SECTOR = 512


def edit(image, lba, arguments):
    image.seek(lba * SECTOR)
    header = bytearray(image.read(92))
    entries_lba, count, size = struct.unpack_from('<QII', header, 72)
    image.seek(entries_lba * SECTOR)
    entries = bytearray(image.read(count * size))
    for argument in arguments:
        if argument.startswith('count='):
            struct.pack_into('<I', header, 80, int(argument[6:]))
        else:
            entry, first, last = map(int, argument.split(':'))
            at = (entry - 1) * size
            entries[at:at + 16] = b'\x11' * 16
            struct.pack_into('<QQ', entries, at + 32, first, last)
    struct.pack_into('<I', header, 88, zlib.crc32(entries))
    struct.pack_into('<I', header, 16, 0)
    struct.pack_into('<I', header, 16, zlib.crc32(header))
    image.seek(entries_lba * SECTOR)
    image.write(entries)
    image.seek(lba * SECTOR)
    image.write(header)


def main(path, arguments):
    with open(path, 'r+b') as image:
        image.seek(0, 2)
        last = image.tell() // SECTOR - 1
        for lba in 1, last:
            edit(image, lba, arguments)


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2:])
