#!/bin/bash
# SPDX-License-Identifier: MIT
# Image locks against QEMU's programs, in both directions.
. "$(dirname "$0")/lib.sh"

requires qemu-img qemu-utils
requires qemu-storage-daemon qemu-system-common

img=$tmp/disk.img
truncate -s 8M "$img"

# qsd READ_ONLY: a storage daemon has the image open
qsd()
{
    qemu-storage-daemon --pidfile "$tmp/qsd.pid" --daemonize \
        --blockdev "driver=file,node-name=n,filename=$img,read-only=$1" \
        --nbd-server "addr.type=unix,addr.path=$tmp/nbd" \
        --export "type=nbd,id=e,node-name=n,writable=$([ "$1" = off ] &&
            echo on || echo off)"
    pid=$(cat "$tmp/qsd.pid")
}

qsd_stop()
{
    kill "$pid"
    soon gone "$pid"
}

# refused OPTIONS WHO: mounting fails and names the process
refused()
{
    is "mount $1: refused, and names who has it" \
        "$(try_start -o "$1" "$img" 2>&1 | grep -c "pid $2 (qemu-storage-d")" 1
}

# -- QEMU first

qsd off
refused rw "$pid"
refused ro "$pid"
ln "$img" "$tmp/other.img"
is 'mounted by another name: refused, and names who has it' \
    "$(try_start "$tmp/other.img" 2>&1 | grep -c "pid $pid (qemu-storage-d")" 1
ok 'mount locking=off: nobody is asked' try_start -o ro,locking=off "$img"
stop
qsd_stop
ok 'mounts when it has gone' try_start "$img"
stop

qsd on
refused rw "$pid"
is 'and offers what would work' \
    "$(try_start "$img" 2>&1 | grep -c 'or open it read-only')" 1
ok 'mount ro beside a reader' try_start -o ro "$img"
stop
qsd_stop

# -- coblk first

start "$img"
fails 'qemu-img write: refused' qemu-img bench -w -c 1 -f raw "$img"
fails 'qemu-storage-daemon: refused' qsd off
stop
ok 'qemu-img write when it is unmounted' qemu-img bench -w -c 1 -f raw "$img"

start -o ro "$img"
ok 'qemu-img info beside a reader' qemu-img info "$img"
fails 'qemu-img write: refused beside a reader' \
    qemu-img bench -w -c 1 -f raw "$img"
stop

start -o locking=off "$img"
ok 'locking=off: qemu-img may do as it likes' \
    qemu-img bench -w -c 1 -f raw "$img"
stop

# A lock ends with its process, however that ends.
start "$img"
kill -KILL "$(jq .pid "$mnt/.coblk/info.json")"
ok 'kill -9: the image is free' soon qemu-img bench -w -c 1 -f raw "$img"

done_testing
