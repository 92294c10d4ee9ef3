#!/bin/bash
# SPDX-License-Identifier: MIT
# Shared mappings are coherent with read and write, of cached and of direct
# files, and what they change reaches the image.
. "$(dirname "$0")/lib.sh"

requires sgdisk gdisk
requires python3 python3
requires fio fio

here=$(dirname "$0")
img=$tmp/disk.img

# Kernels before 6.6 do not map files shared whose I/O is direct.
IFS=.- read -r major minor _ < <(uname -r)
if [ $((major * 1000 + minor)) -lt 6006 ]; then
    skip_all 'no shared mappings of direct files before Linux 6.6'
fi

for options in rw direct_io direct_io,iothreads=2 cache=writeback,aio=threads
do
    rm -f "$img"
    truncate -s 18M "$img"
    sgdisk -n 1:2048:+8M -n 2:18432:+7M "$img" >/dev/null
    start -o "$options" "$img"
    adopt "$options: " timeout 150 python3 "$here/mapping.py" "$mnt" "$img"
    ok "$options: fio maps, writes, verifies" \
        timeout 150 fio --name=map --filename="$mnt/p2" --ioengine=mmap \
        --rw=randwrite --size=7M --io_size=3M --bs=4k --verify=crc32c \
        --fsync=100 --allow_file_create=0 --fallocate=none
    before=$(cksum <"$mnt/p2")
    ok "$options: umount" stop
    is "$options: the image has what was mapped" \
        "$(window "$img" $((9 << 20)) $((7 << 20)) | cksum)" "$before"
done

done_testing
