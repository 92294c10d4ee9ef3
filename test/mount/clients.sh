#!/bin/bash
# SPDX-License-Identifier: MIT
# 200 clients that are killed while they read and write: they die at once,
# nothing is left of them, and the mount is as fast as before.
. "$(dirname "$0")/lib.sh"

# The number of requests that wait is read from fusectl.
private_mounts || skip_all 'no mount name space of its own can be made'
mount_fusectl || skip_all 'fusectl cannot be mounted'

requires python3 python3

here=$(cd "$(dirname "$0")" && pwd)
img=$tmp/disk.img
control=$tmp/control
mkdir "$control"
head -c 64M /dev/urandom >"$img"
cp "$img" "$tmp/control.img"

for options in cache=none,aio=native,iothreads=2 cache=writeback,aio=threads
do
    start -o "$options" "$img"
    "$COBLK" mount -o "$options" "$tmp/control.img" "$control"
    adopt "$options: " timeout 150 python3 "$here/crowd.py" "$mnt" "$control"
    ok "$options: the image can be read" cmp "$img" "$mnt/disk"
    ok "$options: umount" stop
    ok "$options: umount the other" timeout 60 "$COBLK" umount "$control"
done

done_testing
