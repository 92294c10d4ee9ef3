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

# started: how often the program was started only, and how long that took, to
# tell how busy the machine is
starts=0
us_of_starts=0
start_only()
{
    local began=$EPOCHREALTIME ended
    "$COBLK" --version >/dev/null
    ended=$EPOCHREALTIME
    us_of_starts=$((us_of_starts + ${ended/./} - ${began/./}))
    starts=$((starts + 1))
}

began=$EPOCHREALTIME
for ((i = 0; i < cycles; i++)); do
    options=$([ $((i % 10)) = 0 ] && echo aio=native || echo aio=threads)
    try_start -o "$options" "$img" || break
    stop || break
    [ $((i % 10)) != 0 ] || start_only
done
ended=$EPOCHREALTIME
is "$cycles cycles" "$i" "$cycles"
is 'nothing is left' "$(mark)" "$before"
ok 'no sockets pile up' \
    test "$(grep -c '@coblk/' /proc/net/unix)" -lt $((sockets + cycles / 2))
us=$(((${ended/./} - ${began/./}) / cycles))
us_of_start=$((us_of_starts / starts))
echo "# $us us per cycle, $us_of_start us per start of the program"
ok 'less than 100 ms per cycle, or than 30 starts of the program' \
    test "$us" -lt $((us_of_start > 3333 ? 30 * us_of_start : 100000))

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
# Not pages of files: the kernel takes and brings these when it likes.
rss()
{
    awk '$1 == "RssAnon:" { print $2 }' "/proc/$pid/status"
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
