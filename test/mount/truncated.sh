#!/bin/bash
# SPDX-License-Identifier: MIT
# Somebody else cuts the image short, or removes it, while it is mounted: what
# is missing reads as zeroes, a write brings it back, and nobody hangs.
. "$(dirname "$0")/lib.sh"

requires python3 python3
requires jq jq

img=$tmp/disk.img
mib=$((1 << 20))

# read_at MIB [FLAG]: one MiB of the disk from there
read_at()
{
    timeout 60 dd if="$mnt/disk" bs=1M skip="$1" count=1 status=none \
        ${2:+iflag="$2",fullblock}
}

# is_zero FILE
# shellcheck disable=SC2317 # called by ok
is_zero()
{
    cmp -n "$mib" "$1" /dev/zero
}

for options in cache=none,aio=native cache=writeback,aio=threads,iothreads=2
do
    rm -f "$img"
    head -c 16M /dev/urandom >"$img"
    cp "$img" "$tmp/whole"
    start -o "$options" "$img"
    read_at 2 >/dev/null
    truncate -s $((4 * mib + 1000)) "$img"

    ok "$options: what is left" cmp -n $((4 * mib)) "$mnt/disk" "$tmp/whole"
    ok "$options: what is missing, cached" is_zero <(read_at 8)
    ok "$options: what is missing, direct" is_zero <(read_at 9 direct)
    ok "$options: the end amid a request" \
        cmp <(read_at 4 direct) \
        <(window "$tmp/whole" $((4 * mib)) 1000; head -c $((mib - 1000)) /dev/zero)
    is "$options: the size that was mounted" "$(stat -c %s "$mnt/disk")" \
        $((16 * mib))
    at=10
    for flags in direct ''; do
        ok "$options: a write ${flags:-cached}" timeout 60 dd if="$tmp/whole" \
            of="$mnt/disk" bs=1M count=1 seek="$at" conv=notrunc,fsync \
            status=none ${flags:+oflag="$flags"}
        ok "$options: ... is read back" \
            cmp <(read_at "$at" direct) <(head -c 1M "$tmp/whole")
        ok "$options: ... and in the image" cmp -n "$mib" "$tmp/whole" \
            -i 0:$((at * mib)) "$img"
        at=$((at + 1))
    done
    ok "$options: a write that is not aligned" python3 -c '
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
assert os.pwrite(fd, b"x" * 777, (13 << 20) - 100) == 777
assert os.pread(fd, 779, (13 << 20) - 101) == b"\0" + b"x" * 777 + b"\0"
' "$mnt/disk"

    truncate -s 0 "$img"
    ok "$options: an empty image reads as zeroes" is_zero <(read_at 0 direct)
    ok "$options: ... can be written" timeout 60 dd if="$tmp/whole" \
        of="$mnt/disk" bs=1M conv=notrunc,fsync oflag=direct status=none
    ok "$options: ... all of it" cmp "$img" "$tmp/whole"

    (
        # While requests are under way.
        for ((i = 0; i < 40; i++)); do
            truncate -s $((i % 7 * mib + i)) "$img"
            sleep 0.02
        done
    ) &
    ok "$options: writes while it is cut again and again" \
        timeout 150 dd if="$tmp/whole" of="$mnt/disk" bs=64k conv=notrunc \
        oflag=direct status=none
    ok "$options: reads, too" timeout 150 dd if="$mnt/disk" of=/dev/null \
        bs=256k iflag=direct status=none
    wait $!
    rm "$img"
    ok "$options: it was removed: a write" timeout 60 dd if="$tmp/whole" \
        of="$mnt/disk" bs=1M conv=notrunc,fsync status=none
    ok "$options: ... can be read" cmp "$mnt/disk" "$tmp/whole"
    ok "$options: no request is left" soon is_idle
    is "$options: no request failed" \
        "$(jq -r '[.. | .failed? // empty] | add' "$mnt/.coblk/stats.json")" 0
    ok "$options: umount" stop
done

# -- A device whose end is missing fails instead

if [ "$(id -u)" = 0 ] && [ -e /dev/loop-control ]; then
    cp "$tmp/whole" "$img"
    loop=$(losetup -f --show "$img")
    trap 'losetup -d "$loop"; clean_up' EXIT
    start "$loop"
    truncate -s $((4 * mib)) "$img"
    ok 'a device: what is left' \
        cmp <(read_at 3 direct) <(window "$tmp/whole" $((3 * mib)) "$mib")
    fails 'a device: a read of what is missing fails' read_at 8 direct
    ok 'a device: others do not' \
        cmp <(read_at 2 direct) <(window "$tmp/whole" $((2 * mib)) "$mib")
    ok 'a device: umount' stop
else
    skip_test 'a device' 'not root, or no loop devices'
fi

done_testing
