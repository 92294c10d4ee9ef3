#!/bin/bash
# SPDX-License-Identifier: MIT
# coblk umount: waits, refuses, reports, cleans up.
. "$(dirname "$0")/lib.sh"

requires jq jq
if [ "$(id -u)" = 0 ] && private_mounts; then
    open_fuse
fi

img=$tmp/disk.img
truncate -s 8M "$img"

# -- Everything is in the image, and the image is free, when it returns

start "$img"
pid=$(info .pid)
dd if=/dev/urandom of="$tmp/data" bs=64k count=32 status=none
dd if="$tmp/data" of="$mnt/disk" bs=64k conv=notrunc status=none
ok 'unmounts' stop
ok 'what was written is in the image' cmp -n 2097152 "$tmp/data" "$img"
ok 'the daemon has gone' gone "$pid"
ok 'the image is free' try_start "$img"

# -- Busy

exec 3<"$mnt/disk"
fails 'refused while a file is open' "$COBLK" umount "$mnt" 3<&-
ok 'still mounted' is_mounted
ok 'still serves' cmp -n 65536 "$mnt/disk" "$img"
exec 3<&-
cd "$mnt" || exit
fails 'refused while somebody works in it' stop
cd / || exit
ok 'goes when they have left' stop

# A look at all mounts, as df has, is no use of this one.
python3 - "$mnt" <<'PY' &
import os, sys, time
while os.path.isdir(sys.argv[1]):
    try:
        os.statvfs(sys.argv[1])
    except OSError:
        pass
    time.sleep(.002)
PY
looker=$!
for ((i = 0; i < 50; i++)); do
    try_start -o aio=threads "$img" && stop || break
done
is 'goes although somebody looks at it' $i 50
kill $looker
wait $looker 2>/dev/null

# -- In another mount name space, too

if [ "$(id -u)" = 0 ] && unshare --mount true 2>/dev/null; then
    start "$img"
    unshare --mount --propagation private sleep 1000 &
    sleeper=$!
    soon grep -q " $mnt " "/proc/$sleeper/mountinfo"
    soon grep -qx sleep "/proc/$sleeper/comm"
    "$COBLK" umount "$mnt" 2>"$tmp/stderr" &
    waiter=$!
    soon test -s "$tmp/stderr"
    is 'a mount that lives on elsewhere: says where' "$(<"$tmp/stderr")" \
        "coblk umount: $mnt: unmounted here, but not in the mount name space of `
        `sleep (pid $sleeper); waiting until it has gone from there"
    kill $sleeper
    wait $waiter
    is 'and waits for that' $? 0
else
    skip_test 'a mount that lives on elsewhere' 'no mount name spaces'
fi

# -- Several at once

start "$img"
for i in 1 2 3 4; do
    "$COBLK" umount "$mnt" 2>/dev/null
    echo $? >"$tmp/status.$i"
done &
wait
ok 'of several at once, one at least unmounts' grep -qx 0 "$tmp"/status.*
fails 'it is gone' is_mounted

# -- Plain umount

start "$img"
pid=$(info .pid)
dd if="$tmp/data" of="$mnt/disk" bs=64k seek=32 conv=notrunc status=none
ok 'fusermount3 -u' fusermount3 -u "$mnt"
ok 'the daemon ends by itself' soon gone "$pid"
ok 'with all in the image' cmp -n 2097152 -i 0:2097152 "$tmp/data" "$img"
if [ "$(id -u)" = 0 ]; then
    start "$img"
    pid=$(info .pid)
    ok 'umount(8)' umount "$mnt"
    ok 'the daemon ends by itself' soon gone "$pid"
    start "$img"
    pid=$(info .pid)
    exec 3<"$mnt/disk"
    ok 'umount -l while a file is open' umount -l "$mnt"
    ok 'that file can be read' cmp -n 65536 /proc/self/fd/3 "$img"
    exec 3<&-
    ok 'the daemon ends with its last user' soon gone "$pid"
    start "$img"
    pid=$(info .pid)
    exec 3<"$mnt/disk"
    umount -f "$mnt" 2>/dev/null
    ok 'umount -f: the daemon ends' soon gone "$pid"
    exec 3<&-
    umount -l "$mnt" 2>/dev/null
fi

# -- Dead

start "$img"
dd if="$tmp/data" of="$mnt/disk" bs=64k conv=notrunc status=none
kill -KILL "$(info .pid)"
# shellcheck disable=SC2317 # called by soon
dead()
{
    ! stat -f "$mnt" 2>/dev/null
}
soon dead
fails 'stat of a dead mount' "$COBLK" stat "$mnt"
ok 'umount of a dead mount' stop
fails 'it is gone' is_mounted
ok 'what was written before the kill is there' cmp -n 2097152 "$tmp/data" "$img"
start "$img"
kill -KILL "$(info .pid)"
soon dead
ok 'mount on a dead mount' try_start "$img"
ok 'works' cmp -n 65536 "$mnt/disk" "$img"
ok 'unmounts' stop
fails 'nothing is left' is_mounted

# -- A write that was lost

if [ "$(id -u)" = 0 ]; then
    mkdir "$tmp/small"
    if mount -t tmpfs -o size=1M coblk-test "$tmp/small"; then
        truncate -s 8M "$tmp/small/disk.img"
        start -o "log=$tmp/log" "$tmp/small/disk.img" 2>/dev/null
        # This client does not look, as many do not.
        dd if="$tmp/data" of="$mnt/disk" bs=64k conv=notrunc status=none \
            2>/dev/null
        is 'a lost write: the first error' "$(stop 2>&1)" \
            "coblk umount: $mnt: a write was lost: No space left on device; the \
image is not what was written"
        fails 'but it is unmounted' is_mounted
        ok 'the log has it' grep -q 'error: .*a write was lost' "$tmp/log"
        start -o "log=$tmp/log" "$tmp/small/disk.img" 2>/dev/null
        fails 'a client that looks is told' dd if="$tmp/data" of="$mnt/disk" \
            bs=64k conv=notrunc,fsync
        ok 'what an fsync has reported is not reported again' stop
        "$COBLK" mount -f "$tmp/small/disk.img" "$mnt" 2>/dev/null &
        job=$!
        soon test -e "$mnt/disk"
        dd if="$tmp/data" of="$mnt/disk" bs=64k conv=notrunc status=none \
            2>/dev/null
        fails 'in the foreground: umount fails' stop
        wait "$job"
        is 'and so does the mount' $? 1
        umount "$tmp/small"
    fi
fi

# -- By somebody else

if can_be_nobody; then
    chmod 711 "$tmp"
    start -o allow_other,mode=666 "$img"
    fails 'a stranger may not unmount' runuser -u nobody -- "$COBLK" umount "$mnt"
    ok 'still mounted' is_mounted
    stop
    # Of this one, nobody can read .coblk/stats.json either.
    start "$img"
    is 'a stranger may not see the counters' \
        "$(runuser -u nobody -- "$COBLK" stat "$mnt" 2>&1)" \
        "coblk stat: $mnt: only the user who mounted it, or root, may see that"
    stop
fi

done_testing
