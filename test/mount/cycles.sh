#!/bin/bash
# SPDX-License-Identifier: MIT
# A thousand mounts and unmounts leave nothing behind, and none is slow.
. "$(dirname "$0")/lib.sh"

# The kernel takes tens of milliseconds to let go of Linux AIO, so most cycles
# do without.
cycles=${CYCLES:-1000}
img=$tmp/disk.img
truncate -s 1M "$img"

# mark: what could pile up in the system; all is of this test only
mark()
{
    echo "mounts $(grep -c " $tmp/" /proc/self/mountinfo)"
    echo "processes $(pgrep -fc -- "$COBLK mount $img")"
    echo "locks $(grep -c ":$(stat -c %i "$img") " /proc/locks)"
    echo "files $(find "$tmp" | wc -l)"
}

start "$img"
sockets=$(grep -c '@coblk/' /proc/net/unix)
stop
before=$(mark)
began=$EPOCHREALTIME
for ((i = 0; i < cycles; i++)); do
    options=$([ $((i % 10)) = 0 ] && echo aio=native || echo aio=threads)
    try_start -o "$options" "$img" || break
    stop || break
done
ended=$EPOCHREALTIME
is "$cycles cycles" "$i" "$cycles"
is 'nothing is left' "$(mark)" "$before"
ok 'no sockets pile up' \
    test "$(grep -c '@coblk/' /proc/net/unix)" -lt $((sockets + cycles / 2))
us=$(((${ended/./} - ${began/./}) / cycles))
echo "# $us us per cycle"
ok 'less than 100 ms per cycle' test "$us" -lt 100000

# One daemon: its memory and descriptors do not grow with use.
start "$img"
pid=$(jq .pid "$mnt/.coblk/info.json")
use()
{
    for _ in {1..200}; do
        cat "$mnt/disk"
    done >/dev/null
}
fds()
{
    find "/proc/$pid/fd" -type l | wc -l
}
rss()
{
    awk '$1 == "VmRSS:" { print $2 }' "/proc/$pid/status"
}
use
fds=$(fds)
rss=$(rss)
use
is 'descriptors do not grow with use' "$(fds)" "$fds"
ok 'memory does not grow with use' test "$(rss)" -le $((rss + 512))
echo "# RSS $(rss) KiB"
stop

done_testing
