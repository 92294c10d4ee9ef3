#!/bin/bash
# SPDX-License-Identifier: MIT
# fio writes, reads back and compares checksums: with each engine, cache mode
# and number of threads, merging or not, cached and direct, on an image in
# memory and on one on a disk.
. "$(dirname "$0")/lib.sh"

requires fio fio
requires sgdisk gdisk
requires jq jq

mib=$((1 << 20))

# A cached and a direct client, with requests that are no multiples of what
# the host can write, and one that punches holes beside the first.
cat >"$tmp/jobs.fio" <<EOF
[global]
directory=$mnt
allow_file_create=0
fallocate=none
size=4M
ioengine=libaio
iodepth=16
iodepth_batch_submit=8
rw=randwrite
bssplit=512/5:1536/10:4k/30:5632/10:12k/20:64k/15:333312/5:1M/5
randrepeat=0
verify=crc32c
verify_fatal=1

[cached]
filename=p1

[direct]
filename=p2
direct=1

[holes]
filename=p1
offset=4M
ioengine=falloc
rw=randtrim
verify=0
EOF

# shellcheck disable=SC2317 # called by ok
run_fio()
{
    timeout 150 fio --output-format=json --output="$tmp/fio.json" \
        "$tmp/jobs.fio" 2>&1
}

# fio_result EXPRESSION: of what fio wrote
fio_result()
{
    jq -r "$1" "$tmp/fio.json"
}

# try IMAGE OPTIONS
try()
{
    local img=$1 options=$2 before
    rm -f "$img"
    truncate -s 18M "$img"
    sgdisk -n 1:2048:+8M -n 2:18432:+8M "$img" >/dev/null
    head -c 16M /dev/urandom |
        dd of="$img" bs=1M seek=1 iflag=fullblock conv=notrunc status=none
    start -o "$options" "$img"
    ok "$options: fio" run_fio
    is "$options: no job failed, each wrote and read 4 MiB" \
        "$(fio_result '[.jobs[] | .error, .write.io_bytes, .read.io_bytes] |
            join(" ")')" \
        "0 $((4 * mib)) $((4 * mib)) 0 $((4 * mib)) $((4 * mib)) 0 0 0"
    ok "$options: the holes are zero" cmp -n $((4 * mib)) -i $((4 * mib)):0 \
        "$mnt/p1" /dev/zero
    ok "$options: no request is left" soon is_idle
    is "$options: no request failed" \
        "$(jq -r '[.. | .failed? // empty] | add' "$mnt/.coblk/stats.json")" 0
    case $options in
    *merge=off*)
        is "$options: nothing was merged" \
            "$(jq '[.. | .merged? // empty] | add' "$mnt/.coblk/stats.json")" 0
        ;;
    esac
    before=$(cat "$mnt/p1" "$mnt/p2" | cksum)
    ok "$options: umount" stop
    is "$options: the image has what was seen" \
        "$(window "$img" "$mib" $((16 * mib)) | cksum)" "$before"
}

# Native AIO is for direct I/O only.
modes='cache=none,aio=native
cache=none,aio=threads
cache=directsync,aio=native
cache=writeback,aio=threads
cache=writethrough,aio=threads
cache=unsafe,aio=threads'

echo '# in memory'
memory=$(mktemp -d /dev/shm/coblk-test-XXXXXX) || skip_all 'no /dev/shm'
trap 'clean_up; rm -rf "$memory"' EXIT
for mode in $modes; do
    for rest in iothreads={1,2},merge={on,off}; do
        try "$memory/disk.img" "$mode,$rest,discard=unmap"
    done
done

echo '# on disk'
for mode in $modes; do
    try "$tmp/disk.img" "$mode,iothreads=2"
done

done_testing
