#!/bin/bash
# SPDX-License-Identifier: MIT
# Mounted qcow2 images: what was written is there, also after the daemon was
# killed; others keep off; what must not be written to is not; block devices
# that are too small or have large sectors.
. "$(dirname "$0")/lib.sh"

requires fio fio
requires jq jq

mib=$((1 << 20))
img=$tmp/disk.qcow2

# create OPTIONS SIZE
create()
{
    rm -f "$img"
    "$COBLK" create -q -f qcow2 -o "$1" "$img" "$2"
}

# No errors; leaks are what a crash may leave.
# shellcheck disable=SC2317 # called by ok
consistent()
{
    "$COBLK" check "$1" || [ $? = 3 ]
}

# put BYTE FIRST COUNT FILE: that many blocks of 4 KiB, durable
put()
{
    head -c "$(($3 * 4096))" /dev/zero | tr '\0' "$1" |
        dd of="$4" bs=64k iflag=fullblock oflag=direct,seek_bytes \
            seek="$(($2 * 4096))" conv=notrunc,fsync status=none
}

# has BYTE FIRST COUNT FILE
# shellcheck disable=SC2317 # called by ok
has()
{
    dd if="$4" bs=4096 skip="$2" count="$3" status=none |
        cmp - <(head -c "$(($3 * 4096))" /dev/zero | tr '\0' "$1")
}

# shellcheck disable=SC2317 # called by ok
kill_daemon()
{
    local pid
    pid=$(timeout 60 jq .pid "$mnt/.coblk/info.json") && kill -KILL "$pid" &&
        soon gone "$pid"
}

# -- Many at once

# shellcheck disable=SC2317 # called by ok
run_fio()
{
    timeout 150 fio --output-format=json --output="$tmp/fio.json" "$1" 2>&1
}

cat >"$tmp/jobs.fio" <<EOF
[global]
filename=$mnt/disk
allow_file_create=0
fallocate=none
ioengine=libaio
iodepth=16
iodepth_batch_submit=8
rw=randwrite
bssplit=512/5:1536/10:4k/30:5632/10:12k/20:64k/15:333312/10
randrepeat=0

[direct]
size=4M
direct=1
verify=crc32c
verify_fatal=1

[cached]
offset=4M
size=4M
fsync=50
verify=crc32c
verify_fatal=1

[holes]
offset=8M
size=4M
ioengine=falloc
rw=randtrim

[flushes]
offset=12M
size=512k
fdatasync=1
EOF

head -c 6M /dev/urandom >"$tmp/base.raw"
while read -r kind options; do
    create "$kind" 16M
    start -o "iothreads=2,discard=unmap,$options" "$img"
    ok "$kind: fio" run_fio "$tmp/jobs.fio"
    is "$kind: no job failed" \
        "$(jq '[.jobs[].error] | add' "$tmp/fio.json")" 0
    before=$(cksum <"$mnt/disk")
    ok "$kind: umount" stop
    ok "$kind: consistent, and nothing leaks" "$COBLK" check "$img"
    is "$kind: the image has what was seen" \
        "$("$COBLK" convert -O raw "$img" "$tmp/out.raw" &&
            cksum <"$tmp/out.raw")" "$before"
done <<EOF
compat=1.1 merge=on
cluster_size=512,refcount_bits=1 merge=off
cluster_size=4k,lazy_refcounts=on cache=writeback
extended_l2=on,backing_file=base.raw,backing_fmt=raw detect-zeroes=unmap
compat=0.10,backing_file=base.raw,backing_fmt=raw merge=on
EOF

# -- What is durable

for kind in compat=1.1 cluster_size=512 lazy_refcounts=on; do
    create "$kind" 64M
    start "$img"
    put a 0 200 "$mnt/disk"
    put b 8000 200 "$mnt/disk"
    put c 100 50 "$mnt/disk"
    ok "$kind: killed" kill_daemon
    timeout 60 fusermount3 -uz "$mnt"
    case $kind in
    lazy*)
        before=$(cksum <"$img")
        start -o ro "$img"
        ok "$kind: read-only, it has what was flushed" has b 8000 200 "$mnt/disk"
        stop
        is "$kind: which did not change it" "$(cksum <"$img")" "$before"
        ;;
    *)
        ok "$kind: no errors" consistent "$img"
        ;;
    esac
    start "$img" 2>"$tmp/err" # what was repaired
    ok "$kind: all that was flushed is there" has a 0 100 "$mnt/disk"
    ok "$kind: and what came later" has c 100 50 "$mnt/disk"
    ok "$kind: and elsewhere" has b 8000 200 "$mnt/disk"
    put d 3000 10 "$mnt/disk"
    stop
    ok "$kind: consistent after another mount" consistent "$img"
done

# -- Others

create compat=1.1 16M
"$COBLK" snapshot -c before "$img"
start "$img"
put a 0 16 "$mnt/disk"
pid=$(jq .pid "$mnt/.coblk/info.json")

