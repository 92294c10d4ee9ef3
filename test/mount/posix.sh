#!/bin/bash
# SPDX-License-Identifier: MIT
# Each system call on the files of a mount does what its manual page says, or
# fails with the error that fits; posix.py has the checks.
. "$(dirname "$0")/lib.sh"

requires sgdisk gdisk
requires python3 python3

here=$(dirname "$0")
img=$tmp/disk.img

# A disk of 6 GiB with p1 of 16 MiB and p2 of 8 MiB, all holes.
new_image()
{
    rm -f "$img"
    truncate -s 6G "$img"
    sgdisk -n 1:2048:+16M -c 1:one -n 2:40960:+8M -c 2:two "$img" >/dev/null
}

# try OPTIONS GROUP...: the groups of posix.py on a mount with OPTIONS
try()
{
    local options=$1 group
    shift
    new_image
    ok "mount -o $options" try_start -o "$options" "$img"
    for group; do
        adopt "$options, $group: " \
            timeout 150 python3 "$here/posix.py" "$group" "$mnt" "$img"
    done
    ok 'umount' stop
}

try rw seek open data allocate copy names
try rw attributes
try direct_io,iothreads=2 seek open data allocate copy names
try cache=writeback,aio=threads seek open data allocate copy names
try ro readonly

if [ "$(id -u)" = 0 ]; then
    chmod 711 "$tmp"
    try rw private
    try allow_other,mode=0644,uid=1234,gid=4321 shared
else
    skip_test 'other users' 'not root'
fi

done_testing
