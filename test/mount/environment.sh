#!/bin/bash
# SPDX-License-Identifier: MIT
# A mount in a poor environment: few descriptors, no locked memory, no HOME, no
# folder for temporary files, closed standard streams.
. "$(dirname "$0")/lib.sh"

img=$tmp/disk.img
truncate -s 8M "$img"
printf data | dd of="$img" conv=notrunc status=none

# limited LIMIT COMMAND...: with that limit of ulimit
limited()
{
    local limit=$1
    shift
    (
        # shellcheck disable=SC2086 # a letter and a number
        ulimit $limit && "$@"
    )
}

works()
{
    is "$1: works" "$(head -c 4 "$mnt/disk")" data
    ok "$1: unmounts" stop
}

ok 'few descriptors, but more may be had' \
    limited '-Sn 40' try_start -o iothreads=16 "$img"
works 'few descriptors'

for n in 8 12 16 24; do
    limited "-n $n" try_start -o iothreads=4 "$img" 2>"$tmp/stderr"
    is "$n descriptors are too few: status" $? 1
    ok 'the last line says so' grep -q 'Too many open files' <(tail -n 1 "$tmp/stderr")
    fails 'nothing is mounted' is_mounted
done

ok 'no locked memory' limited '-l 0' try_start "$img"
works 'no locked memory'

ok 'no environment' env -i "$COBLK" mount "$img" "$mnt"
works 'no environment'

ok 'no folder for temporary files' \
    env HOME=/nowhere TMPDIR=/nowhere XDG_RUNTIME_DIR=/nowhere \
    "$COBLK" mount "$img" "$mnt"
works 'no folder for temporary files'

"$COBLK" mount "$img" "$mnt" <&- >&- 2>&-
is 'closed standard streams: status' $? 0
works 'closed standard streams'
is 'nothing was written to the image' "$(head -c 8 "$img" | tr -d '\0')" data

# -- Sizes

for bytes in 1 511 513 4095 4097 1048575; do
    head -c "$bytes" /dev/urandom >"$tmp/odd.img"
    head -c "$bytes" /dev/urandom >"$tmp/new"
    start -o format=raw "$tmp/odd.img"
    ok "$bytes bytes: reads" cmp "$mnt/disk" "$tmp/odd.img"
    ok "$bytes bytes: writes" dd if="$tmp/new" of="$mnt/disk" conv=notrunc \
        bs=64k
    ok "$bytes bytes: unmounts" stop
    ok "$bytes bytes: holds what was written" cmp "$tmp/new" "$tmp/odd.img"
done

# The largest image: a multiple of 1 GiB below 8 EiB.
huge=$(((1 << 63) - (1 << 30)))
if truncate -s "$huge" "/dev/shm/coblk-huge-$$.img" 2>/dev/null; then
    start "/dev/shm/coblk-huge-$$.img"
    is '8 EiB: size' "$(stat -c %s "$mnt/disk")" "$huge"
    ok '8 EiB: writes the end' dd if=/dev/zero of="$mnt/disk" bs=1 count=4 \
        oflag=seek_bytes seek=$((huge - 4)) conv=notrunc
    ok '8 EiB: unmounts' stop
    rm -f "/dev/shm/coblk-huge-$$.img"
else
    skip_test '8 EiB' 'no file system takes it'
fi

# -- Places

mkdir "$tmp/inside"
cp "$img" "$tmp/inside/disk.img"
ok 'an image below its own mountpoint' \
    "$COBLK" mount "$tmp/inside/disk.img" "$tmp/inside"
is 'reads' "$(head -c 4 "$tmp/inside/disk")" data
ok 'unmounts' timeout 60 "$COBLK" umount "$tmp/inside"

cp "$img" "$tmp/self"
ok 'an image that is its own mountpoint' \
    "$COBLK" mount "$tmp/self" "$tmp/self"
is 'reads' "$(head -c 4 "$tmp/self")" data
ok 'unmounts' timeout 60 "$COBLK" umount "$tmp/self"

mkdir "$tmp/over"
start "$img"
ok 'an image in a mount' "$COBLK" mount "$mnt/disk" "$tmp/over"
ok 'writes' dd if="$COBLK" of="$tmp/over/disk" bs=64k count=1 conv=notrunc,fsync
fails 'what is below is busy' stop
ok 'unmounts' timeout 60 "$COBLK" umount "$tmp/over"
ok 'and then what is below' stop
ok 'all is in the image' cmp -n 65536 "$COBLK" "$img"

for name in 'comma, and=more' $'new\nline' 'back\slash' "$(printf '%0200d' 0)"; do
    mkdir "$tmp/$name"
    cp "$img" "$tmp/$name.img"
    ok "a path with '$(printf %.20q "$name")'" \
        "$COBLK" mount "$tmp/$name.img" "$tmp/$name"
    ok 'stat finds it' "$COBLK" stat "$tmp/$name"
    ok 'unmounts' timeout 60 "$COBLK" umount "$tmp/$name"
done

done_testing