# refused COMMAND...: it names who has the image
refused()
{
    is "$1 $2: refused, and names the mount" \
        "$("$COBLK" "$@" 2>&1 | grep -c "pid $pid (coblk")" 1
}

refused snapshot -c other "$img"
refused snapshot -a before "$img"
refused snapshot -d before "$img"
refused resize "$img" +1M
refused check -r all "$img"
refused amend -o lazy_refcounts=on "$img"
refused rebase -u -b '' "$img"
refused info "$img"
before=$(cksum <"$img")
ok 'info -U: what is in it' "$COBLK" info -U "$img"
ok 'map -U' "$COBLK" map -U "$img"
ok 'convert -U' "$COBLK" convert -U -O raw "$img" "$tmp/out.raw"
ok 'convert -U: has what was flushed' has a 0 16 "$tmp/out.raw"
is 'which did not change it' "$(cksum <"$img")" "$before"
stop
ok 'consistent' "$COBLK" check "$img"

# -- What is marked corrupt

printf '\2' | dd of="$img" bs=1 seek=79 conv=notrunc status=none
before=$(cksum <"$img")
is 'corrupt: refused for writing, and tells what to do' \
    "$(try_start "$img" 2>&1 | grep -c "is marked corrupt.*check -r all")" 1
start -o ro "$img"
ok 'corrupt: can be read' has a 0 16 "$mnt/disk"
stop
is 'corrupt: did not change' "$(cksum <"$img")" "$before"

# -- An image in an image

create compat=1.1 64M
start "$img"
inner=$mnt/disk
"$COBLK" create -q -f qcow2 -o cluster_size=4k "$tmp/inner" 32M
dd if="$tmp/inner" of="$inner" bs=64k conv=notrunc,fsync status=none
"$COBLK" io -f qcow2 -c 'write -P 97 0 1M' -c 'write -P 98 20M 1M' \
    -c 'discard 512k 4k' "$inner" >"$tmp/out" 2>&1
is 'inside: written' "$(grep -c '^wrote' "$tmp/out")" 2
ok 'inside: consistent' "$COBLK" check -f qcow2 "$inner"
mkdir "$tmp/mnt2"
ok 'inside: mounted' "$COBLK" mount -o format=qcow2 "$inner" "$tmp/mnt2"
put c 1000 100 "$tmp/mnt2/disk"
ok 'inside: read' has b 5120 256 "$tmp/mnt2/disk"
timeout 150 "$COBLK" umount "$tmp/mnt2"
ok 'inside: consistent after a mount' "$COBLK" check -f qcow2 "$inner"
stop
ok 'outside: consistent' "$COBLK" check "$img"

# -- Block devices

loop=
rm -f "$img"
truncate -s 8M "$img"
if [ "$(id -u)" = 0 ]; then
    loop=$(losetup --find --show --sector-size 4096 "$img" 2>/dev/null)
fi
if [ -z "$loop" ]; then
    skip_test 'on a block device' 'no loop device'
    done_testing
    exit
fi
trap 'clean_up; losetup -d "$loop"' EXIT

# fill: blocks from 1024 on until there is no room; prints how many
fill()
{
    local n=0
    while put e "$((1024 + n))" 16 "$mnt/disk" 2>"$tmp/err"; do
        n=$((n + 16))
    done
    if grep -q 'No space left' "$tmp/err"; then
        echo "$n"
    else
        cat "$tmp/err" >&2
    fi
}

for kind in cluster_size=512,refcount_bits=64 compat=1.1; do
    "$COBLK" create -q -f qcow2 -o "$kind,preallocation=metadata" "$loop" \
        64M 2>"$tmp/err"
    ok "device, $kind: a preallocation that has no room says so" \
        grep -q 'No space left' "$tmp/err"
    ok "device, $kind: and leaves nothing" "$COBLK" check "$loop"
    "$COBLK" create -q -f qcow2 -o "$kind" "$loop" 64M
    start -o discard=unmap "$loop"
    put a 0 16 "$mnt/disk"
    n=$(fill)
    ok "device, $kind: is full in the end, not before" test "${n:-0}" -gt 1500
    fails "device, $kind: stays so" put f 8000 16 "$mnt/disk"
    ok "device, $kind: what is there can be written" put b 4 4 "$mnt/disk"
    ok "device, $kind: all is there" has e 1024 "$n" "$mnt/disk"
    fallocate --punch-hole -o $((4 * mib)) -l $((4 * mib)) "$mnt/disk"
    sync "$mnt/disk"
    ok "device, $kind: what was given back is used" put g 8000 512 "$mnt/disk"
    stop
    ok "device, $kind: consistent, and nothing leaks" "$COBLK" check "$loop"
    start -o ro "$loop"
    ok "device, $kind: old data" has a 0 4 "$mnt/disk"
    ok "device, $kind: new data" has g 8000 512 "$mnt/disk"
    stop
done

done_testing
