#!/bin/bash
# SPDX-License-Identifier: MIT
# File systems of the kernel on a loop device on pN, and on partitions of a
# loop device on `disk`: what they write is in the image, and sound.
# shellcheck disable=SC2317 # of functions that ok calls
. "$(dirname "$0")/lib.sh"

requires sgdisk gdisk
requires losetup mount
[ "$(id -u)" = 0 ] || skip_all 'not root'
[ -e /dev/loop-control ] || skip_all 'no loop devices (modprobe loop)'

img=$tmp/disk.img
fs=$tmp/fs
mkdir "$fs"
loops=()

# What hangs on a loop device has to go before the mount below it can.
leave()
{
    local loop
    umount -R "$fs" 2>/dev/null
    for loop in "${loops[@]}"; do
        losetup -d "$loop" 2>/dev/null
    done
    clean_up
}
trap leave EXIT

# attach FILE [OPTION...]: sets $loop
attach()
{
    local file=$1
    shift
    loop=$(timeout 60 losetup -f --show "$@" "$file") || return
    loops+=("$loop")
}

# detach LOOP: waits until it is free
detach()
{
    timeout 60 losetup -d "$1" &&
        soon test ! -e "/sys/block/${1#/dev/}/loop/backing_file"
}

# fill: files of many kinds and sizes, some of them written by two at a time
fill()
{
    mkdir "$fs/many" &&
        cp -a /etc "$fs/etc" &&
        dd if=/dev/urandom of="$fs/big" bs=1M count=12 conv=fsync status=none &&
        for ((i = 0; i < 300; i++)); do
            head -c $((i * 37)) "$fs/big" >"$fs/many/$i" || return
        done &&
        { dd if="$fs/big" of="$fs/one" bs=4k oflag=direct status=none & } &&
        dd if="$fs/big" of="$fs/two" bs=64k oflag=dsync status=none &&
        wait $! &&
        rm -r "$fs/many/1"* &&
        truncate -s 1G "$fs/sparse" &&
        fallocate -p -o 4M -l 2M "$fs/one" &&
        sync -f "$fs/big"
}

sums()
{
    (cd "$fs" && find . -xdev -type f ! -name sparse -print0 | sort -z |
        xargs -0 cksum)
}

# mounts DEVICE [OPTIONS]
mounts()
{
    timeout 60 mount -o "${2:-rw}" "$1" "$fs"
}

# try NAME PARTITION CHECK MKFS...: makes a file system on a loop device on the
# partition, fills it, checks it
try()
{
    local name=$1 part=$2 check=$3 before offset size dio=0
    shift 3
    [ "$direct" = off ] || dio=1
    if ! command -v "$1" >/dev/null; then
        skip_test "$name" "no $1"
        return
    fi
    if ! grep -qw "$name" /proc/filesystems && ! modprobe -q "$name"; then
        skip_test "$name" "no $name in the kernel"
        return
    fi
    start -o "$options" "$img"
    attach "$mnt/$part" --direct-io="$direct"
    is "$name: a loop device, direct I/O" \
        "$(losetup -nO DIO "$loop" | xargs)" "$dio"
    offset=$(info ".partitions[] | select(.file == \"$part\").offset")
    ok "$name: mkfs" timeout 150 "$@" "$loop"
    ok "$name: mount" mounts "$loop"
    ok "$name: write files" fill
    before=$(sums)
    ok "$name: umount" timeout 150 umount "$fs"
    ok "$name: detach" detach "$loop"
    # shellcheck disable=SC2086 # a command
    ok "$name: $check finds nothing wrong" timeout 150 $check "$mnt/$part"
    size=$(stat -c %s "$mnt/$part")
    ok "$name: coblk umount" stop

    attach "$img" -r -o "$offset" --sizelimit "$size"
    ok "$name: mount the image without coblk" mounts "$loop" "ro,$ro"
    is "$name: the files are the same" "$(sums)" "$before"
    ok "$name: umount" timeout 150 umount "$fs"
    ok "$name: detach" detach "$loop"
}

truncate -s 640M "$img"
sgdisk -n 1:2048:+96M -n 2:0:+310M -n 3:0:+160M "$img" >/dev/null

options=rw direct=off ro=noload
try ext4 p1 'e2fsck -fn' mkfs.ext4 -q -F
options=rw direct=on ro=norecovery
try xfs p2 'xfs_repair -n' mkfs.xfs -q -f
options=cache=writeback,aio=threads,iothreads=2 direct=off ro=rescue=nologreplay
try btrfs p3 'btrfs check --readonly' mkfs.btrfs -q -f

# -- Partitions of a loop device on `disk`

start "$img"
attach "$mnt/disk" -P
partition=/sys/block/${loop#/dev/}/${loop#/dev/}p1
if patience=5 soon test -e "$partition"; then
    IFS=: read -r major minor <"$partition/dev"
    mknod "$tmp/partition" b "$major" "$minor"
    ok 'disk: mount a partition of a loop device' mounts "$tmp/partition"
    ok 'disk: its files' cmp "$fs/two" "$fs/big"
    ok 'disk: write' cp "$fs/big" "$fs/three"
    ok 'disk: umount' timeout 150 umount "$fs"
    ok 'disk: detach' detach "$loop"
    ok 'disk: e2fsck finds nothing wrong on p1' e2fsck -fn "$mnt/p1"
else
    skip_test 'disk: partitions' 'the kernel does not look for partitions'
    detach "$loop"
fi
ok 'disk: coblk umount' stop

done_testing
