#!/bin/bash
# SPDX-License-Identifier: MIT
# The file system of a sparse image runs full: those who write are told, what
# was written stays, and when there is space again all goes on.
. "$(dirname "$0")/lib.sh"

requires python3 python3
requires jq jq
requires mkfs.ext4 e2fsprogs
[ "$(id -u)" = 0 ] || skip_all 'not root'
private_mounts || skip_all 'no mount name space of its own (unshare)'

here=$(dirname "$0")
host=$tmp/host
img=$host/disk.img
mkdir "$host"

client()
{
    adopt "$options, $1: " timeout 150 python3 "$here/full-disk.py" "$mnt" "$1"
}

# try WHERE: in $host there is little space
try()
{
    fallocate -l 3M "$host/filler"
    truncate -s 64M "$img"
    ok "$options: mount" try_start -o "$options" "$img"
    client fill
    ok "$options: no request is left" soon is_idle
    rm "$host/filler"
    client after
    ok "$options: umount: all is said" stop

    # Space that is there for `after` is used up before the next.
    dd if=/dev/zero of="$host/filler" bs=64k status=none 2>/dev/null
    dd if=/dev/zero bs=1k oflag=direct status=none 2>/dev/null \
        >>"$host/filler"
    dd if=/dev/zero bs=1k status=none >>"$host/filler" 2>/dev/null
    sync -f "$host"
    ok "$options: mount again" try_start -o "$options" "$img"
    timeout 60 python3 "$here/full-disk.py" "$mnt" lose
    stop 2>"$tmp/message"
    is "$options: umount fails when nobody was told" $? 1
    ok "$options: it says why" grep -q 'No space left' "$tmp/message"
    rm -f "$img" "$host/filler"
}

for where in memory disk; do
    if [ "$where" = memory ]; then
        mount -t tmpfs -o size=8M tmpfs "$host" || skip_all 'no tmpfs'
    else
        truncate -s 12M "$tmp/small"
        mkfs.ext4 -q -F -m 0 "$tmp/small"
        mount -o loop "$tmp/small" "$host" || {
            skip_test 'on a disk' 'no loop device'
            continue
        }
    fi
    echo "# in $where"
    for options in cache=none,aio=native cache=none,aio=threads,iothreads=2 \
        cache=writeback,aio=threads; do
        try
    done
    umount "$host"
done

done_testing
