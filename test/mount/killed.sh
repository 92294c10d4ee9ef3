#!/bin/bash
# SPDX-License-Identifier: MIT
# The daemon is killed while writes are under way: each write that was
# confirmed is in the image, its lock is gone, and the next mount is clean.
. "$(dirname "$0")/lib.sh"

requires python3 python3
requires jq jq

img=$tmp/disk.img
here=$(dirname "$0")

# kill_amid_writes: the daemon, once writes are under way; its clients end
kill_amid_writes()
{
    local daemon writer
    rm -f "$tmp/started" "$tmp/record"
    daemon=$(timeout 60 jq .pid "$mnt/.coblk/info.json") || return 1
    timeout -s KILL 150 python3 "$here/acknowledged.py" "$mnt/disk" \
        "$tmp/record" >"$tmp/started" &
    writer=$!
    soon test -s "$tmp/started" || return 1
    sleep "$1"
    kill -KILL "$daemon"
    wait "$writer"
}

for options in cache=none iothreads=1,merge=off cache=writeback,aio=threads; do
    for delay in 0.05 0.2 0.5; do
        what="$options, after $delay s"
        rm -f "$img"
        truncate -s 16M "$img"
        start -o "$options" "$img"
        ok "$what: killed; its clients end" kill_amid_writes "$delay"
        is "$what: clients were told" \
            "$(jq -r 'all(.error != null)' "$tmp/record")" true
        ok "$what: confirmed writes are in the image" \
            python3 "$here/acknowledged.py" --check "$img" "$tmp/record"
        ok "$what: mounts again over the dead mount" \
            timeout 60 "$COBLK" mount "$img" "$mnt"
        ok "$what: the mount shows the same" timeout 60 \
            python3 "$here/acknowledged.py" --check "$mnt/disk" "$tmp/record"
        ok "$what: and is taken away" stop
    done
done

done_testing
