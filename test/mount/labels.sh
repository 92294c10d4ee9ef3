#!/bin/bash
# SPDX-License-Identifier: MIT
# by-label and by-uuid lead to what libblkid finds in each partition.
. "$(dirname "$0")/lib.sh"

requires sgdisk gdisk
requires jq jq
requires blkid util-linux

img=$tmp/disk.img
fs=$tmp/fs

# try WHAT PROGRAM SIZE COMMAND...: makes a file system of SIZE in $fs with
# COMMAND, puts it into a partition, and compares with what blkid(8) says.
try()
{
    local what=$1 program=$2 size=$3 label uuid type
    shift 3
    if ! command -v "$program" >/dev/null; then
        skip_test "$what" "no $program"
        return
    fi
    rm -f "$img" "$fs"
    truncate -s "$size" "$fs"
    "$@" "$fs" >/dev/null 2>&1
    label=$(blkid -p -o value -s LABEL "$fs")
    uuid=$(blkid -p -o value -s UUID "$fs")
    type=$(blkid -p -o value -s TYPE "$fs")
    truncate -s "$(($(stat -c %s "$fs") + (4 << 20)))" "$img"
    sgdisk -n "1:2048:+$(($(stat -c %s "$fs") / 1024))K" "$img" >/dev/null
    dd if="$fs" of="$img" bs=1M seek=1 conv=notrunc,sparse status=none
    start "$img"
    is "$what: type, label, UUID" \
        "$(info '.partitions[0].content | "\(.type) \(.label) \(.uuid)"')" \
        "$type $label $uuid"
    is "$what: by-label" "$(cd "$mnt/by-label" && readlink -- *)" ../p1
    ok "$what: by-uuid" test "$mnt/by-uuid/$uuid" -ef "$mnt/p1"
    stop
}

try ext4 mkfs.ext4 32M mkfs.ext4 -q -L 'ext 4'
try 'FAT with a label far from the start' mkfs.vfat 1G \
    mkfs.vfat -F 32 -s 1 -n FARAWAY
try FAT16 mkfs.vfat 16M mkfs.vfat -n SIXTEEN
try swap mkswap 16M mkswap -L swapped
try btrfs mkfs.btrfs 160M mkfs.btrfs -q -L 'b tree'
try XFS mkfs.xfs 320M mkfs.xfs -q -L ecks
try exFAT mkfs.exfat 64M mkfs.exfat -L exfat
try NTFS mkfs.ntfs 64M mkfs.ntfs -F -q -L windows

# -- A new file system, made through the mount

rm -f "$img"
truncate -s 40M "$img"
sgdisk -n 1:2048:+32M "$img" >/dev/null
start "$img"
ok 'nothing is in the partition, so there is no by-label' \
    test ! -e "$mnt/by-label"
if command -v mkfs.ext4 >/dev/null; then
    mkfs.ext4 -q -F -L first "$mnt/p1"
    is 'mkfs on pN brings a label' "$(readlink "$mnt/by-label/first")" ../p1
    ok '... in a listing, too' grep -q by-label <(ls "$mnt")
    tune2fs -L second "$mnt/p1" >/dev/null
    is 'a changed label' "$(cd "$mnt/by-label" && echo *)" second
    ok 'fsck finds nothing wrong' e2fsck -fn "$mnt/p1"
else
    skip_test 'mkfs on pN' 'no mkfs.ext4'
fi
stop

# -- A file system on the disk itself

rm -f "$img"
truncate -s 16M "$img"
mkswap -q -L whole "$img" >/dev/null
start "$img"
is 'a disk without partitions' "$(readlink "$mnt/by-label/whole")" ../disk
stop

done_testing
