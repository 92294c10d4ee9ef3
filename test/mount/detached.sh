#!/bin/bash
# SPDX-License-Identifier: MIT
# A mount that is not where it was: detached, covered, moved, aborted.  Its
# daemon ends, cleans up behind itself, and leaves mounts of others alone.
. "$(dirname "$0")/lib.sh"

requires jq jq
[ "$(id -u)" = 0 ] || skip_all 'only root may mount other file systems'
private_mounts || skip_all 'no mount name space of its own'

img=$tmp/disk.img
truncate -s 64M "$img"

# serve: the daemon of $mnt is $pid, and $tmp/log is its log
serve()
{
    rm -f "$tmp/log"
    start -o "log=$tmp/log:info" "$img"
    pid=$(info .pid)
    echo "$pid" >"$tmp/pid"
}

# shellcheck disable=SC2317 # called by ok
is_tmpfs()
{
    [ "$(stat -f -c %T "$mnt")" = tmpfs ]
}

# -- Detached

serve
exec 3<>"$mnt/disk"
echo kept >&3
umount -l "$mnt"
kill -TERM "$pid"
ok 'SIGTERM ends the daemon of a mount that was detached' soon gone "$pid"
exec 3<&-
is 'and what was written is there' "$(head -c 4 "$img")" kept

serve
exec 3<>"$mnt/disk"
umount -l "$mnt"
mount -t tmpfs coblk-test "$mnt"
kill -TERM "$pid"
ok 'it ends as well when something else is mounted there' soon gone "$pid"
ok 'which stays mounted' is_tmpfs
exec 3<&-
umount "$mnt"

serve
exec 3<>"$mnt/disk"
kill -TERM "$pid"
soon grep -q busy "$tmp/log"
umount -l "$mnt"
mount -t tmpfs coblk-test "$mnt"
ok 'a daemon that waits for the end of use ends, too' soon gone "$pid"
ok 'and lets the other mount be' is_tmpfs
exec 3<&-
umount "$mnt"

# -- Above another mount

mount -t tmpfs coblk-test "$mnt"
serve
exec 3<>"$mnt/disk"
kill -TERM "$pid"
soon grep -q busy "$tmp/log"
kill -TERM "$pid"
ok 'a second SIGTERM ends a mount above another' soon gone "$pid"
ok 'and nothing but that' is_tmpfs
exec 3<&-
umount "$mnt"

serve
kill -KILL "$pid"
soon gone "$pid"
umount "$mnt"
mount -t tmpfs coblk-test "$mnt"
serve
kill -KILL "$pid"
soon gone "$pid"
ok 'coblk umount of a dead mount above another' stop
ok 'removes only that' is_tmpfs
umount "$mnt"

# -- Covered by another mount

serve
mount -t tmpfs coblk-test "$mnt"
kill -TERM "$pid"
ok 'a covered mount is busy' soon grep -q busy "$tmp/log"
ok 'what covers it stays' is_tmpfs
umount "$mnt"
ok 'and when that has gone, the daemon ends' soon gone "$pid"
fails 'unmounted' is_mounted

# -- Moved

serve
mkdir "$tmp/there"
mount --make-private "$tmp" 2>/dev/null
mount --move "$mnt" "$tmp/there"
kill -TERM "$pid"
ok 'SIGTERM ends a mount that was moved' soon gone "$pid"
fails 'unmounted there' is_mounted "$tmp/there"

# -- Aborted

if mount_fusectl; then
    serve
    echo 1 >"/sys/fs/fuse/connections/$(stat -c %d "$mnt")/abort"
    ok 'an abort of the connection ends the daemon' soon gone "$pid"
    fails 'which leaves no dead mount behind' is_mounted
else
    skip_test 'an abort of the connection' 'no fusectl'
fi

# -- A link to a dead mount

serve
kill -KILL "$pid"
soon gone "$pid"
ln -s "$mnt" "$tmp/link"
ok 'mounting on a link to a dead mount cleans that up' \
    "$COBLK" mount "$img" "$tmp/link"
ok 'and mounts' test -e "$mnt/disk"
ok 'unmounts by the link' "$COBLK" umount "$tmp/link"

# -- Changed through a mapping, not written yet

requires python3 python3

# dirty FIRST: a process runs the command FIRST and changes a mapping (after
# umount(8), which may sync); then SIGTERM ends the daemon while it is there.
dirty()
{
    serve
    timeout -s KILL 60 python3 - "$mnt/disk" "$pid" "$1" <<'END'
import mmap, os, signal, subprocess, sys, time

path, pid, first = sys.argv[1:]
fd = os.open(path, os.O_RDWR)
m = mmap.mmap(fd, 1 << 20)
subprocess.run(first, shell=True, check=True)
m[:] = b"mapped!!" * (1 << 17)
os.kill(int(pid), signal.SIGTERM)
while os.path.exists("/proc/" + pid):
    time.sleep(0.05)
os._exit(0)
END
    head -c 1048576 "$img" | tr -d 'maped!' | wc -c
    truncate -s 0 "$img"
    truncate -s 64M "$img"
}

export tmp
# shellcheck disable=SC2016 # expanded by the shell that runs it
is 'a second SIGTERM has mappings written back' "$(dirty \
    'kill "$(cat "$tmp/pid")"; until grep -q busy "$tmp/log"; do sleep .1; done')" 0
is 'and so has the first one, when the mount was detached' \
    "$(dirty "umount -l '$mnt'")" 0

done_testing
