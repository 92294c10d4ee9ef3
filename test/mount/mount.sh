#!/bin/bash
# SPDX-License-Identifier: MIT
# coblk mount: what it shows, the options that decide it, and who is told when
# it works.
. "$(dirname "$0")/lib.sh"

requires jq jq
requires sfdisk fdisk

img=$tmp/disk.img
truncate -s 16M "$img"
sfdisk -q "$img" <<'END'
label: gpt
start=2048, size=4096
start=8192, size=8192
END
printf 'in the first partition' |
    dd of="$img" bs=512 seek=2048 conv=notrunc status=none

# daemon: the process that serves $mnt
daemon()
{
    info .pid
}

# -- In the background

ok 'mounts' try_start "$img"
ok 'the mount works when the command returns' test -f "$mnt/p2"
is 'it is a file system of its own type' \
    "$(stat -f -c %T "$mnt"; findmnt -no FSTYPE,SOURCE "$mnt")" \
    "fuseblk
fuse.coblk $img"
pid=$(daemon)
is 'the daemon left the session' "$(ps -o sid= -p "$pid" | xargs)" "$pid"
is 'and the directory' "$(readlink "/proc/$pid/cwd")" /
is 'and the terminal' "$(readlink "/proc/$pid/fd/"{0,1,2} | xargs)" \
    '/dev/null /dev/null /dev/null'
is 'data' "$(head -c 22 "$mnt/p1")" 'in the first partition'
is 'files belong to who mounted' \
    "$(stat -c '%u:%g:%a' "$mnt/disk")" "$(id -u):$(id -g):600"
is 'sizes' "$(stat -c %s "$mnt/disk" "$mnt/p1" "$mnt/p2" | xargs)" \
    '16777216 2097152 4194304'
ok 'unmounts' stop
fails 'it is gone' is_mounted
ok 'and so is the daemon' gone "$pid"

# -- Options

start -o ro,mode=644,uid=12,gid=34 "$img"
is 'uid, gid, mode; read-only takes the right to write' \
    "$(stat -c '%u:%g:%a' "$mnt/disk")" 12:34:444
fails 'ro: cannot be written' dd if=/dev/zero of="$mnt/p1" count=1 conv=notrunc
stop

start -o offset=1M,size=2M "$img"
is 'offset and size: a window' \
    "$(stat -c %s "$mnt/disk") $(head -c 22 "$mnt/disk")" \
    '2097152 in the first partition'
stop

for options in aio=native aio=threads cache=writeback cache=writethrough \
    cache=directsync cache=unsafe iothreads=3 merge=off direct_io \
    discard=unmap detect-zeroes=on locking=off poll-max-ns=0 \
    max_background=12 nodev,noatime x-systemd.automount,nofail,_netdev; do
    ok "-o $options: mounts" start -o "$options" "$img"
    ok "-o $options: writes" \
        dd if="$img" of="$mnt/p2" bs=4k skip=256 count=4 conv=notrunc,fsync
    ok "-o $options: reads" cmp -n 16384 "$mnt/p1" "$mnt/p2"
    ok "-o $options: unmounts" stop
done
ok 'all that was written is in the image' \
    cmp -n 16384 -i 1048576:4194304 "$img" "$img"

# The driver of the host's file by its name, and one that has no file.
start -o format=file,aio=threads,locking=off "$img"
ok '-o format=file' cmp "$mnt/disk" "$img"
is 'takes the options of the file' "$(info .aio)" threads
stop
start -o format=null,size=64M nothing
is '-o format=null: a disk of that size' "$(stat -c %s "$mnt/disk")" 67108864
ok 'of zeroes' cmp -n 67108864 "$mnt/disk" /dev/zero
ok 'that takes what is written' dd if="$img" of="$mnt/disk" bs=1M count=4 \
    oflag=direct conv=notrunc,fsync
ok 'and forgets it' cmp -n 67108864 "$mnt/disk" /dev/zero
stop

