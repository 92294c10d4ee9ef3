#!/bin/bash
# SPDX-License-Identifier: MIT
# The disk has bad places: whose request meets one is told, nobody else, and
# umount tells what nobody was told.  bad-disk is that disk.
. "$(dirname "$0")/lib.sh"

# The number of requests that wait is read from fusectl.
private_mounts || skip_all 'no mount name space of its own can be made'
mount_fusectl || skip_all 'fusectl cannot be mounted'

requires nbdkit nbdkit
requires nbdfuse libnbd-bin
requires python3 python3

here=$(cd "$(dirname "$0")" && pwd)
img=$tmp/nbd/nbd
export DISK=$tmp/data BAD=$tmp/bad

mkdir "$BAD" "$tmp/nbd"
truncate -s 4M "$DISK"
nbdfuse "$tmp/nbd" --command nbdkit -s --exit-with-parent sh \
    "$here/bad-disk" >"$tmp/nbd.log" 2>&1 &
soon test -e "$img" || skip_all "nbdfuse does not mount: $(<"$tmp/nbd.log")"

client()
{
    adopt "$options: " timeout 150 python3 "$here/bad-disk.py" "$mnt" "$DISK" \
        "$BAD" "$1"
}

# lost WHAT: umount fails, with the reason
lost()
{
    stop 2>"$tmp/message"
    is "$options: $1: umount fails" $? 1
    ok "$options: ... and says why" grep -q 'Input/output error' \
        "$tmp/message"
    rm -f "$BAD"/*
}

for options in aio=native,iothreads=1 aio=threads,iothreads=1; do
    start -o "$options" "$img"
    client merged
    client single
    client flush
    ok "$options: umount: all has been said" stop
    start -o "$options" "$img"
    client lose
    lost 'a lost write'
    start -o "$options" "$img"
    client flush_fails
    lost 'a failed flush'
done

# What the host's page cache has lost stays lost.
options=cache=writeback,aio=threads
start -o "$options" "$img"
client flush_fails
fails "$options: fsync" sync "$mnt/disk"
rm "$BAD/flush"
fails "$options: no later fsync says that all is well" sync "$mnt/disk"
lost 'a failed flush'

soon fusermount3 -u "$tmp/nbd"
wait
done_testing
