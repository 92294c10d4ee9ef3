#!/bin/bash
# SPDX-License-Identifier: MIT
# Each partition is a file, byte for byte, whatever the table; and has links.
. "$(dirname "$0")/lib.sh"

requires sgdisk gdisk
requires sfdisk fdisk
requires fdisk fdisk
requires jq jq

img=$tmp/disk.img

# noise BYTES: incompressible, so that no two places are alike.
noise()
{
    head -c "$1" /dev/urandom
}

new_image()
{
    rm -f "$img"
    noise "$1" >"$img"
}

# Says what differs between pN and what info.json says of it.
compare_partitions()
{
    local name offset bytes
    while read -r name offset bytes; do
        [ "$(stat -c %s "$mnt/$name")" = "$bytes" ] ||
            echo "$name has another size"
        window "$img" "$offset" "$bytes" | cmp - "$mnt/$name"
    done < <(info '.partitions[] | "\(.file) \(.offset) \(.bytes)"') 2>&1
}

# layout: "p1 OFFSET BYTES" for each partition, of which the tools know.
layout()
{
    info '.partitions[] | "\(.file) \(.offset) \(.bytes)"'
}

sfdisk_layout()
{
    sfdisk -J "$img" | jq -r '
        .partitiontable | (.sectorsize // 512) as $s | .partitions[] |
        select(.type != "5" and .type != "f") |
        "p\(.node | capture("img(?<n>[0-9]+)$").n) \(.start * $s) \(.size * $s)"'
}

# check WHAT NAMES: all of the above for the image as it is.
check()
{
    local what=$1 names=$2
    start "$img"
    is "$what: the partitions" "$(cd "$mnt" && echo p*)" "$names"
    is "$what: the layout is sfdisk's" "$(layout)" "$(sfdisk_layout)"
    is "$what: each byte is the image's" "$(compare_partitions)" ''
    ok "$what: disk is the image" cmp "$img" "$mnt/disk"
}

# -- GPT

new_image 32M
sgdisk -o -n 1:2048:+1M -c 1:'EFI System' -n 3:8192:+5M -c 3:root \
    -n 128:40000:40007 -c 128:tiny "$img" >/dev/null
check GPT 'p1 p128 p3'
is 'the scheme is gpt' "$(info .table.scheme)" gpt
is 'links by label' "$(cd "$mnt/by-partlabel" && readlink -- * | xargs)" \
    '../p1 ../p3 ../p128'
is 'a link with an escaped name' \
    "$(readlink "$mnt/by-partlabel/EFI\\x20System")" ../p1
uuid=$(sgdisk -i 3 "$img" | sed -n 's/.*unique GUID: //p' | tr '[:upper:]' '[:lower:]')
ok 'a link by UUID leads to the partition' \
    cmp "$mnt/by-partuuid/$uuid" "$mnt/p3"
stop

# A write to a partition ends up there and nowhere else.
cp "$img" "$tmp/want.img"
noise 1M >"$tmp/noise"
dd if="$tmp/noise" of="$tmp/want.img" conv=notrunc bs=512 seek=2048 status=none
start "$img"
ok 'dd without conv=notrunc writes a partition' \
    dd if="$tmp/noise" of="$mnt/p1" bs=64k status=none
fails 'a write that begins at the end fails' \
    dd if="$tmp/noise" of="$mnt/p1" bs=512 count=1 seek=2048 status=none
is 'a write that passes the end stops there' \
    "$(dd if="$tmp/noise" of="$mnt/p1" bs=1M oflag=seek_bytes seek=1048000 \
        conv=notrunc 2>&1 | grep -o '^[0-9]* bytes')" '576 bytes'
dd if="$tmp/noise" of="$tmp/want.img" conv=notrunc bs=576 count=1 \
    oflag=seek_bytes seek=$((1048576 + 1048000)) status=none
ok 'unmounting finds no lost write' stop
ok 'the image has what was written, and nothing else' \
    cmp "$img" "$tmp/want.img"

# -- GPT: the backup, hybrid, other sectors, odd sizes

dd if=/dev/zero of="$img" bs=512 seek=1 count=33 conv=notrunc status=none
start "$img"
is 'the backup GPT is used' "$(layout | wc -l)" 3
ok '... with a warning' test "$(info '.warnings | length')" -gt 0
is '... and each byte is the image'\''s' "$(compare_partitions)" ''
stop

new_image 32M
sgdisk -o -n 1:2048:+1M -n 2:8192:+5M -h 1 "$img" >/dev/null
start "$img"
is 'hybrid: GPT counts' "$(info .table.scheme) $(layout | wc -l)" 'gpt 2'
is 'hybrid: each byte is the image'\''s' "$(compare_partitions)" ''
stop

new_image 32M
printf '%s\n' g n 1 256 1255 n 2 1280 3279 w |
    fdisk -w always -b 4096 "$img" >/dev/null
start "$img"
is '4096-byte sectors: found' "$(info .table.sector_size)" 4096
is '4096-byte sectors: the layout' "$(layout)" "\
p1 1048576 4096000
p2 5242880 8192000"
is '4096-byte sectors: each byte is the image'\''s' "$(compare_partitions)" ''
stop

new_image 1000001
start "$img"
is 'odd size: all of it is there' "$(stat -c %s "$mnt/disk")" 1000001
ok 'odd size: the tail can be read' cmp "$img" "$mnt/disk"
printf tail | dd of="$mnt/disk" bs=1 seek=999997 conv=notrunc status=none
stop
is 'odd size: the tail can be written' "$(tail -c 4 "$img")" tail
is 'odd size: it has not grown' "$(stat -c %s "$img")" 1000001

# -- MBR

new_image 32M
sfdisk -q "$img" <<'EOF'
label: dos
label-id: 0x1234abcd
start=2048, size=2048, type=83
start=4096, size=20480, type=5
start=6144, size=1024, type=83
start=10240, size=3000, type=82
start=30000, size=500, type=83
EOF
check 'MBR with logical partitions' 'p1 p3 p5 p6'
is 'links by PARTUUID' "$(cd "$mnt/by-partuuid" && echo *)" \
    '1234abcd-01 1234abcd-03 1234abcd-05 1234abcd-06'
stop

# -- One file

new_image 32M
sgdisk -o -n 1:2048:+1M -n 2:8192:+5M "$img" >/dev/null
file=$tmp/file
: >"$file"
"$COBLK" mount -o part=2 "$img" "$file"
ok 'part=2 on a regular file' \
    cmp <(window "$img" $((8192 * 512)) $((5 << 20))) "$file"
"$COBLK" umount "$file"
"$COBLK" mount "$img" "$file"
ok 'the disk on a regular file' cmp "$img" "$file"
"$COBLK" umount "$file"
fails 'a partition that is not there' "$COBLK" mount -o part=7 "$img" "$file"

# -- Read-only

start -o ro "$img"
is 'ro: the mode' "$(stat -c %a "$mnt/p1" "$mnt" | xargs)" '400 500'
fails 'ro: no write' dd if=/dev/zero of="$mnt/p1" bs=512 count=1 status=none
ok 'ro: the data' cmp "$img" "$mnt/disk"
stop

# -- Sparse images stay sparse when copied

rm -f "$img"
truncate -s 64M "$img"
sgdisk -n 1:2048:+32M "$img" >/dev/null
echo data | dd of="$img" bs=1M seek=9 conv=notrunc status=none
start "$img"
cp --sparse=auto "$mnt/p1" "$tmp/copy"
ok 'a copy of a sparse partition has its bytes' cmp "$mnt/p1" "$tmp/copy"
ok '... and its holes' test "$(stat -c %b "$tmp/copy")" -lt 4096
stop

done_testing