# Linux AIO is shared out by the kernel: a mount leaves others some of it.
before=$(</proc/sys/fs/aio-nr)
start -o iothreads=64 "$img"
is 'many threads' "$(info '[.iothreads, .aio] | join(" ")')" '64 native'
ok 'take not all contexts there are' \
    test $(($(</proc/sys/fs/aio-nr) - before)) -lt 32768
stop

start -o aio=threads,iothreads=2,merge=off,discard=unmap "$img"
is 'info.json has them' \
    "$(info '[.image, .aio, .iothreads, .merge, .discard] | join(" ")')" \
    "$img threads 2 false unmap"
is 'one thread per loop' \
    "$(cat "/proc/$(daemon)/task/"*/comm | grep '^coblk-io[0-9]' | sort | xargs)" \
    'coblk-io0 coblk-io1'
stop

ok 'several -o, the last wins' try_start -o ro -o rw,cache=writeback "$img"
ok 'rw' test -w "$mnt/disk"
stop

# Two may read, from the same image.
mkdir "$tmp/mnt2"
start -o ro "$img"
ok 'two read-only mounts of one image' "$COBLK" mount -o ro "$img" "$tmp/mnt2"
"$COBLK" umount "$tmp/mnt2"
stop

# -- One file

file=$tmp/file
: >"$file"
ok 'on a regular file' "$COBLK" mount "$img" "$file"
is 'it is the disk' "$(stat -c %s "$file")" 16777216
ok 'byte for byte' cmp "$file" "$img"
"$COBLK" umount "$file"
is 'the file is itself again' "$(stat -c %s "$file")" 0
ok 'part=1' "$COBLK" mount -o part=1 "$img" "$file"
is 'it is the partition' "$(stat -c %s "$file") $(head -c 22 "$file")" \
    '2097152 in the first partition'
"$COBLK" umount "$file"
ok 'on the image itself' "$COBLK" mount "$img" "$img"
is 'reads through the mount' \
    "$(dd if="$img" bs=512 skip=2048 count=1 status=none | head -c 22)" \
    'in the first partition'
ok 'and unmounts' "$COBLK" umount "$img"

# -- Relative names, after which the daemon changes its directory

# shellcheck disable=SC2016 # expanded by bash -c
ok 'relative names' bash -c 'cd "$0" && exec "$1" mount disk.img mnt' "$tmp" \
    "$COBLK"
# shellcheck disable=SC2016 # expanded by bash -c
ok 'unmounts by a relative name' bash -c 'cd "$0" && exec "$1" umount ./mnt/' \
    "$tmp" "$COBLK"
ln -s mnt "$tmp/link"
ok 'by a link' "$COBLK" mount "$img" "$tmp/link"
ok 'unmounts by a link' "$COBLK" umount "$tmp/link"
blank=$tmp/'a b\c,d'
mkdir "$blank"
cp "$img" "$blank/x, y.img"
ok 'a name with blank, comma and backslash' \
    "$COBLK" mount "$blank/x, y.img" "$blank"
is 'is shown as it is' "$(findmnt -nro SOURCE "$blank")" \
    "$(printf '%s' "$blank/x, y.img" | sed 's/\\/\\x5c/g; s/ /\\x20/g')"
ok 'unmounts' "$COBLK" umount "$blank"

# -- In the foreground

"$COBLK" mount -f "$img" "$mnt" &
job=$!
soon is_mounted
soon test -e "$mnt/disk"
is '-f stays in the foreground' "$(daemon)" "$job"
stop
wait "$job"
is 'and ends with status 0' "$?" 0

# -- Who is told

exec 3> >(cat >"$tmp/ready")
start -o ready-fd=3 "$img"
exec 3>&-
ok 'ready-fd' soon grep -qx ready "$tmp/ready"
stop

start -o "log=$tmp/log:debug,trace=backend" "$img" 2>/dev/null
cat "$mnt/p1" >/dev/null
stop
ok 'log: traces of requests' grep -q 'backend: read' "$tmp/log"
is 'a log is for its owner' "$(stat -c %a "$tmp/log")" 600

done_testing
