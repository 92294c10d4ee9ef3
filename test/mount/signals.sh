#!/bin/bash
# SPDX-License-Identifier: MIT
# Signals: SIGTERM and SIGINT end a mount in order, SIGHUP does not reach a
# daemon, nothing that was written is lost.
. "$(dirname "$0")/lib.sh"

requires jq jq

img=$tmp/disk.img
truncate -s 64M "$img"
dd if=/dev/urandom of="$tmp/data" bs=1M count=16 status=none

# foreground OPTIONS...: $job serves $mnt
foreground()
{
    "$COBLK" mount -f "$@" "$img" "$mnt" 2>"$tmp/stderr" &
    job=$!
    soon test -e "$mnt/disk"
}

for signal in TERM INT HUP; do
    # A background job of a shell ignores SIGINT, so it gets one of its own.
    foreground
    dd if="$tmp/data" of="$mnt/disk" bs=1M conv=notrunc status=none
    kill -s "$signal" "$job"
    wait "$job"
    is "SIG$signal: status" $? 0
    fails "SIG$signal: unmounted" is_mounted
    ok "SIG$signal: all is in the image" cmp -n 16777216 "$tmp/data" "$img"
    truncate -s 0 "$img"
    truncate -s 64M "$img"
done

# -- While it is in use

foreground
exec 3<>"$mnt/disk"
kill -TERM "$job"
ok 'SIGTERM while a file is open: says who' \
    soon grep -q "busy, held by .*(pid $$)" "$tmp/stderr"
ok 'still mounted' is_mounted
ok 'the file can be written' dd if="$tmp/data" of=/proc/self/fd/3 bs=1M count=4 \
    conv=notrunc
exec 3<&-
wait "$job"
is 'ends when it is closed' $? 0
fails 'unmounted' is_mounted
ok 'with all that was written' cmp -n 4194304 "$tmp/data" "$img"

foreground
exec 3<>"$mnt/disk"
dd if="$tmp/data" of=/proc/self/fd/3 bs=1M count=8 conv=notrunc status=none
kill -TERM "$job"
soon grep -q busy "$tmp/stderr"
kill -TERM "$job"
wait "$job"
is 'a second SIGTERM does not wait' $? 0
fails 'unmounted' is_mounted
fails 'the open file is dead' head -c 1 /proc/self/fd/3
exec 3<&-
ok 'all that was written is there' cmp -n 8388608 "$tmp/data" "$img"

# -- With writers at work: what was acknowledged is in the image

foreground -o iothreads=2
for n in 0 1 2 3; do
    (
        for i in {0..7}; do
            dd if="$tmp/data" of="$mnt/disk" bs=1M count=1 skip="$i" \
                seek=$((n * 8 + i)) conv=nocreat,notrunc oflag=direct \
                status=none 2>/dev/null || break
            echo "$((n * 8 + i)) $i"
        done >"$tmp/done.$n"
    ) &
    writers[n]=$!
done
soon test -s "$tmp/done.0"
kill -TERM "$job"
wait "$job"
is 'SIGTERM with writers at work: status' $? 0
wait "${writers[@]}"
lost=0
while read -r block i; do
    cmp -s -n 1048576 -i "$((i << 20)):$((block << 20))" "$tmp/data" "$img" ||
        lost=$((lost + 1))
done < <(cat "$tmp"/done.*)
is 'nothing that was acknowledged is lost' "$lost" 0

# -- In the background

start "$img"
pid=$(info .pid)
kill -HUP "$pid"
ok 'a daemon ignores SIGHUP' test -e "$mnt/disk"
kill -TERM "$pid"
ok 'SIGTERM ends a daemon' soon gone "$pid"
fails 'unmounted' is_mounted

done_testing
