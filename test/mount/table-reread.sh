#!/bin/bash
# SPDX-License-Identifier: MIT
# A partition table that is changed through `disk` is picked up when that is
# closed, unless a partition is open.
. "$(dirname "$0")/lib.sh"

requires sgdisk gdisk
requires jq jq

img=$tmp/disk.img
truncate -s 64M "$img"
sgdisk -n 1:2048:+4M -c 1:one -n 2:20480:+4M -c 2:two "$img" >/dev/null

# names: what the mount shows
names()
{
    (cd "$mnt" && echo p*)
}

# shellcheck disable=SC2317 # called by ok
absent()
{
    ! ls "$mnt/$1" >/dev/null 2>&1
}

start "$img"
is 'before' "$(names)" 'p1 p2'

sgdisk -n 3:40960:+1M -c 3:three "$mnt/disk" >/dev/null
is 'a partition was added' "$(names)" 'p1 p2 p3'
is '... has its size' "$(stat -c %s "$mnt/p3")" $((1 << 20))
is '... and its link' "$(readlink "$mnt/by-partlabel/three")" ../p3

ino1=$(stat -c %i "$mnt/p1")
ino2=$(stat -c %i "$mnt/p2")
sgdisk -d 2 -n 2:24576:+1M -c 2:deux "$mnt/disk" >/dev/null
is 'a partition was moved' "$(stat -c %s "$mnt/p2")" $((1 << 20))
ok '... it is another file now' test "$(stat -c %i "$mnt/p2")" != "$ino2"
ok '... the others are the same' test "$(stat -c %i "$mnt/p1")" = "$ino1"
ok '... its data is what is there' \
    cmp "$mnt/p2" <(window "$img" $((24576 * 512)) $((1 << 20)))
is '... its link has the new name' "$(cd "$mnt/by-partlabel" && echo *)" \
    'deux one three'

sgdisk -d 3 "$mnt/disk" >/dev/null
is 'a partition was removed' "$(names)" 'p1 p2'
ok '... it cannot be opened' absent p3

# -- While a partition is open

exec 3<"$mnt/p1"
sgdisk -d 2 "$mnt/disk" >/dev/null
is 'a partition is open: nothing changes' "$(names)" 'p1 p2'
ok '... and it can be read' \
    cmp <(head -c 4M <&3) <(window "$img" $((1 << 20)) $((4 << 20)))
exec 3<&-
ok 'it is closed: the change is seen' soon absent p2

exec 3<>"$mnt/disk"
sgdisk -n 2:24576:+2M "$mnt/disk" >/dev/null
is 'disk itself may be open' "$(names)" 'p1 p2'
exec 3<&-

# -- Cached data of a partition that gives way to another of its name

dd if=/dev/urandom of="$mnt/disk" bs=1M seek=30 count=2 conv=notrunc \
    status=none
cat "$mnt/p2" >/dev/null # into the page cache
sgdisk -d 2 -n 2:$((30 * 2048)):+2M "$mnt/disk" >/dev/null
ok 'no page of the old one is left' \
    cmp "$mnt/p2" <(window "$img" $((30 << 20)) $((2 << 20)))

# -- No table at all

dd if=/dev/zero of="$mnt/disk" bs=1M conv=notrunc status=none 2>/dev/null
# shellcheck disable=SC2317 # called by soon
shows_none()
{
    [ "$(names)" = 'p*' ]
}
# The kernel tells when it likes that a partition was closed.
ok 'the table was wiped' soon shows_none
stop

done_testing
